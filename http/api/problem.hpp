#pragma once

#include "actors/queries.hpp"
#include "http/server/exchange.hpp"

#include <string_view>

/// The one place where what went wrong becomes an HTTP status. To extend: the
/// switch in problem.cpp does not compile until every code has its answer.
namespace slipway::api {

/// A failure as the outside sees it.
struct problem {
  int status = 500;
  std::string_view code;
  std::string_view message;
};

[[nodiscard]] problem problem_of(errc why) noexcept;

/// For verdicts that refuse; `applied` and `already_applied` are none.
[[nodiscard]] problem problem_of(lifecycle::verdict why) noexcept;

/// Answers with the failure envelope.
void fail(http::exchange& to, const problem& what);

} // namespace slipway::api
