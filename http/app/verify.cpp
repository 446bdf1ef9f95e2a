#include "http/app/verify.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/intake.hpp"
#include "http/gateway/strict_json.hpp"
#include "http/gateway/xml.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <tl/expected.hpp>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::app {

namespace {

namespace json = boost::json;

using crypto::form_fields;
using gateway::ending;
using gateway::protocol;
using gateway::reject_reason;
using gateway::signature_verdict;
using lifecycle::order_status;

template <class T>
using expected = tl::expected<T, std::string>;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  return crypto::json_quote(text.substr(0, shown_max))
         + (text.size() > shown_max ? "…" : "");
}

// -- reading the file
// ---------------------------------------------------------------

/// The members of one object of the file. A member that is null counts as
/// missing. The first one of another type is remembered in `wrong`.
class members {
public:
  members(const json::object& from, std::string path, std::string& wrong)
    : from_{&from}, path_{std::move(path)}, wrong_{&wrong} {
  }

  /// Empty where there is none.
  [[nodiscard]] std::string text(std::string_view name) const {
    const auto* found = find(name);
    if (found == nullptr)
      return {};
    if (const auto* is = found->if_string())
      return std::string{*is};
    expect(name, "a text");
    return {};
  }

  [[nodiscard]] std::string needed_text(std::string_view name) const {
    auto out = text(name);
    if (out.empty())
      expect(name, "a text");
    return out;
  }

  [[nodiscard]] std::optional<std::int64_t>
  integer(std::string_view name, std::int64_t min, std::int64_t max) const {
    const auto* found = find(name);
    if (found == nullptr)
      return std::nullopt;
    if (const auto* is = found->if_int64(); is && *is >= min && *is <= max)
      return *is;
    expect(name, "an integer of " + std::to_string(min) + " to "
                   + std::to_string(max));
    return std::nullopt;
  }

  /// Null where there is none.
  [[nodiscard]] const json::object* object(std::string_view name) const {
    const auto* found = find(name);
    if (found == nullptr)
      return nullptr;
    const auto* out = found->if_object();
    if (out == nullptr)
      expect(name, "an object");
    return out;
  }

  /// Without members where there is none.
  [[nodiscard]] members inside(std::string_view name) const {
    static const auto nothing = json::object{};
    const auto* found = object(name);
    return {found != nullptr ? *found : nothing, path_of(name), *wrong_};
  }

  /// Null where there is none.
  [[nodiscard]] const json::array* array(std::string_view name) const {
    const auto* found = find(name);
    if (found == nullptr)
      return nullptr;
    const auto* out = found->if_array();
    if (out == nullptr)
      expect(name, "a list");
    return out;
  }

  /// Every member, each of which has to be a text.
  [[nodiscard]] form_fields texts() const {
    auto out = form_fields{};
    for (const auto& each : *from_)
      out.emplace_back(std::string{each.key()}, needed_text(each.key()));
    return out;
  }

  /// Remembers that something else was expected of a member.
  void expect(std::string_view name, std::string_view what) const {
    if (wrong_->empty())
      *wrong_ = path_of(name) + ": expected " + std::string{what};
  }

  [[nodiscard]] std::string path_of(std::string_view name) const {
    return path_ + (path_.empty() ? "" : ".") + std::string{name};
  }

private:
  [[nodiscard]] const json::value* find(std::string_view name) const {
    const auto* found = from_->if_contains(name);
    return found == nullptr || found->is_null() ? nullptr : found;
  }

  const json::object* from_;
  std::string path_;
  std::string* wrong_;
};

enum class kind : std::uint8_t {
  notify,
  refund_notify,
  response,
  request,
  computation,
};

std::optional<kind> kind_of(std::string_view name) noexcept {
  if (name == "notify")
    return kind::notify;
  if (name == "refund-notify")
    return kind::refund_notify;
  if (name == "response")
    return kind::response;
  if (name == "request")
    return kind::request;
  if (name == "computation")
    return kind::computation;
  return std::nullopt;
}

std::optional<protocol> protocol_of(std::string_view name) noexcept {
  if (name == "alipay")
    return protocol::alipay;
  if (name == "wechat-v2")
    return protocol::wechat_v2;
  if (name == "wechat-v3")
    return protocol::wechat_v3;
  return std::nullopt;
}

