#define CAF_SUITE gateway.xml

#include "http/gateway/xml.hpp"

#include <caf/test/unit_test.hpp>

#include <random>

using namespace slipway;
using namespace slipway::gateway;

namespace {

using fields = crypto::form_fields;

/// The name of the reason, or `taken`.
std::string end_of(std::string_view text) {
  auto parsed = parse_flat_xml(text, "xml");
  if (parsed)
    return "taken";
  CAF_CHECK(!parsed.error().sentence.empty());
  CAF_CHECK(parsed.error().sentence.size() < 300);
  return std::string{to_string(parsed.error().reason)};
}

/// The only value of a document.
std::string value_in(std::string_view text) {
  auto parsed = parse_flat_xml(text, "xml");
  if (!parsed)
    return "refused: " + parsed.error().sentence;
  CAF_REQUIRE_EQUAL(parsed->size(), 1u);
  return parsed->front().second;
}

} // namespace

CAF_TEST(values come in their order from text and from CDATA) {
  auto parsed = parse_flat_xml("<xml><b>1</b><a><![CDATA[<2> & ]]></a><c/>"
                               "<d></d><e><![CDATA[]]></e></xml>",
                               "xml");
  CAF_REQUIRE(parsed.has_value());
  CAF_CHECK(
    *parsed
    == (fields{{"b", "1"}, {"a", "<2> & "}, {"c", ""}, {"d", ""}, {"e", ""}}));
}

CAF_TEST(a declaration and blanks and comments between elements are nothing) {
  CAF_CHECK_EQUAL(
    value_in(
      "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n"
      "<!-- a --><xml>\n\t<!-- <a>2</a> --><a>1</a>\n</xml>\n<!--b-->\n"),
    "1");
  CAF_CHECK_EQUAL(value_in("<?xml version='1.0'?><xml><a>1</a></xml>"), "1");
  CAF_CHECK_EQUAL(end_of("<xml></xml>"), "taken");
  CAF_CHECK_EQUAL(end_of("<xml/>"), "taken");
  CAF_CHECK_EQUAL(end_of("<?xml version='1.0' encoding='GBK'?><xml/>"),
                  "malformed_xml");
  CAF_CHECK_EQUAL(end_of("<?xml version='1.0' standalone='yes'?><xml/>"),
                  "taken");
  for (auto said : {"version='1.1'", "v='<!'", "version='1.0' a='1'",
                    "version='1.0' standalone='1'"})
    CAF_CHECK_EQUAL(end_of("<?xml " + std::string{said} + "?><xml/>"),
                    "malformed_xml");
  CAF_CHECK_EQUAL(end_of("<xml/><?xml version='1.0'?>"), "malformed_xml");
  CAF_CHECK_EQUAL(end_of("<?go there?><xml/>"), "malformed_xml");
}

CAF_TEST(blanks inside of a value are part of it) {
  CAF_CHECK_EQUAL(value_in("<xml><a> 1 </a></xml>"), " 1 ");
  CAF_CHECK_EQUAL(value_in("<xml><a>  </a></xml>"), "  ");
  CAF_CHECK_EQUAL(value_in("<xml><a>1\r\n2\r3</a></xml>"), "1\n2\n3");
  CAF_CHECK_EQUAL(value_in("<xml><a>1&#13;2</a></xml>"), "1\r2");
}

CAF_TEST(just the entities of XML itself are replaced and only once) {
  CAF_CHECK_EQUAL(value_in("<xml><a>&lt;&gt;&amp;&quot;&apos;</a></xml>"),
                  "<>&\"'");
  CAF_CHECK_EQUAL(value_in("<xml><a>&amp;lt;&amp;#49;</a></xml>"), "&lt;&#49;");
  CAF_CHECK_EQUAL(value_in("<xml><a>&#49;&#x32;&#x4E00;&#20108;&#x1F600;</a>"
                           "</xml>"),
                  "12\xe4\xb8\x80\xe4\xba\x8c\xf0\x9f\x98\x80");
  CAF_CHECK_EQUAL(value_in("<xml><a><![CDATA[&lt;&x;]]></a></xml>"), "&lt;&x;");
  for (auto bad :
       {"&x;", "&", "a&b", "& ;", "&;", "&#;", "&#x;", "&#xg;", "&#0;", "&#1;",
        "&#xD800;", "&#xFFFF;", "&#x110000;", "&#99999999999999999999;", "&LT;",
        "&nbsp;", "&amp", "&#-1;", "&#X41;"})
    CAF_CHECK_EQUAL(end_of("<xml><a>" + std::string{bad} + "</a></xml>"),
                    "malformed_xml");
}

CAF_TEST(a DOCTYPE is told from everything else that is wrong) {
  for (auto text :
       {"<!DOCTYPE xml><xml><a>1</a></xml>", "<xml/><!DOCTYPE xml>",
        "<xml><!DOCTYPE xml></xml>", "<xml><a><!DOCTYPE xml>1</a></xml>",
        "<?xml version='1.0'?><!DOCTYPE xml SYSTEM \"file:///etc/passwd\">"
        "<xml/>",
        "<!DOCTYPE xml [<!ENTITY x SYSTEM 'http://127.0.0.1:1/'>]>"
        "<xml><a>&x;</a></xml>",
        "<!DOCTYPE z [<!ENTITY a \"x\"><!ENTITY b \"&a;&a;\">]>"
        "<xml><a>&b;</a></xml>",
        "<!DOCTYPE z [<!ENTITY % p SYSTEM 'file:///x'> %p;]><xml/>",
        "<!DOCTYPE xml", "<!DOCTYPE", "<!DOCTYPE xml><xml><a>1</b>",
        "<!DOCTYPE xml><xml><a/><a/></xml>"})
    CAF_CHECK_EQUAL(end_of(text), "doctype_forbidden");
  // Text that only looks like one.
  CAF_CHECK_EQUAL(value_in("<xml><a><![CDATA[<!DOCTYPE xml>]]></a></xml>"),
                  "<!DOCTYPE xml>");
  CAF_CHECK_EQUAL(end_of("<!doctype xml><xml/>"), "malformed_xml");
}

