#define CAF_SUITE sandbox.graphql

#include "http/sandbox/graphql.hpp"

#include "http/sandbox/railway_schema.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway::sandbox;
using namespace slipway::sandbox::graphql;
namespace json = boost::json;

namespace {

constexpr auto sdl = R"graphql(
scalar JSON
enum Color { RED BLUE }
interface Named { name: String! }
input Filter { color: Color = RED, min: Int!, tags: [String!] }
type Cat implements Named {
  name: String!
  color: Color!
  mother: Cat
  kittens(first: Int = 2): [Cat!]!
  broken: String
  brokenHard: String!
}
type Query {
  cat(name: String!): Cat
  cats(filter: Filter): [Cat!]!
  echo(value: JSON, id: ID, flag: Boolean, ratio: Float): JSON
}
type Mutation { feed(name: String!): Boolean! }
type Subscription { heard(name: String!, loud: Boolean = false): [Cat!]! }
)graphql";

class cat final : public object {
public:
  explicit cat(std::string name) : name_{std::move(name)} {
  }

  std::string_view type() const override {
    return "Cat";
  }

  resolved
  get(std::string_view field, const json::object& args) const override {
    if (field == "name")
      return json::value(name_);
    if (field == "color")
      return json::value("RED");
    if (field == "mother")
      return name_ == "Eve" ? object_ptr{} : std::make_shared<cat>("Eve");
    if (field == "kittens") {
      std::vector<object_ptr> result;
      for (auto i = 0; i < args.at("first").as_int64(); ++i)
        result.push_back(std::make_shared<cat>(name_ + std::to_string(i)));
      return result;
    }
    if (field == "broken")
      return field_error{"It is broken", "SOME_CODE"};
    return json::value(nullptr);
  }

private:
  std::string name_;
};

struct fixture {
  schema types = schema::parse(sdl).value();
  int fed = 0;

  result run(std::string_view query, json::object variables = {},
             std::string_view name = "", limits max = {}) {
    return execute(
      types, {query, name, std::move(variables)},
      [this](bool is_mutation, std::string_view field,
             const json::object& args) -> resolved {
        if (is_mutation) {
          ++fed;
          return json::value(true);
        }
        if (field == "cat")
          return std::make_shared<cat>(
            std::string{args.at("name").as_string()});
        if (field == "cats") {
          std::vector<object_ptr> all;
          const auto& filter = args.at("filter").as_object();
          all.push_back(std::make_shared<cat>(json::serialize(filter)));
          return all;
        }
        return json::value(args);
      },
      "trace", max);
  }

  std::string data(std::string_view query, json::object variables = {},
                   std::string_view name = "") {
    return json::serialize(run(query, std::move(variables), name).body);
  }

