// Posts notifications that were prepared, one after the other on each of many
// kept-alive connections, and says how long each took. It shares the machine
// with whom it measures, so it takes as little of it as possible: one thread,
// nothing is copied or allocated for a request.
//
// Prints one line of JSON, see README.md.

#include "benchmarks/wire.hpp"

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <vector>

namespace {

using slipway::bench::cpu_seconds;
using slipway::bench::give_up;
using slipway::bench::header;

using steady = std::chrono::steady_clock;

struct arguments {
  std::uint16_t port = 0;
  std::string bodies;
  std::string target = "/api/payment/alipay/notify";
  std::string type = "application/x-www-form-urlencoded; charset=utf-8";
  std::string expect = "success";
  std::size_t connections = 64;
  double rate = 0;
  double limit = 120;
  double again = 0;
};

// -- what is sent ------------------------------------------------------------

/// A file of form bodies, one on each line, as requests. The bodies stay where
/// they are, and requests of one length share their head.
class request_file {
public:
  explicit request_file(const arguments& how) {
    const auto fd = ::open(how.bodies.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about {};
    if (fd < 0 || ::fstat(fd, &about) != 0)
      give_up(how.bodies);
    const auto size = static_cast<std::size_t>(about.st_size);
    if (size > 0) {
      // Mapped at once, so that no page is missing while time counts.
      auto* at
        = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
      if (at == MAP_FAILED)
        give_up(how.bodies);
      split({static_cast<const char*>(at), size}, how);
    }
    ::close(fd);
  }

  [[nodiscard]] std::size_t size() const noexcept {
    return requests_.size();
  }

  [[nodiscard]] std::array<iovec, 2> operator[](std::size_t i) const noexcept {
    const auto part = [](std::string_view x) {
      return iovec{const_cast<char*>(x.data()), x.size()};
    };
    return {part(*requests_[i].head), part(requests_[i].body)};
  }

private:
  struct request {
    const std::string* head;
    std::string_view body;
  };

  void split(std::string_view all, const arguments& how) {
    while (!all.empty()) {
      const auto line = all.substr(0, all.find('\n'));
      all.remove_prefix(std::min(all.size(), line.size() + 1));
      if (line.empty())
        continue;
      auto [known, fresh] = heads_.try_emplace(line.size());
      if (fresh)
        known->second
          = "POST " + how.target
            + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: " + how.type
            + "\r\nContent-Length: " + std::to_string(line.size()) + "\r\n\r\n";
      requests_.push_back({&known->second, line});
    }
  }

  std::unordered_map<std::size_t, std::string> heads_;
  std::vector<request> requests_;
};

// -- what is answered --------------------------------------------------------

struct answer {
  unsigned status = 0;
  std::string_view body;
  std::size_t size = 0; ///< Of all of it.
};

std::size_t number(std::string_view text) {
  auto out = std::size_t{0};
  for (auto c : text) {
    if (c < '0' || c > '9')
      break;
    out = out * 10 + static_cast<std::size_t>(c - '0');
  }
  return out;
}

/// The first answer of `text`, or nothing while some of it is missing.
std::optional<answer> take_answer(std::string_view text) {
  const auto end = text.find("\r\n\r\n");
  if (end == std::string_view::npos || end < 12)
    return std::nullopt;
  auto out = answer{};
  out.status = static_cast<unsigned>(number(text.substr(9, 3)));
  const auto head = text.substr(0, end);
  const auto length = header(head, "content-length:");
  if (!length && header(head, "transfer-encoding:"))
    throw std::runtime_error{"answers without a length are not understood"};
  const auto size = length ? number(*length) : 0;
  out.size = end + 4 + size;
  if (text.size() < out.size)
    return std::nullopt;
  out.body = text.substr(end + 4, size);
  return out;
}

// -- how it goes -------------------------------------------------------------

class load {
public:
  load(const arguments& how, const request_file& requests)
    : how_{how}, requests_{requests} {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (epoll_ < 0 || timer_ < 0)
      give_up("epoll");
    latencies_.reserve(requests.size());
    connections_.resize(std::min(how.connections, requests.size()));
    idle_.resize(connections_.size());
    watch(timer_, timer_mark);
    for (std::size_t i = 0; i < connections_.size(); ++i)
      if (!connect(i))
        give_up("connecting");
  }

