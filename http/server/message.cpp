#include "http/server/message.hpp"

#include "actors/observe/text.hpp"
#include "http/server/target.hpp"

#include <algorithm>

namespace slipway::http {

namespace {

constexpr char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

} // namespace

std::string_view to_string(method verb) noexcept {
  switch (verb) {
    case method::get:
      return "GET";
    case method::head:
      return "HEAD";
    case method::post:
      return "POST";
    case method::put:
      return "PUT";
    case method::delete_:
      return "DELETE";
    case method::patch:
      return "PATCH";
    case method::options:
      return "OPTIONS";
    case method::other:
      break;
  }
  return "OTHER";
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return lower(x) == lower(y);
  });
}

std::optional<std::string_view>
fields::find(std::string_view name) const noexcept {
  for (const auto& [key, value] : entries_)
    if (same_name(key, name))
      return std::string_view{value};
  return std::nullopt;
}

std::size_t fields::count(std::string_view name) const noexcept {
  return static_cast<std::size_t>(
    std::count_if(entries_.begin(), entries_.end(), [&](const entry& x) {
      return same_name(x.first, name);
    }));
}

const std::string& request::param(std::size_t n) const noexcept {
  static const std::string none;
  return n < params.size() ? params[n] : none;
}

std::string_view request::query_string() const noexcept {
  auto text = std::string_view{target};
  if (auto hash = text.find('#'); hash != std::string_view::npos)
    text = text.substr(0, hash);
  auto mark = text.find('?');
  return mark == std::string_view::npos ? std::string_view{}
                                        : text.substr(mark + 1);
}

std::optional<std::string> request::query(std::string_view name) const {
  auto rest = query_string();
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const auto pair = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto equals = pair.find('=');
    const auto key = percent_decode(pair.substr(0, equals), plus::is_blank);
    if (!key || *key != name || pair.empty())
      continue;
    if (equals == std::string_view::npos)
      return std::string{};
    return percent_decode(pair.substr(equals + 1), plus::is_blank);
  }
  return std::nullopt;
}

response error_response(int status, std::string_view error,
                        std::string_view message, std::string_view request_id) {
  response result;
  result.status = status;
  result.body.reserve(96 + error.size() + message.size() + request_id.size());
  result.body += R"({"success":false,"message":)";
  result.body += json_quote(message);
  result.body += R"(,"error":)";
  result.body += json_quote(error);
  result.body += R"(,"requestId":)";
  result.body += json_quote(request_id);
  result.body += '}';
  return result;
}

std::string json_quote(std::string_view text) {
  return observe::quoted(text);
}

} // namespace slipway::http
