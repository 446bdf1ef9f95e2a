#include "http/gateway/xml.hpp"

#include "http/crypto/text.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <pugixml.hpp>
#include <set>
#include <utility>

namespace slipway::gateway {

namespace {

/// Everything becomes a node, so that nothing is skipped unseen. Entities stay
/// as they are: pugixml leaves unknown ones in the text, `decoded` does not.
constexpr unsigned int parse_all
  = pugi::parse_cdata | pugi::parse_eol | pugi::parse_comments | pugi::parse_pi
    | pugi::parse_declaration | pugi::parse_doctype | pugi::parse_ws_pcdata
    | pugi::parse_fragment;

constexpr std::size_t entity_max = 10; // &#x10FFFF;

rejection refused(reject_reason reason, std::string sentence) {
  return {reason, std::move(sentence)};
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 40;
  auto cut = text.size() > shown_max;
  return crypto::json_quote(text.substr(0, shown_max)) + (cut ? "…" : "");
}

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool is_blank(std::string_view text) noexcept {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return is_blank(c);
  });
}

/// A control character that no XML document can hold, not even escaped. NUL
/// among them, where pugixml would stop and be content.
bool is_forbidden(char c) noexcept {
  return static_cast<unsigned char>(c) < 0x20 && !is_blank(c);
}

/// `Char` of the XML recommendation.
bool is_xml_character(std::uint32_t code) noexcept {
  return code == 0x9 || code == 0xa || code == 0xd
         || (code >= 0x20 && code <= 0xd7ff)
         || (code >= 0xe000 && code <= 0xfffd)
         || (code >= 0x10000 && code <= 0x10ffff);
}

void append_utf8(std::string& to, std::uint32_t code) {
  auto put = [&to](std::uint32_t byte) {
    to += static_cast<char>(static_cast<unsigned char>(byte));
  };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | (code >> 6));
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | (code >> 12));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | (code >> 18));
    put(0x80 | ((code >> 12) & 0x3f));
    put(0x80 | ((code >> 6) & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

/// What stands between `&` and `;` as a character, or nothing.
std::optional<std::uint32_t> character_of(std::string_view entity) noexcept {
  static constexpr std::pair<std::string_view, std::uint32_t> known[]{
    {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"apos", '\''},
  };
  for (const auto& [name, code] : known)
    if (entity == name)
      return code;
  if (!entity.starts_with('#'))
    return std::nullopt;
  entity.remove_prefix(1);
  const auto is_hex = entity.starts_with('x');
  if (is_hex)
    entity.remove_prefix(1);
  if (entity.empty())
    return std::nullopt;
  std::uint32_t code = 0;
  for (auto c : entity) {
    std::uint32_t digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<std::uint32_t>(c - '0');
    else if (is_hex && c >= 'a' && c <= 'f')
      digit = static_cast<std::uint32_t>(c - 'a' + 10);
    else if (is_hex && c >= 'A' && c <= 'F')
      digit = static_cast<std::uint32_t>(c - 'A' + 10);
    else
      return std::nullopt;
    code = code * (is_hex ? 16 : 10) + digit;
    if (code > 0x10ffff)
      return std::nullopt;
  }
  if (!is_xml_character(code))
    return std::nullopt;
  return code;
}

/// Text with its entities replaced, or nothing where one is not known.
std::optional<std::string> decoded(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto start = text.find('&');
    result += text.substr(0, start);
    if (start == std::string_view::npos)
      break;
    text.remove_prefix(start + 1);
    const auto end = text.substr(0, entity_max).find(';');
    if (end == std::string_view::npos)
      return std::nullopt;
    const auto code = character_of(text.substr(0, end));
    if (!code)
      return std::nullopt;
    append_utf8(result, *code);
    text.remove_prefix(end + 1);
  }
  return result;
}

bool same_but_case(std::string_view a, std::string_view lower_case) noexcept {
  return std::equal(a.begin(), a.end(), lower_case.begin(), lower_case.end(),
                    [](char x, char y) {
                      return (x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x) == y;
                    });
}

/// Whether an XML declaration may say so.
bool is_declared(std::string_view name, std::string_view value) noexcept {
  if (name == "version")
    return value == "1.0";
  if (name == "encoding")
    return same_but_case(value, "utf-8");
  return name == "standalone" && (value == "yes" || value == "no");
}

/// The root, where it is the only element and nothing else of weight is there.
tl::expected<pugi::xml_node, rejection>
root_of(const pugi::xml_document& document, std::string_view name) {
  using enum reject_reason;
  pugi::xml_node root;
  bool is_first = true;
  for (auto node : document.children()) {
    switch (node.type()) {
      case pugi::node_comment:
        break;
      case pugi::node_declaration:
        if (!is_first)
          return tl::make_unexpected(
            refused(malformed_xml, "an XML declaration in the middle"));
        for (auto attribute : node.attributes())
          if (!is_declared(attribute.name(), attribute.value()))
            return tl::make_unexpected(
              refused(malformed_xml, "the XML declaration says "
                                       + in_quotes(attribute.name()) + " is "
                                       + in_quotes(attribute.value())
                                       + "; expected version 1.0 and UTF-8"));
        break;
      case pugi::node_element:
        if (root)
          return tl::make_unexpected(
            refused(malformed_message, "a second document follows the first"));
        root = node;
        break;
      case pugi::node_pcdata:
        if (is_blank(std::string_view{node.value()}))
          continue;
        [[fallthrough]];
      default:
        return tl::make_unexpected(
          refused(root ? malformed_message : malformed_xml,
                  "something else than an element at the top"));
    }
    is_first = false;
  }
  if (!root)
    return tl::make_unexpected(refused(
      malformed_xml, "no element; expected <" + std::string{name} + ">"));
  if (name != root.name())
    return tl::make_unexpected(
      refused(malformed_message, "the root is " + in_quotes(root.name())
                                   + "; expected " + std::string{name}));
  if (root.first_attribute())
    return tl::make_unexpected(
      refused(malformed_message, "the root has an attribute"));
  return root;
}

tl::expected<std::string, rejection> value_of(pugi::xml_node element) {
  using enum reject_reason;
  auto wrong = [element](reject_reason reason, std::string_view what) {
    return tl::make_unexpected(
      refused(reason, in_quotes(element.name()) + ' ' + std::string{what}));
  };
  if (element.first_attribute())
    return wrong(malformed_message, "has an attribute");
  auto piece = element.first_child();
  if (!piece)
    return std::string{};
  if (piece.next_sibling())
    return wrong(malformed_message, "holds more than one piece of text");
  if (piece.type() == pugi::node_cdata)
    return std::string{piece.value()};
  if (piece.type() != pugi::node_pcdata)
    return wrong(malformed_message, "holds something else than text");
  auto value = decoded(piece.value());
  if (!value)
    return wrong(malformed_xml, "holds an entity that nobody defined");
  return std::move(*value);
}

} // namespace

