#define CAF_SUITE simulation.planted

#include "tests/simulation/bank.hpp"
#include "tests/simulation/customers.hpp"
#include "tests/simulation/plants.hpp"

#include <functional>
#include <memory>

using namespace slipway;
using namespace slipway::test;

// A simulation that finds nothing proves nothing: for each class of invariant
// there is a bug in force here, and it has to be found. Some are planted into
// copies of our own sources (plants/*.cmake), the others into the world, where
// that comes to the same.

namespace {

std::string_view in_force;

/// How many seeds a bug may survive at most.
constexpr auto patience = std::uint64_t{60};

template <class World>
using spoil = std::function<void(World&)>;

template <class World, class Make>
void finds(const char* bug, const char* symptom, Make make,
           const spoil<World>& with = {}) {
  quiet();
  in_force = bug;
  auto found = std::string{};
  auto seed = std::uint64_t{0};
  while (found.find(symptom) == std::string::npos && seed < patience) {
    std::unique_ptr<World> world = make(++seed);
    if (with)
      with(*world);
    world->play();
    if (!world->flaw.empty() || found.empty())
      found = world->flaw;
  }
  in_force = {};
  CAF_MESSAGE(bug << ": seed " << seed << ": " << found);
  if (found.find(symptom) == std::string::npos)
    CAF_ERROR(bug << " was not found in " << seed << " seeds, or passed for "
                  << found);
}

void in_town(const char* bug, const char* symptom,
             customers_world::troubles troubles = {},
             const spoil<customers_world>& with = {}) {
  finds<customers_world>(
    bug, symptom,
    [troubles](std::uint64_t seed) {
      return std::make_unique<customers_world>(seed, troubles);
    },
    with);
}

void at_the_bank(const char* bug, const char* symptom,
                 const spoil<bank>& with = {}) {
  finds<bank>(
    bug, symptom,
    [](std::uint64_t seed) {
      return std::make_unique<bank>(seed);
    },
    with);
}

} // namespace

namespace slipway::test {

bool planted(std::string_view name) noexcept {
  return name == in_force;
}

} // namespace slipway::test

// -- one activation for each payment
// -----------------------------------------------

CAF_TEST(a second activation is found) {
  at_the_bank("activates twice", "payments for no activation");
}

CAF_TEST(a payment that counts twice is found) {
  in_town("counts payments twice", "has not bought any more");
}

// -- no money is accepted and forgotten
// --------------------------------------------

CAF_TEST(money that buys nothing and is kept is found) {
  at_the_bank("keeps surplus", "money that buys nothing is kept");
}

CAF_TEST(a journal that forgets is found) {
  in_town("forgets", "is not stored", {}, [](customers_world& world) {
    world.db->instead
      = [&world](const transition& t) -> std::optional<commit_status> {
      if (world.roll(10) != 0
          || t.next.state.status != subscription_status::active)
        return std::nullopt;
      return commit_status::stored;
    };
  });
}

CAF_TEST(effects ahead of their commit are found) {
  in_town("answers first", "is not stored", {}, [](customers_world& world) {
    world.db->instead
      = [&world](const transition& t) -> std::optional<commit_status> {
      world.later(200ms, [&world, t, as = world.db->server] {
        const auto acting = memory_database::session{*world.db, as};
        if (!world.db->is_fenced())
          static_cast<void>(world.db->write(t));
      });
      return commit_status::stored;
    };
  });
}

// -- at most one live instance
// -----------------------------------------------------

CAF_TEST(a creation that is repeated too early is found) {
  in_town("believes its eyes", "two instances", {0, 0, 0, 0},
          [](customers_world& world) {
            world.hasty = true;
          });
}

CAF_TEST(a creation that nobody has announced is found) {
  in_town("calls first", "that the journal has not heard of");
}

CAF_TEST(a clock on the wall that is believed is found) {
  in_town("trusts the wall", "two instances", {0, 0, 0, 0}, set_ahead_in_doubt);
}

CAF_TEST(a provider that breaks its promise is found) {
  in_town("hides for long", "two instances", {0, 0, 0, 0},
          [](customers_world& world) {
            world.hasty = true;
            world.railway.faults.lag_max = 5min;
            world.railway.faults.lost_after = 25;
          });
}

// -- every paid subscription comes to an end that its user is told of
// --------------

CAF_TEST(a failure that nobody is told of is found) {
  in_town("tells nobody", "notices that it failed, and it is", {},
          [](customers_world& world) {
            world.railway.faults.build_fails = 90;
          });
}

CAF_TEST(a step that is not taken up again is found) {
  in_town("does not resume", "ends in");
}

// -- no mail twice
// -----------------------------------------------------------------

CAF_TEST(a mail under two names is found) {
  in_town("renames mails", "one mail under two names");
}

CAF_TEST(a mail that goes out again is found) {
  in_town("forgets that it was sent", "a mail went out twice for nothing", {},
          [](customers_world& world) {
            world.db->forgets_mails_end = true;
          });
}

// -- nothing is stuck
// --------------------------------------------------------------

CAF_TEST(a deadline that nobody keeps is found) {
  in_town("sleeps through", "past its deadline", {},
          [](customers_world& world) {
            world.railway.faults.build_hangs = 50;
          });
}

// -- all slots come back
// -----------------------------------------------------------

CAF_TEST(a slot that leaks is found) {
  in_town("keeps slots", "its slot was not returned");
}

// -- leases
// ------------------------------------------------------------------------

CAF_TEST(a journal that believes everybody is found) {
  in_town("ignores fences", "a server without a lease has written",
          {0, 5, 0, 0}, [](customers_world& world) {
            world.db->ignores_fences = true;
          });
}

CAF_TEST(a server that acts without its lease is found) {
  in_town("ignores leases", "a server without a lease has called", {0, 5, 0, 0},
          [](customers_world& world) {
            world.servers_respect_leases = false;
          });
}

CAF_TEST(a store that gives away the rows of the living is found) {
  in_town("shares rows", "was taken from a living server", {0, 0, 0, 0},
          [](customers_world& world) {
            world.db->ignores_leases = true;
            world.later(2min, [&world] {
              world.join_server();
            });
          });
}
