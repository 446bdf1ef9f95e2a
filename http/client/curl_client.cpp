#include "http/client/curl_client.hpp"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <deque>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <unordered_map>
#include <utility>
#include <vector>

namespace slipway::client {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t header_bytes_max = 256 * 1024;

/// How long the thread sleeps at most: with requests pending, and without.
constexpr millis busy_poll{100};
constexpr millis idle_poll{10'000};

/// curl ends a transfer at its deadline by itself, but not while the transfer
/// waits for a connection. What is this much over is ended here.
constexpr millis deadline_grace{50};

/// An idle connection is not used again after this many seconds. Most servers
/// keep one longer, so that a request rarely meets a connection being closed.
constexpr long connection_age_max_s = 30;

/// Handles that are kept for the next requests: making one costs more than
/// clearing one.
constexpr std::size_t spare_handles_max = 64;

/// Sockets that are served between two looks at what was asked meanwhile.
constexpr std::size_t events_max = 64;

struct slist_free {
  void operator()(curl_slist* list) const noexcept {
    curl_slist_free_all(list);
  }
};

struct url_free {
  void operator()(CURLU* url) const noexcept {
    curl_url_cleanup(url);
  }
};

struct easy_free {
  void operator()(CURL* handle) const noexcept {
    curl_easy_cleanup(handle);
  }
};

struct multi_free {
  void operator()(CURLM* handle) const noexcept {
    curl_multi_cleanup(handle);
  }
};

using slist_ptr = std::unique_ptr<curl_slist, slist_free>;
using url_ptr = std::unique_ptr<CURLU, url_free>;
using easy_ptr = std::unique_ptr<CURL, easy_free>;
using multi_ptr = std::unique_ptr<CURLM, multi_free>;

/// A request that has been accepted and not been answered.
struct job {
  http_request request;
  http_callback done;
  steady::time_point deadline;
};

/// A job on the wire. curl holds pointers into it, so it never moves.
struct transfer {
  job work;
  /// Method and host, for messages.
  std::string label;
  slist_ptr headers;
  slist_ptr connect_to;
  easy_ptr handle;
  std::array<char, CURL_ERROR_SIZE> error{};
  http_response response;
  std::size_t header_bytes = 0;
  /// How often the request was about to leave, over a ready connection. Zero
  /// proves that nothing left.
  int attempts = 0;
  bool repeatable = false;
  bool too_large = false;
};

void append_header(slist_ptr& list, const std::string& line) {
  auto* longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr)
    throw std::bad_alloc{};
  static_cast<void>(list.release());
  list.reset(longer);
}

bool is_token(std::string_view text) noexcept {
  constexpr std::string_view allowed
    = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
      "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
  return !text.empty() && text.find_first_not_of(allowed) == text.npos;
}

bool is_header_value(std::string_view text) noexcept {
  return std::none_of(text.begin(), text.end(), [](char c) {
    return c == '\r' || c == '\n' || c == '\0';
  });
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  auto begin = text.find_first_not_of(blanks);
  if (begin == text.npos)
    return {};
  return std::string{
    text.substr(begin, text.find_last_not_of(blanks) - begin + 1)};
}

/// One part of a URL, or nothing where there is none.
std::string part_of(CURLU* url, CURLUPart part) {
  char* value = nullptr;
  if (curl_url_get(url, part, &value, 0) != CURLUE_OK || value == nullptr)
    return {};
  std::string result{value};
  curl_free(value);
  return result;
}

bool is_loopback(std::string_view host) noexcept {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

/// The reason why a request can't be sent at all; empty where there is none.
std::string defect_of(const http_request& request, std::string_view scheme,
                      std::string_view host) {
  if (host.empty() || (scheme != "http" && scheme != "https"))
    return "the URL is not an absolute one with http or https";
  if (!is_token(request.method))
    return "the method is no token";
  if (request.timeout <= millis::zero()
      || request.connect_timeout <= millis::zero())
    return "the timeouts must be greater than zero";
  for (const auto& [name, value] : request.headers)
    if (!is_token(name) || !is_header_value(value))
      return "a header has a bad name or a line break in its value";
  return {};
}

long milliseconds_of(steady::duration length) noexcept {
  auto count = std::chrono::ceil<millis>(length).count();
  return static_cast<long>(std::clamp<millis::rep>(count, 1, INT_MAX));
}

// -- called by curl
// ------------------------------------------------------------

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  auto& self = *static_cast<transfer*>(user);
  auto& body = self.response.body;
  if (size > self.work.request.max_response_bytes - body.size()) {
    self.too_large = true;
    return CURL_WRITEFUNC_ERROR;
  }
  body.append(data, size);
  return size;
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
  auto& self = *static_cast<transfer*>(user);
  self.header_bytes += size;
  if (self.header_bytes > header_bytes_max) {
    self.too_large = true;
    return CURL_WRITEFUNC_ERROR;
  }
  std::string_view line{data, size};
  if (line.starts_with("HTTP/")) {
    // An interim answer such as 103 came before this one.
    self.response.headers.clear();
    return size;
  }
  auto colon = line.find(':');
  if (colon != line.npos && colon > 0)
    self.response.headers.emplace_back(line.substr(0, colon),
                                       trimmed(line.substr(colon + 1)));
  return size;
}

/// Runs when the connection is ready and the request is about to leave.
int on_ready(void* user, char*, char*, int, int) {
  auto& self = *static_cast<transfer*>(user);
  // When a kept connection dies without an answer, curl sends again over a new
  // one. The other side may have acted, so only we may decide to repeat.
  if (self.attempts > 0 && !self.repeatable)
    return CURL_PREREQFUNC_ABORT;
  ++self.attempts;
  return CURL_PREREQFUNC_OK;
}

template <class T>
void set(CURL* handle, CURLoption option, T value) {
  auto code = curl_easy_setopt(handle, option, value);
  if (code != CURLE_OK)
    throw std::runtime_error{"libcurl lacks an option: "
                             + std::string{curl_easy_strerror(code)}};
}

template <class T>
void set(CURLM* handle, CURLMoption option, T value) {
  auto code = curl_multi_setopt(handle, option, value);
  if (code != CURLM_OK)
    throw std::runtime_error{"libcurl lacks an option: "
                             + std::string{curl_multi_strerror(code)}};
}

/// A descriptor of our own.
class descriptor {
public:
  descriptor(int fd, const char* what) : fd_{fd} {
    if (fd < 0)
      throw std::system_error{errno, std::generic_category(), what};
  }

