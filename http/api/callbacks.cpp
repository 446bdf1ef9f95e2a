#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"

#include <spdlog/spdlog.h>

namespace slipway::api {

using namespace lifecycle;

namespace {

using gateway::notification_action;
using gateway::verified_notification;

http::response plain(int status, const char* body) {
  auto out = http::response{};
  out.status = status;
  out.content_type = "text/plain; charset=utf-8";
  out.body = body;
  return out;
}

/// The headers as they came, one a line; what authenticates our own users is no
/// part of a gateway's message.
std::string keep_headers(const http::fields& headers) {
  auto out = std::string{};
  for (const auto& [name, value] : headers) {
    if (name == "Authorization" || name == "Cookie")
      continue;
    // A proxy may add what is no UTF-8; the row has to take it all the same.
    out += crypto::to_valid_utf8(name) + ": " + crypto::to_valid_utf8(value)
           + "\n";
  }
  return out;
}

/// PostgreSQL's text cannot hold NUL, and what is shown to people should not
/// hold control characters.
std::string printable(std::string text) {
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = '?';
  return text;
}

/// One notification on its way to an answer.
struct delivery {
  context_ptr ctx;
  exchange_ptr x;
  std::shared_ptr<callback_entry> entry;

  /// Applied, applied before, or nothing to us.
  void acknowledge(callback_outcome as) const {
    ctx->env->metrics->callback("alipay", to_string(as));
    x->answer(plain(200, "success"));
  }

  /// Authentic, and in conflict with what we know: the gateway shall come again
  /// while a person looks.
  void contradict() const {
    ctx->env->metrics->callback("alipay", "contradicted");
    x->answer(plain(200, "failure"));
  }

  /// Our own trouble.
  void fail() const {
    ctx->env->metrics->callback("alipay", "error");
    x->answer(plain(500, "error"));
  }

  /// Keeps the message, then answers by `then`.
  void keep(callback_outcome as, std::string reason) const {
    auto keep = std::make_shared<inbox_job>();
    keep->entry = *entry;
    keep->entry.outcome = as;
    keep->entry.reason = std::move(reason);
    keep->done = [self = *this, as](errc error) {
      if (error != errc::none)
        self.fail();
      else if (as == callback_outcome::contradicted)
        self.contradict();
      else
        self.acknowledge(as);
    };
    ctx->send(std::move(keep));
  }

  void contradict_with(std::string reason) const {
    spdlog::warn("alipay: authentic notification for order {} contradicts us: "
                 "{}",
                 entry->order_id, reason);
    keep(callback_outcome::contradicted, std::move(reason));
  }

  /// After the supervisor has decided and everything is durable.
  void decided(const outcome& end) const {
    if (end.error == errc::not_found) {
      contradict_with("order_not_found");
      return;
    }
    if (end.error != errc::none) {
      fail();
      return;
    }
    if (end.is == verdict::applied)
      acknowledge(callback_outcome::applied);
    else if (end.is == verdict::already_applied)
      acknowledge(callback_outcome::repeated);
    else
      contradict();
  }

  void feed(subscription_id id, event what) const {
    auto cmd = std::make_shared<command>();
    cmd->subscription = id;
    cmd->what = std::move(what);
    cmd->callback = entry;
    cmd->reply
      = std::make_shared<reply_slot>([self = *this](const outcome& end) {
          self.decided(end);
        });
    ctx->send(std::move(cmd));
  }
};

void alipay_notify(const context_ptr& ctx, exchange_ptr x) {
  if (!ctx->alipay) {
    x->answer(plain(404, "failure"));
    return;
  }
  const auto& in = x->in();
  const auto got = ctx->alipay->verify(in.body);
  if (!got) {
    ctx->env->metrics->callback("alipay", "forged");
    spdlog::warn("alipay: notification from {} refused: {} ({})", in.remote,
                 to_string(got.error().reason), in.id);
    x->answer(plain(400, "Invalid signature"));
    return;
  }
  const auto at = ctx->now();
  auto entry = std::make_shared<callback_entry>();
  entry->gateway = payment_gateway::alipay;
  entry->received_at = at;
  entry->order_id = printable(got->order_id);
  // The same for all deliveries of one event.
  entry->dedupe_key
    = entry->order_id + "|"
      + (got->notify_id.empty() ? crypto::hex_encode(crypto::sha256(in.body))
                                : printable(got->notify_id));
  entry->headers = keep_headers(in.headers);
  entry->body = in.body;
  const auto ref = parse_order_ref(got->order_id);
  if (ref)
    entry->subscription = ref->subscription;
  const auto d = delivery{ctx, std::move(x), std::move(entry)};
  if (const auto wrong = ctx->alipay->check_identity(*got)) {
    d.contradict_with(std::string{to_string(wrong->reason)});
    return;
  }
  if (!ref) {
    d.contradict_with("order_not_found");
    return;
  }
  switch (gateway::action_of(*got)) {
    case notification_action::noop:
      d.keep(callback_outcome::acknowledged, got->trade_status);
      return;
    case notification_action::payment_settled:
      d.feed(ref->subscription,
             payment_settled{
               at, ref->seq, payment_gateway::alipay, got->trade_no,
               *got->total_amount_minor,
               got->gmt_payment.value_or(got->notify_time.value_or(at))});
      return;
    case notification_action::closed:
      d.feed(ref->subscription, order_closed{at, ref->seq});
      return;
    case notification_action::refund:
      d.feed(ref->subscription,
             refund_observed{at, ref->seq, *got->refunded_minor});
      return;
    case notification_action::reject:
      d.contradict_with("unknown_status");
      return;
  }
}

} // namespace

void add_callback_routes(http::router& to, const context_ptr& ctx) {
  to.add(http::method::post, "/api/payment/alipay/notify", alipay_notify_route,
         [ctx](exchange_ptr x) {
           alipay_notify(ctx, std::move(x));
         });
}

} // namespace slipway::api
