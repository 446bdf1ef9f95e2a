#include "http/provider/subscription.hpp"

#include "http/provider/answer.hpp"
#include "http/provider/json_text.hpp"
#include "http/provider/view.hpp"

#include <boost/json/serialize.hpp>

#include <array>
#include <mutex>
#include <utility>

namespace slipway::provider {

namespace {

namespace json = boost::json;

constexpr auto end_names
  = std::array<std::string_view, 4>{"finished", "complete", "refused", "lost"};

static_assert(end_names.size()
              == static_cast<std::size_t>(subscription_end::lost) + 1);

/// We have one subscription on a connection.
constexpr auto id = std::string_view{"1"};

/// The provider's words for the first of its errors.
std::string words_of(const json::value& errors) {
  auto out = std::string{};
  if (errors.is_array() && !errors.get_array().empty())
    out = word_at(errors.get_array().front(), "message");
  return out.empty() ? "an error without a message" : out;
}

/// Close codes with which servers of this protocol say that asking again will
/// not help.
bool is_refusal(int code) {
  return code == 4400 || code == 4401 || code == 4403;
}

/// The talk on one connection. All but the constructor runs on the network's
/// thread.
class talk {
public:
  talk(subscription_request request, subscription_handlers handlers)
    : request_{std::move(request)}, handlers_{std::move(handlers)} {
  }

  /// A fast network is there before `open` has returned: whichever of this and
  /// `opened` comes second goes on.
  void connected_by(const std::shared_ptr<client::websocket>& to) {
    auto go_on = false;
    {
      const auto lock = std::lock_guard{mutex_};
      to_ = to;
      go_on = opened_;
    }
    if (go_on)
      introduce(*to);
  }

  void opened() {
    auto to = std::shared_ptr<client::websocket>{};
    {
      const auto lock = std::lock_guard{mutex_};
      opened_ = true;
      to = to_.lock();
    }
    if (to)
      introduce(*to);
  }

  void received(const std::string& text) {
    if (over_)
      return;
    const auto to = line();
    if (!to)
      return;
    const auto what = parse_json(text);
    const auto type = what ? text_at(*what, "type") : std::string_view{};
    if (type == "next") {
      next(*what, *to);
      return; // Its owner takes it.
    }
    to->taken();
    if (type == "connection_ack")
      ready(*to);
    else if (type == "ping")
      to->send(R"({"type":"pong"})");
    else if (type == "error")
      end(subscription_end::refused, words_of(value_at(*what, "payload")));
    else if (type == "complete")
      end(subscription_end::complete, "complete");
    else if (type != "pong")
      end(subscription_end::lost, "the other side speaks another protocol");
  }

  void closed(const client::websocket_closure& why) {
    using client::websocket_end;
    if (why.how == websocket_end::finished)
      end(subscription_end::finished, why.message);
    else if ((why.how == websocket_end::closed && is_refusal(why.code))
             || (why.how == websocket_end::declined
                 && (why.code == 401 || why.code == 403)))
      end(subscription_end::refused, why.message);
    else
      end(subscription_end::lost, why.message);
  }

private:
  std::shared_ptr<client::websocket> line() {
    const auto lock = std::lock_guard{mutex_};
    return to_.lock();
  }

  void introduce(client::websocket& to) const {
    to.set_deadline(request_.ready_timeout);
    to.send(R"({"type":"connection_init"})");
  }

  void ready(client::websocket& to) {
    if (std::exchange(ready_, true))
      return;
    to.set_deadline(std::nullopt);
    to.send(json::serialize(json::object{
      {"id", id},
      {"type", "subscribe"},
      {"payload", json::object{{"query", request_.document},
                               {"variables", request_.variables}}}}));
    if (handlers_.started)
      handlers_.started();
  }

  void next(const json::value& what, client::websocket& to) {
    const auto& payload = value_at(what, "payload");
    const auto& data = value_at(payload, "data");
    if (!data.is_object()) {
      to.taken();
      end(subscription_end::refused, words_of(value_at(payload, "errors")));
      return;
    }
    if (handlers_.next)
      handlers_.next(data);
    else
      to.taken();
  }

  void end(subscription_end how, std::string why) {
    if (std::exchange(over_, true))
      return;
    const auto last = std::exchange(handlers_, {});
    if (const auto to = line())
      to->close();
    if (last.ended)
      last.ended(how, std::move(why));
  }

  const subscription_request request_;
  subscription_handlers handlers_;
  std::mutex mutex_;
  std::weak_ptr<client::websocket> to_; ///< Guarded.
  bool opened_ = false;                 ///< Guarded.
  bool ready_ = false;
  bool over_ = false;
};

class subscription_handle final : public subscription {
public:
  explicit subscription_handle(std::shared_ptr<client::websocket> to)
    : to_{std::move(to)} {
  }

  void taken() override {
    to_->taken();
  }

private:
  /// Dropped with us: a connection of its own needs no `complete` before.
  std::shared_ptr<client::websocket> to_;
};

} // namespace

std::string_view to_string(subscription_end end) noexcept {
  return end_names[static_cast<std::size_t>(end)];
}

subscription::~subscription() = default;

std::shared_ptr<subscription>
subscribe(client::websocket_network& network, subscription_request request,
          subscription_handlers handlers) {
  auto over = client::websocket_request{};
  over.url = subscription_url(request.endpoint);
  over.headers = {{"Authorization", "Bearer " + request.token}};
  over.protocol = "graphql-transport-ws";
  over.connect_timeout = request.connect_timeout;
  over.idle_timeout = request.idle_timeout;
  over.max_message_bytes = request.max_message_bytes;
  const auto with
    = std::make_shared<talk>(std::move(request), std::move(handlers));
  auto to = network.open(std::move(over), {[with] {
                                             with->opened();
                                           },
                                           [with](const std::string& text) {
                                             with->received(text);
                                           },
                                           [with](const auto& why) {
                                             with->closed(why);
                                           }});
  with->connected_by(to);
  return std::make_shared<subscription_handle>(std::move(to));
}

std::string subscription_url(std::string_view endpoint) {
  auto out = std::string{};
  if (endpoint.starts_with("https://"))
    out = "wss://" + std::string{endpoint.substr(8)};
  else if (endpoint.starts_with("http://"))
    out = "ws://" + std::string{endpoint.substr(7)};
  else
    return out;
  if (const auto end = out.find('#'); end != std::string::npos)
    out.resize(end);
  out += out.find('?') == std::string::npos ? '?' : '&';
  return out + "source=slipway";
}

} // namespace slipway::provider
