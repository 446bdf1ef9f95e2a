#include "http/cli/json_reading.hpp"

#include "http/cli/safe_text.hpp"

#include <boost/json/serialize.hpp>

namespace slipway::cli {

namespace json = boost::json;

namespace {

const json::object& no_object() {
  static const auto none = json::object{};
  return none;
}

const json::array& no_array() {
  static const auto none = json::array{};
  return none;
}

void write(std::string& out, const json::value& what, std::size_t depth) {
  const auto line = [&](std::size_t at) {
    out += '\n';
    out.append(2 * at, ' ');
  };
  if (what.is_object() && !what.get_object().empty()) {
    auto first = true;
    out += '{';
    for (const auto& [name, value] : what.get_object()) {
      out += first ? "" : ",";
      first = false;
      line(depth + 1);
      out += json::serialize(json::value(name));
      out += ": ";
      write(out, value, depth + 1);
    }
    line(depth);
    out += '}';
  } else if (what.is_array() && !what.get_array().empty()) {
    auto first = true;
    out += '[';
    for (const auto& value : what.get_array()) {
      out += first ? "" : ",";
      first = false;
      line(depth + 1);
      write(out, value, depth + 1);
    }
    line(depth);
    out += ']';
  } else {
    out += json::serialize(what);
  }
}

} // namespace

std::string text_of(const json::value& from) {
  if (from.is_string())
    return std::string{from.get_string()};
  if (from.is_bool())
    return from.get_bool() ? "yes" : "no";
  if (from.is_number())
    return json::serialize(from);
  return {};
}

std::string text_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found == nullptr ? std::string{} : text_of(*found);
}

const json::object& object_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found == nullptr ? no_object() : as_object(*found);
}

const json::array& array_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found == nullptr || !found->is_array() ? no_array()
                                                : found->get_array();
}

bool flag_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found != nullptr && found->is_bool() && found->get_bool();
}

std::int64_t number_of(const json::object& from, std::string_view name) {
  const auto* found = from.if_contains(name);
  return found != nullptr && found->is_int64() ? found->get_int64() : 0;
}

const json::object& as_object(const json::value& from) {
  return from.is_object() ? from.get_object() : no_object();
}

std::string pretty(const json::value& what) {
  auto out = std::string{};
  write(out, what, 0);
  return printable_json(out);
}

} // namespace slipway::cli
