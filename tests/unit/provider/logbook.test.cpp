#define CAF_SUITE provider.logbook

#include "tests/unit/provider/logbook_world.hpp"

using namespace slipway;
using namespace slipway::test;

// Goal: whoever pages through the log or asks again and again for what is new
// reads every line once, without secrets, whatever the provider does; and the
// provider is asked no more often than it takes.

namespace {

/// Reads page by page until there is no next one.
template <class Fixture>
std::vector<log_line> read_pages(Fixture& f, std::size_t limit) {
  auto out = std::vector<log_line>{};
  auto cursor = std::string{};
  for (auto i = 0; i < 1'000; ++i) {
    const auto page = f.get(Fixture::at_most(limit), cursor);
    out.insert(out.end(), page.lines.begin(), page.lines.end());
    if (page.next_cursor.empty())
      return out;
    CAF_REQUIRE_EQUAL(page.next_cursor, page.tail_cursor);
    CAF_REQUIRE_NOT_EQUAL(page.next_cursor, cursor);
    CAF_REQUIRE(!page.lines.empty());
    cursor = page.next_cursor;
  }
  CAF_FAIL("the pages have no end");
}

std::string text_of(const std::vector<log_line>& lines) {
  auto out = std::string{};
  for (const auto& x : lines)
    out += x.message + " ";
  return out;
}

} // namespace

CAF_TEST_FIXTURE_SCOPE(logbook_tests, logbook_fixture)