/// What the merchant knows before the message arrives.
struct known_order {
  std::string id;
  std::string currency = "CNY";
  lifecycle::order order;
  /// Those that are still on their way.
  std::vector<gateway::known_refund> refunds;
};

/// The file, as far as every kind has it.
struct message {
  std::string id;
  protocol from = protocol::alipay;
  kind is = kind::notify;
  timestamp clock{};
  std::string method;
  std::string path;
  std::string api_method;
  int status = 200; ///< Of a response.
  client::header_list headers;
  std::string body;
  std::optional<known_order> order;
};

client::header_list headers_of(const members& from) {
  auto out = client::header_list{};
  const auto* list = from.array("headers");
  if (list == nullptr)
    return out;
  for (const auto& each : *list) {
    const auto* pair = each.if_array();
    if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string()
        || !(*pair)[1].is_string()) {
      from.expect("headers", "a list of pairs [name, value], both texts");
      return out;
    }
    out.emplace_back(std::string{(*pair)[0].get_string()},
                     std::string{(*pair)[1].get_string()});
  }
  return out;
}

std::string body_of(const members& file) {
  const auto encoded = file.text("body_base64");
  auto body = encoded.empty()
                ? std::optional<std::string>{file.text("body_utf8")}
                : crypto::base64_decode(encoded);
  if (!body) {
    file.expect("body_base64", "base64 with its padding, without blanks");
    return {};
  }
  if (const auto sum = file.text("body_sha256");
      !sum.empty() && sum != crypto::hex_encode(crypto::sha256(*body)))
    file.expect("body_sha256", "the SHA-256 of the body, "
                                 + crypto::hex_encode(crypto::sha256(*body)));
  return std::move(*body);
}

std::optional<order_status> status_of(std::string_view word) noexcept {
  for (auto unpaid :
       {"", "WAIT_BUYER_PAY", "NOTPAY", "USERPAYING", "PAYERROR", "ACCEPT"})
    if (word == unpaid)
      return order_status::pending;
  for (auto paid : {"TRADE_SUCCESS", "TRADE_FINISHED", "SUCCESS", "REFUND"})
    if (word == paid)
      return order_status::paid;
  for (auto closed : {"TRADE_CLOSED", "CLOSED", "REVOKED"})
    if (word == closed)
      return order_status::closed;
  return std::nullopt;
}

/// An amount in the gateway's own form: `"88.88"` of Alipay, fen of WeChat Pay.
minor_units amount_of(const members& from, std::string_view name, protocol of) {
  if (of == protocol::alipay) {
    const auto out = parse_amount(from.needed_text(name));
    if (!out || *out == 0)
      from.expect(name, "yuan as a text, \"88.88\"");
    return out.value_or(0);
  }
  const auto out = from.integer(name, 1, amount_max_minor);
  if (!out)
    from.expect(name, "an integer of fen");
  return out.value_or(0);
}

/// Adds a refund that the merchant has asked for, or of which it knows that it
/// has been made.
void take_refund(known_order& to, const members& from, protocol of) {
  auto refund = gateway::known_refund{};
  refund.refund_id = from.needed_text(of == protocol::alipay ? "out_request_no"
                                                             : "out_refund_no");
  refund.amount
    = amount_of(from, of == protocol::wechat_v2 ? "refund_fee" : "amount", of);
  auto status = from.text("status");
  if (status.empty())
    status = from.text("refund_status");
  if (status != "SUCCESS" && status != "REFUND_SUCCESS") {
    to.refunds.push_back(std::move(refund));
    return;
  }
  if (refund.amount > to.order.amount - to.order.refunded) {
    from.expect(of == protocol::wechat_v2 ? "refund_fee" : "amount",
                "no more than was paid");
    return;
  }
  to.order.refunded += refund.amount;
  to.order.refunds_counted += refund.refund_id + " ";
}

