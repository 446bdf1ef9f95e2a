#include "http/crypto/form.hpp"

#include <algorithm>

namespace slipway::crypto {

namespace {

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

bool is_unreserved(char c) noexcept {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
         || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'
         || c == '~';
}

/// Decodes percent escapes into `out`, which is empty.
/// @returns false on a bad escape.
bool decode_into(std::string_view text, bool plus_is_space, std::string& out) {
  const auto special
    = plus_is_space ? std::string_view{"%+"} : std::string_view{"%"};
  // Most of it is copied as it is.
  if (text.find_first_of(special) == std::string_view::npos) {
    out = text;
    return true;
  }
  out.resize(text.size());
  auto* to = out.data();
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = text[i];
    if (c == '%') {
      if (text.size() - i < 3)
        return false;
      const auto high = hex_value(text[i + 1]);
      const auto low = hex_value(text[i + 2]);
      if (high < 0 || low < 0)
        return false;
      *to++ = static_cast<char>(high << 4 | low);
      i += 2;
    } else {
      *to++ = c == '+' && plus_is_space ? ' ' : c;
    }
  }
  out.resize(static_cast<std::size_t>(to - out.data()));
  return true;
}

void encode_into(std::string_view text, std::string_view space,
                 std::string& out) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  for (auto c : text) {
    if (is_unreserved(c)) {
      out += c;
    } else if (c == ' ') {
      out += space;
    } else {
      out += '%';
      out += digits[static_cast<unsigned char>(c) >> 4];
      out += digits[static_cast<unsigned char>(c) & 15];
    }
  }
}

bool has_duplicate(const form_fields& fields) {
  std::vector<std::string_view> names;
  names.reserve(fields.size());
  for (const auto& [name, value] : fields)
    names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) != names.end();
}

} // namespace

std::string_view to_string(form_error error) noexcept {
  switch (error) {
    case form_error::bad_escape:
      return "a percent sign is not followed by two hex digits";
    case form_error::duplicate_name:
      return "a field occurs twice";
    case form_error::too_many_fields:
      return "there are too many fields";
  }
  return "unknown error";
}

tl::expected<form_fields, form_error>
decode_form(std::string_view body, std::size_t fields_max) {
  form_fields fields;
  while (!body.empty()) {
    auto end = body.find('&');
    auto field = body.substr(0, end);
    body.remove_prefix(end == std::string_view::npos ? body.size() : end + 1);
    if (field.empty())
      continue;
    if (fields.size() == fields_max)
      return tl::make_unexpected(form_error::too_many_fields);
    auto equals = field.find('=');
    auto& [name, value] = fields.emplace_back();
    if (!decode_into(field.substr(0, equals), true, name))
      return tl::make_unexpected(form_error::bad_escape);
    if (equals != std::string_view::npos
        && !decode_into(field.substr(equals + 1), true, value))
      return tl::make_unexpected(form_error::bad_escape);
  }
  if (has_duplicate(fields))
    return tl::make_unexpected(form_error::duplicate_name);
  return fields;
}

std::string encode_form(const form_fields& fields) {
  std::string result;
  for (const auto& [name, value] : fields) {
    if (!result.empty())
      result += '&';
    encode_into(name, "+", result);
    result += '=';
    encode_into(value, "+", result);
  }
  return result;
}

std::string percent_encode(std::string_view text) {
  std::string result;
  result.reserve(text.size());
  encode_into(text, "%20", result);
  return result;
}

tl::expected<std::string, form_error> percent_decode(std::string_view text) {
  std::string result;
  if (!decode_into(text, false, result))
    return tl::make_unexpected(form_error::bad_escape);
  return result;
}

const std::string*
find_field(const form_fields& fields, std::string_view name) noexcept {
  for (const auto& field : fields)
    if (field.first == name)
      return &field.second;
  return nullptr;
}

} // namespace slipway::crypto
