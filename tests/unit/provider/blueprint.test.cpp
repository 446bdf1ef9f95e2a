#define CAF_SUITE provider.blueprint

#include "http/provider/blueprint.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/test/unit_test.hpp>

#include <array>
#include <string_view>
#include <vector>

using namespace slipway::provider;

namespace json = boost::json;

namespace {

// A service among others, with everything that belongs to the template alone
// and with fields that nobody knows yet.
constexpr auto template_config = std::string_view{R"({
  "services": {
    "svc-t": {
      "icon": null,
      "source": {"repo": "https://example.com/x", "branch": null},
      "build": {"builder": "RAILPACK", "watchPatterns": []},
      "deploy": {"numReplicas": 2, "multiRegionConfig": {"eu": {"n": 2}}},
      "networking": {
        "serviceDomains": {"tpl.up.example": {"port": 8080}},
        "customDomains": {"tpl.example.com": {"port": 8080}},
        "tcpProxies": {"5432": {}}
      },
      "variables": {
        "PORT": {"value": "8080"},
        "TIER": {"value": "template", "description": "stays"},
        "SECRET": {"defaultValue": "${{secret(32)}}"}
      },
      "volumeMounts": {"vol-t": {"mountPath": "/data", "x": [1, 2.5]}},
      "quota": {"ratio": 0.5, "tiers": [[1, 2], [], [{}]]}
    },
    "svc-other": {"source": {"image": "postgres"}}
  },
  "volumes": {
    "vol-t": {"region": "eu-west", "sizeMB": 500},
    "vol-other": {"sizeMB": 1}
  },
  "sharedVariables": {"SHARED": {"value": "1"}},
  "layout": {"x-y": [0.25, -3], "none": null}
})"};

blueprint make_blueprint(std::string_view text = template_config) {
  auto out = blueprint{};
  out.service_id = "svc-t";
  out.service_name = "web";
  out.config = json::parse(json::string_view{text.data(), text.size()});
  return out;
}

json::value patched() {
  return json::value(make_patch(
    make_blueprint(), "svc-new", {{"vol-t", "vol-new"}},
    {{"TIER", "pro"}, {"SUBSCRIPTION_ID", "sub_1"}, {"TOKEN", "s\"ecret"}}));
}

std::string at(const json::value& config, const char* pointer) {
  auto error = boost::system::error_code{};
  const auto* found = config.find_pointer(pointer, error);
  return found == nullptr ? "(none)" : json::serialize(*found);
}

/// A project with these services, each of id, template's key, creation and
/// whether it is deleted.
json::value
project(std::vector<std::array<const char*, 3>> services, bool gone = false) {
  auto edges = json::array{};
  for (const auto& [id, key, created] : services)
    edges.push_back(json::object{
      {"node",
       json::object{{"id", id},
                    {"name", "web"},
                    {"createdAt", created},
                    {"deletedAt", gone ? json::value("2026-01-01T00:00:00Z")
                                       : json::value(nullptr)},
                    {"templateServiceId",
                     *key == 0 ? json::value(nullptr) : json::value(key)}}}});
  return json::object{{"services", json::object{{"edges", std::move(edges)}}}};
}

using ids = std::vector<std::string>;

} // namespace

CAF_TEST(whatever the configuration holds arrives in the clone) {
  const auto patch = patched();
  const auto& from = make_blueprint().config;
  CAF_CHECK_EQUAL(at(patch, "/sharedVariables"),
                  json::serialize(from.at("sharedVariables")));
  CAF_CHECK_EQUAL(at(patch, "/layout"), json::serialize(from.at("layout")));
  const auto& service = from.at("services").at("svc-t").as_object();
  for (const auto* same : {"icon", "source", "build", "deploy", "quota"})
    CAF_CHECK_EQUAL(
      at(patch, ("/services/svc-new/" + std::string{same}).c_str()),
      json::serialize(service.at(same)));
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/networking/tcpProxies"),
                  R"({"5432":{}})");
}

CAF_TEST(what belongs to the template alone stays behind) {
  const auto patch = patched();
  CAF_CHECK_EQUAL(patch.at("services").as_object().size(), 1u);
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/networking/serviceDomains"),
                  "{}");
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/networking/customDomains"),
                  "{}");
  const auto text = json::serialize(patch);
  for (const auto* own : {"tpl.up.example", "tpl.example.com", "svc-t\"",
                          "svc-other", "vol-t", "vol-other"})
    CAF_CHECK(text.find(own) == text.npos);
}

CAF_TEST(volumes go by their new ids with all that is said of them) {
  const auto mounts = mounts_of(make_blueprint());
  CAF_REQUIRE_EQUAL(mounts.size(), 1u);
  CAF_CHECK_EQUAL(mounts[0].template_volume, "vol-t");
  CAF_CHECK_EQUAL(mounts[0].path, "/data");
  CAF_CHECK_EQUAL(mounts[0].region, "eu-west");
  const auto patch = patched();
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/volumeMounts"),
                  R"({"vol-new":{"mountPath":"/data","x":[1,2.5E0]}})");
  CAF_CHECK_EQUAL(at(patch, "/volumes"),
                  R"({"vol-new":{"region":"eu-west","sizeMB":500}})");
}

