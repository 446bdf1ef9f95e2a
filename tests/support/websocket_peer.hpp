#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/websocket.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace slipway::test {

/// The server's end of one WebSocket, spoken by Beast. Blocks; reads end with
/// the test at the latest.
class websocket_talk {
public:
  using socket = boost::asio::ip::tcp::socket;
  using stream = boost::beast::websocket::stream<socket>;
  using head = boost::beast::http::request<boost::beast::http::string_body>;

  explicit websocket_talk(socket from) : stream_{std::move(from)} {
  }

  /// Reads the upgrade request.
  const head& request() {
    if (!head_) {
      head_.emplace();
      auto ec = boost::system::error_code{};
      boost::beast::http::read(stream_.next_layer(), buffer_, *head_, ec);
    }
    return *head_;
  }

  [[nodiscard]] std::string header(const char* name) {
    const auto found = request()[name];
    return {found.data(), found.size()};
  }

  /// Agrees to the upgrade, and to what is left out: to a sub-protocol.
  bool accept(const std::string& protocol = {}) {
    namespace ws = boost::beast::websocket;
    auto ec = boost::system::error_code{};
    stream_.set_option(
      ws::stream_base::decorator{[&protocol](ws::response_type& to) {
        if (!protocol.empty())
          to.set("Sec-WebSocket-Protocol", protocol);
      }});
    stream_.accept(request(), ec);
    return !ec;
  }

  /// The next message; nothing when there will be none.
  std::optional<std::string> read() {
    auto ec = boost::system::error_code{};
    auto got = boost::beast::flat_buffer{};
    stream_.read(got, ec);
    if (ec)
      return std::nullopt;
    return boost::beast::buffers_to_string(got.data());
  }

  bool write(std::string_view text) {
    auto ec = boost::system::error_code{};
    stream_.text(true);
    stream_.write(boost::asio::buffer(text.data(), text.size()), ec);
    return !ec;
  }

  void close(std::uint16_t code = 1000, const char* why = "") {
    auto ec = boost::system::error_code{};
    stream_.close({static_cast<boost::beast::websocket::close_code>(code), why},
                  ec);
  }

  /// Bytes below the WebSocket.
  void write_raw(std::string_view bytes) {
    auto ec = boost::system::error_code{};
    boost::asio::write(stream_.next_layer(),
                       boost::asio::buffer(bytes.data(), bytes.size()), ec);
  }

  stream& beast() {
    return stream_;
  }

private:
  stream stream_;
  boost::beast::flat_buffer buffer_;
  std::optional<head> head_;
};

/// Listens on a free port of 127.0.0.1 and plays the script on a thread of its
/// own for each connection. Stops by itself.
class websocket_peer {
public:
  using script = std::function<void(websocket_talk&)>;

  explicit websocket_peer(script play)
    : play_{std::move(play)},
      acceptor_{context_, {boost::asio::ip::make_address("127.0.0.1"), 0}} {
    port_ = acceptor_.local_endpoint().port();
    thread_ = std::thread{[this] {
      accept_all();
    }};
  }

  ~websocket_peer() {
    ::shutdown(acceptor_.native_handle(), SHUT_RDWR);
    thread_.join();
    {
      const auto lock = std::lock_guard{mutex_};
      for (const auto fd : open_)
        ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& x : threads_)
      x.join();
  }

  [[nodiscard]] std::uint16_t port() const {
    return port_;
  }

  [[nodiscard]] std::string url(std::string_view path = "/graphql/v2") const {
    return "ws://127.0.0.1:" + std::to_string(port_) + std::string{path};
  }

  [[nodiscard]] int accepted() const {
    return accepted_;
  }

  /// Connections whose script has not ended.
  [[nodiscard]] int playing() const {
    return playing_;
  }

private:
  void accept_all() {
    for (;;) {
      auto ec = boost::system::error_code{};
      auto from = boost::asio::ip::tcp::socket{context_};
      acceptor_.accept(from, ec);
      if (ec)
        return;
      const auto lock = std::lock_guard{mutex_};
      const auto fd = from.native_handle();
      open_.push_back(fd);
      ++accepted_;
      ++playing_;
      threads_.emplace_back([this, fd, from = std::move(from)]() mutable {
        auto talk = websocket_talk{std::move(from)};
        play_(talk);
        --playing_;
        const auto inner = std::lock_guard{mutex_};
        std::erase(open_, fd);
      });
    }
  }

  script play_;
  boost::asio::io_context context_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::atomic<int> playing_{0};
  std::mutex mutex_;
  std::vector<int> open_;
  std::list<std::thread> threads_;
  std::thread thread_;
};

} // namespace slipway::test
