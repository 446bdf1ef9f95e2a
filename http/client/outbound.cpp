#include "http/client/outbound.hpp"

#include <algorithm>
#include <array>

namespace slipway::client {

namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_names(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return lower(x) == lower(y);
  });
}

constexpr std::array<std::string_view, 4> kind_names{
  "not_sent",
  "in_doubt",
  "too_large",
  "refused",
};

static_assert(kind_names.size()
              == static_cast<std::size_t>(failure_kind::refused) + 1);

} // namespace

std::optional<std::string_view>
find_header(const header_list& headers, std::string_view name) noexcept {
  for (const auto& header : headers)
    if (equal_names(header.first, name))
      return header.second;
  return std::nullopt;
}

std::string_view to_string(failure_kind kind) noexcept {
  return kind_names[static_cast<std::size_t>(kind)];
}

} // namespace slipway::client
