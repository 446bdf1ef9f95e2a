#include "http/server/connection.hpp"

#include "actors/observe/log.hpp"
#include "http/server/target.hpp"
#include "http/server/upgrade.hpp"

#include <boost/asio/post.hpp>
#include <boost/asio/socket_base.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <exception>

namespace slipway::http {

namespace {

/// Room for a body is taken in steps as it comes: a promise costs little.
constexpr auto body_step = std::size_t{16 * 1024};

using boost::system::error_code;
namespace beast_http = boost::beast::http;

constexpr auto head_read_bytes = std::size_t{4} * 1024;

constexpr auto body_read_bytes = std::size_t{64} * 1024;

/// Of what a client says while it listens to a stream: nothing is wanted.
constexpr auto stream_read_bytes = std::size_t{64};

/// Of a stream, on their way in the system.
constexpr auto stream_send_bytes = 32 * 1024;

/// How long a client may take to close after us.
constexpr auto drain_timeout = millis{2'000};

/// Requests of one connection that are served before others get their turn.
constexpr auto turns_max = 32;

bool is_token(std::string_view text) noexcept {
  constexpr auto marks = std::string_view{"!#$%&'*+-.^_`|~"};
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
           || (c >= 'A' && c <= 'Z') || marks.find(c) != std::string_view::npos;
  });
}

/// Assigning an empty text would keep the memory.
void let_go(std::string& text) noexcept {
  std::string{}.swap(text);
}

bool is_one_line(std::string_view text) noexcept {
  using namespace std::literals;
  return text.find_first_of("\r\n\0"sv) == std::string_view::npos;
}

bool is_request_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 64
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')
                     || (c >= 'A' && c <= 'Z') || c == '.' || c == '_'
                     || c == '-';
            });
}

/// Headers that are the server's own business.
bool is_ours(std::string_view name) noexcept {
  constexpr auto ours
    = std::array<std::string_view, 8>{"content-length",
                                      "content-type",
                                      "transfer-encoding",
                                      "connection",
                                      "date",
                                      "x-request-id",
                                      "keep-alive",
                                      "x-content-type-options"};
  return std::any_of(ours.begin(), ours.end(), [&](std::string_view x) {
    return same_name(x, name);
  });
}

bool is_sendable(const response& what) {
  return what.status >= 200 && what.status <= 599
         && is_one_line(what.content_type)
         && std::all_of(what.headers.begin(), what.headers.end(),
                        [](const auto& x) {
                          return is_token(x.first) && is_one_line(x.second);
                        });
}

bool has_no_body(int status) noexcept {
  return status == 204 || status == 304;
}

class stream_handle final : public stream {
public:
  explicit stream_handle(std::shared_ptr<stream_state> state)
    : state_{std::move(state)} {
  }

  ~stream_handle() override {
    state_->close();
  }

  bool write(std::string_view bytes) override {
    return state_->write(bytes);
  }

  [[nodiscard]] bool is_open() const override {
    return state_->is_open();
  }

  [[nodiscard]] std::size_t waiting() const override {
    return state_->waiting();
  }

  void close() override {
    state_->close();
  }

  void on_closed(std::function<void()> callback) override {
    state_->on_closed(std::move(callback));
  }

private:
  std::shared_ptr<stream_state> state_;
};

} // namespace

// -- stream_state -------------------------------------------------------------

stream_state::stream_state(std::shared_ptr<core> shared,
                           std::weak_ptr<connection> owner,
                           asio::io_context& context)
  : shared_{std::move(shared)}, owner_{std::move(owner)}, context_{context} {
}

void stream_state::wake() {
  asio::post(context_, [weak = owner_] {
    if (auto owner = weak.lock())
      owner->flush_stream();
  });
}

bool stream_state::write(std::string_view bytes) {
  const auto lock = std::lock_guard{mutex_};
  if (finished_ || closing_ || overflow_)
    return false;
  overflow_ = pending_.size() + on_the_way_ + bytes.size() > bytes_max;
  if (!overflow_)
    pending_ += bytes;
  if (!scheduled_) {
    scheduled_ = true;
    wake();
  }
  return !overflow_;
}

bool stream_state::is_open() const {
  const auto lock = std::lock_guard{mutex_};
  return !finished_ && !closing_ && !overflow_;
}

std::size_t stream_state::waiting() const {
  const auto lock = std::lock_guard{mutex_};
  return pending_.size() + on_the_way_;
}

