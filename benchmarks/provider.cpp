// A Railway that answers at once, so that what is measured is the servers that
// ask it. It shares the machine with them, so it takes as little of it as
// possible: one thread, and answers that are put together as text. It speaks
// just enough of HTTP/1.1 and of the public API for a deployment, and keeps no
// more than the names of the projects it was asked to make: every other id
// follows from the project's number.
//
// POST /control {"mode": "answer" | "hold" | "drop", "forget": true}
//   hold  takes effect and does not answer
//   answer  also answers what was held, unless its connection is gone
//   forget  names that were made so far do not count as doubled any more: other
//     contestants use the same
// GET /control  {mode, calls, created, doubled, held, cpuSeconds}; doubled are
// the
//   names that were made more than once
//
// Prints the port it listens on, see README.md.

#include "benchmarks/wire.hpp"

#include <CLI/CLI.hpp>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <simdjson.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace {

using slipway::bench::cpu_seconds;
using slipway::bench::give_up;
using slipway::bench::header;

namespace dom = simdjson::dom;

constexpr auto request_max = std::size_t{1} << 20;

/// Who does not take that much is not listened to any longer.
constexpr auto unsent_max = std::size_t{1} << 20;

constexpr auto page_max = 100;

// -- JSON as text ------------------------------------------------------------

void put_number(std::string& out, std::uint64_t x) {
  auto digits = std::array<char, 20>{};
  const auto end
    = std::to_chars(digits.data(), digits.data() + digits.size(), x).ptr;
  out.append(digits.data(), end);
}

void put_seconds(std::string& out, double x) {
  auto digits = std::array<char, 64>{};
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(),
                                 x, std::chars_format::fixed, 6);
  out.append(digits.data(), end.ptr);
}

/// With its quotes.
void put_text(std::string& out, std::string_view text) {
  constexpr auto hex = std::string_view{"0123456789abcdef"};
  out += '"';
  for (const auto c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (code >= 0x20 && c != '"' && c != '\\') {
      out += c;
      continue;
    }
    out += '\\';
    switch (c) {
      case '"':
      case '\\':
        out += c;
        break;
      case '\b':
        out += 'b';
        break;
      case '\f':
        out += 'f';
        break;
      case '\n':
        out += 'n';
        break;
      case '\r':
        out += 'r';
        break;
      case '\t':
        out += 't';
        break;
      default:
        out += "u00";
        out += hex[code >> 4];
        out += hex[code & 15];
    }
  }
  out += '"';
}

/// 2026-11-23T14:00:00.000Z, with its quotes.
void put_date(std::string& out,
              std::chrono::sys_time<std::chrono::milliseconds> at) {
  const auto day = std::chrono::floor<std::chrono::days>(at);
  const auto date = std::chrono::year_month_day{day};
  const auto time = std::chrono::hh_mm_ss{at - day};
  const auto begin = out.size();
  out += R"("0000-00-00T00:00:00.000Z")";
  const auto fill = [&out, begin](std::size_t last, auto value) {
    for (auto left = static_cast<unsigned>(value); left > 0; left /= 10)
      out[begin + last--] = static_cast<char>('0' + left % 10);
  };
  fill(4, static_cast<int>(date.year()));
  fill(7, static_cast<unsigned>(date.month()));
  fill(10, static_cast<unsigned>(date.day()));
  fill(13, time.hours().count());
  fill(16, time.minutes().count());
  fill(19, time.seconds().count());
  fill(23, time.subseconds().count());
}

// -- what is asked -----------------------------------------------------------

using members = std::optional<dom::object>;

std::optional<dom::element> member(const members& of, std::string_view name) {
  auto out = dom::element{};
  if (!of || of->at_key(name).get(out) != simdjson::SUCCESS)
    return std::nullopt;
  return out;
}

template <class T>
std::optional<T> as(const std::optional<dom::element>& x) {
  auto out = T{};
  if (!x || x->get(out) != simdjson::SUCCESS)
    return std::nullopt;
  return out;
}

