#define CAF_SUITE simulation.crash

#include "tests/simulation/bank.hpp"

#include <cstdlib>

using namespace slipway;
using namespace slipway::test;

// Not at random: lives in which nothing else goes wrong, and the power fails
// once at every durable step of each, before it, after it, and when its
// consequences are under way. Commits end in every other way, too.

namespace {

enum class life : std::uint8_t {
  buy,
  fail_and_retry,
  fail_and_refund,
  cancel_creating,
  cancel_deploying,
  refund,
  terminate,
  pay_twice,
};

constexpr auto lives = std::array{life::buy,
                                  life::fail_and_retry,
                                  life::fail_and_refund,
                                  life::cancel_creating,
                                  life::cancel_deploying,
                                  life::refund,
                                  life::terminate,
                                  life::pay_twice};

constexpr auto life_names = std::array{
  "buy",    "fail and retry", "fail and refund", "cancel", "cancel deploying",
  "refund", "terminate",      "pay twice"};

enum class point : std::uint8_t {
  never,
  before,          ///< Nothing is written.
  after,           ///< Written; the answer never comes.
  answered,        ///< The SUPERVISOR has heard; nobody else has.
  settled,         ///< So have its neighbours.
  called,          ///< Something has left because of it.
  failed,          ///< No power failure: the commit is rolled back…
  conflict,        ///< …or refused…
  doubt_stored,    ///< …or in doubt, and written…
  doubt_forgotten, ///< …or in doubt, and not written.
};

constexpr auto point_names = std::array{
  "never",  "before", "after",    "answered",         "settled",
  "called", "failed", "conflict", "in doubt, stored", "in doubt, forgotten"};

struct canonical final : bank {
  life lived;
  std::size_t at = 0; ///< The durable step; 0: none.
  point where = point::never;
  /// Once more, so many durable steps after the first failure. 0: no more.
  std::size_t again = 0;
  std::size_t steps = 0;
  bool fired = false;

  canonical(life which, std::uint64_t from, std::size_t step, point how)
    : bank{from}, lived{which}, at{step}, where{how} {
    kind = true;
    calm_from_the_start = true;
    events_lost = 0;
    deliveries_lost = 0;
    orders_max = 1;
    ask_scan = 3s;
    railway.faults = railway_faults::none();
    gateways.faults = gateway_faults::none();
    db->supply = [this](std::string_view what) {
      return pass(what);
    };
    db->commit_fault = [this](const transition&) {
      return std::exchange(end_, commit_status::stored);
    };
    db->in_doubt_stores = [this] {
      return where == point::doubt_stored;
    };
  }

  ~canonical() override {
    end();
  }

  /// Whether the power fails as such, not merely a commit.
  [[nodiscard]] bool is_crash() const {
    return where < point::failed;
  }

  memory_database::power pass(std::string_view what) {
    using power = memory_database::power;
    if (!server || db->server != server->id || power_off)
      return power::on;
    ++steps;
    if (fired && again > 0 && --again == 0) {
      power_off = true;
      return power::off_after;
    }
    if (fired || steps != at)
      return power::on;
    fired = true;
    switch (where) {
      case point::never:
        return power::on;
      case point::before:
        power_off = true;
        return power::off_before;
      case point::after:
        power_off = true;
        return power::off_after;
      case point::answered:
      case point::settled:
      case point::called:
        pending_ = true;
        since_ = time.now();
        calls_ = all_calls();
        return power::on;
      case point::failed:
      case point::conflict:
      case point::doubt_stored:
      case point::doubt_forgotten:
        if (what == "a transition")
          end_ = where == point::failed     ? commit_status::failed
                 : where == point::conflict ? commit_status::conflict
                                            : commit_status::in_doubt;
        return power::on;
    }
    return power::on;
  }

  std::size_t all_calls() {
    auto n = railway.calls;
    for (const auto& [name, times] : gateways.calls)
      n += static_cast<std::size_t>(times);
    return n;
  }

  /// Whether a supervisor still waits for its journal.
  bool anybody_waits() {
    for (const auto& [id, x] : registry_of().entries)
      if (x.handle) {
        using impl = supervisor_actor::stateful_base<supervisor_state>;
        if (deref<impl>(x.handle).state.flight)
          return true;
      }
    return false;
  }

  void after_message() override {
    if (!pending_)
      return;
    const auto now = where == point::answered ? !anybody_waits()
                     : where == point::settled
                       ? time.now() > since_
                       : all_calls() > calls_ || time.now() > since_ + 20s;
    if (now) {
      pending_ = false;
      power_off = true;
    }
  }

  // -- what its person does
  // --------------------------------------------------------

  void wish(phase at_phase, const std::function<void()>& what) {
    const auto* row = customers.empty() ? nullptr : db->find(customers[0]);
    if (wished_ || row == nullptr || row->state.deployment.at != at_phase)
      return;
    wished_ = true;
    what();
  }

  void live_on() {
    switch (lived) {
      case life::buy:
      case life::pay_twice:
      case life::fail_and_refund:
        return;
      case life::fail_and_retry:
        wish(phase::failed, [this] {
          railway.faults.build_fails = 0;
          insist(customers[0], [this] {
            return retry_requested{wall.now(), actor_kind::user};
          });
        });
        return;
      case life::cancel_creating:
      case life::cancel_deploying:
        wish(lived == life::cancel_creating ? phase::creating_project
                                            : phase::deploying,
             [this] {
               insist(customers[0], [this] {
                 return cancel_requested{wall.now(), actor_kind::user};
               });
             });
        return;
      case life::refund:
        wish(phase::running, [this] {
          want_refund(customers[0], 0);
        });
        return;
      case life::terminate:
        wish(phase::running, [this] {
          insist(customers[0], [this] {
            return terminate_requested{wall.now(), actor_kind::operator_};
          });
        });
        return;
    }
  }

