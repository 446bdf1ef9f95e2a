#define CAF_SUITE http_server.upgrade

#include "http/server/upgrade.hpp"

#include "http/server/server.hpp"
#include "tests/unit/http_server/loopback.hpp"

#include <boost/asio/write.hpp>
#include <caf/test/unit_test.hpp>

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

using namespace slipway;
using namespace slipway::http;
using namespace std::literals;
using loopback::client;
using loopback::eventually;

namespace {

namespace asio = boost::asio;

/// What the visitors of one test have lived through.
struct diary {
  std::atomic<int> begun{0};
  std::atomic<int> stopped{0};
  std::atomic<int> closed{0};
  std::atomic<int> alive{0};
};

/// Speaks a protocol of its own: says hello, repeats every byte, leaves at `!`.
class parrot final : public upgraded,
                     public std::enable_shared_from_this<parrot> {
public:
  parrot(diary& book, bool is_stubborn)
    : book_{book}, is_stubborn_{is_stubborn} {
    ++book_.alive;
  }

  ~parrot() override {
    --book_.alive;
  }

  void begin(wire taken, std::function<void()> leave) override {
    ++book_.begun;
    leave_ = std::move(leave);
    wire_.emplace(std::move(taken));
    asio::write(*wire_, asio::buffer("hello\n"sv));
    listen();
  }

  void stop() override {
    ++book_.stopped;
    if (is_stubborn_)
      return;
    auto ec = boost::system::error_code{};
    asio::write(*wire_, asio::buffer("bye\n"sv), ec);
    end();
  }

  void close() override {
    ++book_.closed;
    auto ec = boost::system::error_code{};
    wire_->close(ec);
  }

private:
  void listen() {
    wire_->async_read_some(
      asio::buffer(bytes_),
      [self = shared_from_this()](const boost::system::error_code& ec,
                                  std::size_t n) {
        if (ec) {
          self->end();
          return;
        }
        const auto said = std::string_view{self->bytes_.data(), n};
        auto failed = boost::system::error_code{};
        asio::write(*self->wire_, asio::buffer(said), failed);
        if (said.find('!') != std::string_view::npos)
          self->end();
        else
          self->listen();
      });
  }

  void end() {
    auto ec = boost::system::error_code{};
    wire_->close(ec);
    leave_();
    leave_();
  }

  diary& book_;
  bool is_stubborn_;
  std::function<void()> leave_;
  std::optional<wire> wire_;
  std::array<char, 256> bytes_{};
};

struct fixture {
  diary book;
  std::mutex mutex;
  std::vector<std::string> shed;
  std::vector<int> statuses;
  std::shared_ptr<exchange> kept;
  bool is_stubborn = false;
  std::unique_ptr<server> aut;

  void open(server_options options = {}) {
    router routes;
    routes.add(method::get, "/parrot", "parrot", [this](auto x) {
      x->upgrade(std::make_shared<parrot>(book, is_stubborn));
      x->answer({200, "text/plain", "too late", {}});
    });
    routes.add(method::get, "/late", "late", [this](auto x) {
      const auto lock = std::lock_guard{mutex};
      kept = std::move(x);
    });
    routes.add(method::get, "/plain", "plain", [this](auto x) {
      x->answer({200, "text/plain", "plain", {}});
      x->upgrade(std::make_shared<parrot>(book, false));
    });
    server_hooks hooks;
    hooks.on_shed = [this](std::string_view reason) {
      const auto lock = std::lock_guard{mutex};
      shed.emplace_back(reason);
    };
    hooks.on_response
      = [this](std::string_view, int status, double, const request&) {
          const auto lock = std::lock_guard{mutex};
          statuses.push_back(status);
        };
    aut = std::make_unique<server>(std::move(options), std::move(routes),
                                   std::move(hooks));
    CAF_REQUIRE(aut->start().has_value());
  }

  ~fixture() {
    kept.reset();
    if (aut)
      aut->stop(0ms);
    CAF_CHECK_EQUAL(book.alive.load(), 0);
  }

  static std::string get(std::string_view target) {
    return "GET " + std::string{target} + " HTTP/1.1\r\nHost: x\r\n\r\n";
  }

  std::size_t times_shed() {
    const auto lock = std::lock_guard{mutex};
    return shed.size();
  }

