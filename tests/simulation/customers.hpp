#pragma once

#include "tests/simulation/world.hpp"

/// Whatever the network, the provider, the database, the mail server, the power
/// supply, the clocks and the leases do, a paid subscription comes to an end
/// that its user is told of, with one project at the provider or none.
namespace slipway::test {

struct customers_world : simulated_world {
  struct customer {
    subscription_id id{};
    bool acknowledged = false; ///< The payment's notification.
  };

  /// How much goes wrong besides the faults of every call; all at random.
  struct troubles {
    int crashes = 5; ///< Less than so many.
    int losses = 0;
    int jumps = 0;
    int kills = 0;
  };

  std::vector<customer> customers;
  troubles at_most;
  std::function<void()> blow; ///< Null: nothing is about to strike.
  bool hasty = false;         ///< Creations follow each other at once.
  int countdown = -1;         ///< In messages; below 0: waits for something.

  explicit customers_world(std::uint64_t from) : simulated_world{from} {
  }

  customers_world(std::uint64_t from, troubles with)
    : simulated_world{from}, at_most{with} {
  }

  ~customers_world() override {
    end();
  }

  /// The gate for creations hides what is created too early.
  void set_up_provider(config::railway_settings& to) override {
    if (hasty) {
      to.create_interval = millis{0};
      railway.create_cooldown = millis{0};
    }
  }

  void set_up(environment& to) override {
    to.limits.timer_scan = 3s;
    to.limits.slot_scan = 3s;
    to.limits.mail_scan = 6s;
  }

  // -- the people
  // ----------------------------------------------------------------

  void come_in(std::size_t who) {
    insist(
      customers[who].id,
      [this] {
        return subscription_created{wall.now(), price, 30};
      },
      [this, who](const outcome&) {
        insist(
          customers[who].id,
          [this] {
            return order_requested{wall.now(), payment_gateway::alipay,
                                   payment_method::page, wall.now() + 30min,
                                   "key"};
          },
          [this, who](const outcome&) {
            later(some(20s), [this, who] {
              pay(who);
            });
            // Gateways say it twice, and late.
            if (roll(3) == 0)
              later(some(3min), [this, who] {
                pay(who);
              });
          });
      });
  }

  void pay(std::size_t who) {
    insist(
      customers[who].id,
      [this, who] {
        return payment_settled{wall.now(),
                               1,
                               payment_gateway::alipay,
                               "t-" + std::to_string(who),
                               price,
                               time.now()};
      },
      [this, who](const outcome& how) {
        if (how.is != verdict::applied && how.is != verdict::already_applied)
          complain("a payment was " + std::string{to_string(how.is)});
        checks.accepted(customers[who].id, 1, price);
        customers[who].acknowledged = true;
      });
  }

  void cancel(std::size_t who) {
    insist(customers[who].id, [this] {
      return cancel_requested{wall.now(), actor_kind::user};
    });
  }

  void retry(std::size_t who) {
    insist(customers[who].id, [this] {
      return retry_requested{wall.now(), actor_kind::user};
    });
  }

  void terminate(std::size_t who) {
    insist(customers[who].id, [this] {
      return terminate_requested{wall.now(), actor_kind::operator_};
    });
  }

  // -- trouble
  // --------------------------------------------------------------------

  /// Another server takes over; the first one goes on for a while, at once or
  /// later, until it notices.
  void lose() {
    if (older.size() > 1)
      return;
    const auto paused = roll(2) == 0;
    lose_lease(paused);
    const auto who = older.back();
    const auto wakes = paused ? some(40s) : millis{0};
    if (paused)
      later(wakes, [this, who] {
        wake(who);
      });
    later(wakes + some(20s), [this, who] {
      bury(who);
    });
  }

  void jump() {
    constexpr auto widths = std::array{millis{5'000}, millis{60'000},
                                       millis{1'800'000}, millis{7'200'000}};
    const auto width = widths[dice() % widths.size()];
    set_clock(some(2 * width) - width);
  }

  /// Strikes in the midst of messages: after any of them, or when something has
  /// been announced to the journal and is about to leave.
  void strike(std::function<void()> what) {
    blow = std::move(what);
    countdown = roll(2) == 0 ? roll(40) : -1;
  }

