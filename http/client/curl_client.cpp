#include "http/client/curl_client.hpp"

#include <curl/curl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <iterator>
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

/// Room for the header fields of a response; more make more.
constexpr std::size_t usual_headers = 16;

/// How long the thread sleeps at most: with requests pending, and without.
constexpr millis busy_poll{100};
constexpr millis idle_poll{10'000};

/// curl ends a transfer at its deadline by itself, but not while the transfer
/// waits for a connection. What is this much over is ended here.
constexpr millis deadline_grace{50};

/// An idle connection is not used again after this many seconds. Most servers
/// keep one longer, so that a request rarely meets a connection being closed.
constexpr long connection_age_max_s = 30;

/// Transfers that are kept for the next requests: making a handle costs more
/// than telling it what differs.
constexpr std::size_t spares_max = 128;

/// URLs that are kept apart: most requests go to a few of them.
constexpr std::size_t known_urls_max = 8;

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

/// A URL and its parts; these are empty where it is none.
struct target {
  std::string url;
  url_ptr parts;
  std::string scheme;
  std::string host;
};

using target_ptr = std::shared_ptr<const target>;

/// Lines of a head, as curl takes them.
class header_lines {
public:
  void clear() noexcept {
    text_.clear();
    begins_.clear();
  }

  void add(std::initializer_list<std::string_view> parts) {
    begins_.push_back(text_.size());
    for (auto part : parts)
      text_ += part;
    text_ += '\0';
  }

  /// Good until the next change.
  [[nodiscard]] curl_slist* list() {
    nodes_.resize(begins_.size());
    for (std::size_t i = 0; i < nodes_.size(); ++i)
      nodes_[i] = {text_.data() + begins_[i],
                   i + 1 < nodes_.size() ? &nodes_[i + 1] : nullptr};
    return nodes_.data();
  }

private:
  std::string text_;
  std::vector<std::size_t> begins_;
  std::vector<curl_slist> nodes_;
};

/// A handle of curl's and the job that it carries. It holds pointers into all
/// of this, so that a transfer never moves; both are used again together.
struct transfer {
  job work;
  target_ptr to;
  header_lines headers;
  std::array<char, CURL_ERROR_SIZE> error{};
  http_response response;
  std::size_t header_bytes = 0;
  /// How often the request was about to leave, over a ready connection. Zero
  /// proves that nothing left.
  int attempts = 0;
  bool repeatable = false;
  bool too_large = false;
  /// Where it is among those on the wire.
  std::size_t place = 0;
  easy_ptr handle;
};

/// What curl waits for on a socket, and what the poller was told last.
struct watched {
  std::uint32_t wanted = 0;
  std::uint32_t told = 0;
  /// Else one of curl's own, which it closes without a word.
  bool is_connection = false;
};

/// Method and host, for messages.
std::string label_of(const http_request& request, const target& to) {
  return request.method + ' ' + to.host;
}

std::string label_of(const transfer& state) {
  return label_of(state.work.request, *state.to);
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

std::string_view trimmed(std::string_view text) noexcept {
  constexpr std::string_view blanks = " \t\r\n";
  auto begin = text.find_first_not_of(blanks);
  if (begin == text.npos)
    return {};
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
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

target_ptr target_of(const std::string& url) {
  auto result = std::make_shared<target>();
  result->url = url;
  result->parts.reset(curl_url());
  auto* parts = result->parts.get();
  if (parts == nullptr)
    throw std::bad_alloc{};
  curl_url_set(parts, CURLUPART_URL, url.c_str(), 0);
  result->scheme = part_of(parts, CURLUPART_SCHEME);
  result->host = part_of(parts, CURLUPART_HOST);
  return result;
}

bool is_loopback(std::string_view host) noexcept {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

/// The reason why a request can't be sent at all; empty where there is none.
std::string defect_of(const http_request& request, const target& to) {
  if (to.host.empty() || (to.scheme != "http" && to.scheme != "https"))
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
  if (colon == line.npos || colon == 0)
    return size;
  auto& headers = self.response.headers;
  if (headers.empty())
    headers.reserve(usual_headers);
  headers.emplace_back(line.substr(0, colon), trimmed(line.substr(colon + 1)));
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
    if (!options.connect_to.empty()) {
      connect_to.reset(
        curl_slist_append(nullptr, ("::" + options.connect_to).c_str()));
      if (!connect_to)
        throw std::bad_alloc{};
    }
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

  /// Called under the lock, after the news.
  void wake() noexcept {
    if (!asleep.exchange(false))
      return;
    const auto once = std::uint64_t{1};
    // Full means that it is awake.
    [[maybe_unused]] const auto put = ::write(woken.get(), &once, sizeof(once));
  }

  // -- the client's thread
  // -----------------------------------------------------

  void run() noexcept {
    while (!take_jobs()) {
      tick();
      collect();
      sweep();
      serve(rest());
    }
    give_up();
  }

  /// How long there is nothing to do. From here on whoever has news wakes us.
  millis rest() {
    std::lock_guard guard{mutex};
    // A slot that has just become free is filled at once.
    if (stopping || (!queue.empty() && active.size() < options.in_flight_max))
      return millis{0};
    asleep = true;
    return pending > 0 ? busy_poll : idle_poll;
  }

  /// Has curl go on with what is due, what was just started included.
  void tick() {
    if (steady::now() < timer)
      return;
    timer = steady::time_point::max();
    int running = 0;
    curl_multi_socket_action(multi.get(), CURL_SOCKET_TIMEOUT, 0, &running);
  }

  /// Waits until a socket is ready, curl's timer is due or somebody wakes us,
  /// and has curl go on with the sockets.
  void serve(steady::duration limit) {
    const auto left
      = std::clamp(timer - steady::now(), steady::duration::zero(), limit);
    auto events = std::array<epoll_event, events_max>{};
    const auto count = ::epoll_wait(
      poller.get(), events.data(), static_cast<int>(events.size()),
      static_cast<int>(std::chrono::ceil<millis>(left).count()));
    asleep = false;
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
      const auto known = sockets.find(x.data.fd);
      if (known == sockets.end())
        continue;
      if (known->second.wanted == 0) {
        // Closed by the other side. curl finds out before it uses it again.
        watch(EPOLL_CTL_DEL, x.data.fd, 0);
        known->second.told = 0;
        continue;
      }
      const auto ready
        = ((x.events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0)
          | ((x.events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0)
          | ((x.events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0);
      curl_multi_socket_action(multi.get(), x.data.fd, ready, &running);
    }
  }

  /// @returns whether it is watched now, or not any more.
  bool watch(int how, int fd, std::uint32_t events) noexcept {
    auto what = epoll_event{};
    what.events = events;
    what.data.fd = fd;
    return ::epoll_ctl(poller.get(), how, fd, &what) == 0;
  }

  // Called by curl. An idle connection stays watched: most are wanted again at
  // once.
  static int
  on_socket(CURL*, curl_socket_t fd, int what, void* user, void*) noexcept {
    auto& self = *static_cast<impl*>(user);
    auto& known = self.sockets[fd];
    known.wanted = 0;
    if (what != CURL_POLL_REMOVE)
      known.wanted = ((what & CURL_POLL_IN) != 0 ? EPOLLIN : 0u)
                     | ((what & CURL_POLL_OUT) != 0 ? EPOLLOUT : 0u);
    if (known.wanted == 0 && !known.is_connection) {
      // Fails where it has been closed already.
      self.watch(EPOLL_CTL_DEL, fd, 0);
      self.sockets.erase(fd);
      return 0;
    }
    if (known.wanted == 0 || known.wanted == known.told)
      return 0;
    const auto how = known.told == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (!self.watch(how, fd, known.wanted))
      return -1;
    known.told = known.wanted;
    return 0;
  }

  static curl_socket_t
  on_open(void* user, curlsocktype, curl_sockaddr* to) noexcept {
    const auto fd
      = ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
    if (fd >= 0)
      static_cast<impl*>(user)->sockets[fd] = {.is_connection = true};
    return fd;
  }

  static int on_close(void* user, curl_socket_t fd) noexcept {
    // The kernel does not watch it any more either.
    static_cast<impl*>(user)->sockets.erase(fd);
    return ::close(fd);
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
    const auto now = steady::now();
    auto to = look_up(work.request.url);
    auto defect = defect_of(work.request, *to);
    if (!defect.empty())
      return finish(
        work, http_failure{failure_kind::not_sent, "bad request: " + defect});
    if (now >= work.deadline)
      return finish(work, http_failure{failure_kind::not_sent,
                                       label_of(work.request, *to)
                                         + ": timed out before it was sent"});
    auto state = take_spare();
    state->work = std::move(work);
    state->to = std::move(to);
    prepare(*state, now);
    auto code = curl_multi_add_handle(multi.get(), state->handle.get());
    if (code != CURLM_OK)
      return finish(state->work, http_failure{failure_kind::not_sent,
                                              label_of(*state) + ": "
                                                + curl_multi_strerror(code)});
    state->place = active.size();
    active.push_back(std::move(state));
  }

  target_ptr look_up(const std::string& url) {
    for (const auto& x : known)
      if (x && x->url == url)
        return x;
    auto found = target_of(url);
    oldest_known = (oldest_known + 1) % known.size();
    return known[oldest_known] = std::move(found);
  }

  /// Tells a new handle what is the same for every request.
  void set_up(transfer& state) {
    auto* handle = state.handle.get();
    set(handle, CURLOPT_OPENSOCKETFUNCTION, &impl::on_open);
    set(handle, CURLOPT_OPENSOCKETDATA, this);
    set(handle, CURLOPT_CLOSESOCKETFUNCTION, &impl::on_close);
    set(handle, CURLOPT_CLOSESOCKETDATA, this);
    set(handle, CURLOPT_NOSIGNAL, 1L);
    set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    set(handle, CURLOPT_FOLLOWLOCATION, 0L);
    set(handle, CURLOPT_HTTP_VERSION,
        static_cast<long>(CURL_HTTP_VERSION_2TLS));
    set(handle, CURLOPT_MAXAGE_CONN, connection_age_max_s);
    set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
    set(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    // Without it, giving up on a slow name server would block this thread.
    set(handle, CURLOPT_QUICK_EXIT, 1L);
    if (connect_to)
      set(handle, CURLOPT_CONNECT_TO, connect_to.get());
    if (!options.ca_file.empty())
      set(handle, CURLOPT_CAINFO, options.ca_file.c_str());
    set(handle, CURLOPT_ERRORBUFFER, state.error.data());
    set(handle, CURLOPT_WRITEFUNCTION, &on_body);
    set(handle, CURLOPT_WRITEDATA, &state);
    set(handle, CURLOPT_HEADERFUNCTION, &on_header);
    set(handle, CURLOPT_HEADERDATA, &state);
    set(handle, CURLOPT_PREREQFUNCTION, &on_ready);
    set(handle, CURLOPT_PREREQDATA, &state);
    set(handle, CURLOPT_PRIVATE, &state);
  }

  /// Says all that differs between requests, the defaults too: the handle may
  /// have carried any other.
  void prepare(transfer& state, steady::time_point now) {
    auto* handle = state.handle.get();
    auto& request = state.work.request;
    state.repeatable = request.method == "GET" || request.method == "HEAD";
    auto left = state.work.deadline - now;
    // Of the two curl takes the text, where it still has one.
    set(handle, CURLOPT_URL, nullptr);
    set(handle, CURLOPT_CURLU, state.to->parts.get());
    set(handle, CURLOPT_TIMEOUT_MS, milliseconds_of(left));
    set(handle, CURLOPT_CONNECTTIMEOUT_MS,
        milliseconds_of(
          std::min<steady::duration>(left, request.connect_timeout)));
    const auto direct = connect_to || is_loopback(state.to->host);
    set(handle, CURLOPT_PROXY, direct ? "" : nullptr);
    prepare_method(handle, request);
    prepare_headers(state);
  }

  static void prepare_method(CURL* handle, const http_request& request) {
    const auto head_only = request.method == "HEAD";
    const auto with_body
      = !head_only
        && (!request.body.empty() || request.method == "POST"
            || request.method == "PUT" || request.method == "PATCH");
    // The last one that applies says what it is: POSTFIELDS makes it a POST.
    set(handle, CURLOPT_POSTFIELDSIZE_LARGE,
        static_cast<curl_off_t>(with_body ? request.body.size() : 0));
    set(handle, CURLOPT_POSTFIELDS, with_body ? request.body.c_str() : nullptr);
    set(handle, CURLOPT_NOBODY, head_only ? 1L : 0L);
    if (!head_only && !with_body)
      set(handle, CURLOPT_HTTPGET, 1L);
    set(handle, CURLOPT_CUSTOMREQUEST,
        head_only ? nullptr : request.method.c_str());
  }

  void prepare_headers(transfer& state) {
    const auto& given = state.work.request.headers;
    auto& lines = state.headers;
    lines.clear();
    for (const auto& [name, value] : given) {
      auto text = trimmed(value);
      // A line that ends at its colon would take the header away instead.
      if (text.empty())
        lines.add({name, ";"});
      else
        lines.add({name, ": ", text});
    }
    // What curl would add by itself.
    lines.add({"Expect:"});
    if (!find_header(given, "Content-Type"))
      lines.add({"Content-Type:"});
    if (!find_header(given, "User-Agent") && !options.user_agent.empty())
      lines.add({"User-Agent: ", options.user_agent});
    set(state.handle.get(), CURLOPT_HTTPHEADER, lines.list());
  }

  /// Reports what curl has finished.
  void collect() {
    int left = 0;
    while (auto* message = curl_multi_info_read(multi.get(), &left)) {
      if (message->msg != CURLMSG_DONE)
        continue;
      auto code = message->data.result;
      auto state = take(message->easy_handle);
      auto outcome = outcome_of(*state, code);
      auto work = std::move(state->work);
      keep(std::move(state), code == CURLE_OK);
      finish(work, std::move(outcome));
    }
  }

  std::unique_ptr<transfer> take_spare() {
    if (!spare.empty()) {
      auto state = std::move(spare.back());
      spare.pop_back();
      return state;
    }
    auto state = std::make_unique<transfer>();
    state->handle.reset(curl_easy_init());
    if (!state->handle)
      throw std::bad_alloc{};
    set_up(*state);
    return state;
  }

  /// For the next request; what it pointed to of this one is forgotten.
  /// @param good Whether it went well.
  void keep(std::unique_ptr<transfer> state, bool good) {
    if (spare.size() >= spares_max)
      return;
    if (good && state->attempts <= 1) {
      set(state->handle.get(), CURLOPT_POSTFIELDS, nullptr);
    } else {
      // curl counts what it repeats for the life of a handle, and gives up
      // after five: only this begins anew.
      curl_easy_reset(state->handle.get());
      set_up(*state);
    }
    state->response = {};
    state->header_bytes = 0;
    state->attempts = 0;
    state->too_large = false;
    spare.push_back(std::move(state));
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
      finish(work, http_failure{failure_kind::not_sent,
                                "timed out waiting for its turn"});
    std::vector<CURL*> stuck;
    for (const auto& state : active)
      if (now >= state->work.deadline + deadline_grace)
        stuck.push_back(state->handle.get());
    for (auto* handle : stuck) {
      auto state = take(handle);
      auto outcome = outcome_of(*state, CURLE_OPERATION_TIMEDOUT);
      finish(state->work, std::move(outcome));
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
      auto state = take(active.back()->handle.get());
      auto kind
        = state->attempts > 0 ? failure_kind::in_doubt : failure_kind::not_sent;
      finish(state->work,
             http_failure{kind, label_of(*state) + ": the client is stopping"});
    }
    for (auto& work : waiting)
      finish(work,
             http_failure{failure_kind::not_sent, "the client is stopping"});
  }

  /// Takes a transfer out of curl's hands.
  std::unique_ptr<transfer> take(CURL* handle) {
    curl_multi_remove_handle(multi.get(), handle);
    transfer* which = nullptr;
    curl_easy_getinfo(handle, CURLINFO_PRIVATE, &which);
    auto state = std::exchange(active[which->place], nullptr);
    // The last one fills the gap.
    std::swap(active[state->place], active.back());
    if (active[state->place])
      active[state->place]->place = state->place;
    active.pop_back();
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
                          label_of(state) + ": the response's "
                            + (in_head ? "head" : "body") + " is longer than "
                            + std::to_string(limit) + " bytes"};
    }
    std::string cause
      = state.error[0] != '\0' ? state.error.data() : curl_easy_strerror(code);
    if (code == CURLE_ABORTED_BY_CALLBACK)
      cause = "the connection was closed without an answer";
    auto kind
      = state.attempts > 0 ? failure_kind::in_doubt : failure_kind::not_sent;
    return http_failure{kind, label_of(state) + ": " + cause};
  }

  void finish(const job& work, http_outcome outcome) {
    --pending;
    work.done(std::move(outcome));
  }

  const curl_client_options options;

  mutable std::mutex mutex;
  std::deque<job> queue; ///< Guarded.
  bool stopping = false; ///< Guarded.
  /// Accepted and unanswered. Grows under the lock.
  std::atomic<std::size_t> pending = 0;
  std::atomic<std::size_t> in_flight = 0;
  /// Does not look at the queue before it is woken. Set under the lock.
  std::atomic<bool> asleep = false;

  descriptor poller{::epoll_create1(EPOLL_CLOEXEC), "epoll_create1"};
  descriptor woken{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"};

  /// Of the client's thread, as everything below. Outlives `multi`.
  std::unordered_map<curl_socket_t, watched> sockets;
  multi_ptr multi;      ///< Destroyed after `active`.
  slist_ptr connect_to; ///< Null where requests go where their URLs say.
  std::array<target_ptr, known_urls_max> known;
  std::size_t oldest_known = 0;
  std::vector<std::unique_ptr<transfer>> spare;
  std::vector<std::unique_ptr<transfer>> active;
  steady::time_point timer = steady::time_point::max(); ///< curl's.
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
