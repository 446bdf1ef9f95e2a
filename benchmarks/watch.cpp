// Holds many event streams open at once and says when something came on each:
// the readers in front of whom subscriptions change.
//
// A file has one stream on each line: its target, a blank, and a token. Once
// the first event has come on every stream, `open N` is printed. A line on the
// standard input, or a second event on every stream, ends it; then one line of
// another file says of each stream when its second event came, in milliseconds
// since 1970 with three decimals, or 0, and how many there were.

#include "benchmarks/wire.hpp"

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using slipway::bench::give_up;

using clock_type = std::chrono::system_clock;

struct watcher {
  std::string request;
  int fd = -1;
  std::string head; ///< Until it is whole.
  bool streaming = false;
  std::size_t events = 0;
  bool named = false; ///< This event has a name, so it is no comment.
  std::string line;
  double second_at = 0;
};

class watch {
public:
  watch(std::uint16_t port, const std::string& file) : port_{port} {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ < 0)
      give_up("epoll");
    auto in = std::ifstream{file};
    for (std::string line; std::getline(in, line);) {
      const auto blank = line.find(' ');
      auto x = watcher{};
      x.request = "GET " + line.substr(0, blank)
                  + " HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: "
                    "text/event-stream\r\nAuthorization: Bearer "
                  + line.substr(blank + 1) + "\r\n\r\n";
      watchers_.push_back(std::move(x));
    }
    // Not all at once: a server has so many requests at work and no more.
    while (next_ < std::min(at_once, watchers_.size()))
      connect(next_++);
    add(STDIN_FILENO, input_mark);
  }

  /// @returns whether every stream came to be.
  bool run(std::chrono::seconds limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    auto events = std::array<epoll_event, 256>{};
    while (!stopped_ && changed_ < watchers_.size() && refused_ == 0) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
      if (left.count() <= 0)
        break;
      const auto n = ::epoll_wait(epoll_, events.data(), events.size(),
                                  static_cast<int>(left.count()));
      if (n < 0 && errno != EINTR)
        give_up("epoll_wait");
      const auto now
        = std::chrono::duration<double, std::milli>{clock_type::now()
                                                      .time_since_epoch()}
            .count();
      for (auto i = 0; i < n; ++i) {
        const auto mark = events[static_cast<std::size_t>(i)].data.u64;
        if (mark == input_mark)
          stopped_ = true;
        else
          receive(watchers_[mark], now);
      }
    }
    return refused_ == 0 && opened_ == watchers_.size();
  }

  void report(const std::string& file) const {
    if (refused_ != 0)
      std::printf("refused %u\n", refused_);
    else if (opened_ < watchers_.size())
      std::printf("only %zu of %zu are open\n", opened_, watchers_.size());
    auto* out = std::fopen(file.c_str(), "w");
    if (out == nullptr)
      give_up(file);
    for (const auto& x : watchers_)
      std::fprintf(out, "%.3f %zu\n", x.second_at, x.events);
    if (std::fclose(out) != 0)
      give_up(file);
  }

private:
  static constexpr auto input_mark = ~std::uint64_t{0};

  static constexpr auto at_once = std::size_t{128};

  void add(int fd, std::uint64_t mark) {
    auto event = epoll_event{};
    event.events = EPOLLIN;
    event.data.u64 = mark;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
      give_up("epoll_ctl");
  }

  void connect(std::size_t i) {
    auto& x = watchers_[i];
    x.fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    auto to = sockaddr_in{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port_);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (x.fd < 0
        || ::connect(x.fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to))
             != 0)
      give_up("connecting");
    if (::send(x.fd, x.request.data(), x.request.size(), MSG_NOSIGNAL)
        != static_cast<ssize_t>(x.request.size()))
      give_up("sending");
    x.request = {};
    ::fcntl(x.fd, F_SETFL, O_NONBLOCK);
    add(x.fd, i);
  }

  void receive(watcher& x, double now) {
    auto buffer = std::array<char, 4096>{};
    for (;;) {
      const auto got = ::recv(x.fd, buffer.data(), buffer.size(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
      if (got <= 0) {
        // A stream that ends by itself has nothing more to say.
        ::close(x.fd);
        x.fd = -1;
        if (!x.streaming || x.events == 0)
          refused_ = refused_ != 0 ? refused_ : 1;
        return;
      }
      take(x, {buffer.data(), static_cast<std::size_t>(got)}, now);
    }
  }

  void take(watcher& x, std::string_view bytes, double now) {
    if (!x.streaming) {
      x.head += bytes;
      const auto end = x.head.find("\r\n\r\n");
      if (end == std::string::npos)
        return;
      const auto status
        = static_cast<unsigned>(std::atoi(x.head.substr(9, 3).c_str()));
      if (status != 200) {
        refused_ = refused_ != 0 ? refused_ : status;
        return;
      }
      x.streaming = true;
      const auto rest = x.head.substr(end + 4);
      x.head = {};
      take(x, rest, now);
      return;
    }
    // An event ends with an empty line. The sizes of chunks stand on lines of
    // their own, after an event's end and never within: they count as a line of
    // an event only where it has data.
    for (auto c : bytes) {
      if (c == '\r')
        continue;
      if (c != '\n') {
        if (x.line.size() < 16)
          x.line += c;
        continue;
      }
      if (x.line.starts_with("data:")) {
        x.named = true;
      } else if (x.line.empty() && x.named) {
        x.named = false;
        arrived(x, now);
      }
      x.line.clear();
    }
  }

  void arrived(watcher& x, double now) {
    ++x.events;
    if (x.events == 1) {
      if (next_ < watchers_.size())
        connect(next_++);
      if (++opened_ == watchers_.size()) {
        std::printf("open %zu\n", opened_);
        std::fflush(stdout);
      }
    }
    if (x.events == 2) {
      x.second_at = now;
      ++changed_;
    }
  }

  std::uint16_t port_;
  int epoll_ = -1;
  std::vector<watcher> watchers_;
  std::size_t next_ = 0; ///< To be opened.
  std::size_t opened_ = 0;
  std::size_t changed_ = 0;
  unsigned refused_ = 0; ///< With this status; 1 for a connection that ended.
  bool stopped_ = false;
};

/// As many descriptors as we may have.
void raise_limit() {
  auto limit = rlimit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
}

} // namespace

int main(int argc, char** argv) {
  auto port = std::uint16_t{0};
  auto streams = std::string{};
  auto out = std::string{};
  auto limit = 300;
  auto cli = CLI::App{"Watches many subscriptions", "slipway_watch"};
  cli.add_option("--port", port, "Of 127.0.0.1")->required();
  cli.add_option("--streams", streams, "A file with one stream on each line")
    ->required()
    ->check(CLI::ExistingFile);
  cli.add_option("--out", out, "Where the times go")->required();
  cli.add_option("--limit", limit, "Seconds until it gives up")
    ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  raise_limit();
  try {
    auto all = watch{port, streams};
    const auto fine = all.run(std::chrono::seconds{limit});
    all.report(out);
    return fine ? 0 : 1;
  } catch (const std::exception& why) {
    std::fprintf(stderr, "slipway_watch: %s\n", why.what());
    return 1;
  }
}
