#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/client/outbound.hpp"

#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What Railway's answers mean. Pure.
namespace slipway::provider {

/// How a call ended. Railway answers most errors with HTTP 200, so the body
/// decides; the classes are what there is to do about them.
enum class answer_class : std::uint8_t {
  ok,
  invalid,   ///< Our document or its variables. Permanent; an alarm.
  auth,      ///< Not allowed, or not yet: rights lag behind a creation.
  not_found, ///< Gone, or not visible yet.
  throttled, ///< Too many calls or too many creations: wait, then again.
  blocked,   ///< The whole token is shut out for a while: stop all calls.
  busy,      ///< Something else is going on there; try again soon.
  duplicate, ///< Exists already: look for it.
  plan,      ///< The account's plan does not allow it. Permanent.
  opaque,    ///< "Problem processing request": read first, then try again.
  in_doubt,  ///< Sent, and no answer: it may have happened.
  not_sent,  ///< It certainly did not happen.
};

[[nodiscard]] std::string_view to_string(answer_class x) noexcept;

/// What an answer's headers say of the token's budget. Whatever makes no sense
/// counts as not said.
struct rate_headers {
  std::optional<std::uint64_t> limit;     ///< X-RateLimit-Limit.
  std::optional<std::uint64_t> remaining; ///< X-RateLimit-Remaining.
  /// X-RateLimit-Reset as it was spelled, at most 40 bytes: see `read_reset`.
  std::string reset;
};

struct answer {
  answer_class is = answer_class::ok;
  boost::json::value data; ///< The member `data`; null unless `ok`.
  std::string message;     ///< The provider's words, with its trace id.
  millis retry_after{0};   ///< The least delay that was asked for.
  rate_headers rate = {};
  /// The API itself has answered, and not somebody in between: a JSON object
  /// came back.
  bool spoken = false;
  /// `throttled` by the pause that it wants between two creations, which is of
  /// no matter to other calls.
  bool cooldown = false;
  std::string code = {}; ///< `extensions.code` of the first error.
  /// The top-level fields, or their aliases, that the errors are about, each
  /// once.
  std::vector<std::string> failed_fields = {};
};

/// Understands the outcome of one call.
[[nodiscard]] answer read_answer(const client::http_outcome& outcome);

/// What a deployment's status means for us.
struct status_meaning {
  enum kind : std::uint8_t { in_progress, running, failed, gone } is
    = in_progress;
  std::uint8_t progress = 42;
};

/// Translates `Deployment.status` and `deploymentStopped`. A value nobody knows
/// yet counts as in progress, without moving anything.
[[nodiscard]] status_meaning read_status(std::string_view status, bool stopped);

/// The progress that a step of `deploymentEvents` stands for; 0 when unknown.
[[nodiscard]] std::uint8_t progress_of_step(std::string_view step);

/// Makes a provider's text fit for people, logs and rows: one line, no control
/// characters, at most 500 bytes of well-formed UTF-8.
[[nodiscard]] std::string clean(std::string_view text);

} // namespace slipway::provider
