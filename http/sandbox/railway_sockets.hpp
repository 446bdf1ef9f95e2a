#pragma once

#include "http/sandbox/railway_desk.hpp"
#include "http/sandbox/websocket.hpp"
#include "http/server/exchange.hpp"

#include <map>
#include <memory>
#include <mutex>

namespace slipway::sandbox::railway {

/// INTERNAL: GraphQL over WebSocket (`graphql-transport-ws`): those who follow
/// the logs of a build or a deployment. Who they are stands in the headers of
/// the request that opens the socket.
///
/// Everything here belongs to whoever holds the lock, which is also taken when
/// a socket has something to say.
class sockets : public std::enable_shared_from_this<sockets> {
public:
  /// All of these must outlive the server whose exchanges are taken.
  /// @param on_change Called under the lock when somebody has come.
  sockets(std::mutex& lock, world& all, desk& answers,
          const graphql::schema& types, std::function<void()> on_change);

  ~sockets();

  /// Opens a socket, or says why not. Under the lock.
  void open(const std::shared_ptr<http::exchange>& x);

  /// Sends everybody what is new to them, and throws out whoever must not stay.
  /// Under the lock.
  void pump();

  /// Open ones. Under the lock.
  [[nodiscard]] std::size_t size() const noexcept {
    return all_sessions_.size();
  }

private:
  struct subscription;
  struct session;

  void on_open(const std::shared_ptr<websocket>& wire,
               const std::string& authorization);
  void on_text(const std::shared_ptr<websocket>& wire, std::string_view text);
  void subscribe(session& by, const std::string& id,
                 const boost::json::object& payload);
  /// Sends what is new. @returns whether it goes on.
  bool serve(session& to, const std::string& id, subscription& x);

  std::mutex& lock_;
  world& all_;
  desk& answers_;
  const graphql::schema& types_;
  std::function<void()> on_change_;
  std::map<const websocket*, session> all_sessions_;
};

} // namespace slipway::sandbox::railway
