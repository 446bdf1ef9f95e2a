#define CAF_SUITE provider.caller

#include "http/provider/caller.hpp"

#include "tests/support/actor_fixture.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <deque>

using namespace slipway;
using namespace slipway::test;
using namespace slipway::provider;

namespace {

namespace json = boost::json;

client::http_response data() {
  return {200, {}, R"({"data":{"it":{"id":"x"}}})"};
}

/// The wire, with everything that left and the answers in a test's hand.
struct held_wire final : client::outbound {
  struct sent {
    client::http_request request;
    client::http_callback done;
    std::string name; ///< The variable `name`.
    timestamp at;
  };

  void send(client::http_request request, client::http_callback done) override {
    const auto body = json::parse(request.body);
    auto x
      = sent{std::move(request), std::move(done),
             std::string{body.at("variables").at("name").as_string()}, now()};
    names += x.name;
    times.push_back(x.at);
    last = x.request;
    if (hold) {
      under_way.push_back(std::move(x));
      return;
    }
    x.done(says ? says(x.name) : client::http_outcome{data()});
  }

  void answer(client::http_outcome with = data()) {
    auto x = std::move(under_way.front());
    under_way.pop_front();
    x.done(std::move(with));
  }

  std::function<timestamp()> now;
  std::function<client::http_outcome(const std::string&)> says;
  bool hold = false;
  std::deque<sent> under_way;
  std::string names;
  std::vector<timestamp> times;
  client::http_request last;
};

/// How one call ended.
struct ending {
  int times = 0;
  answer how;
  timestamp at{};
};

struct fixture : actor_fixture {
  std::shared_ptr<held_wire> wire = std::make_shared<held_wire>();
  caller_options options;
  caller_actor it;
  std::map<std::string, ending> ends;

  fixture() {
    wire->now = [this] {
      return time.now();
    };
    options.network = wire;
    options.settings.endpoint = "https://railway.example/graphql/v2";
    options.settings.token = config::secret{"t0ken"};
  }

  ~fixture() {
    stop();
  }

  void start() {
    it = sys.spawn(caller, environment_ptr{env}, options);
    consume_messages();
  }

  void stop() {
    if (!it)
      return;
    caf::anon_send_exit(it, caf::exit_reason::kill);
    it = nullptr;
    consume_messages();
  }

  call_ptr make(const std::string& name, urgency how = urgency::step,
                millis patience = 24h) {
    auto out = std::make_shared<provider::call>();
    out->field = "it";
    out->document = "query It { it }";
    out->variables = {{"name", name}};
    out->how = how;
    out->expires = time.now() + patience;
    out->done = [this, name](answer how) {
      auto& end = ends[name];
      ++end.times;
      end.how = std::move(how);
      end.at = time.now();
    };
    return out;
  }

  void post(call_ptr what) {
    caf::anon_send(it, std::move(what));
    consume_messages();
  }

  void ask(const std::string& name, urgency how = urgency::step,
           millis patience = 24h) {
    post(make(name, how, patience));
  }

  /// Fills the one place of this second, so that the rest has to wait.
  void occupy() {
    ask("-", urgency::removal);
  }

  answer_class end(const std::string& name) {
    CAF_REQUIRE_EQUAL(ends[name].times, 1);
    return ends[name].how.is;
  }

  bool is_counted(const std::string& line) {
    return meters.expose().find(line) != std::string::npos;
  }