CAF_TEST(what is no XML is refused) {
  using namespace std::string_literals;
  for (const auto& text :
       {""s, " "s, "xml"s, "<"s, "<xml>"s, "<xml><a>1</a>"s, "<xml><a>1</xml>"s,
        "</xml>"s, "<xml></xmL>"s, "{\"a\":1}"s, "a=1"s, "<!-- -->"s,
        "<xml><a>1</a></xml"s, "<xml><a><![CDATA[1</a></xml>"s, "x<xml/>"s,
        "<xml>\xff</xml>"s, "<xml><a>\x01</a></xml>"s,
        "<xml><a>1</a></xml>\0<xml/>"s, "<xml><a>1\0</a></xml>"s, "\0"s,
        // The same in UTF-16.
        "\xff\xfe<\0x\0m\0l\0/\0>\0"s})
    CAF_CHECK_EQUAL(end_of(text), "malformed_xml");
}

CAF_TEST(another shape is refused) {
  for (auto text : {"<root><a>1</a></root>",
                    "<XML/>",
                    "<xml><a>1</a></xml><xml/>",
                    "<xml/>x",
                    "<xml/><![CDATA[ ]]>",
                    "<xml/><a/>",
                    "<xml>1</xml>",
                    "<xml>1<a>2</a></xml>",
                    "<xml><a>2</a>1</xml>",
                    "<xml><![CDATA[1]]></xml>",
                    "<xml><a><b>1</b></a></xml>",
                    "<xml><a>1<b/></a></xml>",
                    "<xml><a>1<![CDATA[2]]></a></xml>",
                    "<xml><a> <![CDATA[2]]></a></xml>",
                    "<xml><a><![CDATA[1]]> </a></xml>",
                    "<xml><a><![CDATA[1]]><![CDATA[2]]></a></xml>",
                    "<xml><a>1<!-- -->2</a></xml>",
                    "<xml><a><!-- 1 --></a></xml>",
                    "<xml><a x='1'>1</a></xml>",
                    "<xml x='1'><a>1</a></xml>",
                    "<xml><?go?><a>1</a></xml>",
                    "<xml><a><?go?></a></xml>"}) {
    CAF_MESSAGE(text);
    auto end = end_of(text);
    CAF_CHECK(end == "malformed_message"
              || (std::string_view{text}.find("<?go") != std::string_view::npos
                  && end == "malformed_xml"));
  }
  CAF_CHECK_EQUAL(end_of("<xml><a>1</a><b/><a>1</a></xml>"),
                  "duplicate_element");
  CAF_CHECK_EQUAL(end_of("<xml><a/><a/></xml>"), "duplicate_element");
}

CAF_TEST(limits hold to the byte and to the element) {
  std::string text = "<xml><a>1</a><b>2</b></xml>";
  CAF_CHECK(parse_flat_xml(text, "xml", {text.size(), 2}).has_value());
  auto longer = parse_flat_xml(text, "xml", {text.size() - 1, 2});
  CAF_REQUIRE(!longer);
  CAF_CHECK(longer.error().reason == reject_reason::malformed_body);
  auto more = parse_flat_xml(text, "xml", {text.size(), 1});
  CAF_REQUIRE(!more);
  CAF_CHECK(more.error().reason == reject_reason::malformed_message);
  // Depth costs no stack.
  std::string deep;
  for (int i = 0; i < 15'000; ++i)
    deep += "<a>";
  CAF_CHECK_EQUAL(end_of(deep), "malformed_xml");
  CAF_CHECK_EQUAL(end_of(std::string(1024 * 1024, '<')), "malformed_body");
}

CAF_TEST(what is written is read again) {
  std::minstd_rand random{20261123};
  constexpr std::string_view pieces[]
    = {"a",  "&",  "<", ">",     "]]>",           "\"", "'", "\r",  "\n", " ",
       "\t", "专", ";", "&amp;", "<![CDATA[1]]>", "=",  "x", "\x7f"};
  for (int round = 0; round < 2000; ++round) {
    fields given;
    for (auto name : {"a", "b_1", "c"}) {
      std::string value;
      for (auto n = random() % 6; n > 0; --n)
        value += pieces[random() % std::size(pieces)];
      given.emplace_back(name, std::move(value));
    }
    auto text = write_flat_xml("xml", given);
    auto parsed = parse_flat_xml(text, "xml");
    if (!parsed)
      CAF_FAIL(parsed.error().sentence << " in " << text);
    CAF_CHECK(*parsed == given);
  }
  CAF_CHECK_EQUAL(write_flat_xml("xml", {{"a", "\x01\xff"}}),
                  "<xml><a>\xef\xbf\xbd\xef\xbf\xbd</a></xml>");
}
