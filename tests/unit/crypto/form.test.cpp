#define CAF_SUITE crypto.form

#include "http/crypto/form.hpp"

#include "http/crypto/text.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway::crypto;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

form_fields decoded(std::string_view body) {
  auto fields = decode_form(body);
  CAF_REQUIRE(fields.has_value());
  return *fields;
}

} // namespace

CAF_TEST(names and values are decoded once) {
  auto fields = decoded("a=1+2%203&%62=%e4%BD%a0&c=%2526&d&e=&=f&g=x=y");
  CAF_CHECK(fields
            == (form_fields{{"a", "1 2 3"},
                            {"b", "你"},
                            {"c", "%26"},
                            {"d", ""},
                            {"e", ""},
                            {"", "f"},
                            {"g", "x=y"}}));
}

CAF_TEST(nothing is trimmed and nothing else is a separator) {
  auto fields = decoded(" a = b ;c=d&e=\r\n%00");
  CAF_CHECK(fields == (form_fields{{" a ", " b ;c=d"}, {"e", "\r\n\0"s}}));
}

CAF_TEST(empty fields are skipped) {
  CAF_CHECK(decoded("").empty());
  CAF_CHECK(decoded("&&").empty());
  CAF_CHECK(decoded("&a=1&&b=2&") == (form_fields{{"a", "1"}, {"b", "2"}}));
}

CAF_TEST(broken escapes are refused) {
  for (auto body : {"a=%", "a=%2", "a=%zz", "a=%2g", "%=a", "a=%%32", "a=% 2",
                    "ok=1&a=%u4f60"}) {
    auto fields = decode_form(body);
    CAF_REQUIRE(!fields);
    CAF_CHECK(fields.error() == form_error::bad_escape);
  }
}

CAF_TEST(a name may occur once however it is written) {
  for (auto body : {"a=1&a=1", "a=1&b=2&%61=3", "a&a", "a+b=1&a%20b=2"}) {
    auto fields = decode_form(body);
    CAF_REQUIRE(!fields);
    CAF_CHECK(fields.error() == form_error::duplicate_name);
  }
  CAF_CHECK_EQUAL(decoded("a=1&A=2").size(), 2u);
}

CAF_TEST(the number of fields is limited) {
  CAF_CHECK(decode_form("a=1&b=2&c=3", 3).has_value());
  auto fields = decode_form("a=1&b=2&c=3&d=4", 3);
  CAF_REQUIRE(!fields);
  CAF_CHECK(fields.error() == form_error::too_many_fields);
}

CAF_TEST(forms survive encoding) {
  form_fields fields{{"a b", "1&2=3+4%"}, {"你", "\0\xff"s}, {"e", ""}};
  CAF_CHECK_EQUAL(encode_form(fields),
                  "a+b=1%262%3D3%2B4%25&%E4%BD%A0=%00%FF&e=");
  CAF_CHECK(decoded(encode_form(fields)) == fields);
}

CAF_TEST(percent encoding keeps only unreserved characters) {
  CAF_CHECK_EQUAL(percent_encode("aZ09-._~ +/?#"), "aZ09-._~%20%2B%2F%3F%23");
  CAF_CHECK(percent_decode("a%20b+c") == "a b+c"s);
  CAF_CHECK(percent_decode("%2").error() == form_error::bad_escape);
}

CAF_TEST(fields are found by name) {
  auto fields = decoded("a=1&b=");
  CAF_REQUIRE(find_field(fields, "b") != nullptr);
  CAF_CHECK_EQUAL(*find_field(fields, "b"), "");
  CAF_CHECK(find_field(fields, "c") == nullptr);
}

CAF_TEST(HTML is escaped for text and attributes) {
  CAF_CHECK_EQUAL(html_escape("<a href=\"x\" b='y'>&amp;"),
                  "&lt;a href=&quot;x&quot; b=&#39;y&#39;&gt;&amp;amp;");
}

CAF_TEST(JSON strings hold whatever comes) {
  CAF_CHECK_EQUAL(json_quote("a\"\\/\n\t\x01你"sv),
                  "\"a\\\"\\\\/\\n\\t\\u0001你\"");
  CAF_CHECK_EQUAL(json_escape("\0"sv), "\\u0000");
  CAF_CHECK_EQUAL(json_escape("a\xff"
                              "b"),
                  "a\xef\xbf\xbd"
                  "b");
}

CAF_TEST(UTF - 8 is told from what looks like it) {
  for (auto text : {"", "a", "\xc2\x80", "你", "\xf0\x9f\x98\x80",
                    "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"})
    CAF_CHECK(is_utf8(text));
  for (auto text : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf",
                    "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
                    "\xf5\x80\x80\x80", "\xe4\xbd", "\xc2", "a\xff"})
    CAF_CHECK(!is_utf8(text));
  CAF_CHECK_EQUAL(to_valid_utf8("a\xff你\xe4"), "a\xef\xbf\xbd你\xef\xbf\xbd");
  CAF_CHECK(has_control("a\0"sv));
  CAF_CHECK(has_control("\x7f"));
  CAF_CHECK(!has_control("a 你"));
}
