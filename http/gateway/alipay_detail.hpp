#pragma once

#include "http/crypto/form.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// INTERNAL: shared by the alipay_*.cpp of this folder.
namespace slipway::gateway::alipay_detail {

/// For sentences: quoted, at most 80 bytes of it.
[[nodiscard]] std::string in_quotes(std::string_view text);

/// Whether it is a number or name that we store and show: up to 128 bytes of
/// UTF-8 without control characters.
[[nodiscard]] bool is_reference(std::string_view text) noexcept;

/// Whether it can name an order or a refund: 1 to 64 letters, digits or `_`.
[[nodiscard]] bool is_order_id(std::string_view text) noexcept;

/// Joins `name=value` with `&`, sorted by name in byte order, values raw.
/// @param skip says which fields to leave out.
template <class Skip>
[[nodiscard]] std::string
sign_string_of(const crypto::form_fields& fields, Skip skip) {
  std::vector<const std::pair<std::string, std::string>*> sorted;
  sorted.reserve(fields.size());
  std::size_t size = 0;
  for (const auto& field : fields) {
    if (skip(field))
      continue;
    sorted.push_back(&field);
    size += field.first.size() + field.second.size() + 2;
  }
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return a->first < b->first;
  });
  std::string result;
  result.reserve(size);
  for (const auto* field : sorted) {
    if (!result.empty())
      result += '&';
    result += field->first;
    result += '=';
    result += field->second;
  }
  return result;
}

} // namespace slipway::gateway::alipay_detail
