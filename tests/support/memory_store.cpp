#include "tests/support/memory_store.hpp"

#include <caf/actor_system.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <utility>

namespace slipway::test {

namespace {

using none = memory_database::none;

template <class T>
using answer = memory_database::answer<T>;

/// What a query is about to write, as the name of a durable step; null:
/// nothing.
const char* durable_step_of(const store_job& what, const memory_database& in) {
  return std::visit(
    [&in]<class Query>(const job<Query>& x) -> const char* {
      if constexpr (std::is_same_v<Query, query::mark_mail>)
        return "a mail's end";
      else if constexpr (std::is_same_v<Query, query::claim_record>)
        return in.writes(x.what) ? "a claim" : nullptr;
      else if constexpr (std::is_same_v<Query, query::claim_orphans>)
        return in.writes(x.what) ? "a takeover" : nullptr;
      else if constexpr (std::is_same_v<Query, query::claim_asks>)
        return in.writes(x.what) ? "asks" : nullptr;
      else
        return nullptr;
    },
    what);
}

journal_actor::behavior_type
memory_journal(journal_actor::stateful_pointer<memory_journal_state> self,
               std::shared_ptr<memory_database> db, std::int64_t server) {
  using power = memory_database::power;
  self->state.db = std::move(db);
  self->state.server = server;
  const auto write = [self](const transition_ptr& what) {
    auto& db = *self->state.db;
    const auto as = memory_database::session{db, self->state.server};
    const auto current = db.supply ? db.supply("a transition") : power::on;
    // Nobody is told anything when the power is off.
    what->answered = true;
    if (current == power::off_before)
      return;
    const auto end = db.commit(*what);
    if (current == power::on)
      self->send(what->from, commit_result{what->next.state.revision, end});
  };
  const auto keep = [self](const inbox_job_ptr& what) {
    auto& db = *self->state.db;
    const auto as = memory_database::session{db, self->state.server};
    if (db.is_fenced()) {
      what->done(errc::database_down);
      return;
    }
    const auto current = db.supply ? db.supply("a callback") : power::on;
    if (current == power::off_before)
      return;
    db.callbacks.push_back(what->entry);
    if (current == power::on)
      what->done(errc::none);
  };
  return {
    [self, write](transition_ptr& what) {
      if (self->state.hold)
        self->state.waiting.push_back(std::move(what));
      else
        write(what);
    },
    [self, keep](inbox_job_ptr& what) {
      if (self->state.hold)
        self->state.inbox.push_back(std::move(what));
      else
        keep(what);
    },
    [self, write, keep](const tick&) {
      for (auto& what : std::exchange(self->state.waiting, {}))
        write(what);
      for (auto& what : std::exchange(self->state.inbox, {}))
        keep(what);
    },
  };
}

store_actor::behavior_type
memory_store(store_actor::stateful_pointer<memory_store_state> self,
             std::shared_ptr<memory_database> db, std::int64_t server) {
  using power = memory_database::power;
  self->state.db = std::move(db);
  self->state.server = server;
  return {
    [self](store_job_ptr& what) {
      auto& st = self->state;
      auto& db = *st.db;
      const auto as = memory_database::session{db, st.server};
      ++st.queries;
      const auto* step = db.supply ? durable_step_of(*what, db) : nullptr;
      const auto current = step != nullptr ? db.supply(step) : power::on;
      if (current == power::off_before)
        return;
      std::visit(
        [&](auto& x) {
          using reply = typename std::decay_t<decltype(x)>::reply;
          const auto fault = db.is_fenced()   ? errc::database_down
                             : db.query_fault ? db.query_fault(*what)
                                              : errc::none;
          auto got = fault == errc::none ? db.run(x.what)
                                         : reply{tl::unexpected{fault}};
          if (current != power::on)
            return;
          if (got && db.answer_lost && db.answer_lost(*what))
            got = tl::unexpected{errc::database_down};
          if (!st.hold && !db.postpone) {
            x.done(std::move(got));
            return;
          }
          auto hand_out = [done = x.done, got = std::move(got)] {
            done(got);
          };
          if (st.hold)
            st.answers.push_back(std::move(hand_out));
          else if (!db.postpone(st.server, hand_out))
            hand_out();
        },
        *what);
    },
    [](const tick&) {
      // Everybody is answered one by one here.
    },
  };
}

} // namespace

bool memory_database::is_fenced() const {
  return !ignores_fences && fenced.count(server) > 0;
}

commit_status memory_database::commit(const transition& t) {
  if (is_fenced())
    return commit_status::conflict;
  if (instead)
    if (const auto end = instead(t))
      return *end;
  auto end = commit_fault ? commit_fault(t) : commit_status::stored;
  if (end == commit_status::failed || end == commit_status::conflict
      || end == commit_status::refused || end == commit_status::payment_taken)
    return end;
  if (end == commit_status::in_doubt && !in_doubt_stores())
    return end;
  const auto written = write(t);
  return end == commit_status::in_doubt ? end : written;
}

commit_status memory_database::write(const transition& t) {
  const auto key = raw(t.next.id);
  const auto where = rows.find(key);
  auto before = record{};
  if (t.expected_revision == 0) {
    if (where != rows.end())
      return commit_status::conflict;
    if (t.create)
      credentials[key] = t.create->credentials;
  } else {
    if (where == rows.end()
        || (!ignores_fences
            && (where->second.value.state.revision != t.expected_revision
                || where->second.value.epoch != t.next.epoch
                || where->second.owner != server)))
      return commit_status::conflict;
    before = where->second.value;
  }
  if (is_taken(t.next))
    return commit_status::failed;
  rows[key] = {t.next, server, rows[key].taken_from};
  write_asks(before.state, t);
  const auto revision = t.next.state.revision;
  for (const auto& x : t.history)
    history.push_back({t.next.id, revision, x});
  for (const auto& x : t.notices)
    notices.push_back(
      {t.next.id, revision, x,
       x.by_mail ? query::mail_status::owed : query::mail_status::no_address,
       x.at, 0});
  if (t.callback)
    callbacks.push_back(*t.callback);
  if (stored)
    stored(before, t);
  return commit_status::stored;
}

const record* memory_database::find(subscription_id id) const {
  const auto where = rows.find(raw(id));
  return where == rows.end() ? nullptr : &where->second.value;
}

void memory_database::put(record value) {
  const auto key = raw(value.id);
  for (const auto& x : value.state.orders)
    asks[{key, x.seq}]
      = {lifecycle::first_ask(x, x.created_at, rules), 0, std::nullopt};
  rows[key] = {std::move(value), server};
}

std::size_t memory_database::at_work() const {
  auto n = std::size_t{0};
  for (const auto& [id, x] : rows)
    n += lifecycle::holds_slot(x.value.state.deployment.at) ? 1 : 0;
  return n;
}

answer<query::find_record::found>
memory_database::run(const query::find_record& q) {
  const auto* found = find(q.id);
  if (found == nullptr)
    return tl::unexpected{errc::not_found};
  return query::find_record::found{*found, position_of(*found)};
}

answer<query::list_changes::result>
memory_database::run(const query::list_changes& q) {
  auto out = query::list_changes::result{};
  for (const auto& x : q.of)
    if (const auto where = rows.find(raw(x.id));
        where != rows.end() && where->second.value.state.revision > x.revision)
      out.push_back({where->second.value, position_of(where->second.value),
                     where->second.owner == server});
  return out;
}

answer<record> memory_database::run(const query::claim_record& q) {
  const auto where = rows.find(raw(q.id));
  if (where == rows.end())
    return tl::unexpected{errc::not_found};
  if (!may_take(where->second))
    return tl::unexpected{errc::owned_elsewhere};
  claim(where->second);
  return where->second.value;
}

answer<std::vector<record>>
memory_database::run(const query::claim_orphans& q) {
  auto out = std::vector<record>{};
  for (auto& [id, x] : rows)
    if (x.owner != server && may_take(x) && out.size() < q.limit
        && !lifecycle::is_settled(x.value.state.deployment.at)) {
      claim(x);
      out.push_back(x.value);
    }
  return out;
}

answer<std::vector<record>> memory_database::run(const query::list_own& q) {
  auto out = std::vector<record>{};
  for (auto& [id, x] : rows)
    if (x.owner == server && id > raw(q.after) && out.size() < q.limit
        && !lifecycle::is_settled(x.value.state.deployment.at))
      out.push_back(x.value);
  return out;
}

answer<none> memory_database::run(const query::note_quarantine& q) {
  quarantines[raw(q.id)] = q;
  return none{};
}

answer<none> memory_database::run(const query::lift_quarantine& q) {
  if (raw(q.id) == 0)
    quarantines.clear();
  quarantines.erase(raw(q.id));
  return none{};
}

answer<std::vector<subscription_id>>
memory_database::run(const query::due_timers& q) {
  auto out = std::vector<subscription_id>{};
  for (const auto& [id, x] : rows)
    if (const auto due = lifecycle::wake_at(x.value.state, rules);
        due && *due <= q.now && may_take(x) && out.size() < q.limit)
      out.push_back(x.value.id);
  return out;
}

answer<std::optional<millis>>
memory_database::run(const query::last_silence& q) {
  const auto where = rows.find(raw(q.id));
  if (where == rows.end())
    return std::optional<millis>{};
  return silence_of(where->second.taken_from);
}

answer<none> memory_database::run(const query::move_timer&) {
  // Here it follows from the state.
  return none{};
}

answer<query::slots::found> memory_database::run(const query::slots& q) {
  auto out = query::slots::found{};
  for (const auto& [id, x] : rows)
    if (lifecycle::holds_slot(x.value.state.deployment.at))
      out.held.push_back(x.value.id);
  const auto all = queue();
  for (const auto& [rank, id] : all)
    if (out.waiting.size() < q.waiting_max)
      out.waiting.push_back(id);
  if (q.count)
    out.queue_depth = static_cast<std::int64_t>(all.size());
  return out;
}

answer<std::vector<record>> memory_database::run(const query::list_watched& q) {
  auto out = std::vector<record>{};
  for (const auto& [id, x] : rows)
    if (id > raw(q.after) && out.size() < q.limit
        && lifecycle::is_watched(x.value.state))
      out.push_back(x.value);
  return out;
}

answer<record> memory_database::run(const query::find_by_project& q) {
  for (const auto& [id, x] : rows)
    if (lies_in(x.value, q.project_id))
      return x.value;
  return tl::unexpected{errc::not_found};
}

answer<std::vector<record>>
memory_database::run(const query::match_records& q) {
  auto out = std::vector<record>{};
  for (const auto& [id, x] : rows)
    if (std::find(q.ids.begin(), q.ids.end(), x.value.id) != q.ids.end())
      out.push_back(x.value);
  return out;
}

answer<std::vector<timestamp>>
memory_database::run(const query::note_orphans& q) {
  auto out = std::vector<timestamp>{};
  // One statement: all or nothing.
  auto ids = std::set<std::string_view>{""};
  for (const auto& project : q.of)
    if (!ids.insert(project.id).second)
      return tl::unexpected{errc::internal};
  for (const auto& project : q.of) {
    auto [where, fresh] = orphans.try_emplace(project.id);
    auto& x = where->second;
    if (fresh)
      x.name = project.name;
    // One that had gone and is there again is another one: found anew.
    if (fresh || x.gone_at)
      x.seen_at = q.at;
    x.last_seen_at = std::max(x.last_seen_at, q.at);
    x.reason = project.reason;
    x.subscription = project.subscription;
    x.gone_at.reset();
    x.removed_by_us = false;
    out.push_back(x.seen_at);
  }
  return out;
}

answer<none> memory_database::run(const query::note_history& q) {
  if (const auto* found = find(q.id))
    history.push_back({q.id, found->state.revision, q.entry});
  return none{};
}

answer<none> memory_database::run(const query::close_orphan& q) {
  const auto where = orphans.find(q.project_id);
  if (where != orphans.end() && !where->second.gone_at) {
    where->second.gone_at = q.at;
    where->second.removed_by_us = q.removed_by_us;
  }
  return none{};
}

answer<none> memory_database::run(const query::close_vanished_orphans& q) {
  for (auto& [project, x] : orphans)
    if (!x.gone_at && x.last_seen_at < q.at)
      x.gone_at = q.at;
  return none{};
}

answer<std::vector<sealed_credential>>
memory_database::run(const query::list_credentials& q) {
  return credentials[raw(q.id)];
}

answer<query::list_history::result>
memory_database::run(const query::list_history& q) {
  auto out = query::list_history::result{};
  for (std::size_t i = 0; i < history.size(); ++i) {
    const auto number = static_cast<std::int64_t>(i) + 1;
    if (history[i].subscription == q.id && number > q.after
        && out.size() < q.limit)
      out.push_back({number, history[i].entry});
  }
  return out;
}

answer<std::vector<query::due_mails::row>>
memory_database::run(const query::due_mails& q) {
  auto out = std::vector<query::due_mails::row>{};
  for (const auto& x : notices)
    if (x.what.by_mail && x.mail == query::mail_status::owed
        && x.next_at <= q.now && may_take(rows.at(raw(x.subscription)))
        && out.size() < q.limit) {
      auto mail = query::due_mails::row{};
      mail.subscription = x.subscription;
      mail.revision = x.revision;
      mail.what = x.what;
      mail.email = "user@example.com";
      mail.plan = find(x.subscription)->plan;
      mail.tries = x.tries;
      mail.user_id = find(x.subscription)->user_id;
      mail.wants_progress = wants_progress;
      mail.bounced = bounced;
      out.push_back(std::move(mail));
    }
  return out;
}

answer<none> memory_database::run(const query::mark_mail& q) {
  for (auto& x : notices)
    if (x.subscription == q.subscription && x.revision == q.revision
        && x.what.kind == q.kind) {
      if (!forgets_mails_end)
        x.mail = q.status;
      x.next_at = q.next_at;
      ++x.tries;
    }
  return none{};
}

answer<query::claim_asks::result>
memory_database::run(const query::claim_asks& q) {
  auto due = std::vector<std::pair<timestamp, query::claim_asks::row>>{};
  for (const auto& [name, x] : asks) {
    const auto& [id, seq] = name;
    const auto& about = rows.at(id).value;
    const auto* order = lifecycle::find_order(about.state, seq);
    if (order->status == lifecycle::order_status::refunding && x.asks == 0
        && !q.unsent_refunds)
      continue;
    if (order->gateway == q.gateway && x.at && *x.at <= q.now
        && may_take(rows.at(id)))
      due.emplace_back(*x.at, query::claim_asks::row{about.id, about.currency,
                                                     *order, x.asks});
  }
  std::stable_sort(due.begin(), due.end(), [](const auto& a, const auto& b) {
    return a.first < b.first;
  });
  if (due.size() > q.limit)
    due.resize(q.limit);
  auto out = query::claim_asks::result{};
  for (auto& [at, x] : due) {
    auto& kept = asks.at({raw(x.subscription), x.order.seq});
    kept.at = lifecycle::next_ask(x.order, ++kept.asks, q.now, q.rules);
    kept.asked_at = q.now;
    out.push_back(std::move(x));
  }
  return out;
}

answer<none> memory_database::run(const query::ask_soon& q) {
  const auto kept = asks.find({raw(q.subscription), q.order});
  const auto* about = find(q.subscription);
  const auto* order
    = about == nullptr ? nullptr : lifecycle::find_order(about->state, q.order);
  if (kept == asks.end() || order == nullptr)
    return none{};
  const auto unpaid = order->status == lifecycle::order_status::pending
                      || order->status == lifecycle::order_status::closing
                      || order->status == lifecycle::order_status::closed;
  if (unpaid && (!kept->second.at || *kept->second.at > q.at))
    kept->second.at = q.at;
  return none{};
}

answer<none> memory_database::run(const query::keep_forged& q) {
  // The same bytes again make no room for themselves.
  for (const auto& x : forged)
    if (x.gateway == q.entry.gateway && x.reason == q.entry.reason
        && x.body == q.entry.body)
      return none{};
  forged.push_back(q.entry);
  forged.back().outcome = callback_outcome::forged;
  if (forged.size() > q.keep)
    forged.erase(forged.begin(),
                 forged.end() - static_cast<std::ptrdiff_t>(q.keep));
  return none{};
}

answer<query::list_callbacks::row>
memory_database::run(const query::settle_callback& q) {
  if (q.id < 1 || static_cast<std::size_t>(q.id) > callbacks.size())
    return tl::unexpected{errc::not_found};
  const auto& entry = callbacks[static_cast<std::size_t>(q.id) - 1];
  if (entry.outcome != callback_outcome::contradicted)
    return tl::unexpected{errc::not_found};
  const auto& kept
    = settled.try_emplace(q.id, settlement{q.at, q.by, q.why}).first->second;
  auto out = query::list_callbacks::row{};
  out.id = q.id;
  out.last_received_at = entry.received_at;
  out.entry = entry;
  out.entry.headers.clear();
  out.entry.body.clear();
  out.settled_at = kept.at;
  out.settled_by = kept.by;
  out.settled_why = kept.why;
  return out;
}

answer<automation_state> memory_database::run(const query::read_automation&) {
  return automation;
}

answer<automation_state>
memory_database::run(const query::switch_automation& q) {
  automation.since = automation.enabled == q.enabled ? automation.since : q.at;
  automation.enabled = q.enabled;
  automation.by = q.by;
  automation.reason = q.why;
  ++automation.change;
  return automation;
}

answer<query::prune::found> memory_database::run(const query::prune& q) {
  return pruning ? pruning(q) : query::prune::found{};
}

bool memory_database::writes(const query::claim_record& q) const {
  const auto where = rows.find(raw(q.id));
  return where != rows.end() && where->second.owner != server
         && may_take(where->second);
}

bool memory_database::writes(const query::claim_orphans&) const {
  return std::any_of(rows.begin(), rows.end(), [this](const auto& x) {
    return x.second.owner != server && may_take(x.second)
           && !lifecycle::is_settled(x.second.value.state.deployment.at);
  });
}

bool memory_database::writes(const query::claim_asks& q) const {
  return std::any_of(asks.begin(), asks.end(), [&](const auto& x) {
    const auto& about = rows.at(x.first.first);
    return x.second.at && *x.second.at <= q.now && may_take(about)
           && lifecycle::find_order(about.value.state, x.first.second)->gateway
                == q.gateway;
  });
}

answer<query::count_page::found>
memory_database::run(const query::count_page& q) {
  auto out = query::count_page::found{};
  out.by_status.resize(6);
  auto n = std::size_t{0};
  for (const auto& [id, x] : rows) {
    if (id <= raw(q.after))
      continue;
    if (n++ == q.limit)
      return out;
    ++out.by_status.at(static_cast<std::size_t>(x.value.state.status));
    out.next = x.value.id;
  }
  if (n < q.limit)
    out.next = {};
  return out;
}

answer<none> memory_database::run(const query::ping&) {
  return none{};
}

std::vector<std::pair<timestamp, subscription_id>>
memory_database::queue() const {
  auto out = std::vector<std::pair<timestamp, subscription_id>>{};
  for (const auto& [id, x] : rows)
    if (x.value.state.deployment.at == lifecycle::phase::queued)
      out.emplace_back(x.value.state.deployment.queue_rank.value(), x.value.id);
  std::sort(out.begin(), out.end());
  return out;
}

std::int64_t memory_database::position_of(const record& x) const {
  auto position = std::int64_t{0};
  for (const auto& [rank, id] : queue())
    if (++position; id == x.id)
      return position;
  return 0;
}

bool memory_database::lies_in(const record& x, const std::string& project) {
  const auto& i = x.state.instance;
  return !project.empty() && i.project_id == project && !i.deleted_at;
}

bool memory_database::is_taken(const record& by) const {
  return !by.state.instance.deleted_at
         && std::any_of(rows.begin(), rows.end(), [&](const auto& x) {
              return x.second.value.id != by.id
                     && lies_in(x.second.value, by.state.instance.project_id);
            });
}

void memory_database::write_asks(const lifecycle::state& before,
                                 const transition& t) {
  const auto& orders = t.next.state.orders;
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const auto* was = lifecycle::find_order(before, orders[i].seq);
    if ((t.orders_changed >> i & 1) == 0
        || (was != nullptr && was->status == orders[i].status))
      continue;
    auto& x = asks[{raw(t.next.id), orders[i].seq}];
    x.at = i < t.first_asks.size() ? t.first_asks[i] : std::nullopt;
    x.asks = 0;
  }
}

bool memory_database::may_take(const row& x) const {
  return x.owner == server || ignores_leases || leases.count(x.owner) == 0;
}

void memory_database::claim(row& x) const {
  if (x.owner == server)
    return;
  if (silence_of(x.owner))
    x.taken_from = x.owner;
  x.owner = server;
  ++x.value.epoch;
}

journal_actor
spawn_memory_journal(caf::actor_system& sys,
                     std::shared_ptr<memory_database> db, std::int64_t server) {
  return sys.spawn(memory_journal, std::move(db), server);
}

store_actor
spawn_memory_store(caf::actor_system& sys, std::shared_ptr<memory_database> db,
                   std::int64_t server) {
  return sys.spawn(memory_store, std::move(db), server);
}

} // namespace slipway::test
