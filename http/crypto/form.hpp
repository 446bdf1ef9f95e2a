#pragma once

#include <tl/expected.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::crypto {

/// The fields of a form in the order they came in, decoded once.
using form_fields = std::vector<std::pair<std::string, std::string>>;

/// Why a form was refused.
enum class form_error : std::uint8_t {
  bad_escape,     ///< A `%` without two hex digits behind it.
  duplicate_name, ///< A name that occurs twice, after decoding.
  too_many_fields ///< More fields than the limit.
};

/// The error as a sentence.
[[nodiscard]] std::string_view to_string(form_error error) noexcept;

/// Decodes `application/x-www-form-urlencoded`. `+` and `%20` are a space, hex
/// digits may have either case, nothing is trimmed, values may be empty and the
/// `=` may be missing. Empty fields (`a=1&&b=2`) are skipped.
[[nodiscard]] tl::expected<form_fields, form_error>
decode_form(std::string_view body, std::size_t fields_max = 256);

/// Encodes as a browser does it: a space becomes `+`.
[[nodiscard]] std::string encode_form(const form_fields& fields);

/// Encodes all but the unreserved characters of RFC 3986, a space as `%20`.
[[nodiscard]] std::string percent_encode(std::string_view text);

/// Decodes percent escapes; a `+` stays one.
/// @returns `bad_escape`, or the decoded bytes.
[[nodiscard]] tl::expected<std::string, form_error>
percent_decode(std::string_view text);

/// The value of the field with this name, or nullptr.
[[nodiscard]] const std::string*
find_field(const form_fields& fields, std::string_view name) noexcept;

} // namespace slipway::crypto