  void run() {
    cpu_ = cpu_seconds();
    begin_ = last_ = steady::now();
    const auto end = begin_
                     + std::chrono::duration_cast<steady::duration>(
                       std::chrono::duration<double>{how_.limit});
    for (std::size_t i = 0; i < connections_.size(); ++i)
      rest(i);
    send_due(begin_);
    auto events = std::array<epoll_event, 128>{};
    while (latencies_.size() + broken_ < requests_.size() && open_ > 0) {
      const auto now = steady::now();
      if (now >= end)
        break;
      const auto left
        = std::chrono::duration_cast<std::chrono::milliseconds>(end - now);
      const auto n = ::epoll_wait(epoll_, events.data(), events.size(),
                                  static_cast<int>(left.count()) + 1);
      if (n < 0 && errno != EINTR)
        give_up("epoll_wait");
      for (auto i = 0; i < n; ++i) {
        const auto mark = events[static_cast<std::size_t>(i)].data.u64;
        if (mark == timer_mark) {
          auto ticks = std::uint64_t{0};
          static_cast<void>(!::read(timer_, &ticks, sizeof(ticks)));
        } else {
          receive(mark);
        }
      }
      send_due(steady::now());
    }
    cpu_ = cpu_seconds() - cpu_;
  }

  void report() {
    if (const auto done = latencies_.size() + broken_;
        done < requests_.size()) {
      failed_ += requests_.size() - done;
      note("not answered within the limit");
    }
    std::sort(latencies_.begin(), latencies_.end());
    const auto took = std::chrono::duration<double>{last_ - begin_}.count();
    const auto ms = [this](double share) {
      if (latencies_.empty())
        return 0.0;
      const auto rank
        = std::ceil(share * static_cast<double>(latencies_.size()));
      const auto at = static_cast<std::size_t>(std::max(rank, 1.0)) - 1;
      return static_cast<double>(latencies_[at]) / 1e6;
    };
    for (auto& c : first_failure_)
      if (static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\')
        c = ' ';
    std::printf("{\"seconds\":%.6f,\"answered\":%zu,\"failed\":%zu,"
                "\"firstFailure\":\"%s\",\"perSecond\":%.3f,\"p50\":%.4f,"
                "\"p90\":%.4f,\"p99\":%.4f,\"p999\":%.4f,\"max\":%.4f,"
                "\"repeats\":%zu,\"reopened\":%zu,\"cpuSeconds\":%.6f}\n",
                took, latencies_.size(), failed_, first_failure_.c_str(),
                took > 0 ? static_cast<double>(latencies_.size()) / took : 0.0,
                ms(0.5), ms(0.9), ms(0.99), ms(0.999), ms(1), repeats_,
                reopened_, cpu_);
  }

private:
  static constexpr auto timer_mark = ~std::uint64_t{0};

  struct connection {
    int fd = -1;
    std::size_t filled = 0;
    std::size_t sent = 0; ///< Of the request, while some of it is to be sent.
    std::size_t request = 0;
    bool busy = false;
    bool proven = false; ///< It has brought an answer.
    steady::time_point since;
    std::array<char, 4096> buffer;
  };

  /// One that was told to come again.
  struct repeat {
    steady::time_point at;
    std::size_t request;
    steady::time_point since;
  };

  void watch(int fd, std::uint64_t mark, std::uint32_t what = EPOLLIN) {
    auto event = epoll_event{};
    event.events = what;
    event.data.u64 = mark;
    if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0)
      give_up("epoll_ctl");
  }

  bool connect(std::size_t i) {
    const auto fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
      give_up("socket");
    auto to = sockaddr_in{};
    to.sin_family = AF_INET;
    to.sin_port = htons(how_.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to))
        != 0) {
      ::close(fd);
      return false;
    }
    const auto one = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    watch(fd, i);
    connections_[i].fd = fd;
    connections_[i].proven = false;
    ++open_;
    return true;
  }

