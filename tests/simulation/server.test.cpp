#define CAF_SUITE simulation.server

#include "tests/simulation/customers.hpp"

using namespace slipway;
using namespace slipway::test;

// The actors are the real ones under virtual time; everything around them is
// drawn from one seed, and a seed replays exactly.

namespace {

/// One test may take 30 seconds at most.
void play(const char* test, std::uint64_t part, std::uint64_t parts,
          std::uint64_t otherwise, customers_world::troubles with) {
  quiet();
  auto all = seeds{test, part, parts, otherwise, 5};
  auto crashes = std::size_t{0};
  auto losses = std::size_t{0};
  auto kills = std::size_t{0};
  auto jumps = std::size_t{0};
  auto late = std::size_t{0};
  auto withheld = std::size_t{0};
  auto twins = std::size_t{0};
  auto calls = std::size_t{0};
  auto runs = std::uint64_t{0};
  auto failures = std::uint64_t{0};
  auto terminations = std::uint64_t{0};
  auto halts = std::uint64_t{0};
  while (all.next()) {
    auto world = customers_world{all.seed(), with};
    world.play();
    all.played(world);
    crashes += world.crashes;
    losses += world.losses;
    kills += world.kills;
    jumps += world.jumps;
    late += world.late;
    withheld += world.withheld;
    twins += world.checks.twins;
    calls += world.railway.calls;
    runs += world.checks.runs;
    failures += world.checks.failures;
    terminations += world.checks.terminations;
    halts += world.checks.halts;
  }
  CAF_MESSAGE(all.count() << " seeds, " << crashes << " crashes, " << losses
                          << " leases lost, " << withheld << " calls withheld, "
                          << kills << " actors killed, " << jumps << " jumps, "
                          << late << " late answers, " << twins << " twins, "
                          << calls << " calls, " << runs << " runs, "
                          << failures << " failures, " << terminations
                          << " terminations, " << halts << " halts");
  CAF_CHECK_EQUAL(all.bad(), 0u);
  CAF_CHECK(all.count() < 300
            || (runs > 100 && terminations > 10 && halts > 50));
  CAF_CHECK(all.count() < 300
            || ((with.crashes == 0 || crashes > 50)
                && (with.losses == 0 || (losses > 100 && withheld > 10))
                && (with.kills == 0 || kills > 100)
                && (with.jumps == 0 || jumps > 100)));
}

} // namespace

CAF_TEST(every seed ends well with crashes in the first half) {
  play("every seed ends well with crashes", 0, 2, 1'000, {5, 0, 0, 0});
}

CAF_TEST(every seed ends well with crashes in the second half) {
  play("every seed ends well with crashes", 1, 2, 1'000, {5, 0, 0, 0});
}

CAF_TEST(every seed ends well with leases lost) {
  play("every seed ends well with leases lost", 0, 1, 500, {2, 5, 0, 0});
}

CAF_TEST(every seed ends well with clocks that jump) {
  play("every seed ends well with clocks that jump", 0, 1, 500, {3, 0, 4, 0});
}

CAF_TEST(every seed ends well with actors that die) {
  play("every seed ends well with actors that die", 0, 1, 500, {2, 0, 0, 12});
}

CAF_TEST(a clock set ahead has nothing created twice) {
  quiet();
  for (auto seed = std::uint64_t{1}; seed <= 30; ++seed) {
    auto world = customers_world{seed, {0, 0, 0, 0}};
    set_ahead_in_doubt(world);
    world.play();
    CAF_CHECK_EQUAL(world.flaw, "");
    CAF_CHECK_EQUAL(world.checks.twins, 0u);
  }
}

CAF_TEST(a seed replays exactly) {
  quiet();
  for (auto seed : {7u, 8u, 9u}) {
    auto first = customers_world{seed, {3, 3, 3, 3}};
    first.play();
    auto second = customers_world{seed, {3, 3, 3, 3}};
    second.play();
    CAF_CHECK_EQUAL(first.fingerprint(), second.fingerprint());
    CAF_CHECK(!first.db->history.empty());
  }
}