  double budget_shown() {
    const auto text = meters.expose();
    const auto name = std::string{"\nslipway_provider_budget_remaining "};
    const auto at = text.find(name);
    CAF_REQUIRE(at != std::string::npos);
    return std::stod(text.substr(at + name.size()));
  }
};

client::http_response throttled(const char* text) {
  return {
    429, {}, std::string{R"({"errors":[{"message":")"} + text + R"("}]})"};
}

const auto shut_out = client::http_response{429, {}, "error code: 1015"};

} // namespace

CAF_TEST_FIXTURE_SCOPE(caller_tests, fixture)

CAF_TEST(a call leaves as Railway wants it) {
  start();
  auto x = make("a");
  x->timeout = 12s;
  x->variables["more"] = json::array{1, "two"};
  post(x);
  const auto& r = wire->last;
  CAF_CHECK_EQUAL(r.method, "POST");
  CAF_CHECK_EQUAL(r.url, "https://railway.example/graphql/v2?source=slipway");
  CAF_CHECK_EQUAL(client::find_header(r.headers, "authorization"),
                  std::string_view{"Bearer t0ken"});
  CAF_CHECK_EQUAL(client::find_header(r.headers, "content-type"),
                  std::string_view{"application/json"});
  CAF_CHECK(r.timeout == 12s);
  CAF_CHECK_EQUAL(json::parse(r.body),
                  json::parse(R"({"query":"query It { it }",)"
                              R"("variables":{"name":"a","more":[1,"two"]}})"));
  CAF_CHECK(end("a") == answer_class::ok);
  CAF_CHECK_EQUAL(ends["a"].how.data.at("it").at("id").as_string(), "x");
  CAF_CHECK(is_counted("slipway_provider_requests_total{operation=\"it\","
                       "outcome=\"ok\"} 1"));
}

CAF_TEST(an endpoint may have a query of its own) {
  options.settings.endpoint = "https://railway.example/v2?a=b";
  start();
  ask("a");
  CAF_CHECK_EQUAL(wire->last.url,
                  "https://railway.example/v2?a=b&source=slipway");
}

CAF_TEST(every end is told once and counted) {
  start();
  wire->says = [](const std::string& name) -> client::http_outcome {
    if (name == "refused")
      return client::http_failure{client::failure_kind::refused, "full"};
    if (name == "lost")
      return client::http_failure{client::failure_kind::in_doubt, "broken"};
    return client::http_response{
      200, {}, R"({"errors":[{"message":"Not Authorized","path":["e1"]}]})"};
  };
  for (auto name : {"refused", "lost", "auth"})
    ask(name);
  CAF_CHECK(end("refused") == answer_class::not_sent);
  CAF_CHECK(end("lost") == answer_class::in_doubt);
  CAF_CHECK(end("auth") == answer_class::auth);
  CAF_CHECK(ends["auth"].how.failed_fields == std::vector<std::string>{"e1"});
  for (auto outcome : {"not_sent", "in_doubt", "auth"})
    CAF_CHECK(is_counted("slipway_provider_requests_total{operation=\"it\","
                         "outcome=\""
                         + std::string{outcome} + "\"} 1"));
}

CAF_TEST(the urgent go first and equals in their order) {
  options.settings.requests_per_second = 1;
  start();
  occupy();
  ask("u", urgency::upkeep);
  ask("w", urgency::watch);
  ask("1", urgency::step);
  ask("R", urgency::removal);
  ask("2", urgency::step);
  ask("r", urgency::reader);
  ask("c", urgency::creation);
  ask("S", urgency::removal);
  CAF_CHECK_EQUAL(wire->names, "-");
  pass(20s);
  CAF_CHECK_EQUAL(wire->names, "-RSc12rwu");
  for (auto i = std::size_t{1}; i < wire->times.size(); ++i)
    CAF_CHECK(wire->times[i] - wire->times[i - 1] > 1s);
}

CAF_TEST(who waits for the hour does not hold up who need not) {
  options.settings.requests_per_hour = 100;
  start();
  for (auto i = 0; i < 70; ++i)
    ask("s", urgency::step);
  pass(10s); // The second's limit is past.
  wire->names.clear();
  ask("u", urgency::upkeep);
  ask("w", urgency::watch);
  pass(2min);
  CAF_CHECK_EQUAL(wire->names, "w");
  CAF_CHECK_EQUAL(ends["u"].times, 0);
  // Until enough of the hour is old.
  pass(61min, 1s);
  CAF_CHECK_EQUAL(wire->names, "wu");
}

CAF_TEST(an hour is never exceeded and nobody is forgotten) {
  options.settings.requests_per_hour = 200;
  start();
  for (auto i = 0; i < 900; ++i)
    ask(std::to_string(i), i % 2 == 0 ? urgency::step : urgency::removal);
  pass(5h, 500ms);
  CAF_CHECK_EQUAL(wire->times.size(), 900u);
  for (auto i = std::size_t{200}; i < wire->times.size(); ++i)
    CAF_CHECK(wire->times[i] - wire->times[i - 200] >= 1h);
  for (auto i = 0; i < 900; ++i)
    CAF_CHECK(end(std::to_string(i)) == answer_class::ok);
}

CAF_TEST(a full queue gives up the least urgent) {
  options.settings.requests_per_second = 1;
  start();
  occupy();
  for (auto i = std::size_t{0}; i < caller_state::waiting_max; ++i)
    ask((i < 10 ? "u" : "s") + std::to_string(i),
        i < 10 ? urgency::upkeep : urgency::step);
  CAF_CHECK_EQUAL(ends.size(), 1u);
  // One in, the latest of the least urgent out.
  ask("r", urgency::removal);
  CAF_CHECK(end("u9") == answer_class::not_sent);
  ask("w", urgency::watch);
  CAF_CHECK(end("u8") == answer_class::not_sent);
  // Nobody is less urgent than who comes: refused.
  ask("x", urgency::upkeep);
  CAF_CHECK(end("x") == answer_class::not_sent);
  CAF_CHECK_EQUAL(ends["w"].times, 0);
  CAF_CHECK_EQUAL(ends["u7"].times, 0);
  // Room again after one has left.
  pass(1'100ms);
  CAF_CHECK_EQUAL(wire->names, "-r");
  ask("y", urgency::upkeep);
  CAF_CHECK_EQUAL(ends["y"].times, 0);
  CAF_CHECK(is_counted("slipway_shed_total{reason=\"provider_queue\"} 3"));
}

CAF_TEST(what has expired does not leave and is told in time) {
  start();
  wire->says = [](const std::string&) -> client::http_outcome {
    return shut_out;
  };
  ask("a");
  ask("b", urgency::removal, 20s);
  pass(19s);
  CAF_CHECK_EQUAL(ends["b"].times, 0);
  // Not only when calls may leave again, after a minute.
  pass(3s);
  CAF_CHECK(end("b") == answer_class::not_sent);
  pass(2min);
  CAF_CHECK_EQUAL(wire->names, "a");
}

CAF_TEST(what is withdrawn does not leave) {
  options.settings.requests_per_second = 1;
  start();
  occupy();
  const auto over = std::make_shared<std::atomic<bool>>(false);
  for (auto name : {"a", "b"}) {
    auto x = make(name, urgency::removal);
    x->withdrawn = over;
    post(x);
  }
  ask("c", urgency::step);
  *over = true;
  pass(1'500ms);
  CAF_CHECK_EQUAL(wire->names, "-c");
  CAF_CHECK(end("a") == answer_class::not_sent);
  CAF_CHECK(end("b") == answer_class::not_sent);
  // While nobody may call it is told all the same.
  wire->says = [](const std::string&) -> client::http_outcome {
    return shut_out;
  };
  pass(1'100ms);
  ask("d");
  ask("f"); // Goes on waiting, ahead of it.
  const auto gone = std::make_shared<std::atomic<bool>>(false);
  auto x = make("e");
  x->withdrawn = gone;
  post(x);
  *gone = true;
  pass(1'200ms);
  CAF_CHECK(end("e") == answer_class::not_sent);
  CAF_CHECK_EQUAL(wire->names, "-cd");
  CAF_CHECK_EQUAL(ends["f"].times, 0);
}

CAF_TEST(what is withdrawn just before its turn does not leave) {
  start();
  wire->says = [](const std::string&) -> client::http_outcome {
    return shut_out;
  };
  ask("a");
  wire->hold = true;
  ask("b");
  pass(61s);
  CAF_CHECK_EQUAL(wire->names, "ab");
  auto x = make("c");
  x->withdrawn = std::make_shared<std::atomic<bool>>(false);
  post(x);
  ask("d");
  // It waits for the answer to the one that goes first.
  *x->withdrawn = true;
  wire->answer();
  consume_messages();
  CAF_CHECK_EQUAL(wire->names, "abd");
  CAF_CHECK(end("c") == answer_class::not_sent);
}

CAF_TEST(who keeps a pace does not hold up who has another) {
  options.settings.requests_per_hour = 1'000;
  start();
  ask("w", urgency::watch);
  ask("W", urgency::watch);
  ask("u", urgency::upkeep);
  CAF_CHECK_EQUAL(wire->names, "wu");
  pass(5s);
  CAF_CHECK_EQUAL(wire->names, "wuW");
}

CAF_TEST(the firewalls page stops everybody for a minute and then one goes first) {
  start();
  wire->says = [](const std::string& name) -> client::http_outcome {
    return name == "a" ? shut_out : data();
  };
  ask("a");
  CAF_CHECK(end("a") == answer_class::blocked);
  wire->hold = true;
  ask("b", urgency::upkeep);
  ask("c", urgency::removal);
  pass(59s);
  CAF_CHECK_EQUAL(wire->names, "a");
  pass(2s);
  CAF_CHECK_EQUAL(wire->names, "ac");
  pass(5s);
  CAF_CHECK_EQUAL(wire->names, "ac");
  wire->answer();
  consume_messages();
  CAF_CHECK_EQUAL(wire->names, "acb");
}

CAF_TEST(a throttle stops everybody for as long as it says) {
  start();
  wire->says = [](const std::string& name) -> client::http_outcome {
    if (name != "a")
      return data();
    auto out = throttled("Rate limit exceeded");
    out.headers.emplace_back("Retry-After", "7");
    return out;
  };
  ask("a");
  ask("b", urgency::removal);
  pass(6'900ms);
  CAF_CHECK_EQUAL(wire->names, "a");
  pass(200ms);
  CAF_CHECK_EQUAL(wire->names, "ab");
}

CAF_TEST(the pause between creations stops nobody here) {
  start();
  wire->says = [](const std::string&) -> client::http_outcome {
    return throttled("You are creating projects too quickly");
  };
  ask("a", urgency::creation);
  CAF_CHECK(end("a") == answer_class::throttled);
  ask("b");
  CAF_CHECK_EQUAL(wire->names, "ab");
}

CAF_TEST(the budget is shown and what others spend is seen) {
  options.settings.requests_per_hour = 1'000;
  start();
  CAF_CHECK_EQUAL(budget_shown(), 1'000.0);
  ask("a");
  CAF_CHECK_EQUAL(budget_shown(), 999.0);
  wire->says = [](const std::string&) -> client::http_outcome {
    auto out = data();
    out.headers = {{"X-RateLimit-Limit", "1000"},
                   {"X-RateLimit-Remaining", "300"},
                   {"X-RateLimit-Reset", "600"}};
    return out;
  };
  ask("b");
  CAF_CHECK_EQUAL(budget_shown(), 300.0);
  wire->names.clear();
  ask("u", urgency::upkeep);
  CAF_CHECK_EQUAL(wire->names, "");
  // They count anew, and later our own calls are old: shown without a call.
  wire->says = nullptr;
  pass(611s, 1s);
  CAF_CHECK_EQUAL(wire->names, "u");
  CAF_CHECK_EQUAL(budget_shown(), 997.0);
  pass(62min, 5s);
  CAF_CHECK_EQUAL(budget_shown(), 1'000.0);
}

CAF_TEST(whoever still waits is told when the actor ends) {
  options.settings.requests_per_second = 1;
  start();
  wire->hold = true;
  occupy();
  ask("a");
  ask("b", urgency::upkeep);
  stop();
  CAF_CHECK(end("a") == answer_class::not_sent);
  CAF_CHECK(end("b") == answer_class::not_sent);
  // What has left is answered by the wire, also after that.
  CAF_CHECK_EQUAL(ends["-"].times, 0);
  wire->answer();
  CAF_CHECK(end("-") == answer_class::ok);
}

CAF_TEST(nothing that changes anything leaves while automation is off) {
  options.settings.requests_per_second = 1;
  start();
  occupy();
  auto waiting = make("w");
  waiting->mutates = true;
  post(waiting); // Waits for the budget, and is overtaken by the switch.
  automation(false);
  auto fresh = make("f");
  fresh->mutates = true;
  post(fresh);
  ask("r");
  pass(5s);
  CAF_CHECK(end("w") == answer_class::not_sent);
  CAF_CHECK(end("f") == answer_class::not_sent);
  CAF_CHECK_EQUAL(ends["f"].how.message, "nothing may be changed now");
  // To look changes nothing.
  CAF_CHECK(end("r") == answer_class::ok);
  CAF_CHECK_EQUAL(wire->names, "-r");
  automation(true);
  auto later = make("l");
  later->mutates = true;
  post(later);
  pass(2s);
  CAF_CHECK(end("l") == answer_class::ok);
}

CAF_TEST_FIXTURE_SCOPE_END()
