#define CAF_SUITE provider.subscription

#include "http/provider/subscription.hpp"

#include "http/provider/json_text.hpp"
#include "tests/support/fake_websocket.hpp"
#include "tests/support/websocket_peer.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/test/unit_test.hpp>

#include <future>

using namespace slipway;
using namespace slipway::provider;
using namespace std::chrono_literals;
using slipway::client::websocket_end;
using slipway::test::fake_websockets;

namespace json = boost::json;

// Goal: the protocol to the letter, and every way in which it can end told in
// the word that says what there is to do about it.

namespace {

/// Remembers what the owner was told.
struct told {
  int started = 0;
  std::vector<std::string> data;
  std::vector<std::string> ends;

  subscription_handlers handlers() {
    return {[this] {
              ++started;
            },
            [this](const json::value& x) {
              data.push_back(json::serialize(x));
            },
            [this](subscription_end how, const std::string& why) {
              ends.push_back(std::string{to_string(how)} + ": " + why);
            }};
  }
};

subscription_request wanted() {
  auto out = subscription_request{};
  out.endpoint = "https://railway.test/graphql/v2";
  out.token = "rw-token";
  out.document = "subscription L($id: String!) { x(id: $id) { y } }";
  out.variables = {{"id", "d-1"}};
  return out;
}

struct fixture {
  fake_websockets network;
  told owner;
  std::shared_ptr<subscription> aut
    = subscribe(network, wanted(), owner.handlers());

  fake_websockets::line& line() {
    return *network.lines.front();
  }

  void start() {
    line().accept();
    line().say(R"({"type":"connection_ack"})");
  }

  std::string end() {
    return owner.ends.size() == 1 ? owner.ends.front() : "(none)";
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(subscription_tests, fixture)

CAF_TEST(the token goes in the head and not in the talk) {
  CAF_REQUIRE_EQUAL(network.lines.size(), 1u);
  const auto& request = line().request;
  CAF_CHECK_EQUAL(request.url, "wss://railway.test/graphql/v2?source=slipway");
  CAF_CHECK_EQUAL(request.protocol, "graphql-transport-ws");
  CAF_REQUIRE_EQUAL(request.headers.size(), 1u);
  CAF_CHECK_EQUAL(request.headers[0].first, "Authorization");
  CAF_CHECK_EQUAL(request.headers[0].second, "Bearer rw-token");
  CAF_CHECK(line().sent.empty());
  start();
  for (const auto& x : line().sent)
    CAF_CHECK(x.find("rw-token") == std::string::npos);
}

CAF_TEST(the subscription follows the acknowledgement) {
  line().accept();
  CAF_REQUIRE_EQUAL(line().sent.size(), 1u);
  CAF_CHECK_EQUAL(line().sent[0], R"({"type":"connection_init"})");
  CAF_CHECK(line().deadline == 10s);
  CAF_CHECK_EQUAL(owner.started, 0);
  line().say(R"({"type":"connection_ack","payload":{}})");
  CAF_REQUIRE_EQUAL(line().sent.size(), 2u);
  CAF_CHECK(json::parse(line().sent[1])
            == json::parse(R"({"id":"1","type":"subscribe","payload":{
                 "query":"subscription L($id: String!) { x(id: $id) { y } }",
                 "variables":{"id":"d-1"}}})"));
  CAF_CHECK(line().deadline == std::nullopt);
  CAF_CHECK_EQUAL(owner.started, 1);
  // Whoever says it twice gets no second subscription.
  line().say(R"({"type":"connection_ack"})");
  CAF_CHECK_EQUAL(line().sent.size(), 2u);
  CAF_CHECK_EQUAL(owner.started, 1);
}

CAF_TEST(pings are answered and do not count as readiness) {
  line().accept();
  line().say(R"({"type":"ping"})");
  CAF_CHECK(line().deadline == 10s);
  CAF_CHECK_EQUAL(line().sent.back(), R"({"type":"pong"})");
  line().say(R"({"type":"pong"})");
  CAF_CHECK_EQUAL(line().sent.size(), 2u);
  CAF_CHECK_EQUAL(line().taken, 2u);
  line().end(websocket_end::lost, 0, "railway.test: over its deadline");
  CAF_CHECK_EQUAL(end(), "lost: railway.test: over its deadline");
}

CAF_TEST(data goes to the owner who says when it is dealt with) {
  start();
  const auto before = line().taken;
  line().say(R"({"id":"1","type":"next","payload":{"data":{"x":[{"y":1}]}}})");
  line().say(R"({"id":"1","type":"next","payload":{"data":{"x":[]}}})");
  CAF_REQUIRE_EQUAL(owner.data.size(), 2u);
  CAF_CHECK_EQUAL(owner.data[0], R"({"x":[{"y":1}]})");
  CAF_CHECK_EQUAL(line().taken, before);
  aut->taken();
  CAF_CHECK_EQUAL(line().taken, before + 1);
  CAF_CHECK(owner.ends.empty());
}

CAF_TEST(a complete one has nothing more to say) {
  start();
  line().say(R"({"id":"1","type":"complete"})");
  CAF_CHECK_EQUAL(end(), "complete: complete");
  CAF_CHECK(line().closed);
  // What comes afterwards is nothing to anybody.
  line().say(R"({"id":"1","type":"next","payload":{"data":{"x":[]}}})");
  line().end(websocket_end::finished);
  CAF_CHECK_EQUAL(owner.ends.size(), 1u);
  CAF_CHECK(owner.data.empty());
}

CAF_TEST(errors are refusals in the words of the provider) {
  start();
  line().say(R"({"id":"1","type":"error","payload":[
               {"message":"Deployment\u0007not found"}]})");
  CAF_CHECK_EQUAL(end(), "refused: Deployment not found");
  CAF_CHECK(line().closed);
}

