#define CAF_SUITE simulation.money

#include "tests/simulation/bank.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

void play_quarter(std::uint64_t quarter) {
  quiet();
  auto all = seeds{"money and service agree", quarter, 4, 400, 5};
  auto crashes = std::size_t{0};
  auto calls = 0;
  auto paid = std::uint64_t{0};
  auto refunds = std::uint64_t{0};
  auto revived = std::uint64_t{0};
  auto surplus = std::uint64_t{0};
  while (all.next()) {
    auto world = bank{all.seed()};
    world.play();
    all.played(world);
    crashes += world.crashes;
    for (const auto& [operation, n] : world.gateways.calls)
      calls += n;
    paid += world.paid;
    refunds += world.refunds;
    revived += world.revived;
    surplus += world.surplus;
  }
  CAF_MESSAGE(all.count() << " seeds, " << crashes << " crashes, " << calls
                          << " calls, " << paid << " payments, " << refunds
                          << " refunds, " << revived << " revived, " << surplus
                          << " surplus");
  CAF_CHECK_EQUAL(all.bad(), 0u);
  CAF_CHECK(all.count() < 50
            || (paid > 100 && refunds > 20 && revived > 0 && surplus > 0
                && crashes > 50));
}

} // namespace

CAF_TEST(money and service agree in the first quarter) {
  play_quarter(0);
}

CAF_TEST(money and service agree in the second quarter) {
  play_quarter(1);
}

CAF_TEST(money and service agree in the third quarter) {
  play_quarter(2);
}

CAF_TEST(money and service agree in the last quarter) {
  play_quarter(3);
}

CAF_TEST(without any callback a payment counts within a minute) {
  quiet();
  auto all = seeds{"without any callback", 0, 1, 40, 5};
  auto paid = std::uint64_t{0};
  auto longest = millis{0};
  while (all.next()) {
    auto world = bank{all.seed()};
    world.play_without_callbacks();
    all.played(world);
    paid += world.paid;
    longest = std::max(longest, world.longest);
  }
  CAF_MESSAGE(all.count() << " seeds, " << paid
                          << " payments, the longest took "
                          << to_words(longest));
  CAF_CHECK_EQUAL(all.bad(), 0u);
  CAF_CHECK(longest <= 60s);
  CAF_CHECK(all.count() < 10 || paid > 100);
}

CAF_TEST(a seed of money replays exactly) {
  quiet();
  for (auto seed : {7u, 8u, 9u}) {
    auto first = bank{seed};
    first.play();
    auto second = bank{seed};
    second.play();
    CAF_CHECK_EQUAL(first.print(), second.print());
    CAF_CHECK(!first.db->history.empty());
  }
}
