#include "http/server/server.hpp"

#include "http/server/connection.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/socket_base.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <random>

namespace slipway::http {

namespace {

using boost::system::error_code;
using tcp = asio::ip::tcp;

/// Over the limit, this many more are told so; further ones are just closed.
constexpr auto refusals_max = std::size_t{256};

/// How long to wait when the system has no descriptor for a new connection.
constexpr auto accept_pause = millis{50};

std::uint64_t mix(std::uint64_t& state) noexcept {
  state += 0x9E3779B97F4A7C15U;
  auto x = state;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31U);
}

millis tick_for(const server_options& x) {
  const auto shortest
    = std::min({x.header_timeout, x.body_timeout, x.idle_timeout,
                x.write_timeout, x.request_timeout});
  return std::clamp(shortest / 4, millis{5}, millis{250});
}

} // namespace

// -- core ---------------------------------------------------------------------

core::core(server_options options_in, router routes_in, server_hooks hooks_in)
  : options{std::move(options_in)}, routes{std::move(routes_in)},
    hooks{std::move(hooks_in)}, gate{options.gate} {
  if (gate == nullptr)
    gate = std::make_shared<permit_gate>(options.max_in_flight);
  auto seed = options.id_seed;
  if (seed == 0) {
    auto device = std::random_device{};
    seed = (std::uint64_t{device()} << 32U) | device();
  }
  const auto n = std::max<std::size_t>(options.threads, 1);
  for (std::size_t i = 0; i < n; ++i)
    workers.push_back(std::make_unique<worker>(tick_for(options), mix(seed)));
}

core::~core() = default;

void core::connection_closed() {
  connections.fetch_sub(1, std::memory_order_acq_rel);
  if (stopping.load(std::memory_order_acquire)) {
    // The lock keeps the word from falling between the check and the wait.
    const auto lock = std::lock_guard{drained_mutex};
    drained.notify_all();
  }
}

// -- worker -------------------------------------------------------------------

worker::worker(millis tick, std::uint64_t seed)
  : guard_{context.get_executor()}, timer_{context}, tick_{tick}, id_state_{
                                                                    seed} {
}

worker::~worker() = default;

void worker::start() {
  sweep();
  thread_ = std::thread{[this] {
    context.run();
  }};
}

void worker::finish() {
  asio::post(context, [this] {
    stopping_ = true;
    timer_.cancel();
  });
  guard_.reset();
  if (thread_.joinable())
    thread_.join();
}

void worker::sweep() {
  timer_.expires_after(tick_);
  timer_.async_wait([this](const error_code& ec) {
    if (ec || stopping_)
      return;
    const auto now = steady::now();
    for (auto* x = first_; x != nullptr;) {
      // It may leave the list on the way.
      const auto keep = x->self_;
      auto* next = x->next_;
      x->check_deadline(now);
      x = next;
    }
    sweep();
  });
}

void worker::begin_stop() {
  for (auto* x = first_; x != nullptr;) {
    const auto keep = x->self_;
    auto* next = x->next_;
    x->begin_stop();
    x = next;
  }
}

void worker::close_all() {
  while (first_ != nullptr) {
    const auto keep = first_->self_;
    keep->close();
  }
}

void worker::link(connection& x) noexcept {
  x.next_ = first_;
  if (first_ != nullptr)
    first_->previous_ = &x;
  first_ = &x;
}

void worker::unlink(connection& x) noexcept {
  if (x.previous_ != nullptr)
    x.previous_->next_ = x.next_;
  else if (first_ == &x)
    first_ = x.next_;
  if (x.next_ != nullptr)
    x.next_->previous_ = x.previous_;
  x.next_ = nullptr;
  x.previous_ = nullptr;
}

std::string worker::next_id() {
  static constexpr auto hex = std::string_view{"0123456789abcdef"};
  auto bits = mix(id_state_);
  std::string result(16, '0');
  for (auto& c : result) {
    c = hex[bits & 0x0FU];
    bits >>= 4U;
  }
  return result;
}

std::string_view worker::date() {
  const auto now = std::time(nullptr);
  if (now != date_at_) {
    auto parts = std::tm{};
    gmtime_r(&now, &parts);
    auto text = std::array<char, 40>{};
    const auto n = std::strftime(text.data(), text.size(),
                                 "%a, %d %b %Y %H:%M:%S GMT", &parts);
    date_.assign(text.data(), n);
    date_at_ = now;
  }
  return date_;
}

// -- server -------------------------------------------------------------------

