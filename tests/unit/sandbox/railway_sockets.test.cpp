#define CAF_SUITE sandbox.railway_sockets

#include "tests/unit/sandbox/railway_fixture.hpp"

#include <algorithm>

using namespace railway_test;
using loopback::eventually;

namespace {

/// A WebSocket client that says just what it is told to.
class peer {
public:
  explicit peer(std::uint16_t port,
                std::string_view authorization = "Bearer token-1",
                std::string_view protocol = "graphql-transport-ws")
    : wire_{port} {
    auto text = std::string{"GET /graphql/v2?source=test HTTP/1.1\r\nHost: "
                            "x\r\nConnection: Upgrade\r\nUpgrade: "
                            "websocket\r\nSec-WebSocket-Version: "
                            "13\r\nSec-WebSocket-Key: "
                            "dGhlIHNhbXBsZSBub25jZQ==\r\n"};
    if (!authorization.empty())
      text += "Authorization: " + std::string{authorization} + "\r\n";
    if (!protocol.empty())
      text += "Sec-WebSocket-Protocol: " + std::string{protocol} + "\r\n";
    wire_.send(text + "\r\n");
    head_ = wire_.next(true);
  }

  [[nodiscard]] const loopback::answer& head() const {
    return head_;
  }

  void say(std::string_view text) {
    frame(0x1, text);
  }

