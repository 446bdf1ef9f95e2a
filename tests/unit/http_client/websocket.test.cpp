#define CAF_SUITE http_client.websocket

#include "http/client/websocket.hpp"

#include "tests/support/socket_server.hpp"
#include "tests/support/websocket_peer.hpp"

#include <boost/asio/ssl/context.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <caf/test/unit_test.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <fstream>

using namespace slipway;
using namespace slipway::client;
using namespace std::chrono_literals;
using slipway::test::socket_connection;
using slipway::test::socket_server;
using slipway::test::websocket_peer;
using slipway::test::websocket_talk;

// Goal: whatever the other side does, the owner is told the end exactly once,
// in the right words, within the time that was set; and nothing grows.

namespace {

constexpr auto patience = 20s;

/// Remembers what one owner was told.
class ear {
public:
  websocket_handlers handlers() {
    return {[this] {
              const auto lock = std::lock_guard{mutex_};
              opened_ = true;
              changed_.notify_all();
            },
            [this](std::string text) {
              const auto lock = std::lock_guard{mutex_};
              received_.push_back(std::move(text));
              changed_.notify_all();
            },
            [this](websocket_closure what) {
              const auto lock = std::lock_guard{mutex_};
              ++ends_;
              end_ = std::move(what);
              changed_.notify_all();
            }};
  }

  ~ear() {
    CAF_CHECK(ends_ <= 1);
  }

  bool opens() {
    return wait([this] {
             return opened_ || ends_ > 0;
           })
           && opened_;
  }

  /// The next message; `(none)` when the connection ended before.
  std::string next() {
    auto lock = std::unique_lock{mutex_};
    changed_.wait_for(lock, patience, [this] {
      return !received_.empty() || ends_ > 0;
    });
    if (received_.empty())
      return "(none)";
    auto out = std::move(received_.front());
    received_.pop_front();
    return out;
  }

  websocket_closure end() {
    wait([this] {
      return ends_ > 0;
    });
    const auto lock = std::lock_guard{mutex_};
    CAF_CHECK_EQUAL(ends_, 1);
    return end_;
  }

  std::size_t waiting() {
    const auto lock = std::lock_guard{mutex_};
    return received_.size();
  }

  template <class F>
  bool wait(F f, std::chrono::milliseconds within = patience) {
    auto lock = std::unique_lock{mutex_};
    return changed_.wait_for(lock, within, f);
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool opened_ = false;
  int ends_ = 0;
  std::deque<std::string> received_;
  websocket_closure end_;
};

std::string how(const websocket_closure& x) {
  return std::string{to_string(x.how)};
}

websocket_request to(const websocket_peer& peer) {
  auto out = websocket_request{};
  out.url = peer.url("/graphql/v2?source=slipway");
  out.headers = {{"Authorization", "Bearer secret-token"}};
  out.protocol = "graphql-transport-ws";
  return out;
}

websocket_request to(const socket_server& server) {
  auto out = websocket_request{};
  out.url = "ws://" + server.address() + "/x?token=hidden";
  return out;
}

template <class F>
bool eventually(F f, std::chrono::milliseconds within = patience) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (!f()) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    std::this_thread::yield();
  }
  return true;
}

/// Repeats what it hears until the other side is gone.
void echo(websocket_talk& talk) {
  if (!talk.accept("graphql-transport-ws"))
    return;
  while (auto text = talk.read())
    talk.write("re: " + *text);
}

/// A certificate for `localhost`, signed by itself, in files.
struct identity {
  std::string folder;
  std::string cert;
  std::string key;

  explicit identity(const char* name) {
    char where[] = "/tmp/slipway-tls-XXXXXX";
    folder = mkdtemp(where);
    cert = folder + "/cert.pem";
    key = folder + "/key.pem";
    auto* pair = EVP_RSA_gen(2048);
    auto* x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3'600);
    X509_set_pubkey(x, pair);
    auto* subject = X509_get_subject_name(x);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name), -1,
                               -1, 0);
    X509_set_issuer_name(x, subject);
    auto context = X509V3_CTX{};
    X509V3_set_ctx(&context, x, x, nullptr, nullptr, 0);
    const auto names = std::string{"DNS:"} + name;
    auto* extension = X509V3_EXT_conf_nid(nullptr, &context,
                                          NID_subject_alt_name, names.c_str());
    X509_add_ext(x, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(x, pair, EVP_sha256());
    auto* file = std::fopen(cert.c_str(), "w");
    PEM_write_X509(file, x);
    std::fclose(file);
    file = std::fopen(key.c_str(), "w");
    PEM_write_PrivateKey(file, pair, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(x);
    EVP_PKEY_free(pair);
  }

  ~identity() {
    std::remove(cert.c_str());
    std::remove(key.c_str());
    std::remove(folder.c_str());
  }
};

