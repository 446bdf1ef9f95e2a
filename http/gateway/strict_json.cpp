#include "http/gateway/strict_json.hpp"

#include "http/crypto/text.hpp"

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>

#include <simdjson.h>

namespace slipway::gateway {

namespace json = boost::json;
namespace dom = simdjson::dom;

namespace {

constexpr int depth_max = 16;

/// Copies what simdjson has parsed; its objects keep repeated members.
class converter {
public:
  std::string problem;

  json::value value(const dom::element& from, int depth) {
    switch (from.type()) {
      case dom::element_type::OBJECT:
        return object(from.get_object().value_unsafe(), depth + 1);
      case dom::element_type::ARRAY:
        return array(from.get_array().value_unsafe(), depth + 1);
      case dom::element_type::INT64:
        return json::value(from.get_int64().value_unsafe());
      case dom::element_type::UINT64:
        return json::value(from.get_uint64().value_unsafe());
      case dom::element_type::DOUBLE:
        return json::value(from.get_double().value_unsafe());
      case dom::element_type::STRING:
        return json::value(from.get_string().value_unsafe());
      case dom::element_type::BOOL:
        return json::value(from.get_bool().value_unsafe());
      case dom::element_type::NULL_VALUE:
        return json::value(nullptr);
    }
    return json::value(nullptr);
  }

  json::object object(const dom::object& from, int depth) {
    auto out = json::object{};
    if (too_deep(depth))
      return out;
    for (const auto& [name, member] : from) {
      if (!problem.empty())
        return out;
      if (out.contains(name)) {
        problem = "duplicate member " + crypto::json_quote(name.substr(0, 80));
        return out;
      }
      out.emplace(name, value(member, depth));
    }
    return out;
  }

private:
  json::array array(const dom::array& from, int depth) {
    auto out = json::array{};
    if (too_deep(depth))
      return out;
    for (const auto& member : from) {
      if (!problem.empty())
        return out;
      out.push_back(value(member, depth));
    }
    return out;
  }

  bool too_deep(int depth) {
    if (depth > depth_max && problem.empty())
      problem = "nested deeper than 16";
    return depth > depth_max;
  }
};

} // namespace

tl::expected<json::object, std::string> parse_object(std::string_view text) {
  auto parser = dom::parser{};
  const auto padded = simdjson::padded_string{text};
  auto root = dom::element{};
  if (const auto error = parser.parse(padded).get(root))
    return tl::unexpected{std::string{"not JSON: "}
                          + simdjson::error_message(error)};
  if (!root.is_object())
    return tl::unexpected{std::string{"expected a JSON object"}};
  auto made = converter{};
  auto out = made.object(root.get_object().value_unsafe(), 1);
  if (!made.problem.empty())
    return tl::unexpected{std::move(made.problem)};
  return out;
}

std::optional<std::string>
text_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  if (found == nullptr || !found->is_string())
    return std::nullopt;
  return std::string{found->get_string()};
}

const json::object* object_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found == nullptr ? nullptr : found->if_object();
}

std::optional<std::int64_t>
integer_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  if (found == nullptr || !found->is_int64())
    return std::nullopt;
  return found->get_int64();
}

} // namespace slipway::gateway
