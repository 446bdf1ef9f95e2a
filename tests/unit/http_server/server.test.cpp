#define CAF_SUITE http_server.server

#include "http/server/server.hpp"

#include "tests/unit/http_server/loopback.hpp"

#include <caf/test/unit_test.hpp>

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

using namespace slipway;
using namespace slipway::http;
using namespace std::literals;
using loopback::client;
using loopback::eventually;
using loopback::fetch;

namespace {

/// Keeps exchanges that handlers were given, to be answered later.
struct shelf {
  std::mutex mutex;
  std::vector<std::shared_ptr<exchange>> kept;

  void keep(std::shared_ptr<exchange> x) {
    const auto lock = std::lock_guard{mutex};
    kept.push_back(std::move(x));
  }

  std::size_t size() {
    const auto lock = std::lock_guard{mutex};
    return kept.size();
  }

  std::vector<std::shared_ptr<exchange>> take() {
    const auto lock = std::lock_guard{mutex};
    return std::exchange(kept, {});
  }
};

struct reported {
  std::string route;
  int status;
};

struct house {
  shelf later;
  std::mutex mutex;
  std::vector<reported> seen;
  std::vector<std::string> shed;
  bool negative = false;
  std::unique_ptr<server> aut;
  std::shared_ptr<stream> events;
  std::atomic<int> streams_closed{0};

  explicit house(server_options options = {}) {
    router routes;
    routes.add(method::get, "/hello", "hello", [](auto x) {
      x->answer({200, "text/plain", "hi " + x->in().id, {}});
    });
    routes.add(method::post, "/echo", "echo", [](auto x) {
      const auto note = x->in().headers.find("X-Note").value_or("none");
      x->answer(
        {200, "text/plain", x->in().body, {{"X-Noted", std::string{note}}}});
    });
    routes.add(method::get, "/items/{id}", "item", [](auto x) {
      x->answer({200,
                 "text/plain",
                 x->in().param(0) + "|" + x->in().query("q").value_or("none"),
                 {}});
    });
    routes.add(method::get, "/later", "later", [this](auto x) {
      later.keep(std::move(x));
    });
    routes.add(method::get, "/drop", "drop", [](auto) {});
    routes.add(method::get, "/throw", "throw", [](auto) {
      throw std::runtime_error("on purpose");
    });
    routes.add(method::get, "/split", "split", [](auto x) {
      x->answer({200, "text/plain", "", {{"X-Bad", "a\r\nX-Evil: b"}}});
    });
    routes.add(method::get, "/twice", "twice", [](auto x) {
      x->answer({200, "text/plain", "first", {}});
      x->answer({200, "text/plain", "second", {}});
    });
    routes.add(method::get, "/large", "large", [](auto x) {
      x->answer({200, "text/plain", std::string(8'000'000, 'x'), {}});
    });
    routes.add(method::get, "/nothing", "nothing", [](auto x) {
      x->answer({204, "", "", {}});
    });
    routes.add(method::get, "/cached", "cached", [](auto x) {
      x->answer({200, "text/css", "a{}", {{"Cache-Control", "max-age=60"}}});
    });
    routes.add(
      method::get, "/health", "health",
      [](auto x) {
        x->answer({200, "text/plain", "ok", {}});
      },
      admission::exempt);
    routes.add(
      method::get, "/money", "money",
      [this](auto x) {
        later.keep(std::move(x));
      },
      admission::first);
    routes.add(method::get, "/events", "events", [this](auto x) {
      events = x->start_stream({200, "text/event-stream", ": hi\n\n", {}});
      if (events)
        events->on_closed([this] {
          ++streams_closed;
        });
    });
    server_hooks hooks;
    hooks.on_response = [this](std::string_view route, int status,
                               double seconds, const request&) {
      const auto lock = std::lock_guard{mutex};
      seen.push_back({std::string{route}, status});
      negative = negative || seconds < 0.0;
    };
    hooks.on_shed = [this](std::string_view reason) {
      const auto lock = std::lock_guard{mutex};
      shed.emplace_back(reason);
    };
    aut = std::make_unique<server>(std::move(options), std::move(routes),
                                   std::move(hooks));
    const auto started = aut->start();
    CAF_REQUIRE(started.has_value());
    CAF_REQUIRE(aut->port() != 0);
  }