std::optional<known_order> order_of(const members& file, protocol of) {
  if (file.object("order") == nullptr)
    return std::nullopt;
  const auto from = file.inside("order");
  auto out = known_order{};
  out.id = from.needed_text("out_trade_no");
  auto& order = out.order;
  order.seq = 1;
  order.gateway = gateway::gateway_of(of);
  auto currency = std::string{};
  if (of == protocol::alipay) {
    order.amount = amount_of(from, "total_amount", of);
    order.transaction_id = from.text("trade_no");
  } else {
    const auto v2 = of == protocol::wechat_v2;
    const auto amount = v2 ? from : from.inside("amount");
    order.amount = amount_of(amount, v2 ? "total_fee" : "total", of);
    order.transaction_id = from.text("transaction_id");
    currency = amount.text(v2 ? "fee_type" : "currency");
  }
  if (!currency.empty())
    out.currency = std::move(currency);
  auto word = from.text("status");
  if (word.empty())
    word = from.text("trade_state");
  const auto status = status_of(word);
  if (!status)
    from.expect("status", "a status of the gateway's, like WAIT_BUYER_PAY, "
                          "NOTPAY, SUCCESS or CLOSED");
  order.status = status.value_or(order_status::pending);
  auto nth = std::size_t{0};
  if (const auto* refunds = from.array("refunds"))
    for (const auto& each : *refunds) {
      const auto name = "refunds[" + std::to_string(nth++) + "]";
      const auto* refund = each.if_object();
      if (refund == nullptr) {
        from.expect(name, "an object");
        break;
      }
      auto wrong = std::string{};
      take_refund(out, {*refund, from.path_of(name), wrong}, of);
      if (!wrong.empty()) {
        from.expect(name, "a refund; " + wrong);
        break;
      }
    }
  // A closed trade of Alipay that was refunded had been paid before.
  if (order.status == order_status::closed && nth != 0) {
    order.status = order_status::refunded;
    order.refunded = order.amount;
    out.refunds.clear();
  }
  order.applied = order.status == order_status::paid
                  || order.status == order_status::refunded;
  if (order.status == order_status::paid) {
    if (order.refunded == order.amount)
      order.status = order_status::refunded;
    else if (!out.refunds.empty())
      order.status = order_status::refunding;
  }
  return out;
}

message message_of(const members& file) {
  auto out = message{};
  out.id = file.needed_text("id");
  const auto from = protocol_of(file.text("gateway"));
  if (!from)
    file.expect("gateway", "alipay, wechat-v2 or wechat-v3");
  out.from = from.value_or(protocol::alipay);
  const auto is = kind_of(file.text("kind"));
  if (!is)
    file.expect("kind",
                "notify, refund-notify, response, request or computation");
  out.is = is.value_or(kind::notify);
  // Year 9999, and as far before 1970.
  constexpr std::int64_t seconds_max = 253'402'300'799;
  const auto clock = file.integer("clock", -seconds_max, seconds_max);
  // Only v3 has a rule about the time.
  if (!clock && out.from == protocol::wechat_v3 && out.is != kind::request
      && out.is != kind::computation)
    file.expect("clock", "Unix seconds");
  out.clock = timestamp{std::chrono::seconds{clock.value_or(0)}};
  const auto request = file.inside("request");
  out.method = request.text("method");
  out.path = request.text("path");
  if (out.path.empty())
    out.path = request.text("url");
  out.api_method = request.text("api_method");
  if (out.is == kind::response) {
    const auto response = file.inside("response");
    out.status
      = static_cast<int>(response.integer("status", 100, 999).value_or(200));
    if (out.api_method.empty())
      out.api_method = response.text("api_method");
    out.headers = headers_of(response);
  } else {
    out.headers = headers_of(request);
  }
  out.body = body_of(file);
  if (out.is == kind::notify || out.is == kind::refund_notify)
    out.order = order_of(file, out.from);
  return out;
}

// -- the merchant's accounts, as configured in the file
// ---------------------------------------------------------------

expected<std::shared_ptr<const gateway::alipay>>
alipay_of(const members& config) {
  auto settings = config::alipay_settings{};
  settings.app_id = config.text("app_id");
  settings.seller_id = config.text("seller_id");
  if (auto type = config.text("sign_type"); !type.empty())
    settings.sign_type = std::move(type);
  settings.alipay_public_key = config.text("alipay_public_key_pem");
  settings.alipay_cert = config.text("alipay_cert_pem");
  settings.app_cert = config.text("app_cert_pem");
  settings.root_cert = config.text("alipay_root_cert_pem");
  auto made = gateway::alipay::make(settings);
  if (!made)
    return failed("config: " + made.error());
  return std::make_shared<const gateway::alipay>(std::move(*made));
}

