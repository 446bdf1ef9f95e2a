#include "http/gateway/xml.hpp"

#include "property.hpp"

#include <string>

using namespace slipway;
using fuzz::require;

namespace {

/// The text without its comments and CDATA sections.
std::string markup_of(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    auto skip = [&text](std::string_view opening, std::string_view closing) {
      if (!text.starts_with(opening))
        return false;
      const auto end = text.find(closing, opening.size());
      text.remove_prefix(end == std::string_view::npos ? text.size()
                                                       : end + closing.size());
      return true;
    };
    if (skip("<!--", "-->") || skip("<![CDATA[", "]]>"))
      continue;
    result += text.front();
    text.remove_prefix(1);
  }
  return result;
}

bool is_taken(const std::string& text) {
  return gateway::parse_flat_xml(text, "xml").has_value();
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text{fuzz::text_of(data, size)};
  const auto fields = gateway::parse_flat_xml(fuzz::text_of(data, size), "xml");
  if (!fields) {
    require(!fields.error().sentence.empty(), "a refusal says why");
    require(fields.error().sentence.size() < 500, "and is brief about it");
    require(crypto::is_utf8(fields.error().sentence), "and speaks UTF-8");
    return 0;
  }
  require(!fuzz::has_duplicate(*fields), "no element occurs twice");
  require(fields->size() <= 256, "no more elements than the limit");
  require(markup_of(text).find("<!") == std::string::npos,
          "a document type is never taken");
  for (const auto& [name, value] : *fields) {
    require(!name.empty() && name.find_first_of("=&<> \n") == std::string::npos,
            "a name cannot be mistaken for more");
    require(crypto::is_utf8(value), "a value is UTF-8");
    require(std::none_of(value.begin(), value.end(),
                         [](char c) {
                           return static_cast<unsigned char>(c) < 0x20
                                  && c != '\t' && c != '\n' && c != '\r';
                         }),
            "a value holds no control characters");
  }
  // Nothing can hide behind or before.
  for (auto more : {"<xml/>", "<xml><a>1</a></xml>", "x", "&amp;",
                    "<!DOCTYPE x>", "<![CDATA[ ]]>", "</xml>"})
    require(!is_taken(text + more), "nothing follows a document");
  require(!is_taken("<!DOCTYPE xml>" + text), "no document type goes before");
  const auto again = gateway::parse_flat_xml(
    gateway::write_flat_xml("xml", *fields), "xml", {1024 * 1024, 256});
  require(again && *again == *fields, "what is written is read again");
  return 0;
}
