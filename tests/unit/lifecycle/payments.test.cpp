#define CAF_SUITE lifecycle.payments

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::test;

namespace {

driver with_order() {
  auto out = driver{};
  out.create();
  out.open_order();
  return out;
}

bool is_active(const driver& x) {
  return x.now.status == subscription_status::active;
}

} // namespace

CAF_TEST(a payment activates once and asks for one slot) {
  auto x = with_order();
  CAF_CHECK(x.pay() == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.d().at == phase::queued);
  CAF_CHECK(
    x.effects
    == (std::vector<effect>{effect::notify_paid, effect::request_slot}));
  const auto before = x.now;
  for (auto i = 0; i < 3; ++i) {
    x.at += 1h;
    CAF_CHECK(x.pay() == verdict::already_applied);
    CAF_CHECK(x.now == before);
  }
}

CAF_TEST(a late repetition is benign in every phase) {
  for (auto at : all_phases()) {
    if (at == phase::idle)
      continue;
    auto x = paid_at(at);
    CAF_REQUIRE(x.d().at == at);
    x.at += std::chrono::days{3};
    CAF_CHECK(x.pay() == verdict::already_applied);
    CAF_CHECK(x.pay(1, "t-2") == verdict::conflicting_payment);
    CAF_CHECK(x.pay(1, "t-1", price + 1) == verdict::amount_mismatch);
    CAF_CHECK(x.d().at == at);
  }
}

CAF_TEST(other money or another gateway never activates) {
  auto x = with_order();
  CAF_CHECK(x.pay(1, "t-1", price - 1) == verdict::amount_mismatch);
  CAF_CHECK(x.pay(1, "t-1", price + 1) == verdict::amount_mismatch);
  CAF_CHECK(x.pay(2) == verdict::unknown_order);
  CAF_CHECK(x.pay(0) == verdict::unknown_order);
  CAF_CHECK(x.feed(payment_settled{x.at, 1, payment_gateway::wechat, "t-1",
                                   price, x.at})
            == verdict::gateway_mismatch);
  CAF_CHECK(x.now.status == subscription_status::pending);
  CAF_CHECK(x.d().at == phase::idle);
  // Nothing of it stands in the way of the right one.
  CAF_CHECK(x.pay() == verdict::applied);
}

CAF_TEST(money for a closed order revives it) {
  auto x = with_order();
  x.at += 31min;
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
  CAF_CHECK(x.now.orders[0].status == order_status::closed);
  CAF_CHECK(x.pay() == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.now.orders[0].applied);
}

CAF_TEST(money for a closed order waits for a person where the rules say so) {
  auto x = with_order();
  x.with.revive_late_payment = false;
  x.feed(order_closed{x.at, 1});
  CAF_CHECK(x.pay() == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::pending);
  CAF_CHECK(x.now.orders[0].status == order_status::paid);
  CAF_CHECK(!x.now.orders[0].applied);
  CAF_CHECK(x.effects.empty());
  // And the user can still pay in time.
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(is_active(x));
}

CAF_TEST(a replaced order that is paid in spite of it counts) {
  auto x = with_order();
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.now.orders[0].status == order_status::closed);
  CAF_CHECK(x.pay(1) == verdict::applied);
  CAF_CHECK(is_active(x));
  // The second one is money too much: kept, applied to nothing.
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(!x.now.orders[1].applied);
  CAF_CHECK(x.now.orders[1].transaction_id == "t-2");
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(x.d().at == phase::queued);
}

CAF_TEST(without a provider a payment still activates) {
  auto x = with_order();
  x.with.provider = false;
  x.pay();
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.d().at == phase::skipped);
  CAF_CHECK(x.effects == std::vector<effect>{effect::notify_paid});
  CAF_CHECK(resume(x.now).empty());
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::provider_off);
  // Once there is one, a retry makes up for it.
  x.with.provider = true;
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::applied);
  CAF_CHECK(x.d().at == phase::queued);
}

CAF_TEST(a failed deployment leaves the subscription paid) {
  auto x = paid_at(phase::failed);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.now.orders[0].applied);
  CAF_CHECK(x.now.end_at == day_one + std::chrono::days{30});
}

