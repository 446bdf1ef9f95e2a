#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

namespace slipway::test {

/// The server's end of one connection. Reads end after five seconds.
class socket_connection {
public:
  explicit socket_connection(int fd) : fd_{fd} {
  }

  /// Reads until `mark` has arrived or the peer is gone.
  /// @returns what has arrived up to and with the mark; less when the peer is
  ///          gone.
  std::string read_until(std::string_view mark) {
    for (;;) {
      auto at = buffer_.find(mark);
      if (at != std::string::npos)
        return take(at + mark.size());
      if (!fill())
        return take(buffer_.size());
    }
  }

  /// Reads exactly `size` bytes, fewer when the peer is gone.
  std::string read_exactly(std::size_t size) {
    while (buffer_.size() < size && fill()) {
      // nop
    }
    return take(std::min(size, buffer_.size()));
  }

  /// Reads one HTTP request with its body.
  std::string read_request() {
    auto head = read_until("\r\n\r\n");
    auto at = head.find("Content-Length: ");
    if (at == std::string::npos)
      return head;
    return head + read_exactly(std::stoul(head.substr(at + 16)));
  }

  /// Waits until the peer closes.
  void wait_for_close() {
    while (fill())
      buffer_.clear();
  }

  void write(std::string_view text) {
    while (!text.empty()) {
      auto count = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0)
        return;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }

  /// Closes with RST instead of FIN.
  void reset() {
    linger hard{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  }

private:
  bool fill() {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, 5'000) <= 0)
      return false;
    char data[4096];
    auto count = ::recv(fd_, data, sizeof data, 0);
    if (count <= 0)
      return false;
    buffer_.append(data, static_cast<std::size_t>(count));
    return true;
  }

  std::string take(std::size_t size) {
    auto result = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return result;
  }

  int fd_;
  std::string buffer_;
};

/// Listens on a free port of 127.0.0.1 and runs the handler on a thread of its
/// own for each connection. Stops by itself.
class socket_server {
public:
  using handler = std::function<void(socket_connection&)>;

  explicit socket_server(handler serve) : serve_{std::move(serve)} {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (fd_ < 0 || ::bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0
        || ::listen(fd_, 128) != 0
        || ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size)
             != 0)
      throw std::runtime_error{"can't listen on 127.0.0.1"};
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread{[this] {
      accept_all();
    }};
  }

  ~socket_server() {
    ::shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    {
      std::lock_guard guard{mutex_};
      for (auto fd : open_)
        ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& thread : threads_)
      thread.join();
    ::close(fd_);
  }

  socket_server(const socket_server&) = delete;
  socket_server& operator=(const socket_server&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept {
    return port_;
  }

  /// `127.0.0.1:PORT`
  [[nodiscard]] std::string address() const {
    return "127.0.0.1:" + std::to_string(port_);
  }

  /// How many connections have been accepted.
  [[nodiscard]] int accepted() const noexcept {
    return accepted_;
  }

private:
  void accept_all() {
    for (;;) {
      auto fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0)
        return;
      ++accepted_;
      std::lock_guard guard{mutex_};
      open_.push_back(fd);
      threads_.emplace_back([this, fd] {
        socket_connection connection{fd};
        serve_(connection);
        std::lock_guard inner{mutex_};
        std::erase(open_, fd);
        ::close(fd);
      });
    }
  }

  handler serve_;
  int fd_ = -1;
  std::uint16_t port_ = 0;
  std::atomic<int> accepted_ = 0;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

/// A port of 127.0.0.1 on which nobody listens.
inline std::uint16_t closed_port() {
  return socket_server{[](socket_connection&) {}}.port();
}

} // namespace slipway::test
