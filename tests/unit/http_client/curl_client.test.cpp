#define CAF_SUITE http_client.curl_client

#include "http/client/curl_client.hpp"

#include "tests/support/socket_server.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

using namespace slipway;
using namespace slipway::client;
using slipway::test::socket_connection;
using slipway::test::socket_server;

// Goal: a caller that is told `not_sent` may repeat, one that is told
// `in_doubt` must ask. Each test shows on a real socket that the client never
// calls the second the first.

namespace {

using steady = std::chrono::steady_clock;

constexpr std::chrono::seconds patience{20};

std::string answer(std::string_view body, std::string_view head = {}) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size())
         + "\r\n" + std::string{head} + "\r\n" + std::string{body};
}

/// Answers every request on a connection with the same text.
socket_server::handler always(std::string text) {
  return [text = std::move(text)](socket_connection& connection) {
    while (!connection.read_request().empty())
      connection.write(text);
  };
}

http_request to(const socket_server& server, std::string method = "GET",
                std::string body = {}) {
  http_request request;
  request.method = std::move(method);
  request.url = "http://" + server.address() + "/path?secret=1";
  request.body = std::move(body);
  request.timeout = millis{5'000};
  return request;
}

std::future<http_outcome> send(outbound& client, http_request request) {
  auto promise = std::make_shared<std::promise<http_outcome>>();
  auto result = promise->get_future();
  // A second call would throw, and end the process.
  client.send(std::move(request), [promise](http_outcome outcome) {
    promise->set_value(std::move(outcome));
  });
  return result;
}

http_outcome wait_for(std::future<http_outcome>& result) {
  CAF_REQUIRE(result.wait_for(patience) == std::future_status::ready);
  return result.get();
}

http_outcome ask(outbound& client, http_request request) {
  auto result = send(client, std::move(request));
  return wait_for(result);
}

std::string kind_of(const http_outcome& outcome) {
  if (const auto* failure = outcome.failure()) {
    CAF_MESSAGE(failure->message);
    CAF_CHECK(!failure->message.empty());
    CAF_CHECK(failure->message.find("secret") == std::string::npos);
    return std::string{to_string(failure->kind)};
  }
  return std::to_string(outcome.response()->status);
}

} // namespace

CAF_TEST(a request and its answer go through unchanged) {
  std::promise<std::string> seen;
  socket_server server{[&seen](socket_connection& connection) {
    seen.set_value(connection.read_request());
    connection.write("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                     "HTTP/1.1 429 Slow Down\r\nRetry-After:  7 \r\n"
                     "X-Empty:\r\nContent-Length: 5\r\n\r\nlater");
  }};
  curl_client client;
  std::string body{"a\0b", 3};
  auto request = to(server, "POST", body);
  request.headers = {{"Content-Type", "application/json"},
                     {"Authorization", "Bearer x"},
                     {"X-Empty", ""}};
  auto outcome = ask(client, request);
  CAF_REQUIRE(outcome.response() != nullptr);
  const auto& response = *outcome.response();
  CAF_CHECK_EQUAL(response.status, 429);
  CAF_CHECK_EQUAL(response.body, "later");
  CAF_CHECK(response.find("retry-after") == "7");
  CAF_CHECK(response.find("X-EMPTY") == "");
  CAF_CHECK(!response.find("Link"));
  auto text = seen.get_future().get();
  CAF_CHECK(text.starts_with("POST /path?secret=1 HTTP/1.1\r\n"));
  CAF_CHECK(text.ends_with("\r\n\r\n" + body));
  CAF_CHECK(text.find("\r\nContent-Type: application/json\r\n") != text.npos);
  CAF_CHECK(text.find("\r\nAuthorization: Bearer x\r\n") != text.npos);
  CAF_CHECK(text.find("\r\nX-Empty:") != text.npos);
  CAF_CHECK(text.find("\r\nUser-Agent: slipway\r\n") != text.npos);
  CAF_CHECK(text.find("Expect") == text.npos);
}

CAF_TEST(methods go out as they are) {
  socket_server server{[](socket_connection& connection) {
    for (auto text = connection.read_request(); !text.empty();
         text = connection.read_request()) {
      auto method = text.substr(0, text.find(' '));
      connection.write(answer(method == "HEAD" ? "" : method));
    }
  }};
  curl_client client;
  for (auto method : {"GET", "POST", "PUT", "DELETE", "PATCH"}) {
    auto outcome = ask(client, to(server, method));
    CAF_REQUIRE(outcome.response() != nullptr);
    CAF_CHECK_EQUAL(outcome.response()->body, method);
  }
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server, "HEAD"))), "200");
}

