#define CAF_SUITE api.etag

#include "http/api/etag.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::api;

namespace {

http::request asking(std::vector<std::string> values) {
  auto out = http::request{};
  for (auto& x : values)
    out.headers.add("if-none-match", std::move(x));
  return out;
}

bool known(std::vector<std::string> values) {
  return is_known(asking(std::move(values)), R"("abc")");
}

} // namespace

CAF_TEST(a tag follows from the body) {
  CAF_CHECK_EQUAL(etag_of("one"), etag_of("one"));
  CAF_CHECK(etag_of("one") != etag_of("two"));
  CAF_CHECK(etag_of("") != etag_of(" "));
  const auto tag = etag_of("one");
  CAF_CHECK_EQUAL(tag.size(), 34u);
  CAF_CHECK_EQUAL(tag.front(), '"');
  CAF_CHECK_EQUAL(tag.back(), '"');
  CAF_CHECK(is_known(asking({tag}), tag));
}

CAF_TEST(lists and stars and weak tags name it) {
  CAF_CHECK(known({R"("abc")"}));
  CAF_CHECK(known({R"(W/"abc")"}));
  CAF_CHECK(known({R"( "x" ,"abc")"}));
  CAF_CHECK(known({R"("x",	W/"abc" , "y")"}));
  CAF_CHECK(known({R"(, ,"abc",)"}));
  CAF_CHECK(known({"*"}));
  CAF_CHECK(known({" * "}));
  CAF_CHECK(known({R"("x")", R"("abc")"}));
  // A tag may hold what separates tags.
  CAF_CHECK(known({R"("a, b", "abc")"}));
}

CAF_TEST(anything else does not ) {
  CAF_CHECK(!known({}));
  CAF_CHECK(!known({""}));
  CAF_CHECK(!known({"abc"}));
  CAF_CHECK(!known({R"("ABC")"}));
  CAF_CHECK(!known({R"("ab")"}));
  CAF_CHECK(!known({R"("abc)"}));
  CAF_CHECK(!known({R"(w/"abc")"}));
  CAF_CHECK(!known({R"("x" "abc")"}));
  CAF_CHECK(!known({R"("x", "abc)"}));
  CAF_CHECK(!known({R"(* , "x")"}));
  CAF_CHECK(!known({R"("x, \"abc\"")"}));
  CAF_CHECK(!known({"W/", "\"", ",", "W/*"}));
}
