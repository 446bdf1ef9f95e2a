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

/// Whether all that is left of a payment is to go back, for this reason.
bool goes_back(const driver& x, std::uint32_t seq, refund_cause why) {
  const auto& o = x.o(seq);
  return o.status == order_status::refunding && o.refund_for == why
         && o.refund_amount == o.amount - o.refunded && o.refund_seq != 0
         && o.refund_error.empty() && o.paid_at && !o.transaction_id.empty();
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
  CAF_CHECK(x.close(1) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::closed);
  CAF_CHECK(x.pay() == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.now.orders[0].applied);
}

CAF_TEST(money for a closed order goes back where the rules say so) {
  auto x = with_order();
  x.with.revive_late_payment = false;
  x.close(1);
  CAF_CHECK(x.pay() == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::pending);
  CAF_CHECK(!x.o(1).applied);
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(goes_back(x, 1, refund_cause::late_payment));
  // And the user can still pay in time.
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(is_active(x));
  // What went back of the first one does not touch the second.
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.d().at == phase::queued);
}

CAF_TEST(an order that has expired is payable until the gateway has closed it) {
  for (auto revive : {true, false}) {
    auto x = with_order();
    x.with.revive_late_payment = revive;
    x.at += 31min;
    CAF_CHECK(!wake_at(x.now, x.with));
    CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::already_applied);
    CAF_CHECK(x.o(1).status == order_status::pending);
    // Paid in time, learnt of too late by us: it counts under either rule.
    CAF_CHECK(x.pay() == verdict::applied);
    CAF_CHECK(x.o(1).applied);
    CAF_CHECK(is_active(x));
  }
}

CAF_TEST(a replaced order is closing until the gateway has closed it) {
  auto x = with_order();
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::closing);
  CAF_CHECK(x.o(2).status == order_status::pending);
  CAF_CHECK(x.close(1) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::closed);
  CAF_CHECK(x.o(2).status == order_status::pending);
  CAF_CHECK(x.close(1) == verdict::already_applied);
  // A third one replaces the second, and leaves the first as it is.
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::closed);
  CAF_CHECK(x.o(2).status == order_status::closing);
}

CAF_TEST(a replaced order that is paid in spite of it counts) {
  auto x = with_order();
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::closing);
  CAF_CHECK(x.pay(1) == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.o(1).applied);
  // Too late to close it.
  CAF_CHECK(x.close(1) == verdict::already_applied);
  CAF_CHECK(x.o(1).status == order_status::paid);
  // The second one is money too much: it goes back.
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(!x.o(2).applied);
  CAF_CHECK(x.o(2).transaction_id == "t-2");
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(goes_back(x, 2, refund_cause::surplus_payment));
  CAF_CHECK(x.d().at == phase::queued);
}

CAF_TEST(a replaced order that is paid in spite of it goes back by rule) {
  auto x = with_order();
  x.with.revive_late_payment = false;
  x.open_order();
  CAF_CHECK(x.pay(1) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::pending);
  CAF_CHECK(goes_back(x, 1, refund_cause::late_payment));
  CAF_CHECK(x.o(2).status == order_status::pending);
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(is_active(x));
}