CAF_TEST(a redirect is an answer like any other) {
  socket_server server{always("HTTP/1.1 302 Found\r\nLocation: /there\r\n"
                              "Content-Length: 0\r\n\r\n")};
  curl_client client;
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "302");
}

CAF_TEST(a connection is used again) {
  socket_server server{always(answer("ok"))};
  curl_client client;
  for (int i = 0; i < 5; ++i)
    CAF_CHECK_EQUAL(kind_of(ask(client, to(server, "POST", "x"))), "200");
  CAF_CHECK_EQUAL(server.accepted(), 1);
}

CAF_TEST(a refused connection proves that nothing was sent) {
  curl_client client;
  http_request request;
  request.method = "POST";
  request.url
    = "http://127.0.0.1:" + std::to_string(slipway::test::closed_port()) + "/";
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
}

CAF_TEST(so does a name without an address) {
  curl_client client;
  http_request request;
  // A label of 64 letters fails without asking any name server.
  request.url = "http://" + std::string(64, 'a') + ".invalid/";
  request.timeout = millis{15'000};
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
}

CAF_TEST(so does a failed TLS handshake) {
  socket_server server{[](socket_connection& connection) {
    connection.read_exactly(5);
    connection.write("HTTP/1.1 400 Bad Request\r\n\r\n");
  }};
  curl_client client;
  auto request = to(server, "POST", "x");
  request.url.insert(4, "s");
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
}

CAF_TEST(a TLS handshake that hangs ends in time and proves it too) {
  socket_server server{[](socket_connection& connection) {
    connection.wait_for_close();
  }};
  curl_client client;
  auto request = to(server, "POST", "x");
  request.url.insert(4, "s");
  request.connect_timeout = millis{200};
  auto begin = steady::now();
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
  CAF_CHECK(steady::now() - begin < std::chrono::seconds{3});
}

CAF_TEST(requests that make no sense are not sent) {
  curl_client client;
  socket_server server{always(answer("ok"))};
  auto refused = [&](auto change) {
    auto request = to(server);
    change(request);
    return kind_of(ask(client, request));
  };
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.url = "";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.url = "/relative";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.url = "ftp://127.0.0.1/";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.url = "file:///etc/passwd";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.method = "";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.method = "GET /x";
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.timeout = millis{0};
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.connect_timeout = millis{-1};
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.headers = {{"X", "a\r\nInjected: 1"}};
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto& r) {
                    r.headers = {{"X: y", "a"}};
                  }),
                  "not_sent");
  CAF_CHECK_EQUAL(refused([](auto&) {}), "200");
  CAF_CHECK_EQUAL(server.accepted(), 1);
}

CAF_TEST(a server that reads and closes leaves it in doubt) {
  for (auto hard : {false, true}) {
    socket_server server{[hard](socket_connection& connection) {
      connection.read_request();
      if (hard)
        connection.reset();
    }};
    curl_client client;
    CAF_CHECK_EQUAL(kind_of(ask(client, to(server, "POST", "x"))), "in_doubt");
    CAF_CHECK_EQUAL(server.accepted(), 1);
  }
}

CAF_TEST(a kept connection that dies does not make a POST go twice) {
  std::atomic<int> posts = 0;
  socket_server server{[&posts](socket_connection& connection) {
    connection.read_request();
    connection.write(answer("first"));
    // The second one is taken in, and perhaps acted upon.
    if (connection.read_request().starts_with("POST"))
      ++posts;
  }};
  curl_client client;
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server, "POST", "x"))), "in_doubt");
  CAF_CHECK_EQUAL(posts.load(), 1);
}

CAF_TEST(a GET may go twice) {
  std::atomic<int> connections = 0;
  socket_server server{[&connections](socket_connection& connection) {
    auto first = ++connections == 1;
    connection.read_request();
    connection.write(answer("ok"));
    connection.read_request();
    if (!first)
      connection.write(answer("ok"));
  }};
  curl_client client;
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
  CAF_CHECK_EQUAL(connections.load(), 2);
}

CAF_TEST(half an answer leaves it in doubt) {
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  }};
  curl_client client;
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server, "POST", "x"))), "in_doubt");
}

CAF_TEST(a slow answer leaves it in doubt within the timeout) {
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.wait_for_close();
  }};
  curl_client client;
  auto request = to(server, "POST", "x");
  request.timeout = millis{300};
  auto begin = steady::now();
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "in_doubt");
  auto took = steady::now() - begin;
  CAF_CHECK(took >= millis{250});
  CAF_CHECK(took < std::chrono::seconds{3});
}