CAF_TEST(errors instead of data are refusals as well) {
  start();
  line().say(R"({"id":"1","type":"next","payload":{"data":null,"errors":[
               {"message":"Not Authorized"}]}})");
  CAF_CHECK_EQUAL(end(), "refused: Not Authorized");
}

CAF_TEST(who closes with a refusal has refused) {
  for (const auto code : {4400, 4401, 4403}) {
    fixture x;
    x.start();
    x.line().end(websocket_end::closed, code, "h: closed");
    CAF_CHECK_EQUAL(x.end(), "refused: h: closed");
  }
  for (const auto code : {1000, 1001, 1011, 1012, 4408, 4429, 4500}) {
    fixture x;
    x.start();
    x.line().end(websocket_end::closed, code, "h: closed");
    CAF_CHECK_EQUAL(x.end(), "lost: h: closed");
  }
  for (const auto code : {401, 403}) {
    fixture x;
    x.line().end(websocket_end::declined, code, "h: declined");
    CAF_CHECK_EQUAL(x.end(), "refused: h: declined");
  }
  for (const auto code : {404, 429, 502}) {
    fixture x;
    x.line().end(websocket_end::declined, code, "h: declined");
    CAF_CHECK_EQUAL(x.end(), "lost: h: declined");
  }
}

CAF_TEST(every other end is a loss) {
  for (const auto how : {websocket_end::refused, websocket_end::unreachable,
                         websocket_end::lost, websocket_end::misbehaved}) {
    fixture x;
    x.line().end(how, 0, "h: why");
    CAF_CHECK_EQUAL(x.end(), "lost: h: why");
  }
}

CAF_TEST(another protocol is no reason to go on) {
  for (const auto* text :
       {"", "no JSON", "[]", "{}", R"({"type":"ka"})", R"({"type":7})"}) {
    fixture x;
    x.line().accept();
    x.line().say(text);
    CAF_CHECK_EQUAL(x.end(), "lost: the other side speaks another protocol");
    CAF_CHECK(x.line().closed);
  }
}

