#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

#include <optional>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

/// What a frontend needs to have an order paid, besides the order.
tl::expected<void, std::string> add_link(const context& ctx, const record& row,
                                         const order& order, json::object& to) {
  const auto* merchant = ctx.accounts.of(order.gateway);
  if (merchant == nullptr || order.status != order_status::pending)
    return {};
  if (!merchant->has_to_call(order.method)) {
    const auto link
      = merchant->link(payment::pay_order_of(row, order, ctx.words));
    if (!link)
      return tl::unexpected{link.error()};
    to["payUrl"] = link->pay_url;
    return {};
  }
  if (order.code.empty())
    return {};
  switch (order.method) {
    case payment_method::qr:
    case payment_method::native:
      to["qrCode"] = order.code;
      return {};
    case payment_method::page:
    case payment_method::wap:
    case payment_method::h5:
      to["payUrl"] = order.code;
      return {};
    case payment_method::jsapi:
      break;
  }
  to["prepayId"] = order.code;
  if (merchant == ctx.accounts.v3.get()) {
    auto parameters = ctx.accounts.v3->jsapi_parameters(
      order.code, payment::make_stamp(ctx.now(), *ctx.env->entropy));
    if (!parameters)
      return tl::unexpected{parameters.error()};
    to["payParams"] = std::move(*parameters);
  } else if (merchant == ctx.accounts.v2.get()) {
    to["payParams"] = ctx.accounts.v2->jsapi_parameters(
      order.code, payment::make_stamp(ctx.now(), *ctx.env->entropy));
  }
  return {};
}

void answer_created(const context& ctx, http::exchange& to, const record& row,
                    const order& order) {
  auto data = render_order(row, order);
  if (const auto done = add_link(ctx, row, order, data); !done) {
    to.fail(500, "internal",
            "The payment link could not be made: " + done.error());
    return;
  }
  succeed(to, std::move(data), 201);
}

/// The order that a request made, or that an earlier one with its key made.
const order* order_of_request(const record& row, const std::string& key) {
  const auto& orders = row.state.orders;
  if (!key.empty())
    for (const auto& x : orders)
      if (x.idempotency_key == key)
        return &x;
  return orders.empty() ? nullptr : &orders.back();
}

bool is_idempotency_key(std::string_view key) {
  if (key.empty() || key.size() > 255)
    return false;
  for (unsigned char c : key)
    if (c < 0x20 || c > 0x7e)
      return false;
  return true;
}

/// Who pays, as far as a method wants to know.
struct payer {
  std::string id;
  std::string ip;
};

/// Makes the order known to its gateway, where that has to be done first.
void prepare_order(const context_ptr& ctx, const exchange_ptr& x,
                   const record& row, const order& made, payer who) {
  const auto* merchant = ctx->accounts.of(made.gateway);
  if (merchant == nullptr || !merchant->has_to_call(made.method)
      || !made.code.empty() || made.status != order_status::pending) {
    answer_created(*ctx, *x, row, made);
    return;
  }
  auto errand = std::make_shared<gateway_errand>();
  errand->what = gateway_errand::kind::prepare;
  errand->gateway = made.gateway;
  errand->subject = std::make_shared<const record>(row);
  errand->order = made.seq;
  errand->payer_id = std::move(who.id);
  errand->payer_ip = std::move(who.ip);
  errand->origin = origin_of(x->in());
  errand->reply = std::make_shared<reply_slot>(
    [ctx, x, seq = made.seq](const outcome& end) {
      if (end.error != errc::none) {
        fail(*x, problem_of(end.error));
        return;
      }
      const auto* known
        = end.now == nullptr ? nullptr : find_order(end.now->state, seq);
      if (known != nullptr)
        answer_created(*ctx, *x, *end.now, *known);
      else
        fail(*x, problem_of(end.is));
    });
  ctx->send(std::move(errand));
}

/// Asks the subscription for the order and answers with what came of it.
void place_order(const context_ptr& ctx, exchange_ptr x, subscription_id id,
                 std::string user, order_requested what, payer who) {
  const auto key = what.idempotency_key;
  auto by = origin_of(x->in());
  ctx->command_to(
    id, std::move(what), std::move(user), std::move(by),
    [ctx, x = std::move(x), key, who = std::move(who)](const outcome& end) {
      // Whether it exists is nobody's business but its owner's.
      if (end.error == errc::not_found)
        fail(*x, problem_of(errc::forbidden));
      else if (end.error != errc::none)
        fail(*x, problem_of(end.error));
      else if (end.is != verdict::applied && end.is != verdict::already_applied)
        fail(*x, problem_of(end.is));
      else if (const auto* made = order_of_request(*end.now, key))
        prepare_order(ctx, x, *end.now, *made, who);
    });
}

/// The method of that name, where the gateway has it.
std::optional<payment_method>
method_of(const gateway::merchant& at, std::string_view name) {
  for (const auto x :
       {payment_method::page, payment_method::wap, payment_method::qr,
        payment_method::native, payment_method::h5, payment_method::jsapi})
    if (to_string(x) == name && at.takes(x))
      return x;
  return std::nullopt;
}