CAF_TEST(a response over the limit is given up) {
  std::string body(100'000, 'x');
  socket_server server{always(answer(body))};
  curl_client client;
  auto request = to(server);
  request.max_response_bytes = body.size();
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "200");
  request.max_response_bytes = body.size() - 1;
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "too_large");
  request.max_response_bytes = 0;
  CAF_CHECK_EQUAL(kind_of(ask(client, request)), "too_large");
}

CAF_TEST(endless headers are given up) {
  std::string line = "X-Filler: " + std::string(8'000, 'x') + "\r\n";
  std::string head;
  for (int i = 0; i < 40; ++i)
    head += line;
  socket_server server{always(answer("ok", head))};
  curl_client client;
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "too_large");
}

CAF_TEST(many requests at once are all answered once) {
  socket_server server{[](socket_connection& connection) {
    for (auto text = connection.read_request(); !text.empty();
         text = connection.read_request())
      connection.write(answer(text.substr(text.find("\r\n\r\n") + 4)));
  }};
  curl_client_options options;
  options.in_flight_max = 16;
  options.queue_max = 1'000;
  options.connections_per_host = 8;
  curl_client client{options};
  std::vector<std::future<http_outcome>> results(400);
  std::vector<std::thread> senders;
  for (std::size_t t = 0; t < 4; ++t)
    senders.emplace_back([&, t] {
      for (std::size_t i = t; i < results.size(); i += 4)
        results[i] = send(client, to(server, "POST", std::to_string(i)));
    });
  for (auto& sender : senders)
    sender.join();
  for (std::size_t i = 0; i < results.size(); ++i) {
    auto outcome = wait_for(results[i]);
    CAF_REQUIRE(outcome.response() != nullptr);
    CAF_CHECK_EQUAL(outcome.response()->body, std::to_string(i));
  }
  CAF_CHECK(server.accepted() <= 8);
  CAF_CHECK_EQUAL(client.current_load().in_flight, 0u);
  CAF_CHECK_EQUAL(client.current_load().queued, 0u);
}

CAF_TEST(a full queue refuses at once) {
  std::promise<void> gate;
  auto open = gate.get_future().share();
  socket_server server{[open](socket_connection& connection) {
    connection.read_request();
    open.wait();
    connection.write(answer("ok"));
  }};
  curl_client_options options;
  options.in_flight_max = 2;
  options.queue_max = 3;
  curl_client client{options};
  std::vector<std::future<http_outcome>> accepted;
  for (int i = 0; i < 5; ++i)
    accepted.push_back(send(client, to(server)));
  auto late = send(client, to(server));
  CAF_REQUIRE(late.wait_for(std::chrono::seconds{0})
              == std::future_status::ready);
  CAF_CHECK_EQUAL(kind_of(late.get()), "refused");
  gate.set_value();
  for (auto& result : accepted)
    CAF_CHECK_EQUAL(kind_of(wait_for(result)), "200");
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
}

CAF_TEST(waiting for a turn counts against the timeout) {
  std::promise<void> gate;
  auto open = gate.get_future().share();
  socket_server server{[open](socket_connection& connection) {
    while (!connection.read_request().empty()) {
      open.wait();
      connection.write(answer("ok"));
    }
  }};
  // First the client's own queue, then curl's for a connection.
  for (auto in_flight : {std::size_t{1}, std::size_t{8}}) {
    curl_client_options options;
    options.in_flight_max = in_flight;
    options.connections_per_host = 1;
    curl_client client{options};
    auto first = send(client, to(server));
    auto request = to(server, "POST", "x");
    request.timeout = millis{300};
    auto begin = steady::now();
    CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
    CAF_CHECK(steady::now() - begin < std::chrono::seconds{3});
    if (in_flight == 8)
      gate.set_value();
    else
      client.stop();
    kind_of(wait_for(first));
  }
}

CAF_TEST(a callback may send again) {
  socket_server server{always(answer("ok"))};
  curl_client client;
  std::promise<http_outcome> second;
  client.send(to(server), [&](http_outcome) {
    client.send(to(server), [&](http_outcome outcome) {
      second.set_value(std::move(outcome));
    });
  });
  auto result = second.get_future();
  CAF_CHECK_EQUAL(kind_of(wait_for(result)), "200");
}