/// An echo over TLS, for one connection.
class tls_peer {
public:
  explicit tls_peer(const identity& who) {
    namespace ssl = boost::asio::ssl;
    tls_.use_certificate_chain_file(who.cert);
    tls_.use_private_key_file(who.key, ssl::context::pem);
    SSL_CTX_set_tlsext_servername_callback(
      tls_.native_handle(), +[](SSL* from, int*, void* self) {
        if (const auto* name
            = SSL_get_servername(from, TLSEXT_NAMETYPE_host_name))
          static_cast<tls_peer*>(self)->asked_for = name;
        return SSL_TLSEXT_ERR_OK;
      });
    SSL_CTX_set_tlsext_servername_arg(tls_.native_handle(), this);
    thread_ = std::thread{[this] {
      serve();
    }};
  }

  ~tls_peer() {
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    thread_.join();
  }

  [[nodiscard]] std::string port() const {
    return std::to_string(acceptor_.local_endpoint().port());
  }

  std::string asked_for;

private:
  void serve() {
    namespace beast = boost::beast;
    auto ec = boost::system::error_code{};
    auto from = boost::asio::ip::tcp::socket{context_};
    acceptor_.accept(from, ec);
    if (ec)
      return;
    auto talk = beast::websocket::stream<
      beast::ssl_stream<boost::asio::ip::tcp::socket>>{std::move(from), tls_};
    talk.next_layer().handshake(boost::asio::ssl::stream_base::server, ec);
    if (ec)
      return;
    talk.accept(ec);
    auto got = beast::flat_buffer{};
    talk.read(got, ec);
    if (!ec)
      talk.write(got.data(), ec);
    talk.close({beast::websocket::close_code::normal, "bye"}, ec);
  }

  boost::asio::io_context context_;
  boost::asio::ssl::context tls_{boost::asio::ssl::context::tls_server};
  boost::asio::ip::tcp::acceptor acceptor_{
    context_, {boost::asio::ip::make_address("127.0.0.1"), 0}};
  std::thread thread_;
};

} // namespace

CAF_TEST(messages go both ways in order) {
  auto seen = std::string{};
  websocket_peer peer{[&](websocket_talk& talk) {
    seen = std::string{talk.request().target()} + "|"
           + talk.header("Authorization") + "|"
           + talk.header("Sec-WebSocket-Protocol") + "|"
           + talk.header("User-Agent") + "|" + talk.header("Host");
    echo(talk);
  }};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  CAF_REQUIRE(told.opens());
  CAF_CHECK_EQUAL(seen, "/graphql/v2?source=slipway|Bearer secret-token|"
                        "graphql-transport-ws|slipway|127.0.0.1:"
                          + std::to_string(peer.port()));
  CAF_CHECK_EQUAL(client.connections(), 1u);
  for (auto i = 0; i < 100; ++i)
    x->send(std::to_string(i));
  for (auto i = 0; i < 100; ++i) {
    CAF_REQUIRE_EQUAL(told.next(), "re: " + std::to_string(i));
    x->taken();
  }
  x->close();
  CAF_CHECK_EQUAL(how(told.end()), "finished");
  CAF_CHECK_EQUAL(client.connections(), 0u);
  x->send("too late");
  x->close();
}

CAF_TEST(dropping the last reference closes in good order) {
  auto code = std::atomic<int>{0};
  websocket_peer peer{[&](websocket_talk& talk) {
    echo(talk);
    code = talk.beast().reason().code;
  }};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  CAF_REQUIRE(told.opens());
  x.reset();
  CAF_CHECK_EQUAL(how(told.end()), "finished");
  CAF_CHECK(eventually([&] {
    return code == 1000;
  }));
}