  std::string live() {
    start_server();
    if (lived == life::fail_and_retry || lived == life::fail_and_refund)
      railway.faults.build_fails = 100;
    if (lived == life::fail_and_refund) {
      refund_failed_after = 3min;
      crash(); // It reads its rules when it starts.
    }
    invite(1, 1s);
    if (lived == life::pay_twice)
      later(5s, [this] {
        order(customers[0]);
      });
    const auto limit = day_one + 3h;
    while (flaw.empty() && time.now() < limit
           && (arrivals > 0 || !script.empty() || !at_rest() || !ended()))
      step();
    const auto end = time.now() + 2min;
    while (flaw.empty() && time.now() < end)
      step();
    if (flaw.empty())
      check_end();
    if (flaw.empty() && !ended())
      complain("the life did not come to its end");
    return flaw;
  }

  void run_outside() override {
    bank::run_outside();
    live_on();
  }

  /// Whether it has come to where it was to go.
  [[nodiscard]] bool ended() const {
    const auto* row = customers.empty() ? nullptr : db->find(customers[0]);
    if (row == nullptr)
      return false;
    const auto& s = row->state;
    switch (lived) {
      case life::buy:
      case life::pay_twice:
      case life::fail_and_retry:
        return s.deployment.at == phase::running;
      case life::fail_and_refund:
      case life::refund:
        return s.status == subscription_status::refunded;
      case life::cancel_creating:
      case life::cancel_deploying:
      case life::terminate:
        return s.deployment.at == phase::stopped;
    }
    return false;
  }

private:
  bool pending_ = false;
  bool wished_ = false;
  timestamp since_{};
  std::size_t calls_ = 0;
  commit_status end_ = commit_status::stored;
};

/// Every point of every durable step of one life.
void exhaust(const char* test, life which) {
  quiet();
  auto all = seeds{test, 0, 1, 1, 9};
  const auto name = std::string{life_names[static_cast<std::size_t>(which)]};
  auto runs = std::size_t{0};
  auto crashes = std::size_t{0};
  while (all.next()) {
    auto undisturbed = canonical{which, all.seed(), 0, point::never};
    undisturbed.live();
    all.played(undisturbed, name + ", undisturbed, ");
    const auto steps = undisturbed.steps;
    for (auto step = std::size_t{1}; step <= steps; ++step)
      for (auto p = point::before; p <= point::doubt_forgotten;
           p = static_cast<point>(static_cast<int>(p) + 1)) {
        auto world = canonical{which, all.seed(), step, p};
        world.live();
        ++runs;
        crashes += world.crashes;
        all.played(world, name + ", step " + std::to_string(step) + " of "
                            + std::to_string(steps) + ", "
                            + point_names[static_cast<std::size_t>(p)] + ", ");
      }
  }
  CAF_MESSAGE(name << ": " << runs << " runs, " << crashes << " crashes");
  CAF_CHECK_EQUAL(all.bad(), 0u);
  CAF_CHECK(runs > 50);
}

} // namespace

CAF_TEST(a purchase survives a power failure at every step) {
  exhaust("a purchase survives a power failure at every step", life::buy);
}

CAF_TEST(a failure that is retried survives a power failure at every step) {
  exhaust("a failure that is retried survives a power failure at every step",
          life::fail_and_retry);
}

CAF_TEST(a failure that is paid back survives a power failure at every step) {
  exhaust("a failure that is paid back survives a power failure at every step",
          life::fail_and_refund);
}

CAF_TEST(an early cancellation survives a power failure at every step) {
  exhaust("an early cancellation survives a power failure at every step",
          life::cancel_creating);
}

CAF_TEST(a late cancellation survives a power failure at every step) {
  exhaust("a late cancellation survives a power failure at every step",
          life::cancel_deploying);
}

CAF_TEST(a refund survives a power failure at every step) {
  exhaust("a refund survives a power failure at every step", life::refund);
}

CAF_TEST(a termination survives a power failure at every step) {
  exhaust("a termination survives a power failure at every step",
          life::terminate);
}

CAF_TEST(a double payment survives a power failure at every step) {
  exhaust("a double payment survives a power failure at every step",
          life::pay_twice);
}

CAF_TEST(a second power failure during the recovery is survived) {
  quiet();
  auto all = seeds{"a second power failure", 0, 1, 1, 9};
  auto runs = std::size_t{0};
  auto crashes = std::size_t{0};
  while (all.next())
    for (auto which : {life::buy, life::cancel_deploying}) {
      auto undisturbed = canonical{which, all.seed(), 0, point::never};
      undisturbed.live();
      for (auto step = std::size_t{1}; step <= undisturbed.steps; ++step)
        for (auto again = std::size_t{1}; again <= 3; ++again) {
          auto world = canonical{which, all.seed(), step, point::after};
          world.again = again;
          world.live();
          ++runs;
          crashes += world.crashes;
          all.played(world, "step " + std::to_string(step) + " and "
                              + std::to_string(again) + " later, ");
        }
    }
  CAF_CHECK_EQUAL(all.bad(), 0u);
  CAF_CHECK(crashes > runs);
}