struct server::impl : std::enable_shared_from_this<impl> {
  impl(server_options options, router routes, server_hooks hooks)
    : shared{std::make_shared<core>(std::move(options), std::move(routes),
                                    std::move(hooks))},
      acceptor{shared->workers.front()->context},
      pause{shared->workers.front()->context} {
  }

  tl::expected<void, std::string> listen() {
    const auto& options = shared->options;
    auto ec = error_code{};
    const auto host
      = options.host == "localhost" ? std::string{"127.0.0.1"} : options.host;
    const auto address = asio::ip::make_address(host, ec);
    if (ec)
      return tl::unexpected{"cannot listen on '" + options.host
                            + "': an IP address or localhost is expected"};
    const auto where = tcp::endpoint{address, options.port};
    const auto name = (address.is_v6() ? "[" + host + "]" : host) + ":"
                      + std::to_string(options.port);
    acceptor.open(where.protocol(), ec);
    if (!ec)
      acceptor.set_option(asio::socket_base::reuse_address{true}, ec);
    if (!ec)
      acceptor.bind(where, ec);
    if (!ec)
      acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec) {
      auto ignored = error_code{};
      acceptor.close(ignored);
      return tl::unexpected{"cannot listen on " + name + ": " + ec.message()};
    }
    port = acceptor.local_endpoint(ec).port();
    return {};
  }

  void accept() {
    auto& home = *shared->workers[turn++ % shared->workers.size()];
    acceptor.async_accept(home.context,
                          [self = shared_from_this(),
                           &home](const error_code& ec, tcp::socket socket) {
                            if (!self->acceptor.is_open())
                              return;
                            if (ec)
                              self->accept_later(ec);
                            else
                              self->admit(home, std::move(socket));
                          });
  }

  void accept_later(const error_code& why) {
    spdlog::warn("http: cannot accept a connection: {}", why.message());
    pause.expires_after(accept_pause);
    pause.async_wait([self = shared_from_this()](const error_code& ec) {
      if (!ec && self->acceptor.is_open())
        self->accept();
    });
  }

  void admit(worker& home, tcp::socket socket) {
    const auto now = shared->connections.load(std::memory_order_acquire);
    const auto max = shared->options.max_connections;
    if (now < max + refusals_max) {
      auto made = std::make_shared<connection>(shared, home, std::move(socket));
      asio::post(home.context, [made, refused = now >= max] {
        made->start(refused);
      });
    } else {
      shared->shed("connections");
    }
    accept();
  }

  std::shared_ptr<core> shared;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::size_t turn = 0;
  std::uint16_t port = 0;
  bool running = false;
};

server::server(server_options options, router routes, server_hooks hooks)
  : impl_{std::make_shared<impl>(std::move(options), std::move(routes),
                                 std::move(hooks))} {
}

server::~server() {
  stop(millis{0});
}

tl::expected<void, std::string> server::start() {
  auto& x = *impl_;
  if (x.running || x.shared->stopping.load())
    return tl::unexpected{std::string{"a server is started once only"}};
  if (auto ready = x.listen(); !ready)
    return ready;
  x.running = true;
  x.accept();
  for (auto& each : x.shared->workers)
    each->start();
  return {};
}

std::uint16_t server::port() const noexcept {
  return impl_->port;
}

std::string server::url() const {
  const auto& host = impl_->shared->options.host;
  const auto is_v6 = host.find(':') != std::string::npos;
  const auto* scheme
    = impl_->shared->options.tls == nullptr ? "http://" : "https://";
  return scheme + (is_v6 ? "[" + host + "]" : host) + ":"
         + std::to_string(impl_->port);
}

void server::stop(millis deadline) {
  auto& x = *impl_;
  if (!x.running)
    return;
  x.running = false;
  auto& shared = *x.shared;
  shared.stopping.store(true, std::memory_order_release);
  asio::post(shared.workers.front()->context, [self = impl_] {
    auto ec = error_code{};
    self->acceptor.close(ec);
    self->pause.cancel();
  });
  for (auto& each : shared.workers)
    asio::post(each->context, [home = each.get()] {
      home->begin_stop();
    });
  {
    auto lock = std::unique_lock{shared.drained_mutex};
    shared.drained.wait_for(lock, deadline, [&] {
      return shared.connections.load(std::memory_order_acquire) == 0;
    });
  }
  for (auto& each : shared.workers)
    asio::post(each->context, [home = each.get()] {
      home->close_all();
    });
  for (auto& each : shared.workers)
    each->finish();
}

std::size_t server::connections() const noexcept {
  return impl_->shared->connections.load(std::memory_order_relaxed);
}

const permit_gate& server::gate() const noexcept {
  return *impl_->shared->gate;
}

} // namespace slipway::http