std::optional<std::string_view> text(const members& of, std::string_view name) {
  return as<std::string_view>(member(of, name));
}

members object(const members& of, std::string_view name) {
  return as<dom::object>(member(of, name));
}

/// All of `x`, or as much of it as there are digits.
std::optional<std::uint64_t> number(std::string_view x, int base = 10) {
  auto out = std::uint64_t{0};
  if (std::from_chars(x.data(), x.data() + x.size(), out, base).ec
      != std::errc{})
    return std::nullopt;
  return out;
}

/// What an id ends with is the number of its project.
std::optional<std::uint64_t> number_of(std::optional<std::string_view> id) {
  if (!id || id->size() <= 24)
    return std::nullopt;
  return number(id->substr(24, 12), 16);
}

/// The name of the operation, which every client gives.
std::string_view operation_of(std::string_view document) {
  constexpr auto space = std::string_view{" \t\r\n\f\v"};
  const auto skip_space = [&document] {
    const auto n = std::min(document.find_first_not_of(space), document.size());
    document.remove_prefix(n);
    return n > 0;
  };
  skip_space();
  for (const auto kind : {std::string_view{"query"}, {"mutation"}}) {
    if (!document.starts_with(kind))
      continue;
    document.remove_prefix(kind.size());
    if (!skip_space())
      break;
    return document.substr(
      0, document.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
                                    "abcdefghijklmnopqrstuvwxyz0123456789"));
  }
  return {};
}

struct request {
  std::string_view method;
  std::string_view target;
  std::string_view body;
  std::size_t size = 0; ///< Of all of it.
};

/// The first request of `text`. It has a size as soon as that is known, and
/// nothing else before all of it is there.
request take_request(std::string_view text) {
  auto out = request{};
  const auto end = text.find("\r\n\r\n");
  if (end == std::string_view::npos)
    return out;
  const auto head = text.substr(0, end);
  auto length = std::uint64_t{0};
  if (const auto said = header(head, "content-length:");
      said && !said->empty() && (*said)[0] >= '0' && (*said)[0] <= '9')
    length = std::min<std::uint64_t>(number(*said).value_or(request_max),
                                     request_max);
  out.size = end + 4 + length;
  if (text.size() < out.size)
    return out;
  const auto line = head.substr(0, head.find("\r\n"));
  out.method = line.substr(0, line.find(' '));
  out.target = line.substr(std::min(line.size(), out.method.size() + 1));
  out.target = out.target.substr(0, out.target.find(' '));
  out.body = text.substr(end + 4, length);
  return out;
}

// -- what there is -----------------------------------------------------------

constexpr auto template_service
  = std::string_view{"7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10"};

constexpr auto whole_template = std::string_view{
  R"({"template":{"id":"7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10",)"
  R"("serializedConfig":{"services":{"7a1c0e5e-0f0b-4c51-9d11-2f9f5f2c7a10":)"
  R"({"name":"gateway","source":{"repo":"https://example.com/gateway"},)"
  R"("deploy":{"healthcheckPath":"/healthz"},"networking":{"serviceDomains":)"
  R"({"<hasDomain>":{"port":8080}},"tcpProxies":{}},)"
  R"("variables":{"PORT":{"value":"8080"}}}}}}})"};

/// Projects and what is said about them, in the member `data` of an answer.
class railway {
public:
  /// Appends the answer to a call; false if the call cannot be read.
  bool
  answer(std::string_view name, const members& variables, std::string& out) {
    const auto known
      = std::find_if(operations.begin(), operations.end(), [&](const auto& x) {
          return x.name == name;
        });
    if (name.empty())
      name = "undefined";
    auto count = calls_.find(name);
    if (count == calls_.end())
      count = calls_.emplace(name, 0).first;
    ++count->second;
    if (known == operations.end()) {
      out += R"({"errors":[{"message":"not played: )";
      out += name;
      out += R"(","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]})";
      return true;
    }
    out += R"({"data":)";
    if (!(this->*known->run)(variables, out))
      return false;
    out += '}';
    return true;
  }

  void forget() {
    times_made_.clear();
    doubled_ = 0;
  }

  /// The members of its own in the answer to /control.
  void count(std::string& out) const {
    out += R"("calls":{)";
    auto first = true;
    for (const auto& [name, n] : calls_) {
      out += first ? "\"" : ",\"";
      first = false;
      out += name;
      out += "\":";
      put_number(out, n);
    }
    out += R"(},"created":)";
    put_number(out, names_.size());
    out += R"(,"doubled":)";
    put_number(out, doubled_);
  }

