#define CAF_SUITE lifecycle.histories

#include "tests/support/lifecycle_states.hpp"

#include <caf/test/unit_test.hpp>

#include <map>
#include <random>
#include <set>

using namespace slipway;
using namespace slipway::test;

// Goal: crashes, repetitions and reordering lose nothing. The world around the
// machine is a bag of messages from which chance draws; a crash empties it, and
// what `resume` names is all that is left. When the world turns kind, every
// history has to come to rest.

namespace {

struct world {
  std::mt19937_64 random;
  driver x;
  std::vector<event> bag;
  std::map<effect, std::uint64_t> told;
  std::map<effect, std::uint64_t> to_tell; ///< By what happened.
  bool slot = false; ///< Taken and not given back, by the effects.
  int crashes = 0;
  const char* flaw = nullptr;

  explicit world(std::uint64_t seed) : random{seed} {
    x.with.attempts = 1 + roll(3);
    x.with.deadline = 5min;
  }

  std::uint32_t roll(std::uint32_t sides) {
    return static_cast<std::uint32_t>(random() % sides);
  }

  void perform(const std::vector<effect>& effects, bool kind) {
    for (auto e : effects)
      if (e == effect::request_slot || e == effect::run_step)
        answer(kind);
  }

  /// What the outside makes of the present step.
  void answer(bool kind) {
    const auto& d = x.d();
    if (kind || roll(3) != 0) {
      bag.push_back(x.progress_event());
      if (!kind && roll(4) == 0)
        bag.push_back(bag.back());
    }
    if (kind || !has_work(d.at))
      return;
    if (roll(3) == 0)
      bag.push_back(project_create_started{x.at, d.attempt});
    if (roll(3) == 0)
      bag.push_back(template_deploy_started{x.at, d.attempt});
    if (roll(3) == 0) {
      auto failed = step_failed{};
      failed.at = x.at;
      failed.attempt = d.attempt;
      failed.in = d.at;
      failed.permanent = roll(2) == 0;
      failed.without_effect = roll(2) == 0;
      failed.hopeless = roll(20) == 0;
      failed.reason = "chance";
      failed.chance = static_cast<std::uint32_t>(random());
      bag.push_back(failed);
    }
    if (roll(4) == 0)
      bag.push_back(
        deployment_observed{x.at, d.attempt, static_cast<condition>(roll(3)),
                            static_cast<std::uint8_t>(roll(256)), "X", "chance",
                            static_cast<std::uint32_t>(random())});
  }

  /// What a look at an instance that came to run shows, if anybody looks.
  void look() {
    if (!is_watched(x.now))
      return;
    auto seen = instance_observed{};
    seen.at = x.at;
    seen.instance = x.now.instance.seq;
    seen.is = static_cast<instance_health>(roll(roll(4) == 0 ? 8 : 7));
    if (roll(3) == 0)
      seen.deployment_id = "d-" + std::to_string(1 + roll(3));
    bag.push_back(seen);
  }

  /// The turns of a life, each of which its user hears of once.
  void note(phase from, phase to) {
    if (from == to)
      return;
    const auto turn = [this](effect what) {
      ++to_tell[what];
    };
    if (to == phase::running)
      turn(from == phase::lapsed ? effect::notify_recovered
                                 : effect::notify_running);
    if (to == phase::failed)
      turn(effect::notify_failed);
    if (to == phase::lapsed)
      turn(effect::notify_down);
    if (from == phase::terminating)
      turn(effect::notify_terminated);
    if (from == phase::cancelling
        || (to == phase::stopped && from != phase::terminating))
      turn(effect::notify_cancelled);
  }

