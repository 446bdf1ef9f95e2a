#include "tests/simulation/invariants.hpp"

#include "tests/support/lifecycle_states.hpp"

#include <algorithm>

namespace slipway::test {

using namespace lifecycle;
using namespace std::chrono_literals;

namespace {

/// How often it is looked at what is due.
constexpr auto look_every = millis{5'000};

bool holds_money(const order& x) {
  return x.status == order_status::paid || x.status == order_status::refunding
         || x.status == order_status::refunded;
}

/// Whether the phase cannot be left without anything being built.
bool may_build(phase at) {
  return holds_slot(at) && at != phase::creating_project
         && at != phase::cancelling && at != phase::halting;
}

std::size_t count(const transition& t, notice_kind kind) {
  return static_cast<std::size_t>(
    std::count_if(t.notices.begin(), t.notices.end(), [kind](const notice& x) {
      return x.kind == kind;
    }));
}

std::string message_id_of(const memory_database::kept_notice& x) {
  return to_text(x.subscription) + "." + std::to_string(x.revision) + "."
         + std::to_string(static_cast<int>(x.what.kind));
}

} // namespace

invariants::invariants(const memory_database& db, const clock& time,
                       const clock& wall)
  : db_{db}, time_{time}, wall_{wall} {
}

void invariants::complain(const std::string& what) {
  if (flaw.empty())
    flaw = what;
}

// -- what happens
// --------------------------------------------------------------------

void invariants::stored(const record& before, const transition& t,
                        std::int64_t writer) {
  const auto name = to_text(t.next.id);
  if (db_.fenced.count(writer) > 0)
    complain(name + ": a server without a lease has written");
  auto& owner = owners_[name];
  if (owner != 0 && owner != writer && db_.leases.count(owner) > 0)
    complain(name + ": was taken from a living server");
  owner = writer;
  if (t.next.state.revision != before.state.revision + 1)
    complain(name + ": revision " + std::to_string(before.state.revision)
             + " is followed by " + std::to_string(t.next.state.revision));
  auto& epoch = epochs_[name];
  if (t.next.epoch < epoch)
    complain(name + ": an earlier owner has written");
  epoch = t.next.epoch;
  if (t.next.state.deployment.intent_at
      || !t.next.state.instance.project_id.empty())
    announced_.insert(project_name(t.next.id));
  check_money(before, t);
  check_turns(before, t);
}

void invariants::check_money(const record& before, const transition& t) {
  const auto& was = before.state;
  const auto& is = t.next.state;
  auto bought = std::size_t{0};
  for (const auto& o : is.orders) {
    const auto name = to_text(order_ref{t.next.id, o.seq});
    const auto* old = find_order(was, o.seq);
    if (old != nullptr && holds_money(*old) && !holds_money(o))
      complain(name + ": its money was forgotten");
    if (old != nullptr && o.refunded < old->refunded)
      complain(name + ": money that went back was forgotten");
    if (o.refunded > o.amount)
      complain(name + ": more went back than was paid");
    if (old != nullptr && holds_money(*old)
        && o.transaction_id != old->transaction_id)
      complain(name + ": another transaction took its place");
    if (old != nullptr && old->applied && !o.applied)
      complain(name + ": has not bought any more");
    if (o.applied && (old == nullptr || !old->applied)) {
      ++bought;
      if (++activations_[name] > 1)
        complain(name + ": has bought twice");
    }
    if (holds_money(o) && (old == nullptr || !holds_money(*old)) && !o.applied
        && o.status != order_status::refunding)
      complain(name + ": money that buys nothing is kept");
  }
  const auto activated = was.status != subscription_status::active
                         && is.status == subscription_status::active;
  if (bought != (activated ? 1u : 0u))
    complain(to_text(t.next.id) + ": " + std::to_string(bought)
             + " payments for "
             + (activated ? "one activation" : "no activation"));
  auto gone = minor_units{0};
  for (const auto& o : is.orders)
    if (const auto* old = find_order(was, o.seq))
      gone += o.refunded - old->refunded;
  if (count(t, notice_kind::refund_completed) != (gone > 0 ? 1u : 0u))
    complain(to_text(t.next.id) + ": "
             + std::to_string(count(t, notice_kind::refund_completed))
             + " notices of a refund of " + std::to_string(gone));
  if (activated && count(t, notice_kind::payment_received) != 1)
    complain(to_text(t.next.id) + ": nobody is told of the activation");
}

void invariants::check_turns(const record& before, const transition& t) {
  const auto& d = t.next.state.deployment;
  const auto from = before.state.deployment.at;
  const auto to = d.at;
  const auto id = raw(t.next.id);
  const auto name = to_text(t.next.id);
  const auto tell = [&](bool owed, notice_kind kind, const char* what) {
    if (count(t, kind) != (owed ? 1u : 0u))
      complain(name + ": " + std::to_string(count(t, kind)) + " notices that "
               + what + (owed ? ", and it is" : ", and it is not"));
  };
  const auto turned = from != to;
  const auto ran = turned && to == phase::running && from != phase::lapsed;
  const auto failed = turned && to == phase::failed;
  const auto terminated = turned && from == phase::terminating;
  const auto cancelled
    = (turned && from == phase::cancelling)
      || (turned && to == phase::stopped
          && (from == phase::queued || from == phase::backing_off));
  runs += ran;
  failures += failed;
  halts += turned && to == phase::halting;
  terminations += terminated;
  cancellations += cancelled;
  tell(ran, notice_kind::deployment_success, "it runs");
  tell(failed, notice_kind::deployment_failed, "it failed");
  tell(terminated, notice_kind::instance_terminated, "it is taken away");
  tell(cancelled, notice_kind::deployment_cancelled, "it is cancelled");
  // Nothing is built for money that went back.
  if ((to == phase::cancelling || to == phase::terminating) && turned
      && wished_.count(id) == 0
      && t.next.state.status != subscription_status::refunded)
    complain(name + ": is taken away although nobody wanted that");
  if (may_build(from) && !has_step(to) && to != phase::running)
    complain(name + ": the slot of what builds was given back in "
             + std::string{to_string(to)});
  if (to == phase::queued && !d.queue_rank)
    complain(name + ": is queued without a place");
  if (turned && from == phase::queued && to == phase::creating_project)
    granted_.insert(id);
  if (!holds_slot(to))
    granted_.erase(id);
}

void invariants::wished_away(subscription_id who) {
  wished_.insert(raw(who));
}

void invariants::accepted(subscription_id who, std::uint32_t order,
                          minor_units amount) {
  const auto name = to_text(order_ref{who, order});
  const auto* row = db_.find(who);
  const auto* o = row != nullptr ? find_order(row->state, order) : nullptr;
  if (o == nullptr || !holds_money(*o))
    complain(name + ": its payment was accepted and is not stored");
  accepted_.push_back({who, order, amount});
}

void invariants::project_made(const std::string& name) {
  if (announced_.count(name) == 0)
    complain(name + ": a project was made that the journal has not heard of");
}

void invariants::left(bool may_act, const std::string& what) {
  if (!may_act)
    complain("a server without a lease has called " + what);
}

void invariants::mailed(const mail::mail_message& what) {
  const auto local = what.message_id.substr(0, what.message_id.find('@'));
  const memory_database::kept_notice* about = nullptr;
  for (const auto& x : db_.notices)
    if (x.what.by_mail && message_id_of(x) == local)
      about = &x;
  if (about == nullptr) {
    complain("a mail went out that no notice asks for: " + local);
    return;
  }
  if (about->mail == query::mail_status::sent)
    complain(local + ": a mail went out again after it was marked");
  auto& known = mails_[what.message_id];
  if (++known.times > 1 && known.excuses == excuses_)
    complain(local + ": a mail went out twice for nothing");
  known.excuses = excuses_;
}

void invariants::excuse() {
  ++excuses_;
}

void invariants::started() {
  due_.clear();
  ++excuses_;
}

invariants::promise invariants::promised() {
  auto out = std::make_shared<timestamp>(time_.now());
  promises_.push_back(out);
  return out;
}

// -- while it happens
// ----------------------------------------------------------------

void invariants::overdue(const std::string& what, std::uint64_t version,
                         bool is, millis patience) {
  const auto known = due_.find(what);
  if (!is) {
    if (known != due_.end())
      due_.erase(known);
    return;
  }
  const auto now = time_.now();
  if (known == due_.end() || known->second.second != version)
    due_[what] = {now, version};
  else if (now - known->second.first > patience)
    complain(what + " for more than " + to_words(patience));
}

void invariants::check_rows() {
  const auto now = wall_.now();
  for (const auto& [id, x] : db_.rows) {
    const auto& s = x.value.state;
    const auto name = to_text(x.value.id);
    const auto due = wake_at(s, db_.rules);
    overdue(name + ": stuck past its deadline in "
              + std::string{to_string(s.deployment.at)},
            s.revision, due && *due <= now, patience);
    // The machine's own word on what is due is not all that is believed.
    const auto& d = s.deployment;
    overdue(name + ": its attempt goes on past its deadline in "
              + std::string{to_string(d.at)},
            s.revision,
            holds_slot(d.at) && d.deadline_at && *d.deadline_at <= now,
            patience);
    overdue(name + ": nobody tries again in " + std::string{to_string(d.at)},
            s.revision, d.retry_at && *d.retry_at <= now, patience);
    // Whatever holds a slot has an end; only taking away has none.
    if (holds_slot(s.deployment.at) && s.deployment.at != phase::cancelling
        && !s.deployment.deadline_at)
      complain(name + ": has no deadline in "
               + std::string{to_string(s.deployment.at)});
  }
  for (const auto& x : db_.notices)
    overdue(message_id_of(x) + ": a mail is stuck", x.tries,
            x.what.by_mail && x.mail == query::mail_status::owed
              && x.next_at <= now,
            patience);
  for (const auto& [name, x] : db_.asks)
    overdue(to_text(order_ref{db_.rows.at(name.first).value.id, name.second})
              + ": nobody asks the gateway",
            x.asks, x.at && *x.at <= now, patience * 4);
}

void invariants::passed(const std::map<std::string, std::size_t>& live,
                        const std::set<std::uint64_t>& held,
                        std::size_t granting, std::uint32_t slots) {
  for (const auto& [name, n] : live)
    if (n > 1)
      twins += doubled_.insert(name).second ? 1 : 0;
    else
      doubled_.erase(name);
  if (granted_.size() > slots)
    complain(std::to_string(granted_.size()) + " at work, and "
             + std::to_string(slots) + " slots");
  if (time_.now() - looked_ < look_every)
    return;
  looked_ = time_.now();
  check_rows();
  for (const auto& [id, x] : db_.rows) {
    overdue(to_text(x.value.id) + ": its slot was not returned", 0,
            held.count(id) > 0 && !holds_slot(x.value.state.deployment.at),
            patience);
    overdue(to_text(x.value.id) + ": queued in front of a free slot", 0,
            x.value.state.deployment.at == phase::queued
              && db_.at_work() + granting < slots,
            patience);
  }
  std::erase_if(promises_, [this](const auto& x) {
    const auto since = x.lock();
    if (since && time_.now() - *since > 3min)
      complain("a command of +" + to_words(*since - day_one)
               + " was never answered");
    return since == nullptr;
  });
}

// -- at the end
// ----------------------------------------------------------------------

void invariants::check_mails() {
  auto owed = std::map<std::string, int>{};
  for (const auto& x : db_.notices)
    if (x.what.by_mail) {
      ++owed[message_id_of(x)];
      if (x.mail == query::mail_status::owed)
        complain(message_id_of(x) + ": a mail is still owed");
      else if (x.mail != query::mail_status::sent)
        complain(message_id_of(x) + ": a mail was given up");
    }
  auto got = std::map<std::string, int>{};
  for (const auto& [id, x] : mails_)
    if (++got[id.substr(0, id.find('@'))] > 1)
      complain(id + ": one mail under two names");
  for (const auto& [id, n] : owed)
    if (got[id] != 1)
      complain(id + ": " + std::to_string(got[id]) + " mails arrived");
}

void invariants::check_ends(const std::map<std::string, std::size_t>& live) {
  for (const auto& [id, x] : db_.rows) {
    const auto& s = x.value.state;
    const auto name = to_text(x.value.id);
    const auto at = s.deployment.at;
    const auto told = [&](notice_kind kind) {
      return std::any_of(
        db_.notices.begin(), db_.notices.end(), [&](const auto& n) {
          return n.subscription == x.value.id && n.what.kind == kind;
        });
    };
    auto paid = false;
    auto back = false;
    for (const auto& o : s.orders) {
      paid = paid || o.applied;
      back = back || (o.applied && o.status == order_status::refunded);
      if (o.status == order_status::refunding)
        complain(to_text(order_ref{x.value.id, o.seq})
                 + ": its money is still on its way back");
      if (o.status == order_status::paid && !o.applied)
        complain(to_text(order_ref{x.value.id, o.seq})
                 + ": has bought nothing and is kept");
    }
    const auto known = live.find(project_name(x.value.id));
    const auto n = known == live.end() ? 0u : known->second;
    if (n > 1)
      complain(name + ": " + std::to_string(n) + " instances are live");
    if (n > 0 && (at == phase::stopped || !paid))
      complain(name + ": is " + std::string{to_string(at)}
               + " and has a live instance");
    if (at == phase::running && n != 1)
      complain(name + ": runs in no project");
    if (!paid)
      continue;
    switch (at) {
      case phase::running:
        if (!told(notice_kind::deployment_success))
          complain(name + ": runs, and nobody was told");
        break;
      case phase::failed:
        if (!told(notice_kind::deployment_failed))
          complain(name + ": failed, and nobody was told");
        break;
      case phase::lapsed:
        if (!told(notice_kind::instance_down))
          complain(name + ": is down, and nobody was told");
        break;
      case phase::stopped:
        if (wished_.count(id) == 0 && !back)
          complain(name + ": was taken away although nobody wanted that");
        else if (!told(notice_kind::deployment_cancelled)
                 && !told(notice_kind::instance_terminated))
          complain(name + ": was taken away, and nobody was told");
        break;
      default:
        if (!back)
          complain(name + ": paid, and ends in " + std::string{to_string(at)});
        break;
    }
    if (s.status != subscription_status::active && !back
        && s.status != subscription_status::expired)
      complain(name + ": paid, and is " + std::string{to_string(s.status)});
  }
}

void invariants::ended(const std::map<std::string, std::size_t>& live) {
  for (const auto& x : accepted_) {
    const auto* row = db_.find(x.subscription);
    const auto* o = row != nullptr ? find_order(row->state, x.order) : nullptr;
    if (o == nullptr || !holds_money(*o) || o->amount != x.amount)
      complain(to_text(order_ref{x.subscription, x.order})
               + ": its payment was accepted and forgotten");
  }
  check_ends(live);
  check_mails();
  if (!granted_.empty() || db_.at_work() != 0)
    complain(std::to_string(std::max(granted_.size(), db_.at_work()))
             + " slots were not returned");
}

} // namespace slipway::test
