#include "http/sandbox/wechat_ledger.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace slipway::sandbox::wechat {

namespace {

constexpr auto native_life = millis{2LL * 60 * 60 * 1000};

constexpr auto h5_life = millis{5LL * 60 * 1000};

bool is_of(std::string_view text, std::string_view also) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
           || (c >= 'A' && c <= 'Z') || also.find(c) != std::string_view::npos;
  });
}

auto refused(int status, std::string code, std::string message) {
  return tl::make_unexpected(
    refusal{status, std::move(code), std::move(message)});
}

} // namespace

dice::dice(std::uint64_t seed) {
  random_.seed(seed == 0 ? std::random_device{}() : seed);
}

std::string dice::pick(std::string_view from, std::size_t count) {
  const auto lock = std::lock_guard{mutex_};
  std::string result;
  while (result.size() < count)
    result += from[random_() % from.size()];
  return result;
}

std::string dice::digits(std::size_t count) {
  return pick("0123456789", count);
}

std::string dice::letters(std::size_t count) {
  return pick("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", count);
}

std::string_view to_string(trade_state is) noexcept {
  static constexpr auto names
    = std::array<std::string_view, 4>{"NOTPAY", "SUCCESS", "REFUND", "CLOSED"};
  return names[static_cast<std::size_t>(is)];
}

std::string_view words_of(trade_state is) noexcept {
  static constexpr auto words = std::array<std::string_view, 4>{
    "订单未支付", "支付成功", "订单发生过退款，退款详情请查询退款单",
    "订单已关闭"};
  return words[static_cast<std::size_t>(is)];
}

std::string_view to_string(refund_status is) noexcept {
  static constexpr auto names = std::array<std::string_view, 4>{
    "PROCESSING", "SUCCESS", "ABNORMAL", "CLOSED"};
  return names[static_cast<std::size_t>(is)];
}

refusal param_error(std::string field, std::string issue) {
  return {400, "PARAM_ERROR", std::move(issue), std::move(field)};
}

bool is_order_number(std::string_view text) {
  return text.size() >= 6 && text.size() <= 32 && is_of(text, "_-|*");
}

bool is_refund_number(std::string_view text) {
  return !text.empty() && text.size() <= 64 && is_of(text, "_-|*@");
}

