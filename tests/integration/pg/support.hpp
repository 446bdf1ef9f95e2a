#pragma once

#include "persistence/pg/connection.hpp"

#include <chrono>
#include <poll.h>
#include <string>

namespace slipway::test {

/// Looks every 5 ms until the condition holds.
/// @returns false when it does not within the limit.
template <class Condition>
bool eventually(Condition holds, millis limit = std::chrono::seconds{20}) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= until)
      return false;
    ::poll(nullptr, 0, 5);
  }
  return true;
}

class stopwatch {
public:
  [[nodiscard]] millis read() const {
    return std::chrono::duration_cast<millis>(std::chrono::steady_clock::now()
                                              - start_);
  }

private:
  std::chrono::steady_clock::time_point start_
    = std::chrono::steady_clock::now();
};

/// The kind of a failure, or `none`.
template <class T>
std::string kind_in(const tl::expected<T, pg::error>& outcome) {
  return outcome ? "none" : std::string{to_string(outcome.error().kind)};
}

template <class T>
std::string state_in(const tl::expected<T, pg::error>& outcome) {
  return outcome ? "none" : outcome.error().sqlstate;
}

template <class T>
std::string message_in(const tl::expected<T, pg::error>& outcome) {
  return outcome ? "none" : outcome.error().message;
}

} // namespace slipway::test