  void watch(const state& before, const transition& t) override {
    if (blow && countdown < 0 && !before.deployment.intent_at
        && t.next.state.deployment.intent_at)
      countdown = roll(4);
  }

  void after_message() override {
    if (blow && countdown >= 0 && countdown-- == 0)
      std::exchange(blow, nullptr)();
  }

  void make_trouble() {
    const auto often = [this](int most, millis within, auto what) {
      if (most > 0)
        for (auto i = roll(most); i > 0; --i)
          later(some(within), what);
    };
    often(at_most.crashes, 15min, [this] {
      strike([this] {
        crash();
      });
    });
    often(at_most.losses, 15min, [this] {
      strike([this] {
        lose();
      });
    });
    often(at_most.jumps, 15min, [this] {
      strike([this] {
        jump();
      });
    });
    often(at_most.kills, 15min, [this] {
      strike([this] {
        kill_one();
      });
    });
  }

  // -- the end
  // -----------------------------------------------------------------------

  void check_end() {
    for (const auto& c : customers) {
      const auto name = to_text(c.id);
      const auto* row = db->find(c.id);
      if (row == nullptr || !c.acknowledged) {
        complain(name + " never got through");
        continue;
      }
      const auto at = row->state.deployment.at;
      if (row->state.status != subscription_status::active)
        complain(name + " paid and is "
                 + std::string{to_string(row->state.status)});
      const auto live = railway.live(project_name(c.id));
      if (at == phase::running) {
        if (live.size() != 1 || live[0]->id != row->state.instance.project_id) {
          auto there = std::string{};
          for (const auto* x : live)
            there += " " + x->id + " of " + to_rfc3339(x->created_at);
          complain(name + " runs in " + row->state.instance.project_id
                   + ", and there are" + there);
        } else if (live[0]->subscription != name)
          complain(name + " was told that it is " + live[0]->subscription);
      }
    }
    check_rest();
  }

  bool at_rest() const {
    for (const auto& c : customers) {
      const auto* row = db->find(c.id);
      if (row == nullptr || !c.acknowledged
          || !is_settled(row->state.deployment.at))
        return false;
    }
    for (const auto& n : db->notices)
      if (n.what.by_mail && n.mail == query::mail_status::owed)
        return false;
    return script.empty();
  }

  void invite() {
    const auto n = static_cast<std::size_t>(2 + roll(5));
    for (auto i = std::size_t{0}; i < n; ++i) {
      customers.push_back(
        {make_subscription_id(day_one + millis{static_cast<int>(i)},
                              random.next()),
         false});
      later(some(60s), [this, i] {
        come_in(i);
      });
      if (roll(3) == 0)
        later(30s + some(10min), [this, i] {
          cancel(i);
        });
      if (roll(3) == 0)
        later(2min + some(14min), [this, i] {
          retry(i);
        });
      if (roll(4) == 0)
        later(1min + some(15min), [this, i] {
          terminate(i);
        });
    }
  }

  /// @returns what went wrong, or nothing.
  std::string play() {
    start_server();
    invite();
    make_trouble();
    const auto calm = day_one + 15min + some(5min);
    script.emplace(calm, [this] {
      calm_down();
      blow = nullptr;
      while (!older.empty())
        bury(older.back());
    });
    const auto limit = day_one + 6h;
    while (flaw.empty() && time.now() < limit
           && (time.now() <= calm || !at_rest()))
      step();
    // Whatever was told to the provider long ago happens now.
    const auto end = time.now() + 3min;
    while (flaw.empty() && time.now() < end)
      step();
    if (flaw.empty())
      check_end();
    return flaw;
  }
};

/// The first creation is in doubt, cannot be seen yet, and the clock is set
/// ahead by two hours.
inline void set_ahead_in_doubt(customers_world& world) {
  world.hasty = true;
  world.railway.faults = railway_faults::none();
  world.railway.faults.opaque_after = 50;
  world.railway.faults.lag_max = 25s;
  world.railway.created = [&world](const std::string& name) {
    world.checks.project_made(name);
    if (world.jumps == 0)
      world.later(400ms, [&world] {
        world.set_clock(2h);
        world.railway.faults.opaque_after = 0;
      });
  };
}

} // namespace slipway::test
