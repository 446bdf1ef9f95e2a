#include "http/crypto/encoding.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/alipay_detail.hpp"
#include "http/gateway/strict_json.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace slipway::gateway {

using alipay_detail::in_quotes;
using alipay_detail::is_reference;

namespace {

namespace json = boost::json;

// -- the signed bytes
// ----------------------------------------------------------

/// A member of the outermost object, exactly as received.
struct raw_member {
  std::string_view name;  ///< Without the quotes, escapes not resolved.
  std::string_view value; ///< With quotes, braces and all.
};

/// Walks over the members of one JSON object. Only for text that a parser has
/// accepted: it finds ends, it checks nothing.
class walker {
public:
  explicit walker(std::string_view text) noexcept : text_{text} {
  }

  std::vector<raw_member> members() {
    std::vector<raw_member> result;
    to('{');
    for (blanks(); !done() && text_[at_] == '"'; blanks()) {
      auto name = value();
      to(':');
      blanks();
      result.push_back({name.substr(1, name.size() - 2), value()});
      blanks();
      if (!done() && text_[at_] == ',')
        ++at_;
    }
    return result;
  }

private:
  [[nodiscard]] bool done() const noexcept {
    return at_ >= text_.size();
  }

  void blanks() noexcept {
    while (!done()
           && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n'
               || text_[at_] == '\r'))
      ++at_;
  }

  /// Behind the next one of these.
  void to(char c) noexcept {
    at_ = std::min(text_.find(c, at_), text_.size() - 1) + 1;
  }

  /// Over a string that starts here.
  void string() noexcept {
    for (++at_; !done() && text_[at_] != '"'; ++at_)
      if (text_[at_] == '\\')
        ++at_;
    at_ = std::min(at_ + 1, text_.size());
  }

  /// Over any value that starts here.
  std::string_view value() noexcept {
    auto begin = at_;
    std::size_t depth = 0;
    while (!done()) {
      auto c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0)
          break; // The end of a number in front of it.
        --depth;
        ++at_;
      } else if (depth == 0
                 && (c == ',' || c == ':' || c == ' ' || c == '\t' || c == '\n'
                     || c == '\r')) {
        break;
      } else {
        ++at_;
        continue;
      }
      if (depth == 0)
        break;
    }
    return text_.substr(begin, at_ - begin);
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

/// The first of that name, or nullptr.
const raw_member*
find(const std::vector<raw_member>& in, std::string_view name) noexcept {
  auto i = std::find_if(in.begin(), in.end(), [name](const auto& x) {
    return x.name == name;
  });
  return i != in.end() ? &*i : nullptr;
}

/// The text of a JSON string as received; nothing for another value.
std::optional<std::string> string_of(const raw_member* member) {
  if (member == nullptr)
    return std::nullopt;
  auto holder = parse_object("{\"x\":" + std::string{member->value} + "}");
  return holder ? text_of(*holder, "x") : std::nullopt;
}

// -- what it says
// --------------------------------------------------------------

/// A short text, empty where there is none that may be stored and shown.
std::string reference_of(const json::object& node, std::string_view name) {
  auto text = text_of(node, name);
  return text && is_reference(*text) ? std::move(*text) : std::string{};
}

/// The more telling one of sub_code and code.
std::string code_of(const json::object& node) {
  auto sub = reference_of(node, "sub_code");
  return !sub.empty() ? sub : reference_of(node, "code");
}

bool is_done(const json::object& node) {
  return reference_of(node, "code") == "10000";
}

bool is_business_error(const json::object& node, std::string_view sub_code) {
  return reference_of(node, "code") == "40004"
         && reference_of(node, "sub_code") == sub_code;
}

auto failed(failure kind, std::string code, std::string sentence) {
  return tl::make_unexpected(
    call_failure{kind, std::move(code), std::move(sentence)});
}

