#define CAF_SUITE provider.janitor

#include "http/provider/janitor.hpp"

#include "http/provider/view.hpp"
#include "tests/support/actor_fixture.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace slipway;
using namespace slipway::provider;
using namespace slipway::test;

namespace json = boost::json;

namespace {

/// A workspace in pages: whatever is called is answered at once.
struct workspace {
  struct project {
    std::string id;
    std::string name;
  };

  std::vector<std::vector<project>> pages;
  timestamp created_at = day_one;
  std::vector<std::string> deleted;

  [[nodiscard]] json::value list(const json::object& variables) const {
    auto at = std::size_t{0};
    if (const auto* after = variables.if_contains("after"))
      at = std::stoul(std::string{after->as_string()});
    auto edges = json::array{};
    for (const auto& x : pages.at(at))
      edges.push_back(json::object{
        {"node", json::object{{"id", x.id},
                              {"name", x.name},
                              {"createdAt", to_rfc3339(created_at)},
                              {"deletedAt", nullptr}}}});
    return json::object{
      {"edges", std::move(edges)},
      {"pageInfo", json::object{{"hasNextPage", at + 1 < pages.size()},
                                {"endCursor", std::to_string(at + 1)}}}};
  }

  [[nodiscard]] bool has(const std::string& id) const {
    return std::any_of(pages.begin(), pages.end(), [&](const auto& page) {
      return std::any_of(page.begin(), page.end(), [&](const project& x) {
        return x.id == id;
      });
    });
  }

  void take(call& x) {
    auto out = answer{};
    if (x.field == "projects") {
      out.data = json::object{{"projects", list(x.variables)}};
    } else {
      const auto id = std::string{x.variables.at("id").as_string()};
      if (x.field == "projectDelete") {
        deleted.push_back(id);
        for (auto& page : pages)
          std::erase_if(page, [&](const project& y) {
            return y.id == id;
          });
        out.data = json::object{{"projectDelete", true}};
      } else if (has(id)) {
        out.data = json::object{
          {"project", json::object{{"id", id}, {"deletedAt", nullptr}}}};
      } else {
        out.is = answer_class::not_found;
      }
    }
    x.sent = true;
    x.done(std::move(out));
  }
};

caller_actor::behavior_type
workspace_caller(caller_actor::pointer, std::shared_ptr<workspace> rails) {
  return {
    [rails](call_ptr& x) {
      rails->take(*x);
    },
    [](const continuation&) {
      CAF_FAIL("continuation");
    },
  };
}

subscription_id id_of(std::uint64_t n) {
  return make_subscription_id(day_one, n);
}

workspace::project ours(const std::string& id, std::uint64_t n) {
  return {id, project_name(id_of(n))};
}

struct fixture : actor_fixture {
  std::shared_ptr<workspace> rails = std::make_shared<workspace>();

  janitor_options options;
  caf::actor aut;

  fixture() {
    options.caller = keep(sys.spawn(workspace_caller, rails));
    options.settings.sweep_interval = 5min;
    options.whole_sweep_interval = 10min;
    start();
  }

  ~fixture() {
    stop();
  }

  void start() {
    aut = caf::actor_cast<caf::actor>(
      sys.spawn(janitor, environment_ptr{env}, options));
    consume_messages();
  }

  void stop() {
    caf::anon_send_exit(aut, caf::exit_reason::kill);
    aut = nullptr;
    consume_messages();
  }

  /// The nth subscription, whose deployment has failed for good.
  void put_failed(std::uint64_t n) {
    auto row = make_record(id_of(n), phase::failed);
    row.state.instance = {};
    db->put(row);
  }

  [[nodiscard]] std::set<std::string> there() const {
    auto out = std::set<std::string>{};
    for (const auto& [id, x] : db->orphans)
      if (!x.gone_at)
        out.insert(id);
    return out;
  }

  /// Summaries of what was written into the story of the nth.
  [[nodiscard]] std::vector<std::string> story_of(std::uint64_t n) const {
    auto out = std::vector<std::string>{};
    for (const auto& x : db->history)
      if (x.subscription == id_of(n))
        out.push_back(x.entry.summary);
    return out;
  }