tl::expected<crypto::form_fields, rejection>
parse_flat_xml(std::string_view text, std::string_view root,
               const xml_limits& limits) {
  using enum reject_reason;
  if (text.size() > limits.bytes)
    return tl::make_unexpected(
      refused(malformed_body, "the body has " + std::to_string(text.size())
                                + " bytes; expected up to "
                                + std::to_string(limits.bytes)));
  if (!crypto::is_utf8(text)
      || std::any_of(text.begin(), text.end(), is_forbidden))
    return tl::make_unexpected(
      refused(malformed_xml, "not UTF-8, or a character that XML forbids"));
  pugi::xml_document document;
  const auto parsed = document.load_buffer(text.data(), text.size(), parse_all,
                                           pugi::encoding_utf8);
  // Even a failed parse leaves what came before: a DOCTYPE is told first.
  const auto children = document.children();
  if (parsed.status == pugi::status_bad_doctype
      || std::any_of(children.begin(), children.end(), [](pugi::xml_node node) {
           return node.type() == pugi::node_doctype;
         }))
    return tl::make_unexpected(
      refused(doctype_forbidden, "the document has a DOCTYPE"));
  if (!parsed)
    return tl::make_unexpected(
      refused(malformed_xml, "no XML: " + std::string{parsed.description()}
                               + " at byte " + std::to_string(parsed.offset)));
  const auto top = root_of(document, root);
  if (!top)
    return tl::make_unexpected(top.error());
  crypto::form_fields fields;
  std::set<std::string_view> names;
  for (auto node : top->children()) {
    if (node.type() == pugi::node_comment
        || (node.type() == pugi::node_pcdata
            && is_blank(std::string_view{node.value()})))
      continue;
    if (node.type() != pugi::node_element)
      return tl::make_unexpected(
        refused(malformed_message, "something else than elements in the root"));
    if (fields.size() == limits.elements)
      return tl::make_unexpected(
        refused(malformed_message,
                "more than " + std::to_string(limits.elements) + " elements"));
    if (!names.insert(node.name()).second)
      return tl::make_unexpected(
        refused(duplicate_element, in_quotes(node.name()) + " occurs twice"));
    auto value = value_of(node);
    if (!value)
      return tl::make_unexpected(std::move(value.error()));
    fields.emplace_back(node.name(), std::move(*value));
  }
  return fields;
}

std::string
write_flat_xml(std::string_view root, const crypto::form_fields& fields) {
  std::string result;
  auto tag = [&result](std::string_view opens, std::string_view name) {
    result += opens;
    result += name;
    result += '>';
  };
  tag("<", root);
  for (const auto& [name, value] : fields) {
    tag("<", name);
    for (auto c : crypto::to_valid_utf8(value)) {
      if (c == '&')
        result += "&amp;";
      else if (c == '<')
        result += "&lt;";
      else if (c == '>')
        result += "&gt;";
      else if (c == '\r') // A reader would make a line feed of it.
        result += "&#13;";
      else if (is_forbidden(c))
        result += "\xef\xbf\xbd";
      else
        result += c;
    }
    tag("</", name);
  }
  tag("</", root);
  return result;
}

} // namespace slipway::gateway