void stream_state::close() {
  const auto lock = std::lock_guard{mutex_};
  if (finished_ || closing_)
    return;
  closing_ = true;
  if (!scheduled_) {
    scheduled_ = true;
    wake();
  }
}

void stream_state::on_closed(std::function<void()> callback) {
  {
    const auto lock = std::lock_guard{mutex_};
    if (!finished_) {
      callback_ = std::move(callback);
      return;
    }
  }
  callback();
}

void stream_state::finish() {
  std::function<void()> callback;
  {
    const auto lock = std::lock_guard{mutex_};
    if (finished_)
      return;
    finished_ = true;
    pending_.clear();
    callback = std::exchange(callback_, nullptr);
  }
  shared_->streams.fetch_sub(1, std::memory_order_acq_rel);
  if (callback)
    callback();
}

stream_state::portion stream_state::take() {
  const auto lock = std::lock_guard{mutex_};
  scheduled_ = false;
  portion result;
  result.bytes = std::exchange(pending_, {});
  result.last = closing_;
  on_the_way_ = result.bytes.size();
  return result;
}

bool stream_state::overflowed() {
  const auto lock = std::lock_guard{mutex_};
  return overflow_;
}

void stream_state::written() {
  const auto lock = std::lock_guard{mutex_};
  on_the_way_ = 0;
}

// -- connection: life ---------------------------------------------------------

connection::connection(std::shared_ptr<core> shared, worker& home,
                       asio::ip::tcp::socket socket)
  : shared_{std::move(shared)}, home_{home}, wire_{std::move(socket)},
    buffer_{std::max(shared_->options.max_header_bytes, body_read_bytes)
            + head_read_bytes} {
  shared_->connections.fetch_add(1, std::memory_order_acq_rel);
}

connection::~connection() {
  release_body();
  if (phase_ != phase::closed)
    shared_->connection_closed();
}

void connection::start(bool refused) {
  self_ = shared_from_this();
  home_.link(*this);
  auto& socket = wire_.socket();
  auto ec = error_code{};
  const auto peer = socket.remote_endpoint(ec);
  if (!ec)
    remote_ = peer.address().to_string();
  socket.non_blocking(true, ec);
  if (!ec)
    socket.set_option(asio::ip::tcp::no_delay{true}, ec);
  if (ec || shared_->stopping.load(std::memory_order_acquire)) {
    close();
    return;
  }
  if (shared_->options.tls == nullptr) {
    begin(refused);
    return;
  }
  enter(phase::greeting, shared_->options.header_timeout);
  wire_.async_greet(
    *shared_->options.tls->current(),
    [self = shared_from_this(), refused](tls_session::greeting how) {
      self->greeted(how, refused);
    });
}

void connection::greeted(tls_session::greeting how, bool refused) {
  if (phase_ != phase::greeting)
    return;
  switch (how) {
    case tls_session::greeting::secure:
      begin(refused);
      break;
    case tls_session::greeting::plain_http:
      wire_.expose();
      turn_away(400, "https_expected",
                "This port speaks HTTPS only. Please begin the URL with "
                "https://.",
                false);
      break;
    case tls_session::greeting::failed:
      give_up(400);
      break;
  }
}

void connection::begin(bool refused) {
  if (refused) {
    shared_->shed("connections");
    turn_away(503, "overloaded", "Too many connections. Please try again.",
              true);
    return;
  }
  const auto& options = shared_->options;
  enter(phase::idle, std::min(options.header_timeout, options.idle_timeout));
  read_more();
}

void connection::assume_request() {
  in_ = std::make_shared<request>();
  in_->remote = remote_;
  in_->id = home_.next_id();
}

void connection::turn_away(int status, std::string_view error,
                           std::string_view message, bool come_again) {
  assume_request();
  refuse(status, error, message, true, come_again);
}

void connection::give_up(int status) {
  assume_request();
  status_ = status;
  report();
  in_.reset();
  close();
}

void connection::close() {
  if (phase_ == phase::closed)
    return;
  phase_ = phase::closed;
  release_body();
  auto ec = error_code{};
  wire_.close(ec);
  parser_.reset();
  held_.release();
  home_.unlink(*this);
  // Whoever called us holds a reference of its own.
  auto self = std::exchange(self_, nullptr);
  shared_->connection_closed();
  if (auto ended = std::exchange(stream_, nullptr))
    ended->finish();
  if (auto ended = std::exchange(visitor_, nullptr)) {
    shared_->streams.fetch_sub(1, std::memory_order_acq_rel);
    ended->close();
  }
}