  descriptor(const descriptor&) = delete;
  descriptor& operator=(const descriptor&) = delete;

  ~descriptor() {
    ::close(fd_);
  }

  [[nodiscard]] int get() const noexcept {
    return fd_;
  }

private:
  int fd_;
};

void start_curl() {
  static const CURLcode result = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (result != CURLE_OK)
    throw std::runtime_error{"libcurl can't be started: "
                             + std::string{curl_easy_strerror(result)}};
}

} // namespace

// -- the client
// ----------------------------------------------------------------

struct curl_client::impl {
  explicit impl(curl_client_options given) : options{std::move(given)} {
    start_curl();
    multi.reset(curl_multi_init());
    if (!multi)
      throw std::bad_alloc{};
    set(multi.get(), CURLMOPT_MAX_HOST_CONNECTIONS,
        static_cast<long>(options.connections_per_host));
    set(multi.get(), CURLMOPT_MAX_TOTAL_CONNECTIONS,
        static_cast<long>(options.in_flight_max));
    set(multi.get(), CURLMOPT_MAXCONNECTS,
        static_cast<long>(options.idle_connections_max));
    set(multi.get(), CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    // curl tells which sockets it waits for, and is told which are ready: no
    // event costs a look at all the others.
    set(multi.get(), CURLMOPT_SOCKETFUNCTION, &impl::on_socket);
    set(multi.get(), CURLMOPT_SOCKETDATA, this);
    set(multi.get(), CURLMOPT_TIMERFUNCTION, &impl::on_timer);
    set(multi.get(), CURLMOPT_TIMERDATA, this);
    if (!watch(EPOLL_CTL_ADD, woken.get(), EPOLLIN))
      throw std::system_error{errno, std::generic_category(), "epoll_ctl"};
    worker = std::thread{[this] {
      run();
    }};
  }

  // -- any thread
  // --------------------------------------------------------------

  void send(http_request request, http_callback done) {
    auto refusal = [&]() -> const char* {
      std::lock_guard guard{mutex};
      if (stopping)
        return "the client is stopping";
      if (pending >= options.in_flight_max + options.queue_max)
        return "too many requests are waiting";
      auto deadline = steady::now()
                      + std::clamp(request.timeout, millis::zero(),
                                   millis{std::chrono::hours{24}});
      queue.push_back(job{std::move(request), std::move(done), deadline});
      ++pending;
      wake();
      return nullptr;
    }();
    if (refusal != nullptr)
      done(http_failure{failure_kind::refused, refusal});
  }

  void stop() {
    {
      std::lock_guard guard{mutex};
      stopping = true;
      wake();
    }
    if (worker.joinable())
      worker.join();
  }

  void wake() noexcept {
    const auto once = std::uint64_t{1};
    // Full means that it is awake.
    [[maybe_unused]] const auto put = ::write(woken.get(), &once, sizeof(once));
  }

  // -- the client's thread
  // -----------------------------------------------------

  void run() noexcept {
    while (!take_jobs()) {
      const auto waiting = pending.load();
      // A slot that has just become free is filled at once.
      const auto at_once
        = waiting > active.size() && active.size() < options.in_flight_max;
      serve(at_once ? millis{0} : waiting > 0 ? busy_poll : idle_poll);
      collect();
      sweep();
    }
    give_up();
  }

  /// Waits until a socket is ready, curl's timer is due or somebody wakes us,
  /// and has curl go on with whatever it is.
  void serve(steady::duration limit) {
    const auto until = std::min(timer, steady::now() + limit);
    const auto left = std::max(until - steady::now(), steady::duration::zero());
    auto events = std::array<epoll_event, events_max>{};
    const auto count = ::epoll_wait(
      poller.get(), events.data(), static_cast<int>(events.size()),
      static_cast<int>(std::chrono::ceil<millis>(left).count()));
    int running = 0;
    for (auto i = 0; i < count; ++i) {
      const auto& x = events[static_cast<std::size_t>(i)];
      if (x.data.fd == woken.get()) {
        // Whoever woke us is looked after by the caller.
        auto times = std::uint64_t{};
        [[maybe_unused]] const auto got
          = ::read(woken.get(), &times, sizeof(times));
        continue;
      }
      const auto ready
        = ((x.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0)
          | ((x.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0)
          | ((x.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
      curl_multi_socket_action(multi.get(), x.data.fd, ready, &running);
    }
    if (steady::now() >= timer) {
      timer = steady::time_point::max();
      curl_multi_socket_action(multi.get(), CURL_SOCKET_TIMEOUT, 0, &running);
    }
  }

  /// @returns whether it is watched now, or not any more.
  bool watch(int how, int fd, std::uint32_t events) noexcept {
    auto what = epoll_event{};
    what.events = events;
    what.data.fd = fd;
    return ::epoll_ctl(poller.get(), how, fd, &what) == 0;
  }

  // Called by curl. `known` is what was assigned to the socket: anything once
  // it is watched.
  static int on_socket(CURL*, curl_socket_t fd, int wanted, void* user,
                       void* known) noexcept {
    auto& self = *static_cast<impl*>(user);
    if (wanted == CURL_POLL_REMOVE) {
      // Fails where it has been closed already.
      self.watch(EPOLL_CTL_DEL, fd, 0);
      curl_multi_assign(self.multi.get(), fd, nullptr);
      return 0;
    }
    const auto events = ((wanted & CURL_POLL_IN) != 0 ? EPOLLIN : 0u)
                        | ((wanted & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
    const auto how = known == nullptr ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (!self.watch(how, fd, events))
      return -1;
    curl_multi_assign(self.multi.get(), fd, &self);
    return 0;
  }

  static int on_timer(CURLM*, long milliseconds, void* user) noexcept {
    auto& self = *static_cast<impl*>(user);
    self.timer = milliseconds < 0 ? steady::time_point::max()
                                  : steady::now() + millis{milliseconds};
    return 0;
  }

  /// Starts waiting jobs while there are slots.
  /// @returns whether to stop.
  bool take_jobs() {
    std::vector<job> taken;
    {
      std::lock_guard guard{mutex};
      if (stopping)
        return true;
      while (!queue.empty()
             && active.size() + taken.size() < options.in_flight_max) {
        taken.push_back(std::move(queue.front()));
        queue.pop_front();
      }
      in_flight = active.size() + taken.size();
    }
    for (auto& work : taken)
      start(std::move(work));
    return false;
  }

  void start(job work) {
    auto now = steady::now();
    url_ptr url{curl_url()};
    if (!url)
      throw std::bad_alloc{};
    curl_url_set(url.get(), CURLUPART_URL, work.request.url.c_str(), 0);
    auto host = part_of(url.get(), CURLUPART_HOST);
    auto defect
      = defect_of(work.request, part_of(url.get(), CURLUPART_SCHEME), host);
    auto label = work.request.method + ' ' + (host.empty() ? "?" : host);
    if (!defect.empty())
      return finish(std::move(work), http_failure{failure_kind::not_sent,
                                                  "bad request: " + defect});
    if (now >= work.deadline)
      return finish(std::move(work),
                    http_failure{failure_kind::not_sent,
                                 label + ": timed out before it was sent"});
    auto state = std::make_unique<transfer>();
    state->work = std::move(work);
    state->label = std::move(label);
    state->handle = take_handle();
    prepare(*state, is_loopback(host), now);
    auto* handle = state->handle.get();
    auto code = curl_multi_add_handle(multi.get(), handle);
    if (code != CURLM_OK)
      return finish(
        std::move(state->work),
        http_failure{failure_kind::not_sent,
                     state->label + ": " + curl_multi_strerror(code)});
    active.emplace(handle, std::move(state));
  }

  void prepare(transfer& state, bool loopback, steady::time_point now) {
    auto* handle = state.handle.get();
    auto& request = state.work.request;
    state.repeatable = request.method == "GET" || request.method == "HEAD";
    auto left = state.work.deadline - now;
    set(handle, CURLOPT_NOSIGNAL, 1L);
    set(handle, CURLOPT_URL, request.url.c_str());
    set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    set(handle, CURLOPT_FOLLOWLOCATION, 0L);
    set(handle, CURLOPT_HTTP_VERSION,
        static_cast<long>(CURL_HTTP_VERSION_2TLS));
    set(handle, CURLOPT_TIMEOUT_MS, milliseconds_of(left));
    set(handle, CURLOPT_CONNECTTIMEOUT_MS,
        milliseconds_of(
          std::min<steady::duration>(left, request.connect_timeout)));
    set(handle, CURLOPT_MAXAGE_CONN, connection_age_max_s);
    set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
    set(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    // Without it, giving up on a slow name server would block this thread.
    set(handle, CURLOPT_QUICK_EXIT, 1L);
    if (loopback || !options.connect_to.empty())
      set(handle, CURLOPT_PROXY, "");
    if (!options.connect_to.empty()) {
      append_header(state.connect_to, "::" + options.connect_to);
      set(handle, CURLOPT_CONNECT_TO, state.connect_to.get());
    }
    if (!options.ca_file.empty())
      set(handle, CURLOPT_CAINFO, options.ca_file.c_str());
    set(handle, CURLOPT_ERRORBUFFER, state.error.data());
    set(handle, CURLOPT_WRITEFUNCTION, &on_body);
    set(handle, CURLOPT_WRITEDATA, &state);
    set(handle, CURLOPT_HEADERFUNCTION, &on_header);
    set(handle, CURLOPT_HEADERDATA, &state);
    set(handle, CURLOPT_PREREQFUNCTION, &on_ready);
    set(handle, CURLOPT_PREREQDATA, &state);
    prepare_method(handle, request);
    prepare_headers(state);
  }

  static void prepare_method(CURL* handle, const http_request& request) {
    if (request.method == "HEAD") {
      set(handle, CURLOPT_NOBODY, 1L);
      return;
    }
    auto with_body = !request.body.empty() || request.method == "POST"
                     || request.method == "PUT" || request.method == "PATCH";
    if (with_body) {
      set(handle, CURLOPT_POSTFIELDSIZE_LARGE,
          static_cast<curl_off_t>(request.body.size()));
      set(handle, CURLOPT_POSTFIELDS, request.body.c_str());
    } else {
      set(handle, CURLOPT_HTTPGET, 1L);
    }
    set(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }

  void prepare_headers(transfer& state) {
    const auto& given = state.work.request.headers;
    for (const auto& [name, value] : given) {
      auto text = trimmed(value);
      // A line that ends at its colon would take the header away instead.
      append_header(state.headers,
                    text.empty() ? name + ';' : name + ": " + text);
    }
    // What curl would add by itself.
    append_header(state.headers, "Expect:");
    if (!find_header(given, "Content-Type"))
      append_header(state.headers, "Content-Type:");
    if (!find_header(given, "User-Agent") && !options.user_agent.empty())
      append_header(state.headers, "User-Agent: " + options.user_agent);
    set(state.handle.get(), CURLOPT_HTTPHEADER, state.headers.get());
  }

  /// Reports what curl has finished.
  void collect() {
    int left = 0;
    while (auto* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE)
        continue;
      auto code = message->data.result;
      if (auto state = take(message->easy_handle)) {
        auto outcome = outcome_of(*state, code);
        keep_handle(std::move(state->handle));
        finish(std::move(state->work), std::move(outcome));
      }
    }
  }

  easy_ptr take_handle() {
    if (!spare.empty()) {
      auto handle = std::move(spare.back());
      spare.pop_back();
      return handle;
    }
    auto handle = easy_ptr{curl_easy_init()};
    if (!handle)
      throw std::bad_alloc{};
    return handle;
  }

  /// Forgets all that it was told, pointers included.
  void keep_handle(easy_ptr handle) {
    if (spare.size() >= spare_handles_max)
      return;
    curl_easy_reset(handle.get());
    spare.push_back(std::move(handle));
  }

  /// Ends what is over its deadline and curl has not noticed: jobs that wait
  /// here for a slot, and transfers that wait in curl for a connection.
  void sweep() {
    auto now = steady::now();
    if (now < next_sweep)
      return;
    next_sweep = now + deadline_grace;
    std::vector<job> late;
    {
      std::lock_guard guard{mutex};
      for (auto& work : queue)
        if (now >= work.deadline)
          late.push_back(std::move(work));
      if (!late.empty())
        std::erase_if(queue, [now](const job& work) {
          return now >= work.deadline;
        });
    }
    for (auto& work : late)
      finish(std::move(work), http_failure{failure_kind::not_sent,
                                           "timed out waiting for its turn"});
    std::vector<CURL*> stuck;
    for (const auto& [handle, state] : active)
      if (now >= state->work.deadline + deadline_grace)
        stuck.push_back(handle);
    for (auto* handle : stuck)
      if (auto state = take(handle)) {
        auto outcome = outcome_of(*state, CURLE_OPERATION_TIMEDOUT);
        finish(std::move(state->work), std::move(outcome));
      }
  }

  /// The end: everything that is pending fails.
  void give_up() {
    std::vector<job> waiting;
    {
      std::lock_guard guard{mutex};
      std::move(queue.begin(), queue.end(), std::back_inserter(waiting));
      queue.clear();
    }
    // Answers that have arrived already are still answers.
    serve(millis{0});
    collect();
    while (!active.empty()) {
      auto state = take(active.begin()->first);
      auto kind
        = state->attempts > 0 ? failure_kind::in_doubt : failure_kind::not_sent;
      finish(std::move(state->work),
             http_failure{kind, state->label + ": the client is stopping"});
    }
    for (auto& work : waiting)
      finish(std::move(work),
             http_failure{failure_kind::not_sent, "the client is stopping"});
  }

  /// Takes a transfer out of curl's hands.
  std::unique_ptr<transfer> take(CURL* handle) {
    curl_multi_remove_handle(multi.get(), handle);
    auto entry = active.find(handle);
    if (entry == active.end())
      return nullptr;
    auto state = std::move(entry->second);
    active.erase(entry);
    in_flight = active.size();
    return state;
  }

  static http_outcome outcome_of(transfer& state, CURLcode code) {
    if (code == CURLE_OK) {
      long status = 0;
      curl_easy_getinfo(state.handle.get(), CURLINFO_RESPONSE_CODE, &status);
      state.response.status = static_cast<int>(status);
      return std::move(state.response);
    }
    if (state.too_large) {
      auto in_head = state.header_bytes > header_bytes_max;
      auto limit
        = in_head ? header_bytes_max : state.work.request.max_response_bytes;
      return http_failure{failure_kind::too_large,
                          state.label + ": the response's "
                            + (in_head ? "head" : "body") + " is longer than "
                            + std::to_string(limit) + " bytes"};
    }
    std::string cause
      = state.error[0] != '\0' ? state.error.data() : curl_easy_strerror(code);
    if (code == CURLE_ABORTED_BY_CALLBACK)
      cause = "the connection was closed without an answer";
    auto kind
      = state.attempts > 0 ? failure_kind::in_doubt : failure_kind::not_sent;
    return http_failure{kind, state.label + ": " + cause};
  }

  void finish(job work, http_outcome outcome) {
    {
      std::lock_guard guard{mutex};
      --pending;
    }
    work.done(std::move(outcome));
  }

  const curl_client_options options;

  mutable std::mutex mutex;
  std::deque<job> queue; ///< Guarded.
  bool stopping = false; ///< Guarded.
  /// Accepted and unanswered. Changed under the lock.
  std::atomic<std::size_t> pending = 0;
  std::atomic<std::size_t> in_flight = 0;

  descriptor poller{::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"};
  descriptor woken{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"};

  /// Of the client's thread, as everything below. Destroyed after `active`.
  multi_ptr multi;
  std::vector<easy_ptr> spare;
  steady::time_point timer = steady::time_point::max(); ///< curl's.
  std::unordered_map<CURL*, std::unique_ptr<transfer>> active;
  steady::time_point next_sweep{};

  std::thread worker;
};

curl_client::curl_client(curl_client_options options)
  : impl_{std::make_unique<impl>(std::move(options))} {
}

curl_client::~curl_client() {
  stop();
}

void curl_client::send(http_request request, http_callback done) {
  impl_->send(std::move(request), std::move(done));
}

void curl_client::stop() {
  impl_->stop();
}

curl_client::load curl_client::current_load() const noexcept {
  load result;
  auto pending = impl_->pending.load();
  result.in_flight = impl_->in_flight.load();
  result.queued = pending - std::min(pending, result.in_flight);
  return result;
}

} // namespace slipway::client