CAF_TEST(lines of all sources come in one order of time) {
  build(1'000, "\x1b[32mbuilding\x1b[0m");
  build(2'000, "built");
  deployment().deploy.push_back({at(3'000) + 5, "oh no", "err"});
  deploy(4'000, "listening");
  event(0, "paid");
  event(2'500, "deploying");
  event(4'000, "running");
  start();
  const auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)),
                  "paid / building / built / deploying / oh no / listening / "
                  "running");
  CAF_CHECK(page.next_cursor.empty());
  const auto& lines = page.lines;
  CAF_CHECK(lines[0].source == log_source::event);
  CAF_CHECK(lines[1].source == log_source::build);
  CAF_CHECK(lines[4].source == log_source::deploy);
  CAF_CHECK_EQUAL(lines[4].level, "error");
  CAF_CHECK_EQUAL(lines[1].level, "info");
  CAF_CHECK_EQUAL(lines[0].at, to_rfc3339(day_one));
  CAF_CHECK_EQUAL(lines[4].at, provider::nanos_to_text(at(3'000) + 5));
}

CAF_TEST(each type can be read by itself) {
  build(1, "b");
  deploy(2, "d");
  event(3, "e");
  start();
  CAF_CHECK_EQUAL(join(get_messages(builds)), "b");
  CAF_CHECK_EQUAL(railway->count("deploymentLogs"), 0u);
  CAF_CHECK_EQUAL(join(get_messages(deploys)), "d");
  CAF_CHECK_EQUAL(join(get_messages(events)), "e");
  CAF_CHECK_EQUAL(railway->count("environment"), 1u);
}

CAF_TEST(lines of several services say whose they are) {
  railway->environments["env-1"]
    = {{"s-1", "web", "d-1"}, {"s-2", "worker", "d-2"}, {"s-3", "idle", ""}};
  deploy(1, "serving");
  deployment("d-2").deploy.push_back({at(2), "working", "info"});
  start();
  CAF_CHECK_EQUAL(join(get_messages()), "web | serving / worker | working");
}

CAF_TEST(nothing is asked about what is not there yet) {
  put(phase::queued, "", "");
  event(1, "paid");
  start();
  const auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)), "paid");
  CAF_CHECK(page.next_cursor.empty());
  CAF_CHECK(get(builds).lines.empty());
  CAF_CHECK(railway->calls.empty());
}

CAF_TEST(what was taken away has events only) {
  auto gone = put(phase::stopped, "env-1", "d-1");
  gone.state.instance.status = lifecycle::instance_status::deleted;
  db->put(gone);
  event(1, "stopped");
  start();
  CAF_CHECK_EQUAL(join(get_messages()), "stopped");
  CAF_CHECK(railway->calls.empty());
}

// -- pages
// -------------------------------------------------------------------------

CAF_TEST(pages neither lose nor repeat lines of one moment) {
  // All at once, in all lanes.
  for (auto i = 0; i < 7; ++i) {
    build(5, "b" + std::to_string(i));
    deploy(5, "d" + std::to_string(i));
    event(5, "e" + std::to_string(i));
  }
  start();
  const auto whole = text_of(get().lines);
  CAF_CHECK_EQUAL(whole, "b0 b1 b2 b3 b4 b5 b6 d0 d1 d2 d3 d4 d5 d6 e0 e1 e2 "
                         "e3 e4 e5 e6 ");
  for (auto limit = std::size_t{1}; limit < 23; ++limit)
    CAF_CHECK_EQUAL(text_of(read_pages(*this, limit)), whole);
}

CAF_TEST(a page that is just full has no next one) {
  for (auto i = 0; i < 4; ++i)
    event(i, std::to_string(i));
  start();
  CAF_CHECK(get(at_most(4)).next_cursor.empty());
  CAF_CHECK(!get(at_most(3)).next_cursor.empty());
}

CAF_TEST(long logs are read from their beginning) {
  options.answer_lines_max = 40;
  for (auto i = 0; i < 1'000; ++i) {
    build(i * 7, "b" + std::to_string(i));
    deploy(i * 31, "d" + std::to_string(i));
  }
  start();
  // What is as new as that is not guessed about.
  pass(120s, 1s);
  const auto lines = read_pages(*this, 90);
  CAF_CHECK_EQUAL(lines.size(), 2'000u);
  auto last = std::string{};
  auto seen = std::set<std::string>{};
  for (const auto& x : lines) {
    CAF_CHECK(last <= x.at);
    last = x.at;
    CAF_CHECK(seen.insert(x.message).second);
  }
  // Little more than the lines need at twenty each.
  CAF_CHECK_LESS_OR_EQUAL(railway->calls.size(), 2'000u / 20 + 60);
}

CAF_TEST(an event log of any length is read) {
  for (auto i = 0; i < 1'300; ++i)
    event(i, std::to_string(i));
  start();
  CAF_CHECK_EQUAL(read_pages(*this, 250).size(), 1'300u);
}

CAF_TEST(cursors that were never handed out are refused) {
  start();
  for (const auto* cursor : {"1", "abc", "AQAAAA"}) {
    const auto to = ask(all, cursor);
    CAF_CHECK_EQUAL(to->times, 1);
    CAF_CHECK_EQUAL(to->error, errc::invalid_cursor);
  }
  const auto other
    = provider::encode_log_cursor({}, make_subscription_id(day_one, 2));
  CAF_CHECK_EQUAL(ask(all, other)->error, errc::invalid_cursor);
  CAF_CHECK_EQUAL(ask(all, provider::encode_log_cursor({}, id))->error,
                  errc::none);
}

// -- polling
// -----------------------------------------------------------------------

CAF_TEST(the last cursor brings what is new and nothing else) {
  build(1, "b1");
  start();
  auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)), "b1");
  pass(3s);
  page = get(all, page.tail_cursor);
  CAF_CHECK(page.lines.empty());
  build(1, "b2"); // Of the very same moment.
  deploy(2, "d1");
  event(3, "e1");
  pass(3s);
  page = get(all, page.tail_cursor);
  CAF_CHECK_EQUAL(join(messages(page)), "b2 / d1 / e1");
  pass(3s);
  CAF_CHECK(get(all, page.tail_cursor).lines.empty());
  // The beginning is still there for whoever begins.
  CAF_CHECK_EQUAL(join(get_messages()), "b1 / b2 / d1 / e1");
}

CAF_TEST(what reaches us late is not lost behind what was faster) {
  deploy(1, "d1");
  event(60'000, "a later event");
  start();
  auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)), "d1 / a later event");
  deploy(2, "d2");
  build(1, "b1");
  pass(3s);
  page = get(all, page.tail_cursor);
  CAF_CHECK_EQUAL(join(messages(page)), "b1 / d2");
}

CAF_TEST(random readers read every line once) {
  auto dice = std::mt19937_64{23};
  const auto below = [&](std::uint64_t n) {
    return static_cast<std::int64_t>(dice() % n);
  };
  for (auto round = 0; round < 40; ++round) {
    logbook_fixture x;
    x.options.answer_lines_max = 25;
    x.options.answer_lines_less = 25;
    x.railway->environments["env-1"].push_back({"s-2", "worker", "d-2"});
    x.railway->deployments["d-2"] = {};
    for (const auto* name : {"d-1", "d-2"})
      x.deployment(name).status = "BUILDING";
    x.put(phase::deploying, "env-1", "d-1");
    x.start();
    auto number = 0;
    auto written = std::multiset<std::string>{};
    auto times = std::map<std::string, nanos>{};
    const auto write = [&] {
      for (auto i = below(30); i > 0; --i) {
        const auto text = std::to_string(++number);
        const auto lane = below(5);
        if (lane == 4) {
          x.event(number, text);
          written.insert(text);
          continue;
        }
        const auto name = lane < 2 ? "d-1" : "d-2";
        auto& to = lane % 2 == 0 ? x.deployment(name).build
                                 : x.deployment(name).deploy;
        auto& last = times[name + std::to_string(lane % 2)];
        last = std::max(last, provider::to_nanos(x.time.now()))
               + below(3) * below(2'000'000);
        to.push_back({last, text, "info"});
        written.insert((lane < 2 ? "web | " : "worker | ") + text);
      }
    };
    auto read = std::multiset<std::string>{};
    auto cursor = std::string{};
    for (auto step = 0; step < 30; ++step) {
      write();
      // Fresh or not: nothing is lost, it comes later.
      x.pass(millis{below(4) * 1'500});
      const auto page = x.get(
        logbook_fixture::at_most(static_cast<std::size_t>(1 + below(40))),
        cursor);
      for (const auto& line : page.lines)
        read.insert(line.message);
      cursor = page.tail_cursor;
    }
    for (;;) {
      x.pass(3s);
      const auto page = x.get(logbook_fixture::at_most(50), cursor);
      if (page.lines.empty())
        break;
      for (const auto& line : page.lines)
        read.insert(line.message);
      cursor = page.tail_cursor;
    }
    if (read != written)
      CAF_FAIL("round " << round << ": " << read.size() << " of "
                        << written.size());
  }
}

CAF_TEST(a new deployment is read from its beginning) {
  build(1, "first build");
  start();
  auto page = get();
  railway->environments["env-1"] = {{"s-1", "web", "d-2"}};
  deployment("d-2").build.push_back({at(50'000), "second build", "info"});
  put(phase::running, "env-1", "d-2", 2);
  page = get(all, page.tail_cursor);
  CAF_CHECK_EQUAL(join(messages(page)), "second build");
  // Whoever begins now sees the present one only.
  CAF_CHECK_EQUAL(join(get_messages()), "second build");
}

// -- what it costs
// -----------------------------------------------------------------

CAF_TEST(many readers cost one question) {
  build(1, "b");
  start();
  for (auto i = 0; i < 50; ++i)
    CAF_CHECK_EQUAL(join(get_messages()), "b");
  CAF_CHECK_EQUAL(railway->calls.size(), 3u);
  pass(2'100ms);
  const auto before = railway->calls.size();
  get();
  get();
  // The deploy log was read anew from its last line on, and so was the build
  // log until it is certain that it is over.
  CAF_CHECK_EQUAL(railway->calls.size(), before + 2);
  CAF_CHECK_EQUAL(railway->count("environment"), 1u);
}

CAF_TEST(readers who come together wait for one answer) {
  deploy(1, "d");
  railway->hold = [](const provider::call&) {
    return true;
  };
  start();
  const auto a = ask(deploys);
  const auto b = ask(deploys);
  CAF_CHECK_EQUAL(railway->calls.size(), 1u);
  railway->release();
  consume_messages();
  CAF_CHECK_EQUAL(railway->calls.size(), 2u);
  CAF_CHECK_EQUAL(a->times + b->times, 0);
  railway->release();
  consume_messages();
  CAF_CHECK_EQUAL(a->times, 1);
  CAF_CHECK_EQUAL(b->times, 1);
  CAF_CHECK_EQUAL(join(b->messages()), "d");
}

CAF_TEST(the log of a build that is over is not read again) {
  build(1, "b");
  start();
  get(builds);
  pass(20s);
  build(2, "straggler");
  CAF_CHECK_EQUAL(join(get_messages(builds)), "b / straggler");
  const auto before = railway->count("buildLogs");
  for (auto i = 0; i < 5; ++i) {
    pass(50s);
    CAF_CHECK_EQUAL(join(get_messages(builds)), "b / straggler");
  }
  CAF_CHECK_EQUAL(railway->count("buildLogs"), before);
  // A build that goes on is.
  deployment().status = "BUILDING";
  put(phase::deploying, "env-1", "d-1");
  build(3, "again");
  pass(3s);
  CAF_CHECK_EQUAL(join(get_messages(builds)), "b / straggler / again");
}

CAF_TEST(calls say that somebody waits and for how long) {
  start();
  get();
  for (const auto& x : railway->kept) {
    CAF_CHECK(x->how == provider::urgency::reader);
    CAF_CHECK(!x->mutates);
    CAF_CHECK(x->expires == day_one + 10s);
    CAF_CHECK(x->document.find(x->field) != std::string::npos);
  }
  CAF_CHECK_EQUAL(railway->calls.back().limit, 5'000u);
}

CAF_TEST(queries wait for their turn and not for ever) {
  options.queries_max = 2;
  options.queries_waiting_max = 2;
  deploy(1, "d");
  railway->hold = [](const provider::call&) {
    return true;
  };
  start();
  const auto served = std::vector<heard_ptr>{ask(), ask(), ask(), ask()};
  CAF_CHECK_EQUAL(ask()->error, errc::overloaded);
  CAF_CHECK_EQUAL(served[2]->times + served[3]->times, 0);
  railway->hold = nullptr;
  railway->release_all();
  consume_messages();
  for (const auto& x : served) {
    CAF_CHECK_EQUAL(x->times, 1);
    CAF_CHECK_EQUAL(join(x->messages()), "d");
  }
}

CAF_TEST(who waited too long for a turn is told so) {
  options.queries_max = 1;
  options.query_patience = 5s;
  railway->hold = [](const provider::call&) {
    return true;
  };
  start();
  const auto first = ask();
  pass(2s);
  const auto second = ask();
  const auto third = ask();
  pass(3'500ms);
  CAF_CHECK_EQUAL(first->times, 1); // With what is known.
  CAF_CHECK_EQUAL(third->times, 0);
  pass(4s);
  CAF_CHECK_EQUAL(second->times, 1);
  CAF_CHECK_EQUAL(third->error, errc::overloaded);
  CAF_CHECK(meters.expose().find("slipway_shed_total{reason=\"log_queries\"} 1")
            != std::string::npos);
}

CAF_TEST(the cache has a ceiling) {
  options.cache_bytes_max = 300'000;
  start();
  for (auto n = 1U; n <= 30; ++n) {
    id = make_subscription_id(day_one, n);
    const auto name = "d-" + std::to_string(n);
    put(phase::running, "env-" + std::to_string(n), name);
    railway->environments["env-" + std::to_string(n)] = {{"s", "web", name}};
    for (auto i = 0; i < 100; ++i)
      deployment(name).deploy.push_back(
        {at(i), std::string(400, 'x') + std::to_string(i), "info"});
    CAF_CHECK_EQUAL(get().lines.size(), 100u);
  }
  CAF_CHECK(aut().bytes() > 1'000'000);
  pass(2s);
  CAF_CHECK(aut().bytes() < 300'000);
  CAF_CHECK(aut().bytes() > 100'000);
  // What is gone is read again.
  id = make_subscription_id(day_one, 1);
  CAF_CHECK_EQUAL(get().lines.size(), 100u);
  pass(700s, 1s);
  CAF_CHECK_EQUAL(aut().bytes(), 0u);
}

// -- trouble
// -----------------------------------------------------------------------

CAF_TEST(a provider that is down leaves the events and says why once) {
  event(1, "paid");
  railway->says = [](const provider::call&) {
    return railway_logs::fail(answer_class::in_doubt, "HTTP 502");
  };
  start();
  auto page = get();
  CAF_REQUIRE_EQUAL(page.lines.size(), 2u);
  CAF_CHECK_EQUAL(page.lines[0].message, "paid");
  CAF_CHECK_EQUAL(page.lines[1].message,
                  "The provider's build and deploy log cannot be read now: the "
                  "provider does not answer");
  CAF_CHECK_EQUAL(page.lines[1].level, "warn");
  CAF_CHECK(page.lines[1].source == log_source::event);
  CAF_CHECK_EQUAL(page.lines[1].at, to_rfc3339(time.now()));
  CAF_CHECK(page.next_cursor.empty());
  // Whoever has been told is not told again…
  pass(5s);
  page = get(all, page.tail_cursor);
  CAF_CHECK(page.lines.empty());
  // …unless it is something else…
  railway->says = [](const provider::call&) {
    return railway_logs::fail(answer_class::throttled, "slow down");
  };
  pass(40s);
  page = get(all, page.tail_cursor);
  CAF_CHECK_EQUAL(join(messages(page)),
                  "The provider's build and deploy log cannot be read now: the "
                  "provider takes no more requests for now");
  // …and reads on when all is well.
  railway->says = nullptr;
  build(1, "b");
  pass(40s);
  page = get(all, page.tail_cursor);
  CAF_CHECK_EQUAL(join(messages(page)), "b");
  CAF_CHECK_EQUAL(join(get_messages(builds)), "b");
}

CAF_TEST(each class of failure has its words) {
  const auto words = [](answer_class is) {
    logbook_fixture x;
    x.railway->says
      = [is](const provider::call& c) -> std::optional<provider::answer> {
      if (c.field == "environment")
        return std::nullopt;
      return railway_logs::fail(is, "secret words of theirs");
    };
    x.start();
    const auto got = join(x.get_messages(logbook_fixture::builds));
    const auto head
      = std::string{"The provider's build log cannot be read now: "};
    CAF_CHECK(got.starts_with(head));
    return got.substr(std::min(head.size(), got.size()));
  };
  CAF_CHECK_EQUAL(words(answer_class::not_found),
                  "the provider has none, or does not keep it any more");
  CAF_CHECK_EQUAL(words(answer_class::auth),
                  "the provider does not let us read it");
  CAF_CHECK_EQUAL(words(answer_class::opaque), "the provider could not answer");
  CAF_CHECK_EQUAL(words(answer_class::busy), "the provider could not answer");
  CAF_CHECK_EQUAL(words(answer_class::invalid),
                  "the provider refused the question");
  CAF_CHECK_EQUAL(words(answer_class::blocked),
                  "the provider takes no more requests for now");
  CAF_CHECK_EQUAL(words(answer_class::not_sent),
                  "the provider takes no more requests for now");
}

CAF_TEST(one lane in trouble does not hide the others) {
  build(1, "b");
  deploy(2, "d");
  railway->says
    = [](const provider::call& c) -> std::optional<provider::answer> {
    if (c.field != "buildLogs")
      return std::nullopt;
    return railway_logs::fail(answer_class::opaque, "Problem processing");
  };
  start();
  auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)),
                  "d / The provider's build and deploy log cannot be read now: "
                  "the provider could not answer");
  railway->says = nullptr;
  pass(5s);
  CAF_CHECK_EQUAL(join(get_messages(all, page.tail_cursor)), "b");
}

CAF_TEST(trouble is a line like any other where a page is full) {
  event(1, "one");
  event(2, "two");
  railway->says = [](const provider::call&) {
    return railway_logs::fail(answer_class::in_doubt, "HTTP 502");
  };
  start();
  auto page = get(at_most(2));
  CAF_CHECK_EQUAL(join(messages(page)), "one / two");
  CAF_REQUIRE(!page.next_cursor.empty());
  page = get(at_most(2), page.next_cursor);
  CAF_REQUIRE_EQUAL(page.lines.size(), 1u);
  CAF_CHECK_EQUAL(page.lines[0].level, "warn");
  CAF_CHECK(page.next_cursor.empty());
}

CAF_TEST(failures are remembered for a moment) {
  railway->says = [](const provider::call&) {
    auto out = railway_logs::fail(answer_class::throttled, "slow down");
    out.retry_after = 30s;
    return out;
  };
  start();
  get();
  const auto before = railway->calls.size();
  for (auto i = 0; i < 20; ++i) {
    pass(1s);
    get();
  }
  CAF_CHECK_EQUAL(railway->calls.size(), before);
  pass(15s);
  get();
  CAF_CHECK(railway->calls.size() > before);
}

CAF_TEST(before a deployment has begun there is nothing to warn of) {
  railway->says
    = [](const provider::call& c) -> std::optional<provider::answer> {
    if (c.field == "environment")
      return std::nullopt;
    return railway_logs::fail(answer_class::not_found, "Build not found");
  };
  deployment().status = "QUEUED";
  put(phase::deploying, "env-1", "d-1");
  start();
  CAF_CHECK(get().lines.empty());
  // Once it builds there should be a build log, and no deploy log yet.
  deployment().status = "BUILDING";
  pass(10s);
  CAF_CHECK(get(deploys).lines.empty());
  CAF_CHECK_EQUAL(get(builds).lines.size(), 1u);
}

CAF_TEST(an environment that cannot be read is made do without) {
  build(1, "b");
  railway->says
    = [](const provider::call& c) -> std::optional<provider::answer> {
    if (c.field != "environment")
      return std::nullopt;
    return railway_logs::fail(answer_class::in_doubt, "HTTP 502");
  };
  start();
  const auto page = get();
  CAF_CHECK_EQUAL(join(messages(page)),
                  "b / The provider's build and deploy log cannot be read now: "
                  "the provider does not answer");
}

CAF_TEST(a row without an environment names its deployment) {
  put(phase::running, "", "d-1");
  build(1, "b");
  start();
  CAF_CHECK_EQUAL(join(get_messages()), "b");
  CAF_CHECK_EQUAL(railway->count("environment"), 0u);
}

CAF_TEST(a slow provider is waited for and then told of) {
  event(1, "paid");
  build(1, "b");
  railway->hold = [](const provider::call& c) {
    return c.field == "deploymentLogs";
  };
  start();
  const auto to = ask();
  pass(14s);
  CAF_CHECK_EQUAL(to->times, 0);
  pass(2s);
  CAF_REQUIRE_EQUAL(to->times, 1);
  CAF_CHECK_EQUAL(join(to->messages()),
                  "b / paid / The provider's build and deploy log cannot be "
                  "read now: the provider takes too long to answer");
  // The call is pointless now, should it still wait for the budget.
  CAF_CHECK(railway->held.front()->withdrawn->load());
  deploy(1, "d");
  railway->hold = nullptr;
  railway->release_all();
  consume_messages();
  CAF_CHECK_EQUAL(join(get_messages(deploys, to->page.tail_cursor)), "d");
}

CAF_TEST(an answer that is lost may have been too long) {
  for (auto i = 0; i < 800; ++i)
    deploy(i * 10, std::to_string(i));
  railway->says
    = [](const provider::call& c) -> std::optional<provider::answer> {
    const auto* limit = c.variables.if_contains("limit");
    if (limit == nullptr || limit->to_number<std::size_t>() <= 500)
      return std::nullopt;
    return railway_logs::fail(answer_class::in_doubt, "too long");
  };
  start();
  auto n = std::size_t{0};
  auto cursor = std::string{};
  do {
    const auto page = get(deploys, cursor);
    n += page.lines.size();
    cursor = page.next_cursor;
  } while (!cursor.empty());
  CAF_CHECK_EQUAL(n, 800u);
}

CAF_TEST(a store that is down is an error and no page) {
  db->query_fault = [](const store_job& x) {
    return std::holds_alternative<job<query::list_history>>(x)
             ? errc::database_down
             : errc::none;
  };
  build(1, "b");
  start();
  CAF_CHECK_EQUAL(ask()->error, errc::database_down);
  CAF_CHECK_EQUAL(ask(events)->error, errc::database_down);
  CAF_CHECK_EQUAL(join(get_messages(builds)), "b");
  db->query_fault = nullptr;
  CAF_CHECK_EQUAL(join(get_messages()), "b");
}

CAF_TEST(without the credentials nothing is shown) {
  db->query_fault = [](const store_job& x) {
    return std::holds_alternative<job<query::list_credentials>>(x)
             ? errc::database_down
             : errc::none;
  };
  build(1, "b");
  start();
  CAF_CHECK_EQUAL(ask()->error, errc::database_down);
  CAF_CHECK_EQUAL(railway->calls.size(), 0u);
  db->query_fault = nullptr;
  CAF_CHECK_EQUAL(join(get_messages()), "b");
}

// -- secrets
// -----------------------------------------------------------------------

CAF_TEST(no secret of the subscription is shown) {
  secret("TELEGRAM", R"({"botToken": "telegram-token", "chat": 12345678})");
  secret("SLACK", R"("slack-token")");
  deploy(1, "env TELEGRAM=telegram-token");
  deploy(2, "slack-\x1b[31mtoken and railway-token");
  deploy(
    3, R"(CHANNEL_TELEGRAM={"botToken": "telegram-token", "chat": 12345678})");
  deploy(4, R"({"TELEGRAM":{"botToken":"telegram-token","chat":12345678},)"
            R"("SLACK":"slack-token"})");
  event(5, "Step failed: bad telegram-token");
  start();
  CAF_CHECK_EQUAL(join(get_messages()),
                  "env TELEGRAM=*** / *** and *** / CHANNEL_TELEGRAM=*** / *** "
                  "/ Step failed: bad ***");
}

CAF_TEST(where a credential cannot be opened the log stays closed) {
  secret("TELEGRAM", R"("telegram-token")");
  db->credentials[raw(id)].push_back({"SLACK", "k-lost", "nonce", "text"});
  deploy(1, "env SLACK=who-knows");
  event(2, "bad telegram-token");
  start();
  const auto page = get();
  CAF_CHECK_EQUAL(
    join(messages(page)),
    "bad *** / The provider's build and deploy log cannot be read "
    "now: the credentials that have to be taken out of it cannot "
    "be read");
  CAF_CHECK(railway->calls.empty());
}

CAF_TEST(secrets are forgotten when nobody reads) {
  secret("TELEGRAM", R"("telegram-token")");
  deploy(1, "telegram-token");
  start();
  get();
  const auto asked = store().queries;
  pass(30s, 1s);
  get(deploys);
  CAF_CHECK_EQUAL(store().queries, asked);
  pass(90s, 1s);
  deploy(2, "telegram-token");
  CAF_CHECK_EQUAL(join(get_messages(deploys)), "*** / ***");
  CAF_CHECK_EQUAL(store().queries, asked + 1);
}

CAF_TEST_FIXTURE_SCOPE_END()