CAF_TEST(the other side closes with a code and a reason) {
  websocket_peer peer{[](websocket_talk& talk) {
    talk.accept("graphql-transport-ws");
    talk.close(4401, "Unauthorized");
  }};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  const auto end = told.end();
  CAF_CHECK_EQUAL(how(end), "closed");
  CAF_CHECK_EQUAL(end.code, 4401);
  CAF_CHECK_EQUAL(
    end.message,
    "127.0.0.1: closed by the other side, code 4401: Unauthorized");
}

CAF_TEST(a connection that breaks off is lost) {
  websocket_peer peer{[](websocket_talk& talk) {
    talk.accept("graphql-transport-ws");
    talk.write("one");
  }};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  CAF_CHECK_EQUAL(told.next(), "one");
  CAF_CHECK_EQUAL(how(told.end()), "lost");
}

CAF_TEST(whoever answers otherwise has declined) {
  const auto ask = [](std::string answer) {
    socket_server server{[answer](socket_connection& x) {
      x.read_request();
      x.write(answer);
      x.wait_for_close();
    }};
    websocket_client client;
    ear told;
    auto request = to(server);
    auto x = client.open(request, told.handlers());
    const auto end = told.end();
    CAF_CHECK(end.message.find("hidden") == std::string::npos);
    return how(end) + " " + std::to_string(end.code);
  };
  CAF_CHECK_EQUAL(ask("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
                  "declined 401");
  CAF_CHECK_EQUAL(ask("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
                  "declined 200");
  CAF_CHECK_EQUAL(ask("HTTP/1.1 429 Too Many\r\nContent-Length: 16\r\n\r\n"
                      "error code: 1015"),
                  "declined 429");
  CAF_CHECK_EQUAL(ask("SSH-2.0-OpenSSH_9.2\r\n\r\n"), "declined 0");
}

CAF_TEST(a protocol has to be agreed on) {
  for (const auto* agreed : {"", "graphql-ws"}) {
    websocket_peer peer{[agreed](websocket_talk& talk) {
      talk.accept(agreed);
      talk.read();
    }};
    websocket_client client;
    ear told;
    auto x = client.open(to(peer), told.handlers());
    CAF_CHECK_EQUAL(how(told.end()), "misbehaved");
  }
}

CAF_TEST(nobody there is unreachable) {
  websocket_client client;
  {
    ear told;
    auto request = websocket_request{};
    request.url
      = "ws://127.0.0.1:" + std::to_string(slipway::test::closed_port()) + "/";
    auto x = client.open(request, told.handlers());
    CAF_CHECK_EQUAL(how(told.end()), "unreachable");
  }
  {
    ear told;
    auto request = websocket_request{};
    request.url = "ws://no-such-host.invalid/";
    request.connect_timeout = 5s;
    auto x = client.open(request, told.handlers());
    CAF_CHECK_EQUAL(how(told.end()), "unreachable");
  }
}

CAF_TEST(a handshake that hangs is given up in time) {
  socket_server server{[](socket_connection& x) {
    x.read_request();
    x.wait_for_close();
  }};
  websocket_client client;
  ear told;
  auto request = to(server);
  request.connect_timeout = 150ms;
  const auto begin = std::chrono::steady_clock::now();
  auto x = client.open(request, told.handlers());
  const auto end = told.end();
  CAF_CHECK_EQUAL(how(end), "unreachable");
  CAF_CHECK_EQUAL(end.message, "127.0.0.1: no connection in time");
  CAF_CHECK(std::chrono::steady_clock::now() - begin >= 150ms);
  CAF_CHECK(std::chrono::steady_clock::now() - begin < 4s);
}

CAF_TEST(a deadline ends an open connection unless it is moved) {
  websocket_peer peer{echo};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  CAF_REQUIRE(told.opens());
  x->set_deadline(100ms);
  x->set_deadline(std::nullopt);
  CAF_CHECK(!told.wait(
    [] {
      return false;
    },
    200ms));
  x->send("alive");
  CAF_CHECK_EQUAL(told.next(), "re: alive");
  x->set_deadline(100ms);
  const auto end = told.end();
  CAF_CHECK_EQUAL(how(end), "lost");
  CAF_CHECK_EQUAL(end.message, "127.0.0.1: over its deadline");
}

CAF_TEST(a silent side is pinged and then given up) {
  // It answers pings for as long as it reads; then it does not.
  auto stop = std::atomic<bool>{false};
  auto pings = std::atomic<int>{0};
  websocket_peer peer{[&](websocket_talk& talk) {
    talk.beast().control_callback(
      [&](boost::beast::websocket::frame_type kind, boost::beast::string_view) {
        if (kind == boost::beast::websocket::frame_type::ping)
          ++pings;
      });
    talk.accept("graphql-transport-ws");
    talk.read(); // Until "stop".
    stop = true;
    while (stop)
      std::this_thread::yield();
  }};
  websocket_client client;
  ear told;
  auto request = to(peer);
  request.idle_timeout = 200ms;
  auto x = client.open(request, told.handlers());
  CAF_REQUIRE(told.opens());
  CAF_CHECK(eventually([&] {
    return pings >= 5;
  }));
  x->send("stop");
  const auto end = told.end();
  stop = false;
  CAF_CHECK_EQUAL(how(end), "lost");
  CAF_CHECK_EQUAL(end.message, "127.0.0.1: silent for too long");
}

CAF_TEST(messages beyond the limit end the connection) {
  websocket_peer peer{[](websocket_talk& talk) {
    talk.accept("graphql-transport-ws");
    talk.write(std::string(1'000, 'x'));
    talk.write(std::string(1'001, 'x'));
    talk.read();
  }};
  websocket_client client;
  ear told;
  auto request = to(peer);
  request.max_message_bytes = 1'000;
  auto x = client.open(request, told.handlers());
  CAF_CHECK_EQUAL(told.next().size(), 1'000u);
  CAF_CHECK_EQUAL(how(told.end()), "misbehaved");
}

CAF_TEST(who takes no messages is read none) {
  constexpr auto count = 200;
  auto written = std::atomic<int>{0};
  websocket_peer peer{[&](websocket_talk& talk) {
    talk.accept("graphql-transport-ws");
    for (auto i = 0; i < count; ++i) {
      if (!talk.write(std::string(100'000, 'x')))
        return;
      ++written;
    }
    talk.read();
  }};
  websocket_client client;
  ear told;
  auto request = to(peer);
  request.untaken_max = 3;
  auto x = client.open(request, told.handlers());
  CAF_REQUIRE(told.opens());
  CAF_CHECK(!told.wait(
    [] {
      return false;
    },
    300ms));
  CAF_CHECK_EQUAL(told.waiting(), 3u);
  // What is not read here waits in the kernel, and then over there.
  CAF_CHECK(written < count);
  for (auto i = 0; i < count; ++i) {
    CAF_REQUIRE_EQUAL(told.next().size(), 100'000u);
    x->taken();
  }
  CAF_CHECK(eventually([&] {
    return written == count;
  }));
}

CAF_TEST(who is not read from is given up) {
  auto done = std::atomic<bool>{false};
  websocket_peer peer{[&](websocket_talk& talk) {
    talk.accept("graphql-transport-ws");
    while (!done)
      std::this_thread::yield();
  }};
  websocket_client client;
  ear told;
  auto x = client.open(to(peer), told.handlers());
  CAF_REQUIRE(told.opens());
  for (auto i = 0; i < 1'000; ++i)
    x->send(std::string(64 * 1024, 'x'));
  CAF_CHECK_EQUAL(how(told.end()), "lost");
  done = true;
}

CAF_TEST(connections are bounded) {
  websocket_peer peer{echo};
  auto options = websocket_client_options{};
  options.connections_max = 2;
  websocket_client client{options};
  ear a;
  ear b;
  ear c;
  ear d;
  auto first = client.open(to(peer), a.handlers());
  auto second = client.open(to(peer), b.handlers());
  auto third = client.open(to(peer), c.handlers());
  CAF_CHECK(a.opens());
  CAF_CHECK(b.opens());
  CAF_CHECK_EQUAL(how(c.end()), "refused");
  CAF_CHECK_EQUAL(client.connections(), 2u);
  first->close();
  a.end();
  auto fourth = client.open(to(peer), d.handlers());
  CAF_CHECK(d.opens());
}

CAF_TEST(bad requests are refused) {
  websocket_client client;
  const auto ask = [&](auto change) {
    ear told;
    auto request = websocket_request{};
    request.url = "ws://127.0.0.1:1/";
    change(request);
    auto x = client.open(request, told.handlers());
    x->send("nothing");
    return how(told.end());
  };
  for (const auto* url : {"", "http://a/", "ws:///x", "ws://", "a", "ws://a b/",
                          "ws://user:pw@127.0.0.1/", "wss//x"})
    CAF_CHECK_EQUAL(ask([url](auto& x) {
                      x.url = url;
                    }),
                    "refused");
  CAF_CHECK_EQUAL(ask([](auto& x) {
                    x.headers = {{"A", "b\r\nC: d"}};
                  }),
                  "refused");
  CAF_CHECK_EQUAL(ask([](auto& x) {
                    x.protocol = "a\r\nb";
                  }),
                  "refused");
  CAF_CHECK_EQUAL(ask([](auto& x) {
                    x.connect_timeout = 0ms;
                  }),
                  "refused");
}

CAF_TEST(stopping drops everything and tells everybody) {
  websocket_peer peer{echo};
  socket_server hanging{[](socket_connection& x) {
    x.wait_for_close();
  }};
  auto client = std::make_unique<websocket_client>();
  ear open;
  ear half;
  ear late;
  auto x = client->open(to(peer), open.handlers());
  auto y = client->open(to(hanging), half.handlers());
  CAF_REQUIRE(open.opens());
  client->stop();
  CAF_CHECK_EQUAL(how(open.end()), "finished");
  CAF_CHECK_EQUAL(how(half.end()), "finished");
  auto z = client->open(to(peer), late.handlers());
  CAF_CHECK_EQUAL(how(late.end()), "refused");
  client.reset();
  // Handles outlive their client.
  x->send("nothing");
  x->taken();
  x.reset();
}

CAF_TEST(a handler that throws harms nobody else) {
  websocket_peer peer{echo};
  websocket_client client;
  ear told;
  auto bad = client.open(to(peer), {[] {
                                      throw std::runtime_error("on purpose");
                                    },
                                    {},
                                    {}});
  auto x = client.open(to(peer), told.handlers());
  CAF_REQUIRE(told.opens());
  x->send("still here");
  CAF_CHECK_EQUAL(told.next(), "re: still here");
}

CAF_TEST(TLS is spoken to whom the certificate names) {
  const auto who = identity{"localhost"};
  auto options = websocket_client_options{};
  options.ca_file = who.cert;
  websocket_client client{options};
  tls_peer peer{who};
  ear told;
  auto request = websocket_request{};
  request.url = "wss://localhost:" + peer.port() + "/x";
  auto x = client.open(request, told.handlers());
  CAF_REQUIRE(told.opens());
  CAF_CHECK_EQUAL(peer.asked_for, "localhost");
  x->send("over TLS");
  CAF_CHECK_EQUAL(told.next(), "over TLS");
  CAF_CHECK_EQUAL(how(told.end()), "closed");
}

CAF_TEST(TLS is refused to everybody else) {
  const auto who = identity{"localhost"};
  const auto other = identity{"railway.example"};
  const auto ask = [](const identity& speaks, const std::string& trusted,
                      const std::string& host) {
    auto options = websocket_client_options{};
    options.ca_file = trusted;
    websocket_client client{options};
    tls_peer peer{speaks};
    ear told;
    auto request = websocket_request{};
    request.url = "wss://" + host + ":" + peer.port() + "/x";
    auto x = client.open(request, told.handlers());
    return how(told.end());
  };
  // Unknown, known under another name, and not known to the system.
  CAF_CHECK_EQUAL(ask(other, who.cert, "localhost"), "unreachable");
  CAF_CHECK_EQUAL(ask(other, other.cert, "localhost"), "unreachable");
  CAF_CHECK_EQUAL(ask(who, who.cert, "127.0.0.1"), "unreachable");
  CAF_CHECK_EQUAL(ask(who, "", "localhost"), "unreachable");
}
