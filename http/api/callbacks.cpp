#include "http/api/callbacks.hpp"

#include "actors/observe/log.hpp"
#include "http/api/problem.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"

#include <atomic>

namespace slipway::api {

using namespace lifecycle;

namespace {

using gateway::ending;
using gateway::protocol;
using gateway::reject_reason;

/// PostgreSQL's text cannot hold NUL, and what is shown to people should not
/// hold control characters.
std::string printable(std::string text) {
  for (auto& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = '?';
  return crypto::to_valid_utf8(text);
}

/// @see callbacks_answered
auto answered = std::atomic<std::uint64_t>{0};

/// One message on its way to an answer.
struct delivery {
  context_ptr ctx;
  exchange_ptr x;
  protocol from = protocol::alipay;
  std::shared_ptr<callback_entry> entry;

  void answer(ending how, std::optional<reject_reason> why = {}) const {
    auto words = gateway::reply_to(from, how, why);
    auto out = http::response{};
    out.status = words.status;
    out.content_type = std::move(words.content_type);
    out.body = std::move(words.body);
    x->answer(std::move(out));
  }

  void count(std::string_view outcome) const {
    ctx->env->metrics->callback(gateway::gateway_name(from), outcome);
    answered.fetch_add(1, std::memory_order_relaxed);
  }

  /// Applied, applied before, or nothing to us.
  void acknowledge(callback_outcome as) const {
    count(to_string(as));
    answer(ending::done);
  }

  /// Authentic, and in conflict with what we know: the gateway shall come again
  /// while a person looks.
  void contradict(std::optional<reject_reason> why = {}) const {
    count("contradicted");
    answer(ending::contradicted, why);
  }

  /// Our own trouble.
  void fail() const {
    count("error");
    answer(ending::trouble);
  }

  /// Keeps the message, then answers by what it was kept as.
  void keep(callback_outcome as, std::string reason,
            std::optional<reject_reason> why = {}) const {
    auto keep = std::make_shared<inbox_job>();
    keep->entry = *entry;
    keep->entry.outcome = as;
    keep->entry.reason = std::move(reason);
    keep->done = {[self = *this, as, why](errc error) {
                    if (error != errc::none)
                      self.fail();
                    else if (as == callback_outcome::contradicted)
                      self.contradict(why);
                    else
                      self.acknowledge(as);
                  },
                  errc::unavailable};
    ctx->send(std::move(keep));
  }

  [[nodiscard]] log::about about() const {
    auto out = log::about{entry->subscription};
    out.order(entry->order_id)
      .request(x->in().id)
      .trace(x->in().trace.where.trace);
    return out;
  }

  void warn_of_contradiction(std::string_view reason) const {
    about().warn("{}: authentic callback for order {} contradicts us: {}",
                 gateway::gateway_name(from), entry->order_id, reason);
  }

  void contradict_with(std::string reason,
                       std::optional<reject_reason> why = {}) const {
    warn_of_contradiction(reason);
    keep(callback_outcome::contradicted, std::move(reason), why);
  }

  /// Not proven to come from the gateway.
  void refuse(const gateway::rejection& why) const {
    const auto probe = why.reason == reject_reason::signtest_probe;
    count(probe ? "probe" : "forged");
    auto sample = *entry;
    sample.reason = to_string(why.reason);
    sample.dedupe_key
      = "forged|" + x->in().id + "|"
        + std::to_string(sample.received_at.time_since_epoch().count());
    const auto noted = ctx->keep_forged(std::move(sample));
    if (noted && probe)
      about().info("wechat: signature probe refused, as it has to be");
    else if (noted)
      about().warn("{}: callback from {} refused: {}",
                   gateway::gateway_name(from), x->in().remote,
                   to_string(why.reason));
    if (why.reason == reject_reason::unknown_serial) {
      // The gateway may have changed its certificate: it comes again, and finds
      // us with the new one.
      auto errand = std::make_shared<gateway_errand>();
      errand->what = gateway_errand::kind::refresh_keys;
      errand->gateway = payment_gateway::wechat;
      ctx->send(std::move(errand));
    }
    answer(ending::forged, why.reason);
  }

  /// After everything is durable.
  void decided(const outcome& end) const {
    if (end.error == errc::not_found) {
      contradict_with("order_not_found");
      return;
    }
    if (end.error != errc::none) {
      fail();
      return;
    }
    if (gateway::ending_of(end.is) == ending::contradicted) {
      warn_of_contradiction(to_string(end.is));
      contradict();
    } else {
      acknowledge(end.is == verdict::applied ? callback_outcome::applied
                  : end.is == verdict::stale ? callback_outcome::acknowledged
                                             : callback_outcome::repeated);
    }
  }

  void feed(callback_fact fact) const {
    auto cmd = std::make_shared<command>();
    cmd->subscription = fact.order.subscription;
    cmd->origin = origin_of(x->in());
    cmd->what = std::move(fact.what);
    cmd->callback = entry;
    cmd->reply
      = std::make_shared<reply_slot>([self = *this](const outcome& end) {
          self.decided(end);
        });
    ctx->send(std::move(cmd));
  }

  /// What nobody has signed counts only once the gateway has confirmed it.
  void confirm(const callback_fact& fact, std::string refund_id) const {
    ctx->ask(
      query::find_record{fact.order.subscription},
      [self = *this, seq = fact.order.seq,
       refund_id = std::move(refund_id)](job<query::find_record>::reply found) {
        if (!found) {
          self.decided({found.error(), verdict::stale, nullptr});
          return;
        }
        if (find_order(found->value.state, seq) == nullptr) {
          self.contradict_with("order_not_found");
          return;
        }
        auto errand = std::make_shared<gateway_errand>();
        errand->what = gateway_errand::kind::confirm_refund;
        errand->gateway = payment_gateway::wechat;
        errand->subject = std::make_shared<const record>(found->value);
        errand->order = seq;
        errand->refund_id = refund_id;
        errand->origin = origin_of(self.x->in());
        errand->callback = self.entry;
        errand->reply
          = std::make_shared<reply_slot>([self](const outcome& end) {
              self.decided(end);
            });
        self.ctx->send(std::move(errand));
      });
  }
};

void receive(const context_ptr& ctx, exchange_ptr x, protocol from,
             bool refund) {
  const auto& in = x->in();
  auto message = gateway::inbound{};
  message.from = from;
  message.refund = refund;
  message.headers = &in.headers.entries();
  message.body = in.body;
  message.now = ctx->now();
  const auto got = gateway::read(ctx->accounts, message);
  auto entry = std::make_shared<callback_entry>(
    entry_of(message, got, keep_headers(in.headers)));
  const auto d = delivery{ctx, std::move(x), from, std::move(entry)};
  if (!gateway::is_authentic(got)) {
    d.refuse(got.refused.value_or(gateway::rejection{}));
    return;
  }
  if (got.refused) {
    d.contradict_with(std::string{to_string(got.refused->reason)},
                      got.refused->reason);
    return;
  }
  auto fact = fact_of(got, message.now);
  if (!fact)
    d.contradict_with(fact.error());
  else if (!*fact)
    d.keep(callback_outcome::acknowledged, printable(got.what.word));
  else if (got.signature == gateway::signature_verdict::none_by_design)
    d.confirm(**fact, got.what.refund_id);
  else
    d.feed(std::move(**fact));
}

void alipay_notify(const context_ptr& ctx, exchange_ptr x, bool refund) {
  if (ctx->accounts.has(payment_gateway::alipay))
    receive(ctx, std::move(x), protocol::alipay, refund);
  else
    x->fail(404, "gateway_not_configured",
            "Alipay is not configured on this server");
}

void wechat_notify(const context_ptr& ctx, exchange_ptr x, bool refund) {
  if (!ctx->accounts.has(payment_gateway::wechat)) {
    x->fail(404, "gateway_not_configured",
            "WeChat Pay is not configured on this server");
    return;
  }
  const auto from = gateway::wechat_protocol_of(x->in().body);
  receive(ctx, std::move(x), from, refund);
}

} // namespace

std::uint64_t callbacks_answered() noexcept {
  return answered.load(std::memory_order_relaxed);
}

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

client::header_list kept_headers(std::string_view lines) {
  auto out = client::header_list{};
  while (!lines.empty()) {
    const auto line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix(std::min(lines.size(), line.size() + 1));
    if (const auto colon = line.find(": "); colon != std::string_view::npos)
      out.emplace_back(line.substr(0, colon), line.substr(colon + 2));
  }
  return out;
}

tl::expected<std::optional<callback_fact>, std::string>
fact_of(const gateway::reading& from, timestamp at) {
  const auto& said = from.what;
  if (said.is == gateway::meaning::nothing)
    return std::nullopt;
  const auto ref = parse_order_ref(said.order_id);
  if (!ref)
    return tl::unexpected{std::string{"order_not_found"}};
  auto what = gateway::event_of(
    said, ref->seq, gateway::refund_seq_of(said.order_id, said.refund_id), at);
  if (!what)
    return std::nullopt;
  return callback_fact{*ref, std::move(*what)};
}

callback_entry entry_of(const gateway::inbound& message,
                        const gateway::reading& from, std::string headers) {
  auto out = callback_entry{};
  out.gateway = gateway::gateway_of(message.from);
  out.source
    = message.refund ? callback_source::refund_notify : callback_source::notify;
  out.received_at = message.now;
  out.order_id = printable(from.what.order_id);
  // The same for all deliveries of one event.
  out.dedupe_key = out.order_id + "|" + printable(from.what.word) + "|"
                   + (from.what.event_id.empty()
                        ? crypto::hex_encode(crypto::sha256(message.body))
                        : printable(from.what.event_id));
  out.headers = std::move(headers);
  out.body = message.body;
  if (const auto ref = parse_order_ref(from.what.order_id))
    out.subscription = ref->subscription;
  return out;
}

void add_callback_routes(http::router& to, const context_ptr& ctx) {
  const auto add
    = [&](const char* path, const char* name, auto handler, bool refund) {
        // Money comes first, however many there are who read.
        to.add(
          http::method::post, path, name,
          [ctx, handler, refund](exchange_ptr x) {
            handler(ctx, std::move(x), refund);
          },
          http::admission::first);
      };
  add("/api/payment/alipay/notify", "alipay_notify", alipay_notify, false);
  add("/api/payment/alipay/refund-notify", "alipay_refund_notify",
      alipay_notify, true);
  add("/api/payment/wechat/notify", "wechat_notify", wechat_notify, false);
  add("/api/payment/wechat/refund-notify", "wechat_refund_notify",
      wechat_notify, true);
}

} // namespace slipway::api
