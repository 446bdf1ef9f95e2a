#include "http/gateway/strict_json.hpp"
#include "property.hpp"

#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <set>

using namespace slipway;
using fuzz::require;
namespace json = boost::json;

namespace {

/// Boost's own parser as a second opinion: notes names that occur twice.
struct witness {
  constexpr static std::size_t max_object_size = -1;
  constexpr static std::size_t max_array_size = -1;
  constexpr static std::size_t max_key_size = -1;
  constexpr static std::size_t max_string_size = -1;

  std::vector<std::set<std::string>> names;
  std::string name;
  bool repeats = false;
  std::size_t depth = 0;
  std::size_t deepest = 0;

  bool on_object_begin(json::error_code&) {
    names.emplace_back();
    deepest = std::max(deepest, ++depth);
    return true;
  }

  bool on_object_end(std::size_t, json::error_code&) {
    names.pop_back();
    --depth;
    return true;
  }

  bool on_key_part(json::string_view part, std::size_t, json::error_code&) {
    name += std::string_view{part.data(), part.size()};
    return true;
  }

  bool on_key(json::string_view part, std::size_t, json::error_code&) {
    name += std::string_view{part.data(), part.size()};
    repeats = !names.back().insert(std::move(name)).second || repeats;
    name.clear();
    return true;
  }

  bool on_array_begin(json::error_code&) {
    deepest = std::max(deepest, ++depth);
    return true;
  }

  bool on_array_end(std::size_t, json::error_code&) {
    --depth;
    return true;
  }

  // Nothing else is of interest.
  bool on_document_begin(json::error_code&) {
    return true;
  }

  bool on_document_end(json::error_code&) {
    return true;
  }

  bool on_string_part(json::string_view, std::size_t, json::error_code&) {
    return true;
  }

  bool on_string(json::string_view, std::size_t, json::error_code&) {
    return true;
  }

  bool on_number_part(json::string_view, json::error_code&) {
    return true;
  }

  bool on_int64(std::int64_t, json::string_view, json::error_code&) {
    return true;
  }

  bool on_uint64(std::uint64_t, json::string_view, json::error_code&) {
    return true;
  }

  bool on_double(double, json::string_view, json::error_code&) {
    return true;
  }

  bool on_bool(bool, json::error_code&) {
    return true;
  }

  bool on_null(json::error_code&) {
    return true;
  }

  bool on_comment_part(json::string_view, json::error_code&) {
    return true;
  }

  bool on_comment(json::string_view, json::error_code&) {
    return true;
  }
};

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text_of(data, size);
  const auto object = gateway::parse_object(text);
  if (!object) {
    require(!object.error().empty(), "a refusal says why");
    require(object.error().size() < 1000, "and is brief about it");
    return 0;
  }
  json::parse_options options;
  options.max_depth = 64;
  json::basic_parser<witness> second{options};
  json::error_code error;
  second.write_some(false, text.data(), text.size(), error);
  // 0e4018161602 is a number all right, just not to Boost.
  if (error == json::error::exponent_overflow)
    return 0;
  require(!error, "another parser calls it JSON too");
  require(!second.handler().repeats, "no member occurs twice");
  require(second.handler().deepest <= 17, "nothing is nested deeper than 16");
  require(crypto::is_utf8(text), "it is UTF-8");
  const auto written = json::serialize(*object);
  const auto again = gateway::parse_object(written);
  require(again.has_value(), "what is written is read again");
  require(json::serialize(*again) == written, "and is the same");
  return 0;
}