  ~house() {
    aut->stop(0ms);
    for (auto& x : later.take())
      x.reset();
    CAF_CHECK(!negative);
  }

  [[nodiscard]] std::uint16_t port() const {
    return aut->port();
  }

  std::size_t times_shed(std::string_view reason) {
    const auto lock = std::lock_guard{mutex};
    auto n = std::size_t{0};
    for (const auto& x : shed)
      n += x == reason ? 1 : 0;
    return n;
  }

  bool saw(std::string_view route, int status) {
    const auto lock = std::lock_guard{mutex};
    for (const auto& x : seen)
      if (x.route == route && x.status == status)
        return true;
    return false;
  }
};

std::string get(std::string_view target, std::string_view extra = "") {
  return "GET " + std::string{target} + " HTTP/1.1\r\nHost: x\r\n"
         + std::string{extra} + "\r\n";
}

bool is_failure(const loopback::answer& x, int status, std::string_view error) {
  return x.status == status
         && x.body.rfind(R"({"success":false,"message":")", 0) == 0
         && x.has(R"("error":")" + std::string{error} + '"')
         && x.has(R"("requestId":")" + x.header("X-Request-Id") + '"');
}

} // namespace

CAF_TEST(every response carries the headers of the house) {
  house h;
  const auto x = fetch(h.port(), "GET", "/hello");
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(x.header("Content-Type"), "text/plain");
  CAF_CHECK_EQUAL(x.header("Cache-Control"), "no-store");
  CAF_CHECK_EQUAL(x.header("X-Content-Type-Options"), "nosniff");
  CAF_CHECK_EQUAL(x.header("X-Request-Id").size(), 16u);
  CAF_CHECK_EQUAL(x.header("Content-Length"), std::to_string(x.body.size()));
  CAF_CHECK_EQUAL(x.header("Date").size(), 29u);
  CAF_CHECK_EQUAL(x.body, "hi " + x.header("X-Request-Id"));
  CAF_CHECK_EQUAL(fetch(h.port(), "GET", "/cached").header("Cache-Control"),
                  "max-age=60");
  CAF_CHECK(eventually([&] {
    return h.saw("hello", 200);
  }));
}

CAF_TEST(a good request id is taken over and a bad one replaced) {
  house h;
  const auto with = [&](std::string id) {
    return fetch(h.port(), "GET", "/hello", "", {{"x-request-id", id}})
      .header("X-Request-Id");
  };
  CAF_CHECK_EQUAL(with("a.B_c-9"), "a.B_c-9");
  CAF_CHECK_EQUAL(with(std::string(64, 'a')), std::string(64, 'a'));
  CAF_CHECK_EQUAL(with(std::string(65, 'a')).size(), 16u);
  CAF_CHECK_EQUAL(with("a b").size(), 16u);
  CAF_CHECK_EQUAL(with("a\"b").size(), 16u);
}

CAF_TEST(ids of our own follow the seed) {
  server_options options;
  options.id_seed = 7;
  house a{options};
  house b{options};
  const auto first = fetch(a.port(), "GET", "/hello").header("X-Request-Id");
  CAF_CHECK_EQUAL(first,
                  fetch(b.port(), "GET", "/hello").header("X-Request-Id"));
  CAF_CHECK_NOT_EQUAL(first,
                      fetch(a.port(), "GET", "/hello").header("X-Request-Id"));
}

CAF_TEST(a connection is kept and serves one request after the other) {
  house h;
  auto c = client{h.port()};
  for (auto i = 0; i < 5; ++i) {
    c.send(get("/hello"));
    const auto x = c.next();
    CAF_CHECK_EQUAL(x.status, 200);
    CAF_CHECK_EQUAL(x.header("Connection"), "keep-alive");
  }
  c.send(get("/hello", "Connection: close\r\n"));
  CAF_CHECK_EQUAL(c.next().header("Connection"), "close");
  CAF_CHECK(c.closes());
}

