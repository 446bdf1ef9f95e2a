#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace slipway::observe {

/// Bytes of the UTF-8 character that `text` begins with; 0 when it begins with
/// none (cut off, overlong, a surrogate, beyond U+10FFFF).
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

/// Appends `text` as the inside of a JSON string: valid UTF-8 on one line,
/// whatever came. Bytes that are no UTF-8 become U+FFFD; quotes, backslashes
/// and everything that a terminal or a line reader could take for an order (C0,
/// DEL, C1, U+2028, U+2029) become escapes.
void append_escaped(std::string& to, std::string_view text);

/// The same without a backslash in front of quotes and backslashes: for lines
/// that people read.
void append_printable(std::string& to, std::string_view text);

/// `text` as a JSON string with its quotes.
[[nodiscard]] std::string quoted(std::string_view text);

} // namespace slipway::observe
