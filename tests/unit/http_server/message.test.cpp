#define CAF_SUITE http_server.message

#include "http/server/message.hpp"

#include "http/server/target.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway::http;
using namespace std::literals;

CAF_TEST(header names are compared without regard to case) {
  const auto x = fields{{"Host", "a"}, {"X-A", "1"}, {"x-a", "2"}};
  CAF_CHECK_EQUAL(x.find("x-A").value_or(""), "1");
  CAF_CHECK_EQUAL(x.count("X-a"), 2u);
  CAF_CHECK(!x.find("X-B"));
  CAF_CHECK_EQUAL(x.size(), 3u);
}

CAF_TEST(query parameters are decoded and the first one counts) {
  request x;
  x.target = "/p?a=1&b=x%20y+z&a=2&c&=d&%65=5#frag?f=1";
  CAF_CHECK_EQUAL(x.query("a").value_or("-"), "1");
  CAF_CHECK_EQUAL(x.query("b").value_or("-"), "x y z");
  CAF_CHECK_EQUAL(x.query("c").value_or("-"), "");
  CAF_CHECK_EQUAL(x.query("e").value_or("-"), "5");
  CAF_CHECK(!x.query("f"));
  CAF_CHECK(!request{}.query("a"));
}

CAF_TEST(texts become JSON strings that any reader takes) {
  CAF_CHECK_EQUAL(json_quote("a\"b\\c\n\x01\x7f"),
                  R"("a\"b\\c\n\u0001\u007f")");
  CAF_CHECK_EQUAL(json_quote("\u4e2d"), "\"\u4e2d\"");
  CAF_CHECK_EQUAL(json_quote("\xff\xc3"), "\"\uFFFD\uFFFD\"");
  CAF_CHECK_EQUAL(error_response(404, "not_found", "No.", "r").body,
                  R"({"success":false,"message":"No.","error":"not_found",)"
                  R"("requestId":"r"})");
}

CAF_TEST(only well formed UTF - 8 counts) {
  CAF_CHECK(is_utf8("a\u00e9\u4e2d\U0001F600"));
  for (const auto bad : {"\x80"sv, "\xc0\xaf"sv, "\xe0\x80\x80"sv,
                         "\xed\xa0\x80"sv, "\xf4\x90\x80\x80"sv, "\xf5"sv})
    CAF_CHECK(!is_utf8(bad));
}

CAF_TEST(targets are brought into one form) {
  const auto path = [](std::string_view target) {
    std::string result;
    const auto* wrong = read_target(target, result);
    return wrong == nullptr ? result : "!";
  };
  CAF_CHECK_EQUAL(path("/a/b?c"), "/a/b");
  CAF_CHECK_EQUAL(path("/"), "/");
  CAF_CHECK_EQUAL(path("/?x=1"), "/");
  CAF_CHECK_EQUAL(path("//"), "/");
  CAF_CHECK_EQUAL(path("/a/"), "/a");
  CAF_CHECK_EQUAL(path("/a/..//b/./c"), "/b/c");
  CAF_CHECK_EQUAL(path("/a/%2e%2E/b"), "/b");
  CAF_CHECK_EQUAL(path("/.well-known/x"), "/.well-known/x");
  CAF_CHECK_EQUAL(path("https://h:1/a?b"), "/a");
  CAF_CHECK_EQUAL(path("https://h?b"), "/");
  CAF_CHECK_EQUAL(path("*"), "*");
  CAF_CHECK_EQUAL(path("/%2e%2e"), "!");
  CAF_CHECK_EQUAL(path("a/b"), "!");
  CAF_CHECK_EQUAL(path("/%2"), "!");
}