CAF_TEST(the period ends and another payment begins a new one) {
  auto x = paid_at(phase::running);
  x.at = *x.now.end_at;
  CAF_CHECK(x.open_order() == verdict::not_payable);
  CAF_CHECK(x.feed(woke{x.at - 1ms, 0}) == verdict::already_applied);
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::expired);
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.now.end_at == x.at + std::chrono::days{30});
  // What runs goes on running.
  CAF_CHECK(x.d().at == phase::running);
}

CAF_TEST(an unpaid order expires and is closed once) {
  auto x = with_order();
  CAF_REQUIRE(wake_at(x.now) == x.at + 30min);
  x.at += 30min;
  CAF_CHECK(x.feed(woke{x.at - 1ms, 0}) == verdict::already_applied);
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::already_applied);
  CAF_CHECK(!wake_at(x.now));
  CAF_CHECK(x.feed(order_closed{x.at, 1}) == verdict::already_applied);
  CAF_CHECK(x.feed(order_closed{x.at, 2}) == verdict::unknown_order);
}

CAF_TEST(an idempotency key finds its order) {
  auto x = driver{};
  x.create();
  CAF_CHECK(x.open_order("k") == verdict::applied);
  CAF_CHECK(x.open_order("k") == verdict::already_applied);
  CAF_CHECK_EQUAL(x.now.orders.size(), 1u);
  CAF_CHECK(x.feed(order_requested{x.at, payment_gateway::wechat,
                                   payment_method::native, x.at + 30min, "k"})
            == verdict::idempotency_mismatch);
  CAF_CHECK(x.feed(order_requested{x.at, payment_gateway::alipay,
                                   payment_method::wap, x.at + 30min, "k"})
            == verdict::idempotency_mismatch);
  CAF_CHECK(x.open_order("l") == verdict::applied);
  CAF_CHECK(x.open_order("k") == verdict::already_applied);
  x.pay(2);
  // Even when nothing can be ordered any more.
  CAF_CHECK(x.open_order("k") == verdict::already_applied);
  CAF_CHECK(x.open_order("m") == verdict::not_payable);
}

CAF_TEST(orders are bounded and one of them is open) {
  auto x = driver{};
  x.create();
  for (auto i = 0u; i < x.with.orders_max; ++i)
    CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.open_order() == verdict::too_many_orders);
  auto open = 0;
  for (const auto& o : x.now.orders)
    open += o.status == order_status::pending ? 1 : 0;
  CAF_CHECK_EQUAL(open, 1);
  for (auto i = 0u; i < x.now.orders.size(); ++i)
    CAF_CHECK_EQUAL(x.now.orders[i].seq, i + 1);
}

CAF_TEST(refunds add up and end the subscription in full) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price / 2}) == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price / 2})
            == verdict::already_applied);
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price + 1})
            == verdict::amount_mismatch);
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price}) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.now.orders[0].status == order_status::refunded);
  // A late notification of the payment does not bring it back.
  CAF_CHECK(x.pay() == verdict::already_applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
}

CAF_TEST(a refund of money that never came is not believed) {
  auto x = with_order();
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price}) == verdict::not_paid);
  CAF_CHECK(x.feed(refund_observed{x.at, 2, price}) == verdict::unknown_order);
}

CAF_TEST(a refund of surplus money leaves the subscription alone) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  CAF_CHECK(x.feed(refund_observed{x.at, 2, price}) == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.now.orders[1].status == order_status::refunded);
}

CAF_TEST(a refund of an earlier period leaves the present one alone) {
  auto x = paid_at(phase::running);
  x.at = *x.now.end_at;
  x.feed(woke{x.at, 0});
  x.open_order();
  x.pay(2, "t-2");
  CAF_REQUIRE(is_active(x));
  CAF_CHECK(x.feed(refund_observed{x.at, 1, price}) == verdict::applied);
  CAF_CHECK(x.now.orders[0].status == order_status::refunded);
  CAF_CHECK(is_active(x));
}
