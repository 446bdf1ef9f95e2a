#define CAF_SUITE http_server.tls

#include "http/server/tls.hpp"

#include "http/server/server.hpp"
#include "http/server/upgrade.hpp"
#include "tests/unit/http_server/loopback.hpp"
#include "tests/unit/http_server/secure.hpp"

#include <boost/asio/write.hpp>
#include <caf/test/unit_test.hpp>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <mutex>
#include <thread>

using namespace slipway;
using namespace slipway::http;
using namespace std::literals;
using loopback::eventually;
using secure::make_pair;

namespace {

/// What is logged, for whoever wants to count it.
struct log_book final : spdlog::sinks::base_sink<std::mutex> {
  std::vector<std::string> errors;
  std::vector<std::string> warnings;

  void sink_it_(const spdlog::details::log_msg& what) override {
    auto text = std::string{what.payload.data(), what.payload.size()};
    if (what.level == spdlog::level::err)
      errors.push_back(std::move(text));
    else if (what.level == spdlog::level::warn)
      warnings.push_back(std::move(text));
  }

  void flush_() override {
    // nop
  }

  std::vector<std::string> said(bool is_error) {
    const auto lock = std::lock_guard{mutex_};
    return is_error ? errors : warnings;
  }
};

/// Says hello, repeats what it hears, leaves at `!`.
class parrot final : public upgraded,
                     public std::enable_shared_from_this<parrot> {
public:
  void begin(wire taken, std::function<void()> leave) override {
    leave_ = std::move(leave);
    wire_.emplace(std::move(taken));
    asio_write("hello\n", [self = shared_from_this()] {
      self->listen();
    });
  }

  void stop() override {
    end();
  }

  void close() override {
    auto ec = boost::system::error_code{};
    wire_->close(ec);
  }

private:
  void asio_write(std::string text, std::function<void()> then) {
    // In two parts, as protocols with a head of their own do.
    text_ = std::move(text);
    boost::asio::async_write(
      *wire_,
      std::array{boost::asio::buffer(text_.data(), 1),
                 boost::asio::buffer(text_.data() + 1, text_.size() - 1)},
      [self = shared_from_this(), then](boost::system::error_code ec,
                                        std::size_t) {
        if (ec)
          self->end();
        else
          then();
      });
  }

  void listen() {
    wire_->async_read_some(
      boost::asio::buffer(bytes_),
      [self = shared_from_this()](boost::system::error_code ec, std::size_t n) {
        if (ec || self->bytes_[n - 1] == '!') {
          self->end();
          return;
        }
        self->asio_write(std::string{self->bytes_.data(), n}, [self] {
          self->listen();
        });
      });
  }

  void end() {
    close();
    leave_();
  }

  std::function<void()> leave_;
  std::optional<wire> wire_;
  std::string text_;
  std::array<char, 40'000> bytes_{};
};

struct fixture {
  secure::directory dir;
  std::shared_ptr<tls_keeper> keeper;
  std::mutex mutex;
  std::vector<int> statuses;
  std::vector<std::string> shed;
  std::shared_ptr<stream> events;
  std::shared_ptr<exchange> kept;
  std::unique_ptr<server> aut;
  std::shared_ptr<log_book> book = std::make_shared<log_book>();
  std::shared_ptr<spdlog::logger> before = spdlog::default_logger();

  fixture() {
    spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("tls test", book));
    show(make_pair("first"));
  }

  ~fixture() {
    kept.reset();
    events.reset();
    aut.reset();
    keeper.reset();
    spdlog::set_default_logger(before);
  }

  void show(const secure::pair& what) {
    dir.put("cert.pem", what.certificate);
    dir.put("key.pem", what.key);
  }

  [[nodiscard]] tls_files files() const {
    return {dir.file("cert.pem"), dir.file("key.pem")};
  }