config::wechat_settings wechat_settings_of(const members& config) {
  auto out = config::wechat_settings{};
  const auto either = [&](std::string_view one, std::string_view other) {
    auto found = config.text(one);
    return found.empty() ? config.text(other) : found;
  };
  out.app_id = either("appid", "app_id");
  out.mch_id = either("mchid", "mch_id");
  out.api_v2_key = config::secret{config.text("api_v2_key")};
  out.api_v3_key = config::secret{config.text("api_v3_key")};
  for (auto keys : {"platform_certificates", "wechatpay_public_keys"})
    for (auto& [serial, pem] : config.inside(keys).texts())
      out.platform_keys.push_back({std::move(serial), std::move(pem)});
  return out;
}

/// The order's way of signing where it names one, else the configured one.
expected<gateway::v2_sign_type>
v2_type_of(const members& file, const members& config) {
  auto name = file.inside("order").text("sign_type");
  const auto where = name.empty() ? "config.sign_type" : "order.sign_type";
  if (name.empty())
    name = config.text("sign_type");
  if (name.empty())
    name = config::wechat_settings{}.v2_sign_type;
  const auto type = gateway::v2_sign_type_of(name);
  if (!type)
    return failed(std::string{where} + " is " + in_quotes(name)
                  + "; expected HMAC-SHA256 or MD5");
  return *type;
}

expected<gateway::accounts>
accounts_of(const message& what, const members& file, const members& config) {
  auto out = gateway::accounts{};
  switch (what.from) {
    case protocol::alipay: {
      auto made = alipay_of(config);
      if (!made)
        return failed(std::move(made.error()));
      out.ali = std::move(*made);
      break;
    }
    case protocol::wechat_v2: {
      const auto type = v2_type_of(file, config);
      if (!type)
        return failed(type.error());
      auto made = gateway::wechat_v2::make(wechat_settings_of(config), *type);
      if (!made)
        return failed("config: " + made.error());
      out.v2 = std::make_shared<const gateway::wechat_v2>(std::move(*made));
      break;
    }
    case protocol::wechat_v3: {
      const auto settings = wechat_settings_of(config);
      auto keys = gateway::platform_keys::make(settings.platform_keys);
      if (!keys)
        return failed("config: " + keys.error());
      auto made = gateway::wechat_v3::make(settings, std::move(*keys));
      if (!made)
        return failed("config: " + made.error());
      out.v3 = std::make_shared<const gateway::wechat_v3>(std::move(*made));
      break;
    }
  }
  return out;
}

// -- what is said about it
// ---------------------------------------------------------------

struct finding {
  signature_verdict signature = signature_verdict::not_evaluated;
  std::string decision; ///< Empty: nothing was to be decided.
  std::string reason;
  std::optional<gateway::reply> reply;
  std::optional<json::object> computed;
};

json::value text_or_null(const std::string& text) {
  if (text.empty())
    return nullptr;
  return json::value(crypto::to_valid_utf8(text));
}

std::string line_of(const std::string& id, const finding& what) {
  auto out = json::object{};
  out["id"] = crypto::to_valid_utf8(id);
  out["signature"] = to_string(what.signature);
  out["decision"] = text_or_null(what.decision);
  out["reason"] = text_or_null(what.reason);
  if (what.reply) {
    auto& reply = out["reply"].emplace_object();
    reply["status"] = what.reply->status;
    reply["body"] = crypto::to_valid_utf8(what.reply->body);
  } else {
    out["reply"] = nullptr;
  }
  if (what.computed)
    out["computed"] = *what.computed;
  return json::serialize(out);
}

std::string error_line(std::string_view name, std::string_view sentence) {
  auto out = json::object{};
  out["id"] = crypto::to_valid_utf8(name);
  out["error"] = crypto::to_valid_utf8(sentence);
  return json::serialize(out);
}

// -- notifications
// ---------------------------------------------------------------

constexpr std::string_view ack_noop = "ack_noop";

/// What the machine's verdict on a message comes to.
std::string decision_of(gateway::meaning is, lifecycle::verdict verdict) {
  using gateway::meaning;
  if (verdict == lifecycle::verdict::stale)
    return std::string{ack_noop};
  const auto applied = verdict == lifecycle::verdict::applied;
  switch (is) {
    case meaning::nothing:
      break;
    case meaning::payment:
      return applied ? "credit" : "ack_duplicate";
    case meaning::closed:
      return applied ? "close" : std::string{ack_noop};
    case meaning::refund:
      return applied ? "record_refund" : "ack_duplicate";
    case meaning::refund_abnormal:
    case meaning::refund_closed:
      return std::string{to_string(is)};
  }
  return std::string{ack_noop};
}