  // Who has rested longest goes first, so that none rests for so long that the
  // server closes it.

  void rest(std::size_t i) {
    idle_[(idle_first_ + idle_count_++) % idle_.size()] = i;
  }

  std::size_t take_rested() {
    const auto i = idle_[idle_first_];
    idle_first_ = (idle_first_ + 1) % idle_.size();
    --idle_count_;
    return i;
  }

  /// When a request has to leave; `now` without a rate.
  [[nodiscard]] steady::time_point
  due(std::size_t request, steady::time_point now) const {
    if (how_.rate <= 0)
      return now;
    return begin_
           + std::chrono::duration_cast<steady::duration>(
             std::chrono::duration<double>{static_cast<double>(request)
                                           / how_.rate});
  }

  /// Gives the idle connections what is due, and sets the timer for the rest.
  void send_due(steady::time_point now) {
    auto wake = steady::time_point::max();
    while (idle_count_ > 0) {
      if (!again_.empty() && again_.front().at <= now) {
        begin(again_.front().request, again_.front().since);
        again_.pop_front();
        continue;
      }
      if (!again_.empty())
        wake = again_.front().at;
      if (next_ == requests_.size())
        break;
      const auto at = due(next_, now);
      if (at > now) {
        wake = std::min(wake, at);
        break;
      }
      begin(next_++, at);
    }
    if (idle_count_ > 0 && wake != steady::time_point::max())
      set_timer(wake);
  }

  void begin(std::size_t request, steady::time_point since) {
    const auto i = take_rested();
    auto& x = connections_[i];
    x.request = request;
    x.since = since;
    x.busy = true;
    x.sent = 0;
    send(i);
  }