  void open(server_options options = {}) {
    auto opened = tls_keeper::open(files());
    CAF_REQUIRE(opened.has_value());
    keeper = *opened;
    options.tls = keeper;
    router routes;
    routes.add(method::get, "/hello", "hello", [](auto x) {
      x->answer({200, "text/plain", "hi", {}});
    });
    routes.add(method::get, "/large", "large", [](auto x) {
      x->answer({200, "text/plain", large(), {}});
    });
    routes.add(method::post, "/echo", "echo", [](auto x) {
      x->answer({200, "text/plain", x->in().body, {}});
    });
    routes.add(method::get, "/later", "later", [this](auto x) {
      const auto lock = std::lock_guard{mutex};
      kept = std::move(x);
    });
    routes.add(method::get, "/events", "events", [this](auto x) {
      auto opened = x->start_stream({200, "text/event-stream", "one\n\n", {}});
      const auto lock = std::lock_guard{mutex};
      events = std::move(opened);
    });
    routes.add(method::get, "/parrot", "parrot", [](auto x) {
      x->upgrade(std::make_shared<parrot>());
    });
    server_hooks hooks;
    hooks.on_response
      = [this](std::string_view route, int status, double, const request&) {
          const auto lock = std::lock_guard{mutex};
          if (route == "-")
            statuses.push_back(status);
        };
    hooks.on_shed = [this](std::string_view reason) {
      const auto lock = std::lock_guard{mutex};
      shed.emplace_back(reason);
    };
    aut = std::make_unique<server>(std::move(options), std::move(routes),
                                   std::move(hooks));
    CAF_REQUIRE(aut->start().has_value());
  }

  static std::string large() {
    auto text = std::string{};
    for (auto i = 0; text.size() < 3'000'000; ++i)
      text += std::to_string(i) + ' ';
    return text;
  }

  std::vector<int> turned_away() {
    const auto lock = std::lock_guard{mutex};
    return statuses;
  }

  std::shared_ptr<stream> stream_of_events() {
    const auto lock = std::lock_guard{mutex};
    return events;
  }