  using ids = std::set<std::string>;
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(janitor_tests, fixture)

CAF_TEST(what two pages name is written down once) {
  rails->pages = {{ours("a", 1), ours("b", 2), {"x", "somebody else's"}},
                  {ours("b", 2), ours("c", 3), ours("", 4)}};
  pass(11s);
  CAF_CHECK((there() == ids{"a", "b", "c"}));
  CAF_CHECK(rails->deleted.empty());
}

CAF_TEST(what could not be written down is not taken for gone) {
  rails->pages = {{ours("a", 1), ours("b", 2)}};
  pass(11s);
  CAF_CHECK((there() == ids{"a", "b"}));
  const auto since = db->orphans.at("a").seen_at;
  auto failures = 0;
  db->query_fault = [&](const store_job& what) {
    const auto fails = std::holds_alternative<job<query::note_orphans>>(what);
    failures += fails ? 1 : 0;
    return fails ? errc::database_down : errc::none;
  };
  pass(20min, 1s);
  CAF_CHECK_GREATER(failures, 1);
  CAF_CHECK((there() == ids{"a", "b"}));
  // Once it can be, what has really gone is.
  db->query_fault = nullptr;
  rails->pages = {{ours("b", 2)}};
  pass(20min, 1s);
  CAF_CHECK((there() == ids{"b"}));
  CAF_CHECK(db->orphans.at("b").seen_at == since);
}

CAF_TEST(what is ours is reported first and removed when it is seen again) {
  for (const auto n : {1u, 2u, 3u})
    put_failed(n);
  rails->created_at = day_one - 2h;
  rails->pages = {{ours("a", 1), ours("b", 2), ours("c", 3), ours("d", 4)}};
  pass(11s);
  CAF_CHECK((there() == ids{"a", "b", "c", "d"}));
  CAF_CHECK(rails->deleted.empty());
  // The second one is retried meanwhile and may use what it finds.
  db->put(make_record(id_of(2), phase::queued));
  pass(10min, 1s);
  CAF_CHECK((rails->deleted == std::vector<std::string>{"a", "c"}));
  CAF_CHECK((there() == ids{"d"}));
  for (const auto n : {1u, 3u}) {
    const auto project = std::string{n == 1 ? "a" : "c"};
    CAF_CHECK((story_of(n)
               == std::vector<std::string>{
                 "Orphan project " + project
                   + ": left behind by a deployment that has failed",
                 "Orphan project " + project + " removed"}));
  }
  CAF_CHECK_EQUAL(story_of(2).size(), 1u);
  CAF_CHECK(db->orphans.at("a").removed_by_us);
  CAF_CHECK(!db->orphans.at("b").removed_by_us);
}

CAF_TEST(many are gone through in steps) {
  auto page = std::vector<workspace::project>{};
  for (auto n = 1u; n <= 1'200; ++n) {
    page.push_back(ours("p-" + std::to_string(n), n));
    if (n % 2 == 0)
      put_failed(n);
  }
  rails->created_at = day_one - 2h;
  rails->pages = {page};
  pass(11s);
  CAF_CHECK_EQUAL(there().size(), 1'200u);
  pass(10min, 1s);
  CAF_CHECK_EQUAL(rails->deleted.size(), 600u);
  CAF_CHECK_EQUAL(there().size(), 600u);
  CAF_CHECK_EQUAL(story_of(2).size(), 2u);
  CAF_CHECK_EQUAL(story_of(1'200).size(), 2u);
}

CAF_TEST(stories are told in their order after a restart) {
  auto page = std::vector<workspace::project>{};
  for (auto n = 1u; n <= 400; ++n) {
    page.push_back(ours("p-" + std::to_string(n), n));
    put_failed(n);
  }
  rails->created_at = day_one - 2h;
  rails->pages = {page};
  pass(11s);
  stop();
  // Whoever comes next tells of all once more, and may remove them at once.
  start();
  pass(11s);
  CAF_CHECK_EQUAL(rails->deleted.size(), 400u);
  auto wrong = 0;
  for (auto n = 1u; n <= 400; ++n) {
    const auto story = story_of(n);
    wrong += story.size() == 3 && story.back().ends_with(" removed") ? 0 : 1;
  }
  CAF_CHECK_EQUAL(wrong, 0);
}

CAF_TEST_FIXTURE_SCOPE_END()