CAF_TEST(dropping it closes the connection) {
  start();
  aut.reset();
  CAF_CHECK(line().closed);
  line().say(R"({"id":"1","type":"next","payload":{"data":{"x":[]}}})");
  CAF_CHECK(owner.data.empty());
  line().end(websocket_end::finished, 0, "finished");
  CAF_CHECK_EQUAL(end(), "finished: finished");
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST(a network may be faster than its caller) {
  fake_websockets network;
  network.on_open = [](fake_websockets::line& x) {
    x.accept();
  };
  told owner;
  const auto aut = subscribe(network, wanted(), owner.handlers());
  CAF_REQUIRE_EQUAL(network.lines.front()->sent.size(), 1u);
  network.lines.front()->say(R"({"type":"connection_ack"})");
  CAF_CHECK_EQUAL(owner.started, 1);
}

CAF_TEST(addresses follow from the endpoint) {
  CAF_CHECK_EQUAL(subscription_url("https://a.b/graphql/v2"),
                  "wss://a.b/graphql/v2?source=slipway");
  CAF_CHECK_EQUAL(subscription_url("http://127.0.0.1:9/x?y=1"),
                  "ws://127.0.0.1:9/x?y=1&source=slipway");
  CAF_CHECK_EQUAL(subscription_url("https://a.b/x#frag"),
                  "wss://a.b/x?source=slipway");
  CAF_CHECK_EQUAL(subscription_url("ftp://a.b"), "");
  CAF_CHECK_EQUAL(subscription_url(""), "");
}

CAF_TEST(half a pair of UTF - 16 costs a character and not the answer) {
  const auto read = [](std::string_view text) {
    const auto value = parse_json(text);
    return value ? json::serialize(*value) : std::string{"none"};
  };
  CAF_CHECK_EQUAL(read(R"(["cut \ud83d"])"), "[\"cut \ufffd\"]");
  CAF_CHECK_EQUAL(read(R"(["\ude80 cut"])"), "[\"\ufffd cut\"]");
  CAF_CHECK_EQUAL(read(R"(["\ud83d\ud83d\ude80\ude80"])"),
                  "[\"\ufffd🚀\ufffd\"]");
  CAF_CHECK_EQUAL(read(R"(["\ud83d", "\ud83d\ude80", "\\ud83d", "\\\ud83d"])"),
                  "[\"\ufffd\",\"🚀\",\"\\\\ud83d\",\"\\\\\ufffd\"]");
  CAF_CHECK_EQUAL(read(R"({"a":"\uD83D\u0041"})"), "{\"a\":\"\ufffdA\"}");
  CAF_CHECK_EQUAL(read(R"(["\ud8)"), "none");
  CAF_CHECK_EQUAL(read(R"(["\ud83d")"), "none");
  CAF_CHECK_EQUAL(read("[1,"), "none");
}

CAF_TEST(lines come over a real connection) {
  auto seen = std::string{};
  test::websocket_peer peer{[&](test::websocket_talk& talk) {
    seen = talk.header("Authorization");
    talk.accept("graphql-transport-ws");
    if (talk.read() != R"({"type":"connection_init"})")
      return;
    talk.write(R"({"type":"ping"})");
    talk.write(R"({"type":"connection_ack"})");
    talk.read(); // pong
    talk.read(); // subscribe
    for (auto i = 0; i < 100; ++i)
      talk.write(R"({"id":"1","type":"next","payload":{"data":{"i":)"
                 + std::to_string(i) + "}}}");
    talk.write(R"({"id":"1","type":"complete"})");
    talk.read();
  }};
  client::websocket_client network;
  auto request = wanted();
  request.endpoint
    = "http://127.0.0.1:" + std::to_string(peer.port()) + "/graphql/v2";
  auto done = std::promise<std::string>{};
  auto data = std::vector<std::string>{};
  auto* self = static_cast<subscription*>(nullptr);
  auto handle = std::promise<subscription*>{};
  auto known = handle.get_future().share();
  const auto aut = subscribe(network, request,
                             {[] {},
                              [&](const json::value& x) {
                                self = known.get();
                                data.push_back(json::serialize(x));
                                self->taken();
                              },
                              [&](subscription_end how, const std::string&) {
                                done.set_value(std::string{to_string(how)});
                              }});
  handle.set_value(aut.get());
  auto end = done.get_future();
  CAF_REQUIRE(end.wait_for(20s) == std::future_status::ready);
  CAF_CHECK_EQUAL(end.get(), "complete");
  CAF_CHECK_EQUAL(seen, "Bearer rw-token");
  CAF_REQUIRE_EQUAL(data.size(), 100u);
  CAF_CHECK_EQUAL(data.back(), R"({"i":99})");
}