void connection::begin_stop() {
  switch (phase_) {
    case phase::greeting:
      close();
      break;
    case phase::idle: {
      // A request that has reached the machine is one under way.
      auto ec = error_code{};
      if (wire_.available(ec) == 0 || ec)
        close();
      break;
    }
    case phase::streaming:
      stream_->close();
      break;
    case phase::visited: {
      // It may leave on the spot, and we with it.
      const auto visitor = visitor_;
      visitor->stop();
      break;
    }
    default:
      keep_alive_ = false;
  }
}

void connection::check_deadline(steady::time_point now) {
  if (now < deadline_)
    return;
  switch (phase_) {
    case phase::greeting:
      give_up(408);
      break;
    case phase::idle:
    case phase::writing:
    case phase::streaming:
    case phase::draining:
      close();
      break;
    case phase::head:
    case phase::body:
      adopt_id();
      refuse(408, "request_timeout", "The request took too long to arrive.",
             true);
      break;
    case phase::handling:
      shared_->shed("timeout");
      refuse(503, "timeout", "The request took too long. Please try again.",
             false, true);
      resume();
      break;
    case phase::visited:
    case phase::closed:
      break;
  }
}

// -- connection: reading ------------------------------------------------------

void connection::read_more() {
  const auto wanted = phase_ == phase::body        ? body_read_bytes
                      : phase_ == phase::streaming ? stream_read_bytes
                                                   : head_read_bytes;
  const auto room = buffer_.max_size() - buffer_.size();
  reading_ = true;
  wire_.async_read_some(
    buffer_.prepare(std::min(wanted, room)),
    [self = shared_from_this()](const error_code& ec, std::size_t bytes) {
      self->on_read(ec, bytes);
    });
}

void connection::on_read(const error_code& ec, std::size_t bytes) {
  reading_ = false;
  if (phase_ == phase::closed)
    return;
  if (ec && phase_ == phase::writing)
    return; // The writer will notice.
  if (ec) {
    close();
    return;
  }
  switch (phase_) {
    case phase::idle:
    case phase::head:
    case phase::body:
      buffer_.commit(bytes);
      pump();
      break;
    case phase::streaming:
    case phase::draining:
      // Nothing the client says matters any more; that it is there does.
      buffer_.clear();
      read_more();
      break;
    case phase::greeting:
    case phase::handling:
    case phase::writing:
    case phase::visited:
    case phase::closed:
      break;
  }
}

void connection::resume() {
  if (reading())
    pump();
}

void connection::pump() {
  if (pumping_)
    return;
  pumping_ = true;
  const auto self = shared_from_this();
  auto turns = 0;
  auto paused = false;
  while (reading() && !paused) {
    const auto before = number_;
    paused = !parse();
    // A client that pipelines without end must not starve its neighbours.
    if (!paused && reading() && number_ != before && ++turns == turns_max) {
      pumping_ = false;
      asio::post(home_.context, [self] {
        if (self->reading())
          self->pump();
      });
      return;
    }
  }
  pumping_ = false;
  if (paused && reading() && !reading_)
    read_more();
}

