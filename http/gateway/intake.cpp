#include "http/gateway/intake.hpp"

#include <algorithm>
#include <charconv>

namespace slipway::gateway {

namespace {

reading not_configured(protocol from) {
  auto out = reading{};
  out.refused = rejection{reject_reason::app_id_mismatch,
                          std::string{gateway_name(from)}
                            + " is not configured on this server"};
  out.what.gateway = gateway_of(from);
  return out;
}

std::string_view v3_message(ending how, std::optional<reject_reason> why) {
  switch (how) {
    case ending::forged:
      return "验签失败";
    case ending::contradicted:
      return why == reject_reason::decrypt_failed
                 || why == reject_reason::malformed_resource
                 || why == reject_reason::duplicate_member
               ? "解密失败"
               : "订单信息不一致";
    case ending::done:
    case ending::trouble:
      break;
  }
  return "系统繁忙";
}

std::string_view v2_message(ending how, std::optional<reject_reason> why) {
  if (how == ending::trouble)
    return "系统繁忙";
  if (why == reject_reason::decrypt_failed)
    return "解密失败";
  return how == ending::forged ? "签名失败" : "参数格式校验错误";
}

int status_of(protocol to, ending how, std::optional<reject_reason> why) {
  // Nothing is signed in refund results of v2, so that no signature is bad.
  if (to == protocol::wechat_v2 && why == reject_reason::decrypt_failed)
    return 200;
  switch (how) {
    case ending::done:
      return to == protocol::wechat_v3 ? 204 : 200;
    case ending::forged:
      return to == protocol::wechat_v3 ? 401 : 400;
    case ending::contradicted:
      return to == protocol::wechat_v3 ? 400 : 200;
    case ending::trouble:
      break;
  }
  return 500;
}

} // namespace

std::string_view gateway_name(protocol x) noexcept {
  return x == protocol::alipay ? "alipay" : "wechat";
}

lifecycle::payment_gateway gateway_of(protocol x) noexcept {
  return x == protocol::alipay ? lifecycle::payment_gateway::alipay
                               : lifecycle::payment_gateway::wechat;
}

protocol wechat_protocol_of(std::string_view body) noexcept {
  // A byte order mark and blanks may come first.
  if (body.starts_with("\xef\xbb\xbf"))
    body.remove_prefix(3);
  const auto first = body.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && body[first] == '<'
           ? protocol::wechat_v2
           : protocol::wechat_v3;
}

reading read(const accounts& with, const inbound& what) {
  static const auto no_headers = client::header_list{};
  const auto& headers = what.headers != nullptr ? *what.headers : no_headers;
  switch (what.from) {
    case protocol::alipay:
      if (with.ali)
        return with.ali->read_notification(what.body);
      break;
    case protocol::wechat_v3:
      if (with.v3)
        return with.v3->read_notification(headers, what.body, what.now);
      break;
    case protocol::wechat_v2:
      if (with.v2)
        return what.refund ? with.v2->read_refund_notification(what.body)
                           : with.v2->read_notification(what.body);
      break;
  }
  return not_configured(what.from);
}

std::string refund_id_of(std::string_view order_id, std::uint32_t refund_seq) {
  return std::string{order_id} + "r" + std::to_string(refund_seq);
}

std::uint32_t
refund_seq_of(std::string_view order_id, std::string_view refund_id) noexcept {
  if (!refund_id.starts_with(order_id))
    return 0;
  refund_id.remove_prefix(order_id.size());
  if (refund_id.size() < 2 || refund_id[0] != 'r' || refund_id[1] == '0')
    return 0;
  refund_id.remove_prefix(1);
  auto out = std::uint32_t{0};
  const auto* end = refund_id.data() + refund_id.size();
  const auto [stop, error] = std::from_chars(refund_id.data(), end, out);
  return error == std::errc{} && stop == end ? out : 0;
}

bool agrees_with(const notification& what, const lifecycle::order& order,
                 std::span<const known_refund> refunds) noexcept {
  return what.amount == order.amount
         && what.transaction_id == order.transaction_id
         && std::any_of(refunds.begin(), refunds.end(), [&](const auto& known) {
              return known.refund_id == what.refund_id
                     && known.amount == what.refund_amount;
            });
}

std::optional<lifecycle::event>
event_of(const notification& what, std::uint32_t order,
         std::uint32_t refund_seq, timestamp at) {
  switch (what.is) {
    case meaning::nothing:
      return std::nullopt;
    case meaning::payment:
      return lifecycle::payment_settled{
        at,           order,
        what.gateway, what.transaction_id,
        what.amount,  what.paid_at.value_or(at)};
    case meaning::closed:
      return lifecycle::order_closed{at, order};
    case meaning::refund: {
      auto out = lifecycle::refund_observed{};
      out.at = at;
      out.order = order;
      out.total = what.refunded_total;
      out.portion = what.refund_amount.value_or(0);
      out.refund_id = what.refund_id;
      out.refund_seq = refund_seq;
      out.transaction_id = what.transaction_id;
      out.amount = what.amount;
      return out;
    }
    case meaning::refund_abnormal:
    case meaning::refund_closed: {
      auto out = lifecycle::refund_failed{};
      out.at = at;
      out.order = order;
      out.refund_seq = refund_seq;
      out.spent = what.is == meaning::refund_closed;
      out.reason = out.spent
                     ? "the gateway has closed the refund"
                     : "the gateway could not pay the refund out: settle it in "
                       "its merchant console";
      return out;
    }
  }
  return std::nullopt;
}

ending ending_of(lifecycle::verdict is) noexcept {
  using lifecycle::verdict;
  switch (is) {
    case verdict::applied:
    case verdict::already_applied:
    case verdict::stale:
      return ending::done;
    default:
      return ending::contradicted;
  }
}

reply reply_to(protocol to, ending how, std::optional<reject_reason> why) {
  auto out = reply{};
  out.status = status_of(to, how, why);
  switch (to) {
    case protocol::alipay:
      out.content_type = "text/plain; charset=utf-8";
      out.body = how == ending::done           ? "success"
                 : how == ending::forged       ? "Invalid signature"
                 : how == ending::contradicted ? "failure"
                                               : "error";
      break;
    case protocol::wechat_v2:
      out.content_type = "text/xml; charset=utf-8";
      out.body = how == ending::done ? v2_reply(true, "OK")
                                     : v2_reply(false, v2_message(how, why));
      break;
    case protocol::wechat_v3:
      if (how == ending::done)
        break;
      out.content_type = "application/json; charset=utf-8";
      out.body = R"({"code":"FAIL","message":")"
                 + std::string{v3_message(how, why)} + R"("})";
      break;
  }
  return out;
}

} // namespace slipway::gateway