  void frame(unsigned char opcode, std::string_view text) {
    auto bytes = std::string{static_cast<char>(0x80U | opcode)};
    CAF_REQUIRE(text.size() < 65'536);
    if (text.size() < 126) {
      bytes += static_cast<char>(0x80U | text.size());
    } else {
      bytes += static_cast<char>(0x80U | 126U);
      bytes += static_cast<char>(text.size() >> 8U);
      bytes += static_cast<char>(text.size() & 0xFFU);
    }
    // A mask of nothing leaves the text as it is.
    bytes += std::string(4, '\0');
    bytes += text;
    wire_.send(bytes);
  }

  /// The next message; `close CODE` for an end, empty when nothing comes.
  std::string hear(std::chrono::milliseconds within = 5s) {
    for (;;) {
      const auto head = wire_.take(2, within);
      if (head.size() < 2)
        return "";
      const auto opcode = static_cast<unsigned char>(head[0]) & 0x0FU;
      auto size = static_cast<std::size_t>(head[1]);
      if (size == 126) {
        const auto more = wire_.take(2);
        size = (static_cast<unsigned char>(more[0]) << 8U)
               | static_cast<unsigned char>(more[1]);
      }
      CAF_REQUIRE(size < 65'536);
      const auto text = wire_.take(size);
      if (opcode == 0x1)
        return text;
      if (opcode == 0xA)
        return "pong " + text;
      if (opcode != 0x8)
        continue;
      frame(0x8, text);
      return "close "
             + std::to_string((static_cast<unsigned char>(text[0]) << 8U)
                              | static_cast<unsigned char>(text[1]));
    }
  }

  /// Introduces itself.
  void greet() {
    say(R"({"type":"connection_init"})");
    CAF_CHECK_EQUAL(hear(), R"({"type":"connection_ack"})");
  }

  bool closes() {
    return wire_.closes();
  }

private:
  loopback::client wire_;
  loopback::answer head_;
};

struct listening : fixture {
  static std::string
  wanted(std::string_view id, std::string_view field,
         const std::string& deployment, std::string_view more = "") {
    return json::serialize(json::object{
      {"id", id},
      {"type", "subscribe"},
      {"payload",
       json::object{
         {"query", "subscription L($id: String!) { lines: " + std::string{field}
                     + "(deploymentId: $id, filter: \"\"" + std::string{more}
                     + ") { timestamp message severity } }"},
         {"variables", json::object{{"id", deployment}}}}}});
  }

  /// The lines of a `next` message, joined by `|`.
  static std::string lines(const std::string& heard, std::string_view id) {
    auto ec = json::error_code{};
    const auto x = json::parse(heard, ec);
    if (ec || text(x.at("type")) != "next" || text(x.at("id")) != id)
      return "not next: " + heard;
    auto result = std::string{};
    for (const auto& each : x.at("payload").at("data").at("lines").as_array())
      result += (result.empty() ? "" : "|") + text(each.at("message"));
    return result;
  }

  /// Opens one and leaves. @returns the status of the handshake.
  int knock() const {
    const auto one = peer{aut->port()};
    return one.head().status;
  }

  std::size_t open_sockets() {
    const auto state
      = json::parse(fetch(aut->port(), "GET", "/sandbox/railway/state").body);
    return static_cast<std::size_t>(state.at("sockets").as_int64());
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(railway_sockets_tests, listening)

CAF_TEST(logs are told while they are written) {
  const auto x = launch();
  time.advance(600ms);
  peer a{aut->port()};
  CAF_CHECK_EQUAL(a.head().status, 101);
  CAF_CHECK_EQUAL(a.head().header("Sec-WebSocket-Accept"),
                  "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  CAF_CHECK_EQUAL(a.head().header("Sec-WebSocket-Protocol"),
                  "graphql-transport-ws");
  a.greet();
  a.say(wanted("b", "buildLogs", x.deployment));
  CAF_CHECK_EQUAL(lines(a.hear(), "b"),
                  "scheduling build on Metal builder|\x1b[35mpulling\x1b[0m "
                  "ghcr.io/slipway-demo/app:1.4.2");
  time.advance(500ms);
  CAF_CHECK_EQUAL(lines(a.hear(), "b"), "\x1b[32m#1\x1b[0m extracting layers");
  // The end of the build is the end of its log.
  time.advance(1'000ms);
  CAF_CHECK_EQUAL(lines(a.hear(), "b"), "=== Successfully Built! ===");
  CAF_CHECK_EQUAL(a.hear(), R"({"id":"b","type":"complete"})");
  a.say(wanted("d", "deploymentLogs", x.deployment));
  CAF_CHECK_EQUAL(lines(a.hear(), "d"), "Starting Container");
  time.advance(whole);
  CAF_CHECK(lines(a.hear(), "d").find("app: listening on 0.0.0.0:8080")
            != std::string::npos);
  act(x.deployment, "log", 303, R"({"message":"one"})");
  CAF_CHECK_EQUAL(lines(a.hear(), "d"), "one");
  act(x.deployment, "log", 303, R"({"message":"two"})");
  CAF_CHECK_EQUAL(lines(a.hear(), "d"), "two");
  act(x.deployment, "remove");
  CAF_CHECK_EQUAL(lines(a.hear(), "d"), "Stopping Container");
  time.advance(300ms);
  CAF_CHECK_EQUAL(a.hear(), R"({"id":"d","type":"complete"})");
}

CAF_TEST(who follows later gets the newest lines first) {
  const auto x = launch();
  time.advance(whole);
  peer a{aut->port()};
  a.greet();
  a.say(wanted("1", "deploymentLogs", x.deployment, ", limit: 1"));
  const auto got = lines(a.hear(), "1");
  // One more than asked for, as the query does.
  CAF_CHECK_EQUAL(std::count(got.begin(), got.end(), '|'), 1);
  CAF_CHECK(got.find("listening") != std::string::npos);
  // Two follow at once, and one of them stops.
  a.say(wanted("2", "deploymentLogs", x.deployment));
  CAF_CHECK(lines(a.hear(), "2").find("listening") != std::string::npos);
  a.say(R"({"id":"1","type":"complete"})");
  a.say(R"({"type":"ping","payload":{"n":1}})");
  CAF_CHECK_EQUAL(a.hear(), R"({"type":"pong","payload":{"n":1}})");
  act(x.deployment, "log", 303, R"({"message":"more"})");
  CAF_CHECK_EQUAL(lines(a.hear(), "2"), "more");
  a.frame(0x9, "are you there");
  CAF_CHECK_EQUAL(a.hear(), "pong are you there");
}

CAF_TEST(the headers of the handshake say who it is) {
  const auto x = launch();
  time.advance(whole);
  for (const auto* header : {"", "Bearer wrong"}) {
    peer a{aut->port(), header};
    a.say(R"({"type":"connection_init","payload":{"Authorization":)"
          R"("Bearer token-1"}})");
    CAF_CHECK_EQUAL(a.hear(), R"({"type":"connection_ack"})");
    a.say(wanted("1", "deploymentLogs", x.deployment));
    const auto refused = json::parse(a.hear());
    CAF_CHECK_EQUAL(text(refused.at("type")), "error");
    CAF_CHECK_EQUAL(text(refused.at("id")), "1");
    CAF_CHECK_EQUAL(text(refused.at("payload").at(0).at("message")),
                    "Not Authorized");
  }
}

CAF_TEST(what cannot be followed is an error of its own) {
  const auto x = launch();
  peer a{aut->port()};
  a.greet();
  const auto refusal = [&](const std::string& said) {
    a.say(said);
    const auto heard = json::parse(a.hear());
    CAF_CHECK_EQUAL(text(heard.at("type")), "error");
    return text(heard.at("payload").at(0).at("message"));
  };
  CAF_CHECK_EQUAL(refusal(wanted("1", "buildLogs", "nope")),
                  "Deployment not found");
  CAF_CHECK_EQUAL(refusal(wanted("1", "bildLogs", x.deployment)),
                  "Cannot query field \"bildLogs\" on type \"Subscription\".");
  CAF_CHECK_EQUAL(
    refusal(R"({"id":"1","type":"subscribe","payload":{"query":"{ projects { )"
            R"(edges { cursor } } }"}})"),
    "Only subscriptions are served over WebSocket.");
  CAF_CHECK_EQUAL(
    refusal(wanted("1", "buildLogs", x.deployment, ", limit: 9999")),
    "limit must be between 1 and 5000");
  set({{"lagByIdMs", 60'000}});
  CAF_CHECK_EQUAL(refusal(wanted("1", "buildLogs", x.deployment)),
                  "Deployment not found");
  set({{"lagByIdMs", 0}});
  for (auto i = 0; i < 16; ++i)
    a.say(wanted("s" + std::to_string(i), "deploymentLogs", x.deployment));
  CAF_CHECK_EQUAL(refusal(wanted("1", "deploymentLogs", x.deployment)),
                  "There are too many subscriptions.");
}

CAF_TEST(who does not keep to the protocol is shown the door) {
  const auto x = launch();
  const auto end_of = [&](std::initializer_list<std::string> said) {
    peer a{aut->port()};
    a.greet();
    for (const auto& each : said)
      a.say(each);
    auto heard = a.hear();
    while (heard.find("close") != 0 && !heard.empty())
      heard = a.hear();
    CAF_CHECK(a.closes());
    return heard;
  };
  CAF_CHECK_EQUAL(end_of({"nonsense"}), "close 4400");
  CAF_CHECK_EQUAL(end_of({R"({"type":"dance"})"}), "close 4400");
  CAF_CHECK_EQUAL(end_of({R"({"type":"subscribe"})"}), "close 4400");
  CAF_CHECK_EQUAL(end_of({R"({"type":"connection_init"})"}), "close 4429");
  const auto twice = wanted("1", "deploymentLogs", x.deployment);
  CAF_CHECK_EQUAL(end_of({twice, twice}), "close 4409");
  {
    peer early{aut->port()};
    early.say(twice);
    CAF_CHECK_EQUAL(early.hear(), "close 4401");
  }
  peer other{aut->port(), "Bearer token-1", "graphql-ws"};
  CAF_CHECK_EQUAL(other.head().status, 101);
  CAF_CHECK_EQUAL(other.head().header("Sec-WebSocket-Protocol"), "");
  CAF_CHECK_EQUAL(other.hear(), "close 4406");
  {
    peer silent{aut->port()};
    CAF_CHECK(eventually([&] {
      return open_sockets() == 1;
    }));
    time.advance(10s);
    CAF_CHECK_EQUAL(silent.hear(), "close 4408");
    CAF_CHECK(silent.closes());
  }
  CAF_CHECK(eventually([&] {
    return open_sockets() == 0;
  }));
}

CAF_TEST(sockets can be cut and refused) {
  const auto x = launch();
  time.advance(whole);
  peer a{aut->port()};
  a.greet();
  a.say(wanted("1", "deploymentLogs", x.deployment));
  CAF_CHECK(lines(a.hear(), "1").find("listening") != std::string::npos);
  set({{"socketsDown", true}});
  CAF_CHECK_EQUAL(a.hear(), "close 1012");
  CAF_CHECK(a.closes());
  CAF_CHECK_EQUAL(knock(), 502);
  // The rest of the API goes on.
  CAF_CHECK_EQUAL(status(x.deployment), "SUCCESS");
  set({{"socketsDown", false}});
  CAF_CHECK_EQUAL(knock(), 101);
  CAF_CHECK_EQUAL(fetch(aut->port(), "GET", "/graphql/v2").status, 400);
}

CAF_TEST(there is an end to sockets and they end with the simulator) {
  std::vector<std::unique_ptr<peer>> all;
  for (auto i = 0; i < 64; ++i) {
    all.push_back(std::make_unique<peer>(aut->port()));
    CAF_CHECK_EQUAL(all.back()->head().status, 101);
  }
  CAF_CHECK_EQUAL(knock(), 503);
  all.resize(2);
  CAF_CHECK(eventually([&] {
    return open_sockets() == 2;
  }));
  all.front()->greet();
  aut->stop();
  CAF_CHECK_EQUAL(all.front()->hear(), "close 1001");
  CAF_CHECK(all.front()->closes());
}

CAF_TEST_FIXTURE_SCOPE_END()
