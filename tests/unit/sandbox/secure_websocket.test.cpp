#define CAF_SUITE sandbox.secure_websocket

#include "http/sandbox/websocket.hpp"
#include "http/server/server.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/http_server/secure.hpp"

#include <caf/test/unit_test.hpp>

#include <atomic>

using namespace slipway;
using namespace std::literals;
using loopback::eventually;

namespace {

/// Repeats what it hears, and says goodbye at `bye`.
struct fixture {
  secure::directory dir;
  std::atomic<int> closed{0};
  std::unique_ptr<http::server> aut;

  fixture() {
    const auto pair = secure::make_pair("first");
    dir.put("cert.pem", pair.certificate);
    dir.put("key.pem", pair.key);
    auto keeper
      = http::tls_keeper::open({dir.file("cert.pem"), dir.file("key.pem")});
    CAF_REQUIRE(keeper.has_value());
    auto options = http::server_options{};
    options.tls = *keeper;
    http::router routes;
    routes.add(http::method::get, "/socket", "socket", [this](auto x) {
      auto react = sandbox::websocket::handlers{};
      react.on_open = [](const auto&) {};
      react.on_text = [](const std::shared_ptr<sandbox::websocket>& wire,
                         std::string_view text) {
        if (text == "bye")
          wire->end(1000, "as you wish");
        else
          wire->send(std::string{text});
      };
      react.on_closed = [this](const auto*) {
        ++closed;
      };
      x->upgrade(std::make_shared<sandbox::websocket>(
        x->in(), sandbox::websocket_options{}, std::move(react)));
    });
    aut = std::make_unique<http::server>(std::move(options), std::move(routes));
    CAF_REQUIRE(aut->start().has_value());
  }

  /// A frame as clients send it, masked with nothing.
  static std::string frame(unsigned char opcode, const std::string& payload) {
    auto out = std::string(1, static_cast<char>(0x80U | opcode));
    const auto n = payload.size();
    if (n < 126) {
      out += static_cast<char>(0x80U | n);
    } else {
      out += static_cast<char>(0x80U | 126U);
      out += static_cast<char>(n >> 8U);
      out += static_cast<char>(n & 0xFFU);
    }
    return out + std::string(4, '\0') + payload;
  }

  static void open(secure::client& to) {
    CAF_REQUIRE(to.is_secure());
    to.send("GET /socket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    const auto head = to.until("\r\n\r\n");
    CAF_CHECK_EQUAL(head.substr(0, 12), "HTTP/1.1 101");
    CAF_CHECK(head.find("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") != std::string::npos);
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(secure_websocket_tests, fixture)

CAF_TEST(messages of any length go both ways) {
  auto to = secure::client{aut->port()};
  open(to);
  for (const auto n : {1U, 125U, 126U, 20'000U, 40'000U}) {
    const auto text = std::string(n, 'a');
    CAF_CHECK(to.send(frame(1, text)));
    // A frame of the server is the same without a mask; Beast may cut it.
    auto got = std::string{};
    while (got.size() < n) {
      const auto head = to.take(2);
      CAF_REQUIRE_EQUAL(head.size(), 2u);
      auto length
        = static_cast<std::size_t>(static_cast<unsigned char>(head[1]));
      if (length == 126) {
        const auto more = to.take(2);
        length
          = static_cast<std::size_t>(static_cast<unsigned char>(more[0])) * 256
            + static_cast<unsigned char>(more[1]);
      }
      got += to.take(length);
    }
    CAF_CHECK(got == text);
  }
}

CAF_TEST(a goodbye ends WebSocket and TLS in good order) {
  auto to = std::make_unique<secure::client>(aut->port());
  open(*to);
  to->send(frame(1, "bye"));
  const auto head = to->take(4);
  CAF_REQUIRE_EQUAL(head.size(), 4u);
  CAF_CHECK_EQUAL(static_cast<unsigned char>(head[0]), 0x88U);
  CAF_CHECK_EQUAL(head.substr(2), "\x03\xe8"s);
  to->send(frame(8, "\x03\xe8"s));
  CAF_CHECK(to->ends_well());
  to.reset();
  CAF_CHECK(eventually([&] {
    return closed == 1;
  }));
}

CAF_TEST(a client that vanishes is noticed) {
  {
    auto to = secure::client{aut->port()};
    open(to);
    CAF_CHECK_EQUAL(closed.load(), 0);
  }
  CAF_CHECK(eventually([&] {
    return closed == 1;
  }));
}

CAF_TEST(a stop of the server ends it) {
  auto to = secure::client{aut->port()};
  open(to);
  aut->stop(100ms);
  CAF_CHECK_EQUAL(closed.load(), 1);
}

CAF_TEST_FIXTURE_SCOPE_END()
