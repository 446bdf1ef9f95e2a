#pragma once

#include "http/server/wire.hpp"

#include <functional>

namespace slipway::http {

/// What speaks on a connection once HTTP has left it, see `exchange::upgrade`.
/// The server calls every member on the connection's thread, and no other
/// thread may touch the socket. Nobody keeps one alive for longer than the
/// server lives: its socket belongs to the server's thread.
class upgraded {
public:
  virtual ~upgraded();

  /// Takes the connection over, with TLS where it has that. The request that
  /// led here has been read to its end, nothing has been answered: `101
  /// Switching Protocols` is for this to say. Deadlines of any kind are its own
  /// business from here on.
  /// @param leave To be called on this thread once all is over; gives the
  ///        connection's place back. Later calls do nothing.
  virtual void begin(wire taken, std::function<void()> leave) = 0;

  /// The server is about to stop: say goodbye, then leave. `close` follows for
  /// whoever takes longer than the server's deadline.
  virtual void stop() = 0;

  /// Closes the socket at once, so that no operation on it is left waiting.
  /// Called at most once, and not after `leave`.
  virtual void close() = 0;
};

} // namespace slipway::http