/// The subscription that has just this order.
lifecycle::state state_with(const lifecycle::order& order, timestamp at) {
  auto out = lifecycle::state{};
  out.revision = 1;
  out.amount = order.amount;
  if (order.applied) {
    out.status = order.status == order_status::refunded
                   ? lifecycle::subscription_status::refunded
                   : lifecycle::subscription_status::active;
    out.start_at = at;
    out.end_at = at + std::chrono::days{out.period_days};
  }
  out.orders.push_back(order);
  return out;
}

finding
judge_notification(const message& what, const gateway::accounts& accounts) {
  auto inbound = gateway::inbound{};
  inbound.from = what.from;
  inbound.refund = what.is == kind::refund_notify;
  inbound.headers = &what.headers;
  inbound.body = what.body;
  inbound.now = what.clock;
  const auto got = gateway::read(accounts, inbound);
  const auto& said = got.what;
  auto out = finding{};
  out.signature = got.signature;
  const auto reject = [&](ending how, std::string_view why,
                          std::optional<reject_reason> reason = {}) {
    out.decision = "reject";
    out.reason = why;
    out.reply = gateway::reply_to(what.from, how, reason);
    return out;
  };
  const auto acknowledge = [&](std::string decision) {
    out.decision = std::move(decision);
    out.reply = gateway::reply_to(what.from, ending::done);
    return out;
  };
  if (got.refused || !gateway::is_authentic(got)) {
    const auto why = got.refused.value_or(gateway::rejection{}).reason;
    return reject(gateway::is_authentic(got) ? ending::contradicted
                                             : ending::forged,
                  to_string(why), why);
  }
  if (said.is == gateway::meaning::nothing)
    return acknowledge(std::string{ack_noop});
  if (!what.order || what.order->id != said.order_id)
    return reject(ending::contradicted,
                  to_string(reject_reason::order_not_found));
  if (what.order->currency != said.currency)
    return reject(ending::contradicted,
                  to_string(reject_reason::currency_mismatch));
  auto order = what.order->order;
  const auto& refunds = what.order->refunds;
  // A merchant that knows that the order is paid and not by which payment.
  if (order.applied && order.transaction_id.empty())
    order.transaction_id = said.transaction_id;
  // What nobody has signed has to agree with what we know. The server asks the
  // gateway on top of that.
  if (got.signature == signature_verdict::none_by_design
      && !gateway::agrees_with(said, order, refunds))
    return reject(ending::contradicted, "malformed_or_mismatch");
  // Our refunds have the numbers of their places.
  const auto named
    = std::find_if(refunds.begin(), refunds.end(), [&](const auto& x) {
        return x.refund_id == said.refund_id;
      });
  auto refund_seq = std::uint32_t{0};
  if (named != refunds.end()) {
    refund_seq = static_cast<std::uint32_t>(named - refunds.begin() + 1);
    order.refund_seq = refund_seq;
    order.refund_amount = named->amount;
  } else if (!refunds.empty()) {
    order.refund_seq = 1;
    order.refund_amount = refunds.front().amount;
  }
  const auto event = gateway::event_of(said, order.seq, refund_seq, what.clock);
  if (!event)
    return acknowledge(std::string{ack_noop});
  const auto decided
    = lifecycle::decide(state_with(order, what.clock), *event, {});
  const auto how = gateway::ending_of(decided.is);
  if (how != ending::done)
    return reject(how, to_string(decided.is));
  return acknowledge(decision_of(said.is, decided.is));
}

// -- answers of the gateways
// ---------------------------------------------------------------

finding unusable(signature_verdict signature, reject_reason why,
                 bool unknown_failure = false) {
  auto out = finding{};
  out.signature = signature;
  out.decision = unknown_failure ? "treat_as_unknown_failure" : "reject";
  out.reason = to_string(why);
  return out;
}

finding usable() {
  auto out = finding{};
  out.signature = signature_verdict::valid;
  out.decision = "use";
  return out;
}