bool connection::parse() {
  const auto& options = shared_->options;
  const auto text = [this] {
    return std::string_view{static_cast<const char*>(buffer_.data().data()),
                            buffer_.size()};
  };
  if (!parser_) {
    // Some clients send an empty line behind a body.
    while (text().substr(0, 2) == "\r\n")
      buffer_.consume(2);
    if (text().empty() || text() == "\r")
      return false;
    in_ = std::make_shared<request>();
    in_->remote = remote_;
    in_->headers.reserve(8);
    head_bytes_ = 0;
    parser_.emplace(*in_);
    parser_->header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
    parser_->body_limit(options.max_body_bytes);
    enter(phase::head, options.header_timeout);
  }
  if (buffer_.size() == 0)
    return false;
  auto ec = error_code{};
  const auto used = parser_->put(buffer_.data(), ec);
  buffer_.consume(used);
  if (phase_ == phase::head) {
    head_bytes_ += used;
    const auto waiting
      = ec == beast_http::error::need_more ? buffer_.size() : std::size_t{0};
    if (head_bytes_ + waiting > options.max_header_bytes)
      ec = beast_http::error::header_limit;
  }
  if (phase_ == phase::body && !ec && !parser_->is_done()
      && in_->body.size() >= body_reserved_
      && !reserve_body(in_->body.size() + body_step))
    return true;
  if (ec == beast_http::error::need_more) {
    if (buffer_.size() < buffer_.max_size() - head_read_bytes)
      return false;
    ec = beast_http::error::bad_chunk;
  }
  if (ec) {
    adopt_id();
    if (ec == beast_http::error::header_limit)
      refuse(431, "headers_too_large",
             "The request's head is larger than allowed.", true);
    else if (ec == beast_http::error::body_limit)
      refuse(413, "body_too_large",
             "The request's body is larger than allowed.", true);
    else
      refuse(400, "bad_request", "Malformed request: " + ec.message() + ".",
             true);
    return true;
  }
  if (phase_ == phase::head && parser_->is_header_done()) {
    if (!head_done())
      return true;
    parser_->eager(true);
    if (!parser_->is_done()) {
      if (!reserve_body(body_step))
        return true;
      enter(phase::body, options.body_timeout);
      if (parser_->expects_continue() && parser_->minor_version() > 0
          && buffer_.size() == 0) {
        send_continue();
        return true;
      }
      return true;
    }
  }
  if (parser_->is_done())
    dispatch();
  return true;
}

void connection::adopt_id() {
  if (!in_->id.empty())
    return;
  if (auto given = in_->headers.find("X-Request-Id");
      given && is_request_id(*given))
    in_->id = *given;
  else
    in_->id = home_.next_id();
}

bool connection::head_done() {
  adopt_id();
  keep_alive_ = parser_->keep_alive()
                && !shared_->stopping.load(std::memory_order_acquire);
  chunked_ = parser_->minor_version() > 0;
  const char* wrong = nullptr;
  if (parser_->odd_encoding()
      || (parser_->minor_version() == 0 && parser_->chunked()))
    wrong = "The only Transfer-Encoding understood is chunked.";
  else if (parser_->hosts() > 1
           || (parser_->hosts() == 0 && parser_->minor_version() > 0))
    wrong = "Exactly one Host header is required.";
  else
    wrong = read_target(in_->target, in_->path);
  if (wrong != nullptr) {
    refuse(400, "bad_request", wrong, true);
    return false;
  }
  if (parser_->expects_miracles()) {
    refuse(417, "expectation_failed", "Only 100-continue can be expected.",
           true);
    return false;
  }
  match_ = shared_->routes.find(in_->verb, in_->path);
  in_->params = std::move(match_.params);
  if (parser_->expects_continue() && match_.is != router::verdict::found) {
    // No need to have a body sent that nobody reads.
    keep_alive_ = false;
    dispatch();
    return false;
  }
  return true;
}

void connection::send_continue() {
  static constexpr auto go_on
    = std::string_view{"HTTP/1.1 100 Continue\r\n\r\n"};
  auto ec = error_code{};
  // So few bytes only fail to fit when the client reads nothing.
  if (wire_.write_some(asio::buffer(go_on), ec) != go_on.size())
    close();
}

bool connection::reserve_body(std::size_t least) {
  const auto& options = shared_->options;
  const auto declared = parser_->content_length();
  const auto most = std::min(declared ? static_cast<std::size_t>(*declared)
                                      : options.max_body_bytes,
                             options.max_body_bytes);
  const auto whole = std::min(least, most);
  if (whole <= body_reserved_)
    return true;
  const auto wanted = whole - body_reserved_;
  auto& used = shared_->body_bytes;
  if (used.fetch_add(wanted, std::memory_order_relaxed) + wanted
      > options.max_body_bytes_in_all) {
    used.fetch_sub(wanted, std::memory_order_relaxed);
    shared_->shed("bodies");
    // What is on its way is not read any more.
    refuse(503, "overloaded", "Too much to do. Please try again.", true, true);
    return false;
  }
  body_reserved_ = whole;
  return true;
}

void connection::release_body() {
  if (const auto reserved = std::exchange(body_reserved_, 0); reserved != 0)
    shared_->body_bytes.fetch_sub(reserved, std::memory_order_relaxed);
}

