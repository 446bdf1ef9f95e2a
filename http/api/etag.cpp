#include "http/api/etag.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/server/target.hpp"

#include <algorithm>

namespace slipway::api {

namespace {

/// Enough of the digest for nobody to meet two bodies under one tag.
constexpr auto digits = std::size_t{32};

constexpr auto blanks = std::string_view{" \t"};

void skip(std::string_view& text, std::string_view what) {
  text.remove_prefix(std::min(text.find_first_not_of(what), text.size()));
}

/// Whether one of the listed tags is this one. Weak ones count: it is about the
/// same content.
bool lists(std::string_view text, std::string_view tag) {
  for (;;) {
    skip(text, " \t,");
    if (text.empty())
      return false;
    if (text.substr(0, 2) == "W/")
      text.remove_prefix(2);
    if (text.empty() || text.front() != '"')
      return false;
    const auto end = text.find('"', 1);
    if (end == text.npos)
      return false;
    if (text.substr(0, end + 1) == tag)
      return true;
    text.remove_prefix(end + 1);
    skip(text, blanks);
    if (!text.empty() && text.front() != ',')
      return false;
  }
}

} // namespace

std::string etag_of(std::string_view body) {
  auto out = std::string{'"'};
  out += crypto::hex_encode(crypto::sha256(body)).substr(0, digits);
  out += '"';
  return out;
}

bool is_known(const http::request& in, std::string_view tag) {
  for (const auto& [name, value] : in.headers) {
    if (!http::same_name(name, "If-None-Match"))
      continue;
    auto text = std::string_view{value};
    skip(text, blanks);
    if (text.substr(0, 1) == "*"
        && text.find_first_not_of(blanks, 1) == text.npos)
      return true;
    if (lists(text, tag))
      return true;
  }
  return false;
}

} // namespace slipway::api