/// What an answer without success amounts to.
auto failed(const json::object& node) {
  auto code = reference_of(node, "code");
  auto sub_code = reference_of(node, "sub_code");
  auto kind = failure::unclear;
  if (code == "40005")
    kind = failure::limited;
  else if (code.starts_with("40") || code == "20001")
    kind = failure::refused;
  // The gateway's own trouble (`isp.`, `aop.ACQ.SYSTEM_ERROR`) passes.
  if (kind == failure::refused
      && (sub_code.ends_with("SYSTEM_ERROR") || sub_code.starts_with("isp.")))
    kind = failure::unclear;
  return failed(kind, code_of(node),
                "Alipay answers " + code + " " + sub_code + " "
                  + in_quotes(text_of(node, "sub_msg").value_or("")));
}

auto incomplete(std::string_view name, const json::object& node) {
  return failed(failure::unclear, {},
                "the answer's " + std::string{name} + " is "
                  + in_quotes(text_of(node, name).value_or("")));
}

/// Whether the answer is about something else: a success has to say what it is
/// about, an error may leave it out.
std::optional<std::string>
stranger(const json::object& node, std::string_view name,
         std::string_view asked, bool must_say) {
  auto said = text_of(node, name);
  auto silent = !node.contains(name) || said == "";
  if (said == asked || (silent && !must_say))
    return std::nullopt;
  return "the answer's " + std::string{name} + " is "
         + in_quotes(said.value_or("")) + "; asked about " + in_quotes(asked);
}

constexpr std::array<std::string_view, 3> decision_names{
  "use",
  "reject",
  "treat_as_unknown_failure",
};

} // namespace

std::string_view to_string(response_decision is) noexcept {
  const auto i = static_cast<std::size_t>(is);
  return i < decision_names.size() ? decision_names[i] : "unknown";
}

// -- whose answer it is
// --------------------------------------------------------

tl::expected<json::object, response_refusal>
alipay::read_response(std::string_view api_method,
                      std::string_view body) const {
  using enum signature_verdict;
  response_refusal refusal;
  auto refuse = [&refusal](reject_reason reason, std::string sentence) {
    refusal.reason = reason;
    refusal.sentence = std::move(sentence);
    return tl::make_unexpected(std::move(refusal));
  };
  std::string node_name{api_method};
  std::replace(node_name.begin(), node_name.end(), '.', '_');
  node_name += "_response";
  auto whole = parse_object(body);
  auto twice = !whole && whole.error().starts_with("duplicate member");
  if (!whole && !twice)
    return refuse(reject_reason::malformed_body,
                  "the answer is no JSON object: " + whole.error());
  auto members = walker{body}.members();
  const auto* node = find(members, node_name);
  const auto* error_node = find(members, "error_response");
  if ((node == nullptr) == (error_node == nullptr))
    return refuse(reject_reason::malformed_body,
                  "the answer holds "
                    + std::string{node == nullptr ? "neither " : "both "}
                    + node_name + (node == nullptr ? " nor " : " and ")
                    + "error_response; expected one of them");
  const auto* signed_node = node != nullptr ? node : error_node;
  auto content = parse_object(signed_node->value);
  if (content)
    refusal.code = code_of(*content);
  // The sign is about the bytes as they are here, never about a new writing of
  // them.
  const auto* sign_member = find(members, "sign");
  auto sign = string_of(sign_member);
  if (sign_member == nullptr || sign == "") {
    refusal.signature = missing;
  } else if (auto raw = sign ? crypto::base64_decode(*sign) : std::nullopt) {
    auto genuine = alipay_key_->verify(digest_, signed_node->value, *raw);
    refusal.signature = genuine ? valid : invalid;
  } else {
    refusal.signature = malformed;
  }
  if (twice)
    return refuse(reject_reason::duplicate_member,
                  "the answer is ambiguous: " + whole.error());
  if (refusal.signature == missing) {
    if (node == nullptr)
      refusal.decision = response_decision::treat_as_unknown_failure;
    return refuse(reject_reason::sign_missing,
                  "the answer is not signed; it claims "
                    + in_quotes(refusal.code));
  }
  if (refusal.signature == malformed)
    return refuse(reject_reason::sign_malformed,
                  "the sign of the answer is no base64");
  // Not signed itself: it tells a change of key from a forgery.
  if (auto number = string_of(find(members, "alipay_cert_sn"));
      number && !number->empty() && !alipay_cert_sn_.empty()
      && *number != alipay_cert_sn_)
    return refuse(reject_reason::unknown_serial,
                  "the answer names the certificate " + in_quotes(*number)
                    + "; configured is " + alipay_cert_sn_
                    + ": if Alipay has changed its certificate, "
                      "alipay_cert_file has to be replaced");
  if (refusal.signature == invalid)
    return refuse(reject_reason::sign_mismatch,
                  "the sign was not made by Alipay's key over this answer");
  if (!content)
    return refuse(reject_reason::malformed_message,
                  "what Alipay has signed is unusable: " + content.error());
  return std::move(*content);
}

