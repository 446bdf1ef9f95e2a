#pragma once

#include "http/crypto/form.hpp"
#include "http/gateway/protocol.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <string>
#include <string_view>

/// The XML of WeChat Pay APIv2: one root with named values below it, and
/// nothing else. Callable from any thread.
namespace slipway::gateway {

struct xml_limits {
  std::size_t bytes = 64 * 1024;
  std::size_t elements = 256;
};

/// Reads `<ROOT><name>value</name>…</ROOT>`, each value as one piece of text or
/// one CDATA section, in the order received. What two readers of XML could see
/// differently is refused instead of understood. Nothing is ever fetched.
///
/// Taken: an XML declaration in UTF-8, blanks and comments between elements,
/// the five entities of XML itself and character references.
///
/// @returns the reason with a sentence:
///   `malformed_body`: longer than the limit;
///   `doctype_forbidden`: a DOCTYPE, wherever and of whatever content;
///   `malformed_xml`: no XML, not UTF-8, or an entity that nobody defined;
///   `duplicate_element`: a name that occurs twice;
///   `malformed_message`: XML of another shape (another root, two of them, text
///   beside elements, elements in elements, attributes, a value in pieces, too
///   many elements).
[[nodiscard]] tl::expected<crypto::form_fields, rejection>
parse_flat_xml(std::string_view text, std::string_view root,
               const xml_limits& limits = {});

/// Writes the same form, values escaped, without blanks. What XML cannot hold
/// (control characters, bytes that are no UTF-8) becomes U+FFFD.
/// @param fields their names must be names of XML, each once.
[[nodiscard]] std::string
write_flat_xml(std::string_view root, const crypto::form_fields& fields);

} // namespace slipway::gateway
