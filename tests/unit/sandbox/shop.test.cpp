#define CAF_SUITE sandbox.shop

#include "http/sandbox/shop.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

#include <optional>

using namespace slipway;
using namespace slipway::sandbox;
using namespace std::literals;
namespace json = boost::json;

namespace {

struct fixture {
  http::router routes;

  fixture() {
    auto options = shop_options{};
    options.token = [](const shop_visitor& who) {
      return who.user_id + "|" + who.email + "|" + who.locale;
    };
    options.visitor = {"demo", "demo@example.com", "zh-CN"};
    options.alipay_url = "http://127.0.0.1:1/";
    options.wechat_url = "http://127.0.0.1:2/";
    options.railway_url = "http://127.0.0.1:3/";
    options.mailbox_url = "http://127.0.0.1:4/";
    add_shop(routes, std::move(options));
  }

  http::response
  call(http::method verb, const std::string& path, std::string body = "",
       const std::string& host = "127.0.0.1:8080",
       const std::string& known = "") {
    auto in = http::request{};
    in.verb = verb;
    in.path = path;
    in.body = std::move(body);
    in.headers.add("Host", host);
    if (!known.empty())
      in.headers.add("If-None-Match", known);
    const auto found = routes.find(verb, path);
    if (found.to == nullptr)
      return {404, "text/plain", ""};
    auto answered = std::optional<http::response>{};
    found.to->run(http::make_exchange(std::move(in), [&](http::response x) {
      answered = std::move(x);
    }));
    CAF_REQUIRE(answered.has_value());
    return *answered;
  }

  static std::string header(const http::response& x, std::string_view name) {
    for (const auto& [key, value] : x.headers)
      if (key == name)
        return value;
    return "";
  }

  std::string token(const http::response& x) {
    return std::string{
      json::parse(x.body).at("data").at("token").as_string().c_str()};
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(shop_tests, fixture)

CAF_TEST(every file that a page names is served with its type and policy) {
  const auto index = call(http::method::get, "/shop");
  CAF_REQUIRE_EQUAL(index.status, 200);
  CAF_CHECK_EQUAL(index.content_type, "text/html; charset=utf-8");
  CAF_CHECK(header(index, "Content-Security-Policy").find("default-src 'none'")
            == 0);
  CAF_CHECK_EQUAL(header(index, "Referrer-Policy"), "no-referrer");
  for (const auto& [name, type] :
       {std::pair{"shop.css"s, "text/css; charset=utf-8"s},
        std::pair{"shop.js"s, "text/javascript; charset=utf-8"s},
        std::pair{"icon.svg"s, "image/svg+xml"s}}) {
    CAF_CHECK(index.body.find("\"/shop/" + name + "\"") != std::string::npos);
    const auto file = call(http::method::get, "/shop/" + name);
    CAF_CHECK_EQUAL(file.status, 200);
    CAF_CHECK_EQUAL(file.content_type, type);
  }
  CAF_CHECK_EQUAL(call(http::method::get, "/shop/index.html").status, 404);
  CAF_CHECK_EQUAL(header(call(http::method::get, "/"), "Location"), "/shop");
}

CAF_TEST(a file that is known is not sent again) {
  const auto first = call(http::method::get, "/shop/shop.js");
  const auto tag = header(first, "ETag");
  CAF_REQUIRE(!tag.empty());
  const auto again
    = call(http::method::get, "/shop/shop.js", "", "127.0.0.1", tag);
  CAF_CHECK_EQUAL(again.status, 304);
  CAF_CHECK(again.body.empty());
  CAF_CHECK_EQUAL(
    call(http::method::get, "/shop/shop.js", "", "127.0.0.1", "\"x\"").status,
    200);
}

CAF_TEST(visitors are whoever they want to be) {
  CAF_CHECK_EQUAL(token(call(http::method::get, "/sandbox/shop")),
                  "demo|demo@example.com|zh-CN");
  const auto visit = [&](std::string body) {
    return call(http::method::post, "/sandbox/shop/visitors", std::move(body));
  };
  CAF_CHECK_EQUAL(token(visit("")), "demo|demo@example.com|zh-CN");
  CAF_CHECK_EQUAL(visit("").status, 201);
  CAF_CHECK_EQUAL(token(visit(R"({"userId":"eve","email":"","locale":"en"})")),
                  "eve||en");
  CAF_CHECK_EQUAL(token(visit(R"({"userId":null})")),
                  "demo|demo@example.com|zh-CN");
  for (const auto* wrong :
       {"[]", "{", "7", R"({"userId":""})", R"({"userId":"a\nb"})",
        R"({"userId":true})", R"({"locale":"fr"})", R"({"email":"a\u0000"})"})
    CAF_CHECK_EQUAL(visit(wrong).status, 400);
  CAF_CHECK_EQUAL(visit(R"({"userId":")" + std::string(64, 'x') + "\"}").status,
                  201);
  CAF_CHECK_EQUAL(visit(R"({"userId":")" + std::string(65, 'x') + "\"}").status,
                  400);
}

CAF_TEST(tokens are for this machine) {
  for (const auto* name : {"127.0.0.1", "127.0.0.1:8080", "localhost",
                           "localhost:1", "[::1]", "[::1]:8080"})
    CAF_CHECK(is_loopback_name(name));
  for (const auto* name :
       {"", "evil.example", "127.0.0.1.evil.example", "localhost.evil:80",
        "127.0.0.1:80.evil", "localhost:x", "[::1", "[::1]x", "[::2]", "::1",
        "[", ":80", "127.0.0.2"})
    CAF_CHECK(!is_loopback_name(name));
  const auto refused
    = call(http::method::get, "/sandbox/shop", "", "evil:8080");
  CAF_CHECK_EQUAL(refused.status, 403);
  CAF_CHECK(refused.body.find("demo") == std::string::npos);
  CAF_CHECK_EQUAL(
    call(http::method::post, "/sandbox/shop/visitors", "", "evil").status, 403);
}

CAF_TEST_FIXTURE_SCOPE_END()