void connection::dispatch() {
  release_body();
  parser_.reset();
  arrived_ = steady::now();
  ++number_;
  switch (match_.is) {
    case router::verdict::found:
      break;
    case router::verdict::not_found:
      refuse(404, "not_found", "There is nothing under this path.", false);
      return;
    case router::verdict::options:
      respond({204, "", "", {{"Allow", match_.allow}}});
      return;
    case router::verdict::method_not_allowed: {
      auto sorry = error_response(405, "method_not_allowed",
                                  "This path has no such method.", in_->id);
      sorry.headers.emplace_back("Allow", match_.allow);
      respond(std::move(sorry));
      return;
    }
  }
  permit taken;
  if (!match_.to->exempt) {
    if (shared_->hooks.is_full && shared_->hooks.is_full(*in_)) {
      shared_->shed("full");
      refuse(503, "overloaded", "Too much to do. Please try again.", false,
             true);
      return;
    }
    if (!shared_->gate->try_take(match_.to->goes_first)) {
      shared_->shed("in_flight");
      refuse(503, "overloaded", "Too much to do. Please try again.", false,
             true);
      return;
    }
    taken = permit{shared_->gate};
  }
  if (shared_->hooks.on_request)
    shared_->hooks.on_request(*in_);
  enter(phase::handling, shared_->options.request_timeout);
  auto ticket = std::make_shared<exchange>(in_, shared_from_this(), number_,
                                           std::move(taken));
  try {
    match_.to->run(ticket);
  } catch (const std::exception& e) {
    log::about{}
      .request(in_->id)
      .trace(in_->trace.where.trace)
      .error("http: the handler of {} threw: {}", match_.to->name, e.what());
    ticket->fail(500, "internal", "Something went wrong on our side.");
  }
}

// -- connection: answering ----------------------------------------------------

void connection::reply(std::uint64_t number, response&& what, permit&& held) {
  if (home_.context.get_executor().running_in_this_thread() && pumping_) {
    // Our own handler answers while we wait for it on this very stack.
    take_reply(number, std::move(what), std::move(held));
    return;
  }
  asio::post(home_.context,
             [weak = weak_from_this(), number, what = std::move(what),
              held = std::move(held)]() mutable {
               if (auto self = weak.lock())
                 self->take_reply(number, std::move(what), std::move(held));
             });
}

void connection::take_reply(std::uint64_t number, response&& what,
                            permit&& held) {
  // A stranger's permit goes back here, too.
  auto mine = permit{std::move(held)};
  if (phase_ != phase::handling || number != number_)
    return;
  held_ = std::move(mine);
  respond(std::move(what));
  resume();
}

void connection::refuse(int status, std::string_view error,
                        std::string_view message, bool close_after,
                        bool come_again) {
  release_body();
  parser_.reset();
  if (close_after)
    keep_alive_ = false;
  auto sorry = error_response(status, error, message, in_->id);
  if (come_again)
    sorry.headers.emplace_back("Retry-After", "1");
  respond(std::move(sorry));
}

void connection::respond(response&& what) {
  if (!is_sendable(what)) {
    log::about{}
      .request(in_->id)
      .trace(in_->trace.where.trace)
      .error("http: the answer has a header or status that must not be sent");
    what = error_response(500, "internal", "Something went wrong on our side.",
                          in_->id);
  }
  if (shared_->stopping.load(std::memory_order_acquire))
    keep_alive_ = false;
  status_ = what.status;
  out_ = std::move(what.body);
  compose_head(what, false);
  if (in_->verb == method::head || has_no_body(status_))
    out_.clear();
  enter(phase::writing, shared_->options.write_timeout);
  // Nearly always the kernel takes it all at once.
  auto ec = error_code{};
  auto sent = wire_.write_some(
    std::array{asio::const_buffer{head_.data(), head_.size()},
               asio::const_buffer{out_.data(), out_.size()}},
    ec);
  if (ec && ec != asio::error::would_block && ec != asio::error::try_again) {
    close();
    return;
  }
  if (ec)
    sent = 0;
  if (sent == head_.size() + out_.size()) {
    answered();
    return;
  }
  const auto of_head = std::min(sent, head_.size());
  const auto of_body = sent - of_head;
  asio::async_write(
    wire_,
    std::array{
      asio::const_buffer{head_.data() + of_head, head_.size() - of_head},
      asio::const_buffer{out_.data() + of_body, out_.size() - of_body}},
    [self = shared_from_this()](const error_code& failed, std::size_t) {
      self->on_written(failed);
    });
}

