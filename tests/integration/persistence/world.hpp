#pragma once

#include "actors/environment.hpp"
#include "actors/lifecycle/implied.hpp"
#include "persistence/journal.hpp"
#include "persistence/lease.hpp"
#include "persistence/store.hpp"
#include "tests/integration/pg/support.hpp"
#include "tests/support/postgres_fixture.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/send.hpp>
#include <caf/test/unit_test.hpp>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <future>
#include <memory>
#include <string>
#include <vector>

/// The journal and the store as real actors on a real PostgreSQL, and lives of
/// subscriptions that the real machine decides.
namespace slipway::test {

/// No wait of a test is longer.
constexpr auto patience = std::chrono::seconds{30};

/// Some moment, all others are relative to it.
inline const timestamp day_one = *parse_rfc3339("2026-11-23T08:00:00.123Z");

inline timestamp after(std::int64_t ms) {
  return day_one + millis{ms};
}

template <class T>
T must(tl::expected<T, pg::error> outcome) {
  if (!outcome)
    CAF_FAIL(to_string(outcome.error()));
  if constexpr (!std::is_void_v<T>)
    return std::move(*outcome);
}

template <class T>
T must(tl::expected<T, errc> outcome) {
  if (!outcome)
    CAF_FAIL("refused: " << std::string{to_string(outcome.error())});
  return std::move(*outcome);
}

template <class T>
T wait_for(std::future<T> what) {
  if (what.wait_for(patience) != std::future_status::ready)
    CAF_FAIL("no answer in time");
  return what.get();
}

/// What went into the database, by SQL.
class probe {
public:
  explicit probe(const std::string& url) : db_{postgres_fixture::connect(url)} {
  }

  std::int64_t count(const std::string& sql) {
    return must(query("SELECT count(*) FROM " + sql)).int64(0, 0);
  }

  void run(const std::string& sql) {
    must(db_.script(sql));
  }

  /// The SQLSTATE and constraint by which the server refuses, or "".
  std::string refusal(const std::string& sql) {
    if (const auto done = db_.script(sql); !done)
      return done.error().sqlstate + " " + done.error().constraint;
    return "";
  }

  tl::expected<pg::result, pg::error> query(const std::string& sql) {
    // Statements are kept by name, and both have to outlive the connection.
    auto& [name, text] = *texts_.emplace_back(
      std::make_unique<std::pair<std::string, std::string>>(
        "probe_" + std::to_string(texts_.size()), sql));
    return db_.execute(pg::statement{name.c_str(), text.c_str(), true});
  }

