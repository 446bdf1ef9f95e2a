#define CAF_SUITE actors.broadcaster

#include "actors/broadcaster.hpp"

#include "actors/supervisor.hpp"
#include "tests/support/actor_fixture.hpp"

using namespace slipway;
using namespace slipway::test;

namespace {

constexpr auto id = subscription_id{77};

constexpr auto other_id = subscription_id{78};

/// What one reader got; outlives it.
struct seen {
  std::vector<std::string> got;
  std::optional<errc> refused;
  bool opened = false;
  bool left = false;  ///< The browser has gone.
  bool ended = false; ///< Nobody holds the stream any more.
  std::size_t behind = 0;
};

using seen_ptr = std::shared_ptr<seen>;

class reader final : public status_watcher {
public:
  explicit reader(seen_ptr to) : to_{std::move(to)} {
  }

  ~reader() override {
    to_->ended = true;
  }

  void refuse(errc why) override {
    CAF_CHECK(!to_->opened && !to_->refused);
    to_->refused = why;
  }

  bool open(std::string_view first) override {
    CAF_CHECK(!to_->opened && !to_->refused);
    to_->opened = true;
    to_->got.emplace_back(first);
    return !to_->left;
  }

  bool write(std::string_view bytes) override {
    CAF_CHECK(to_->opened);
    to_->got.emplace_back(bytes);
    return !to_->left;
  }

  [[nodiscard]] std::size_t waiting() const override {
    return to_->behind;
  }

  [[nodiscard]] bool gone() const override {
    return to_->left;
  }

private:
  seen_ptr to_;
};

using texts = std::vector<std::string>;

broadcaster_actor::behavior_type
probe_broadcaster(broadcaster_actor::pointer,
                  std::shared_ptr<std::vector<record_ptr>> told) {
  return {
    [](status_watcher_ptr&) {
      CAF_FAIL("status_watcher_ptr");
    },
    [told](const status_changed& what) {
      told->push_back(what.now);
    },
    [](const changes_read&) {
      CAF_FAIL("changes_read");
    },
    [](const tick&) {
      // nop
    },
  };
}

struct fixture : actor_fixture {
  broadcaster_options options;
  broadcaster_actor aut;
  std::size_t rendered = 0;
  std::vector<query::list_changes> asked;

  fixture() {
    options.comment = "beat";
    options.render = [this](const record& row, std::int64_t place) {
      ++rendered;
      auto out = std::to_string(raw(row.id)) + "@"
                 + std::to_string(row.state.revision);
      if (place > 0)
        out += "#" + std::to_string(place);
      return out;
    };
    db->query_fault = [this](const store_job& what) {
      if (const auto* x = std::get_if<job<query::list_changes>>(&what))
        asked.push_back(x->what);
      return errc::none;
    };
  }

  ~fixture() {
    stop();
  }

  void start() {
    aut = sys.spawn(broadcaster, environment_ptr{env}, options);
    env->broadcaster = aut;
    self->send(aut, tick{});
    consume_messages();
  }

  void stop() {
    if (aut)
      caf::anon_send_exit(aut, caf::exit_reason::kill);
    aut = nullptr;
    consume_messages();
  }

  /// Somebody asks; the answers are not there yet.
  seen_ptr ask(subscription_id of = id, const std::string& user = "user-1",
               std::uint64_t last = 0) {
    auto out = std::make_shared<seen>();
    auto who = std::make_shared<reader>(out);
    who->subscription = of;
    who->user_id = user;
    who->seen = last;
    self->send(aut, status_watcher_ptr{std::move(who)});
    return out;
  }

  seen_ptr watch(subscription_id of = id, const std::string& user = "user-1",
                 std::uint64_t last = 0) {
    auto out = ask(of, user, last);
    consume_messages();
    return out;
  }

  record row(phase at = phase::deploying, std::uint64_t revision = 5,
             subscription_id of = id) {
    auto out = make_record(of, at);
    out.state.revision = revision;
    return out;
  }

  /// A row that another server owns.
  void put_elsewhere(record x) {
    const auto key = raw(x.id);
    db->rows[key] = {std::move(x), 99};
  }