void connection::compose_head(const response& what, bool streamed) {
  const auto line = [this](std::string_view name, std::string_view value) {
    head_ += name;
    head_ += ": ";
    head_ += value;
    head_ += "\r\n";
  };
  head_.clear();
  head_ += "HTTP/1.1 ";
  head_ += std::to_string(what.status);
  head_ += ' ';
  head_ += std::string_view{beast_http::obsolete_reason(
    beast_http::int_to_status(static_cast<unsigned>(what.status)))};
  head_ += "\r\n";
  line("Date", home_.date());
  line("X-Request-Id", in_->id);
  if (!what.content_type.empty() && !has_no_body(what.status))
    line("Content-Type", what.content_type);
  if (streamed) {
    if (chunked_)
      line("Transfer-Encoding", "chunked");
  } else if (!has_no_body(what.status)) {
    line("Content-Length", std::to_string(out_.size()));
  }
  auto caching = false;
  for (const auto& [name, value] : what.headers) {
    if (is_ours(name))
      continue;
    caching = caching || same_name(name, "Cache-Control");
    line(name, value);
  }
  if (!caching)
    line("Cache-Control", "no-store");
  line("X-Content-Type-Options", "nosniff");
  line("Connection", keep_alive_ && !streamed ? "keep-alive" : "close");
  head_ += "\r\n";
}

void connection::on_written(const error_code& ec) {
  if (phase_ == phase::closed)
    return;
  if (ec) {
    close();
    return;
  }
  answered();
  resume();
}

void connection::report() {
  if (!shared_->hooks.on_response)
    return;
  const auto seconds
    = arrived_ == steady::time_point{}
        ? 0.0
        : std::chrono::duration<double>(steady::now() - arrived_).count();
  shared_->hooks.on_response(match_.to == nullptr
                               ? std::string_view{"-"}
                               : std::string_view{match_.to->name},
                             status_, seconds, *in_);
}

void connection::answered() {
  held_.release();
  report();
  match_ = {};
  arrived_ = {};
  in_.reset();
  // A large answer's memory is not kept for small ones.
  if (out_.capacity() > body_read_bytes)
    let_go(out_);
  if (!keep_alive_ || shared_->stopping.load(std::memory_order_acquire)) {
    drain();
    return;
  }
  enter(phase::idle, shared_->options.idle_timeout);
}

void connection::drain() {
  // Closing while the client still sends would reset the connection and may
  // take the answer with it. So: our end first, then wait for theirs.
  enter(phase::draining, drain_timeout);
  auto ec = error_code{};
  wire_.end_sending(ec);
  if (ec) {
    close();
    return;
  }
  if (!reading_) {
    buffer_.clear();
    read_more();
  }
}

// -- connection: streaming ----------------------------------------------------

bool connection::take_stream_place() {
  const auto max = shared_->options.max_streams;
  if (shared_->streams.fetch_add(1, std::memory_order_acq_rel) < max)
    return true;
  shared_->streams.fetch_sub(1, std::memory_order_acq_rel);
  shared_->shed("streams");
  return false;
}

std::shared_ptr<stream>
connection::open_stream(std::uint64_t number, response&& head, permit&& held) {
  if (!take_stream_place()) {
    auto sorry = error_response(
      503, "overloaded", "Too many event streams. Please try again.", "");
    sorry.headers.emplace_back("Retry-After", "1");
    reply(number, std::move(sorry), std::move(held));
    return nullptr;
  }
  auto state
    = std::make_shared<stream_state>(shared_, weak_from_this(), home_.context);
  auto handle = std::make_shared<stream_handle>(state);
  asio::post(home_.context,
             [weak = weak_from_this(), number, head = std::move(head),
              held = std::move(held), state]() mutable {
               if (auto self = weak.lock())
                 self->begin_stream(number, std::move(head), std::move(held),
                                    std::move(state));
               else
                 state->finish();
             });
  return handle;
}

