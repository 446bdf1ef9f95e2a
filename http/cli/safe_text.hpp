#pragma once

#include <cstddef>
#include <string>
#include <string_view>

/// Text from outside on a person's terminal. A terminal obeys what it is sent,
/// so nothing of it may be an order. All functions are pure, and take any
/// bytes.
namespace slipway::cli {

/// One line of text: control and format characters (escape sequences, line
/// breaks, changes of the writing direction) are spelt out as `\x1b`, `\n` or
/// `\u{202e}`, and what is no UTF-8 becomes U+FFFD.
[[nodiscard]] std::string printable(std::string_view text);

/// The same with line breaks kept, and tabs as blanks.
[[nodiscard]] std::string printable_lines(std::string_view text);

/// The same for JSON text: what `printable` spells out is written as JSON's
/// `\uXXXX`, so that it means what it did.
/// @pre `text` is JSON.
[[nodiscard]] std::string printable_json(std::string_view text);

/// How many columns of a terminal the text takes; East Asian wide characters
/// take two, combining marks none.
[[nodiscard]] std::size_t width_of(std::string_view text);

/// Cuts the text so that it takes at most `columns`, and ends what was cut with
/// `ellipsis`. Characters are not torn from their combining marks.
[[nodiscard]] std::string
fit(std::string_view text, std::size_t columns, std::string_view ellipsis);

} // namespace slipway::cli