merchant::answer<json::object>
alipay::accept(std::string_view api_method,
               const client::http_response& from) const {
  auto node = read_response(api_method, from.body);
  if (node)
    return std::move(*node);
  auto& refusal = node.error();
  auto kind = failure::forged;
  if (refusal.decision == response_decision::treat_as_unknown_failure)
    kind = failure::unclear;
  else if (refusal.signature == signature_verdict::not_evaluated
           && from.status != 200) // Something in between has trouble.
    kind = from.status == 429 ? failure::limited : failure::unclear;
  // An unproven code is for people, in the sentence; of an error_response it is
  // all there is.
  return failed(
    kind, kind == failure::unclear ? std::move(refusal.code) : std::string{},
    std::string{api_method} + ", status " + std::to_string(from.status) + ": "
      + refusal.sentence);
}

// -- what it means
// -------------------------------------------------------------

merchant::answer<payment_link>
alipay::read_create(const pay_order& order, const client::http_response& from,
                    timestamp) const {
  auto node = accept("alipay.trade.precreate", from);
  if (!node)
    return tl::make_unexpected(std::move(node.error()));
  if (auto other
      = stranger(*node, "out_trade_no", order.order_id, is_done(*node)))
    return failed(failure::forged, {}, std::move(*other));
  if (!is_done(*node))
    return failed(*node);
  payment_link result;
  result.qr_code = text_of(*node, "qr_code").value_or("");
  constexpr std::size_t qr_code_max = 1024;
  if (result.qr_code.empty() || result.qr_code.size() > qr_code_max)
    return incomplete("qr_code", *node);
  return result;
}

merchant::answer<trade>
alipay::read_query(std::string_view order_id, const client::http_response& from,
                   timestamp) const {
  auto node = accept("alipay.trade.query", from);
  if (!node)
    return tl::make_unexpected(std::move(node.error()));
  // 10003: the payer is paying just now.
  auto paying = reference_of(*node, "code") == "10003";
  if (auto other
      = stranger(*node, "out_trade_no", order_id, is_done(*node) || paying))
    return failed(failure::forged, {}, std::move(*other));
  trade result;
  result.order_id = order_id;
  if (is_business_error(*node, "ACQ.TRADE_NOT_EXIST")) {
    result.is = trade_state::absent;
    result.word = "ACQ.TRADE_NOT_EXIST";
    return result;
  }
  if (!is_done(*node) && !paying)
    return failed(*node);
  result.transaction_id = reference_of(*node, "trade_no");
  result.amount = parse_amount(text_of(*node, "total_amount").value_or(""));
  result.word = reference_of(*node, "trade_status");
  auto pay_date = text_of(*node, "send_pay_date").value_or("");
  if (paying || result.word == "WAIT_BUYER_PAY")
    result.is = trade_state::unpaid;
  else if (result.word == "TRADE_SUCCESS" || result.word == "TRADE_FINISHED")
    result.is = trade_state::paid;
  else if (result.word == "TRADE_CLOSED")
    result.is = pay_date.empty() ? trade_state::closed : trade_state::refunded;
  else
    return incomplete("trade_status", *node);
  if (result.is == trade_state::paid || result.is == trade_state::refunded) {
    if (result.transaction_id.empty())
      return incomplete("trade_no", *node);
    if (!result.amount)
      return incomplete("total_amount", *node);
    result.paid_at = parse_beijing(pay_date);
  }
  return result;
}