void connection::begin_stream(std::uint64_t number, response&& head,
                              permit&& held,
                              std::shared_ptr<stream_state> state) {
  auto mine = permit{std::move(held)};
  if (phase_ != phase::handling || number != number_) {
    state->finish();
    return;
  }
  if (!is_sendable(head) || in_->verb == method::head) {
    // A stream's head alone, or nothing that may be sent: answered at once.
    state->finish();
    respond(std::move(head));
    resume();
    return;
  }
  const auto self = shared_from_this();
  status_ = head.status;
  keep_alive_ = false;
  enter(phase::streaming, shared_->options.write_timeout);
  compose_head(head, true);
  stream_ = std::move(state);
  mine.release();
  report();
  // There may be thousands of streams, and for hours: each keeps what it needs.
  in_.reset();
  match_ = {};
  let_go(out_);
  // What a client does not read shall not pile up in the system, either.
  auto ec = error_code{};
  wire_.socket().set_option(
    asio::socket_base::send_buffer_size{stream_send_bytes}, ec);
  if (!reading_) {
    buffer_.clear();
    buffer_.shrink_to_fit();
    read_more();
  }
  const auto first = std::move(head.body);
  chunk_ = std::move(head_);
  write_stream(first, false);
  if (shared_->stopping.load(std::memory_order_acquire))
    stream_->close();
}

void connection::flush_stream() {
  if (phase_ != phase::streaming)
    return;
  if (stream_->overflowed()) {
    close();
    return;
  }
  if (stream_busy_)
    return; // Comes back here when it is done.
  const auto next = stream_->take();
  if (next.bytes.empty() && !next.last)
    return;
  chunk_.clear();
  write_stream(next.bytes, next.last);
}

void connection::write_stream(std::string_view bytes, bool last) {
  if (!bytes.empty()) {
    if (chunked_) {
      auto size = std::array<char, 20>{};
      std::snprintf(size.data(), size.size(), "%zx\r\n", bytes.size());
      chunk_ += size.data();
    }
    chunk_ += bytes;
    if (chunked_)
      chunk_ += "\r\n";
  }
  if (last && chunked_)
    chunk_ += "0\r\n\r\n";
  stream_busy_ = true;
  deadline_ = steady::now() + shared_->options.write_timeout;
  asio::async_write(
    wire_, asio::buffer(chunk_),
    [self = shared_from_this(), last](const error_code& ec, std::size_t) {
      self->stream_busy_ = false;
      if (self->phase_ != phase::streaming)
        return;
      if (ec) {
        self->close();
        return;
      }
      self->stream_->written();
      let_go(self->chunk_);
      if (last) {
        auto ended = std::exchange(self->stream_, nullptr);
        self->drain();
        ended->finish();
        return;
      }
      self->deadline_ = steady::time_point::max();
      self->flush_stream();
    });
}

// -- connection: upgrading ----------------------------------------------------

void connection::hand_over(std::uint64_t number, std::shared_ptr<upgraded> to,
                           permit&& held) {
  if (!take_stream_place()) {
    auto sorry = error_response(503, "overloaded",
                                "Too many connections of this kind. Please try "
                                "again.",
                                "");
    sorry.headers.emplace_back("Retry-After", "1");
    reply(number, std::move(sorry), std::move(held));
    return;
  }
  // Always later: the handler that gives us away still stands on our stack.
  asio::post(home_.context,
             [weak = weak_from_this(), shared = shared_, number,
              to = std::move(to), held = std::move(held)]() mutable {
               if (auto self = weak.lock())
                 self->begin_visit(number, to, std::move(held));
               else
                 shared->streams.fetch_sub(1, std::memory_order_acq_rel);
             });
}

void connection::begin_visit(std::uint64_t number,
                             const std::shared_ptr<upgraded>& to,
                             permit&& held) {
  auto mine = permit{std::move(held)};
  const auto stay = [this] {
    shared_->streams.fetch_sub(1, std::memory_order_acq_rel);
  };
  if (phase_ != phase::handling || number != number_) {
    stay();
    return;
  }
  if (shared_->stopping.load(std::memory_order_acquire)) {
    stay();
    refuse(503, "unavailable", "The server is about to stop.", true, true);
    return;
  }
  if (reading_ || buffer_.size() != 0) {
    // What has been read already would be lost to the other protocol.
    stay();
    refuse(400, "bad_request", "Wait for the answer before you go on.", true);
    resume();
    return;
  }
  const auto self = shared_from_this();
  phase_ = phase::visited;
  visitor_ = to;
  status_ = 101;
  mine.release();
  report();
  in_.reset();
  match_ = {};
  visitor_->begin(std::move(wire_), [weak = weak_from_this()] {
    const auto left = weak.lock();
    if (left == nullptr || left->visitor_ == nullptr)
      return;
    left->visitor_ = nullptr;
    left->shared_->streams.fetch_sub(1, std::memory_order_acq_rel);
    left->close();
  });
}

} // namespace slipway::http
