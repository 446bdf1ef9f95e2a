#pragma once

#include "http/sandbox/railway_graph.hpp"
#include "http/server/message.hpp"

namespace slipway::sandbox::railway {

/// INTERNAL: Answers the API's requests, or gives the answer that a switch has
/// ready for them. Not thread-safe.
class desk {
public:
  /// @param types Must outlive the desk, as `all` must.
  desk(const railway_simulator_options& options, const graphql::schema& types,
       world& all);

  /// One request to the API, at the moment of the world's last `catch_up`.
  [[nodiscard]] http::response answer(const http::request& in);

  /// Runs an operation for whoever has sent this `Authorization` header.
  /// @param special Asked before everybody else for the fields at the top.
  [[nodiscard]] boost::json::object
  run(const graphql::prepared& what, std::string_view authorization,
      const std::function<std::optional<resolved>(const graph&)>& special
      = nullptr);

  /// 32 hex digits.
  [[nodiscard]] std::string trace_id();

  /// Requests of this hour so far.
  [[nodiscard]] std::int64_t used() const noexcept {
    return used_;
  }

  /// What is left of this hour's budget.
  [[nodiscard]] std::int64_t left() const noexcept;

  /// When there is a new budget.
  [[nodiscard]] timestamp window_end() const noexcept {
    return window_start_ + std::chrono::hours{1};
  }

  /// The page of a gateway in front of the API.
  [[nodiscard]] static http::response
  gateway_page(int status, std::string_view text);

private:
  /// An answer that is given before anybody has read the request.
  [[nodiscard]] std::optional<http::response>
  refuse_unread(const http::request& in);

  [[nodiscard]] http::response
  perform(const graphql::prepared& what, std::string_view authorization);

  /// Uses up one of a count, if it concerns this operation.
  static bool take(std::int64_t& count, bool is_concerned);

  [[nodiscard]] http::response with_budget(http::response x) const;
  [[nodiscard]] http::response
  error(int status, std::string_view message, std::string_view code);
  [[nodiscard]] http::response throttled(std::int64_t seconds);
  [[nodiscard]] http::response opaque();
  [[nodiscard]] http::response spoilt(http::response good) const;

  const railway_simulator_options& options_;
  const graphql::schema& types_;
  world& all_;
  timestamp window_start_;
  std::int64_t used_ = 0;
  timestamp second_start_;
  std::int64_t second_used_ = 0;
  std::int64_t second_unnamed_ = 0;
};

} // namespace slipway::sandbox::railway
