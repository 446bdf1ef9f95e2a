#include "http/payment/pay_order.hpp"

namespace slipway::payment {

gateway::pay_order
pay_order_of(const record& row, const lifecycle::order& order,
             const order_words& with) {
  auto out = gateway::pay_order{};
  out.order_id = to_text(order_ref{row.id, order.seq});
  out.method = order.method;
  out.amount = order.amount;
  out.currency = row.currency;
  const auto plan = with.plans.find(row.plan);
  out.subject = plan == with.plans.end() ? row.plan : plan->second.title;
  const auto alipay = order.gateway == lifecycle::payment_gateway::alipay;
  out.notify_url
    = with.public_url
      + (alipay ? "/api/payment/alipay/notify" : "/api/payment/wechat/notify");
  if (alipay)
    out.return_url = with.return_url;
  out.created_at = order.created_at;
  out.expires_at = order.expires_at;
  return out;
}

gateway::stamp make_stamp(timestamp now, entropy& from) {
  constexpr auto letters = std::string_view{"ABCDEFGHJKLMNPQRSTUVWXYZ23456789"};
  auto out = gateway::stamp{};
  out.now = now;
  for (auto i = 0; i < 4; ++i) {
    auto bits = from.next();
    for (auto j = 0; j < 8; ++j, bits >>= 5)
      out.nonce += letters[bits & 31];
  }
  return out;
}

} // namespace slipway::payment