  pg::connection& db() {
    return db_;
  }

private:
  std::vector<std::unique_ptr<std::pair<std::string, std::string>>> texts_;
  pg::connection db_;
};

/// One server of possibly several: its lease, a journal and a store.
class node {
public:
  /// @param process See `lease_options::process`.
  node(caf::actor_system& system, metrics& meters, const std::string& url,
       const std::string& name, millis lease_length = millis{60'000},
       const std::string& process = {})
    : system_{system}, name_{name} {
    auto options = pg::connection_options{};
    options.url = url;
    options.application_name = name;
    auto taken = lease::take(
      {options, name, lease_length, millis{20}, process, [lost = lost] {
         *lost = true;
       }});
    if (!taken)
      CAF_FAIL("no lease: " << to_string(taken.error()));
    lease_ = std::move(*taken);
    server = lease_->server();
    options.application_name = name + " journal";
    journal = system.spawn<caf::detached>(
      slipway::journal, &meters,
      journal_options{options, server, 256, [fenced = fenced] {
                        *fenced = true;
                      }});
    options.application_name = name + " store";
    store = system.spawn<caf::detached>(
      slipway::store, &meters,
      store_options{options, server, [fenced = fenced] {
                      *fenced = true;
                    }});
  }

  ~node() {
    caf::anon_send_exit(journal, caf::exit_reason::user_shutdown);
    caf::anon_send_exit(store, caf::exit_reason::user_shutdown);
  }

  node(const node&) = delete;
  node& operator=(const node&) = delete;

  /// The server gives its lease back although its actors are still there, like
  /// one that hangs for longer than its lease.
  void lose_lease() {
    lease_.reset();
  }

  /// Hands a transition to the journal.
  std::future<commit_status> send(const transition_ptr& what) {
    auto done = std::make_shared<std::promise<commit_status>>();
    auto result = done->get_future();
    what->from = system_.spawn(listen, std::move(done));
    caf::anon_send(journal, what);
    return result;
  }

  commit_status write(const transition_ptr& what) {
    return wait_for(send(what));
  }

  std::future<errc> send(callback_entry what) {
    auto done = std::make_shared<std::promise<errc>>();
    auto result = done->get_future();
    auto keep = std::make_shared<inbox_job>();
    keep->entry = std::move(what);
    keep->done = {[done = std::move(done)](errc error) {
                    done->set_value(error);
                  },
                  errc::unavailable};
    caf::anon_send(journal, inbox_job_ptr{std::move(keep)});
    return result;
  }

  template <class Query>
  std::future<typename job<Query>::reply> send_query(Query what) {
    using reply = typename job<Query>::reply;
    auto done = std::make_shared<std::promise<reply>>();
    auto result = done->get_future();
    caf::anon_send(store, make_job(std::move(what), [done](reply answer) {
                     done->set_value(std::move(answer));
                   }));
    return result;
  }

  template <class Query>
  typename job<Query>::reply ask(Query what) {
    return wait_for(send_query(std::move(what)));
  }

  record find(subscription_id id) {
    return must(ask(query::find_record{id})).value;
  }

  [[nodiscard]] std::string journal_name() const {
    return name_ + " journal";
  }

  [[nodiscard]] bool holds() const {
    return lease_ && lease_->holds();
  }

  /// The lease was found to be ended by somebody else.
  std::shared_ptr<std::atomic<bool>> lost
    = std::make_shared<std::atomic<bool>>(false);
  /// The fence has refused a write.
  std::shared_ptr<std::atomic<bool>> fenced
    = std::make_shared<std::atomic<bool>>(false);
  std::int64_t server = 0;
  journal_actor journal;
  store_actor store;

private:
  static supervisor_actor::behavior_type
  listen(supervisor_actor::pointer self,
         std::shared_ptr<std::promise<commit_status>> to) {
    return {
      [](command_ptr&) {},
      [self, to](const commit_result& what) {
        to->set_value(what.status);
        self->quit();
      },
      [](const timer_rang&) {},
      [](const resume_order&) {},
      [](const idle_question&) {},
      [](const leave_order&) {},
    };
  }

  caf::actor_system& system_;
  std::string name_;
  std::unique_ptr<slipway::lease> lease_;
};

/// A subscription whose transitions the machine decides and the test sends off.
class life {
public:
  explicit life(std::uint64_t id, std::string user = "user-1",
                lifecycle::rules with = {})
    : rules{with} {
    now.id = subscription_id{id};
    now.user_id = std::move(user);
    now.plan = "PRO";
    now.currency = "CNY";
    now.created_at = day_one;
    now.updated_at = day_one;
  }

  /// Decides, and takes the outcome for granted.
  transition_ptr step(const lifecycle::event& what) {
    auto made = lifecycle::decide(now.state, what, rules);
    if (made.is != lifecycle::verdict::applied)
      CAF_FAIL("not applied: " << std::string{lifecycle::to_string(made.is)});
    auto t = std::make_shared<transition>();
    t->expected_revision = now.state.revision;
    for (std::size_t i = 0; i < made.next.orders.size(); ++i)
      if (i >= now.state.orders.size()
          || now.state.orders[i] != made.next.orders[i])
        t->orders_changed |= std::uint64_t{1} << i;
    t->orders_known = now.state.orders.size();
    t->instance_changed = lifecycle::stores_instance(now.state, made.next);
    const auto at = lifecycle::time_of(what);
    for (const auto& order : made.next.orders)
      t->first_asks.push_back(lifecycle::first_ask(order, at, rules));
    t->wake_at = lifecycle::wake_at(made.next, rules);
    t->history.push_back(
      {at, history_kind::state, lifecycle::describe(what, now.state, made.next),
       std::string{lifecycle::name_of(what)},
       std::string{lifecycle::to_string(made.next.deployment.at)}});
    now.state = std::move(made.next);
    if (t->expected_revision != 0)
      now.updated_at = at;
    t->next = now;
    for (const auto x : made.effects)
      if (const auto kind = kind_of(x))
        t->notices.push_back(make_notice(*kind, at));
    return t;
  }