expected<finding>
judge_alipay_response(const message& what, const gateway::alipay& with) {
  if (what.api_method.empty())
    return failed("request.api_method: expected what was called, like "
                  "alipay.trade.query");
  const auto node = with.read_response(what.api_method, what.body);
  if (node)
    return usable();
  auto out = finding{};
  out.signature = node.error().signature;
  out.decision = to_string(node.error().decision);
  out.reason = to_string(node.error().reason);
  return out;
}

bool succeeded(int status) noexcept {
  return status >= 200 && status < 300;
}

/// Whether it looks like the answer that hands out certificates.
bool holds_certificates(const json::object& body) {
  const auto* data = body.if_contains("data");
  const auto* list = data != nullptr ? data->if_array() : nullptr;
  return list != nullptr && !list->empty() && (*list)[0].is_object()
         && (*list)[0].get_object().contains("encrypt_certificate");
}

finding judge_v3_response(const message& what, const gateway::wechat_v3& with) {
  const auto checked = with.check(what.headers, what.body, what.clock);
  const auto body = gateway::parse_object(what.body);
  if (body && succeeded(what.status) && holds_certificates(*body)) {
    auto answer = client::http_response{};
    answer.status = what.status;
    answer.headers = what.headers;
    answer.body = what.body;
    // Its signer may be one of the certificates themselves.
    const auto certificates = with.read_certificates(answer, what.clock);
    if (!certificates && !checked.refused)
      return unusable(checked.signature, reject_reason::decrypt_failed);
    if (certificates) {
      auto out = usable();
      auto serials = json::array{};
      for (const auto& each : *certificates)
        serials.emplace_back(each.serial);
      out.computed.emplace()["serials"] = std::move(serials);
      return out;
    }
  }
  if (checked.refused)
    // Whoever stands in between may fail, too, and signs nothing.
    return unusable(checked.signature, checked.refused->reason,
                    checked.signature == signature_verdict::missing
                      && !succeeded(what.status));
  if (!what.body.empty() && !body)
    return unusable(checked.signature,
                    body.error().starts_with("duplicate member")
                      ? reject_reason::duplicate_member
                      : reject_reason::malformed_body);
  return usable();
}

/// The sign of v2's XML; `missing` and `malformed_xml` where there is none.
finding check_v2_sign(const message& what, const config::secret& key,
                      gateway::v2_sign_type type) {
  const auto fields = gateway::parse_flat_xml(what.body, "xml");
  if (!fields)
    return unusable(signature_verdict::not_evaluated, fields.error().reason,
                    what.is == kind::response && !succeeded(what.status));
  const auto value = [&](std::string_view name) {
    const auto* found = crypto::find_field(*fields, name);
    return found != nullptr ? std::string_view{*found} : std::string_view{};
  };
  const auto failure = value("return_code") == "FAIL";
  if (value("sign").empty())
    return unusable(signature_verdict::missing,
                    failure ? reject_reason::return_code_fail
                            : reject_reason::sign_missing,
                    failure);
  const auto genuine = crypto::constant_time_equal(
    value("sign"), v2_sign(*fields, key.reveal(), type));
  if (const auto named = value("sign_type");
      !named.empty() && named != to_string(type))
    return unusable(genuine ? signature_verdict::valid_under_configured_type
                            : signature_verdict::invalid,
                    reject_reason::sign_type_not_allowed);
  if (!genuine)
    return unusable(signature_verdict::invalid, reject_reason::sign_mismatch);
  return usable();
}

// -- our own requests
// ---------------------------------------------------------------

finding checked(signature_verdict signature, std::string_view reason = {}) {
  auto out = finding{};
  out.signature = signature;
  out.reason = reason;
  return out;
}

finding checked(signature_verdict signature, reject_reason reason) {
  return checked(signature, to_string(reason));
}

/// The key that a request was made with, out of the first of these members.
expected<crypto::rsa_public_key>
public_key_of(const members& config,
              std::initializer_list<std::string_view> names) {
  for (auto name : names)
    if (const auto pem = config.text(name); !pem.empty()) {
      auto key = crypto::rsa_public_key::parse(pem);
      if (!key)
        return failed(config.path_of(name) + ": " + key.error());
      return std::move(*key);
    }
  return failed(config.path_of(*names.begin())
                + ": expected the key that checks the request's signature");
}

