#define CAF_SUITE http_server.router

#include "http/server/router.hpp"

#include <caf/test/unit_test.hpp>

#include <stdexcept>

using namespace slipway::http;

namespace {

void nothing(std::shared_ptr<exchange>) {
  // nop
}

router make() {
  router result;
  result.add(method::get, "/", "root", nothing)
    .add(method::get, "/a/{x}", "ax", nothing)
    .add(method::get, "/a/b", "ab", nothing)
    .add(method::delete_, "/a/b", "ab-delete", nothing)
    .add(method::get, "/a/{x}/c", "axc", nothing)
    .add(method::post, "/a/b/d", "abd", nothing);
  return result;
}

std::string name(const router& aut, method verb, std::string_view path) {
  const auto hit = aut.find(verb, path);
  return hit.to == nullptr ? "-" : hit.to->name;
}

} // namespace

CAF_TEST(literal segments beat parameters) {
  const auto aut = make();
  CAF_CHECK_EQUAL(name(aut, method::get, "/"), "root");
  CAF_CHECK_EQUAL(name(aut, method::get, "/a/b"), "ab");
  CAF_CHECK_EQUAL(name(aut, method::get, "/a/z"), "ax");
  CAF_CHECK_EQUAL(name(aut, method::delete_, "/a/b"), "ab-delete");
}

CAF_TEST(a dead end leads back to the parameter) {
  const auto aut = make();
  CAF_CHECK_EQUAL(name(aut, method::get, "/a/b/c"), "axc");
  const auto hit = aut.find(method::get, "/a/b/c");
  CAF_REQUIRE_EQUAL(hit.params.size(), 1u);
  CAF_CHECK_EQUAL(hit.params.front(), "b");
}

CAF_TEST(the path decides between 404 and 405) {
  const auto aut = make();
  CAF_CHECK(aut.find(method::get, "/a").is == router::verdict::not_found);
  CAF_CHECK(aut.find(method::get, "/a/b/c/d").is == router::verdict::not_found);
  CAF_CHECK(aut.find(method::get, "").is == router::verdict::not_found);
  const auto wrong = aut.find(method::put, "/a/b");
  CAF_CHECK(wrong.is == router::verdict::method_not_allowed);
  CAF_CHECK_EQUAL(wrong.allow, "GET, HEAD, DELETE, OPTIONS");
  const auto asked = aut.find(method::options, "/a/b/d");
  CAF_CHECK(asked.is == router::verdict::options);
  CAF_CHECK_EQUAL(asked.allow, "POST, OPTIONS");
  CAF_CHECK(aut.find(method::options, "*").is == router::verdict::options);
}

CAF_TEST(HEAD is served by GET) {
  const auto aut = make();
  CAF_CHECK_EQUAL(name(aut, method::head, "/a/z"), "ax");
  CAF_CHECK_EQUAL(name(aut, method::head, "/a/b/d"), "-");
}

CAF_TEST(mistakes in the table are found when it is built) {
  auto aut = make();
  const auto fails = [&](method verb, std::string_view pattern) {
    try {
      aut.add(verb, pattern, "x", nothing);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  CAF_CHECK(fails(method::get, "/a/b"));
  CAF_CHECK(fails(method::get, "a"));
  CAF_CHECK(fails(method::get, "/a//b"));
  CAF_CHECK(fails(method::get, ""));
  CAF_CHECK_EQUAL(aut.routes().size(), 6u);
}
