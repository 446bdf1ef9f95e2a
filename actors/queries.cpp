#include "actors/queries.hpp"

#include <array>

namespace slipway {

namespace {

constexpr auto names = std::array<std::string_view, errc_count>{
  "none",        "not_found",       "unavailable",     "database_down",
  "conflict",    "owned_elsewhere", "overloaded",      "internal",
  "forbidden",   "gateway_down",    "gateway_refused", "invalid_cursor",
  "quarantined", "rejected"};

constexpr auto prunable_names
  = std::array<std::string_view, query::prunable_count>{
    "callbacks", "events", "notifications", "outbox", "orphans", "servers"};

} // namespace

std::string_view query::to_string(prunable x) noexcept {
  const auto index = static_cast<std::size_t>(x);
  return index < prunable_names.size() ? prunable_names[index]
                                       : std::string_view{"?"};
}

std::string_view query::to_string(list_pending::kind x) noexcept {
  switch (x) {
    case list_pending::kind::deploy:
      return "deploy";
    case list_pending::kind::remove:
      return "remove";
    case list_pending::kind::mail:
      return "mail";
    case list_pending::kind::refund:
      return "refund";
    case list_pending::kind::close:
      return "close";
    case list_pending::kind::timer:
      return "timer";
  }
  return "?";
}

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
