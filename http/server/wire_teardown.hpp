#pragma once

#include "http/server/wire.hpp"

#include <boost/beast/core/role.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include <utility>

/// How a WebSocket of Boost.Beast ends on a wire; found by the types of the
/// arguments. For whoever puts `boost::beast::websocket::stream` on one.
namespace slipway::http {

/// When a deadline of its own has passed.
inline void beast_close_socket(wire& what) {
  auto ignored = boost::system::error_code{};
  what.close(ignored);
}

inline void teardown(boost::beast::role_type role, wire& what,
                     boost::system::error_code& ec) {
  what.say_goodbye();
  boost::beast::websocket::teardown(role, what.socket(), ec);
}

template <class Handler>
void async_teardown(boost::beast::role_type role, wire& what,
                    Handler&& handler) {
  what.say_goodbye();
  boost::beast::websocket::async_teardown(role, what.socket(),
                                          std::forward<Handler>(handler));
}

} // namespace slipway::http
