#pragma once

#include "http/server/parser.hpp"
#include "http/server/server.hpp"
#include "http/server/wire.hpp"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>

#include <chrono>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

/// INTERNAL: Everything between a socket and an exchange.
namespace slipway::http {

namespace asio = boost::asio;

class connection;
class worker;

using steady = std::chrono::steady_clock;

/// What all connections of one server share.
struct core {
  core(server_options options, router routes, server_hooks hooks);
  ~core();

  void shed(std::string_view reason) const {
    if (hooks.on_shed)
      hooks.on_shed(reason);
  }

  void connection_closed();

  server_options options;
  router routes;
  server_hooks hooks;
  std::shared_ptr<permit_gate> gate;
  std::atomic<std::size_t> connections{0};
  std::atomic<std::size_t> streams{0};
  std::atomic<std::size_t> body_bytes{0}; ///< Of bodies on their way in.
  std::atomic<bool> stopping{false};
  std::mutex drained_mutex;
  std::condition_variable drained;
  std::vector<std::unique_ptr<worker>> workers;
};

/// One thread with the connections that live on it. All members but the
/// context belong to that thread.
class worker {
public:
  /// @param tick How often deadlines are looked at.
  worker(millis tick, std::uint64_t seed);
  ~worker();

  /// Runs the context on a thread of its own.
  void start();

  /// Lets the thread end once nothing is left to do, and waits for it.
  void finish();

  /// Ends what is idle and asks the rest to close after its answer.
  void begin_stop();

  /// Closes everything.
  void close_all();

  void link(connection& x) noexcept;
  void unlink(connection& x) noexcept;

  /// 16 hex digits.
  [[nodiscard]] std::string next_id();

  /// The Date header's value, renewed every second.
  [[nodiscard]] std::string_view date();

  asio::io_context context{1};

private:
  /// Deadlines are looked at a few times per shortest timeout, by walking the
  /// list: nothing has to be armed or cancelled for a request.
  void sweep();

  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  asio::steady_timer timer_;
  millis tick_;
  connection* first_ = nullptr;
  std::uint64_t id_state_;
  std::time_t date_at_ = 0;
  std::string date_;
  bool stopping_ = false;
  std::thread thread_;
};

/// State of an event stream, shared by its handle and its connection.
class stream_state {
public:
  stream_state(std::shared_ptr<core> shared, std::weak_ptr<connection> owner,
               asio::io_context& context);

  bool write(std::string_view bytes);

  [[nodiscard]] bool is_open() const;

  [[nodiscard]] std::size_t waiting() const;

  void close();

  void on_closed(std::function<void()> callback);

  /// Ends it from the connection's side: no more writes, callback, once.
  void finish();

  /// Takes what has been queued. Called on the connection's thread.
  struct portion {
    std::string bytes;
    bool last = false;
  };

  [[nodiscard]] portion take();

  /// Called once the last portion has been written.
  void written();

  /// Whether the client was too slow.
  [[nodiscard]] bool overflowed();

private:
  static constexpr std::size_t bytes_max = 64 * 1024;

  void wake();

