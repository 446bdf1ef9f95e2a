#include "http/crypto/encoding.hpp"

#include <array>
#include <cstddef>
#include <cstdint>

namespace slipway::crypto {

namespace {

constexpr std::string_view standard_alphabet
  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::string_view url_alphabet
  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

constexpr std::uint8_t no_digit = 0xff;

constexpr std::array<std::uint8_t, 256>
reverse_of(std::string_view alphabet) noexcept {
  std::array<std::uint8_t, 256> result{};
  for (auto& value : result)
    value = no_digit;
  for (std::size_t i = 0; i < alphabet.size(); ++i)
    result[static_cast<unsigned char>(alphabet[i])]
      = static_cast<std::uint8_t>(i);
  return result;
}

constexpr auto standard_digits = reverse_of(standard_alphabet);
constexpr auto url_digits = reverse_of(url_alphabet);

std::uint32_t byte_at(std::string_view bytes, std::size_t index) noexcept {
  return static_cast<unsigned char>(bytes[index]);
}

std::string
encode(std::string_view bytes, std::string_view alphabet, bool padded) {
  std::string result;
  result.reserve((bytes.size() + 2) / 3 * 4);
  std::size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    auto group = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8
                 | byte_at(bytes, i + 2);
    result += alphabet[group >> 18];
    result += alphabet[group >> 12 & 63];
    result += alphabet[group >> 6 & 63];
    result += alphabet[group & 63];
  }
  auto left = bytes.size() - i;
  if (left == 1) {
    auto group = byte_at(bytes, i) << 16;
    result += alphabet[group >> 18];
    result += alphabet[group >> 12 & 63];
    if (padded)
      result += "==";
  } else if (left == 2) {
    auto group = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8;
    result += alphabet[group >> 18];
    result += alphabet[group >> 12 & 63];
    result += alphabet[group >> 6 & 63];
    if (padded)
      result += '=';
  }
  return result;
}

/// Decodes digits without padding.
std::optional<std::string>
decode(std::string_view text, const std::array<std::uint8_t, 256>& digits) {
  auto tail = text.size() % 4;
  if (tail == 1)
    return std::nullopt;
  std::string result;
  result.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t group = 0;
  std::size_t count = 0;
  for (auto c : text) {
    auto value = digits[static_cast<unsigned char>(c)];
    if (value == no_digit)
      return std::nullopt;
    group = group << 6 | value;
    if (++count == 4) {
      result += static_cast<char>(group >> 16 & 255);
      result += static_cast<char>(group >> 8 & 255);
      result += static_cast<char>(group & 255);
      group = 0;
      count = 0;
    }
  }
  // The bits behind the last byte must be zero, or one byte string would have
  // several texts.
  if (count == 2) {
    if ((group & 15) != 0)
      return std::nullopt;
    result += static_cast<char>(group >> 4 & 255);
  } else if (count == 3) {
    if ((group & 3) != 0)
      return std::nullopt;
    result += static_cast<char>(group >> 10 & 255);
    result += static_cast<char>(group >> 2 & 255);
  }
  return result;
}

int hex_value(char c) noexcept {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  return -1;
}

} // namespace

std::string base64_encode(std::string_view bytes) {
  return encode(bytes, standard_alphabet, true);
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0)
    return std::nullopt;
  for (int i = 0; i < 2 && !text.empty() && text.back() == '='; ++i)
    text.remove_suffix(1);
  return decode(text, standard_digits);
}

std::string base64url_encode(std::string_view bytes) {
  return encode(bytes, url_alphabet, false);
}

std::optional<std::string> base64url_decode(std::string_view text) {
  return decode(text, url_digits);
}

std::string hex_encode(std::string_view bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result;
  result.reserve(bytes.size() * 2);
  for (auto c : bytes) {
    result += digits[static_cast<unsigned char>(c) >> 4];
    result += digits[static_cast<unsigned char>(c) & 15];
  }
  return result;
}

std::optional<std::string> hex_decode(std::string_view text) {
  if (text.size() % 2 != 0)
    return std::nullopt;
  std::string result;
  result.reserve(text.size() / 2);
  for (std::size_t i = 0; i < text.size(); i += 2) {
    auto high = hex_value(text[i]);
    auto low = hex_value(text[i + 1]);
    if (high < 0 || low < 0)
      return std::nullopt;
    result += static_cast<char>(high << 4 | low);
  }
  return result;
}

} // namespace slipway::crypto