CAF_TEST(stopping answers everything) {
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.wait_for_close();
  }};
  curl_client_options options;
  options.in_flight_max = 1;
  curl_client client{options};
  auto on_wire = send(client, to(server, "POST", "x"));
  auto waiting = send(client, to(server, "POST", "y"));
  auto deadline = steady::now() + patience;
  while (server.accepted() == 0 && steady::now() < deadline)
    std::this_thread::yield();
  client.stop();
  auto outcome = wait_for(on_wire);
  CAF_REQUIRE(outcome.failure() != nullptr);
  // Accepted by the kernel is not yet sent; both words are right, an answer
  // would not be.
  CAF_CHECK(outcome.failure()->kind == failure_kind::in_doubt
            || outcome.failure()->kind == failure_kind::not_sent);
  CAF_CHECK_EQUAL(kind_of(wait_for(waiting)), "not_sent");
  CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "refused");
  client.stop();
}

CAF_TEST(one dead server does not hold up the others) {
  socket_server dead{[](socket_connection& connection) {
    connection.wait_for_close();
  }};
  socket_server alive{always(answer("ok"))};
  curl_client client;
  std::vector<std::future<http_outcome>> stuck;
  for (int i = 0; i < 20; ++i) {
    auto request = to(dead);
    request.timeout = millis{2'000};
    stuck.push_back(send(client, request));
  }
  auto begin = steady::now();
  CAF_CHECK_EQUAL(kind_of(ask(client, to(alive))), "200");
  CAF_CHECK(steady::now() - begin < std::chrono::seconds{1});
  client.stop();
  for (auto& result : stuck)
    CAF_CHECK(wait_for(result).failure() != nullptr);
}

CAF_TEST(a request looks as if it were the first) {
  std::mutex mutex;
  std::string seen;
  socket_server server{[&](socket_connection& connection) {
    for (auto text = connection.read_request(); !text.empty();
         text = connection.read_request()) {
      {
        std::lock_guard guard{mutex};
        seen = text;
      }
      connection.write(answer(text.starts_with("HEAD") ? "" : "ok"));
    }
  }};
  std::vector<http_request> kinds;
  auto add = [&](std::string method, std::string body, std::string path,
                 header_list headers) {
    auto request = to(server, std::move(method), std::move(body));
    request.url = "http://" + server.address() + path;
    request.headers = std::move(headers);
    kinds.push_back(std::move(request));
  };
  add("GET", "", "/", {});
  add("GET", "with a body", "/get", {{"Content-Type", "text/plain"}});
  add("HEAD", "", "/head?a=1#part", {{"X-Head", "1"}, {"Accept", "x/y"}});
  add("POST", "", "/", {});
  add("POST", "a longer body than others", "/post", {{"X-Post", ""}});
  add("PUT", "short", "/put", {{"User-Agent", "me"}});
  add("DELETE", "", "/delete", {{"Authorization", "Bearer x"}});
  add("DELETE", "why", "/with%20space", {{"Content-Length", "3"}});
  add("REPORT", "", "/", {{"Host", "other.test"}});
  auto text_of = [&](outbound& client, const http_request& request) {
    CAF_CHECK_EQUAL(kind_of(ask(client, request)), "200");
    std::lock_guard guard{mutex};
    return std::exchange(seen, {});
  };
  for (const auto& second : kinds) {
    curl_client fresh;
    const auto wanted = text_of(fresh, second);
    CAF_CHECK(wanted.starts_with(second.method + ' '));
    for (const auto& first : kinds) {
      text_of(fresh, first);
      CAF_CHECK_EQUAL(text_of(fresh, second), wanted);
    }
  }
}

CAF_TEST(each request goes to its own URL) {
  socket_server server{[](socket_connection& connection) {
    for (auto text = connection.read_request(); !text.empty();
         text = connection.read_request())
      connection.write(answer(text.substr(0, text.find(" HTTP/"))));
  }};
  curl_client client;
  for (int round = 0; round < 3; ++round)
    for (int i = 0; i < 20; ++i) {
      const auto path = "/" + std::to_string(i);
      auto request = to(server);
      request.url = "http://" + server.address() + path;
      auto outcome = ask(client, request);
      CAF_REQUIRE(outcome.response() != nullptr);
      CAF_CHECK_EQUAL(outcome.response()->body, "GET " + path);
    }
}

CAF_TEST(only loopback addresses go past the proxy) {
  socket_server direct{always(answer("direct"))};
  socket_server proxy{[](socket_connection& connection) {
    for (auto text = connection.read_request(); !text.empty();
         text = connection.read_request())
      connection.write(answer(text.substr(0, text.find(" HTTP/"))));
  }};
  const auto address = "http://" + proxy.address();
  ::setenv("http_proxy", address.c_str(), 1);
  {
    curl_client client;
    auto far = to(direct);
    far.url = "http://provider.invalid/x";
    for (int i = 0; i < 3; ++i) {
      auto outcome = ask(client, to(direct, "POST", "x"));
      CAF_REQUIRE(outcome.response() != nullptr);
      CAF_CHECK_EQUAL(outcome.response()->body, "direct");
      outcome = ask(client, far);
      CAF_REQUIRE(outcome.response() != nullptr);
      CAF_CHECK_EQUAL(outcome.response()->body,
                      "GET http://provider.invalid/x");
    }
    curl_client_options options;
    options.connect_to = direct.address();
    curl_client past{options};
    for (int i = 0; i < 3; ++i) {
      auto outcome = ask(past, far);
      CAF_REQUIRE(outcome.response() != nullptr);
      CAF_CHECK_EQUAL(outcome.response()->body, "direct");
    }
  }
  ::unsetenv("http_proxy");
}

CAF_TEST(a failure leaves nothing behind) {
  socket_server good{always(answer("ok"))};
  socket_server rude{[](socket_connection& connection) {
    connection.read_request();
  }};
  socket_server wordy{always(answer(std::string(1'000, 'x')))};
  curl_client client;
  for (int i = 0; i < 3; ++i) {
    CAF_CHECK_EQUAL(kind_of(ask(client, to(rude, "POST", "x"))), "in_doubt");
    CAF_CHECK_EQUAL(kind_of(ask(client, to(good, "POST", "x"))), "200");
    auto request = to(wordy);
    request.max_response_bytes = 10;
    CAF_CHECK_EQUAL(kind_of(ask(client, request)), "too_large");
    request = to(good);
    request.url = "http://127.0.0.1:"
                  + std::to_string(slipway::test::closed_port()) + "/";
    CAF_CHECK_EQUAL(kind_of(ask(client, request)), "not_sent");
    CAF_CHECK_EQUAL(kind_of(ask(client, to(good))), "200");
  }
}

CAF_TEST(a GET may go twice however often that was needed) {
  // Connections die in the middle of their second request.
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.write(answer("ok"));
    connection.read_request();
  }};
  curl_client client;
  for (int i = 0; i < 15; ++i)
    CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
  CAF_CHECK_EQUAL(server.accepted(), 15);
}

CAF_TEST(connections that are closed meanwhile are replaced) {
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.write(answer("ok"));
  }};
  curl_client client;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::future<http_outcome>> results;
    for (int i = 0; i < 10; ++i)
      results.push_back(send(client, to(server)));
    for (auto& result : results)
      CAF_CHECK_EQUAL(kind_of(wait_for(result)), "200");
  }
  CAF_CHECK_EQUAL(client.current_load().in_flight, 0u);
}