  /// The first message of a refusal; empty when it was not refused.
  std::string refusal(std::string_view query, json::object variables = {},
                      std::string_view name = "") {
    const auto x = run(query, std::move(variables), name);
    if (x.status != 400)
      return "";
    return std::string{x.body.at("errors").at(0).at("message").as_string()};
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(graphql_tests, fixture)

CAF_TEST(exactly what was selected comes back in its order) {
  CAF_CHECK_EQUAL(data("{ cat(name: \"Tom\") { color name } }"),
                  R"({"data":{"cat":{"color":"RED","name":"Tom"}}})");
  CAF_CHECK_EQUAL(
    data(
      "{ cat(name: \"Tom\") { __typename mother { name mother { name } } } }"),
    R"({"data":{"cat":{"__typename":"Cat","mother":{"name":"Eve","mother":null}}}})");
}

CAF_TEST(aliases and lists) {
  CAF_CHECK_EQUAL(
    data("{ a: cat(name: \"A\") { n: name kittens { name } } "
         "b: cat(name: \"B\") { kittens(first: 1) { name } } }"),
    R"({"data":{"a":{"n":"A","kittens":[{"name":"A0"},{"name":"A1"}]},)"
    R"("b":{"kittens":[{"name":"B0"}]}}})");
}

CAF_TEST(fragments are merged into one selection) {
  CAF_CHECK_EQUAL(
    data("query Q { cat(name: \"A\") { ...One mother { name } "
         "... on Named { name } ... { color } } } "
         "fragment One on Cat { mother { color } }"),
    R"({"data":{"cat":{"mother":{"color":"RED","name":"Eve"},"name":"A",)"
    R"("color":"RED"}}})");
}

CAF_TEST(include and skip decide what is there) {
  const auto query = "query Q($yes: Boolean!) { cat(name: \"A\") { "
                     "name @include(if: $yes) color @skip(if: $yes) } }";
  CAF_CHECK_EQUAL(data(query, {{"yes", true}}),
                  R"({"data":{"cat":{"name":"A"}}})");
  CAF_CHECK_EQUAL(data(query, {{"yes", false}}),
                  R"({"data":{"cat":{"color":"RED"}}})");
}

CAF_TEST(variables bring their defaults and are checked) {
  const auto query = "query Q($name: String = \"Def\", $n: Int) { "
                     "cat(name: $name) { kittens(first: $n) { name } } }";
  CAF_CHECK_EQUAL(
    data(query),
    R"({"data":{"cat":{"kittens":[{"name":"Def0"},{"name":"Def1"}]}}})");
  CAF_CHECK_EQUAL(data(query, {{"name", "X"}, {"n", 1}}),
                  R"({"data":{"cat":{"kittens":[{"name":"X0"}]}}})");
  CAF_CHECK_EQUAL(
    refusal(query, {{"n", "1"}}),
    "Variable \"$n\" got invalid value \"1\"; Int cannot represent the value "
    "\"1\".");
  CAF_CHECK_EQUAL(
    refusal("query Q($name: String!) { cat(name: $name) { name } }"),
    "Variable \"$name\" of required type \"String!\" was not provided.");
}

CAF_TEST(input objects take defaults and refuse what they do not know) {
  CAF_CHECK_EQUAL(
    data("{ cats(filter: {min: 1, tags: [\"a\", \"b\"]}) { name } }"),
    R"({"data":{"cats":[{"name":"{\"color\":\"RED\",\"min\":1,)"
    R"(\"tags\":[\"a\",\"b\"]}"}]}})");
  const auto query = "query Q($f: Filter!, $t: String!) { "
                     "a: cats(filter: $f) { name } "
                     "b: cats(filter: {min: 2, color: BLUE, tags: [$t]}) "
                     "{ name } }";
  CAF_CHECK_EQUAL(
    data(query, {{"f", {{"min", 3}, {"color", "BLUE"}}}, {"t", "z"}}),
    R"({"data":{"a":[{"name":"{\"color\":\"BLUE\",\"min\":3}"}],)"
    R"("b":[{"name":"{\"color\":\"BLUE\",\"min\":2,)"
    R"(\"tags\":[\"z\"]}"}]}})");
  CAF_CHECK_EQUAL(refusal("{ cats(filter: {min: 1, max: 2}) { name } }"),
                  "Field \"max\" is not defined by type \"Filter\".");
  CAF_CHECK_EQUAL(refusal("{ cats(filter: {color: RED}) { name } }"),
                  "Field \"Filter.min\" of required type \"Int!\" was not "
                  "provided.");
  CAF_CHECK_EQUAL(refusal("{ cats(filter: {min: 1, color: GREEN}) { name } }"),
                  "Value \"GREEN\" does not exist in \"Color\" enum.");
  CAF_CHECK(refusal(query, {{"f", {{"min", 3}, {"x", 1}}}, {"t", "z"}})
              .find("Field \"x\" is not defined")
            != std::string::npos);
}

