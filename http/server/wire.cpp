#include "http/server/wire.hpp"

#include <boost/asio/post.hpp>

namespace slipway::http {

using need = tls_session::need;

void wire::async_greet(ssl_ctx_st& context,
                       std::function<void(tls_session::greeting)> done) {
  tls_ = std::make_unique<tls_session>(context, socket_.native_handle());
  // Clients speak first.
  wait_for(need::input,
           [this, done = std::move(done)](const error_code& ec) mutable {
             if (!ec)
               greet_secure(std::move(done));
             else if (socket_.is_open())
               done(tls_session::greeting::failed);
           });
}

void wire::greet_secure(std::function<void(tls_session::greeting)> then) {
  auto how = tls_session::greeting::failed;
  const auto missing = tls_->greet(how);
  if (missing == need::nothing) {
    then(how);
    return;
  }
  wait_for(missing,
           [this, then = std::move(then)](const error_code& ec) mutable {
             if (!ec)
               greet_secure(std::move(then));
             else if (socket_.is_open())
               then(tls_session::greeting::failed);
           });
}

std::size_t wire::available(error_code& ec) const {
  if (tls_ != nullptr && tls_->has_pending())
    return 1;
  return socket_.available(ec);
}

void wire::read_secure(boost::asio::mutable_buffer into, done then,
                       bool is_first) {
  auto ec = error_code{};
  auto got = std::size_t{0};
  const auto missing
    = into.size() == 0 ? need::nothing : tls_->read(into, got, ec);
  if (missing != need::nothing) {
    wait_for(missing, [this, into, then = std::move(then)](
                        const error_code& failed) mutable {
      if (failed)
        then(failed, 0);
      else
        read_secure(into, std::move(then), false);
    });
  } else if (is_first) {
    // Not from within the call that asks for it.
    boost::asio::post(get_executor(), [then = std::move(then), ec, got] {
      then(ec, got);
    });
  } else {
    then(ec, got);
  }
}

std::size_t wire::write_secure(boost::asio::const_buffer from, error_code& ec) {
  auto sent = std::size_t{0};
  if (tls_->write(from, sent, ec) != need::nothing)
    ec = boost::asio::error::would_block;
  return sent;
}

void wire::write_secure(boost::asio::const_buffer from, done then,
                        bool is_first) {
  auto ec = error_code{};
  auto sent = std::size_t{0};
  const auto missing
    = from.size() == 0 ? need::nothing : tls_->write(from, sent, ec);
  if (missing != need::nothing) {
    wait_for(missing, [this, from, then = std::move(then)](
                        const error_code& failed) mutable {
      if (failed)
        then(failed, 0);
      else
        write_secure(from, std::move(then), false);
    });
  } else if (is_first) {
    boost::asio::post(get_executor(), [then = std::move(then), ec, sent] {
      then(ec, sent);
    });
  } else {
    then(ec, sent);
  }
}

void wire::wait_for(need what, std::function<void(const error_code&)> again) {
  socket_.async_wait(what == need::output ? socket_type::wait_write
                                          : socket_type::wait_read,
                     [this, again = std::move(again)](const error_code& ec) {
                       // Its number may be another connection's by now.
                       if (!ec && !socket_.is_open())
                         again(boost::asio::error::operation_aborted);
                       else
                         again(ec);
                     });
}

void wire::end_sending(error_code& ec) {
  say_goodbye();
  socket_.shutdown(socket_type::shutdown_send, ec);
}

void wire::say_goodbye() {
  if (tls_ != nullptr)
    tls_->say_goodbye();
}

void wire::close(error_code& ec) {
  if (socket_.is_open())
    say_goodbye();
  socket_.close(ec);
}

} // namespace slipway::http