/// Path and query of an address.
std::string_view target_of(std::string_view address) noexcept {
  const auto scheme = address.find("://");
  if (scheme == std::string_view::npos || address.starts_with('/'))
    return address;
  const auto path = address.find('/', scheme + 3);
  return path == std::string_view::npos ? std::string_view{"/"}
                                        : address.substr(path);
}

expected<finding>
check_alipay_request(const message& what, const members& config) {
  const auto key
    = public_key_of(config, {"app_public_key_pem", "app_cert_pem"});
  if (!key)
    return failed(key.error());
  auto sent = std::string{};
  if (const auto query = what.path.find('?'); query != std::string::npos)
    sent = what.path.substr(query + 1);
  // Parameters in the address and in the body are one set.
  if (!what.body.empty())
    sent += "&" + what.body;
  auto fields = crypto::decode_form(sent);
  if (!fields)
    return checked(signature_verdict::not_evaluated,
                   fields.error() == crypto::form_error::duplicate_name
                     ? reject_reason::duplicate_parameter
                     : reject_reason::malformed_body);
  const auto* sign = crypto::find_field(*fields, "sign");
  if (sign == nullptr || sign->empty())
    return checked(signature_verdict::missing, reject_reason::sign_missing);
  const auto signature = crypto::base64_decode(*sign);
  if (!signature)
    return checked(signature_verdict::malformed, reject_reason::sign_malformed);
  auto type = config.text("sign_type");
  if (const auto* named = crypto::find_field(*fields, "sign_type");
      named != nullptr && type.empty())
    type = *named;
  if (type != "RSA2" && type != "RSA")
    return checked(signature_verdict::unsupported,
                   reject_reason::sign_type_not_allowed);
  std::sort(fields->begin(), fields->end());
  auto content = std::string{};
  for (const auto& [name, value] : *fields)
    if (name != "sign")
      content.append(content.empty() ? "" : "&")
        .append(name)
        .append("=")
        .append(value);
  const auto digest
    = type == "RSA2" ? crypto::digest::sha256 : crypto::digest::sha1;
  if (!key->verify(digest, content, *signature))
    return checked(signature_verdict::invalid, reject_reason::sign_mismatch);
  return checked(signature_verdict::valid);
}