  std::shared_ptr<exchange> taken() {
    const auto lock = std::lock_guard{mutex};
    return std::exchange(kept, nullptr);
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(tls_tests, fixture)

CAF_TEST(requests are served over TLS 1 2 and 1 3) {
  open();
  CAF_CHECK_EQUAL(aut->url().substr(0, 8), "https://");
  for (const auto* version : {"TLSv1.2", "TLSv1.3"}) {
    auto what = secure::offer{};
    what.protocol = "http/1.1";
    (version == "TLSv1.2"sv ? what.max_version : what.min_version)
      = version == "TLSv1.2"sv ? TLS1_2_VERSION : TLS1_3_VERSION;
    auto to = secure::client{aut->port(), what};
    CAF_REQUIRE(to.is_secure());
    CAF_CHECK_EQUAL(to.version(), version);
    CAF_CHECK_EQUAL(to.protocol(), "http/1.1");
    CAF_CHECK_EQUAL(to.shown(), "first");
    for (auto i = 0; i < 3; ++i)
      CAF_CHECK_EQUAL(to.get("/hello"), "hi");
  }
  CAF_CHECK(turned_away().empty());
}

CAF_TEST(old versions and weak ciphers are refused) {
  open();
  for (const auto version : {TLS1_VERSION, TLS1_1_VERSION}) {
    auto what = secure::offer{};
    what.min_version = what.max_version = version;
    const auto to = secure::client{aut->port(), what};
    CAF_CHECK(!to.is_secure());
    CAF_CHECK_EQUAL(to.why(), SSL_R_TLSV1_ALERT_PROTOCOL_VERSION);
  }
  auto what = secure::offer{};
  what.max_version = TLS1_2_VERSION;
  for (const auto* ciphers : {"ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"}) {
    what.ciphers = ciphers;
    const auto to = secure::client{aut->port(), what};
    CAF_CHECK(!to.is_secure());
  }
  CAF_CHECK(eventually([&] {
    return turned_away() == std::vector<int>{400, 400, 400, 400}
           && aut->connections() == 0;
  }));
  CAF_CHECK(book->said(true).empty() && book->said(false).empty());
}

CAF_TEST(whoever speaks only other protocols is told so) {
  open();
  auto what = secure::offer{};
  what.protocol = "h2";
  const auto to = secure::client{aut->port(), what};
  CAF_CHECK(!to.is_secure());
  CAF_CHECK_EQUAL(to.why(), SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
}

CAF_TEST(nobody renegotiates) {
  open();
  auto what = secure::offer{};
  what.max_version = TLS1_2_VERSION;
  auto to = secure::client{aut->port(), what};
  CAF_REQUIRE(to.is_secure());
  SSL_renegotiate(to.ssl());
  CAF_CHECK(SSL_do_handshake(to.ssl()) != 1);
}

CAF_TEST(keys may be updated in the middle) {
  open();
  auto what = secure::offer{};
  what.min_version = TLS1_3_VERSION;
  auto to = secure::client{aut->port(), what};
  CAF_REQUIRE(to.is_secure());
  for (auto i = 0; i < 3; ++i) {
    SSL_key_update(to.ssl(), SSL_KEY_UPDATE_REQUESTED);
    CAF_CHECK_EQUAL(to.get("/hello"), "hi");
  }
}

CAF_TEST(a session is resumed until the certificate changes) {
  open();
  auto what = secure::offer{};
  what.max_version = TLS1_2_VERSION;
  auto a = std::make_unique<secure::client>(aut->port(), what);
  CAF_REQUIRE(a->is_secure());
  CAF_CHECK_EQUAL(a->get("/hello"), "hi");
  auto* session = SSL_get1_session(a->ssl());
  what.session = session;
  auto b = std::make_unique<secure::client>(aut->port(), what);
  CAF_CHECK_EQUAL(SSL_session_reused(b->ssl()), 1);
  CAF_CHECK_EQUAL(b->get("/hello"), "hi");
  show(make_pair("second"));
  CAF_CHECK(keeper->look() == tls_keeper::outcome::taken);
  auto c = std::make_unique<secure::client>(aut->port(), what);
  CAF_CHECK_EQUAL(SSL_session_reused(c->ssl()), 0);
  CAF_CHECK_EQUAL(c->shown(), "second");
  SSL_SESSION_free(session);
}

CAF_TEST(large bodies go both ways) {
  server_options options;
  options.max_body_bytes = 4'000'000;
  open(options);
  const auto expected = large();
  auto to = secure::client{aut->port()};
  CAF_REQUIRE(to.is_secure());
  CAF_CHECK(to.get("/large") == expected);
  auto sender = std::thread{[&] {
    to.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: "
            + std::to_string(expected.size()) + "\r\n\r\n" + expected);
  }};
  sender.join();
  auto head = std::string{};
  CAF_CHECK(to.next(head) == expected);
  CAF_CHECK_EQUAL(to.get("/hello"), "hi");
}

CAF_TEST(a reader that pauses gets every byte) {
  open();
  auto to = secure::client{aut->port()};
  CAF_REQUIRE(to.is_secure());
  // More than the system takes: the server has to stop in the middle.
  to.send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
  to.send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  const auto expected = large();
  auto head = to.until("\r\n\r\n");
  auto body = std::string{};
  while (body.size() < expected.size()) {
    const auto part
      = to.take(std::min<std::size_t>(10'007, expected.size() - body.size()));
    if (part.empty())
      break;
    body += part;
  }
  CAF_CHECK(body == expected);
  CAF_CHECK_EQUAL(to.next(head), "hi");
}

CAF_TEST(100 Continue is said over TLS as well) {
  open();
  auto to = secure::client{aut->port()};
  to.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
          "Expect: 100-continue\r\n\r\n");
  CAF_CHECK_EQUAL(to.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  to.send("ab");
  auto head = std::string{};
  CAF_CHECK_EQUAL(to.next(head), "ab");
}

CAF_TEST(streams and upgrades work over TLS) {
  open();
  auto reader = secure::client{aut->port()};
  reader.send("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
  reader.until("\r\n\r\n");
  CAF_CHECK_EQUAL(reader.until("one\n\n\r\n"), "5\r\none\n\n\r\n");
  CAF_REQUIRE(eventually([&] {
    return stream_of_events() != nullptr;
  }));
  for (auto i = 0; i < 50; ++i) {
    CAF_CHECK(stream_of_events()->write("two\n\n"));
    CAF_CHECK_EQUAL(reader.until("two\n\n\r\n"), "5\r\ntwo\n\n\r\n");
  }
  stream_of_events()->close();
  CAF_CHECK_EQUAL(reader.until("0\r\n\r\n"), "0\r\n\r\n");
  CAF_CHECK(reader.ends_well());
  auto visitor = secure::client{aut->port()};
  visitor.send("GET /parrot HTTP/1.1\r\nHost: x\r\n\r\n");
  CAF_CHECK_EQUAL(visitor.until("\n"), "hello\n");
  const auto long_word = std::string(39'000, 'x') + "\n";
  visitor.send(long_word);
  CAF_CHECK_EQUAL(visitor.until("\n"), long_word);
  visitor.send("!");
  CAF_CHECK(visitor.ends_well());
  CAF_CHECK(eventually([&] {
    return aut->connections() == 0;
  }));
}

CAF_TEST(a request without TLS is answered and closed) {
  open();
  for (const auto* verb : {"GET", "DELETE", "PRI"}) {
    auto to = loopback::client{aut->port()};
    to.send(std::string{verb} + " /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    const auto answer = to.next();
    CAF_CHECK_EQUAL(answer.status, 400);
    CAF_CHECK(answer.has("https_expected"));
    CAF_CHECK(to.closes());
  }
  CAF_CHECK(eventually([&] {
    return turned_away() == std::vector<int>{400, 400, 400}
           && aut->connections() == 0;
  }));
  CAF_CHECK(book->said(true).empty() && book->said(false).empty());
}

CAF_TEST(garbage is closed and counted) {
  open();
  const auto hello = "\x16\x03\x01\x00\x05hello"s;
  for (const auto& bytes :
       {"\x80\x2e\x01"s, "\0\0\0\0"s, "\xff\xff"s, hello, "\x16\x03\x01"s}) {
    auto to = loopback::client{aut->port()};
    to.send(bytes);
    to.end_sending();
    CAF_CHECK(to.closes());
  }
  // Who says nothing at all and leaves.
  {
    auto to = loopback::client{aut->port()};
    to.end_sending();
    CAF_CHECK(to.closes());
  }
  CAF_CHECK(eventually([&] {
    return turned_away() == std::vector<int>(6, 400) && aut->connections() == 0;
  }));
  auto to = secure::client{aut->port()};
  CAF_CHECK_EQUAL(to.get("/hello"), "hi");
  CAF_CHECK(book->said(true).empty() && book->said(false).empty());
}

CAF_TEST(slow handshakes are closed and hold up nobody) {
  server_options options;
  options.header_timeout = 200ms;
  open(options);
  auto silent = loopback::client{aut->port()};
  auto slow = loopback::client{aut->port()};
  slow.send("\x16\x03\x01");
  CAF_CHECK(eventually([&] {
    return aut->connections() == 2;
  }));
  auto to = secure::client{aut->port()};
  CAF_CHECK_EQUAL(to.get("/hello"), "hi");
  CAF_CHECK(silent.closes());
  CAF_CHECK(slow.closes());
  CAF_CHECK(eventually([&] {
    return turned_away() == std::vector<int>{408, 408};
  }));
}

CAF_TEST(connections beyond the limit are told so behind their handshake) {
  server_options options;
  options.max_connections = 1;
  open(options);
  auto a = secure::client{aut->port()};
  CAF_CHECK_EQUAL(a.get("/hello"), "hi");
  auto b = secure::client{aut->port()};
  CAF_REQUIRE(b.is_secure());
  auto head = std::string{};
  CAF_CHECK(b.next(head).find("overloaded") != std::string::npos);
  CAF_CHECK_EQUAL(head.substr(0, 12), "HTTP/1.1 503");
}

CAF_TEST(a stop lets the request under way finish and says goodbye) {
  open();
  auto idle = secure::client{aut->port()};
  CAF_CHECK_EQUAL(idle.get("/hello"), "hi");
  auto greeting = loopback::client{aut->port()};
  auto busy = secure::client{aut->port()};
  busy.send("GET /later HTTP/1.1\r\nHost: x\r\n\r\n");
  auto under_way = std::shared_ptr<exchange>{};
  CAF_REQUIRE(eventually([&] {
    under_way = taken();
    return under_way != nullptr && aut->connections() == 3;
  }));
  auto stopper = std::thread{[&] {
    aut->stop(5s);
  }};
  CAF_CHECK(idle.ends_well());
  CAF_CHECK(greeting.closes());
  under_way->answer({200, "text/plain", "done", {}});
  under_way.reset();
  auto head = std::string{};
  CAF_CHECK_EQUAL(busy.next(head), "done");
  CAF_CHECK(busy.ends_well());
  stopper.join();
}

CAF_TEST(new connections get the new certificate and old ones live on) {
  open();
  auto old = secure::client{aut->port()};
  CAF_CHECK_EQUAL(old.shown(), "first");
  show(make_pair("second"));
  CAF_CHECK(keeper->look() == tls_keeper::outcome::taken);
  CAF_CHECK(keeper->look() == tls_keeper::outcome::same);
  auto late = secure::client{aut->port()};
  CAF_CHECK_EQUAL(late.shown(), "second");
  CAF_CHECK_EQUAL(late.get("/hello"), "hi");
  CAF_CHECK_EQUAL(old.get("/hello"), "hi");
}

CAF_TEST(the watch takes what has changed) {
  open();
  keeper->watch(5ms);
  keeper->watch(5ms);
  show(make_pair("second"));
  CAF_CHECK(eventually([&] {
    return secure::client{aut->port()}.shown() == "second";
  }));
}

CAF_TEST(what does not fit is kept out and complained about once) {
  open();
  const auto second = make_pair("second");
  const auto expect_refusal = [&](std::string_view what) {
    CAF_CHECK(keeper->look() == tls_keeper::outcome::waiting);
    CAF_CHECK(keeper->look() == tls_keeper::outcome::refused);
    CAF_CHECK(keeper->look() == tls_keeper::outcome::same);
    CAF_CHECK_EQUAL(secure::client{aut->port()}.shown(), "first");
    const auto said = book->said(true);
    CAF_REQUIRE(!said.empty());
    CAF_MESSAGE(said.back());
    CAF_CHECK(said.back().find(what) != std::string::npos);
    CAF_CHECK(said.back().find("PRIVATE KEY-") == std::string::npos);
  };
  // One file before the other.
  dir.put("cert.pem", second.certificate);
  expect_refusal("found another one's");
  // Half of a file.
  dir.put("cert.pem", second.certificate.substr(0, 300));
  expect_refusal("a broken one in place 1");
  dir.put("cert.pem", "");
  expect_refusal("found none");
  dir.put("cert.pem", second.certificate);
  dir.put("key.pem", make_pair("x", 90, "secret").key);
  expect_refusal("one with a password");
  dir.put("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n");
  expect_refusal("a broken one");
  secure::fs::remove(dir.file("key.pem"));
  expect_refusal("No such file");
  CAF_CHECK_EQUAL(book->said(true).size(), 6u);
  dir.put("key.pem", second.key);
  CAF_CHECK(keeper->look() == tls_keeper::outcome::taken);
  CAF_CHECK_EQUAL(secure::client{aut->port()}.shown(), "second");
}

CAF_TEST(a change that is seen halfway is waited for without a word) {
  open();
  const auto second = make_pair("second");
  dir.put("cert.pem", second.certificate);
  CAF_CHECK(keeper->look() == tls_keeper::outcome::waiting);
  dir.put("key.pem", second.key);
  CAF_CHECK(keeper->look() == tls_keeper::outcome::taken);
  CAF_CHECK(book->said(true).empty());
}

CAF_TEST(a file that is written over in place is seen) {
  open();
  const auto second = make_pair("second");
  std::ofstream{dir.file("cert.pem"), std::ios::binary} << second.certificate;
  std::ofstream{dir.file("key.pem"), std::ios::binary} << second.key;
  CAF_CHECK(keeper->look() == tls_keeper::outcome::taken);
  CAF_CHECK_EQUAL(keeper->subject(), "CN = second");
}

CAF_TEST(files that cannot be used are told with the file and the reason) {
  const auto good = make_pair("good");
  const auto refused
    = [&](const std::string& certificate, const std::string& key) {
        show({certificate, key});
        const auto opened = tls_keeper::open(files());
        CAF_REQUIRE(!opened.has_value());
        return to_string(opened.error(), files());
      };
  const auto starts = [](const std::string& text, const std::string& with) {
    CAF_MESSAGE(text);
    return text.compare(0, with.size(), with) == 0;
  };
  const auto cert = dir.file("cert.pem");
  const auto key = dir.file("key.pem");
  CAF_CHECK(starts(refused("nonsense", good.key),
                   cert + ": expected certificates in PEM"));
  CAF_CHECK(starts(refused(good.certificate, "nonsense"),
                   key + ": expected a private key in PEM"));
  CAF_CHECK_EQUAL(refused(good.certificate, good.certificate),
                  key
                    + ": expected a private key in PEM without a password, "
                      "found none");
  CAF_CHECK(starts(
    refused(good.certificate, make_pair("other").key),
    key + ": expected the private key of the first certificate in " + cert));
  CAF_CHECK(starts(
    refused(good.certificate + good.certificate.substr(0, 200), good.key),
    cert + ": expected certificates in PEM"));
  CAF_CHECK(starts(refused(std::string(2'000'000, 'x'), good.key),
                   cert + ": expected a file that can be read"));
  const auto opened = tls_keeper::open({dir.path.string(), key});
  CAF_REQUIRE(!opened.has_value());
  CAF_CHECK_EQUAL(opened.error().found, "something that is no file");
}

CAF_TEST(the end of a certificate is told in time and once a day) {
  using std::chrono::hours;
  show(make_pair("ending", 13));
  const auto opened = tls_keeper::open(files());
  CAF_REQUIRE(opened.has_value());
  const auto now = tls_keeper::clock::now();
  for (const auto later : {0h, 1h, 23h, 25h, 26h})
    (*opened)->look(now + later);
  const auto said = book->said(false);
  CAF_REQUIRE_EQUAL(said.size(), 2u);
  CAF_CHECK(said[0].find("CN = ending") != std::string::npos);
  CAF_CHECK(said[0].find(", in 13 day(s)") != std::string::npos);
  CAF_CHECK(said[1].find(", in 11 day(s)") != std::string::npos);
  const auto end = (*opened)->valid_until();
  CAF_CHECK(!expiry_notice(end, end - hours{15 * 24}));
  CAF_CHECK(expiry_notice(end, end).value().substr(0, 11) == "expired on ");
}

CAF_TEST_FIXTURE_SCOPE_END()
