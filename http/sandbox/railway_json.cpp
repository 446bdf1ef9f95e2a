#include "http/sandbox/railway_json.hpp"

namespace slipway::sandbox::railway {

namespace json = boost::json;

std::string text_of(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr || !value->is_string())
    return "";
  return {value->get_string().data(), value->get_string().size()};
}

std::optional<std::int64_t>
number_of(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  if (value == nullptr || !value->is_int64())
    return std::nullopt;
  return value->get_int64();
}

bool flag_of(const json::object& from, std::string_view name) {
  const auto* value = from.if_contains(name);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::object& object_of(const json::object& from, std::string_view name) {
  static const json::object none;
  const auto* value = from.if_contains(name);
  return value != nullptr && value->is_object() ? value->get_object() : none;
}

json::object& object_in(json::object& of, std::string_view name) {
  auto& value = of[name];
  if (!value.is_object())
    value = json::object{};
  return value.get_object();
}

json::value merged(json::value under, const json::value& patch) {
  if (!patch.is_object())
    return patch;
  auto result
    = under.is_object() ? std::move(under.get_object()) : json::object{};
  for (const auto& each : patch.get_object()) {
    if (each.value().is_null()) {
      result.erase(each.key());
      continue;
    }
    auto& place = result[each.key()];
    place = merged(std::move(place), each.value());
  }
  return json::value(std::move(result));
}

} // namespace slipway::sandbox::railway