CAF_TEST(HTTP 1.0 closes unless asked not to) {
  house h;
  auto c = client{h.port()};
  c.send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  CAF_CHECK_EQUAL(c.next().header("Connection"), "keep-alive");
  c.send("GET /hello HTTP/1.0\r\n\r\n");
  CAF_CHECK_EQUAL(c.next().status, 200);
  CAF_CHECK(c.closes());
}

CAF_TEST(pipelined requests are served in order and one at a time) {
  house h;
  auto c = client{h.port()};
  c.send(get("/items/1") + get("/later") + get("/items/2")
         + "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
         + get("/items/3"));
  CAF_CHECK_EQUAL(c.next().body, "1|none");
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 1;
  }));
  CAF_CHECK_EQUAL(c.next(false, 50ms).status, 0);
  h.later.take().front()->answer({200, "text/plain", "late", {}});
  CAF_CHECK_EQUAL(c.next().body, "late");
  CAF_CHECK_EQUAL(c.next().body, "2|none");
  CAF_CHECK_EQUAL(c.next().body, "abc");
  CAF_CHECK_EQUAL(c.next().body, "3|none");
}

CAF_TEST(a long pipeline is served to its end) {
  house h;
  auto c = client{h.port()};
  auto all = std::string{};
  for (auto i = 0; i < 2'000; ++i)
    all += get("/items/" + std::to_string(i));
  auto sender = std::thread{[&] {
    c.send(all);
  }};
  auto good = 0;
  for (auto i = 0; i < 2'000; ++i)
    good += c.next().body == std::to_string(i) + "|none" ? 1 : 0;
  sender.join();
  CAF_CHECK_EQUAL(good, 2'000);
}

CAF_TEST(a request may come byte by byte) {
  house h;
  auto c = client{h.port()};
  for (const auto byte :
       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"sv)
    c.send({&byte, 1});
  CAF_CHECK_EQUAL(c.next().body, "ok");
}

CAF_TEST(chunks are joined and trailers ignored) {
  house h;
  auto c = client{h.port()};
  c.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "3\r\nabc\r\n4;note=1\r\ndefg\r\n0\r\nX-Note: late\r\n\r\n");
  const auto x = c.next();
  CAF_CHECK_EQUAL(x.body, "abcdefg");
  CAF_CHECK_EQUAL(x.header("X-Noted"), "none");
}

CAF_TEST(paths are decoded and queries looked up) {
  house h;
  const auto body = [&](std::string_view target) {
    return fetch(h.port(), "GET", target).body;
  };
  CAF_CHECK_EQUAL(body("/items/a%20b"), "a b|none");
  CAF_CHECK_EQUAL(body("/items/a+b?q=x+y%26&q=2"), "a+b|x y&");
  CAF_CHECK_EQUAL(body("/items/%E4%B8%AD?Q=1&q"), "\u4e2d|");
  CAF_CHECK_EQUAL(body("//items/./x/../7/"), "7|none");
  CAF_CHECK_EQUAL(body("/items/a%2Fb"), "a%2Fb|none");
  CAF_CHECK_EQUAL(body("http://example.com/items/9?q=z"), "9|z");
}

CAF_TEST(bad paths are refused) {
  house h;
  for (const auto* target :
       {"/items/%", "/items/%4", "/items/%zz", "/items/%00", "/items/a%0ab",
        "/items/%ff", "/..", "/a/../../b", "/hello?q=%g1", "/hello?q=%00",
        "/hello?q=%c3"}) {
    const auto x = fetch(h.port(), "GET", target);
    CAF_MESSAGE(target);
    CAF_CHECK(is_failure(x, 400, "bad_request"));
    CAF_CHECK_EQUAL(x.header("Connection"), "close");
  }
}

CAF_TEST(malformed requests get 400 and the connection is closed) {
  house h;
  for (const auto* text : {
         "GET\r\n\r\n",
         "GET /hello HTTP/3.0\r\nHost: x\r\n\r\n",
         "GET /hello HTTP/1.1\r\n\r\n",
         "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
         "GET /hello HTTP/1.1\r\nHost : x\r\n\r\n",
         "GET /hello HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
         "GET hello HTTP/1.1\r\nHost: x\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
         "Content-Length: 4\r\n\r\nabcd",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n"
         "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         "Content-Length: 3\r\n\r\n0\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\n"
         "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
         "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         "POST /echo HTTP/1.1\r\nHost: x\r\n"
         "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
       }) {
    auto c = client{h.port()};
    c.send(text);
    CAF_MESSAGE(text);
    CAF_CHECK(is_failure(c.next(), 400, "bad_request"));
    CAF_CHECK(c.closes());
  }
  CAF_CHECK_EQUAL(fetch(h.port(), "GET", "/hello").status, 200);
}

CAF_TEST(oversize heads and bodies are refused) {
  server_options options;
  options.max_header_bytes = 2'000;
  options.max_body_bytes = 1'000;
  house h{options};
  CAF_CHECK(is_failure(fetch(h.port(), "GET", "/" + std::string(3'000, 'a')),
                       431, "headers_too_large"));
  CAF_CHECK(is_failure(
    fetch(h.port(), "GET", "/hello", "", {{"A", std::string(1'990, 'a')}}), 431,
    "headers_too_large"));
  CAF_CHECK_EQUAL(
    fetch(h.port(), "GET", "/hello", "", {{"A", std::string(1'800, 'a')}})
      .status,
    200);
  CAF_CHECK_EQUAL(
    fetch(h.port(), "POST", "/echo", std::string(1'000, 'b')).body.size(),
    1'000u);
  CAF_CHECK(
    is_failure(fetch(h.port(), "POST", "/echo", std::string(1'001, 'b')), 413,
               "body_too_large"));
  {
    // The promise alone is enough.
    auto c = client{h.port()};
    c.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n");
    CAF_CHECK(is_failure(c.next(), 413, "body_too_large"));
  }
  {
    auto c = client{h.port()};
    c.send("POST /echo HTTP/1.1\r\nHost: x\r\n"
           "Transfer-Encoding: chunked\r\n\r\n");
    for (auto i = 0; i < 11; ++i)
      c.send("64\r\n" + std::string(100, 'c') + "\r\n");
    CAF_CHECK(is_failure(c.next(), 413, "body_too_large"));
    CAF_CHECK(c.closes());
  }
  {
    // A large upload is not reset before its answer has been read.
    auto c = client{h.port()};
    c.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n");
    c.send(std::string(400'000, 'd'));
    CAF_CHECK(is_failure(c.next(), 413, "body_too_large"));
  }
}

CAF_TEST(a client may wait for 100 before it sends the body) {
  house h;
  auto c = client{h.port()};
  c.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
         "Content-Length: 2\r\n\r\n");
  CAF_CHECK_EQUAL(c.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  c.send("ok");
  CAF_CHECK_EQUAL(c.next().body, "ok");
  c.send("POST /none HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
         "Content-Length: 2\r\n\r\n");
  CAF_CHECK_EQUAL(c.next().status, 404);
  CAF_CHECK(c.closes());
  CAF_CHECK_EQUAL(
    fetch(h.port(), "POST", "/echo", "x", {{"Expect", "magic"}}).status, 417);
}

CAF_TEST(unknown paths and methods are told apart) {
  house h;
  CAF_CHECK(is_failure(fetch(h.port(), "GET", "/nope"), 404, "not_found"));
  const auto x = fetch(h.port(), "DELETE", "/hello");
  CAF_CHECK(is_failure(x, 405, "method_not_allowed"));
  CAF_CHECK_EQUAL(x.header("Allow"), "GET, HEAD, OPTIONS");
  CAF_CHECK_EQUAL(fetch(h.port(), "BREW", "/hello").status, 405);
  CAF_CHECK_EQUAL(fetch(h.port(), "HEAD", "/echo").status, 405);
  const auto options = fetch(h.port(), "OPTIONS", "/echo");
  CAF_CHECK_EQUAL(options.status, 204);
  CAF_CHECK_EQUAL(options.header("Allow"), "POST, OPTIONS");
  CAF_CHECK_EQUAL(options.header("Content-Length"), "");
  CAF_CHECK_EQUAL(fetch(h.port(), "GET", "/nothing").status, 204);
  // A body sent to nowhere does not spoil the connection.
  auto c = client{h.port()};
  c.send("POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
         + get("/hello"));
  CAF_CHECK_EQUAL(c.next().status, 404);
  CAF_CHECK_EQUAL(c.next().status, 200);
}

CAF_TEST(HEAD is GET without the body) {
  house h;
  auto c = client{h.port()};
  c.send("HEAD /items/7 HTTP/1.1\r\nHost: x\r\n\r\n" + get("/items/8"));
  const auto x = c.next(true);
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK_EQUAL(x.header("Content-Length"), "6");
  CAF_CHECK_EQUAL(c.next().body, "8|none");
}

CAF_TEST(an exchange that is dropped is answered 503) {
  house h;
  const auto x = fetch(h.port(), "GET", "/drop");
  CAF_CHECK(is_failure(x, 503, "unavailable"));
  CAF_CHECK_EQUAL(x.header("Retry-After"), "1");
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
  CAF_CHECK(is_failure(fetch(h.port(), "GET", "/throw"), 500, "internal"));
}

CAF_TEST(only the first answer counts) {
  house h;
  auto c = client{h.port()};
  c.send(get("/twice") + get("/hello"));
  CAF_CHECK_EQUAL(c.next().body, "first");
  CAF_CHECK_EQUAL(c.next().body.substr(0, 3), "hi ");
}

CAF_TEST(headers with line breaks are never sent) {
  house h;
  const auto x = fetch(h.port(), "GET", "/split");
  CAF_CHECK(is_failure(x, 500, "internal"));
  CAF_CHECK_EQUAL(x.header("X-Evil"), "");
}

CAF_TEST(answers come from any thread) {
  server_options options;
  options.threads = 2;
  house h{options};
  std::vector<std::unique_ptr<client>> clients;
  for (auto i = 0; i < 20; ++i) {
    clients.push_back(std::make_unique<client>(h.port()));
    clients.back()->send(
      get("/later", "X-Request-Id: r" + std::to_string(i) + "\r\n"));
  }
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 20;
  }));
  CAF_CHECK_EQUAL(h.aut->gate().in_use(), 20u);
  auto all = h.later.take();
  auto half = [&](std::size_t from) {
    for (auto i = from; i < all.size(); i += 2)
      all[i]->answer({200, "text/plain", "to " + all[i]->in().id, {}});
  };
  auto a = std::thread{half, 0};
  auto b = std::thread{half, 1};
  a.join();
  b.join();
  for (auto i = 0; i < 20; ++i)
    CAF_CHECK_EQUAL(clients[i]->next().body, "to r" + std::to_string(i));
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
}

CAF_TEST(bodies on their way in share a bounded room) {
  server_options options;
  options.max_body_bytes = 1'000;
  options.max_body_bytes_in_all = 2'500;
  house h{options};
  const auto half = [&](std::string_view how) {
    auto c = std::make_unique<client>(h.port());
    c->send("POST /echo HTTP/1.1\r\nHost: x\r\n" + std::string{how}
            + "\r\n\r\n");
    return c;
  };
  // What is promised counts, and all that is allowed where nothing is.
  auto a = half("Content-Length: 1000");
  a->send("a");
  auto b = half("Transfer-Encoding: chunked");
  b->send("1\r\nb\r\n");
  auto shed = std::unique_ptr<client>{};
  CAF_REQUIRE(eventually([&] {
    shed = half("Content-Length: 600");
    const auto told = shed->next();
    return is_failure(told, 503, "overloaded")
           && told.header("Retry-After") == "1";
  }));
  CAF_CHECK(shed->closes());
  CAF_CHECK(h.times_shed("bodies") > 0);
  // A smaller one fits, and so does whoever has no body.
  CAF_CHECK_EQUAL(fetch(h.port(), "POST", "/echo", "small").status, 200);
  CAF_CHECK_EQUAL(fetch(h.port(), "GET", "/hello").status, 200);
  // Room comes back with the end of a body, and with the end of a client.
  a->send(std::string(999, 'a'));
  CAF_CHECK_EQUAL(a->next().body.size(), 1'000u);
  b.reset();
  CAF_CHECK(eventually([&] {
    auto c = half("Content-Length: 1000");
    auto d = half("Content-Length: 1000");
    c->send(std::string(1'000, 'c'));
    d->send(std::string(1'000, 'd'));
    return c->next().status == 200 && d->next().status == 200;
  }));
}

CAF_TEST(beyond the limit work is shed at once and taken again later) {
  server_options options;
  options.max_in_flight = 2;
  house h{options};
  auto a = client{h.port()};
  auto b = client{h.port()};
  a.send(get("/later"));
  b.send(get("/later"));
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 2;
  }));
  auto c = client{h.port()};
  c.send(get("/later"));
  const auto refused = c.next();
  CAF_CHECK(is_failure(refused, 503, "overloaded"));
  CAF_CHECK_EQUAL(refused.header("Retry-After"), "1");
  CAF_CHECK_EQUAL(refused.header("Connection"), "keep-alive");
  CAF_CHECK_EQUAL(h.times_shed("in_flight"), 1u);
  CAF_CHECK_EQUAL(fetch(h.port(), "GET", "/health").status, 200);
  h.later.take().front()->answer({});
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
  c.send(get("/hello"));
  CAF_CHECK_EQUAL(c.next().status, 200);
}

CAF_TEST(the last eighth is for those who go first) {
  server_options options;
  options.max_in_flight = 8;
  house h{options};
  auto clients = std::list<client>{};
  const auto ask = [&](const char* path) {
    clients.emplace_back(h.port());
    clients.back().send(get(path));
  };
  for (auto i = 0; i < 7; ++i)
    ask("/later");
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 7;
  }));
  ask("/later");
  CAF_CHECK(is_failure(clients.back().next(), 503, "overloaded"));
  ask("/money");
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 8;
  }));
  ask("/money");
  CAF_CHECK(is_failure(clients.back().next(), 503, "overloaded"));
  for (auto& x : h.later.take())
    x->answer({});
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
}

CAF_TEST(a request that nobody answers gets 503 and late answers are lost) {
  server_options options;
  options.request_timeout = 60ms;
  house h{options};
  auto c = client{h.port()};
  c.send(get("/later"));
  CAF_CHECK(is_failure(c.next(), 503, "timeout"));
  CAF_CHECK_EQUAL(h.times_shed("timeout"), 1u);
  // Whoever still works on it still counts.
  CAF_CHECK_EQUAL(h.aut->gate().in_use(), 1u);
  c.send(get("/later"));
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 2;
  }));
  auto both = h.later.take();
  both[0]->answer({200, "text/plain", "stale", {}});
  both[1]->answer({200, "text/plain", "fresh", {}});
  CAF_CHECK_EQUAL(c.next().body, "fresh");
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
}

CAF_TEST(slow senders are cut off and idle ones closed silently) {
  server_options options;
  options.header_timeout = 100ms;
  options.body_timeout = 100ms;
  options.idle_timeout = 200ms;
  house h{options};
  auto trickle = [&](std::string_view start) {
    auto c = client{h.port()};
    c.send(start);
    auto stop = std::atomic<bool>{false};
    auto sender = std::thread{[&] {
      while (!stop && c.send("a"))
        std::this_thread::sleep_for(10ms);
    }};
    const auto x = c.next();
    stop = true;
    sender.join();
    return x;
  };
  CAF_CHECK(is_failure(trickle("GET /hello HTTP/1.1\r\nHost: x\r\nA: "), 408,
                       "request_timeout"));
  CAF_CHECK(is_failure(trickle("POST /echo HTTP/1.1\r\nHost: x\r\n"
                               "Content-Length: 1000\r\n\r\n"),
                       408, "request_timeout"));
  auto silent = client{h.port()};
  CAF_CHECK_EQUAL(silent.until("\r\n\r\n", 2s), "");
  CAF_CHECK(silent.closes());
  auto idle = client{h.port()};
  idle.send(get("/hello"));
  CAF_CHECK_EQUAL(idle.next().status, 200);
  CAF_CHECK_EQUAL(idle.until("\r\n\r\n", 2s), "");
  CAF_CHECK(idle.closes());
}

CAF_TEST(a reader that is too slow is cut off) {
  server_options options;
  options.write_timeout = 100ms;
  house h{options};
  auto c = client{h.port(), 4096};
  c.send(get("/large"));
  CAF_CHECK(eventually([&] {
    return h.aut->connections() == 1;
  }));
  CAF_CHECK(eventually([&] {
    return h.aut->connections() == 0;
  }));
  CAF_CHECK(eventually([&] {
    return h.aut->gate().in_use() == 0;
  }));
  auto good = client{h.port()};
  good.send(get("/large"));
  CAF_CHECK_EQUAL(good.next().body.size(), 8'000'000u);
}

CAF_TEST(connections beyond the limit are told so) {
  server_options options;
  options.max_connections = 2;
  house h{options};
  auto a = std::make_unique<client>(h.port());
  auto b = client{h.port()};
  a->send(get("/hello"));
  b.send(get("/hello"));
  CAF_CHECK_EQUAL(a->next().status, 200);
  CAF_CHECK_EQUAL(b.next().status, 200);
  auto c = client{h.port()};
  c.send(get("/hello"));
  CAF_CHECK(is_failure(c.next(), 503, "overloaded"));
  CAF_CHECK(c.closes());
  CAF_CHECK_EQUAL(h.times_shed("connections"), 1u);
  a.reset();
  CAF_CHECK(eventually([&] {
    return fetch(h.port(), "GET", "/hello").status == 200;
  }));
}

CAF_TEST(a stop lets the request under way finish) {
  house h;
  auto busy = client{h.port()};
  auto idle = client{h.port()};
  idle.send(get("/hello"));
  CAF_CHECK_EQUAL(idle.next().status, 200);
  busy.send(get("/later"));
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 1;
  }));
  const auto port = h.port();
  auto stopper = std::thread{[&] {
    h.aut->stop(5s);
  }};
  CAF_CHECK(idle.closes());
  CAF_CHECK(eventually([&] {
    return !client{port}.connected();
  }));
  h.later.take().front()->answer({200, "text/plain", "done", {}});
  const auto x = busy.next();
  CAF_CHECK_EQUAL(x.body, "done");
  CAF_CHECK_EQUAL(x.header("Connection"), "close");
  stopper.join();
  CAF_CHECK(busy.closes());
}

CAF_TEST(a stop does not wait longer than its deadline) {
  house h;
  auto busy = client{h.port()};
  busy.send(get("/later"));
  CAF_REQUIRE(eventually([&] {
    return h.later.size() == 1;
  }));
  const auto before = std::chrono::steady_clock::now();
  h.aut->stop(50ms);
  CAF_CHECK(std::chrono::steady_clock::now() - before < 3s);
  CAF_CHECK(busy.closes());
  // An answer after the end harms nobody, not even without a server.
  auto left = h.later.take();
  h.aut = std::make_unique<server>(server_options{}, router{});
  left.front()->answer({});
}

CAF_TEST(a port that is taken is an error with a sentence) {
  house h;
  server_options options;
  options.port = h.port();
  auto second = server{options, router{}};
  const auto started = second.start();
  CAF_REQUIRE(!started.has_value());
  CAF_CHECK_EQUAL(started.error(),
                  "cannot listen on 127.0.0.1:" + std::to_string(h.port())
                    + ": Address already in use");
  options.host = "nowhere.example";
  auto third = server{options, router{}};
  const auto nowhere = third.start();
  CAF_REQUIRE(!nowhere.has_value());
  CAF_CHECK_EQUAL(nowhere.error(),
                  "cannot listen on 'nowhere.example': an IP address or "
                  "localhost is expected");
}

CAF_TEST(a stream goes on until it is closed) {
  house h;
  auto c = client{h.port()};
  c.send(get("/events"));
  const auto head = c.until("\r\n\r\n");
  CAF_CHECK(head.find("Transfer-Encoding: chunked") != std::string::npos);
  CAF_CHECK(head.find("Content-Length") == std::string::npos);
  CAF_CHECK_EQUAL(c.until(": hi\n\n\r\n"), "6\r\n: hi\n\n\r\n");
  // The permit does not stay with the stream.
  CAF_CHECK_EQUAL(h.aut->gate().in_use(), 0u);
  CAF_CHECK(h.events->write("data: 1\n\n"));
  CAF_CHECK_EQUAL(c.until("\n\n\r\n"), "9\r\ndata: 1\n\n\r\n");
  CAF_CHECK(h.events->write("data: 2\n\n"));
  h.events->close();
  CAF_CHECK(!h.events->write("data: 3\n\n"));
  CAF_CHECK_EQUAL(c.until("0\r\n\r\n"), "9\r\ndata: 2\n\n\r\n0\r\n\r\n");
  CAF_CHECK(c.closes());
  CAF_CHECK(eventually([&] {
    return h.streams_closed == 1;
  }));
}

CAF_TEST(a stream notices that the client left) {
  house h;
  {
    auto c = client{h.port()};
    c.send(get("/events"));
    CAF_CHECK(!c.until(": hi\n\n\r\n").empty());
  }
  CAF_CHECK(eventually([&] {
    return h.streams_closed == 1;
  }));
  CAF_CHECK(!h.events->write("data: 1\n\n"));
}

CAF_TEST(a stream drops a reader that is too slow) {
  house h;
  auto c = client{h.port(), 4096};
  c.send(get("/events"));
  CAF_CHECK(!c.until("\r\n\r\n").empty());
  auto written = 0;
  while (written < 100'000 && h.events->write(std::string(1'000, 'x')))
    ++written;
  CAF_CHECK(written < 100'000);
  CAF_CHECK(eventually([&] {
    return h.streams_closed == 1;
  }));
}

CAF_TEST(a stream says what waits so that nobody has to be dropped) {
  house h;
  auto c = client{h.port(), 4096};
  c.send(get("/events"));
  CAF_CHECK(!c.until("\r\n\r\n").empty());
  const auto block = std::string(1'000, 'x');
  auto written = 0;
  auto most = std::size_t{0};
  while (h.events->waiting() < 32'000 && written < 100'000) {
    CAF_REQUIRE(h.events->write(block));
    ++written;
    most = std::max(most, h.events->waiting());
  }
  CAF_CHECK(most >= 32'000);
  CAF_CHECK_EQUAL(h.streams_closed, 0);
  h.events->write("the end");
  CAF_CHECK(c.until("the end").size() > written * block.size());
  CAF_CHECK(eventually([&] {
    return h.events->waiting() == 0;
  }));
}

CAF_TEST(streams have a limit and end with the server) {
  server_options options;
  options.max_streams = 1;
  house h{options};
  auto a = client{h.port()};
  a.send(get("/events"));
  CAF_CHECK(!a.until(": hi\n\n\r\n").empty());
  auto held = h.events;
  auto b = client{h.port()};
  b.send(get("/events"));
  const auto refused = b.next();
  CAF_CHECK_EQUAL(refused.status, 503);
  CAF_CHECK(refused.has("overloaded"));
  CAF_CHECK_EQUAL(h.times_shed("streams"), 1u);
  h.aut->stop(3s);
  CAF_CHECK_EQUAL(a.until("0\r\n\r\n"), "0\r\n\r\n");
  CAF_CHECK_EQUAL(h.streams_closed, 1);
}

CAF_TEST(an old client gets its stream without chunks) {
  house h;
  auto c = client{h.port()};
  c.send("GET /events HTTP/1.0\r\n\r\n");
  const auto head = c.until("\r\n\r\n");
  CAF_CHECK(head.find("chunked") == std::string::npos);
  CAF_CHECK_EQUAL(c.until("\n\n"), ": hi\n\n");
  h.events->close();
  CAF_CHECK(c.closes());
}

CAF_TEST(an exchange without a socket calls back) {
  auto got = 0;
  request in;
  in.id = "r1";
  auto x = make_exchange(in, [&](response answer) {
    got = answer.status;
  });
  x->fail(418, "teapot", "short and stout");
  CAF_CHECK(x->answered());
  CAF_CHECK_EQUAL(got, 418);
  got = 0;
  x.reset();
  CAF_CHECK_EQUAL(got, 0);
  make_exchange(in, [&](response answer) {
    got = answer.status;
  }).reset();
  CAF_CHECK_EQUAL(got, 503);
}
