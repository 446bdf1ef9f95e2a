#define CAF_SUITE provider.variables

#include "http/provider/variables.hpp"

#include "http/provider/documents.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/test/unit_test.hpp>

#include <string_view>

using namespace slipway::provider;

namespace json = boost::json;

namespace {

json::value filled(std::string_view config, const variable_map& variables) {
  auto out = json::parse(json::string_view{config.data(), config.size()});
  fill_variables(out, variables);
  return out;
}

std::string at(const json::value& config, const char* pointer) {
  auto error = boost::system::error_code{};
  const auto* found = config.find_pointer(pointer, error);
  if (found == nullptr)
    return "(none)";
  return found->is_string() ? std::string{found->get_string().c_str()}
                            : json::serialize(*found);
}

} // namespace

CAF_TEST(whatever else a configuration holds stays as it is) {
  const auto text = std::string_view{
    R"({"version":3,"buckets":{"b":{"x":[1,2.5,null,true,"a"]}},)"
    R"("services":{"id-1":{"name":"web","icon":null,)"
    R"("source":{"image":"nginx:1"},"deploy":{"numReplicas":2,)"
    R"("healthcheckPath":"/up"},"volumeMounts":{"v":{"mountPath":"/data"}},)"
    R"("networking":{"serviceDomains":{"<hasDomain>":{"port":80}}},)"
    R"("future":{"deep":{"er":[{}]}}}}})"};
  auto before = json::parse(json::string_view{text.data(), text.size()});
  auto after = filled(text, {{"A", "1"}});
  CAF_CHECK_EQUAL(at(after, "/services/id-1/variables/A/value"), "1");
  after.at("services").at("id-1").as_object().erase("variables");
  CAF_CHECK(before == after);
}

CAF_TEST(a service that declares a variable gets them all) {
  const auto out = filled(R"({"services":{
    "web":{"variables":{"TIER":{"value":"old","description":"d"}}},
    "db":{"variables":{"PASSWORD":{"value":"${{secret(32)}}"}}},
    "cache":{}}})",
                          {{"TIER", "pro"}, {"SUBSCRIPTION_ID", "sub_1"}});
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/TIER/value"), "pro");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/TIER/description"), "d");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/SUBSCRIPTION_ID/value"),
                  "sub_1");
  // The others are not told what is none of their business.
  CAF_CHECK_EQUAL(at(out, "/services/db/variables/SUBSCRIPTION_ID"), "(none)");
  CAF_CHECK_EQUAL(at(out, "/services/db/variables/PASSWORD/value"),
                  "${{secret(32)}}");
  CAF_CHECK_EQUAL(at(out, "/services/cache"), "{}");
}

CAF_TEST(every service gets them where none declares any) {
  const auto out
    = filled(R"({"services":{"a":{"variables":{"X":{"value":"1"}}},"b":{}}})",
             {{"TIER", "pro"}});
  CAF_CHECK_EQUAL(at(out, "/services/a/variables/TIER/value"), "pro");
  CAF_CHECK_EQUAL(at(out, "/services/a/variables/X/value"), "1");
  CAF_CHECK_EQUAL(at(out, "/services/b/variables/TIER/value"), "pro");
}

CAF_TEST(a variable without a value gets its default) {
  const auto out = filled(R"({"services":{"web":{"variables":{
    "A":{"defaultValue":"${{secret(32)}}"},
    "B":{"value":"b","defaultValue":"no"},
    "C":{"value":null,"defaultValue":"c"},
    "D":{"isOptional":true},
    "E":{"value":"","defaultValue":"no"},
    "F":{"defaultValue":null},
    "G":"a bare string"}}}})",
                          {});
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/A/value"),
                  "${{secret(32)}}");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/B/value"), "b");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/C/value"), "c");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/D/value"), "(none)");
  // An empty one was meant to be empty.
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/E/value"), "");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/F/value"), "(none)");
  CAF_CHECK_EQUAL(at(out, "/services/web/variables/G"), "a bare string");
}

CAF_TEST(strange configurations are left alone) {
  for (auto text :
       {R"({})", R"([])", R"("x")", R"(null)", R"({"services":null})",
        R"({"services":[1]})", R"({"services":{"a":null,"b":17}})"})
    CAF_CHECK_EQUAL(json::serialize(filled(text, {{"A", "1"}})),
                    json::serialize(json::parse(text)));
  CAF_CHECK_EQUAL(
    at(filled(R"({"services":{"a":{"variables":null}}})", {{"A", "1"}}),
       "/services/a/variables/A/value"),
    "1");
}

CAF_TEST(values are carried as they are) {
  const auto nasty = std::string{"line\n\"quoted\" \\ \xe5\xaf\x86 ${{x}}"};
  const auto out = filled(R"({"services":{"a":{}}})", {{"A", nasty}});
  CAF_CHECK_EQUAL(at(out, "/services/a/variables/A/value"), nasty);
  CAF_CHECK_EQUAL(
    at(json::parse(json::serialize(out)), "/services/a/variables/A/value"),
    nasty);
}

CAF_TEST(channels have names that a shell can read) {
  CAF_CHECK_EQUAL(channel_variable("TELEGRAM"), "CHANNEL_TELEGRAM");
  CAF_CHECK_EQUAL(channel_variable("wechat-work"), "CHANNEL_WECHAT_WORK");
  CAF_CHECK_EQUAL(channel_variable("a b=c\n$"), "CHANNEL_A_B_C__");
  CAF_CHECK_EQUAL(channel_variable(""), "CHANNEL_");
  for (unsigned char c : channel_variable("\xe5\xaf\x86"))
    CAF_CHECK(c < 0x80);
}

CAF_TEST(documents are whole and name their field) {
  for (const auto& x :
       {find_projects, read_project, create_project, delete_project,
        template_by_code, template_by_id, deploy_template, read_workflow,
        read_workflow_and_environment, read_environment, create_domain,
        deploy_service, read_deployment, read_events, cancel_deployment}) {
    const auto text = std::string_view{x.document};
    auto depth = 0;
    auto deepest = 0;
    auto round = 0;
    for (auto c : text) {
      depth += c == '{' ? 1 : c == '}' ? -1 : 0;
      round += c == '(' ? 1 : c == ')' ? -1 : 0;
      deepest = std::max(deepest, depth);
      CAF_REQUIRE(depth >= 0 && round >= 0);
    }
    CAF_CHECK_EQUAL(depth, 0);
    CAF_CHECK_EQUAL(round, 0);
    CAF_CHECK(deepest >= 1);
    const auto begin = text.find_first_not_of("\n ");
    CAF_CHECK_EQUAL(text.substr(begin).starts_with("mutation"), x.mutates);
    if (!x.mutates)
      CAF_CHECK(text.substr(begin).starts_with("query"));
    // The field that stands for it is its first selection.
    const auto body = text.find('{');
    const auto field = text.find_first_not_of("{\n ", body);
    CAF_CHECK_EQUAL(text.substr(field, std::string_view{x.field}.size()),
                    x.field);
    // Every variable that is declared is used.
    auto head = text.substr(0, body);
    for (auto at = head.find('$'); at != std::string_view::npos;
         at = head.find('$', at + 1)) {
      const auto end = head.find(':', at);
      const auto variable = head.substr(at, end - at);
      CAF_CHECK(text.find(variable, body) != std::string_view::npos);
    }
  }
}