merchant::answer<close_end>
alipay::read_close(std::string_view order_id, const client::http_response& from,
                   timestamp) const {
  auto node = accept("alipay.trade.close", from);
  if (!node)
    return tl::make_unexpected(std::move(node.error()));
  if (auto other = stranger(*node, "out_trade_no", order_id, is_done(*node)))
    return failed(failure::forged, {}, std::move(*other));
  if (is_done(*node) || is_business_error(*node, "ACQ.TRADE_HAS_CLOSE"))
    return close_end::closed;
  if (is_business_error(*node, "ACQ.TRADE_NOT_EXIST"))
    return close_end::absent;
  // The last two just say that it is not waiting to be paid; asking tells.
  for (auto code :
       {"ACQ.TRADE_HAS_SUCCESS", "ACQ.TRADE_HAS_FINISHED",
        "ACQ.TRADE_STATUS_ERROR", "ACQ.REASON_TRADE_STATUS_INVALID"})
    if (is_business_error(*node, code))
      return close_end::paid;
  return failed(*node);
}

merchant::answer<refund_report>
alipay::read_refund(const refund_order& order,
                    const client::http_response& from, timestamp) const {
  auto node = accept("alipay.trade.refund", from);
  if (!node)
    return tl::make_unexpected(std::move(node.error()));
  if (auto other
      = stranger(*node, "out_trade_no", order.order_id, is_done(*node)))
    return failed(failure::forged, {}, std::move(*other));
  if (!is_done(*node))
    return failed(*node);
  refund_report result;
  result.refund_id = order.refund_id;
  result.word = reference_of(*node, "fund_change");
  result.is
    = result.word == "Y" ? refund_state::done : refund_state::processing;
  if (auto sum = text_of(*node, "refund_fee").value_or(""); !sum.empty()) {
    result.total = parse_amount(sum);
    if (!result.total
        || (result.is == refund_state::done && *result.total < order.amount))
      return incomplete("refund_fee", *node);
  }
  return result;
}

merchant::answer<refund_report>
alipay::read_refund_query(const refund_order& order,
                          const client::http_response& from, timestamp) const {
  auto node = accept("alipay.trade.fastpay.refund.query", from);
  if (!node)
    return tl::make_unexpected(std::move(node.error()));
  // Without a refund to tell about, the numbers may be left out, too.
  auto says_something = node->contains("refund_status");
  for (auto [name, asked] : {std::pair{"out_trade_no", &order.order_id},
                             std::pair{"out_request_no", &order.refund_id}})
    if (auto other = stranger(*node, name, *asked, says_something))
      return failed(failure::forged, {}, std::move(*other));
  if (!is_done(*node))
    return failed(*node);
  refund_report result;
  result.refund_id = order.refund_id;
  result.word = reference_of(*node, "refund_status");
  if (!says_something) {
    result.is = refund_state::absent;
    return result;
  }
  if (result.word.empty())
    return incomplete("refund_status", *node);
  result.is = result.word == "REFUND_SUCCESS" ? refund_state::done
                                              : refund_state::processing;
  if (auto sum = text_of(*node, "refund_amount").value_or(""); !sum.empty()) {
    result.amount = parse_amount(sum);
    if (!result.amount)
      return incomplete("refund_amount", *node);
  }
  return result;
}

} // namespace slipway::gateway