CAF_TEST(money of an order that a newer one has outlived buys nothing) {
  auto x = with_order();
  x.open_order();
  x.pay(2, "t-2");
  x.at = *x.now.end_at;
  x.feed(woke{x.at, 0});
  CAF_REQUIRE(x.now.status == subscription_status::expired);
  CAF_CHECK(x.pay(1, "t-1") == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::expired);
  CAF_CHECK(goes_back(x, 1, refund_cause::late_payment));
  // A renewal is an order of its own.
  CAF_CHECK(x.open_order() == verdict::applied);
  CAF_CHECK(x.pay(3, "t-3") == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK(x.see_total(2, price) == verdict::applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.see_total(3, price) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
}

CAF_TEST(money after the subscription was refunded goes back as well) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.see_total(1, price);
  CAF_REQUIRE(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(goes_back(x, 2, refund_cause::surplus_payment));
}

CAF_TEST(one transaction pays for one order) {
  auto x = with_order();
  x.open_order();
  x.pay(1, "t-1");
  CAF_CHECK(x.pay(2, "t-1") == verdict::conflicting_payment);
  CAF_CHECK(x.o(2).transaction_id.empty());
  // Nor is there a second one for an order whose money is on its way back.
  CAF_CHECK(x.pay(2, "t-2") == verdict::applied);
  CAF_REQUIRE(x.o(2).status == order_status::refunding);
  CAF_CHECK(x.pay(2, "t-2") == verdict::already_applied);
  CAF_CHECK(x.pay(2, "t-3") == verdict::conflicting_payment);
  x.see_total(2, price);
  CAF_CHECK(x.pay(2, "t-2") == verdict::already_applied);
  CAF_CHECK(x.pay(2, "t-3") == verdict::conflicting_payment);
  CAF_CHECK_EQUAL(x.o(2).transaction_id, "t-2");
}

CAF_TEST(what the gateway gave for paying is kept while it can be paid) {
  auto x = with_order();
  const auto prepare = [&](std::uint32_t seq, std::string code) {
    return x.feed(order_prepared{x.at, seq, std::move(code)});
  };
  CAF_CHECK(prepare(2, "c") == verdict::unknown_order);
  CAF_CHECK(prepare(1, "") == verdict::already_applied);
  CAF_CHECK(prepare(1, "c-1") == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).code, "c-1");
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(prepare(1, "c-1") == verdict::already_applied);
  // Asked for once more after a crash, and given another one.
  CAF_CHECK(prepare(1, "c-2") == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).code, "c-2");
  auto paid = x;
  paid.pay();
  CAF_CHECK(paid.feed(order_prepared{x.at, 1, "c-3"}) == verdict::stale);
  CAF_CHECK_EQUAL(paid.o(1).code, "c-2");
  x.open_order();
  CAF_CHECK(prepare(1, "c-3") == verdict::stale);
  x.close(1);
  CAF_CHECK(prepare(1, "c-3") == verdict::stale);
  CAF_CHECK(prepare(2, "c-3") == verdict::applied);
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

CAF_TEST(an unpaid order is closed once and by the gateway) {
  auto x = with_order();
  CAF_CHECK(!wake_at(x.now, x.with));
  x.at += 24h;
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::already_applied);
  CAF_CHECK(x.close(2) == verdict::unknown_order);
  CAF_CHECK(x.close(1) == verdict::applied);
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(x.o(1).status == order_status::closed);
  CAF_CHECK(x.close(1) == verdict::already_applied);
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

CAF_TEST(refunds proven by their total end the subscription in full) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.see_total(1, price / 3) == verdict::applied);
  CAF_CHECK(x.effects == std::vector<effect>{effect::notify_refunded});
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.o(1).status == order_status::paid);
  // Each total includes what was before it.
  CAF_CHECK(x.see_total(1, price / 3) == verdict::already_applied);
  CAF_CHECK(x.see_total(1, 1) == verdict::already_applied);
  CAF_CHECK(x.see_total(1, 0) == verdict::already_applied);
  CAF_CHECK(x.see_total(1, price + 1) == verdict::amount_mismatch);
  CAF_CHECK(x.see_total(1, price / 2) == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, price / 2);
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, price);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.effects == std::vector<effect>{effect::notify_refunded});
  // A late notification of the payment does not bring it back.
  CAF_CHECK(x.pay() == verdict::already_applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.open_order() == verdict::not_payable);
  CAF_CHECK(x.refund(1) == verdict::nothing_to_refund);
}

CAF_TEST(a wish that is repeated does not get at the money that is of use) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  CAF_CHECK(x.fail_refund(2, 1, false) == verdict::applied);
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK(x.o(2).status == order_status::refunding);
  CAF_CHECK(x.refund() == verdict::already_applied);
  CAF_CHECK(x.o(1).status == order_status::paid);
  // Who names it, means it.
  CAF_CHECK(x.refund(1) == verdict::applied);
}