  bool has_kept() {
    const auto lock = std::lock_guard{mutex};
    return kept != nullptr;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(upgrade_tests, fixture)

CAF_TEST(another protocol gets the socket and gives the place back) {
  server_options options;
  options.max_streams = 1;
  open(options);
  auto a = client{aut->port()};
  a.send(get("/parrot"));
  CAF_CHECK_EQUAL(a.until("\n"), "hello\n");
  a.send("GET /plain HTTP/1.1\r\n\r\n");
  // HTTP is over: what looks like a request is repeated like everything else.
  CAF_CHECK_EQUAL(a.until("\r\n\r\n"), "GET /plain HTTP/1.1\r\n\r\n");
  CAF_CHECK_EQUAL(aut->gate().in_use(), 0u);
  CAF_CHECK_EQUAL(aut->connections(), 1u);
  auto b = client{aut->port()};
  b.send(get("/parrot"));
  const auto refused = b.next();
  CAF_CHECK_EQUAL(refused.status, 503);
  CAF_CHECK(refused.has("overloaded"));
  CAF_CHECK_EQUAL(times_shed(), 1u);
  a.send("!");
  CAF_CHECK(a.closes());
  b.send(get("/parrot"));
  CAF_CHECK_EQUAL(b.until("\n"), "hello\n");
  b.send("!");
  CAF_CHECK(b.closes());
  CAF_CHECK_EQUAL(book.begun.load(), 2);
  CAF_CHECK(eventually([&] {
    return aut->connections() == 0 && book.alive == 0;
  }));
  // Who has left is not closed again.
  CAF_CHECK_EQUAL(book.closed.load(), 0);
  const auto lock = std::lock_guard{mutex};
  CAF_CHECK_EQUAL(statuses, (std::vector<int>{101, 503, 101}));
}

CAF_TEST(no deadline of the server ends a visit) {
  server_options options;
  options.idle_timeout = 40ms;
  options.header_timeout = 40ms;
  options.request_timeout = 40ms;
  options.write_timeout = 40ms;
  open(options);
  auto a = client{aut->port()};
  a.send(get("/parrot"));
  CAF_CHECK_EQUAL(a.until("\n"), "hello\n");
  auto quiet = client{aut->port()};
  // Long enough for one that says nothing to be thrown out.
  CAF_CHECK(quiet.closes());
  a.send("x\n");
  CAF_CHECK_EQUAL(a.until("\n"), "x\n");
}

CAF_TEST(a client that does not wait is refused) {
  open();
  auto a = client{aut->port()};
  a.send(get("/parrot") + "frame");
  const auto x = a.next();
  CAF_CHECK_EQUAL(x.status, 400);
  CAF_CHECK(x.has("bad_request"));
  CAF_CHECK(a.closes());
  CAF_CHECK_EQUAL(book.begun.load(), 0);
}

CAF_TEST(one answer excludes the other) {
  open();
  auto a = client{aut->port()};
  a.send(get("/plain"));
  CAF_CHECK_EQUAL(a.next().body, "plain");
  a.send(get("/plain"));
  CAF_CHECK_EQUAL(a.next().body, "plain");
  CAF_CHECK_EQUAL(book.begun.load(), 0);
}

CAF_TEST(a stop says goodbye and waits for it) {
  open();
  auto a = client{aut->port()};
  a.send(get("/parrot"));
  CAF_CHECK_EQUAL(a.until("\n"), "hello\n");
  aut->stop(5s);
  CAF_CHECK_EQUAL(a.until("\n"), "bye\n");
  CAF_CHECK(a.closes());
  CAF_CHECK_EQUAL(book.stopped.load(), 1);
  CAF_CHECK_EQUAL(book.closed.load(), 0);
  CAF_CHECK_EQUAL(aut->connections(), 0u);
}

CAF_TEST(who does not leave is thrown out at the deadline) {
  is_stubborn = true;
  open();
  auto a = client{aut->port()};
  a.send(get("/parrot"));
  CAF_CHECK_EQUAL(a.until("\n"), "hello\n");
  aut->stop(30ms);
  CAF_CHECK(a.closes());
  CAF_CHECK_EQUAL(book.stopped.load(), 1);
  CAF_CHECK_EQUAL(book.closed.load(), 1);
}

CAF_TEST(a client that left is not visited) {
  server_options options;
  options.max_streams = 1;
  options.request_timeout = 30ms;
  open(options);
  auto a = client{aut->port()};
  a.send(get("/late"));
  CAF_CHECK(eventually([&] {
    return has_kept();
  }));
  CAF_CHECK_EQUAL(a.next().status, 503);
  kept->upgrade(std::make_shared<parrot>(book, false));
  kept.reset();
  CAF_CHECK(eventually([&] {
    return book.alive == 0;
  }));
  CAF_CHECK_EQUAL(book.begun.load(), 0);
  // Its place is free again.
  auto b = client{aut->port()};
  b.send(get("/parrot"));
  CAF_CHECK_EQUAL(b.until("\n"), "hello\n");
}

CAF_TEST(without a socket there is no upgrade) {
  auto got = 0;
  auto x = make_exchange({}, [&](response answer) {
    got = answer.status;
  });
  x->upgrade(std::make_shared<parrot>(book, false));
  CAF_CHECK_EQUAL(got, 503);
  CAF_CHECK_EQUAL(book.begun.load(), 0);
}

CAF_TEST_FIXTURE_SCOPE_END()