CAF_TEST(our variables win and the others keep their values) {
  const auto patch = patched();
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/variables/TIER/value"),
                  R"("pro")");
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/variables/TIER/description"),
                  R"("stays")");
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/variables/PORT/value"),
                  R"("8080")");
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/variables/SECRET/value"),
                  R"("${{secret(32)}}")");
  CAF_CHECK_EQUAL(at(patch, "/services/svc-new/variables/TOKEN/value"),
                  R"("s\"ecret")");
}

CAF_TEST(a service without variables gets ours) {
  const auto patch
    = json::value(make_patch(make_blueprint(R"({"services":{"svc-t":{}}})"),
                             "svc-new", {}, {{"SUBSCRIPTION_ID", "sub_1"}}));
  CAF_CHECK(is_patched(patch, "svc-new", "sub_1"));
}

CAF_TEST(a change that was made is recognised) {
  const auto patch = patched();
  CAF_CHECK(is_patched(patch, "svc-new", "sub_1"));
  CAF_CHECK(!is_patched(patch, "svc-new", "sub_2"));
  CAF_CHECK(!is_patched(patch, "svc-t", "sub_1"));
  CAF_CHECK(!is_patched(json::value(nullptr), "svc-new", "sub_1"));
  CAF_CHECK(!is_patched(json::parse(R"({"services":{"svc-new":{}}})"),
                        "svc-new", "sub_1"));
}

CAF_TEST(the port of the template is the port of the clone) {
  CAF_CHECK(port_of(make_blueprint()) == std::optional<std::int64_t>{8080});
  for (const auto* none :
       {R"({"services":{"svc-t":{}}})",
        R"({"services":{"svc-t":{"networking":{"serviceDomains":{}}}}})",
        R"({"services":{"svc-t":{"networking":
          {"serviceDomains":{"a.example":{}}}}}})",
        R"({})"})
    CAF_CHECK(!port_of(make_blueprint(none)));
}

CAF_TEST(nonsense makes no volumes and no crash) {
  for (const auto* odd :
       {R"({})", R"({"services":[]})", R"({"services":{"svc-t":7}})",
        R"({"services":{"svc-t":{"volumeMounts":[1]}}})",
        R"({"services":{"svc-t":{"volumeMounts":{"v":null}}}})",
        R"({"services":{"svc-t":{"networking":"x","volumeMounts":3}}})"}) {
    const auto from = make_blueprint(odd);
    CAF_CHECK(mounts_of(from).empty());
    const auto patch = make_patch(from, "svc-new", {}, {{"A", "1"}});
    CAF_CHECK(patch.at("services").as_object().contains("svc-new"));
  }
}

CAF_TEST(of services that were made twice the oldest stay) {
  const auto surplus = [](const json::value& of) {
    return surplus_of(made_services_of(of));
  };
  CAF_CHECK(surplus(project({})).empty());
  CAF_CHECK(surplus(project({{"a", "web", "2026-01-01T00:00:00.000Z"},
                             {"b", "db", "2026-01-01T00:00:00.000Z"}}))
              .empty());
  CAF_CHECK(surplus(project({{"a", "web", "2026-01-01T00:00:02.000Z"},
                             {"b", "web", "2026-01-01T00:00:01.000Z"},
                             {"c", "web", "2026-01-01T00:00:03.000Z"},
                             {"d", "db", "2026-01-01T00:00:09.000Z"}}))
            == ids({"a", "c"}));
  // Created at the same moment: the same one stays, whoever looks.
  CAF_CHECK(surplus(project({{"b", "web", "2026-01-01T00:00:00.000Z"},
                             {"a", "web", "2026-01-01T00:00:00.000Z"}}))
            == ids({"b"}));
  // What is in use stays, however old the others are.
  auto used = made_services_of(project({{"a", "web", "2026-01-01T00:00:01Z"},
                                        {"b", "web", "2026-01-01T00:00:02Z"},
                                        {"c", "web", "2026-01-01T00:00:03Z"}}));
  used[1].in_use = true;
  used[2].in_use = true;
  CAF_CHECK(surplus_of(used) == ids({"c", "a"}));
  // Not of a template: a user may have added them.
  CAF_CHECK(surplus(project({{"a", "", "2026-01-01T00:00:00.000Z"},
                             {"b", "", "2026-01-01T00:00:00.000Z"}}))
              .empty());
  CAF_CHECK(surplus(project({{"a", "web", "2026-01-01T00:00:00.000Z"},
                             {"b", "web", "2026-01-01T00:00:00.000Z"}},
                            true))
              .empty());
}

CAF_TEST(a template says how many services it makes) {
  CAF_CHECK_EQUAL(services_in(json::parse(R"({"services":{"a":{},"b":{}}})")),
                  2u);
  CAF_CHECK_EQUAL(services_in(json::parse(R"({"services":{}})")), 0u);
  CAF_CHECK_EQUAL(services_in(json::parse(R"([])")), 0u);
}