private:
  using number_type = std::uint64_t;

  struct operation {
    std::string_view name;
    bool (railway::*run)(const members&, std::string&);
  };

  static constexpr auto project_prefix = std::string_view{"00000000"};
  static constexpr auto environment_prefix = std::string_view{"0000000e"};
  static constexpr auto service_prefix = std::string_view{"0000005e"};
  static constexpr auto deployment_prefix = std::string_view{"000000d0"};
  static constexpr auto workflow_prefix = std::string_view{"0000000f"};

  static constexpr auto nothing = std::string_view{R"({"edges":[]})"};

  // -- pieces

  static void put_id(std::string& out, std::string_view prefix, number_type n) {
    constexpr auto hex = std::string_view{"0123456789abcdef"};
    out += '"';
    out += prefix;
    out += "-0000-4000-8000-000000000000\"";
    for (auto at = out.size() - 2; n > 0; n >>= 4)
      out[at--] = hex[n & 15];
  }

  // Railway makes one project in 30 s for a token. Here thousands are made in a
  // minute, but they are dated as far apart as they would be there: who looks
  // back over an hour finds what an hour can hold.
  void put_date_of(std::string& out, number_type n) const {
    const auto now = std::chrono::floor<std::chrono::milliseconds>(
      std::chrono::system_clock::now());
    const auto later = static_cast<std::int64_t>(names_.size() - 1 - n);
    put_date(out, now - std::chrono::seconds{31} * later);
  }

  [[nodiscard]] bool exists(number_type n) const {
    return n < names_.size() && !deleted_.contains(n);
  }

  void put_project(std::string& out, std::optional<number_type> of) const {
    if (!of || !exists(*of)) {
      out += "null";
      return;
    }
    const auto n = *of;
    out += R"({"id":)";
    put_id(out, project_prefix, n);
    out += R"(,"name":)";
    out += names_[n];
    out += R"(,"createdAt":)";
    put_date_of(out, n);
    out += R"(,"deletedAt":null,"baseEnvironmentId":)";
    put_id(out, environment_prefix, n);
    out += R"(,"environments":{"edges":[{"node":{"id":)";
    put_id(out, environment_prefix, n);
    out += R"(,"name":"production"}}]},"services":)";
    if (deployed_.contains(n)) {
      out += R"({"edges":[{"node":{"id":)";
      put_id(out, service_prefix, n);
      out += R"(,"name":"gateway","createdAt":)";
      put_date_of(out, n);
      out += R"(,"deletedAt":null,"templateServiceId":")";
      out += template_service;
      out += R"("}}]}})";
    } else {
      out += nothing;
      out += '}';
    }
  }

  static void put_deployment(std::string& out, std::optional<number_type> n) {
    if (!n) {
      out += "null";
      return;
    }
    out += R"({"id":)";
    put_id(out, deployment_prefix, *n);
    out += R"(,"status":"SUCCESS","deploymentStopped":false,)"
           R"("instances":[{"status":"RUNNING"}]})";
  }

  void put_environment(std::string& out, std::optional<number_type> of) const {
    if (!of) {
      out += "null";
      return;
    }
    const auto n = *of;
    out += R"({"id":)";
    put_id(out, environment_prefix, n);
    out += R"(,"name":"production","serviceInstances":)";
    if (!deployed_.contains(n)) {
      out += nothing;
      out += '}';
      return;
    }
    out += R"({"edges":[{"node":{"serviceId":)";
    put_id(out, service_prefix, n);
    out += R"(,"serviceName":"gateway","domains":{"serviceDomains":)"
           R"([{"domain":"p)";
    put_number(out, n);
    out += R"(.up.example.com"}],"customDomains":[]},"latestDeployment":)";
    put_deployment(out, n);
    out += R"(,"activeDeployments":[)";
    put_deployment(out, n);
    out += "]}}]}}";
  }

  // -- operations

  bool find_projects(const members& v, std::string& out) {
    // Projects before this one are left.
    auto left = std::optional<number_type>{names_.size()};
    if (const auto after = member(v, "after"); after && !after->is_null()) {
      left = as<std::uint64_t>(after);
      if (const auto cursor = as<std::string_view>(after))
        left = number(*cursor);
    }
    auto n = std::min<number_type>(left.value_or(0), names_.size());
    auto listed = 0;
    out += R"({"projects":{"edges":[)";
    for (; n > 0 && listed < page_max; --n) {
      if (deleted_.contains(n - 1))
        continue;
      out += listed++ > 0 ? R"(,{"node":)" : R"({"node":)";
      put_project(out, n - 1);
      out += '}';
    }
    out += R"(],"pageInfo":{"hasNextPage":)";
    out += n > 0 ? "true" : "false";
    out += R"(,"endCursor":)";
    if (listed > 0) {
      out += '"';
      put_number(out, n);
      out += "\"}}}";
    } else {
      out += "null}}}";
    }
    return true;
  }

  bool read_project(const members& v, std::string& out) {
    out += R"({"project":)";
    put_project(out, number_of(text(v, "id")));
    out += '}';
    return true;
  }

  bool create_project(const members& v, std::string& out) {
    const auto name = text(object(v, "input"), "name");
    if (!name)
      return false;
    // As they are put into answers.
    put_text(names_.emplace_back(), *name);
    if (++times_made_[names_.back()] == 2)
      ++doubled_;
    out += R"({"projectCreate":)";
    put_project(out, names_.size() - 1);
    out += '}';
    return true;
  }

  bool delete_project(const members& v, std::string& out) {
    if (const auto n = number_of(text(v, "id")))
      deleted_.insert(*n);
    out += R"({"projectDelete":true})";
    return true;
  }

  bool read_template(const members&, std::string& out) {
    out += whole_template;
    return true;
  }

  bool deploy_template(const members& v, std::string& out) {
    const auto project = text(object(v, "input"), "projectId");
    const auto n = number_of(project);
    if (!n)
      return false;
    deployed_.insert(*n);
    out += R"({"templateDeployV2":{"projectId":)";
    put_text(out, *project);
    out += R"(,"workflowId":)";
    put_id(out, workflow_prefix, *n);
    out += "}}";
    return true;
  }

  bool read_workflow(const members&, std::string& out) {
    out += R"({"workflowStatus":{"status":"Complete","error":null}})";
    return true;
  }

  bool read_workflow_and_environment(const members& v, std::string& out) {
    out += R"({"workflowStatus":{"status":"Complete","error":null},)"
           R"("environment":)";
    put_environment(out, number_of(text(v, "environmentId")));
    out += '}';
    return true;
  }

  bool read_environment(const members& v, std::string& out) {
    out += R"({"environment":)";
    put_environment(out, number_of(text(v, "id")));
    out += '}';
    return true;
  }

  bool read_deployment(const members& v, std::string& out) {
    out += R"({"deployment":)";
    put_deployment(out, number_of(text(v, "id")));
    out += '}';
    return true;
  }

  bool read_events(const members&, std::string& out) {
    out += R"({"deploymentEvents":{"edges":[]}})";
    return true;
  }

  bool read_rules(const members&, std::string& out) {
    out += R"({"notificationRules":[]})";
    return true;
  }

  bool create_rule(const members&, std::string& out) {
    out += R"({"notificationRuleCreate":)"
           R"({"id":"000000aa-0000-4000-8000-000000000001"}})";
    return true;
  }

  /// Several environments and lists of steps under aliases.
  bool watch(const members& v, std::string& out) {
    out += '{';
    auto first = true;
    if (v) {
      for (const auto [alias, of] : *v) {
        if (!first)
          out += ',';
        first = false;
        put_text(out, alias);
        out += ':';
        if (alias.starts_with('e'))
          put_environment(out, number_of(as<std::string_view>(of)));
        else
          out += nothing;
      }
    }
    out += '}';
    return true;
  }

  static constexpr auto operations = std::array{
    operation{"CreateProject", &railway::create_project},
    operation{"DeployTemplate", &railway::deploy_template},
    operation{"ReadWorkflowAndEnvironment",
              &railway::read_workflow_and_environment},
    operation{"ReadEnvironment", &railway::read_environment},
    operation{"Watch", &railway::watch},
    operation{"FindProjects", &railway::find_projects},
    operation{"ReadProject", &railway::read_project},
    operation{"ReadServices", &railway::read_project},
    operation{"DeleteProject", &railway::delete_project},
    operation{"TemplateByCode", &railway::read_template},
    operation{"TemplateById", &railway::read_template},
    operation{"ReadWorkflow", &railway::read_workflow},
    operation{"ReadServing", &railway::read_environment},
    operation{"ReadDeployment", &railway::read_deployment},
    operation{"ReadReplicas", &railway::read_deployment},
    operation{"ReadEvents", &railway::read_events},
    operation{"ReadRules", &railway::read_rules},
    operation{"CreateRule", &railway::create_rule},
  };

  std::deque<std::string> names_; ///< They stay where they are.
  std::unordered_map<std::string_view, std::size_t> times_made_;
  std::unordered_set<number_type> deleted_;
  /// Projects into which a template was deployed: before that they are empty.
  std::unordered_set<number_type> deployed_;
  std::map<std::string, std::size_t, std::less<>> calls_;
  std::size_t doubled_ = 0;
};