/// The items `name="value"` of an Authorization header.
form_fields items_of(std::string_view text) {
  auto out = form_fields{};
  while (!text.empty()) {
    const auto middle = text.find("=\"");
    if (middle == std::string_view::npos)
      break;
    auto name = text.substr(0, middle);
    name.remove_prefix(std::min(name.size(), name.find_first_not_of(" ,")));
    text.remove_prefix(middle + 2);
    const auto end = text.find('"');
    if (end == std::string_view::npos)
      break;
    out.emplace_back(name, text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return out;
}

expected<finding> check_v3_request(const message& what, const members& config) {
  constexpr std::string_view scheme = "WECHATPAY2-SHA256-RSA2048 ";
  const auto key = public_key_of(
    config, {"merchant_certificate_pem", "merchant_public_key_pem"});
  if (!key)
    return failed(key.error());
  const auto header = std::find_if(
    what.headers.begin(), what.headers.end(), [](const auto& each) {
      return each.first == "Authorization" || each.first == "authorization";
    });
  if (header == what.headers.end() || header->second.empty())
    return checked(signature_verdict::missing, reject_reason::header_missing);
  if (!header->second.starts_with(scheme))
    return checked(signature_verdict::unsupported,
                   reject_reason::unsupported_signature_type);
  const auto items
    = items_of(std::string_view{header->second}.substr(scheme.size()));
  for (auto name :
       {"mchid", "serial_no", "timestamp", "nonce_str", "signature"})
    if (crypto::find_field(items, name) == nullptr)
      return checked(signature_verdict::not_evaluated,
                     reject_reason::header_malformed);
  const auto item = [&](std::string_view name) {
    return *crypto::find_field(items, name);
  };
  if (const auto serial = config.text("merchant_serial");
      !serial.empty() && item("serial_no") != serial)
    return checked(signature_verdict::invalid, reject_reason::unknown_serial);
  const auto signature = crypto::base64_decode(item("signature"));
  if (!signature)
    return checked(signature_verdict::malformed, reject_reason::sign_malformed);
  const auto content = what.method + "\n" + std::string{target_of(what.path)}
                       + "\n" + item("timestamp") + "\n" + item("nonce_str")
                       + "\n" + what.body + "\n";
  if (!key->verify(crypto::digest::sha256, content, *signature))
    return checked(signature_verdict::invalid, reject_reason::sign_mismatch);
  if (const auto mch_id = config.text("mchid");
      !mch_id.empty() && item("mchid") != mch_id)
    return checked(signature_verdict::valid, reject_reason::mch_id_mismatch);
  return checked(signature_verdict::valid);
}

// -- computations
// ---------------------------------------------------------------

expected<finding> compute(const message& what, const members& file) {
  const auto config = file.inside("config");
  auto computed = json::object{};
  if (what.from == protocol::alipay) {
    const auto add = [&](std::string_view member, std::string_view name,
                         auto sn_of) -> expected<void> {
      const auto pem = config.text(member);
      if (pem.empty())
        return {};
      const auto sn = sn_of(pem);
      if (!sn)
        return failed(config.path_of(member) + ": " + sn.error());
      computed[name] = *sn;
      return {};
    };
    auto done = add("app_cert_pem", "app_cert_sn", gateway::alipay_cert_sn);
    if (done)
      done = add("alipay_cert_pem", "alipay_cert_sn", gateway::alipay_cert_sn);
    if (done)
      done = add("alipay_root_cert_pem", "alipay_root_cert_sn",
                 gateway::alipay_root_cert_sn);
    if (!done)
      return failed(std::move(done.error()));
  } else if (what.from == protocol::wechat_v2) {
    const auto fields = file.inside("intermediate").inside("fields").texts();
    const auto key = config.text("api_v2_key");
    if (!fields.empty() && !key.empty())
      for (auto type :
           {gateway::v2_sign_type::md5, gateway::v2_sign_type::hmac_sha256})
        computed[to_string(type)] = gateway::v2_sign(fields, key, type);
  }
  if (computed.empty())
    return failed("nothing to compute: expected certificates of Alipay "
                  "(config.*_cert_pem), or fields of WeChat Pay v2 "
                  "(intermediate.fields) with config.api_v2_key");
  auto out = finding{};
  const auto wanted = file.inside("expect");
  for (const auto& each : computed)
    if (const auto value = wanted.text(each.key());
        !value.empty() && value != each.value().get_string())
      out.reason += (out.reason.empty() ? "" : ", ") + std::string{each.key()}
                    + " is not the expected one";
  out.computed = std::move(computed);
  return out;
}

// -- all of them
// ---------------------------------------------------------------

expected<finding> judge(const message& what, const members& file) {
  const auto config = file.inside("config");
  switch (what.is) {
    case kind::computation:
      return compute(what, file);
    case kind::request:
      if (what.from == protocol::alipay)
        return check_alipay_request(what, config);
      if (what.from == protocol::wechat_v3)
        return check_v3_request(what, config);
      break;
    case kind::response:
      break;
    case kind::notify:
    case kind::refund_notify: {
      const auto accounts = accounts_of(what, file, config);
      if (!accounts)
        return failed(accounts.error());
      return judge_notification(what, *accounts);
    }
  }
  if (what.from == protocol::wechat_v2) {
    const auto type = v2_type_of(file, config);
    if (!type)
      return failed(type.error());
    auto out = check_v2_sign(
      what, config::secret{config.needed_text("api_v2_key")}, *type);
    if (what.is == kind::request)
      out.decision.clear();
    return out;
  }
  const auto accounts = accounts_of(what, file, config);
  if (!accounts)
    return failed(accounts.error());
  if (accounts->ali)
    return judge_alipay_response(what, *accounts->ali);
  return judge_v3_response(what, *accounts->v3);
}

} // namespace

std::string verify_message(std::string_view name, std::string_view text) {
  const auto parsed = gateway::parse_object(text);
  if (!parsed)
    return error_line(name, "expected one message as a JSON object: "
                              + parsed.error());
  auto wrong = std::string{};
  const auto file = members{*parsed, {}, wrong};
  const auto what = message_of(file);
  if (!wrong.empty())
    return error_line(name, wrong);
  const auto found = judge(what, file);
  if (!found)
    return error_line(name, found.error());
  if (!wrong.empty())
    return error_line(name, wrong);
  return line_of(what.id, *found);
}

std::string verify_unreadable(std::string_view name, std::string_view why) {
  return error_line(name, why);
}

} // namespace slipway::app
