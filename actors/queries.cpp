#include "actors/queries.hpp"

#include <array>

namespace slipway {

namespace {

constexpr auto names = std::array<std::string_view, errc_count>{
  "none",        "not_found",       "unavailable",     "database_down",
  "conflict",    "owned_elsewhere", "overloaded",      "internal",
  "forbidden",   "gateway_down",    "gateway_refused", "invalid_cursor",
  "quarantined", "rejected"};

} // namespace

std::string_view to_string(errc x) noexcept {
  const auto index = static_cast<std::size_t>(x);
  return index < names.size() ? names[index] : std::string_view{"?"};
}

bool is_transient(errc x) noexcept {
  switch (x) {
    case errc::unavailable:
    case errc::database_down:
    case errc::conflict:
    case errc::owned_elsewhere:
    case errc::overloaded:
    case errc::gateway_down:
    case errc::quarantined:
      return true;
    case errc::none:
    case errc::not_found:
    case errc::internal:
    case errc::forbidden:
    case errc::gateway_refused:
    case errc::invalid_cursor:
    case errc::rejected:
      return false;
  }
  return false;
}

} // namespace slipway
