#pragma once

#include "http/client/websocket.hpp"

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

/// A network of WebSockets with a person at the switch: nothing happens until
/// the test makes it happen, on the test's thread.
namespace slipway::test {

class fake_websockets final : public client::websocket_network {
public:
  /// The other side of one connection.
  struct line {
    client::websocket_request request;
    client::websocket_handlers handlers;
    std::vector<std::string> sent; ///< By us, while it was open.
    std::size_t taken = 0;
    std::optional<millis> deadline;
    bool open = false;
    bool closed = false; ///< By our side.
    bool ended = false;  ///< For whatever reason.

    void accept() {
      open = true;
      if (handlers.opened)
        handlers.opened();
    }

    void say(std::string text) {
      if (!ended && handlers.received)
        handlers.received(std::move(text));
    }

    void end(client::websocket_end how, int code = 0,
             std::string why = "railway.test: gone") {
      if (std::exchange(ended, true))
        return;
      open = false;
      const auto last = std::exchange(handlers, {});
      if (last.closed)
        last.closed({how, code, std::move(why)});
    }
  };

  std::shared_ptr<client::websocket>
  open(client::websocket_request request,
       client::websocket_handlers handlers) override {
    auto made = std::make_shared<line>();
    made->request = std::move(request);
    made->handlers = std::move(handlers);
    lines.push_back(made);
    if (on_open)
      on_open(*made);
    return std::make_shared<handle>(std::move(made));
  }

  /// Connections that neither side has ended.
  [[nodiscard]] std::vector<std::shared_ptr<line>> living() const {
    auto out = std::vector<std::shared_ptr<line>>{};
    for (const auto& x : lines)
      if (!x->ended && !x->closed)
        out.push_back(x);
    return out;
  }

  std::vector<std::shared_ptr<line>> lines; ///< All there ever were.
  std::function<void(line&)> on_open;

private:
  class handle final : public client::websocket {
  public:
    explicit handle(std::shared_ptr<line> to) : to_{std::move(to)} {
    }

    ~handle() override {
      handle::close();
    }

    void send(std::string text) override {
      if (to_->open && !to_->closed)
        to_->sent.push_back(std::move(text));
    }

    void taken() override {
      ++to_->taken;
    }

    void set_deadline(std::optional<millis> after) override {
      to_->deadline = after;
    }

    void close() override {
      to_->closed = true;
    }

  private:
    std::shared_ptr<line> to_;
  };
};

} // namespace slipway::test