  transition_ptr create(std::vector<sealed_credential> credentials = {}) {
    auto t = step(lifecycle::subscription_created{day_one, 9'900, 30});
    t->create = std::make_shared<const creation>(
      creation{now.user_id, now.plan, now.currency, std::move(credentials)});
    return t;
  }

  transition_ptr order(std::string idempotency_key = "") {
    return step(lifecycle::order_requested{
      after(1'000), lifecycle::payment_gateway::alipay,
      lifecycle::payment_method::qr, after(1'801'000),
      std::move(idempotency_key)});
  }

  transition_ptr pay(const std::string& transaction, std::uint32_t order = 1) {
    return step(lifecycle::payment_settled{after(2'000), order,
                                           lifecycle::payment_gateway::alipay,
                                           transaction, 9'900, after(1'900)});
  }

  record now;
  lifecycle::rules rules;

private:
  static std::optional<notice_kind> kind_of(lifecycle::effect x) {
    using lifecycle::effect;
    switch (x) {
      case effect::notify_paid:
        return notice_kind::payment_received;
      case effect::notify_running:
        return notice_kind::deployment_success;
      case effect::notify_failed:
        return notice_kind::deployment_failed;
      case effect::notify_refunded:
        return notice_kind::refund_completed;
      case effect::notify_cancelled:
        return notice_kind::deployment_cancelled;
      case effect::notify_terminated:
        return notice_kind::instance_terminated;
      case effect::notify_down:
        return notice_kind::instance_down;
      case effect::notify_recovered:
        return notice_kind::instance_recovered;
      case effect::notify_changed:
        return notice_kind::instance_changed;
      case effect::request_slot:
      case effect::release_slot:
      case effect::run_step:
        break;
    }
    return std::nullopt;
  }

  [[nodiscard]] notice make_notice(notice_kind kind, timestamp at) const {
    const auto& s = now.state;
    auto x = notice{};
    x.kind = kind;
    x.amount = s.amount;
    x.at = at;
    if (kind == notice_kind::payment_received)
      return x;
    x.instance_seq = s.instance.seq;
    x.public_url = s.instance.public_url;
    x.error = s.deployment.error;
    if (kind == notice_kind::deployment_success)
      x.duration = millis{4'711};
    x.by_mail = kind != notice_kind::deployment_cancelled
                && kind != notice_kind::instance_changed;
    return x;
  }
};

/// A database with one server; more can be added.
struct world {
  world() {
    spdlog::set_level(std::getenv("SLIPWAY_TEST_LOG") != nullptr
                        ? spdlog::level::info
                        : spdlog::level::off);
    first = add("first");
  }

  ~world() {
    first.reset();
    second.reset();
    system.await_all_actors_done();
  }

  std::unique_ptr<node>
  add(const std::string& name, millis lease_length = millis{60'000}) {
    return std::make_unique<node>(system, meters, url, name, lease_length);
  }

  /// Writes what must be stored.
  void store(const transition_ptr& what) {
    CAF_REQUIRE(first->write(what) == commit_status::stored);
  }

  /// A subscription with one order that has been paid.
  life paid(std::uint64_t id, const std::string& user = "user-1") {
    auto x = life{id, user};
    store(x.create());
    store(x.order());
    store(x.pay("tx-" + std::to_string(id)));
    return x;
  }

  /// Holds the journal up in a commit until the guard goes, so that everything
  /// sent meanwhile meets in the next one.
  class held_up {
  public:
    held_up(world& in, life& by) : lock_{in.url} {
      must(lock_.db().begin());
      must(lock_.query("SELECT 1 FROM subscriptions WHERE id = "
                       + std::to_string(raw(by.now.id)) + " FOR UPDATE"));
      first_ = in.first->send(by.order());
      auto watcher = probe{in.url};
      const auto waits = "pg_stat_activity WHERE wait_event_type = 'Lock' "
                         "AND application_name = '"
                         + in.first->journal_name() + "'";
      CAF_REQUIRE(eventually([&] {
        return watcher.count(waits) == 1;
      }));
    }

    void let_go() {
      must(lock_.db().rollback());
      CAF_CHECK(wait_for(std::move(first_)) == commit_status::stored);
    }

  private:
    probe lock_;
    std::future<commit_status> first_;
  };

  postgres_fixture& postgres = postgres_fixture::shared();
  std::string url = postgres.database(schema_migrations());
  metrics meters;
  caf::actor_system_config config;
  caf::actor_system system{config};
  std::unique_ptr<node> first;
  std::unique_ptr<node> second;
};

/// Field by field, so that a failure names the one that differs.
inline void check_equal(const record& stored, const record& expected) {
#define SLIPWAY_SAME(field) CAF_CHECK(stored.field == expected.field)
  SLIPWAY_SAME(id);
  SLIPWAY_SAME(user_id);
  SLIPWAY_SAME(plan);
  SLIPWAY_SAME(currency);
  SLIPWAY_SAME(created_at);
  SLIPWAY_SAME(updated_at);
  SLIPWAY_SAME(epoch);
  SLIPWAY_SAME(state.revision);
  SLIPWAY_SAME(state.status);
  SLIPWAY_SAME(state.amount);
  SLIPWAY_SAME(state.period_days);
  SLIPWAY_SAME(state.start_at);
  SLIPWAY_SAME(state.end_at);
  SLIPWAY_SAME(state.deployment.at);
  SLIPWAY_SAME(state.deployment.attempt);
  SLIPWAY_SAME(state.deployment.attempt_limit);
  SLIPWAY_SAME(state.deployment.tries);
  SLIPWAY_SAME(state.deployment.progress);
  SLIPWAY_SAME(state.deployment.intent_at);
  SLIPWAY_SAME(state.deployment.queued_at);
  SLIPWAY_SAME(state.deployment.queue_rank);
  SLIPWAY_SAME(state.deployment.started_at);
  SLIPWAY_SAME(state.deployment.deadline_at);
  SLIPWAY_SAME(state.deployment.retry_at);
  SLIPWAY_SAME(state.deployment.completed_at);
  SLIPWAY_SAME(state.deployment.phase_at);
  SLIPWAY_SAME(state.deployment.workflow_id);
  SLIPWAY_SAME(state.deployment.deployment_id);
  SLIPWAY_SAME(state.deployment.error);
  SLIPWAY_SAME(state.deployment.ended_by);
  SLIPWAY_SAME(state.instance.seq);
  SLIPWAY_SAME(state.instance.status);
  SLIPWAY_SAME(state.instance.project_id);
  SLIPWAY_SAME(state.instance.environment_id);
  SLIPWAY_SAME(state.instance.service_id);
  SLIPWAY_SAME(state.instance.service_name);
  SLIPWAY_SAME(state.instance.public_url);
  SLIPWAY_SAME(state.instance.health);
  SLIPWAY_SAME(state.instance.sleep_told);
  SLIPWAY_SAME(state.instance.created_at);
  SLIPWAY_SAME(state.instance.deleted_at);
  CAF_REQUIRE_EQUAL(stored.state.orders.size(), expected.state.orders.size());
  for (std::size_t i = 0; i < stored.state.orders.size(); ++i) {
    SLIPWAY_SAME(state.orders[i].seq);
    SLIPWAY_SAME(state.orders[i].gateway);
    SLIPWAY_SAME(state.orders[i].method);
    SLIPWAY_SAME(state.orders[i].status);
    SLIPWAY_SAME(state.orders[i].applied);
    SLIPWAY_SAME(state.orders[i].amount);
    SLIPWAY_SAME(state.orders[i].refunded);
    SLIPWAY_SAME(state.orders[i].created_at);
    SLIPWAY_SAME(state.orders[i].expires_at);
    SLIPWAY_SAME(state.orders[i].paid_at);
    SLIPWAY_SAME(state.orders[i].transaction_id);
    SLIPWAY_SAME(state.orders[i].idempotency_key);
    SLIPWAY_SAME(state.orders[i].code);
    SLIPWAY_SAME(state.orders[i].refund_seq);
    SLIPWAY_SAME(state.orders[i].refund_amount);
    SLIPWAY_SAME(state.orders[i].refund_for);
    SLIPWAY_SAME(state.orders[i].refund_error);
    SLIPWAY_SAME(state.orders[i].refunds_counted);
  }
#undef SLIPWAY_SAME
  // Whatever is added to the state later and forgotten above.
  CAF_CHECK(stored.state == expected.state);
}

} // namespace slipway::test
