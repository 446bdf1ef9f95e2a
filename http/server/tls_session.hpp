#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

struct ssl_ctx_st;
struct ssl_st;

namespace slipway::http {

/// INTERNAL: TLS over a socket that does not block. Every member tries once and
/// says what has to come before it can be tried again. Belongs to the thread of
/// its connection, and must not be used once the socket is closed.
class tls_session {
public:
  /// What an attempt waits for.
  enum class need : std::uint8_t {
    nothing, ///< It is done, or has failed.
    input,   ///< The socket is to be readable.
    output,  ///< The socket is to be writable.
  };

  /// How a handshake ends.
  enum class greeting : std::uint8_t {
    secure,
    plain_http, ///< The first byte belongs to a request that is not encrypted.
                ///< It has not been read.
    failed,
  };

  /// A record carries no more.
  static constexpr auto record_bytes = std::size_t{16} * 1024;

  /// @param descriptor Of the socket, which stays whoever owns it.
  tls_session(ssl_ctx_st& context, int descriptor);

  /// One more step of the handshake.
  /// @returns `nothing` once `out` says how it went.
  need greet(greeting& out);

  /// Reads at least a byte. @param ec `eof` at the end of the conversation.
  need read(boost::asio::mutable_buffer into, std::size_t& got,
            boost::system::error_code& ec);

  /// Writes one record at most. After `output` or `input` the next attempt has
  /// to bring the same bytes, wherever they are.
  need write(boost::asio::const_buffer from, std::size_t& sent,
             boost::system::error_code& ec);

  /// Whether there is something to be read that is not in the socket any more.
  [[nodiscard]] bool has_pending() const;

  /// Says that nothing will follow, if that can be said now.
  void say_goodbye();

  /// A copy of what one attempt to write brings and the next has to bring
  /// again.
  std::string scratch;

private:
  struct closer {
    void operator()(ssl_st* x) const noexcept;
  };

  need why(int code, boost::system::error_code& ec);

  std::unique_ptr<ssl_st, closer> ssl_;
  int descriptor_;
  bool is_heard_ = false; ///< The first byte has been looked at.
  bool is_secure_ = false;
};

} // namespace slipway::http
