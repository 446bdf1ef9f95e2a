#define CAF_SUITE api.description

#include "http/api/context.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <set>

using namespace slipway;
using namespace slipway::api;

namespace json = boost::json;

namespace {

using names = std::set<std::string>;

context_ptr make_context(std::string public_url = {}) {
  auto out = std::make_shared<context>();
  out->env = std::make_shared<environment>();
  out->settings.http.public_url = std::move(public_url);
  return out;
}

http::response get(const http::router& from, http::fields headers = {}) {
  auto in = http::request{};
  in.path = in.target = "/api/openapi.json";
  in.headers = std::move(headers);
  auto out = http::response{};
  const auto found = from.find(http::method::get, in.path);
  CAF_REQUIRE(found.to != nullptr);
  found.to->run(http::make_exchange(std::move(in), [&](http::response x) {
    out = std::move(x);
  }));
  return out;
}

json::value document_of(const http::router& from) {
  return json::parse(get(from).body);
}

/// `GET /api/plans`, … of everything that the routers serve.
names served(const http::router& from) {
  auto out = names{};
  for (const auto* x : from.routes())
    out.insert(std::string{to_string(x->verb)} + " " + x->pattern);
  return out;
}

/// The same of everything that is described, here or at a listener of its own.
names described(const json::value& document, bool elsewhere) {
  auto out = names{};
  for (const auto& [path, item] : document.at("paths").as_object()) {
    if (item.as_object().contains("servers") != elsewhere)
      continue;
    for (const auto* verb : {"get", "put", "post", "delete", "options", "head",
                             "patch", "trace"}) {
      auto name = std::string{verb};
      if (!item.as_object().contains(name))
        continue;
      std::transform(name.begin(), name.end(), name.begin(), [](char c) {
        return static_cast<char>(c - 'a' + 'A');
      });
      out.insert(name + " " + std::string{path});
    }
  }
  return out;
}

names without(names from, const names& what) {
  for (const auto& x : what)
    from.erase(x);
  return from;
}

} // namespace

CAF_TEST(every route is described and nothing else is) {
  const auto ctx = make_context();
  const auto routes = make_public_router(ctx);
  const auto document = document_of(routes);
  CAF_CHECK_EQUAL(without(served(routes), described(document, false)), names{});
  CAF_CHECK_EQUAL(without(described(document, false), served(routes)), names{});
  CAF_CHECK_EQUAL(served(make_admin_router(ctx)), described(document, true));
}

CAF_TEST(what is for tests alone is not described) {
  const auto ctx = std::make_shared<context>();
  ctx->faults = true;
  ctx->env = std::make_shared<environment>();
  const auto routes = make_public_router(ctx);
  CAF_CHECK_EQUAL(
    without(served(routes), described(document_of(routes), false)),
    names{"POST /api/ops/actors/{id}/kill"});
}

CAF_TEST(a route is described with the parameters of its path) {
  const auto document = document_of(make_public_router(make_context()));
  const auto& shared = document.at("components").at("parameters");
  const auto parameters_of = [&](const json::value& from) {
    auto out = names{};
    for (const auto& x : from.at("parameters").as_array()) {
      const auto* ref = x.as_object().if_contains("$ref");
      const auto path = ref != nullptr ? std::string{ref->as_string()} : "";
      const auto& it
        = ref != nullptr ? shared.at(path.substr(path.rfind('/') + 1)) : x;
      if (it.at("in").as_string() == "path")
        out.insert("{" + std::string{it.at("name").as_string()} + "}");
    }
    return out;
  };
  for (const auto& [key, item] : document.at("paths").as_object()) {
    const auto path = std::string{key};
    auto expected = names{};
    for (auto at = path.find('{'); at != path.npos; at = path.find('{', at + 1))
      expected.insert(path.substr(at, path.find('}', at) + 1 - at));
    for (const auto& [verb, operation] : item.as_object())
      if (verb != "servers")
        CAF_CHECK_EQUAL(parameters_of(operation), expected);
  }
}

CAF_TEST(it names this program and where it is) {
  const auto here = document_of(make_public_router(make_context()));
  CAF_CHECK_EQUAL(here.at("openapi").as_string(), "3.1.0");
  CAF_CHECK(here.at("info").at("version").as_string() != "0.0.0");
  CAF_CHECK_EQUAL(here.at("servers").at(0).at("url").as_string(), "/");
  const auto there
    = document_of(make_public_router(make_context("https://pay.example.com")));
  CAF_REQUIRE_EQUAL(there.at("servers").as_array().size(), 1u);
  CAF_CHECK_EQUAL(there.at("servers").at(0).at("url").as_string(),
                  "https://pay.example.com");
}

CAF_TEST(it needs no token and whoever has it gets 304) {
  const auto routes = make_public_router(make_context());
  const auto tag_of = [](const http::response& x) {
    for (const auto& [name, value] : x.headers)
      if (name == "ETag")
        return value;
    return std::string{};
  };
  const auto first = get(routes);
  CAF_CHECK_EQUAL(first.status, 200);
  CAF_CHECK_EQUAL(first.content_type, "application/json");
  CAF_REQUIRE(!tag_of(first).empty());
  const auto again = get(routes, {{"If-None-Match", tag_of(first)}});
  CAF_CHECK_EQUAL(again.status, 304);
  CAF_CHECK_EQUAL(again.body, "");
  CAF_CHECK_EQUAL(tag_of(again), tag_of(first));
  CAF_CHECK_EQUAL(get(routes, {{"If-None-Match", R"("other")"}}).status, 200);
  const auto moved = get(make_public_router(make_context("https://b.example")));
  CAF_CHECK(tag_of(moved) != tag_of(first));
}