  void feed(const event& what, bool kind) {
    const auto before = x.now;
    const auto is = x.feed(what);
    if (is == verdict::applied) {
      note(before.deployment.at, x.d().at);
      for (auto e : x.effects)
        ++told[e];
      for (std::size_t i = 0; i < x.now.orders.size(); ++i)
        if (x.now.orders[i].applied
            && (i >= before.orders.size() || !before.orders[i].applied))
          ++to_tell[effect::notify_paid];
      // A cancellation waits for nobody: its slot is not asked for.
      slot = (slot || std::holds_alternative<slot_granted>(what)
              || x.d().at == phase::cancelling)
             && count(x.effects, effect::release_slot) == 0;
      CAF_REQUIRE(x.now.revision == before.revision + 1);
    }
    if (flaw == nullptr && slot != works(x.d().at))
      flaw = "a slot has leaked, or was never taken";
    perform(x.effects, kind);
  }

  /// Whether every turn was told of, and no other.
  bool told_all() {
    auto same = true;
    for (auto e :
         {effect::notify_paid, effect::notify_running, effect::notify_failed,
          effect::notify_cancelled, effect::notify_terminated,
          effect::notify_down, effect::notify_recovered})
      same = same && told[e] == to_tell[e];
    return same;
  }

  void step() {
    x.at += millis{roll(5'000)};
    switch (roll(14)) {
      case 0:
        // A crash: whatever was on its way is gone.
        bag.clear();
        ++crashes;
        perform(resume(x.now), false);
        return;
      case 1:
        if (const auto due = wake_at(x.now, x.with);
            due && *due < x.at + std::chrono::hours{2})
          x.at = std::max(x.at, *due);
        feed(woke{x.at, static_cast<std::uint32_t>(random())}, false);
        return;
      case 2:
        feed(cancel_requested{x.at, actor_kind::user}, false);
        return;
      case 3:
        feed(retry_requested{x.at, actor_kind::operator_}, false);
        return;
      case 4:
        feed(order_requested{x.at,
                             payment_gateway::alipay,
                             payment_method::page,
                             x.at + 30min,
                             {}},
             false);
        return;
      case 5:
        if (!x.now.orders.empty()) {
          const auto seq
            = 1 + roll(static_cast<std::uint32_t>(x.now.orders.size()));
          feed(payment_settled{x.at, seq, payment_gateway::alipay,
                               "t-" + std::to_string(seq), price, x.at},
               false);
        }
        return;
      case 6:
        look();
        return;
      case 7:
        // Operators are rarer than users.
        if (roll(3) == 0)
          feed(terminate_requested{x.at, actor_kind::operator_}, false);
        return;
      default:
        if (bag.empty())
          return;
        // In any order, and once more by and by.
        std::swap(bag[roll(static_cast<std::uint32_t>(bag.size()))],
                  bag.back());
        const auto what = bag.back();
        if (roll(5) != 0)
          bag.pop_back();
        feed(what, false);
    }
  }

  bool calm_down() {
    bag.clear();
    perform(resume(x.now), true);
    for (auto i = 0; i < 200; ++i) {
      if (is_settled(x.d().at))
        return true;
      if (!bag.empty()) {
        const auto what = bag.front();
        bag.erase(bag.begin());
        feed(what, true);
        continue;
      }
      const auto due = wake_at(x.now, x.with);
      if (!due)
        return false;
      x.at = std::max(x.at, *due);
      feed(woke{x.at, 0}, true);
    }
    return false;
  }
};

/// A gateway and its books: what is written there is the truth about money,
/// and what it says of it comes late, twice, out of order or not at all.
struct bank {
  struct entry {
    minor_units amount = 0;
    bool done = false; ///< Else it is being worked on.
  };

  struct account {
    bool paid = false;
    std::map<std::string, entry> refunds; ///< By their number.
    std::set<std::string> dead;           ///< Nothing can come of them.

    [[nodiscard]] minor_units sum(bool all) const {
      auto out = minor_units{0};
      for (const auto& [id, x] : refunds)
        out += all || x.done ? x.amount : 0;
      return out;
    }
  };

  bool totals = false; ///< Says what went back in total, or each refund.
  std::map<std::uint32_t, account> accounts;

  [[nodiscard]] event payment(std::uint32_t seq, timestamp at) const {
    return payment_settled{
      at, seq, payment_gateway::alipay, "t-" + std::to_string(seq), price, at};
  }

  [[nodiscard]] event
  refund(std::uint32_t seq, const std::string& id, timestamp at) const {
    const auto& in = accounts.at(seq);
    auto out = refund_observed{};
    out.at = at;
    out.order = seq;
    out.refund_id = id;
    if (totals)
      out.total = in.sum(false);
    else
      out.portion = in.refunds.at(id).amount;
    if (id.front() == 'o')
      out.refund_seq
        = static_cast<std::uint32_t>(std::stoul(id.substr(id.find('r') + 1)));
    out.transaction_id = "t-" + std::to_string(seq);
    out.amount = price;
    return out;
  }
};

struct money_world {
  std::mt19937_64 random;
  driver x;
  bank books;
  std::vector<event> bag;
  std::uint32_t foreign = 0;
  int told = 0;
  int went = 0;
  const char* flaw = nullptr;

  explicit money_world(std::uint64_t seed) : random{seed} {
    x.with.orders_max = 6;
    x.with.revive_late_payment = roll(2) == 0;
    if (roll(2) == 0)
      x.with.refund_failed_after = 1h;
    books.totals = roll(2) == 0;
    x.create();
  }

  std::uint32_t roll(std::uint32_t sides) {
    return static_cast<std::uint32_t>(random() % sides);
  }

  /// @pre there is an order.
  std::uint32_t some_order() {
    return 1 + roll(static_cast<std::uint32_t>(x.now.orders.size()));
  }

  static minor_units went_back(const state& s) {
    auto out = minor_units{0};
    for (const auto& o : s.orders)
      out += o.refunded;
    return out;
  }

  verdict feed(const event& what) {
    const auto before = x.now;
    const auto is = x.feed(what);
    told += count(x.effects, effect::notify_refunded);
    went += went_back(x.now) != went_back(before) ? 1 : 0;
    if (flaw == nullptr)
      flaw = money_flaw_between(before, what, x.now);
    if (flaw == nullptr)
      flaw = money_flaw_in(x.now);
    for (const auto& o : x.now.orders) {
      const auto& truth = books.accounts[o.seq];
      if (flaw == nullptr && o.refunded > truth.sum(false))
        flaw = "more is believed to be back than is";
      // Ours and what others asked for never come to more than was paid.
      if (flaw == nullptr && truth.sum(true) > o.amount)
        flaw = "the gateway pays more than it got";
    }
    return is;
  }

  static std::string number_of(const order& o) {
    return "o" + std::to_string(o.seq) + "r" + std::to_string(o.refund_seq);
  }

  /// We ask for a refund, once more perhaps; what the gateway answers.
  void ask(const order& o, bool kind) {
    auto& in = books.accounts[o.seq];
    const auto id = number_of(o);
    const auto fail = [&](bool spent) {
      bag.push_back(refund_failed{x.at, o.seq, o.refund_seq, spent, "no"});
    };
    const auto where = in.refunds.find(id);
    if (where != in.refunds.end()) {
      if (kind)
        where->second.done = true;
      if (where->second.done)
        bag.push_back(books.refund(o.seq, id, x.at));
      else if (roll(3) == 0)
        fail(false); // It hangs, and may arrive nevertheless.
      return;
    }
    if (in.dead.count(id) != 0 || in.sum(true) + o.refund_amount > price
        || (!kind && roll(5) == 0)) {
      in.dead.insert(id);
      fail(true);
      return;
    }
    if (!kind && roll(5) == 0) {
      fail(false); // Not taken in at all.
      return;
    }
    in.refunds[id] = {o.refund_amount, kind || roll(2) == 0};
    if (in.refunds[id].done)
      bag.push_back(books.refund(o.seq, id, x.at));
  }

  /// One that was being worked on comes to its end.
  void work_on() {
    for (auto& [seq, in] : books.accounts)
      for (auto i = in.refunds.begin(); i != in.refunds.end(); ++i) {
        if (i->second.done || roll(2) == 0)
          continue;
        if (roll(4) != 0) {
          i->second.done = true;
          bag.push_back(books.refund(seq, i->first, x.at));
          return;
        }
        in.dead.insert(i->first);
        bag.push_back(refund_failed{x.at, seq,
                                    static_cast<std::uint32_t>(std::stoul(
                                      i->first.substr(i->first.find('r') + 1))),
                                    true, "closed"});
        in.refunds.erase(i);
        return;
      }
  }

  void step() {
    x.at += millis{1 + roll(5'000)};
    if (x.now.orders.empty() || roll(15) == 0) {
      x.open_order();
      return;
    }
    const auto seq = some_order();
    const auto& o = x.o(seq);
    auto& in = books.accounts[seq];
    switch (roll(12)) {
      case 0:
        bag.clear(); // Lost, all of it.
        return;
      case 1:
        if (!in.paid && o.status != order_status::closed) {
          in.paid = true;
          bag.push_back(books.payment(seq, x.at));
        }
        return;
      case 2:
        // The gateway closes only what nobody has paid.
        if (!in.paid)
          feed(order_closed{x.at, seq});
        return;
      case 3:
        feed(refund_requested{x.at, roll(2) == 0 ? seq : 0,
                              refund_cause::operator_});
        return;
      case 4:
      case 5:
        if (o.status == order_status::refunding)
          ask(o, false);
        return;
      case 6:
        work_on();
        return;
      case 7: {
        // Somebody refunds in the gateway's console.
        const auto room = price - in.sum(true);
        if (!in.paid || room == 0 || roll(3) != 0)
          return;
        const auto id = "f" + std::to_string(++foreign);
        in.refunds[id] = {1 + roll(static_cast<std::uint32_t>(room)), true};
        bag.push_back(books.refund(seq, id, x.at));
        return;
      }
      case 8:
        if (const auto due = wake_at(x.now, x.with); due && roll(4) == 0)
          x.at = std::max(x.at, *due);
        feed(woke{x.at, 0});
        return;
      case 9:
        if (!is_settled(x.d().at))
          feed(x.progress_event());
        else
          feed(retry_requested{x.at, actor_kind::user});
        return;
      default:
        if (bag.empty())
          return;
        std::swap(bag[roll(static_cast<std::uint32_t>(bag.size()))],
                  bag.back());
        const auto what = bag.back();
        if (roll(5) != 0)
          bag.pop_back();
        feed(std::visit(
          [&](auto e) {
            e.at = x.at;
            if constexpr (std::is_same_v<decltype(e), payment_settled>)
              e.paid_at = x.at;
            return event{e};
          },
          what));
    }
  }

  /// The gateway says all there is to say and does what it is asked for.
  const char* calm_down() {
    bag.clear();
    for (auto& [seq, in] : books.accounts) {
      // The payments first, or its refunds would have to come again.
      if (in.paid)
        feed(payment_settled{x.at += 1s, seq, payment_gateway::alipay,
                             "t-" + std::to_string(seq), price, x.at});
      for (auto& [id, y] : in.refunds) {
        y.done = true;
        feed(books.refund(seq, id, x.at));
      }
    }
    for (const auto& known : std::vector<order>{x.now.orders})
      for (auto i = 0; i < 20 && !is_done(x.o(known.seq)); ++i) {
        const auto& o = x.o(known.seq);
        if (o.status != order_status::refunding) {
          feed(order_closed{x.at, o.seq});
          continue;
        }
        bag.clear();
        ask(o, true);
        if (bag.empty())
          return "the gateway has nothing to say";
        feed(bag.front());
      }
    for (const auto& o : x.now.orders) {
      const auto& truth = books.accounts[o.seq];
      if (!is_done(o))
        return "an order never comes to an end";
      if (has_money(o) != truth.paid)
        return "the books differ: paid";
      if (o.refunded != truth.sum(false))
        return "the books differ: refunded";
      if (has_money(o) && !o.applied && o.status == order_status::paid
          && o.refund_error.empty())
        return "money of no use is kept";
    }
    return told == went ? flaw : "told of refunds too often or too seldom";
  }
};

} // namespace

CAF_TEST(whatever is lost or repeated the books agree in the end) {
  auto orders = 0;
  auto back = 0;
  auto in_part = 0;
  auto failed = 0;
  for (auto seed = 1u; seed <= 5'000; ++seed) {
    auto w = money_world{seed};
    for (auto i = 0; i < 200; ++i)
      w.step();
    if (const auto* flaw = w.calm_down())
      CAF_FAIL("seed " << seed << ": " << flaw);
    for (const auto& o : w.x.now.orders) {
      ++orders;
      back += o.status == order_status::refunded ? 1 : 0;
      in_part += o.refunded != 0 && o.refunded != o.amount ? 1 : 0;
      failed += o.refund_error.empty() ? 0 : 1;
    }
  }
  CAF_MESSAGE(orders << " orders, " << back << " refunded, " << in_part
                     << " in part, " << failed << " with a failed refund");
  CAF_CHECK(back > 1'000);
  CAF_CHECK(in_part > 100);
  CAF_CHECK(failed > 100);
}

CAF_TEST(every history comes to rest and tells each turn once) {
  auto crashes = 0;
  auto endings = std::vector<int>(phase_count);
  auto turns = std::map<effect, std::uint64_t>{};
  for (auto seed = 1u; seed <= 5'000; ++seed) {
    auto w = world{seed};
    w.feed(subscription_created{w.x.at, price, 30}, false);
    for (auto i = 0; i < 120; ++i)
      w.step();
    auto rests = w.calm_down();
    // Most of them run by now: what becomes of that.
    for (auto i = 0; i < 40; ++i)
      w.step();
    rests = w.calm_down() && rests;
    crashes += w.crashes;
    ++endings[static_cast<size_t>(w.x.d().at)];
    for (auto e : {effect::notify_down, effect::notify_recovered,
                   effect::notify_terminated, effect::notify_cancelled})
      turns[e] += w.told[e];
    if (!rests || w.flaw != nullptr || !w.told_all())
      CAF_FAIL("seed " << seed << " ends in " << to_string(w.x.d().at) << ": "
                       << (w.flaw != nullptr ? w.flaw : "not told once"));
    // Once at rest, nothing of what is still on its way moves the deployment.
    const auto at = w.x.d().at;
    for (const auto& late : std::vector<event>{
           slot_granted{w.x.at}, cancellation_confirmed{w.x.at},
           project_ready{w.x.at, w.x.attempt(), "p", "e", false},
           halted{w.x.at, w.x.attempt(), 0},
           instance_observed{w.x.at, w.x.now.instance.seq + 1,
                             instance_health::missing, "d", "X", "late"},
           deployment_observed{w.x.at, w.x.attempt(), condition::failed, 0, "",
                               "", 0}})
      w.feed(late, true);
    if (w.x.d().at != at)
      CAF_FAIL("seed " << seed << " leaves " << to_string(at));
  }
  CAF_MESSAGE("5000 histories, " << crashes << " crashes, ended running "
                                 << endings[8] << ", failed " << endings[9]
                                 << ", stopped " << endings[11] << ", lapsed "
                                 << endings[13] << ", idle " << endings[0]);
  CAF_CHECK(endings[8] > 100);
  CAF_CHECK(endings[9] > 100);
  CAF_CHECK(endings[11] > 100);
  CAF_CHECK(endings[13] > 50);
  for (auto e : {effect::notify_down, effect::notify_recovered,
                 effect::notify_terminated, effect::notify_cancelled})
    CAF_CHECK(turns[e] > 100);
}