CAF_TEST(sockets of all kinds may have had the same number) {
  socket_server server{[](socket_connection& connection) {
    connection.read_request();
    connection.write(answer("ok"));
  }};
  curl_client client;
  auto begin = steady::now();
  for (int i = 0; i < 30; ++i) {
    // The thread that looks for the address reports over a socket as well.
    auto nowhere = to(server);
    nowhere.url = "http://" + std::string(64 + static_cast<std::size_t>(i), 'a')
                  + ".invalid/";
    auto lost = send(client, nowhere);
    CAF_CHECK_EQUAL(kind_of(ask(client, to(server))), "200");
    CAF_CHECK_EQUAL(kind_of(wait_for(lost)), "not_sent");
  }
  CAF_CHECK(steady::now() - begin < std::chrono::seconds{9});
}

CAF_TEST(a request wakes the thread whenever it comes) {
  socket_server server{always(answer("ok"))};
  curl_client client;
  auto begin = steady::now();
  for (int i = 0; i < 1'000; ++i)
    CAF_REQUIRE_EQUAL(kind_of(ask(client, to(server, "POST", "x"))), "200");
  // One that was not seen would wait for ten seconds.
  CAF_CHECK(steady::now() - begin < std::chrono::seconds{9});
}

CAF_TEST(what a callback holds is let go) {
  socket_server server{always(answer("ok"))};
  curl_client client;
  auto held = std::make_shared<int>();
  std::promise<void> done;
  client.send(to(server), [&done, held](http_outcome) {
    done.set_value();
  });
  CAF_REQUIRE(done.get_future().wait_for(patience)
              == std::future_status::ready);
  auto deadline = steady::now() + patience;
  while (held.use_count() > 1 && steady::now() < deadline)
    std::this_thread::yield();
  CAF_CHECK_EQUAL(held.use_count(), 1);
}

CAF_TEST(header names compare without regard to case) {
  header_list headers{{"Retry-After", "1"}, {"retry-after", "2"}};
  CAF_CHECK(find_header(headers, "RETRY-AFTER") == "1");
  CAF_CHECK(!find_header(headers, "Retry"));
}
