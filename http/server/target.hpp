#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// INTERNAL: What a request line's target means.
namespace slipway::http {

/// Whether two header names are the same but for the case of letters.
[[nodiscard]] bool same_name(std::string_view a, std::string_view b) noexcept;

/// What `+` means.
enum class plus : std::uint8_t { is_plus, is_blank };

/// Replaces each `%XX`. @returns nothing when an escape is malformed.
[[nodiscard]] std::optional<std::string>
percent_decode(std::string_view text, plus sign);

/// Length of the well-formed UTF-8 sequence at the front; 0 when there is none.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// Checks a target (origin-form, absolute-form or `*`) and brings its path into
/// the form of `request::path`.
/// @returns what is wrong with it, or null.
[[nodiscard]] const char*
read_target(std::string_view target, std::string& path);

} // namespace slipway::http
