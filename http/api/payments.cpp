#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

/// Where the payer goes. The link follows from the stored order alone, so that
/// a repeated request is given the very same one.
tl::expected<std::string, std::string>
alipay_pay_url(const context& ctx, const record& row, const order& order) {
  auto page = gateway::page_order{};
  page.order_id = to_text(order_ref{row.id, order.seq});
  page.amount_minor = order.amount;
  const auto plan = ctx.settings.plans.find(row.plan);
  page.subject
    = plan == ctx.settings.plans.end() ? row.plan : plan->second.title;
  page.notify_url = ctx.public_url + "/api/payment/alipay/notify";
  page.return_url = ctx.settings.alipay->return_url;
  page.created_at = order.created_at;
  page.expires_at = order.expires_at;
  return ctx.alipay->pay_url(order.method == payment_method::wap
                               ? gateway::pay_method::wap
                               : gateway::pay_method::page,
                             page);
}

void answer_created(const context& ctx, http::exchange& to, const record& row,
                    const order& order) {
  auto data = render_order(row, order);
  const auto url = alipay_pay_url(ctx, row, order);
  if (!url) {
    to.fail(500, "internal",
            "The payment link could not be made: " + url.error());
    return;
  }
  data["payUrl"] = *url;
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

/// Asks the subscription for the order and answers with what came of it.
void place_order(const context_ptr& ctx, exchange_ptr x, subscription_id id,
                 std::string user, order_requested what) {
  const auto key = what.idempotency_key;
  ctx->command_to(id, std::move(what), std::move(user),
                  [ctx, x = std::move(x), key](const outcome& end) {
                    // Whether it exists is nobody's business but its owner's.
                    if (end.error == errc::not_found)
                      fail(*x, problem_of(errc::forbidden));
                    else if (end.error != errc::none)
                      fail(*x, problem_of(end.error));
                    else if (end.is != verdict::applied
                             && end.is != verdict::already_applied)
                      fail(*x, problem_of(end.is));
                    else if (const auto* made = order_of_request(*end.now, key))
                      answer_created(*ctx, *x, *end.now, *made);
                  });
}

void create(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto body = body_reader{x};
  const auto subscription = body.text("subscriptionId");
  const auto gateway = body.text("gateway");
  const auto method = body.text("method");
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
  if (gateway == "WECHAT" || !ctx->alipay) {
    x->fail(409, "gateway_not_configured",
            gateway + " payments are not available on this server");
    return;
  }
  if (method != "page" && method != "wap") {
    x->fail(400, "unknown_method",
            "method must be page or wap for gateway ALIPAY");
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
  what.gateway = payment_gateway::alipay;
  what.method = method == "wap" ? payment_method::wap : payment_method::page;
  what.expires_at = what.at + ctx->settings.payment.order_ttl;
  if (what.idempotency_key.empty()) {
    place_order(ctx, std::move(x), *id, who.user_id, std::move(what));
    return;
  }
  // A key belongs to its user, whatever the subscription.
  ctx->ask(query::find_key{who.user_id, what.idempotency_key},
           [ctx, x = std::move(x), id = *id, user = who.user_id,
            what](job<query::find_key>::reply used) {
             if (!used && used.error() != errc::not_found)
               fail(*x, problem_of(used.error()));
             else if (used && *used != id)
               fail(*x, problem_of(verdict::idempotency_mismatch));
             else
               place_order(ctx, x, id, user, what);
           });
}

void read(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  const auto ref = parse_order_ref(x->in().param(0));
  const auto missing = [](http::exchange& to) {
    to.fail(404, "order_not_found", "Payment order not found");
  };
  if (!ref) {
    missing(*x);
    return;
  }
  ctx->ask(query::find_record{ref->subscription},
           [x, missing, seq = ref->seq,
            user = who.user_id](job<query::find_record>::reply found) {
             if (!found && found.error() != errc::not_found) {
               fail(*x, problem_of(found.error()));
               return;
             }
             const auto* order = found && found->value.user_id == user
                                   ? find_order(found->value.state, seq)
                                   : nullptr;
             if (order == nullptr)
               missing(*x);
             else
               succeed(*x, render_order(found->value, *order));
           });
}

} // namespace

void add_payment_routes(http::router& to, const context_ptr& ctx) {
  to.add(http::method::post, "/api/payment/create", "payment_create",
         for_user(ctx, create));
  to.add(http::method::get, "/api/payment/{orderId}", "payment_read",
         for_user(ctx, read));
}

} // namespace slipway::api
