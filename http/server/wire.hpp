#pragma once

#include "http/server/tls_session.hpp"

#include <boost/asio/async_result.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/error_code.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <memory>
#include <utility>

namespace slipway::http {

/// The bytes of one client: a TCP socket that does not block, with TLS on it or
/// without. An AsyncStream of Boost.Asio, whose templates end here: what TLS
/// does is compiled once. Belongs to the thread of its connection. Not to be
/// moved while an operation waits; whoever waits keeps it alive.
class wire {
public:
  using socket_type = boost::asio::ip::tcp::socket;
  using executor_type = socket_type::executor_type;
  using error_code = boost::system::error_code;

  explicit wire(socket_type socket) : socket_{std::move(socket)} {
  }

  wire(wire&&) noexcept = default;
  wire& operator=(wire&&) noexcept = default;

  [[nodiscard]] executor_type get_executor() noexcept {
    return socket_.get_executor();
  }

  /// What is below. Bytes that are read or written there bypass TLS.
  [[nodiscard]] socket_type& socket() noexcept {
    return socket_;
  }

  // -- TLS --------------------------------------------------------------------

  /// Waits for the client's handshake and answers it. `done` is called later,
  /// on this thread; not once the socket is closed.
  void async_greet(ssl_ctx_st& context,
                   std::function<void(tls_session::greeting)> done);

  /// Goes on without TLS, for a client that knows nothing of it.
  void expose() noexcept {
    tls_.reset();
  }

  // -- reading and writing ----------------------------------------------------

  /// Bytes that can be read at once, as far as is known.
  [[nodiscard]] std::size_t available(error_code& ec) const;

  /// Writes what can be written at once, and says `would_block` where that is
  /// nothing.
  template <class Buffers>
  std::size_t write_some(const Buffers& buffers, error_code& ec) {
    if (tls_ == nullptr)
      return socket_.write_some(buffers, ec);
    // Left as it is: only what is copied into it is read.
    std::array<char, tls_session::record_bytes> room;
    ec = {};
    auto total = std::size_t{0};
    const auto all = boost::asio::buffer_size(buffers);
    while (total < all) {
      const auto n = write_secure(part_of(buffers, total, room), ec);
      if (n == 0)
        break;
      total += n;
    }
    if (total != 0)
      ec = {}; // What is wrong will still be wrong for the rest.
    return total;
  }

  /// @see boost::asio::ip::tcp::socket::async_read_some
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
      [this](auto handler, const Buffers& into) {
        if (tls_ == nullptr)
          socket_.async_read_some(into, std::move(handler));
        else
          read_secure(first_of<boost::asio::mutable_buffer>(into),
                      erase(std::move(handler)), true);
      },
      token, buffers);
  }

  /// @see boost::asio::ip::tcp::socket::async_write_some
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    return boost::asio::async_initiate<Token, void(error_code, std::size_t)>(
      [this](auto handler, const Buffers& from) {
        if (tls_ == nullptr) {
          socket_.async_write_some(from, std::move(handler));
          return;
        }
        auto bytes = first_of<boost::asio::const_buffer>(from);
        if (bytes.size() < tls_session::record_bytes
            && bytes.size() != boost::asio::buffer_size(from)) {
          // One record for what belongs together.
          auto& copy = tls_->scratch;
          copy.resize(std::min(boost::asio::buffer_size(from),
                               tls_session::record_bytes));
          boost::asio::buffer_copy(boost::asio::buffer(copy), from);
          bytes = boost::asio::buffer(copy);
        }
        write_secure(bytes, erase(std::move(handler)), true);
      },
      token, buffers);
  }

  /// Tells the client that nothing will follow.
  void end_sending(error_code& ec);

  /// Says goodbye where TLS has such a word.
  void say_goodbye();

  /// Ends everything, what waits included.
  void close(error_code& ec);

private:
  using done = std::function<void(error_code, std::size_t)>;

  /// Handlers need not be copyable, functions are.
  template <class Handler>
  static done erase(Handler handler) {
    return [x = std::make_shared<Handler>(std::move(handler))](error_code ec,
                                                               std::size_t n) {
      std::move (*x)(ec, n);
    };
  }

  template <class Buffer, class Buffers>
  static Buffer first_of(const Buffers& buffers) {
    auto i = boost::asio::buffer_sequence_begin(buffers);
    const auto end = boost::asio::buffer_sequence_end(buffers);
    while (i != end && Buffer{*i}.size() == 0)
      ++i;
    return i == end ? Buffer{} : Buffer{*i};
  }

  /// At most a record's worth of bytes, from `skip` on. They stay where they
  /// are if one buffer has them all.
  template <class Buffers>
  static boost::asio::const_buffer
  part_of(const Buffers& buffers, std::size_t skip,
          std::array<char, tls_session::record_bytes>& room) {
    auto used = std::size_t{0};
    const auto end = boost::asio::buffer_sequence_end(buffers);
    for (auto i = boost::asio::buffer_sequence_begin(buffers); i != end; ++i) {
      auto each = boost::asio::const_buffer{*i};
      const auto skipped = std::min(skip, each.size());
      each += skipped;
      skip -= skipped;
      if (each.size() == 0)
        continue;
      if (used == 0 && (each.size() >= room.size() || std::next(i) == end))
        return each;
      used += boost::asio::buffer_copy(boost::asio::buffer(room) + used, each);
      if (used == room.size())
        break;
    }
    return boost::asio::buffer(room, used);
  }

  void greet_secure(std::function<void(tls_session::greeting)> then);
  void read_secure(boost::asio::mutable_buffer into, done then, bool is_first);
  std::size_t write_secure(boost::asio::const_buffer from, error_code& ec);
  void write_secure(boost::asio::const_buffer from, done then, bool is_first);

  /// Calls `again` when what is needed is there, with an error otherwise.
  void wait_for(tls_session::need what,
                std::function<void(const error_code&)> again);

  socket_type socket_;
  std::unique_ptr<tls_session> tls_;
};

} // namespace slipway::http
