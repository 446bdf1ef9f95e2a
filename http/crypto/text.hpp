#pragma once

#include <string>
#include <string_view>

namespace slipway::crypto {

/// Escapes `& < > " '` for HTML text and for quoted attributes.
[[nodiscard]] std::string html_escape(std::string_view text);

/// Escapes for the inside of a JSON string, without the quotes around it. UTF-8
/// stays as it is; every byte that is not part of valid UTF-8 becomes U+FFFD.
[[nodiscard]] std::string json_escape(std::string_view text);

/// `json_escape` with quotes around it.
[[nodiscard]] std::string json_quote(std::string_view text);

/// Whether the text is well-formed UTF-8 (no surrogates, no overlong forms).
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// The text with every byte that is not part of valid UTF-8 as U+FFFD.
[[nodiscard]] std::string to_valid_utf8(std::string_view text);

/// Whether the text holds an ASCII control character, NUL and DEL included.
[[nodiscard]] bool has_control(std::string_view text) noexcept;

} // namespace slipway::crypto