// -- how it is asked ---------------------------------------------------------

class provider {
public:
  explicit provider(std::uint16_t port) {
    epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
    listener_
      = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (epoll_ < 0 || listener_ < 0)
      give_up("socket");
    const auto one = 1;
    ::setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    auto at = sockaddr_in{};
    at.sin_family = AF_INET;
    at.sin_port = htons(port);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::bind(listener_, reinterpret_cast<const sockaddr*>(&at), sizeof(at))
          != 0
        || ::listen(listener_, SOMAXCONN) != 0)
      give_up("listening");
    watch(listener_, EPOLL_CTL_ADD, EPOLLIN);
  }

  [[nodiscard]] std::uint16_t port() const {
    auto at = sockaddr_in{};
    auto size = socklen_t{sizeof(at)};
    if (::getsockname(listener_, reinterpret_cast<sockaddr*>(&at), &size) != 0)
      give_up("getsockname");
    return ntohs(at.sin_port);
  }

  [[noreturn]] void run() {
    auto events = std::array<epoll_event, 128>{};
    for (;;) {
      const auto n = ::epoll_wait(epoll_, events.data(), events.size(), -1);
      if (n < 0 && errno != EINTR)
        give_up("epoll_wait");
      for (auto i = 0; i < n; ++i) {
        const auto fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_)
          accept();
        else if (auto* x = find(fd))
          x->stuck ? go_on(*x) : receive(*x);
      }
    }
  }

