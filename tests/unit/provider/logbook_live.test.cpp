#define CAF_SUITE provider.logbook_live

#include "tests/unit/provider/logbook_world.hpp"

using namespace slipway;
using namespace slipway::test;
using client::websocket_end;

// Goal: whoever follows sees every line once and soon, over a socket that may
// come, go and lie, and by polling where there is none; and what nobody follows
// costs nothing.

CAF_TEST_FIXTURE_SCOPE(logbook_live_tests, logbook_fixture)

// -- streams
// -----------------------------------------------------------------------

CAF_TEST(a follower sees what there was and what comes) {
  build(1, "b1");
  deploy(2, "d1");
  event(3, "e1");
  start();
  const auto to = follow();
  CAF_CHECK_EQUAL(to->beats, 1);
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / d1 / e1");
  accept_all();
  say_deploy(1'000, "d2");
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / d1 / e1 / d2");
  event(2'000, "e2");
  pass(1s);
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / d1 / e1 / d2 / e2");
  CAF_CHECK(to->lines[3].source == log_source::deploy);
  CAF_CHECK(to->lines[4].source == log_source::event);
}

CAF_TEST(a build that is over needs no stream) {
  start();
  const auto to = follow();
  CAF_CHECK_EQUAL(sockets->living().size(), 1u);
  accept_all();
  CAF_CHECK(line("deploymentLogs") != nullptr);
  CAF_CHECK(line("buildLogs") == nullptr);
}

CAF_TEST(a build under way is streamed) {
  deployment().status = "BUILDING";
  put(phase::deploying, "env-1", "d-1");
  build(1, "b1");
  start();
  const auto to = follow(builds);
  accept_all();
  CAF_REQUIRE(line("buildLogs") != nullptr);
  CAF_CHECK(line("deploymentLogs") == nullptr);
  say(line("buildLogs"), "buildLogs",
      {{at(1), "b1", "info"}, {at(2), "b2", "err"}});
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / b2");
  CAF_CHECK_EQUAL(to->lines[1].level, "error");
}

CAF_TEST(what the stream is asked for) {
  start();
  const auto to = follow(deploys);
  accept_all();
  const auto x = line("deploymentLogs");
  CAF_REQUIRE(x != nullptr);
  CAF_CHECK_EQUAL(x->request.url,
                  "wss://railway.test/graphql/v2?source=slipway");
  CAF_CHECK_EQUAL(x->request.headers[0].second, "Bearer railway-token");
  const auto sent = json::parse(x->sent.back());
  CAF_CHECK_EQUAL(sent.at("payload").at("variables").at("id").as_string(),
                  "d-1");
  CAF_CHECK(
    std::string{sent.at("payload").at("query").as_string().c_str()}.find(
      "subscription")
    != std::string::npos);
}

CAF_TEST(what a stream repeats is not shown twice) {
  for (auto i = 0; i < 5; ++i)
    deploy(i, "d" + std::to_string(i));
  deploy(4, "same");
  deploy(4, "same");
  start();
  const auto to = follow(deploys);
  CAF_CHECK_EQUAL(to->lines.size(), 7u);
  accept_all();
  // The repetition, with one more of the last moment, and one more "same".
  auto again = deployment().deploy;
  again.push_back({at(4), "new", "info"});
  again.push_back({at(4), "same", "info"});
  say(line("deploymentLogs"), "deploymentLogs", again);
  CAF_CHECK_EQUAL(join(to->messages()),
                  "d0 / d1 / d2 / d3 / d4 / same / same / new / same");
}

CAF_TEST(between the first look and the stream nothing is lost) {
  deploy(1, "d1");
  start();
  const auto to = follow(deploys);
  CAF_CHECK_EQUAL(join(to->messages()), "d1");
  // Comes before the stream begins; the stream does not repeat it.
  deploy(2, "d2");
  railway->hold = [](const provider::call&) {
    return true;
  };
  accept_all();
  // Streamed while the lane is being read once more.
  say_deploy(3, "d3");
  CAF_CHECK_EQUAL(join(to->messages()), "d1");
  deploy(3, "d3");
  railway->hold = nullptr;
  railway->release_all();
  consume_messages();
  CAF_CHECK_EQUAL(join(to->messages()), "d1 / d2 / d3");
}

CAF_TEST(a read that began before the stream does not count) {
  deploy(1, "d1");
  railway->hold = [](const provider::call& c) {
    return c.field == "deploymentLogs";
  };
  start();
  const auto to = follow(deploys);
  CAF_REQUIRE_EQUAL(railway->held.size(), 1u);
  accept_all();
  // The answer is made now and reaches us after d2 has come.
  const auto early = railway->answer(*railway->held.front());
  deploy(2, "d2");
  const auto first = railway->held.front();
  railway->held.pop_front();
  first->done(early);
  consume_messages();
  CAF_CHECK_EQUAL(join(to->messages()), "d1");
  CAF_REQUIRE_EQUAL(railway->held.size(), 1u);
  railway->release();
  consume_messages();
  CAF_CHECK_EQUAL(join(to->messages()), "d1 / d2");
}

CAF_TEST(all followers of a deployment share one stream) {
  start();
  auto all_of_them = std::vector<watching_ptr>{};
  for (auto i = 0; i < 5; ++i)
    all_of_them.push_back(follow(deploys));
  accept_all();
  CAF_CHECK_EQUAL(sockets->lines.size(), 1u);
  say_deploy(1, "d1");
  for (const auto& x : all_of_them)
    CAF_CHECK_EQUAL(join(x->messages()), "d1");
  // It goes with the last of them.
  for (auto i = 0; i < 4; ++i)
    all_of_them[static_cast<std::size_t>(i)]->state = follower_state::gone;
  pass(1s);
  CAF_CHECK(!sockets->lines[0]->closed);
  CAF_CHECK(all_of_them[0]->dropped);
  CAF_CHECK(!all_of_them[4]->dropped);
  all_of_them[4]->state = follower_state::gone;
  pass(1s);
  CAF_CHECK(sockets->lines[0]->closed);
  CAF_CHECK_EQUAL(aut().streams(), 0u);
  const auto calls = railway->calls.size();
  pass(60s, 1s);
  CAF_CHECK_EQUAL(railway->calls.size(), calls);
}

CAF_TEST(a lane that is live costs no questions but a rare look) {
  start();
  const auto to = follow(deploys);
  accept_all();
  pass(2s);
  const auto before = railway->count("deploymentLogs");
  for (auto i = 0; i < 50; ++i) {
    pass(1s);
    say_deploy(10'000 + i, std::to_string(i));
  }
  CAF_CHECK_EQUAL(to->lines.size(), 50u);
  // Readers of pages profit from it.
  CAF_CHECK_EQUAL(get(deploys).lines.size(), 50u);
  CAF_CHECK_EQUAL(railway->count("deploymentLogs"), before);
  // A stream that is silent may have died in a way that nobody sees.
  pass(61s, 1s);
  deploy(70'000, "unsaid");
  pass(61s, 1s);
  CAF_CHECK_EQUAL(to->lines.back().message, "unsaid");
  CAF_CHECK_LESS_OR_EQUAL(railway->count("deploymentLogs"), before + 2);
}

CAF_TEST(a lost stream is dialled again with growing pauses) {
  start();
  const auto to = follow(deploys);
  auto dials = std::vector<timestamp>{};
  sockets->on_open = [&](fake_websockets::line&) {
    dials.push_back(time.now());
  };
  const auto lose = [&] {
    for (const auto& x : sockets->living())
      x->end(websocket_end::unreachable);
    consume_messages();
  };
  lose();
  for (auto i = 0; i < 80; ++i) {
    pass(1s);
    lose();
  }
  auto pauses = std::string{};
  for (std::size_t i = 1; i < dials.size(); ++i)
    pauses += std::to_string((dials[i] - dials[i - 1]).count() / 1'000) + " ";
  CAF_CHECK_EQUAL(pauses, "2 4 8 8 8 8 8 8 8 8 ");
  // A dozen tries, then polling only for a while.
  CAF_CHECK_EQUAL(sockets->lines.size(), 12u);
  pass(200s, 1s);
  CAF_CHECK_EQUAL(sockets->lines.size(), 12u);
  pass(100s, 1s);
  CAF_CHECK_EQUAL(sockets->lines.size(), 13u);
}

CAF_TEST(what came while the stream was lost comes later and once) {
  deploy(1, "d1");
  start();
  const auto to = follow(deploys);
  accept_all();
  say_deploy(2, "d2");
  deploy(2, "d2");
  line("deploymentLogs")->end(websocket_end::lost);
  consume_messages();
  deploy(3, "d3");
  deploy(4, "d4");
  pass(1s);
  accept_all();
  // The second stream repeats the newest lines only.
  say(line("deploymentLogs"), "deploymentLogs",
      {{at(3), "d3", "info"}, {at(4), "d4", "info"}, {at(5), "d5", "info"}});
  CAF_CHECK_EQUAL(join(to->messages()), "d1 / d2 / d3 / d4 / d5");
}

CAF_TEST(where no socket can be opened polling does) {
  options.sockets = nullptr;
  deploy(1, "d1");
  start();
  const auto to = follow();
  CAF_CHECK_EQUAL(join(to->messages()), "d1");
  deploy(2, "d2");
  pass(3'100ms);
  CAF_CHECK_EQUAL(join(to->messages()), "d1 / d2");
  const auto calls = railway->count("deploymentLogs");
  for (auto i = 0; i < 4; ++i) {
    deploy(10 + i, std::to_string(i));
    pass(3'100ms);
  }
  CAF_CHECK_EQUAL(to->lines.size(), 6u);
  CAF_CHECK_LESS_OR_EQUAL(railway->count("deploymentLogs"), calls + 5);
  // While nothing comes it is asked less often.
  const auto before = railway->count("deploymentLogs");
  pass(150s, 1s);
  CAF_CHECK_LESS_OR_EQUAL(railway->count("deploymentLogs"), before + 15);
  CAF_CHECK(railway->count("deploymentLogs") >= before + 8);
}

CAF_TEST(a refused stream is not asked for again soon) {
  start();
  const auto to = follow(deploys);
  sockets->lines[0]->accept();
  sockets->lines[0]->end(websocket_end::closed, 4403);
  consume_messages();
  deploy(1, "polled");
  pass(200s, 1s);
  CAF_CHECK_EQUAL(sockets->lines.size(), 1u);
  CAF_CHECK_EQUAL(join(to->messages()), "polled");
}

CAF_TEST(streams are bounded) {
  options.streams_max = 2;
  start();
  for (auto n = 1U; n <= 4; ++n) {
    id = make_subscription_id(day_one, n);
    const auto name = "d-" + std::to_string(n);
    put(phase::running, "env-" + name, name);
    railway->environments["env-" + name] = {{"s", "web", name}};
    deployment(name).deploy.push_back({at(1), name, "info"});
    CAF_CHECK_EQUAL(join(follow(deploys)->messages()), name);
  }
  pass(5s);
  CAF_CHECK_EQUAL(sockets->lines.size(), 2u);
  CAF_CHECK_EQUAL(aut().streams(), 2u);
}

CAF_TEST(a stream that ends does not end the following) {
  deployment().status = "BUILDING";
  put(phase::deploying, "env-1", "d-1");
  build(1, "b1");
  start();
  const auto to = follow(builds);
  accept_all();
  line("buildLogs")->say(R"({"id":"1","type":"complete"})");
  consume_messages();
  // The last lines were not in it.
  build(2, "b2");
  pass(4s);
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / b2");
  deployment().status = "SUCCESS";
  pass(30s, 1s);
  const auto calls = railway->count("buildLogs");
  pass(60s, 1s);
  CAF_CHECK_EQUAL(railway->count("buildLogs"), calls);
  CAF_CHECK(!to->dropped);
}

CAF_TEST(messages are taken one by one) {
  start();
  const auto to = follow(deploys);
  accept_all();
  const auto x = line("deploymentLogs");
  const auto before = x->taken;
  for (auto i = 0; i < 5; ++i)
    say_deploy(i, std::to_string(i));
  CAF_CHECK_EQUAL(x->taken, before + 5);
}

CAF_TEST(a stream that floods while the lane is read is dropped) {
  start();
  const auto to = follow(deploys);
  railway->hold = [](const provider::call&) {
    return true;
  };
  accept_all();
  const auto x = line("deploymentLogs");
  auto many = std::vector<railway_logs::line>{};
  for (auto i = 0; i < 4'000; ++i)
    many.push_back({at(i), std::to_string(i), "info"});
  for (auto i = 0; i < 3; ++i)
    say(x, "deploymentLogs", many);
  CAF_CHECK(x->closed);
}

CAF_TEST(a line that comes late is shown out of turn) {
  start();
  const auto to = follow(deploys);
  accept_all();
  say_deploy(10, "ten");
  say_deploy(20, "twenty");
  say_deploy(15, "fifteen");
  CAF_CHECK_EQUAL(join(to->messages()), "ten / twenty / fifteen");
  // Its cursor does not go back.
  CAF_CHECK_EQUAL(to->lines[2].cursor, to->lines[1].cursor);
  // Whoever reads afterwards finds it in its place.
  CAF_CHECK_EQUAL(join(get_messages(deploys)), "ten / fifteen / twenty");
}

CAF_TEST(no secret of the subscription is streamed) {
  secret("TELEGRAM", R"({"botToken": "telegram-token"})");
  start();
  const auto to = follow(deploys);
  accept_all();
  say_deploy(1, "t=telegram-\x1b[1mtoken railway-token");
  CAF_CHECK_EQUAL(join(to->messages()), "t=*** ***");
}

// -- cursors
// -----------------------------------------------------------------------

CAF_TEST(a reader who comes back goes on behind the last line) {
  build(1, "b1");
  deploy(2, "d1");
  event(3, "e1");
  start();
  const auto first = follow();
  accept_all();
  say_deploy(4, "d2");
  deploy(4, "d2");
  CAF_CHECK_EQUAL(join(first->messages()), "b1 / d1 / e1 / d2");
  for (std::size_t i = 0; i < first->lines.size(); ++i) {
    const auto again = follow(all, first->lines[i].cursor);
    auto rest = first->messages();
    rest.erase(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    CAF_CHECK_EQUAL(join(again->messages()), join(rest));
  }
  // Pages and streams share their cursors.
  CAF_CHECK_EQUAL(join(get_messages(all, first->lines[1].cursor)), "e1 / d2");
  CAF_CHECK_EQUAL(join(follow(all, get(at_most(2)).next_cursor)->messages()),
                  "e1 / d2");
}

CAF_TEST(without a cursor only the newest lines are repeated) {
  options.tail_lines = 10;
  for (auto i = 0; i < 100; ++i)
    deploy(i, std::to_string(i));
  start();
  auto to = follow(deploys);
  // One more than asked for is what the provider gives.
  CAF_CHECK_EQUAL(to->lines.size(), 10u);
  CAF_CHECK_EQUAL(to->lines.front().message, "90");
  pass(30s, 1s);
  to = follow(deploys);
  CAF_CHECK_EQUAL(to->lines.size(), 10u);
  CAF_CHECK_EQUAL(to->lines.front().message, "90");
  // Also where all of it is known.
  CAF_CHECK_EQUAL(get(deploys).lines.size(), 100u);
  CAF_CHECK_EQUAL(follow(deploys)->lines.size(), 10u);
}

CAF_TEST(an old cursor is caught up with in pieces) {
  options.answer_lines_max = 30;
  options.answer_lines_less = 30;
  options.tail_lines = 10;
  for (auto i = 0; i < 500; ++i)
    deploy(i * 50, std::to_string(i));
  start();
  const auto cursor = get({false, true, false, 1}).next_cursor;
  const auto live = follow(deploys);
  const auto old = follow(deploys, cursor);
  pass(2s);
  CAF_REQUIRE_EQUAL(old->lines.size(), 499u);
  for (auto i = 0; i < 499; ++i)
    CAF_CHECK_EQUAL(old->lines[static_cast<std::size_t>(i)].message,
                    std::to_string(i + 1));
  CAF_CHECK_EQUAL(live->lines.size(), 10u);
}

CAF_TEST(random followers see every line once) {
  auto dice = std::mt19937_64{31};
  const auto below = [&](std::uint64_t n) {
    return static_cast<std::int64_t>(dice() % n);
  };
  for (auto round = 0; round < 40; ++round) {
    logbook_fixture x;
    x.options.answer_lines_max = 60;
    x.options.answer_lines_less = 60;
    x.deployment().status = "BUILDING";
    x.put(phase::deploying, "env-1", "d-1");
    x.start();
    auto number = 0;
    auto written = std::set<std::string>{};
    auto last = logbook_fixture::at(0);
    auto seen = std::multiset<std::string>{};
    auto cursor = std::string{};
    auto reader = x.follow();
    auto read = std::size_t{0};
    for (auto step = 0; step < 120; ++step) {
      switch (below(8)) {
        case 0: // The reader comes back.
          reader->state = follower_state::gone;
          x.pass(1s);
          for (const auto& line : reader->lines) {
            seen.insert(line.message);
            cursor = line.cursor;
          }
          reader = x.follow(logbook_fixture::all, cursor);
          break;
        case 1: // The sockets break.
          for (const auto& line : x.sockets->living())
            if (below(2) == 0)
              line->end(websocket_end::lost);
          x.consume_messages();
          break;
        case 2:
          x.accept_all();
          break;
        case 3:
          x.event(step, std::to_string(++number));
          written.insert(std::to_string(number));
          break;
        case 4:
          x.pass(millis{below(4'000)});
          break;
        default: {
          // A line or some, stored at once, streamed where there is a stream.
          const auto kind = below(2) == 0 ? "buildLogs" : "deploymentLogs";
          auto& to = kind == std::string_view{"buildLogs"}
                       ? x.deployment().build
                       : x.deployment().deploy;
          auto lines = std::vector<railway_logs::line>{};
          for (auto i = below(5); i >= 0; --i) {
            last = std::max(last, provider::to_nanos(x.time.now()))
                   + below(2) * below(3'000'000);
            lines.push_back({last, std::to_string(++number), "info"});
            written.insert(std::to_string(number));
          }
          to.insert(to.end(), lines.begin(), lines.end());
          if (const auto line = x.line(kind); line && line->open)
            x.say(line, kind, lines);
          x.pass(millis{below(30)});
        }
      }
      read = reader->lines.size();
    }
    x.pass(30s, 500ms);
    for (const auto& line : reader->lines)
      seen.insert(line.message);
    auto once = std::set<std::string>{seen.begin(), seen.end()};
    if (once != written || seen.size() != once.size())
      CAF_FAIL("round " << round << ": " << seen.size() << " seen, "
                        << once.size() << " of them once, of " << written.size()
                        << "; the last reader read " << read);
  }
}

// -- our own events
// ------------------------------------------------------------------

CAF_TEST(events come within a second and cost one query for all) {
  start();
  auto some = std::vector<watching_ptr>{};
  for (auto i = 0; i < 10; ++i)
    some.push_back(follow(events));
  event(1, "e1");
  pass(1s);
  for (const auto& x : some)
    CAF_CHECK_EQUAL(join(x->messages()), "e1");
  const auto before = store().queries;
  pass(10s);
  // One look for events a second, and the row now and then.
  CAF_CHECK_LESS_OR_EQUAL(store().queries, before + 12);
  CAF_CHECK(store().queries >= before + 10);
}

CAF_TEST(a long history is replayed to the end) {
  for (auto i = 0; i < 1'200; ++i)
    event(i, std::to_string(i));
  start();
  const auto to = follow(events);
  pass(2s);
  CAF_REQUIRE_EQUAL(to->lines.size(), 1'200u);
  CAF_CHECK_EQUAL(to->lines.back().message, "1199");
  // Somebody who comes later with a place of their own.
  const auto other = follow(events, to->lines[1'100].cursor);
  pass(1s);
  CAF_CHECK_EQUAL(other->lines.size(), 99u);
  CAF_CHECK_EQUAL(to->lines.size(), 1'200u);
}

CAF_TEST(a store that is down for a while costs a while) {
  start();
  const auto to = follow(events);
  db->query_fault = [](const store_job&) {
    return errc::database_down;
  };
  event(1, "e1");
  pass(5s);
  CAF_CHECK(to->lines.empty());
  CAF_CHECK(!to->dropped);
  db->query_fault = nullptr;
  pass(2s);
  CAF_CHECK_EQUAL(join(to->messages()), "e1");
}

// -- what the row says
// ---------------------------------------------------------------

CAF_TEST(a new deployment is followed by itself) {
  build(1, "b1");
  start();
  const auto to = follow();
  accept_all();
  const auto old = line("deploymentLogs");
  railway->environments["env-1"] = {{"s-1", "web", "d-2"}};
  deployment("d-2").status = "BUILDING";
  deployment("d-2").build.push_back({at(9'000), "second build", "info"});
  put(phase::deploying, "env-1", "d-2", 2);
  pass(7s);
  CAF_CHECK_EQUAL(join(to->messages()), "b1 / second build");
  CAF_CHECK(old->closed);
  accept_all();
  CAF_CHECK(line("buildLogs", "d-2") != nullptr);
  say(line("deploymentLogs", "d-2"), "deploymentLogs",
      {{at(10'000), "second run", "info"}});
  CAF_CHECK_EQUAL(to->messages().back(), "second run");
}

CAF_TEST(whoever follows from the queue on sees all of it) {
  put(phase::queued, "", "");
  event(1, "paid");
  start();
  const auto to = follow();
  CAF_CHECK_EQUAL(join(to->messages()), "paid");
  pass(10s);
  CAF_CHECK(railway->calls.empty());
  deployment().status = "BUILDING";
  for (auto i = 0; i < 20; ++i)
    build(20'000 + i, std::to_string(i));
  put(phase::deploying, "env-1", "d-1");
  pass(7s);
  CAF_CHECK_EQUAL(to->lines.size(), 21u);
}

CAF_TEST(a running instance is left in peace) {
  start();
  const auto to = follow();
  accept_all();
  pass(2s);
  const auto before = railway->calls.size();
  pass(600s, 1s);
  // A look at the environment and at the live lane each minute.
  CAF_CHECK_LESS_OR_EQUAL(railway->calls.size(), before + 22);
}

// -- readers
// -------------------------------------------------------------------------

CAF_TEST(readers who are gone are noticed and leave nothing behind) {
  start();
  const auto silent = follow();
  const auto at_beat = follow();
  const auto at_line = follow(deploys);
  accept_all();
  silent->state = follower_state::gone;
  pass(1s);
  CAF_CHECK(silent->dropped);
  at_line->state = follower_state::gone;
  say_deploy(1, "d1");
  CAF_CHECK(at_line->dropped);
  CAF_CHECK(at_line->lines.empty());
  CAF_CHECK_EQUAL(join(at_beat->messages()), "d1");
}

CAF_TEST(a silent log has heartbeats) {
  start();
  const auto to = follow(events);
  CAF_CHECK_EQUAL(to->beats, 1);
  pass(60s, 500ms);
  CAF_CHECK(to->beats >= 4);
  CAF_CHECK_LESS_OR_EQUAL(to->beats, 5);
  // Lines are as good.
  for (auto i = 0; i < 20; ++i) {
    event(i, "e");
    pass(1s);
  }
  CAF_CHECK_LESS_OR_EQUAL(to->beats, 6);
}

CAF_TEST(a busy reader is waited for and nothing is lost) {
  for (auto i = 0; i < 50; ++i)
    event(i, std::to_string(i));
  start();
  const auto to = std::make_shared<watching>();
  const auto slow = follow(events);
  CAF_CHECK_EQUAL(slow->lines.size(), 50u);
  slow->room = 3;
  for (auto i = 50; i < 80; ++i)
    event(i, std::to_string(i));
  pass(2s);
  CAF_CHECK_EQUAL(slow->lines.size(), 53u);
  slow->room = 10;
  pass(200ms);
  CAF_CHECK_EQUAL(slow->lines.size(), 63u);
  slow->room.reset();
  pass(200ms);
  CAF_CHECK_EQUAL(slow->lines.size(), 80u);
  CAF_CHECK_EQUAL(slow->lines.back().message, "79");
}

CAF_TEST(nobody follows for ever) {
  start();
  const auto to = follow();
  accept_all();
  pass(3'590s, 1s);
  CAF_CHECK(!to->dropped);
  pass(20s, 1s);
  CAF_CHECK(to->dropped);
  CAF_CHECK_EQUAL(aut().streams(), 0u);
}

CAF_TEST(followers are bounded and refused in order) {
  options.followers_max = 3;
  options.followers_each_max = 2;
  start();
  const auto a = follow();
  const auto b = follow();
  const auto c = follow();
  CAF_CHECK_EQUAL(c->refused, errc::overloaded);
  CAF_CHECK_EQUAL(c->beats, 0);
  CAF_CHECK(c->dropped);
  id = make_subscription_id(day_one, 2);
  put(phase::running, "env-1", "d-1");
  const auto d = follow();
  CAF_CHECK_EQUAL(d->refused, errc::none);
  id = make_subscription_id(day_one, 3);
  put(phase::running, "env-1", "d-1");
  CAF_CHECK_EQUAL(follow()->refused, errc::overloaded);
  d->state = follower_state::gone;
  pass(1s);
  CAF_CHECK_EQUAL(follow()->refused, errc::none);
}

CAF_TEST(a cursor that was never handed out is refused) {
  start();
  const auto to = follow(all, "17");
  CAF_CHECK_EQUAL(to->refused, errc::invalid_cursor);
  CAF_CHECK_EQUAL(to->beats, 0);
  CAF_CHECK(to->dropped);
}

// -- trouble
// -----------------------------------------------------------------------

CAF_TEST(trouble is told once and passes) {
  event(1, "paid");
  railway->says = [](const provider::call&) {
    return railway_logs::fail(answer_class::in_doubt, "HTTP 502");
  };
  start();
  const auto to = follow();
  CAF_CHECK_EQUAL(join(to->messages()),
                  "paid / The provider's build and deploy log cannot be read "
                  "now: the provider does not answer");
  CAF_CHECK_EQUAL(to->lines[1].level, "warn");
  pass(60s, 1s);
  CAF_CHECK_EQUAL(to->lines.size(), 2u);
  // Patiently.
  CAF_CHECK_LESS_OR_EQUAL(railway->calls.size(), 30u);
  railway->says = nullptr;
  build(2, "b1");
  pass(40s, 1s);
  CAF_CHECK_EQUAL(to->lines.back().message, "b1");
  CAF_CHECK_EQUAL(to->lines.size(), 3u);
  // The next time it is news again.
  railway->says = [](const provider::call&) {
    return railway_logs::fail(answer_class::in_doubt, "HTTP 502");
  };
  pass(120s, 1s);
  CAF_CHECK_EQUAL(to->lines.size(), 4u);
}

CAF_TEST(a provider that hangs does not hold up the events) {
  event(1, "paid");
  railway->hold = [](const provider::call&) {
    return true;
  };
  start();
  const auto to = follow();
  pass(5s);
  CAF_CHECK(to->lines.empty());
  pass(7s);
  CAF_REQUIRE_EQUAL(to->lines.size(), 2u);
  CAF_CHECK_EQUAL(to->lines[0].message, "paid");
  CAF_CHECK_EQUAL(to->lines[1].message,
                  "The provider's build and deploy log cannot be read now: the "
                  "provider takes too long to answer");
  event(2, "more");
  pass(2s);
  CAF_CHECK_EQUAL(to->lines.back().message, "more");
  build(3, "b1");
  railway->hold = nullptr;
  railway->release_all();
  consume_messages();
  pass(1s);
  CAF_CHECK_EQUAL(to->lines.back().message, "b1");
}

CAF_TEST_FIXTURE_SCOPE_END()
