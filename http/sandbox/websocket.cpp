#include "http/sandbox/websocket.hpp"

#include "http/server/wire_teardown.hpp"

#include <boost/asio/post.hpp>
#include <boost/beast/core/buffers_to_string.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/websocket/stream.hpp>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

namespace slipway::sandbox {

namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace ws = beast::websocket;

using boost::system::error_code;

using beast_request = beast::http::request<beast::http::empty_body>;

constexpr auto handshake_timeout = std::chrono::seconds{10};

/// The request as Beast knows it.
beast_request translate(const http::request& in) {
  beast_request result;
  result.version(11);
  result.method(in.verb == http::method::get ? beast::http::verb::get
                                             : beast::http::verb::post);
  result.target(in.target);
  for (const auto& [name, value] : in.headers)
    result.insert(name, value);
  return result;
}

/// Whether a list of a header holds a word.
bool offers(const http::request& in, std::string_view protocol) {
  for (const auto& [name, value] : in.headers)
    if (beast::iequals(name, "Sec-WebSocket-Protocol"))
      for (const auto& each : beast::http::token_list{value})
        if (each == protocol)
          return true;
  return false;
}

} // namespace

struct websocket::impl {
  using stream = ws::stream<http::wire>;

  beast_request asked;
  websocket_options options;
  handlers react;
  bool is_agreed = false;
  std::function<void()> leave = {};
  std::optional<stream> wire = {};
  beast::flat_buffer in = {};
  std::deque<std::string> out = {};
  std::size_t out_bytes = 0;
  bool is_writing = false;
  bool is_open = false;
  bool is_ending = false;
  bool is_ending_soon = false; ///< Once the queue is empty.
  ws::close_reason ending = {};

  void read(std::shared_ptr<websocket> self) {
    wire->async_read(in, [this, self = std::move(self)](const error_code& ec,
                                                        std::size_t) mutable {
      if (ec) {
        finish();
        return;
      }
      const auto text = beast::buffers_to_string(in.data());
      in.consume(in.size());
      if (!is_ending)
        react.on_text(self, text);
      read(std::move(self));
    });
  }

  void write(std::shared_ptr<websocket> self) {
    if (is_writing)
      return;
    if (out.empty()) {
      if (std::exchange(is_ending_soon, false))
        wire->async_close(ending, [self = std::move(self)](const error_code&) {
          // The reader notices.
        });
      return;
    }
    is_writing = true;
    wire->async_write(asio::buffer(out.front()),
                      [this, self = std::move(self)](const error_code& ec,
                                                     std::size_t) mutable {
                        is_writing = false;
                        if (ec)
                          return; // The reader notices.
                        out_bytes -= out.front().size();
                        out.pop_front();
                        write(std::move(self));
                      });
  }

  void
  end(std::shared_ptr<websocket> self, std::uint16_t code, std::string reason) {
    if (!is_open || is_ending)
      return;
    is_ending = true;
    is_ending_soon = true;
    reason.resize(std::min<std::size_t>(reason.size(), 120));
    ending = {static_cast<ws::close_code>(code), reason};
    write(std::move(self));
  }

  void shut() {
    auto ignored = error_code{};
    wire->next_layer().close(ignored);
  }

  /// Nothing is read any more.
  void finish() {
    shut();
    if (std::exchange(is_open, false))
      react.on_closed(owner);
    if (const auto go = std::exchange(leave, nullptr))
      go();
  }

  const websocket* owner = nullptr;
};

bool websocket::is_wanted(const http::request& in) {
  return ws::is_upgrade(translate(in));
}

websocket::websocket(const http::request& in, websocket_options options,
                     handlers react)
  : impl_{std::make_unique<impl>()} {
  auto& x = *impl_;
  x.asked = translate(in);
  x.is_agreed = offers(in, options.subprotocol);
  x.options = std::move(options);
  x.react = std::move(react);
  x.owner = this;
}

websocket::~websocket() = default;

bool websocket::is_agreed() const noexcept {
  return impl_->is_agreed;
}

void websocket::begin(http::wire taken, std::function<void()> leave) {
  auto& x = *impl_;
  x.leave = std::move(leave);
  x.wire.emplace(std::move(taken));
  auto& wire = *x.wire;
  wire.read_message_max(x.options.message_bytes_max);
  auto timeout = ws::stream_base::timeout{};
  timeout.handshake_timeout = handshake_timeout;
  timeout.idle_timeout = x.options.idle_timeout;
  timeout.keep_alive_pings = true;
  wire.set_option(timeout);
  wire.set_option(ws::stream_base::decorator([&x](ws::response_type& answer) {
    if (x.is_agreed)
      answer.set(beast::http::field::sec_websocket_protocol,
                 x.options.subprotocol);
  }));
  wire.async_accept(x.asked,
                    [&x, self = shared_from_this()](const error_code& ec) {
                      if (ec) {
                        x.finish();
                        return;
                      }
                      x.is_open = true;
                      x.react.on_open(self);
                      x.read(self);
                    });
}

void websocket::send(std::string text) {
  asio::post(impl_->wire->get_executor(),
             [self = shared_from_this(), text = std::move(text)]() mutable {
               auto& x = *self->impl_;
               if (!x.is_open || x.is_ending)
                 return;
               x.out_bytes += text.size();
               x.out.push_back(std::move(text));
               if (x.out_bytes > x.options.queue_bytes_max)
                 x.shut();
               else
                 x.write(self);
             });
}

void websocket::end(std::uint16_t code, std::string reason) {
  asio::post(impl_->wire->get_executor(),
             [self = shared_from_this(), code, reason = std::move(reason)] {
               self->impl_->end(self, code, reason);
             });
}

void websocket::stop() {
  if (!impl_->is_open)
    impl_->shut();
  impl_->end(shared_from_this(), ws::close_code::going_away, "");
}

void websocket::close() {
  impl_->shut();
}

} // namespace slipway::sandbox
