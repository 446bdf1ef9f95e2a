#include "http/client/websocket.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/ssl/ssl_stream.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>
#include <boost/url/parse.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <deque>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

namespace slipway::client {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace ws = boost::beast::websocket;

using boost::system::error_code;
using tcp = asio::ip::tcp;

constexpr auto send_queue_bytes_max = std::size_t{256 * 1024};

constexpr auto close_timeout = millis{3'000};

constexpr auto end_names = std::array<std::string_view, 7>{
  "finished", "refused", "unreachable", "declined",
  "closed",   "lost",    "misbehaved"};

static_assert(end_names.size()
              == static_cast<std::size_t>(websocket_end::misbehaved) + 1);

/// An absolute ws or wss URL, taken apart.
struct address {
  bool secure = false;
  std::string host;   ///< For resolving and for certificates.
  std::string port;   ///< In digits.
  std::string header; ///< `Host`.
  std::string target; ///< Path and query.
};

std::optional<address> parse_address(const std::string& url) {
  const auto parsed = boost::urls::parse_uri(url);
  if (!parsed || parsed->has_userinfo() || parsed->host_address().empty())
    return std::nullopt;
  auto out = address{};
  out.secure = parsed->scheme() == "wss";
  if (!out.secure && parsed->scheme() != "ws")
    return std::nullopt;
  out.host = parsed->host_address();
  out.header = std::string{parsed->encoded_host()};
  out.port = out.secure ? "443" : "80";
  if (parsed->has_port() && !parsed->port().empty()) {
    out.port = std::string{parsed->port()};
    out.header += ":" + out.port;
  }
  out.target = std::string{parsed->encoded_path()};
  if (out.target.empty())
    out.target = "/";
  if (parsed->has_query())
    out.target += "?" + std::string{parsed->encoded_query()};
  return out;
}

bool is_one_line(std::string_view text) noexcept {
  using namespace std::literals;
  return text.find_first_of("\r\n\0"sv) == std::string_view::npos;
}

/// A connection, whatever is below it. Everything but the constructor runs on
/// the client's thread.
class link : public std::enable_shared_from_this<link> {
public:
  virtual ~link() = default;

  virtual void start() = 0;

  virtual void send(std::string text) = 0;

  virtual void taken() = 0;

  virtual void set_deadline(std::optional<millis> after) = 0;

  virtual void close() = 0;

  /// Ends it at once.
  virtual void drop() = 0;
};

/// What all connections of one client share.
struct websocket_core {
  explicit websocket_core(websocket_client_options given)
    : options{std::move(given)}, work{asio::make_work_guard(context)} {
    if (options.ca_file.empty())
      tls.set_default_verify_paths();
    else
      tls.load_verify_file(options.ca_file);
    tls.set_verify_mode(asio::ssl::verify_peer);
    tls.set_options(asio::ssl::context::default_workarounds
                    | asio::ssl::context::no_tlsv1
                    | asio::ssl::context::no_tlsv1_1);
  }

  void run() noexcept {
    for (;;) {
      try {
        context.run();
        return;
      } catch (const std::exception& e) {
        // A handler that throws must not take all other connections along.
        spdlog::error("websocket: a handler threw: {}", e.what());
      }
    }
  }

  /// Runs `f` on the client's thread, unless that has ended.
  template <class F>
  bool post(F f) {
    const auto lock = std::lock_guard{mutex};
    if (stopping)
      return false;
    asio::post(context, std::move(f));
    return true;
  }

  void leave(const std::shared_ptr<link>& x) {
    if (links.erase(x) > 0)
      --count;
  }

  const websocket_client_options options;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> work;
  asio::ssl::context tls{asio::ssl::context::tls_client};
  std::atomic<std::size_t> count{0};
  std::set<std::shared_ptr<link>> links; ///< Of the client's thread.
  std::mutex mutex;
  bool stopping = false; ///< Guarded.
  std::thread worker;
};

/// @tparam Next What the WebSocket goes over: plain TCP or TLS.
template <class Next>
class session final : public link {
public:
  template <class... Ts>
  session(websocket_core& shared, address where, websocket_request request,
          websocket_handlers handlers, Ts&... layer)
    : shared_{shared}, where_{std::move(where)}, request_{std::move(request)},
      handlers_{std::move(handlers)}, resolver_{shared_.context},
      timer_{shared_.context}, stream_{shared_.context, layer...} {
  }

  void start() override {
    shared_.links.insert(shared_from_this());
    arm(request_.connect_timeout, "no connection in time");
    resolver_.async_resolve(
      where_.host, where_.port, tcp::resolver::numeric_service,
      [self = me()](const error_code& ec, tcp::resolver::results_type found) {
        if (self->ended_)
          return;
        if (ec)
          self->fail(websocket_end::unreachable, ec);
        else
          self->connect(found);
      });
  }

  void send(std::string text) override {
    if (!open_ || closing_ || ended_)
      return;
    queued_ += text.size();
    if (queued_ > send_queue_bytes_max) {
      end(websocket_end::lost, 0, "the other side takes nothing any more");
      return;
    }
    queue_.push_back(std::move(text));
    if (queue_.size() == 1)
      write();
  }

  void taken() override {
    if (untaken_ > 0)
      --untaken_;
    read();
  }

  void set_deadline(std::optional<millis> after) override {
    if (!open_ || closing_ || ended_)
      return;
    if (after)
      arm(*after, "over its deadline");
    else
      disarm();
  }

  void close() override {
    if (closing_ || ended_)
      return;
    if (!open_) {
      drop();
      return;
    }
    closing_ = true;
    arm(close_timeout, "");
    stream_.async_close(ws::close_code::normal,
                        [self = me()](const error_code&) {
                          self->drop();
                        });
  }

  void drop() override {
    end(websocket_end::finished, 0, "finished");
  }

private:
  std::shared_ptr<session> me() {
    return std::static_pointer_cast<session>(shared_from_this());
  }

  beast::tcp_stream& lowest() {
    return beast::get_lowest_layer(stream_);
  }

  // -- the deadline -----------------------------------------------------------

  void arm(millis after, const char* why) {
    timer_.expires_after(after);
    timer_.async_wait([self = me(), why](const error_code& ec) {
      if (ec || self->ended_)
        return;
      if (self->closing_)
        self->drop();
      else
        self->end(self->open_ ? websocket_end::lost
                              : websocket_end::unreachable,
                  0, why);
    });
  }

  void disarm() {
    timer_.cancel();
  }

  // -- opening ----------------------------------------------------------------

  void connect(const tcp::resolver::results_type& to) {
    lowest().expires_never();
    lowest().async_connect(
      to, [self = me()](const error_code& ec, const tcp::endpoint&) {
        if (self->ended_)
          return;
        if (ec) {
          self->fail(websocket_end::unreachable, ec);
          return;
        }
        auto ignored = error_code{};
        self->lowest().socket().set_option(tcp::no_delay{true}, ignored);
        self->secure();
      });
  }

  void secure() {
    if constexpr (std::is_same_v<Next, beast::tcp_stream>) {
      upgrade();
    } else {
      auto& tls = stream_.next_layer();
      auto not_an_ip = error_code{};
      asio::ip::make_address(where_.host, not_an_ip);
      if (not_an_ip
          && SSL_set_tlsext_host_name(tls.native_handle(), where_.host.c_str())
               != 1) {
        end(websocket_end::unreachable, 0, "no TLS for this host's name");
        return;
      }
      tls.set_verify_callback(asio::ssl::host_name_verification{where_.host});
      tls.async_handshake(asio::ssl::stream_base::client,
                          [self = me()](const error_code& ec) {
                            if (self->ended_)
                              return;
                            if (ec)
                              self->fail(websocket_end::unreachable, ec);
                            else
                              self->upgrade();
                          });
    }
  }

  void upgrade() {
    auto limits = ws::stream_base::timeout{};
    limits.handshake_timeout = request_.connect_timeout;
    limits.idle_timeout = request_.idle_timeout;
    limits.keep_alive_pings = true;
    stream_.set_option(limits);
    stream_.set_option(
      ws::stream_base::decorator{[this](ws::request_type& head) {
        if (!find_header(request_.headers, "User-Agent"))
          head.set("User-Agent", shared_.options.user_agent);
        if (!request_.protocol.empty())
          head.set("Sec-WebSocket-Protocol", request_.protocol);
        for (const auto& [name, value] : request_.headers)
          head.set(name, value);
      }});
    stream_.read_message_max(request_.max_message_bytes);
    stream_.text(true);
    stream_.async_handshake(answer_, where_.header, where_.target,
                            [self = me()](const error_code& ec) {
                              if (!self->ended_)
                                self->upgraded(ec);
                            });
  }

  void upgraded(const error_code& ec) {
    if (ec) {
      const auto status = static_cast<int>(answer_.result_int());
      if (ec == ws::error::upgrade_declined)
        end(websocket_end::declined, status,
            "the upgrade was answered with HTTP " + std::to_string(status));
      else if (ec.category() == error_code{ws::error::closed}.category()
               || ec.category()
                    == error_code{beast::http::error::bad_version}.category())
        fail(websocket_end::declined, ec);
      else
        fail(websocket_end::unreachable, ec);
      return;
    }
    if (answer_["Sec-WebSocket-Protocol"] != request_.protocol) {
      end(websocket_end::misbehaved, 0,
          "the other side did not agree on the sub-protocol");
      return;
    }
    open_ = true;
    disarm();
    if (handlers_.opened)
      handlers_.opened();
    read();
  }

  // -- reading ----------------------------------------------------------------

  void read() {
    if (!open_ || ended_ || reading_ || untaken_ >= request_.untaken_max)
      return;
    reading_ = true;
    stream_.async_read(buffer_,
                       [self = me()](const error_code& ec, std::size_t) {
                         self->reading_ = false;
                         if (!self->ended_)
                           self->received(ec);
                       });
  }

  void received(const error_code& ec) {
    if (closing_)
      return; // Its own handler goes on.
    if (ec == ws::error::closed) {
      const auto& why = stream_.reason();
      auto text = "closed by the other side, code " + std::to_string(why.code);
      if (!why.reason.empty())
        text += ": " + std::string{why.reason.data(), why.reason.size()};
      end(websocket_end::closed, why.code, text);
      return;
    }
    if (ec == beast::error::timeout) {
      end(websocket_end::lost, 0, "silent for too long");
      return;
    }
    if (ec) {
      fail(ec.category() == error_code{ws::error::closed}.category()
             ? websocket_end::misbehaved
             : websocket_end::lost,
           ec);
      return;
    }
    auto text = beast::buffers_to_string(buffer_.data());
    buffer_.clear();
    // A large message's memory is not kept for small ones.
    if (text.size() > 64 * 1024)
      buffer_.shrink_to_fit();
    ++untaken_;
    if (handlers_.received)
      handlers_.received(std::move(text));
    read();
  }

  // -- writing ----------------------------------------------------------------

  void write() {
    stream_.async_write(asio::buffer(queue_.front()),
                        [self = me()](const error_code& ec, std::size_t) {
                          if (self->ended_)
                            return;
                          if (ec) {
                            if (!self->closing_)
                              self->fail(websocket_end::lost, ec);
                            return;
                          }
                          self->queued_ -= self->queue_.front().size();
                          self->queue_.pop_front();
                          if (!self->queue_.empty())
                            self->write();
                        });
  }

  // -- the end ----------------------------------------------------------------

  void fail(websocket_end how, const error_code& ec) {
    end(how, 0, ec.message());
  }

  void end(websocket_end how, int code, const std::string& why) {
    if (std::exchange(ended_, true))
      return;
    const auto self = shared_from_this();
    timer_.cancel();
    resolver_.cancel();
    lowest().close();
    shared_.leave(self);
    const auto last = std::exchange(handlers_, {});
    if (last.closed)
      last.closed({how, code, where_.host + ": " + why});
  }

  /// Outlives its thread's work, and whoever holds a handle holds it, too. Not
  /// owned: what waits in the core's queues owns connections.
  websocket_core& shared_;
  const address where_;
  const websocket_request request_;
  websocket_handlers handlers_;
  tcp::resolver resolver_;
  asio::steady_timer timer_;
  ws::stream<Next> stream_;
  ws::response_type answer_;
  beast::flat_buffer buffer_;
  std::deque<std::string> queue_; ///< The first one is being written.
  std::size_t queued_ = 0;        ///< In bytes.
  std::size_t untaken_ = 0;
  bool open_ = false;
  bool reading_ = false;
  bool closing_ = false;
  bool ended_ = false;
};

/// What owners hold. The connection itself lives for as long as it has work.
class handle final : public websocket {
public:
  handle(std::shared_ptr<websocket_core> shared, std::shared_ptr<link> to)
    : shared_{std::move(shared)}, to_{std::move(to)} {
  }

  ~handle() override {
    handle::close();
  }

  void send(std::string text) override {
    run([text = std::move(text)](link& x) mutable {
      x.send(std::move(text));
    });
  }

  void taken() override {
    run([](link& x) {
      x.taken();
    });
  }

  void set_deadline(std::optional<millis> after) override {
    run([after](link& x) {
      x.set_deadline(after);
    });
  }

  void close() override {
    run([](link& x) {
      x.close();
    });
  }

private:
  template <class F>
  void run(F f) {
    shared_->post([to = to_, f = std::move(f)]() mutable {
      f(*to);
    });
  }

  std::shared_ptr<websocket_core> shared_; ///< Goes last.
  std::shared_ptr<link> to_;
};

/// Stands for a connection that never was.
class no_websocket final : public websocket {
public:
  void send(std::string) override {
  }

  void taken() override {
  }

  void set_deadline(std::optional<millis>) override {
  }

  void close() override {
  }
};

std::string defect_of(const websocket_request& request) {
  if (request.connect_timeout <= millis::zero()
      || request.idle_timeout <= millis::zero())
    return "the timeouts must be greater than zero";
  if (!is_one_line(request.protocol))
    return "the sub-protocol has a line break";
  for (const auto& [name, value] : request.headers)
    if (name.empty() || !is_one_line(name) || !is_one_line(value))
      return "a header has a bad name or a line break in its value";
  return {};
}

} // namespace

std::string_view to_string(websocket_end end) noexcept {
  return end_names[static_cast<std::size_t>(end)];
}

websocket::~websocket() = default;

websocket_network::~websocket_network() = default;

struct websocket_client::impl : websocket_core {
  using websocket_core::websocket_core;
};

websocket_client::websocket_client(websocket_client_options options)
  : impl_{std::make_shared<impl>(std::move(options))} {
  impl_->worker = std::thread{[shared = impl_.get()] {
    shared->run();
  }};
}

websocket_client::~websocket_client() {
  stop();
}

std::shared_ptr<websocket>
websocket_client::open(websocket_request request, websocket_handlers handlers) {
  auto defect = defect_of(request);
  auto where = parse_address(request.url);
  if (!where && defect.empty())
    defect = "the URL is not an absolute one with ws or wss";
  if (defect.empty() && ++impl_->count > impl_->options.connections_max) {
    --impl_->count;
    defect = "there are too many connections";
  }
  if (!defect.empty()) {
    const auto refuse = [done = handlers.closed, why = std::move(defect)] {
      if (done)
        done({websocket_end::refused, 0, why});
    };
    // On the caller's stack only when there is no other thread any more.
    if (!impl_->post(refuse))
      refuse();
    return std::make_shared<no_websocket>();
  }
  auto made = std::shared_ptr<link>{};
  const auto secure = where->secure;
  auto closed = handlers.closed;
  if (secure)
    made = std::make_shared<session<beast::ssl_stream<beast::tcp_stream>>>(
      *impl_, std::move(*where), std::move(request), std::move(handlers),
      impl_->tls);
  else
    made = std::make_shared<session<beast::tcp_stream>>(
      *impl_, std::move(*where), std::move(request), std::move(handlers));
  if (!impl_->post([made] {
        made->start();
      })) {
    --impl_->count;
    if (closed)
      closed({websocket_end::refused, 0, "the client is stopping"});
    return std::make_shared<no_websocket>();
  }
  return std::make_shared<handle>(impl_, std::move(made));
}

void websocket_client::stop() {
  {
    const auto lock = std::lock_guard{impl_->mutex};
    if (std::exchange(impl_->stopping, true))
      return;
  }
  asio::post(impl_->context, [shared = impl_.get()] {
    const auto all = shared->links;
    for (const auto& x : all)
      x->drop();
    // Everybody has been told. What is left, such as Beast's own timers, needs
    // no waiting for.
    shared->context.stop();
  });
  impl_->worker.join();
}

std::size_t websocket_client::connections() const noexcept {
  return impl_->count;
}

} // namespace slipway::client