CAF_TEST(values of every kind) {
  CAF_CHECK_EQUAL(
    data(R"(query Q($v: JSON) { echo(value: {a: [1, 2.5, "x\u00e9\n", true,)"
         R"( null, RED, $v], b: """block"""}, id: 7, flag: false, ratio: 1) })",
         {{"v", {{"deep", json::array{1}}}}}),
    "{\"data\":{\"echo\":{\"value\":{\"a\":[1,2.5E0,\"x\u00e9\\n\",true,null,"
    "\"RED\",{\"deep\":[1]}],\"b\":\"block\"},\"id\":7,\"flag\":false,"
    "\"ratio\":1}}}");
}

CAF_TEST(a document that does not fit the schema is refused) {
  CAF_CHECK_EQUAL(refusal("{ dog { name } }"),
                  "Cannot query field \"dog\" on type \"Query\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { age } }"),
                  "Cannot query field \"age\" on type \"Cat\".");
  CAF_CHECK_EQUAL(refusal("{ cat { name } }"),
                  "Field \"cat\" argument \"name\" of type \"String!\" is "
                  "required, but it was not provided.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\", age: 1) { name } }"),
                  "Unknown argument \"age\" on field \"Query.cat\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: 1) { name } }"),
                  "String cannot represent this value: \"1\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: null) { name } }"),
                  "Expected value of type \"String!\", found null.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") }"),
                  "Field \"cat\" of type \"Cat\" must have a selection of "
                  "subfields. Did you mean \"cat { ... }\"?");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { name { x } } }"),
                  "Field \"name\" must not have a selection since type "
                  "\"String!\" has no subfields.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: $n) { name } }"),
                  "Variable \"$n\" is not defined.");
  CAF_CHECK_EQUAL(refusal("query Q($n: Int) { cat(name: \"A\") { name } }"),
                  "Variable \"$n\" is never used.");
  CAF_CHECK_EQUAL(refusal("query Q($n: Int!) { cat(name: $n) { name } }"),
                  "Variable \"$n\" of type \"Int!\" used in position expecting "
                  "type \"String!\".");
  CAF_CHECK_EQUAL(refusal("query Q($n: String) { cat(name: $n) { name } }"),
                  "Variable \"$n\" of type \"String\" used in position "
                  "expecting type \"String!\".");
  CAF_CHECK_EQUAL(refusal("query Q($n: Nope) { cat(name: $n) { name } }"),
                  "Unknown type \"Nope\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { ...F } }"),
                  "Unknown fragment \"F\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { name } } "
                          "fragment F on Cat { name }"),
                  "Fragment \"F\" is never used.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { ...F } } "
                          "fragment F on Cat { ...G } fragment G on Cat "
                          "{ name ...F }"),
                  "Cannot spread fragment \"F\" within itself.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { ... on Query { cats { name } } "
                          "} }"),
                  "Fragment cannot be spread here as objects of type \"Cat\" "
                  "can never be of type \"Query\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { x: name x: color } }"),
                  "Fields \"x\" conflict because they differ in field or "
                  "arguments. Use different aliases on the fields to fetch "
                  "both.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") @loud { name } }"),
                  "Unknown directive \"@loud\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\", name: \"B\") { name } }"),
                  "There can be only one argument named \"name\".");
  CAF_CHECK_EQUAL(refusal("{ echo(id: 99999999999, ratio: \"x\") }"),
                  "Float cannot represent this value: \"x\".");
  const auto x = run("{\n  dog }");
  CAF_CHECK_EQUAL(
    json::serialize(x.body.at("errors")),
    R"([{"message":"Cannot query field \"dog\" on type \"Query\".",)"
    R"("locations":[{"line":2,"column":3}],)"
    R"("extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}])");
}

CAF_TEST(a document that is none is refused with the place) {
  CAF_CHECK_EQUAL(refusal(""), "Syntax Error: Unexpected <EOF>.");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A) { name } }"),
                  "Syntax Error: Unexpected \"A) { name } }\".");
  CAF_CHECK_EQUAL(refusal("{ }"), "Syntax Error: Unexpected \"}\".");
  CAF_CHECK_EQUAL(refusal("subscribe { a }"),
                  "Syntax Error: Unexpected \"subscribe\".");
  CAF_CHECK_EQUAL(refusal("{ cat(name: \"A\") { name }"),
                  "Syntax Error: Unexpected <EOF>.");
  auto deep = std::string{};
  for (auto i = 0; i < 50'000; ++i)
    deep += "{a";
  CAF_CHECK(refusal(deep).find("nested too deeply") != std::string::npos);
  CAF_CHECK(refusal("{ echo(value: " + std::string(100'000, '[') + ") }")
              .find("nested too deeply")
            != std::string::npos);
  CAF_CHECK_EQUAL(refusal(std::string(300'000, ' ')),
                  "The document is too large.");
}

CAF_TEST(one operation of several is chosen by name) {
  const auto query = "query A { cat(name: \"A\") { name } } "
                     "mutation B { feed(name: \"B\") }";
  CAF_CHECK_EQUAL(data(query, {}, "A"), R"({"data":{"cat":{"name":"A"}}})");
  CAF_CHECK_EQUAL(fed, 0);
  const auto done = run(query, {}, "B");
  CAF_CHECK(done.is_mutation);
  CAF_CHECK_EQUAL(json::serialize(done.body), R"({"data":{"feed":true}})");
  CAF_CHECK_EQUAL(fed, 1);
  CAF_CHECK_EQUAL(refusal(query), "Must provide operation name if query "
                                  "contains multiple operations.");
  CAF_CHECK_EQUAL(refusal(query, {}, "C"), "Unknown operation named \"C\".");
  CAF_CHECK_EQUAL(refusal("{ a: cat(name: \"x\") { name } } query B { "
                          "cat(name: \"B\") { name } }"),
                  "This anonymous operation must be the only defined "
                  "operation.");
}

CAF_TEST(errors name their path and nulls climb to where they may be) {
  const auto soft = run("{ cat(name: \"A\") { name b: broken } }");
  CAF_CHECK_EQUAL(soft.status, 200);
  CAF_CHECK_EQUAL(
    json::serialize(soft.body),
    R"({"data":{"cat":{"name":"A","b":null}},"errors":[{"message":)"
    R"("It is broken","locations":[{"line":1,"column":25}],"extensions":)"
    R"({"code":"SOME_CODE","traceId":"trace"},"path":["cat","b"]}]})");
  const auto hard
    = run("{ cat(name: \"A\") { kittens(first: 1) { brokenHard } } }");
  CAF_CHECK(hard.body.at("data").at("cat").is_null());
  CAF_CHECK_EQUAL(json::serialize(hard.body.at("errors").at(0).at("path")),
                  R"(["cat","kittens",0,"brokenHard"])");
}

CAF_TEST(a null that no root field may be takes all data with it) {
  const auto query = "query Watch($a: String!, $b: String!) { e0: cats(filter: "
                     "{min: 1}) { name } e1: cats(filter: null) { brokenHard } "
                     "e2: cat(name: $a) { name } e3: cat(name: $b) { name } }";
  const auto x = execute(
    types, {query, "", {{"a", "A"}, {"b", "B"}}},
    [](bool, std::string_view field, const json::object& args) -> resolved {
      if (field == "cat")
        return std::make_shared<cat>("A");
      if (args.at("filter").is_null())
        return field_error{"Environment not found"};
      return std::vector<object_ptr>{};
    },
    "trace");
  CAF_CHECK_EQUAL(x.status, 200);
  CAF_CHECK(x.body.at("data").is_null());
  const auto& error = x.body.at("errors").at(0);
  CAF_CHECK_EQUAL(error.at("message").as_string(), "Environment not found");
  CAF_CHECK_EQUAL(json::serialize(error.at("path")), R"(["e1"])");
}

CAF_TEST(a subscription is run whenever there is something to say) {
  const auto query = "subscription S($who: String!, $no: Boolean!) { mine: "
                     "heard(name: $who, loud: true) { name mother @include(if: "
                     "$no) { name } } }";
  const auto variables = json::object{{"who", "Tom"}, {"no", false}};
  CAF_CHECK_EQUAL(refusal(query, variables),
                  "Subscriptions are served over WebSocket only.");
  const auto ready = prepare(types, {query, "S", variables});
  CAF_REQUIRE(ready.has_value());
  CAF_CHECK(ready->kind() == operation_kind::subscription);
  CAF_REQUIRE_EQUAL(ready->roots().size(), 1u);
  CAF_CHECK_EQUAL(ready->roots().front().name, "heard");
  CAF_CHECK_EQUAL(json::serialize(ready->roots().front().arguments),
                  R"({"name":"Tom","loud":true})");
  for (const auto* name : {"one", "two"}) {
    const auto said = ready->run(
      [&](bool is_mutation, std::string_view, const json::object&) -> resolved {
        CAF_CHECK(!is_mutation);
        return std::vector<object_ptr>{std::make_shared<cat>(name)};
      },
      "trace");
    CAF_CHECK_EQUAL(json::serialize(said), R"({"data":{"mine":[{"name":")"
                                             + std::string{name} + R"("}]}})");
  }
  CAF_CHECK_EQUAL(refusal("subscription S { a: heard(name: \"x\") { name } b: "
                          "heard(name: \"y\") { name } }"),
                  "Subscription \"S\" must select only one top level field.");
}

CAF_TEST(the fields at the top are known before anything is done) {
  const auto ready
    = prepare(types, {"mutation M($skip: Boolean!) { a: feed(name: \"A\") b: "
                      "feed(name: \"B\") @skip(if: $skip) ... F } fragment F "
                      "on Mutation { c: feed(name: \"C\") }",
                      "",
                      {{"skip", true}}});
  CAF_REQUIRE(ready.has_value());
  CAF_CHECK(ready->kind() == operation_kind::mutation);
  auto names = std::string{};
  for (const auto& x : ready->roots())
    names += x.arguments.at("name").as_string();
  CAF_CHECK_EQUAL(names, "AC");
}

CAF_TEST(a query that asks for too much is cut off) {
  limits few;
  few.fields = 5;
  const auto x
    = run("{ cat(name: \"A\") { kittens(first: 100) { name } } }", {}, "", few);
  CAF_CHECK(x.body.at("data").at("cat").is_null());
}

CAF_TEST(the schema of the simulator is complete in itself) {
  const auto types = railway_schema();
  CAF_REQUIRE(types.has_value());
  CAF_CHECK(types->find("QueryProjectsConnectionEdge") != nullptr);
  CAF_CHECK(!schema::parse("type A { b: C }").has_value());
  CAF_CHECK(!schema::parse("type A { b: Int } type A { c: Int }").has_value());
}

CAF_TEST_FIXTURE_SCOPE_END()
