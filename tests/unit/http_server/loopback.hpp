#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

/// A client as plain as can be: it sends the bytes it is given.
namespace loopback {

using namespace std::chrono_literals;

/// One answer, taken apart.
struct answer {
  int status = 0;
  std::string head;
  std::string body;

  [[nodiscard]] std::string header(std::string_view name) const {
    auto lower = [](std::string text) {
      for (auto& c : text)
        if (c >= 'A' && c <= 'Z')
          c = static_cast<char>(c + 32);
      return text;
    };
    const auto wanted = "\r\n" + lower(std::string{name}) + ": ";
    const auto at = lower(head).find(wanted);
    if (at == std::string::npos)
      return "";
    const auto from = at + wanted.size();
    return head.substr(from, head.find("\r\n", from) - from);
  }

  [[nodiscard]] bool has(std::string_view text) const {
    return body.find(text) != std::string::npos;
  }
};

class client {
public:
  explicit client(std::uint16_t port, int receive_buffer = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer,
                   sizeof(receive_buffer));
    auto on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    auto where = sockaddr_in{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_
      = ::connect(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof(where))
        == 0;
  }

  client(const client&) = delete;
  client& operator=(const client&) = delete;

  ~client() {
    ::close(fd_);
  }

  [[nodiscard]] bool connected() const {
    return connected_;
  }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0)
        return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  void end_sending() {
    ::shutdown(fd_, SHUT_WR);
  }

  /// Whether the other side closes within the time; what it says until then
  /// is thrown away.
  bool closes(std::chrono::milliseconds within = 3s) {
    const auto until = std::chrono::steady_clock::now() + within;
    buffer_.clear();
    while (std::chrono::steady_clock::now() < until) {
      if (!receive(until))
        return ended_;
      buffer_.clear();
    }
    return false;
  }

  /// Bytes up to and with `mark`; empty when it does not come in time.
  std::string
  until(std::string_view mark, std::chrono::milliseconds within = 5s) {
    const auto end = std::chrono::steady_clock::now() + within;
    for (;;) {
      if (const auto at = buffer_.find(mark); at != std::string::npos) {
        auto result = buffer_.substr(0, at + mark.size());
        buffer_.erase(0, at + mark.size());
        return result;
      }
      if (!receive(end))
        return "";
    }
  }

  /// The next `n` bytes; empty when they do not come in time.
  std::string take(std::size_t n, std::chrono::milliseconds within = 5s) {
    const auto end = std::chrono::steady_clock::now() + within;
    while (buffer_.size() < n)
      if (!receive(end))
        return "";
    auto result = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return result;
  }

  /// The next answer; status 0 when none comes. Does not undo chunks.
  answer next(bool is_head = false, std::chrono::milliseconds within = 5s) {
    answer result;
    result.head = until("\r\n\r\n", within);
    if (result.head.size() < 12)
      return result;
    result.status = std::atoi(result.head.c_str() + 9);
    const auto length = result.header("Content-Length");
    const auto wanted
      = is_head ? 0U : std::strtoul(length.c_str(), nullptr, 10);
    const auto end = std::chrono::steady_clock::now() + within;
    while (buffer_.size() < wanted && receive(end)) {
      // nop
    }
    result.body = buffer_.substr(0, wanted);
    buffer_.erase(0, wanted);
    return result;
  }

private:
  bool receive(std::chrono::steady_clock::time_point until) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      until - std::chrono::steady_clock::now());
    if (ended_ || left.count() <= 0)
      return false;
    auto wait = pollfd{fd_, POLLIN, 0};
    if (::poll(&wait, 1, static_cast<int>(left.count())) <= 0)
      return false;
    char bytes[16384];
    const auto n = ::recv(fd_, bytes, sizeof(bytes), 0);
    if (n <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }

  int fd_ = -1;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

using headers = std::vector<std::pair<std::string, std::string>>;

/// One request on a connection of its own.
inline answer
fetch(std::uint16_t port, std::string_view verb, std::string_view target,
      std::string_view body = "", const headers& extra = {}) {
  auto text = std::string{verb} + " " + std::string{target}
              + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n";
  for (const auto& [name, value] : extra)
    text += name + ": " + value + "\r\n";
  if (!body.empty() || verb == "POST" || verb == "PUT")
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  text += "\r\n";
  text += body;
  auto to = client{port};
  to.send(text);
  return to.next(verb == "HEAD");
}

/// Looks again until `condition` holds. @returns whether it did in time.
template <class Condition>
bool eventually(Condition condition, std::chrono::milliseconds within = 5s) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until)
      return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

} // namespace loopback