  std::shared_ptr<core> shared_;
  std::weak_ptr<connection> owner_;
  asio::io_context& context_;
  mutable std::mutex mutex_;
  std::string pending_;
  std::size_t on_the_way_ = 0;
  bool scheduled_ = false;
  bool closing_ = false;
  bool overflow_ = false;
  bool finished_ = false;
  std::function<void()> callback_;
};

/// One client. Lives on one worker's thread; only `reply`, `open_stream` and
/// `hand_over` are called from elsewhere.
class connection final : public reply_sink,
                         public std::enable_shared_from_this<connection> {
public:
  connection(std::shared_ptr<core> shared, worker& home,
             asio::ip::tcp::socket socket);

  ~connection() override;

  /// @param refused Say that the house is full, and close.
  void start(bool refused);

  void reply(std::uint64_t number, response&& what, permit&& held) override;

  std::shared_ptr<stream>
  open_stream(std::uint64_t number, response&& head, permit&& held) override;

  void hand_over(std::uint64_t number, std::shared_ptr<upgraded> to,
                 permit&& held) override;

  /// Writes what the stream has queued.
  void flush_stream();

  /// A deadline may have passed.
  void check_deadline(steady::time_point now);

  void begin_stop();

  void close();

private:
  friend class worker;

  /// What the connection is busy with.
  enum class phase : std::uint8_t {
    greeting,  ///< TLS begins.
    idle,      ///< Between requests.
    head,      ///< Some bytes of a request are here.
    body,      ///< The head is here.
    handling,  ///< Somebody works on the answer.
    writing,   ///< The answer is on its way.
    streaming, ///< An answer without an end.
    visited,   ///< Another protocol has the socket.
    draining,  ///< Done; waits for the client's end.
    closed,
  };

  // -- beginning --------------------------------------------------------------

  /// The client's handshake has ended.
  void greeted(tls_session::greeting how, bool refused);
  void begin(bool refused);
  /// A request of which nothing is known but who sends it.
  void assume_request();
  /// Answers before anything has been read, and closes.
  void turn_away(int status, std::string_view error, std::string_view message,
                 bool come_again);
  /// Closes without an answer that could be understood, and reports it.
  void give_up(int status);

  // -- reading ----------------------------------------------------------------

  void resume();
  void pump();
  bool parse();
  bool head_done();
  void read_more();
  void on_read(const boost::system::error_code& ec, std::size_t bytes);
  /// Takes room for the body that is to come. Answers 503 where there is none.
  bool reserve_body(std::size_t least);
  void release_body();
  void send_continue();
  void dispatch();
  void adopt_id();

  // -- answering --------------------------------------------------------------

  void take_reply(std::uint64_t number, response&& what, permit&& held);
  void refuse(int status, std::string_view error, std::string_view message,
              bool close_after, bool come_again = false);
  void respond(response&& what);
  void compose_head(const response& what, bool streamed);
  void on_written(const boost::system::error_code& ec);
  void answered();
  void report();
  void drain();

  // -- streaming --------------------------------------------------------------

  void begin_stream(std::uint64_t number, response&& head, permit&& held,
                    std::shared_ptr<stream_state> state);
  void write_stream(std::string_view bytes, bool last);

  // -- upgrading --------------------------------------------------------------

  /// Takes one of the places of streams, or sheds. @returns whether it did.
  bool take_stream_place();
  void begin_visit(std::uint64_t number, const std::shared_ptr<upgraded>& to,
                   permit&& held);

  void enter(phase next, millis limit) {
    phase_ = next;
    deadline_ = steady::now() + limit;
  }

  [[nodiscard]] bool reading() const noexcept {
    return phase_ == phase::idle || phase_ == phase::head
           || phase_ == phase::body;
  }

  std::shared_ptr<core> shared_;
  worker& home_;
  wire wire_;
  boost::beast::flat_buffer buffer_;
  phase phase_ = phase::idle;
  steady::time_point deadline_;
  std::string remote_;

  // The request at hand.
  std::shared_ptr<request> in_;
  std::optional<request_parser> parser_;
  std::size_t head_bytes_ = 0;
  std::size_t body_reserved_ = 0; ///< Of the room that all bodies share.
  router::match match_;
  std::uint64_t number_ = 0;
  steady::time_point arrived_;

  // The answer at hand.
  permit held_;
  std::string head_;
  std::string out_;
  int status_ = 0;
  std::shared_ptr<stream_state> stream_;
  std::string chunk_;
  std::shared_ptr<upgraded> visitor_;

  bool keep_alive_ = true;
  bool chunked_ = true;
  bool reading_ = false;
  bool pumping_ = false;
  bool stream_busy_ = false;

  // The worker's list.
  std::shared_ptr<connection> self_;
  connection* next_ = nullptr;
  connection* previous_ = nullptr;
};

} // namespace slipway::http