bool is_notify_url(std::string_view url) {
  if (url.size() > 256
      || url.find_first_of("?# \r\n") != std::string_view::npos)
    return false;
  if (url.rfind("https://", 0) == 0)
    return url.size() > 8;
  for (const auto* local :
       {"http://127.0.0.1", "http://localhost", "http://[::1]"}) {
    const auto prefix = std::string_view{local};
    if (url.substr(0, prefix.size()) != prefix)
      continue;
    const auto rest = url.substr(prefix.size());
    return rest.empty() || rest.front() == ':' || rest.front() == '/';
  }
  return false;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(
    std::count_if(text.begin(), text.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

ledger::result<order*> ledger::place(order asked, timestamp now) {
  if (auto* known = find(asked.number)) {
    if (known->state == trade_state::closed)
      return refused(400, "ORDER_CLOSED", "该订单已关闭");
    if (known->state != trade_state::notpay)
      return refused(400, "ORDERPAID", "该订单已支付");
    if (known->version != asked.version || known->total != asked.total
        || known->trade_type != asked.trade_type
        || known->description != asked.description
        || known->attach != asked.attach || known->openid != asked.openid
        || known->notify_url != asked.notify_url
        || known->expires != asked.expires)
      return refused(403, "OUT_TRADE_NO_USED",
                     "商户订单号重复 (known with other contents)");
    known->link_until
      = now + (known->trade_type == "MWEB" ? h5_life : native_life);
    return known;
  }
  asked.created = now;
  asked.code = random_.letters(9);
  asked.prepay_id
    = "wx" + beijing_digits(now).substr(2) + random_.digits(20) + "0000";
  asked.link_until = now + (asked.trade_type == "MWEB" ? h5_life : native_life);
  if (order_.size() >= orders_max_) {
    if (auto* oldest = find(order_.front()))
      for (const auto& each : oldest->refunds)
        refunds_.erase(each);
    orders_.erase(order_.front());
    order_.pop_front();
  }
  order_.push_back(asked.number);
  const auto number = asked.number;
  return &orders_.emplace(number, std::move(asked)).first->second;
}

order* ledger::find(const std::string& number) {
  const auto i = orders_.find(number);
  return i == orders_.end() ? nullptr : &i->second;
}

order*
ledger::find_by(const std::string order::*member, std::string_view value) {
  if (value.empty())
    return nullptr;
  for (auto& [number, each] : orders_)
    if (each.*member == value)
      return &each;
  return nullptr;
}

order* ledger::find_transaction(std::string_view id) {
  return find_by(&order::transaction_id, id);
}

order* ledger::find_code(std::string_view code) {
  return find_by(&order::code, code);
}

order* ledger::find_prepay(std::string_view prepay_id) {
  return find_by(&order::prepay_id, prepay_id);
}

ledger::result<void> ledger::pay(order& x, timestamp now) {
  if (x.state == trade_state::closed)
    return refused(400, "ORDER_CLOSED", "该订单已关闭 (closed)");
  if (x.state != trade_state::notpay)
    return refused(400, "ORDERPAID", "该订单已支付 (paid already)");
  if (x.expires && now > *x.expires)
    return refused(400, "ORDER_CLOSED", "订单已过支付时间 (too late to pay)");
  x.state = trade_state::success;
  x.paid = now;
  x.transaction_id = "4200" + random_.digits(6)
                     + beijing_digits(now).substr(0, 8) + random_.digits(10);
  return {};
}

ledger::result<void> ledger::close(order& x) {
  if (x.state == trade_state::closed)
    return refused(400, "ORDER_CLOSED", "该订单已关闭");
  if (x.state != trade_state::notpay)
    return refused(400, "ORDERPAID", "该订单已支付");
  x.state = trade_state::closed;
  return {};
}

ledger::result<refund*>
ledger::give_back(refund asked, minor_units total, timestamp now, bool& fresh) {
  fresh = false;
  auto* x = find(asked.order_no);
  if (x == nullptr)
    return refused(404, "RESOURCE_NOT_EXISTS", "订单号不存在");
  if (auto* known = find_refund(asked.number)) {
    if (known->order_no != asked.order_no || known->amount != asked.amount
        || total != x->total)
      return refused(400, "INVALID_REQUEST",
                     "订单金额或退款金额与之前请求不一致，请核实后再试");
    return known;
  }
  if (!x->paid)
    return refused(400, "INVALID_REQUEST", "订单未支付，不能退款");
  if (total != x->total)
    return refused(400, "INVALID_REQUEST", "订单总金额与原支付不一致");
  if (x->refunded + asked.amount > x->total)
    return refused(400, "INVALID_REQUEST", "退款金额大于可退金额");
  fresh = true;
  x->refunded += asked.amount;
  x->state = trade_state::refund;
  x->refunds.push_back(asked.number);
  asked.created = now;
  asked.id = "50" + random_.digits(9) + beijing_digits(now).substr(0, 8)
             + random_.digits(10);
  const auto number = asked.number;
  return &refunds_.emplace(number, std::move(asked)).first->second;
}

refund* ledger::find_refund(const std::string& number) {
  const auto i = refunds_.find(number);
  return i == refunds_.end() ? nullptr : &i->second;
}

refund* ledger::find_refund_id(std::string_view id) {
  for (auto& [number, each] : refunds_)
    if (each.id == id)
      return &each;
  return nullptr;
}

void ledger::settle(refund& x, refund_status end, timestamp now) {
  x.status = end;
  if (end == refund_status::success)
    x.done = now;
  if (end != refund_status::closed)
    return;
  if (auto* of = find(x.order_no))
    of->refunded -= x.amount;
}

std::vector<std::string> ledger::numbers() const {
  return {order_.rbegin(), order_.rend()};
}

} // namespace slipway::sandbox::wechat