  void set_timer(steady::time_point at) {
    if (timer_at_ == at)
      return;
    timer_at_ = at;
    const auto ns = at.time_since_epoch().count();
    auto when = itimerspec{};
    when.it_value.tv_sec = ns / 1'000'000'000;
    when.it_value.tv_nsec = ns % 1'000'000'000;
    ::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr);
  }

  void send(std::size_t i) {
    auto& x = connections_[i];
    auto parts = requests_[x.request];
    auto* from = parts.data();
    auto count = parts.size();
    for (auto skip = x.sent; skip > 0 && count > 0;) {
      const auto of = std::min(skip, from->iov_len);
      from->iov_base = static_cast<char*>(from->iov_base) + of;
      from->iov_len -= of;
      skip -= of;
      if (from->iov_len > 0)
        break;
      ++from;
      --count;
    }
    auto message = msghdr{};
    message.msg_iov = from;
    message.msg_iovlen = count;
    const auto wrote = ::sendmsg(x.fd, &message, MSG_NOSIGNAL);
    if (wrote < 0 && errno != EAGAIN) {
      broke(i, std::string{"sending: "} + std::strerror(errno));
      return;
    }
    x.sent += wrote > 0 ? static_cast<std::size_t>(wrote) : 0;
    const auto whole = parts_size(x.request);
    // A request is far smaller than what a socket takes: this is rare.
    auto event = epoll_event{};
    event.data.u64 = i;
    if (x.sent < whole) {
      event.events = EPOLLIN | EPOLLOUT;
      ::epoll_ctl(epoll_, EPOLL_CTL_MOD, x.fd, &event);
      waiting_to_send_ = true;
    } else if (waiting_to_send_) {
      event.events = EPOLLIN;
      ::epoll_ctl(epoll_, EPOLL_CTL_MOD, x.fd, &event);
    }
  }

  [[nodiscard]] std::size_t parts_size(std::size_t request) const {
    const auto parts = requests_[request];
    return parts[0].iov_len + parts[1].iov_len;
  }

  void receive(std::size_t i) {
    auto& x = connections_[i];
    if (x.fd < 0)
      return;
    if (x.busy && x.sent < parts_size(x.request)) {
      send(i);
      if (x.fd < 0)
        return;
    }
    const auto got
      = ::recv(x.fd, x.buffer.data() + x.filled, x.buffer.size() - x.filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
      return;
    if (got <= 0) {
      broke(i, got == 0 ? "the connection was closed"
                        : std::string{"receiving: "} + std::strerror(errno));
      return;
    }
    x.filled += static_cast<std::size_t>(got);
    const auto whole = take_answer({x.buffer.data(), x.filled});
    if (!whole) {
      if (x.filled == x.buffer.size())
        broke(i, "an answer of more than 4 KiB");
      return;
    }
    if (!x.busy) {
      broke(i, "an answer that nobody asked for");
      return;
    }
    last_ = steady::now();
    x.filled = 0;
    x.busy = false;
    x.proven = true;
    rest(i);
    if (whole->status == 503 && how_.again > 0) {
      ++repeats_;
      again_.push_back({last_
                          + std::chrono::duration_cast<steady::duration>(
                            std::chrono::duration<double>{how_.again}),
                        x.request, x.since});
      return;
    }
    latencies_.push_back((last_ - x.since).count());
    if (whole->status != 200 || whole->body != how_.expect) {
      ++failed_;
      note("status " + std::to_string(whole->status) + ": "
           + std::string{whole->body.substr(0, 200)});
    }
  }

  /// A server may close what has served its time, just when a request leaves:
  /// then it goes out once more, as every client does it.
  void broke(std::size_t i, std::string why) {
    auto& x = connections_[i];
    const auto again = !x.busy || (x.proven && x.filled == 0);
    ::close(x.fd);
    x.fd = -1;
    --open_;
    if (again && connect(i)) {
      ++reopened_;
      x.filled = 0;
      if (x.busy) {
        x.sent = 0;
        send(i);
      }
      return;
    }
    if (x.busy) {
      ++broken_;
      ++failed_;
      note(std::move(why));
      return;
    }
    // Nobody takes it from here on.
    for (auto left = idle_count_; left > 0; --left)
      if (const auto other = take_rested(); other != i)
        rest(other);
  }

  void note(std::string why) {
    if (first_failure_.empty())
      first_failure_ = std::move(why);
  }

  const arguments& how_;
  const request_file& requests_;
  int epoll_ = -1;
  int timer_ = -1;
  steady::time_point timer_at_;
  bool waiting_to_send_ = false; ///< Some connection was, once.
  std::vector<connection> connections_;
  std::vector<std::size_t> idle_; ///< A ring.
  std::size_t idle_first_ = 0;
  std::size_t idle_count_ = 0;
  std::size_t open_ = 0;
  std::deque<repeat> again_;
  std::size_t next_ = 0;
  std::size_t repeats_ = 0;
  std::size_t reopened_ = 0;
  std::size_t failed_ = 0;
  std::size_t broken_ = 0;
  std::string first_failure_;
  std::vector<std::int64_t> latencies_; ///< In nanoseconds.
  steady::time_point begin_;
  steady::time_point last_;
  double cpu_ = 0;
};

} // namespace

int main(int argc, char** argv) {
  auto how = arguments{};
  auto cli = CLI::App{"Posts prepared notifications", "slipway_load"};
  cli.add_option("--port", how.port, "Of 127.0.0.1")->required();
  cli.add_option("--bodies", how.bodies, "A file with one body on each line")
    ->required();
  cli.add_option("--connections", how.connections, "Connections at once")
    ->capture_default_str();
  cli
    .add_option("--rate", how.rate,
                "Requests due in a second; 0: as soon as the last is answered")
    ->capture_default_str();
  cli.add_option("--limit", how.limit, "Seconds until it gives up")
    ->capture_default_str();
  cli
    .add_option("--again", how.again,
                "Seconds after which what was answered 503 comes again; 0: it "
                "has failed")
    ->capture_default_str();
  cli.add_option("--target", how.target, "What is asked for")
    ->capture_default_str();
  cli.add_option("--expect", how.expect, "The right answer's body")
    ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  try {
    const auto requests = request_file{how};
    auto all = load{how, requests};
    all.run();
    all.report();
  } catch (const std::exception& why) {
    std::fprintf(stderr, "slipway_load: %s\n", why.what());
    return 1;
  }
  return 0;
}
