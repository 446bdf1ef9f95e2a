#include "http/server/tls_session.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/errc.hpp>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

namespace slipway::http {

namespace {

using boost::system::error_code;

/// The first byte of a handshake's first record.
constexpr auto handshake_record = char{0x16};

// -- the socket, as OpenSSL sees it -------------------------------------------
//
// Its own one would raise SIGPIPE where the other side has left.

int descriptor_of(BIO* bio) {
  return static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
}

bool is_passing(int code) noexcept {
  return code == EAGAIN || code == EWOULDBLOCK || code == EINTR;
}

int socket_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const auto n = ::send(descriptor_of(bio), data,
                        static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && is_passing(errno))
    BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int socket_read(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const auto n
    = ::recv(descriptor_of(bio), data, static_cast<std::size_t>(size), 0);
  if (n < 0 && is_passing(errno))
    BIO_set_retry_read(bio);
  if (n == 0)
    BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

long socket_control(BIO* bio, int command, long, void*) {
  switch (command) {
    case BIO_CTRL_FLUSH:
      return 1;
    case BIO_CTRL_EOF:
      return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    default:
      return 0;
  }
}

int socket_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

const BIO_METHOD* socket_method() {
  // As long as the program: connections may outlive everything else.
  static const auto* made = [] {
    auto* x = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
                           "a socket without signals");
    if (x == nullptr || BIO_meth_set_write(x, &socket_write) != 1
        || BIO_meth_set_read(x, &socket_read) != 1
        || BIO_meth_set_ctrl(x, &socket_control) != 1
        || BIO_meth_set_create(x, &socket_create) != 1)
      throw std::bad_alloc{};
    return x;
  }();
  return made;
}

} // namespace

void tls_session::closer::operator()(ssl_st* x) const noexcept {
  SSL_free(x);
}

tls_session::tls_session(ssl_ctx_st& context, int descriptor)
  : ssl_{SSL_new(&context)}, descriptor_{descriptor} {
  auto* bio = BIO_new(socket_method());
  if (ssl_ == nullptr || bio == nullptr) {
    BIO_free(bio);
    throw std::bad_alloc{};
  }
  BIO_set_data(bio,
               reinterpret_cast<void*>(static_cast<std::intptr_t>(descriptor)));
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_accept_state(ssl_.get());
}

tls_session::need tls_session::greet(greeting& out) {
  if (!is_heard_) {
    auto first = char{};
    const auto n = ::recv(descriptor_, &first, 1, MSG_PEEK);
    if (n < 0 && is_passing(errno))
      return need::input;
    is_heard_ = true;
    if (n != 1 || first != handshake_record) {
      const auto is_letter
        = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
      out = n == 1 && is_letter ? greeting::plain_http : greeting::failed;
      return need::nothing;
    }
  }
  ERR_clear_error();
  const auto done = SSL_do_handshake(ssl_.get());
  if (done == 1) {
    is_secure_ = true;
    out = greeting::secure;
    return need::nothing;
  }
  auto ec = error_code{};
  const auto next = why(done, ec);
  if (ec)
    out = greeting::failed;
  return next;
}

tls_session::need tls_session::read(boost::asio::mutable_buffer into,
                                    std::size_t& got, error_code& ec) {
  ERR_clear_error();
  const auto done = SSL_read_ex(ssl_.get(), into.data(), into.size(), &got);
  if (done == 1)
    return need::nothing;
  got = 0;
  return why(done, ec);
}

tls_session::need tls_session::write(boost::asio::const_buffer from,
                                     std::size_t& sent, error_code& ec) {
  ERR_clear_error();
  const auto done = SSL_write_ex(ssl_.get(), from.data(),
                                 std::min(from.size(), record_bytes), &sent);
  if (done == 1)
    return need::nothing;
  sent = 0;
  return why(done, ec);
}

bool tls_session::has_pending() const {
  return SSL_has_pending(ssl_.get()) == 1;
}

void tls_session::say_goodbye() {
  if (!std::exchange(is_secure_, false))
    return;
  ERR_clear_error();
  // Where there is no room for it the end of the connection has to say it.
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

tls_session::need tls_session::why(int code, error_code& ec) {
  const auto failed = errno;
  switch (SSL_get_error(ssl_.get(), code)) {
    case SSL_ERROR_WANT_READ:
      return need::input;
    case SSL_ERROR_WANT_WRITE:
      return need::output;
    case SSL_ERROR_ZERO_RETURN:
      ec = boost::asio::error::eof;
      return need::nothing;
    case SSL_ERROR_SYSCALL:
      ec = failed == 0 ? error_code{boost::asio::error::eof}
                       : error_code{failed, boost::system::system_category()};
      break;
    default:
      ec = boost::system::errc::make_error_code(
        boost::system::errc::protocol_error);
  }
  // After such an end OpenSSL wants to hear nothing more.
  is_secure_ = false;
  ERR_clear_error();
  return need::nothing;
}

} // namespace slipway::http
