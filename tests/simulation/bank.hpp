#pragma once

#include "http/payment/accounts.hpp"
#include "http/payment/pay_order.hpp"
#include "http/payment/reconciler.hpp"
#include "tests/simulation/world.hpp"
#include "tests/support/gateway_model.hpp"

#include <set>

/// Whatever the gateways, their notifications, the database, the power supply
/// and the customers do, money and service agree in the end: who has paid has
/// bought one period or has the money back, once, and our books are those of
/// the gateways. The gateways are models with books of their own.
namespace slipway::test {

/// The pauses between the deliveries of one event, as WeChat Pay has them.
constexpr auto ladder
  = std::array{millis{0},      millis{15'000},  millis{15'000},
               millis{30'000}, millis{180'000}, millis{600'000}};

struct bank : simulated_world {
  /// An order as its customer sees it.
  struct promise {
    subscription_id subscription{};
    std::uint32_t seq = 0;
    std::string code;
  };

  gateway_model gateways;
  payment::opened_accounts opened;
  payment::order_words words;
  std::vector<subscription_id> customers;
  std::size_t arrivals = 0; ///< Customers who are still to come in.
  std::size_t orders_max = 3;
  /// In percent: events of which no delivery arrives, deliveries that do not.
  int events_lost = 25;
  int deliveries_lost = 30;
  bool certificates = false;
  bool calm_from_the_start = false;
  std::optional<millis> refund_failed_after;
  bool revive = true;
  millis ask_scan{1'000};
  std::set<std::string> bought; ///< Orders.
  std::uint64_t paid = 0;
  std::uint64_t refunds = 0;
  std::uint64_t revived = 0; ///< Activated by an order that had been closed.
  std::uint64_t surplus = 0; ///< Went back because it had bought nothing.
  millis longest{0};         ///< From the payment until it counted.

  explicit bank(std::uint64_t from)
    : simulated_world{from}, gateways{from + 3, [this] {
                                        return time.now();
                                      }} {
    gateways.on_event = [this](const gateway_model::event& what) {
      if (roll(100) < events_lost)
        return;
      deliver_later(what, 0);
    };
  }

  ~bank() override {
    end();
  }

  // -- the server
  // ------------------------------------------------------------------

  void set_up(environment& what) override {
    what.rules.refund_failed_after = refund_failed_after;
    what.rules.revive_late_payment = revive;
    what.rules.orders_max = 8;
    what.limits.ask_scan = ask_scan;
    what.limits.timer_scan = 5s;
    what.limits.slot_scan = 5s;
    what.limits.mail_scan = 10s;
  }

  void add_actors() override {
    auto made = payment::open_accounts(gateway_model::settings(!certificates));
    CAF_REQUIRE(made.has_value());
    opened = std::move(*made);
    words.public_url = "https://slipway.example";
    auto options = payment::reconciler_options{};
    options.accounts = opened.accounts;
    options.wechat_keys = opened.wechat_keys;
    const auto wire = gateways.connect();
    wire->may_act = [this, weak = std::weak_ptr{server}] {
      const auto here = weak.lock();
      return !servers_respect_leases || (here && here->leased);
    };
    wire->left = [this, weak = std::weak_ptr{server}](const auto&) {
      const auto here = weak.lock();
      checks.left(here && here->leased, "for a refund");
    };
    server->plugs.emplace_back([wire] {
      wire->severed = true;
    });
    options.network = wire;
    options.words = words;
    add_ticking("reconciler", env->reconciler,
                [this, with = environment_ptr{env}, options](bool) {
                  return sys.spawn(payment::reconciler, environment_ptr{with},
                                   options);
                });
  }

  [[nodiscard]] std::optional<timestamp> next_outside() const override {
    return gateways.next();
  }

  void run_outside() override {
    gateways.run();
  }

  // -- notifications
  // ------------------------------------------------------------------

  void deliver_later(const gateway_model::event& what, std::size_t nth) {
    if (nth >= ladder.size())
      return;
    later(ladder[nth] + some(3s), [this, what, nth] {
      if (roll(100) < deliveries_lost) {
        deliver_later(what, nth + 1);
        return;
      }
      // Twice, now and then, and both at work at the same time.
      if (roll(8) == 0)
        deliver(what, ladder.size());
      deliver(what, nth);
    });
  }

  /// As http/api/callbacks.cpp does it.
  void deliver(const gateway_model::event& what, std::size_t nth) {
    auto bytes = gateways.render(what);
    if (roll(20) == 0)
      deliver_forged(what, bytes);
    const auto got = read(what, bytes);
    const auto& text = bytes.body;
    if (got.refused
        && got.refused->reason == gateway::reject_reason::unknown_serial) {
      refresh_keys();
      deliver_later(what, nth + 1);
      return;
    }
    if (!gateway::is_authentic(got) || got.refused) {
      complain("a genuine message is refused: "
               + (got.refused ? got.refused->sentence : std::string{}));
      return;
    }
    const auto ref = parse_order_ref(got.what.order_id);
    if (!ref) {
      complain("an order of ours is not recognised");
      return;
    }
    const auto fact = gateway::event_of(
      got.what, ref->seq,
      gateway::refund_seq_of(got.what.order_id, got.what.refund_id),
      wall.now());
    if (!fact) {
      complain("a message that means something means nothing: " + what.word);
      return;
    }
    auto cmd = std::make_shared<command>();
    cmd->subscription = ref->subscription;
    cmd->what = *fact;
    cmd->callback = std::make_shared<callback_entry>();
    cmd->callback->gateway = what.at;
    cmd->callback->order_id = got.what.order_id;
    cmd->callback->subscription = ref->subscription;
    cmd->callback->dedupe_key = what.id;
    cmd->callback->received_at = wall.now();
    cmd->callback->body = text;
    const auto* paid = std::get_if<payment_settled>(&*fact);
    cmd->reply = std::make_shared<reply_slot>(
      [this, here = open, what, nth, id = ref->subscription,
       seq = paid != nullptr ? paid->order : 0,
       amount = paid != nullptr ? paid->amount : 0,
       promise = checks.promised()](const outcome& how) {
        if (!*here)
          return;
        if (how.error == errc::none
            && gateway::ending_of(how.is) == gateway::ending::done) {
          if (seq != 0)
            checks.accepted(id, seq, amount);
          gateways.acknowledged(what);
        } else
          deliver_later(what, nth + 1);
      });
    say(std::move(cmd));
  }

  gateway::reading
  read(const gateway_model::event& what, const gateway_model::message& bytes) {
    auto in = gateway::inbound{};
    in.from = what.at == payment_gateway::alipay ? gateway::protocol::alipay
                                                 : gateway::protocol::wechat_v3;
    in.refund = bytes.refund;
    in.headers = &bytes.headers;
    in.body = bytes.body;
    in.now = wall.now();
    return gateway::read(opened.accounts, in);
  }

  /// The same with another digit somewhere.
  void deliver_forged(const gateway_model::event& what,
                      gateway_model::message bytes) {
    auto digits = std::vector<std::size_t>{};
    for (std::size_t i = 0; i < bytes.body.size(); ++i)
      if (bytes.body[i] >= '1' && bytes.body[i] <= '8')
        digits.push_back(i);
    auto& c = bytes.body[digits[dice() % digits.size()]];
    ++c;
    if (gateway::is_authentic(read(what, bytes)))
      complain("a message that was changed is believed");
  }

  void refresh_keys() {
    auto what = std::make_shared<gateway_errand>();
    what->what = gateway_errand::kind::refresh_keys;
    what->gateway = payment_gateway::wechat;
    caf::anon_send(env->reconciler(), std::move(what));
  }

  // -- customers
  // ---------------------------------------------------------------------

  void come_in(subscription_id who) {
    insist(
      who,
      [this] {
        return subscription_created{wall.now(), price, 30};
      },
      [this, who](const outcome&) {
        --arrivals;
        order(who);
      });
  }

  /// Orders, and perhaps once more while the first one can still be paid.
  void order(subscription_id who) {
    const auto key = "key-" + std::to_string(dice());
    const auto at
      = roll(2) == 0 ? payment_gateway::alipay : payment_gateway::wechat;
    const auto method = at == payment_gateway::wechat ? payment_method::native
                        : roll(2) == 0                ? payment_method::page
                                                      : payment_method::qr;
    const auto ttl = std::array{millis{90'000}, millis{300'000},
                                millis{1'800'000}}[dice() % 3];
    insist(
      who,
      [this, at, method, ttl, key] {
        return order_requested{wall.now(), at, method, wall.now() + ttl, key};
      },
      [this, who, key, ttl](const outcome& how) {
        if (how.now == nullptr)
          return;
        for (const auto& o : how.now->state.orders)
          if (o.idempotency_key == key) {
            ordered({who, o.seq, {}}, *how.now, ttl);
            if (o.seq < orders_max && roll(2) == 0)
              later(some(ttl + 60s), [this, who] {
                order(who);
              });
          }
      });
  }

  void ordered(promise what, const record& row, millis ttl) {
    const auto& o = row.state.orders.at(what.seq - 1);
    if (o.method != payment_method::page) {
      prepare(what, ttl, 0);
      return;
    }
    const auto link = opened.accounts.of(o.gateway)->link(
      payment::pay_order_of(row, o, words));
    if (!link) {
      complain("no link: " + link.error());
      return;
    }
    what.code = link->pay_url;
    hold(what, ttl);
  }

  void prepare(const promise& what, millis ttl, int tries) {
    const auto* row = db->find(what.subscription);
    if (row->state.orders.at(what.seq - 1).status != order_status::pending)
      return;
    send(what, gateway_errand::kind::prepare,
         [this, what, ttl, tries](const outcome& how) {
           if (how.error != errc::none) {
             if (tries < 5)
               later(2s + some(5s), [this, what, ttl, tries] {
                 prepare(what, ttl, tries + 1);
               });
             return;
           }
           auto shown = what;
           if (how.now != nullptr)
             shown.code = how.now->state.orders.at(what.seq - 1).code;
           hold(shown, ttl);
         });
  }

  void send(const promise& what, gateway_errand::kind kind_of,
            std::function<void(const outcome&)> done) {
    const auto* row = db->find(what.subscription);
    auto errand = std::make_shared<gateway_errand>();
    errand->what = kind_of;
    errand->subject = std::make_shared<const record>(*row);
    errand->order = what.seq;
    errand->gateway = row->state.orders.at(what.seq - 1).gateway;
    auto times = std::make_shared<int>(0);
    errand->reply = std::make_shared<reply_slot>(
      [this, here = open, times, done = std::move(done)](const outcome& how) {
        if (!*here)
          return;
        if (++*times > 1)
          complain("a reply came twice");
        if (done)
          done(how);
      });
    caf::anon_send(env->reconciler(), std::move(errand));
  }

  /// The customer has a code or a link, for as long as it lives, and looks at
  /// the page now and then.
  void hold(const promise& what, millis ttl) {
    for (auto i = roll(3); i > 0; --i)
      later(some(ttl), [this, what] {
        send(what, gateway_errand::kind::ask, {});
      });
    if (calm_from_the_start) {
      later(some(ttl - 30s), [this, what] {
        pay(what);
      });
      return;
    }
    const auto n = roll(10);
    // In time, late, or when nobody counts on it any more.
    if (n < 6)
      later(some(ttl), [this, what] {
        pay(what);
      });
    else if (n < 8)
      later(ttl + some(3min), [this, what] {
        pay(what);
      });
    else if (n < 9)
      later(some(100min), [this, what] {
        pay(what);
      });
  }

  void pay(const promise& what) {
    const auto id = gateways.present(what.code);
    if (!id)
      return;
    if (*id != to_text(order_ref{what.subscription, what.seq})) {
      complain("a customer pays another's order");
      return;
    }
    later(some(20s), [this, id = *id] {
      paid += gateways.pay(id) ? 1 : 0;
    });
  }

  // -- operators
  // ---------------------------------------------------------------------

  void want_refund(subscription_id who, std::uint32_t seq) {
    insist(who, [this, seq] {
      return refund_requested{wall.now(), seq, refund_cause::operator_};
    });
  }

  /// Sees to what is in attention.
  void look_after() {
    gateways.settle_abnormal();
    for (const auto& [id, x] : db->rows)
      for (const auto& o : x.value.state.orders)
        if (o.status == order_status::paid && !o.refund_error.empty())
          want_refund(x.value.id, o.seq);
  }

  // -- what is always true
  // ----------------------------------------------------------

  void watch(const state& before, const transition& t) override {
    const auto& after = t.next.state;
    for (const auto& o : after.orders) {
      const auto name = to_text(order_ref{t.next.id, o.seq});
      const auto* was = find_order(before, o.seq);
      const auto* theirs = gateways.find(name);
      if (has_money(o)) {
        if (theirs == nullptr || theirs->paid != o.amount
            || theirs->transaction_id != o.transaction_id)
          complain(name + " is paid here and not there");
        else if (was == nullptr || !has_money(*was)) {
          const auto lag = time.now() - theirs->paid_at;
          longest = std::max(longest, std::chrono::floor<millis>(lag));
          if (was != nullptr && was->status == order_status::closed
              && o.applied)
            ++revived;
          surplus += o.applied ? 0 : 1;
        }
      }
      if (o.refunded > (theirs == nullptr ? 0 : theirs->refunded))
        complain(name + " is refunded here and not there");
      if (was != nullptr && was->refunded < o.refunded)
        ++refunds;
      if (o.applied && (was == nullptr || !was->applied))
        bought.insert(name);
    }
  }

  // -- the end
  // -----------------------------------------------------------------------

  /// What is not as it has to be in the end, or nothing.
  std::string unfinished() {
    auto out = std::string{};
    const auto say = [&out](const std::string& what) {
      if (out.empty())
        out = what;
    };
    for (const auto& [id, x] : db->rows) {
      const auto& s = x.value.state;
      if (!is_settled(s.deployment.at))
        say(to_text(x.value.id) + " ends in "
            + std::string{to_string(s.deployment.at)});
      if (s.status == subscription_status::active) {
        auto held = false;
        for (const auto& o : s.orders)
          held = held || (o.applied && o.status == order_status::paid);
        if (!held)
          say(to_text(x.value.id) + " is active for nothing");
      }
      for (const auto& o : s.orders) {
        const auto name = to_text(order_ref{x.value.id, o.seq});
        const auto* theirs = gateways.find(name);
        if (o.status != order_status::paid && o.status != order_status::closed
            && o.status != order_status::refunded)
          say(name + " ends as " + std::string{to_string(o.status)});
        if (o.status == order_status::paid && !o.applied)
          say(name + " has bought nothing and is kept");
        if (o.status == order_status::paid && !o.refund_error.empty())
          say(name + " waits for a person: " + o.refund_error);
        if (theirs == nullptr)
          continue;
        if (has_money(o) != (theirs->paid > 0))
          say(name + " is paid at the gateway: " + std::to_string(theirs->paid)
              + ", here it is " + std::string{to_string(o.status)});
        if (o.refunded != theirs->refunded)
          say(name + ": " + std::to_string(theirs->refunded)
              + " went back, here " + std::to_string(o.refunded));
      }
    }
    for (const auto& n : db->notices)
      if (n.what.by_mail && n.mail == query::mail_status::owed)
        say("a mail is still owed");
    return out;
  }

  bool at_rest() {
    if (!script.empty() || arrivals > 0)
      return false;
    // Nor is anything to happen soon, as money that goes back by itself.
    for (const auto& [id, x] : db->rows)
      if (const auto due = wake_at(x.value.state, env->rules);
          due && *due < wall.now() + 1h)
        return false;
    return unfinished().empty();
  }

  void check_end() {
    complain_if(unfinished());
    check_rest();
    auto here = minor_units{0};
    auto told = minor_units{0};
    auto news = std::size_t{0};
    for (const auto& [id, x] : db->rows)
      for (const auto& o : x.value.state.orders)
        here += (has_money(o) ? o.amount : 0) - o.refunded;
    auto there = minor_units{0};
    auto back = minor_units{0};
    for (const auto& [id, o] : gateways.orders) {
      there += o.paid - o.refunded;
      back += o.refunded;
    }
    for (const auto& n : db->notices) {
      told += n.what.kind == notice_kind::refund_completed ? n.what.amount : 0;
      news += n.what.kind == notice_kind::payment_received ? 1 : 0;
    }
    if (here != there)
      complain("the books differ: " + std::to_string(there) + " there, "
               + std::to_string(here) + " here");
    if (told != back)
      complain(std::to_string(back) + " went back, users were told of "
               + std::to_string(told));
    if (news != bought.size())
      complain("users were not told of what they have bought");
    // Only what overtakes may contradict: a refund before its payment.
    for (const auto& c : db->callbacks)
      if (c.outcome == callback_outcome::contradicted && c.reason != "not_paid")
        complain("an honest gateway contradicts: " + c.reason);
    for (const auto& x : gateways.complaints)
      complain(x);
  }

  void complain_if(const std::string& what) {
    if (!what.empty())
      complain(what);
  }

  void calm_down() {
    simulated_world::calm_down();
    gateways.faults = gateway_faults::none();
    gateways.faults.later = 30;
    gateways.faults.later_max = 60s;
  }

  void invite(std::size_t n, millis within) {
    for (std::size_t i = 0; i < n; ++i) {
      const auto id = make_subscription_id(
        day_one + millis{static_cast<std::int64_t>(i)}, random.next());
      customers.push_back(id);
      ++arrivals;
      later(some(within), [this, id] {
        come_in(id);
      });
    }
  }

  /// @returns what went wrong, or nothing.
  std::string play() {
    gateways.faults = gateway_faults{};
    certificates = roll(2) == 0;
    gateways.public_key = !certificates;
    revive = roll(4) > 0;
    if (roll(2) == 0) {
      refund_failed_after = 3min;
      railway.faults.build_fails = 70;
    }
    start_server();
    invite(static_cast<std::size_t>(2 + roll(3)), 60s);
    for (const auto id : customers)
      if (roll(2) == 0)
        later(60s + some(15min), [this, id] {
          want_refund(id, 0);
        });
    for (auto i = roll(5); i > 0; --i)
      later(some(15min), [this] {
        crash();
      });
    const auto calm = day_one + 12min + some(8min);
    script.emplace(calm, [this] {
      calm_down();
    });
    auto round = calm + 5min;
    const auto limit = day_one + 10h;
    while (flaw.empty() && time.now() < limit
           && (time.now() <= calm || !at_rest())) {
      step();
      if (time.now() >= round) {
        round = time.now() + 10min;
        look_after();
      }
    }
    // Whatever was told to anybody long ago happens now.
    const auto end = time.now() + 3min;
    while (flaw.empty() && time.now() < end)
      step();
    if (flaw.empty())
      check_end();
    return flaw;
  }

  /// Nothing goes wrong, except that no notification ever arrives.
  std::string play_without_callbacks() {
    kind = true;
    calm_from_the_start = true;
    events_lost = 100;
    orders_max = 1;
    ask_scan = 500ms;
    railway.faults = railway_faults::none();
    gateways.faults = gateway_faults::none();
    certificates = roll(2) == 0;
    start_server();
    invite(12, 3min);
    const auto limit = day_one + 2h;
    while (flaw.empty() && time.now() < limit
           && (arrivals > 0 || !script.empty() || !unfinished().empty())) {
      step();
      for (const auto& [id, theirs] : gateways.orders)
        if (theirs.paid > 0 && time.now() - theirs.paid_at > 60s)
          if (const auto ref = parse_order_ref(id))
            if (!has_money(
                  db->find(ref->subscription)->state.orders.at(ref->seq - 1)))
              complain(id + " was paid a minute ago and does not count");
    }
    if (flaw.empty())
      check_end();
    return flaw;
  }

  [[nodiscard]] std::uint64_t print() const {
    auto more = std::to_string(paid);
    for (const auto& [operation, n] : gateways.calls)
      more += operation + std::to_string(n);
    return fingerprint(more);
  }
};

} // namespace slipway::test