void create(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto body = body_reader{x};
  const auto subscription = body.text("subscriptionId");
  const auto gateway = body.text("gateway");
  const auto method = body.text("method");
  const auto openid = body.text("openid", 128);
  // Behind a proxy only the frontend's server knows it.
  const auto payer_ip = body.text("payerIp", 45);
  if (!body)
    return;
  if (subscription.empty()) {
    x->fail(400, "invalid_request", "Subscription ID is required");
    return;
  }
  if (gateway != "ALIPAY" && gateway != "WECHAT") {
    x->fail(400, "unknown_gateway", "gateway must be ALIPAY or WECHAT");
    return;
  }
  const auto at
    = gateway == "ALIPAY" ? payment_gateway::alipay : payment_gateway::wechat;
  const auto* merchant = ctx->accounts.of(at);
  if (merchant == nullptr) {
    x->fail(409, "gateway_not_configured",
            gateway + " payments are not available on this server");
    return;
  }
  const auto wanted = method_of(*merchant, method);
  if (!wanted) {
    x->fail(400, "unknown_method",
            at == payment_gateway::alipay
              ? "method must be page, wap or qr for gateway ALIPAY"
              : "method must be native, h5 or jsapi for gateway WECHAT");
    return;
  }
  if (*wanted == payment_method::jsapi && openid.empty()) {
    x->fail(400, "openid_required",
            "openid, the payer's within the app, is required for method "
            "jsapi");
    return;
  }
  auto what = order_requested{};
  const auto& in = x->in();
  if (in.headers.count("Idempotency-Key") > 0) {
    const auto key = *in.headers.find("Idempotency-Key");
    if (in.headers.count("Idempotency-Key") > 1 || !is_idempotency_key(key)) {
      x->fail(400, "invalid_idempotency_key",
              "Idempotency-Key must be 1 to 255 printable characters");
      return;
    }
    what.idempotency_key = std::string{key};
  }
  const auto id = parse_subscription_id(subscription);
  if (!id) {
    fail(*x, problem_of(errc::forbidden));
    return;
  }
  what.at = ctx->now();
  what.gateway = at;
  what.method = *wanted;
  what.expires_at = what.at + ctx->settings.payment.order_ttl;
  auto pays = payer{openid, payer_ip.empty() ? in.remote : payer_ip};
  if (what.idempotency_key.empty()) {
    place_order(ctx, std::move(x), *id, who.user_id, std::move(what),
                std::move(pays));
    return;
  }
  // A key belongs to its user, whatever the subscription.
  ctx->ask(query::find_key{who.user_id, what.idempotency_key},
           [ctx, x = std::move(x), id = *id, user = who.user_id, what,
            pays](job<query::find_key>::reply used) {
             if (!used && used.error() != errc::not_found)
               fail(*x, problem_of(used.error()));
             else if (used && *used != id)
               fail(*x, problem_of(verdict::idempotency_mismatch));
             else
               place_order(ctx, x, id, user, what, pays);
           });
}

/// Reads the order once more and answers with it.
void answer_order(const context_ptr& ctx, const exchange_ptr& x, order_ref ref,
                  const std::string& user, bool ask) {
  ctx->ask(query::find_record{ref.subscription},
           [ctx, x, ref, user, ask](job<query::find_record>::reply found) {
             if (!found && found.error() != errc::not_found) {
               fail(*x, problem_of(found.error()));
               return;
             }
             const auto* order = found && found->value.user_id == user
                                   ? find_order(found->value.state, ref.seq)
                                   : nullptr;
             if (order == nullptr) {
               x->fail(404, "order_not_found", "Payment order not found");
               return;
             }
             const auto open = order->status == order_status::pending
                               || order->status == order_status::closing;
             if (!ask || !open || !ctx->accounts.has(order->gateway)) {
               succeed(*x, render_order(found->value, *order));
               return;
             }
             // Perhaps it is paid and we have not been told. Whatever comes of
             // it, and however little, the row is then read as it stands.
             auto errand = std::make_shared<gateway_errand>();
             errand->what = gateway_errand::kind::ask;
             errand->gateway = order->gateway;
             errand->order = ref.seq;
             errand->subject
               = std::make_shared<const record>(std::move(found->value));
             errand->origin = origin_of(x->in());
             errand->reply = std::make_shared<reply_slot>(
               [ctx, x, ref, user](const outcome&) {
                 answer_order(ctx, x, ref, user, false);
               });
             ctx->send(std::move(errand));
           });
}

void read(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto ref = parse_order_ref(x->in().param(0));
  if (ref)
    answer_order(ctx, x, *ref, who.user_id, true);
  else
    x->fail(404, "order_not_found", "Payment order not found");
}

} // namespace

void add_payment_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::post, "/api/payment/create",
            "payment_create", create);
  add_route(to, ctx, http::method::get, "/api/payment/{orderId}",
            "payment_read", read);
}

} // namespace slipway::api