  /// As a SUPERVISOR would, after it was stored.
  void change(const record& x) {
    db->put(x);
    CAF_REQUIRE(env->audience->watches(x.id));
    self->send(aut, status_changed{std::make_shared<const record>(x)});
    consume_messages();
  }

  [[nodiscard]] bool exposes(std::string_view line) const {
    return meters.expose().find(line) != std::string::npos;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(broadcaster_tests, fixture)

CAF_TEST(a reader is told how it stands and then of each change) {
  start();
  db->put(row());
  CAF_CHECK(!env->audience->watches(id));
  const auto a = watch();
  CAF_CHECK((a->got == texts{"77@5"}));
  CAF_CHECK(env->audience->watches(id));
  CAF_CHECK(!env->audience->watches(other_id));
  change(row(phase::deploying, 6));
  change(row(phase::running, 7));
  CAF_CHECK((a->got == texts{"77@5", "77@6", "77@7"}));
  CAF_CHECK(!a->ended);
}

CAF_TEST(a change is rendered once for all that watch) {
  start();
  db->put(row());
  auto all = std::vector<seen_ptr>{};
  for (auto i = 0; i < 20; ++i)
    all.push_back(ask());
  consume_messages();
  rendered = 0;
  change(row(phase::running, 6));
  CAF_CHECK_EQUAL(rendered, 1u);
  for (const auto& x : all)
    CAF_CHECK((x->got == texts{"77@5", "77@6"}));
}

CAF_TEST(those who come at once are let in by few looks) {
  options.watchers_each_max = 100;
  start();
  auto all = std::vector<seen_ptr>{};
  for (auto i = 0u; i < 100; ++i) {
    const auto of = subscription_id{1'000 + i};
    db->put(row(phase::running, 3, of));
    all.push_back(ask(of));
  }
  consume_messages();
  for (const auto& x : all)
    CAF_CHECK_EQUAL(x->got.size(), 1u);
  // The first look begins with the first reader; the rest share the next.
  CAF_CHECK(asked.size() <= 2);
}

CAF_TEST(whoever has seen the present state gets a comment) {
  start();
  db->put(row());
  CAF_CHECK((watch(id, "user-1", 4)->got == texts{"77@5"}));
  const auto same = watch(id, "user-1", 5);
  const auto beyond = watch(id, "user-1", 9);
  CAF_CHECK((same->got == texts{"beat"}));
  CAF_CHECK((beyond->got == texts{"beat"}));
  change(row(phase::running, 6));
  CAF_CHECK((same->got == texts{"beat", "77@6"}));
  CAF_CHECK((beyond->got == texts{"beat", "77@6"}));
}

CAF_TEST(what is unknown or of somebody else is not found) {
  start();
  db->put(row());
  const auto a = watch();
  const auto stranger = watch(id, "user-2");
  const auto nothing = watch(other_id);
  CAF_CHECK(stranger->refused == errc::not_found);
  CAF_CHECK(stranger->got.empty());
  CAF_CHECK(nothing->refused == errc::not_found);
  CAF_CHECK(!env->audience->watches(other_id));
  CAF_CHECK(!a->refused);
  change(row(phase::running, 6));
  CAF_CHECK_EQUAL(a->got.size(), 2u);
  CAF_CHECK(stranger->got.empty());
}

CAF_TEST(a database that cannot be asked refuses those who come) {
  start();
  db->put(row());
  const auto a = watch();
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  const auto b = watch();
  CAF_CHECK(b->refused == errc::database_down);
  // Whoever was there before stays.
  pass(20s, 1s);
  CAF_CHECK(!a->ended);
  CAF_CHECK_EQUAL(a->got.front(), "77@5");
}

CAF_TEST(nothing falls between the look and the audience) {
  start();
  db->put(row());
  store().hold = true;
  const auto a = watch();
  CAF_CHECK(a->got.empty());
  // Stored while the look is on its way: the SUPERVISOR tells us.
  change(row(phase::running, 6));
  CAF_CHECK(a->got.empty());
  store().hold = false;
  store().release();
  consume_messages();
  // What the look has found is older.
  CAF_CHECK((a->got == texts{"77@6"}));
  change(row(phase::running, 7));
  CAF_CHECK((a->got == texts{"77@6", "77@7"}));
}

CAF_TEST(messages that come twice or late are told once) {
  start();
  db->put(row());
  const auto a = watch();
  change(row(phase::running, 7));
  change(row(phase::running, 7));
  self->send(aut, status_changed{
                    std::make_shared<const record>(row(phase::deploying, 6))});
  consume_messages();
  CAF_CHECK((a->got == texts{"77@5", "77@7"}));
}

CAF_TEST(one that waits in the queue is told with its place) {
  start();
  auto first = row(phase::queued, 3, subscription_id{70});
  db->put(first);
  auto mine = row(phase::failed, 4);
  db->put(mine);
  const auto a = watch();
  auto queued = row(phase::queued, 5);
  queued.state.deployment.queued_at
    = *first.state.deployment.queued_at + millis{1};
  const auto place = [&] {
    db->put(queued);
    return db->run(query::find_record{id})->queue_position;
  }();
  CAF_REQUIRE(place > 0);
  change(queued);
  CAF_CHECK((a->got == texts{"77@4", "77@5#" + std::to_string(place)}));
  // Who comes later is told the place as it is then.
  db->rows.erase(70);
  CAF_CHECK((watch()->got == texts{"77@5#1"}));
}

CAF_TEST(a place that comes too late is left out and no change is) {
  start();
  db->put(row(phase::failed, 4));
  const auto a = watch();
  store().hold = true;
  change(row(phase::queued, 5));
  CAF_CHECK((a->got == texts{"77@4"}));
  change(row(phase::creating_project, 6));
  CAF_CHECK((a->got == texts{"77@4", "77@5", "77@6"}));
  store().hold = false;
  store().release();
  consume_messages();
  CAF_CHECK((a->got == texts{"77@4", "77@5", "77@6"}));
  // Nor where the row is found to have gone on.
  db->put(row(phase::creating_project, 8));
  self->send(
    aut, status_changed{std::make_shared<const record>(row(phase::queued, 7))});
  consume_messages();
  CAF_CHECK((a->got == texts{"77@4", "77@5", "77@6", "77@7", "77@8"}));
  // Nor where it cannot be asked for.
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  change(row(phase::queued, 9));
  CAF_CHECK_EQUAL(a->got.back(), "77@9");
}

CAF_TEST(what another server changes is found within a second) {
  start();
  put_elsewhere(row());
  const auto a = watch();
  CAF_CHECK((a->got == texts{"77@5"}));
  put_elsewhere(row(phase::deploying, 8));
  pass(1s);
  CAF_CHECK((a->got == texts{"77@5", "77@8"}));
  // Nothing new: nothing is said, and nothing is rendered.
  rendered = 0;
  pass(5s, 1s);
  CAF_CHECK_EQUAL(a->got.size(), 2u);
  CAF_CHECK_EQUAL(rendered, 0u);
}

CAF_TEST(rows of our own are read now and then) {
  start();
  db->put(row());
  const auto a = watch();
  asked.clear();
  pass(10s, 1s);
  CAF_CHECK(asked.empty());
  // A change that nobody has told us of.
  db->put(row(phase::running, 6));
  pass(6s, 1s);
  CAF_CHECK_EQUAL(asked.size(), 1u);
  CAF_CHECK_EQUAL(a->got.back(), "77@6");
}

CAF_TEST(one look is under way at a time and each is bounded) {
  options.page = 3;
  options.watchers_each_max = 100;
  start();
  for (auto i = 0u; i < 10; ++i) {
    put_elsewhere(row(phase::deploying, 5, subscription_id{100 + i}));
    ask(subscription_id{100 + i});
  }
  consume_messages();
  for (const auto& x : asked)
    CAF_CHECK(x.of.size() <= 3);
  asked.clear();
  store().hold = true;
  pass(5s, 1s);
  CAF_CHECK_EQUAL(asked.size(), 1u);
  store().hold = false;
  store().release();
  consume_messages();
  auto looked_at = std::set<std::uint64_t>{};
  for (const auto& x : asked) {
    CAF_CHECK(x.of.size() <= 3);
    for (const auto& y : x.of) {
      CAF_CHECK_EQUAL(y.revision, 5u);
      CAF_CHECK(looked_at.insert(raw(y.id)).second);
    }
  }
  CAF_CHECK_EQUAL(looked_at.size(), 10u);
}

CAF_TEST(who is told nothing gets a comment now and then) {
  start();
  db->put(row());
  const auto a = watch();
  pass(14s, 1s);
  CAF_CHECK_EQUAL(a->got.size(), 1u);
  pass(2s, 1s);
  CAF_CHECK((a->got == texts{"77@5", "beat"}));
  pass(10s, 1s);
  change(row(phase::running, 6));
  pass(10s, 1s);
  CAF_CHECK((a->got == texts{"77@5", "beat", "77@6"}));
}

CAF_TEST(who has left is forgotten) {
  start();
  db->put(row());
  const auto a = watch();
  const auto b = watch();
  pass(1s);
  CAF_CHECK(exposes("slipway_watchers 2"));
  a->left = true;
  pass(1s);
  CAF_CHECK(a->ended);
  CAF_CHECK(!b->ended);
  CAF_CHECK(env->audience->watches(id));
  CAF_CHECK(exposes("slipway_watchers 1"));
  b->left = true;
  pass(1s);
  CAF_CHECK(b->ended);
  CAF_CHECK(!env->audience->watches(id));
  CAF_CHECK(exposes("slipway_watchers 0"));
  asked.clear();
  pass(40s, 1s);
  CAF_CHECK(asked.empty());
}

CAF_TEST(a reader that does not read is dropped and counted) {
  options.slow_bytes = 100;
  start();
  db->put(row());
  const auto slow = watch();
  const auto good = watch();
  slow->behind = 99;
  change(row(phase::deploying, 6));
  CAF_CHECK(slow->ended);
  CAF_CHECK_EQUAL(slow->got.size(), 1u);
  CAF_CHECK(!good->ended);
  CAF_CHECK_EQUAL(good->got.size(), 2u);
  CAF_CHECK(exposes("slipway_shed_total{reason=\"slow_watcher\"} 1"));
}

CAF_TEST(one event may be larger than what may wait) {
  options.slow_bytes = 3;
  start();
  db->put(row());
  const auto a = watch();
  change(row(phase::deploying, 6));
  CAF_CHECK_EQUAL(a->got.size(), 2u);
  CAF_CHECK(!a->ended);
}

CAF_TEST(there are bounds for all and for each user) {
  options.watchers_max = 3;
  options.watchers_each_max = 2;
  start();
  db->put(row());
  auto other = row(phase::running, 2, other_id);
  other.user_id = "user-2";
  db->put(other);
  const auto a = watch();
  const auto b = watch();
  CAF_CHECK(watch()->refused == errc::overloaded);
  CAF_CHECK(exposes("slipway_shed_total{reason=\"user_watchers\"} 1"));
  CAF_CHECK((watch(other_id, "user-2")->got == texts{"78@2"}));
  CAF_CHECK(watch(other_id, "user-2")->refused == errc::overloaded);
  CAF_CHECK(exposes("slipway_shed_total{reason=\"watchers\"} 1"));
  // A page that is loaded again: the old stream has just gone.
  pass(200ms);
  b->left = true;
  CAF_CHECK((watch()->got == texts{"77@5"}));
  CAF_CHECK(b->ended);
  CAF_CHECK(!a->ended);
  // Those who are not let in take no place.
  for (auto i = 0; i < 5; ++i)
    CAF_CHECK(watch(id, "user-3")->refused.has_value());
  a->left = true;
  pass(1s);
  CAF_CHECK((watch()->got == texts{"77@5"}));
}

CAF_TEST(a stream ends with age) {
  options.age_max = 60s;
  start();
  db->put(row());
  const auto a = watch();
  pass(29s, 1s);
  CAF_CHECK(!a->ended);
  pass(32s, 1s);
  CAF_CHECK(a->ended);
  CAF_CHECK(!env->audience->watches(id));
}

CAF_TEST(when it goes down the streams end and nobody is watched) {
  start();
  db->put(row());
  const auto a = watch();
  pass(1s);
  CAF_CHECK(exposes("slipway_watchers 1"));
  store().hold = true;
  const auto arriving = watch();
  stop();
  CAF_CHECK(a->ended);
  CAF_CHECK(arriving->ended);
  CAF_CHECK(!env->audience->watches(id));
  CAF_CHECK(exposes("slipway_watchers 0"));
  store().hold = false;
  store().release();
  start();
  db->put(row(phase::running, 6));
  // The browser comes again with what it has seen last.
  CAF_CHECK((watch(id, "user-1", 5)->got == texts{"77@6"}));
}

CAF_TEST(a supervisor tells of what is watched and of nothing else) {
  env->registry = keep(spawn_probe_registry(sys, log));
  env->dispatcher = keep(spawn_probe_dispatcher(sys, log));
  env->provider = keep(spawn_probe_provider(sys, log));
  env->notifier = keep(spawn_probe_notifier(sys, log));
  auto told = std::make_shared<std::vector<record_ptr>>();
  env->broadcaster = keep(sys.spawn(probe_broadcaster, told));
  db->put(row(phase::queued, 5));
  const auto tended
    = keep(sys.spawn(supervisor, environment_ptr{env}, db->rows[77].value));
  consume_messages();
  const auto feed = [&](event what) {
    self->send(tended, make_command(id, std::move(what)));
    consume_messages();
  };
  feed(slot_granted{time.now()});
  CAF_REQUIRE_EQUAL(db->find(id)->state.revision, 6u);
  CAF_CHECK(told->empty());
  auto neighbour = audience::seat{env->audience, other_id};
  feed(project_ready{time.now(), 1, "p-1", "e-1", false});
  CAF_REQUIRE_EQUAL(db->find(id)->state.revision, 7u);
  CAF_CHECK(told->empty());
  {
    const auto seat = audience::seat{env->audience, id};
    feed(cancel_requested{time.now(), actor_kind::user});
    CAF_REQUIRE_EQUAL(told->size(), 1u);
    CAF_CHECK_EQUAL(told->front()->state.revision, 8u);
    CAF_CHECK(told->front()->state == db->find(id)->state);
    // What is not stored is not told.
    db->commit_fault = [](const transition&) {
      return commit_status::failed;
    };
    feed(cancellation_confirmed{time.now()});
    CAF_CHECK_EQUAL(told->size(), 1u);
  }
  CAF_CHECK(!env->audience->watches(id));
  CAF_CHECK(env->audience->watches(other_id));
}

CAF_TEST(seats are counted) {
  const auto where = std::make_shared<audience>();
  {
    auto a = audience::seat{where, id};
    {
      const auto b = audience::seat{where, id};
      CAF_CHECK(where->watches(id));
    }
    CAF_CHECK(where->watches(id));
    auto c = std::move(a);
    CAF_CHECK(where->watches(id));
    c = audience::seat{where, other_id};
    CAF_CHECK(where->watches(other_id));
  }
  // One of many in one shard goes, the others stay.
  auto seats = std::vector<audience::seat>{};
  for (auto i = 1u; i <= 2'000; ++i)
    seats.emplace_back(where, subscription_id{i});
  seats.erase(seats.begin() + 999);
  for (auto i = 1u; i <= 2'001; ++i)
    CAF_CHECK_EQUAL(where->watches(subscription_id{i}),
                    i <= 2'000 && i != 1'000);
  seats.clear();
  for (auto i = 1u; i <= 2'001; ++i)
    CAF_CHECK(!where->watches(subscription_id{i}));
}

CAF_TEST(what a supervisor stores reaches the reader) {
  env->registry = keep(spawn_probe_registry(sys, log));
  env->dispatcher = keep(spawn_probe_dispatcher(sys, log));
  env->provider = keep(spawn_probe_provider(sys, log));
  env->notifier = keep(spawn_probe_notifier(sys, log));
  start();
  db->put(row(phase::queued, 5));
  const auto tended
    = keep(sys.spawn(supervisor, environment_ptr{env}, db->rows[77].value));
  consume_messages();
  const auto a = watch();
  CAF_REQUIRE_EQUAL(a->got.size(), 1u);
  asked.clear();
  self->send(tended, make_command(id, slot_granted{time.now()}));
  consume_messages();
  CAF_CHECK_EQUAL(a->got.back(), "77@6");
  // Without the database being asked.
  CAF_CHECK(asked.empty());
}

CAF_TEST_FIXTURE_SCOPE_END()
