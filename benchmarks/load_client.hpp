#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::bench {

using seconds = std::chrono::duration<double>;

struct load_options {
  std::uint16_t port = 0; ///< Of 127.0.0.1.
  std::size_t connections = 64;
  /// Requests per second that are due whatever the server does; 0 sends the
  /// next request of a connection as soon as the last one is answered.
  double rate = 0;
  /// What has not been answered by then is given up.
  seconds limit{120};
};

/// How a run went.
struct load_report {
  seconds took{0}; ///< From the first request to the last answer.
  /// One for each answer, ascending. With a rate they count from the moment
  /// the request was due, so that a server that falls behind cannot hide it.
  std::vector<seconds> latencies;
  std::size_t failed = 0; ///< Unexpected, broken off or never answered.
  std::string first_failure;

  [[nodiscard]] double per_second() const;

  /// @param share 0…1, for example 0.99.
  [[nodiscard]] seconds percentile(double share) const;
};

/// Judges an answer. Called once each, in any order.
using on_answer = std::function<bool(std::size_t request, unsigned status,
                                     std::string_view body)>;

/// Writes a whole HTTP/1.1 request with keep-alive.
[[nodiscard]] std::string
make_request(std::string_view method, std::string_view target,
             std::string_view content_type, std::string_view body,
             std::string_view bearer = {});

/// Sends every request once, from one thread.
[[nodiscard]] load_report
run_load(const load_options& options, const std::vector<std::string>& requests,
         const on_answer& judge);

} // namespace slipway::bench
