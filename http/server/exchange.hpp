#pragma once

#include "http/server/message.hpp"
#include "http/server/permit.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace slipway::http {

/// A response that goes on: server-sent events. All members may be called from
/// any thread. Dropping the last reference closes it.
class stream {
public:
  virtual ~stream();

  /// Queues bytes for the client. At most 64 KiB wait for a slow reader: one
  /// more byte and the connection is dropped.
  /// @returns whether the bytes were taken; false once the stream is closed,
  ///          from whichever side.
  virtual bool write(std::string_view bytes) = 0;

  /// Whether bytes would still be taken.
  [[nodiscard]] virtual bool is_open() const = 0;

  /// Bytes that wait for the client, of the 64 KiB that may. Whoever has much
  /// to say asks, and waits while it is not little.
  [[nodiscard]] virtual std::size_t waiting() const = 0;

  /// Ends the response after what has been queued.
  virtual void close() = 0;

  /// Called once when the stream has ended, from whichever side; at once when
  /// it already has. Runs on a thread of the server or of the caller.
  virtual void on_closed(std::function<void()> callback) = 0;
};

class upgraded;

/// INTERNAL: Where the answer of an exchange goes. The server's connections
/// implement it.
class reply_sink {
public:
  virtual ~reply_sink();

  /// Takes the answer of the request with this number.
  /// @param held Given back once the answer has been handed to the socket.
  virtual void reply(std::uint64_t number, response&& what, permit&& held) = 0;

  /// Starts a response without an end. @see exchange::start_stream
  virtual std::shared_ptr<stream>
  open_stream(std::uint64_t number, response&& head, permit&& held) = 0;

  /// Lets another protocol have the connection. @see exchange::upgrade
  virtual void
  hand_over(std::uint64_t number, std::shared_ptr<upgraded> to, permit&& held)
    = 0;
};

/// One request and the right to answer it, exactly once, from any thread. Kept
/// alive by whoever works on the request. If everybody lets go of it without an
/// answer, the client gets 503 `unavailable` with `Retry-After: 1`. The permit
/// that the request holds in the in-flight gate goes back with the answer.
class exchange {
public:
  /// INTERNAL: Made by the server.
  exchange(std::shared_ptr<const request> in, std::shared_ptr<reply_sink> sink,
           std::uint64_t number, permit held);

  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  ~exchange();

  /// The request. Unchanging, hence readable from any thread.
  [[nodiscard]] const request& in() const noexcept {
    return *in_;
  }

  /// Answers. The first call counts, all later ones are ignored.
  void answer(response what);

  /// Answers with the failure envelope under this request's id.
  void fail(int status, std::string_view error, std::string_view message);

  /// Answers with a head (status, content type, headers; the body is what is
  /// sent first) and goes on from there. The permit is given back with the
  /// head; streams have a limit of their own (`server_options::max_streams`),
  /// beyond which the client gets 503 `overloaded`.
  /// @returns nothing when the request has been answered already or the limit
  ///          is reached.
  [[nodiscard]] std::shared_ptr<stream> start_stream(response head);

  /// Lets another protocol have the connection: `to` begins on its thread. It
  /// counts among `server_options::max_streams` until it leaves; beyond the
  /// limit the client gets 503 `overloaded`. A client that has gone on talking
  /// before it was told that it may gets 400. The permit is given back at once.
  /// Without effect when the request has been answered already; `to` is then
  /// let go of without a call, as it is when the client has left.
  void upgrade(std::shared_ptr<upgraded> to);

  /// Whether an answer has been given.
  [[nodiscard]] bool answered() const noexcept {
    return answered_.load(std::memory_order_relaxed);
  }

private:
  std::shared_ptr<const request> in_;
  std::shared_ptr<reply_sink> sink_;
  std::uint64_t number_;
  permit held_;
  std::atomic<bool> answered_{false};
};

/// An exchange without a socket, for calling a handler directly.
/// @param done Called once, with the answer, on the thread that gives it.
///        `start_stream` and `upgrade` answer 503 there.
[[nodiscard]] std::shared_ptr<exchange>
make_exchange(request in, std::function<void(response)> done);

} // namespace slipway::http