CAF_TEST(refunds proven one by one are counted once each) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.see_portion(1, 1'000, "r-1") == verdict::applied);
  CAF_CHECK(x.see_portion(1, 1'000, "r-1") == verdict::already_applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 1'000);
  // Others of the same amount, and numbers that hold each other.
  CAF_CHECK(x.see_portion(1, 1'000, "r-11") == verdict::applied);
  CAF_CHECK(x.see_portion(1, 1'000, "r") == verdict::applied);
  CAF_CHECK(x.see_portion(1, 1'000, "-1") == verdict::applied);
  CAF_CHECK(x.see_portion(1, 1'000, "1") == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 5'000);
  for (auto id : {"1", "-1", "r", "r-11", "r-1"})
    CAF_CHECK(x.see_portion(1, 1'000, id) == verdict::already_applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 5'000);
  // More than there is left.
  CAF_CHECK(x.see_portion(1, 4'901, "r-2") == verdict::amount_mismatch);
  CAF_CHECK(x.see_portion(1, std::numeric_limits<minor_units>::max(), "r-2")
            == verdict::amount_mismatch);
  CAF_CHECK(x.see_portion(1, 0, "r-2") == verdict::already_applied);
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.see_portion(1, 4'900, "r-2") == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.see_portion(1, 1'000, "r-1") == verdict::already_applied);
}

CAF_TEST(a refund has to fit what it gives back) {
  auto x = paid_at(phase::running);
  x.see_portion(1, 900, "goodwill");
  x.refund();
  CAF_REQUIRE_EQUAL(x.o(1).refund_amount, 9'000);
  const auto before = x.now;
  const auto what
    = refund_observed{x.at, 1, std::nullopt, 9'000, "ours", 1, "t-1", price};
  auto other = what;
  other.transaction_id = "t-2";
  CAF_CHECK(x.feed(other) == verdict::conflicting_payment);
  other = what;
  other.amount = price + 1;
  CAF_CHECK(x.feed(other) == verdict::amount_mismatch);
  // Our own request, and other money than we asked for.
  other = what;
  other.portion = 100;
  CAF_CHECK(x.feed(other) == verdict::amount_mismatch);
  CAF_CHECK(x.now == before);
  // None of ours may amount to anything.
  other.refund_id = "console";
  other.refund_seq = 0;
  auto y = x;
  CAF_CHECK(y.feed(other) == verdict::applied);
  // What the gateway does not say is not compared.
  other = what;
  other.transaction_id.clear();
  other.amount = 0;
  y = x;
  CAF_CHECK(y.feed(other) == verdict::applied);
  CAF_CHECK(x.feed(what) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.feed(what) == verdict::already_applied);
}

CAF_TEST(a refund of one order is not one of another) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  CAF_CHECK(x.see_portion(1, 1'000, "r-1") == verdict::applied);
  CAF_CHECK(x.see_portion(2, 1'000, "r-1") == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 1'000);
  CAF_CHECK_EQUAL(x.o(2).refunded, 1'000);
}

CAF_TEST(a total that names its refund counts it for portions as well) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.see_total(1, 1'000, "r-1") == verdict::applied);
  CAF_CHECK(x.see_portion(1, 1'000, "r-1") == verdict::already_applied);
  CAF_CHECK(x.see_portion(1, 1'000, "r-2") == verdict::applied);
  // Known refunds, and a total beyond them: there were others.
  CAF_CHECK(x.see_total(1, 3'000, "r-2") == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 3'000);
  CAF_CHECK_EQUAL(x.o(1).refunds_counted, "r-1 r-2 ");
}

CAF_TEST(a full refund ends a deployment that is under way) {
  for (auto at : all_phases()) {
    if (at == phase::idle)
      continue;
    auto x = paid_at(at);
    CAF_CHECK(x.see_total(1, price) == verdict::applied);
    CAF_CHECK(x.now.status == subscription_status::refunded);
    CAF_CHECK_EQUAL(count(x.effects, effect::notify_refunded), 1);
    if (works(at)) {
      CAF_CHECK(x.d().at == phase::cancelling);
      CAF_CHECK(
        x.d().ended_by
        == (at == phase::cancelling ? actor_kind::user : actor_kind::slipway));
      CAF_CHECK_EQUAL(count(x.effects, effect::run_step),
                      int{at != phase::cancelling});
    } else if (at == phase::queued || at == phase::backing_off) {
      CAF_CHECK(x.d().at == phase::stopped);
      CAF_CHECK_EQUAL(count(x.effects, effect::release_slot), 1);
    } else {
      CAF_CHECK(x.d().at == at);
    }
    CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::operator_})
              == verdict::not_paid);
  }
}

CAF_TEST(a partial refund leaves a deployment alone) {
  auto x = paid_at(phase::deploying);
  CAF_CHECK(x.see_total(1, price - 1) == verdict::applied);
  CAF_CHECK(x.d().at == phase::deploying);
  x.advance_to(phase::running);
  CAF_CHECK(x.d().at == phase::running);
  CAF_CHECK(is_active(x));
}

CAF_TEST(an operator gives the present payment back) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK(goes_back(x, 1, refund_cause::operator_));
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(resume(x.now).empty());
  // Nothing ends before the money is back.
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.refund() == verdict::already_applied);
  CAF_CHECK(x.refund(1) == verdict::already_applied);
  CAF_CHECK(x.see_portion(1, price, "ours") == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.refund() == verdict::nothing_to_refund);
}

CAF_TEST(there is nothing to refund where nobody has paid) {
  auto x = driver{};
  x.create();
  CAF_CHECK(x.refund() == verdict::nothing_to_refund);
  CAF_CHECK(x.refund(1) == verdict::unknown_order);
  x.open_order();
  CAF_CHECK(x.refund() == verdict::nothing_to_refund);
  CAF_CHECK(x.refund(1) == verdict::nothing_to_refund);
  x.open_order();
  CAF_CHECK(x.refund(1) == verdict::nothing_to_refund);
  x.close(1);
  CAF_CHECK(x.refund(1) == verdict::nothing_to_refund);
}

CAF_TEST(an operator gives money of no use back first) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  // It goes back by itself; a person looks when that comes to nothing.
  CAF_CHECK(x.refund(2) == verdict::already_applied);
  CAF_CHECK(x.fail_refund(2, 1, false) == verdict::applied);
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK(goes_back(x, 2, refund_cause::operator_));
  CAF_CHECK(x.o(1).status == order_status::paid);
  CAF_CHECK(x.see_total(2, price) == verdict::applied);
  CAF_CHECK(is_active(x));
  // Then what pays for the period.
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK(goes_back(x, 1, refund_cause::operator_));
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(x.refund() == verdict::nothing_to_refund);
}

CAF_TEST(an operator can name any order that was paid) {
  auto x = paid_at(phase::running);
  x.at = *x.now.end_at;
  x.feed(woke{x.at, 0});
  x.open_order();
  x.pay(2, "t-2");
  CAF_CHECK(x.refund(1) == verdict::applied);
  CAF_CHECK(goes_back(x, 1, refund_cause::operator_));
  // Unnamed it is the present one.
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK(goes_back(x, 2, refund_cause::operator_));
}

CAF_TEST(a refund asks for what is left and no more) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.see_portion(1, 900, "foreign-1") == verdict::applied);
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refund_amount, price - 900);
  // Somebody refunds at the gateway while ours is under way: ours stays what
  // was asked for, since its number is out there.
  CAF_CHECK(x.see_portion(1, 100, "foreign-2") == verdict::applied);
  CAF_CHECK(x.effects == std::vector<effect>{effect::notify_refunded});
  CAF_CHECK(x.o(1).status == order_status::refunding);
  CAF_CHECK_EQUAL(x.o(1).refund_amount, price - 900);
  CAF_CHECK_EQUAL(x.o(1).refunded, 1'000);
  CAF_CHECK(is_active(x));
  // The gateway refuses what is too much by now, and a person asks again.
  CAF_CHECK(x.fail_refund(1, 1, true) == verdict::applied);
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refund_amount, price - 1'000);
  CAF_CHECK_EQUAL(x.o(1).refund_seq, 2u);
  CAF_CHECK(x.see_portion(1, price - 1'000, "ours-2") == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
}

CAF_TEST(foreign refunds can settle the matter while ours is under way) {
  auto x = paid_at(phase::running);
  x.refund();
  CAF_CHECK(x.see_portion(1, price, "foreign") == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  // That ours came to nothing is no news then.
  CAF_CHECK(x.fail_refund(1, 1, true) == verdict::stale);
  CAF_CHECK(x.o(1).refund_error.empty());
}

CAF_TEST(a refund that failed is told and can be asked for again) {
  auto x = paid_at(phase::running);
  CAF_CHECK(x.fail_refund(1, 0, false) == verdict::stale);
  CAF_CHECK(x.fail_refund(2, 1, false) == verdict::unknown_order);
  x.refund();
  CAF_CHECK_EQUAL(x.o(1).refund_seq, 1u);
  CAF_CHECK(x.fail_refund(1, 2, false) == verdict::stale);
  CAF_CHECK(x.fail_refund(1, 1, false) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::paid);
  CAF_CHECK_EQUAL(x.o(1).refund_error, "no balance");
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.effects.empty());
  CAF_CHECK(x.fail_refund(1, 1, false) == verdict::stale);
  // The number may still be good for something: it stays, lest two requests
  // take effect.
  CAF_CHECK(x.refund() == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refund_seq, 1u);
  CAF_CHECK(x.o(1).refund_error.empty());
  CAF_CHECK(x.see_portion(1, price, "ours-1") == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
}

CAF_TEST(a number that is spent is not used again) {
  auto x = paid_at(phase::running);
  for (auto number = 1u; number < 5; ++number) {
    CAF_CHECK(x.refund() == verdict::applied);
    CAF_CHECK_EQUAL(x.o(1).refund_seq, number);
    CAF_CHECK(x.fail_refund(1, number, true) == verdict::applied);
    // Of an earlier request, learnt of late: it does not end the next one.
    CAF_CHECK(x.refund() == verdict::applied);
    CAF_CHECK(x.fail_refund(1, number, true) == verdict::stale);
    CAF_CHECK(x.o(1).status == order_status::refunding);
    CAF_CHECK(x.fail_refund(1, number + 1, false) == verdict::applied);
  }
}

CAF_TEST(a refund that seemed to fail and then arrives counts) {
  auto x = paid_at(phase::running);
  x.refund();
  x.fail_refund(1, 1, false);
  CAF_CHECK(x.see_portion(1, price, "ours-1") == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(x.o(1).refund_error.empty());
  CAF_CHECK(x.now.status == subscription_status::refunded);
}

CAF_TEST(nothing is built for money that is to go back) {
  for (auto at : {phase::failed, phase::stopped}) {
    auto x = paid_at(at);
    x.refund();
    CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
              == verdict::not_paid);
    // It stays, after all.
    x.fail_refund(1, 1, false);
    CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
              == verdict::applied);
    CAF_CHECK(x.d().at == phase::queued);
  }
}

CAF_TEST(a refund of surplus money does not keep from a retry) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  x.feed(cancel_requested{x.at, actor_kind::user});
  CAF_REQUIRE(x.d().at == phase::stopped);
  CAF_REQUIRE(x.o(2).status == order_status::refunding);
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::applied);
}

CAF_TEST(a deployment that failed for good is refunded when its time is up) {
  auto x = paid_at(phase::failed);
  CAF_CHECK(wake_at(x.now, x.with) == x.now.end_at);
  x.with.refund_failed_after = 72h;
  const auto due = *x.d().completed_at + 72h;
  CAF_REQUIRE(wake_at(x.now, x.with) == due);
  x.at = due - 1ms;
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::already_applied);
  x.at = due;
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
  CAF_CHECK(goes_back(x, 1, refund_cause::deployment_failed));
  CAF_CHECK(is_active(x));
  // Once.
  CAF_CHECK(wake_at(x.now, x.with) == x.now.end_at);
  CAF_CHECK(x.feed(woke{x.at + 1h, 0}) == verdict::already_applied);
  // And not again when it came to nothing: a person has to look.
  for (auto spent : {false, true}) {
    auto y = x;
    CAF_CHECK(y.fail_refund(1, 1, spent) == verdict::applied);
    CAF_CHECK(wake_at(y.now, y.with) == y.now.end_at);
    CAF_CHECK(y.feed(woke{y.at + 1h, 0}) == verdict::already_applied);
    CAF_CHECK(y.refund() == verdict::applied);
  }
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
  CAF_CHECK(!wake_at(x.now, x.with));
}

CAF_TEST(what was refunded in part goes back in the rest) {
  auto x = paid_at(phase::failed);
  x.with.refund_failed_after = 72h;
  x.see_portion(1, 900, "goodwill");
  x.at = *wake_at(x.now, x.with);
  CAF_CHECK(x.feed(woke{x.at, 0}) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunding);
  CAF_CHECK_EQUAL(x.o(1).refund_amount, price - 900);
}

CAF_TEST(a retry keeps a failed deployment from being refunded) {
  auto x = paid_at(phase::failed);
  x.with.refund_failed_after = 72h;
  const auto due = *x.d().completed_at + 72h;
  x.at = due - 1s;
  CAF_CHECK(x.feed(retry_requested{x.at, actor_kind::user})
            == verdict::applied);
  CAF_CHECK(wake_at(x.now, x.with) == x.now.end_at);
  CAF_CHECK(x.feed(woke{due, 0}) == verdict::already_applied);
  auto ran = x;
  ran.advance_to(phase::running);
  CAF_CHECK(wake_at(ran.now, ran.with) == ran.now.end_at);
  // Failed once more, the time begins anew.
  x.at += 1h;
  x.advance_to(phase::creating_project);
  auto failed = step_failed{};
  failed.at = x.at;
  failed.attempt = x.attempt();
  failed.in = x.d().at;
  failed.hopeless = true;
  x.feed(failed);
  CAF_REQUIRE(x.d().at == phase::failed);
  CAF_CHECK(wake_at(x.now, x.with) == x.at + 72h);
}

CAF_TEST(a period that is over is not refunded by itself) {
  auto x = paid_at(phase::failed);
  x.with.refund_failed_after = std::chrono::days{40};
  x.at = *x.now.end_at;
  CAF_CHECK(wake_at(x.now, x.with) == x.at);
  x.feed(woke{x.at, 0});
  CAF_CHECK(x.now.status == subscription_status::expired);
  CAF_CHECK(!wake_at(x.now, x.with));
  CAF_CHECK(x.feed(woke{x.at + std::chrono::days{40}, 0})
            == verdict::already_applied);
}

CAF_TEST(a refund of money that never came is not believed) {
  auto x = with_order();
  CAF_CHECK(x.see_total(1, price) == verdict::not_paid);
  CAF_CHECK(x.see_portion(1, price, "r-1") == verdict::not_paid);
  CAF_CHECK(x.see_total(2, price) == verdict::unknown_order);
  x.open_order();
  CAF_CHECK(x.see_total(1, price) == verdict::not_paid);
  x.close(1);
  CAF_CHECK(x.see_total(1, price) == verdict::not_paid);
  // Nor remembered: once the payment is known the gateway says it again.
  CAF_CHECK(x.pay(1) == verdict::applied);
  CAF_CHECK_EQUAL(x.o(1).refunded, 0);
  CAF_CHECK(x.see_portion(1, price, "r-1") == verdict::applied);
}

CAF_TEST(a refund of surplus money leaves the subscription alone) {
  auto x = with_order();
  x.open_order();
  x.pay(1);
  x.pay(2, "t-2");
  CAF_CHECK(x.see_total(2, price) == verdict::applied);
  CAF_CHECK(x.effects == std::vector<effect>{effect::notify_refunded});
  CAF_CHECK(is_active(x));
  CAF_CHECK(x.d().at == phase::queued);
  CAF_CHECK(x.o(2).status == order_status::refunded);
  CAF_CHECK(x.o(1).status == order_status::paid);
}

CAF_TEST(a refund of an earlier period leaves the present one alone) {
  auto x = paid_at(phase::running);
  x.at = *x.now.end_at;
  x.feed(woke{x.at, 0});
  x.open_order();
  x.pay(2, "t-2");
  CAF_REQUIRE(is_active(x));
  CAF_CHECK(x.refund(1) == verdict::applied);
  CAF_CHECK(x.see_total(1, price) == verdict::applied);
  CAF_CHECK(x.o(1).status == order_status::refunded);
  CAF_CHECK(is_active(x));
  // And the present one ends it, although the earlier one is back already.
  CAF_CHECK(x.see_total(2, price) == verdict::applied);
  CAF_CHECK(x.now.status == subscription_status::refunded);
}