private:
  struct connection {
    int fd = -1;
    std::uint64_t serial = 0; ///< No other one ever had it.
    std::vector<char> in;
    std::size_t filled = 0;
    std::string out;
    std::size_t sent = 0; ///< Of `out`.
    bool stuck = false;   ///< There is no room for `out`.
    bool leaving = false; ///< What still comes is not read.
  };

  struct held_answer {
    int fd;
    std::uint64_t serial;
    std::string text;
  };

  enum class manner { answer, hold, drop };

  static constexpr auto manners
    = std::array<std::string_view, 3>{"answer", "hold", "drop"};

  void watch(int fd, int how, std::uint32_t what) {
    auto event = epoll_event{};
    event.events = what;
    event.data.fd = fd;
    if (::epoll_ctl(epoll_, how, fd, &event) != 0)
      give_up("epoll_ctl");
  }

  connection* find(int fd) {
    const auto at = static_cast<std::size_t>(fd);
    return at < connections_.size() ? connections_[at].get() : nullptr;
  }

  void accept() {
    for (;;) {
      const auto fd
        = ::accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
        // Until one of the others is closed.
        watch(listener_, EPOLL_CTL_MOD, 0);
        deaf_ = true;
      }
      if (fd < 0)
        return;
      const auto one = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
      const auto at = static_cast<std::size_t>(fd);
      connections_.resize(std::max(connections_.size(), at + 1));
      connections_[at] = std::make_unique<connection>();
      connections_[at]->fd = fd;
      connections_[at]->serial = ++serials_;
      connections_[at]->in.resize(std::size_t{16} << 10);
      watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
  }

  void close(connection& x) {
    const auto fd = x.fd;
    connections_[static_cast<std::size_t>(fd)].reset();
    ::close(fd);
    if (deaf_)
      watch(listener_, EPOLL_CTL_MOD, EPOLLIN);
    deaf_ = false;
  }

  void receive(connection& x) {
    if (x.leaving)
      x.filled = 0;
    // simdjson looks beyond the end of what it reads.
    constexpr auto beyond = simdjson::SIMDJSON_PADDING;
    if (x.filled + beyond == x.in.size())
      x.in.resize(std::min(2 * x.in.size(), request_max + beyond));
    const auto got = ::recv(x.fd, x.in.data() + x.filled,
                            x.in.size() - beyond - x.filled, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
      return;
    if (got <= 0) {
      close(x);
      return;
    }
    x.filled += static_cast<std::size_t>(got);
    serve(x);
  }

  void go_on(connection& x) {
    if (flush(x))
      serve(x);
  }

  /// Answers all that is there, as long as the answers are taken.
  void serve(connection& x) {
    for (auto more = true; more && !x.leaving;) {
      auto begin = std::size_t{0};
      while (more && !x.leaving && x.out.size() < unsent_max) {
        const auto size = answer(x, {x.in.data() + begin, x.filled - begin});
        begin += size;
        more = size > 0;
      }
      x.filled -= begin;
      if (x.filled > 0 && begin > 0)
        std::memmove(x.in.data(), x.in.data() + begin, x.filled);
      if (!x.out.empty() && !flush(x))
        return;
    }
  }

  /// Answers the first request of `text`: its size, or 0 while it is not whole.
  std::size_t answer(connection& x, std::string_view text) {
    const auto in = take_request(text);
    if (in.size > request_max || (in.size == 0 && text.size() >= request_max)) {
      leave(x, "413 Content Too Large");
      return text.size();
    }
    if (in.size == 0 || in.size > text.size())
      return 0;
    const auto control = in.target == "/control";
    body_.clear();
    if (!(control ? answer_control(x, in) : answer_call(in))) {
      leave(x, "400 Bad Request");
      return text.size();
    }
    if (!control && manner_ == manner::hold)
      put_answer(held_.emplace_back(held_answer{x.fd, x.serial, {}}).text);
    else
      put_answer(x.out);
    return in.size;
  }

  void put_answer(std::string& out) const {
    out += "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
           "Content-Length: ";
    put_number(out, body_.size());
    out += "\r\n\r\n";
    out += body_;
  }

  static void leave(connection& x, std::string_view status) {
    x.out += "HTTP/1.1 ";
    x.out += status;
    x.out += "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    x.leaving = true;
  }

  /// What a body says; nothing if it cannot be read.
  std::optional<dom::element> parse(std::string_view body) {
    auto out = dom::element{};
    // There is room behind it.
    if (parser_.parse(body.data(), body.size(), false).get(out)
        != simdjson::SUCCESS)
      return std::nullopt;
    return out;
  }

  bool answer_call(const request& in) {
    const auto root = parse(in.body);
    if (!root || root->is_null())
      return false;
    const auto asked = as<dom::object>(root);
    return railway_.answer(operation_of(text(asked, "query").value_or("")),
                           object(asked, "variables"), body_);
  }

  bool answer_control(connection& x, const request& in) {
    if (in.method == "POST") {
      const auto asked = as<dom::object>(parse(in.body));
      const auto mode = std::find(manners.begin(), manners.end(),
                                  text(asked, "mode").value_or(""));
      if (mode == manners.end())
        return false;
      manner_ = static_cast<manner>(mode - manners.begin());
      if (as<bool>(member(asked, "forget")).value_or(false))
        railway_.forget();
      if (manner_ == manner::answer)
        release(x);
      if (manner_ != manner::hold)
        held_.clear();
    }
    body_ += R"({"mode":")";
    body_ += manners[static_cast<std::size_t>(manner_)];
    body_ += R"(",)";
    railway_.count(body_);
    body_ += R"(,"held":)";
    put_number(body_, held_.size());
    body_ += R"(,"cpuSeconds":)";
    put_seconds(body_, cpu_seconds());
    body_ += '}';
    return true;
  }

  /// Sends what was held; what goes to `own` leaves with the answer that is
  /// being made there.
  void release(const connection& own) {
    for (const auto& [fd, serial, text] : held_) {
      auto* to = find(fd);
      if (!to || to->serial != serial || to->leaving)
        continue;
      to->out += text;
      if (to != &own && !to->stuck)
        flush(*to);
    }
  }

  /// Whether all of it is sent; the connection may be gone if not.
  bool flush(connection& x) {
    while (x.sent < x.out.size()) {
      const auto wrote = ::send(x.fd, x.out.data() + x.sent,
                                x.out.size() - x.sent, MSG_NOSIGNAL);
      if (wrote < 0 && errno == EINTR)
        continue;
      if (wrote < 0 && errno != EAGAIN) {
        close(x);
        return false;
      }
      if (wrote < 0) {
        if (!x.stuck)
          watch(x.fd, EPOLL_CTL_MOD, EPOLLOUT);
        x.stuck = true;
        return false;
      }
      x.sent += static_cast<std::size_t>(wrote);
    }
    x.out.clear();
    x.sent = 0;
    if (x.stuck)
      watch(x.fd, EPOLL_CTL_MOD, EPOLLIN);
    x.stuck = false;
    // The other side has to read the last answer before all is closed.
    if (x.leaving)
      ::shutdown(x.fd, SHUT_WR);
    return true;
  }

  int epoll_ = -1;
  int listener_ = -1;
  bool deaf_ = false; ///< No file is left for one more connection.
  std::vector<std::unique_ptr<connection>> connections_; ///< By file.
  std::uint64_t serials_ = 0;
  std::vector<held_answer> held_;
  manner manner_ = manner::answer;
  railway railway_;
  dom::parser parser_;
  std::string body_; ///< Of the answer that is being made.
};

} // namespace

int main(int argc, char** argv) {
  auto port = std::uint16_t{0};
  auto cli = CLI::App{"A Railway that answers at once", "slipway_provider"};
  cli.add_option("--port", port, "On 127.0.0.1; 0: any that is free")
    ->capture_default_str();
  CLI11_PARSE(cli, argc, argv);
  try {
    auto all = provider{port};
    std::printf("%u\n", static_cast<unsigned>(all.port()));
    std::fflush(stdout);
    all.run();
  } catch (const std::exception& why) {
    std::fprintf(stderr, "slipway_provider: %s\n", why.what());
    return 1;
  }
}
