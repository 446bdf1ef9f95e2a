#define CAF_SUITE config_documents

#include "config/keys.hpp"
#include "config/load_settings.hpp"

#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace slipway;
using namespace slipway::config;

namespace fs = std::filesystem;

namespace {

const auto root = fs::path{SLIPWAY_SOURCE_DIR};

std::vector<std::string> lines_of(const fs::path& path) {
  auto in = std::ifstream{path, std::ios::binary};
  auto result = std::vector<std::string>{};
  for (auto line = std::string{}; std::getline(in, line);)
    result.push_back(line);
  return result;
}

/// Everywhere that a plan's name has to stand, BASIC does.
std::string with_plan(std::string text) {
  if (const auto at = text.find('*'); at != std::string::npos)
    text.replace(at, 1, "BASIC");
  return text;
}

/// One variable of the example, as if its # had been taken away.
struct assignment {
  std::string name;
  std::string value;
  std::string comment; ///< In one line.
  bool active = false;
};

std::vector<assignment> assignments_of(const fs::path& path) {
  auto result = std::vector<assignment>{};
  auto comment = std::string{};
  for (auto line : lines_of(path)) {
    if (line.empty()) {
      comment.clear();
      continue;
    }
    if (line.compare(0, 2, "# ") == 0) {
      comment += line.substr(2) + ' ';
      continue;
    }
    auto next = assignment{};
    next.active = line.front() != '#';
    if (!next.active)
      line.erase(0, 1);
    const auto middle = line.find('=');
    if (middle == std::string::npos)
      continue;
    next.name = line.substr(0, middle);
    next.value = line.substr(middle + 1);
    next.comment = std::exchange(comment, {});
    result.push_back(std::move(next));
  }
  return result;
}

const assignment*
find(const std::vector<assignment>& in, const std::string& name) {
  const auto found
    = std::find_if(in.begin(), in.end(), [&](const assignment& x) {
        return x.name == name;
      });
  return found == in.end() ? nullptr : &*found;
}

/// The row of docs/CONFIGURATION.md about one key.
std::string row_of(const key_info& x) {
  return "| `" + x.name + "` | " + x.sentence + " | " + x.expected + " | "
         + (x.required          ? "**required**"
            : x.initial.empty() ? ""
                                : "`" + x.initial + "`")
         + " |";
}

std::string pem(const std::string& label) {
  return "-----BEGIN " + label + "-----\nAAAA\n-----END " + label + "-----\n";
}

/// A machine on which everything is where the example says.
struct fixture {
  fs::path dir;

  fixture() {
    auto name = (fs::temp_directory_path() / "slipway-env-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("mkdtemp failed");
    dir = name;
    write("slipway.toml", "# Everything comes from the environment.\n");
    write("jwt.key", "0123456789abcdef0123456789abcdef\n");
    write("keys/2026-11.key", std::string(32, '\x07'));
    write("alipay/app.pem", pem("PRIVATE KEY"));
    write("alipay/alipay_pub.pem", pem("PUBLIC KEY"));
    write("wechat/v2.key", std::string(32, '2') + "\n");
    write("wechat/v3.key", std::string(32, '3') + "\n");
    write("wechat/merchant.pem", pem("PRIVATE KEY"));
    write("wechat/pub_key.pem", pem("PUBLIC KEY"));
    write("wechat/platform.pem", pem("CERTIFICATE"));
    write("railway.token", "token\n");
    write("railway.hook", "hook\n");
  }

  ~fixture() {
    auto error = std::error_code{};
    fs::remove_all(dir, error);
  }

  void write(const fs::path& name, const std::string& content) const {
    fs::create_directories((dir / name).parent_path());
    std::ofstream{dir / name, std::ios::binary} << content;
  }

  /// The variables that `wanted` picks, with the files where they are here.
  template <class Wanted>
  environment taken(const std::vector<assignment>& all, Wanted wanted) const {
    auto result = environment{};
    for (const auto& each : all) {
      if (!wanted(each))
        continue;
      auto value = each.value;
      const auto etc = std::string{"/etc/slipway"};
      for (auto at = value.find(etc); at != std::string::npos;
           at = value.find(etc, at + 1))
        value.replace(at, etc.size(), dir.string());
      result[each.name] = value;
    }
    return result;
  }
};

const auto variables = assignments_of(root / "packaging/slipway.env.example");

} // namespace

CAF_TEST(
  the example of the environment has every variable and what it decides) {
  CAF_REQUIRE(!variables.empty());
  for (const auto& each : known_keys()) {
    const auto name = with_plan(each.environment);
    CAF_MESSAGE(name);
    const auto* found = find(variables, name);
    CAF_REQUIRE(found != nullptr);
    CAF_CHECK(found->comment.find(each.sentence) != std::string::npos);
  }
  for (const auto* name : {"DATABASE_URL", "RAILWAY_TEMPLATE_PROJECT_ID",
                           "RAILWAY_TEMPLATE_SERVICE_ID"}) {
    CAF_MESSAGE(name);
    CAF_CHECK(find(variables, name) != nullptr);
  }
}

CAF_TEST(the example of the environment has nothing that is not read) {
  auto known
    = std::vector<std::string>{"DATABASE_URL", "RAILWAY_TEMPLATE_PROJECT_ID",
                               "RAILWAY_TEMPLATE_SERVICE_ID"};
  for (const auto& each : known_keys())
    for (const auto* plan : {"BASIC", "PRO", "ENTERPRISE"}) {
      auto name = each.environment;
      if (const auto at = name.find('*'); at != std::string::npos)
        name.replace(at, 1, plan);
      known.push_back(name);
    }
  for (const auto& each : variables) {
    CAF_MESSAGE(each.name);
    CAF_CHECK(std::find(known.begin(), known.end(), each.name) != known.end());
  }
}

CAF_TEST_FIXTURE_SCOPE(environment_tests, fixture)

CAF_TEST(what the example of the environment sets is enough to start) {
  const auto env = taken(variables, [](const assignment& x) {
    return x.active;
  });
  const auto result = load_settings(dir / "slipway.toml", env);
  if (!result)
    for (const auto& each : result.error())
      CAF_ERROR(each.to_string());
  CAF_REQUIRE(result.has_value());
  CAF_CHECK(!result->alipay && !result->wechat && !result->railway);
}

CAF_TEST(all of the example of the environment fits together) {
  const auto env = taken(variables, [](const assignment&) {
    return true;
  });
  const auto result = load_settings(dir / "slipway.toml", env);
  if (!result)
    for (const auto& each : result.error())
      CAF_ERROR(each.to_string());
  CAF_REQUIRE(result.has_value());
  CAF_CHECK(result->alipay && result->wechat && result->railway && result->mail
            && result->traces);
  CAF_CHECK_EQUAL(result->plans.size(), 3u);
}

CAF_TEST(the example of the environment shows the defaults) {
  auto env = taken(variables, [](const assignment&) {
    return true;
  });
  auto shown = load_settings(dir / "slipway.toml", env);
  CAF_REQUIRE(shown.has_value());
  auto initial = settings{};
  initial.alipay.emplace();
  initial.wechat.emplace();
  initial.railway.emplace();
  initial.mail.emplace();
  initial.traces.emplace();
  for (const auto& each : keys()) {
    if (each.required || each.section == "plans")
      continue;
    const auto fallback = format_value(each, each.at(initial, ""));
    if (fallback.empty() || fallback == "\"\"")
      continue;
    CAF_MESSAGE(each.section << "." << each.name);
    CAF_CHECK_EQUAL(format_value(each, each.at(*shown, "")), fallback);
  }
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST(the documentation of the configuration has every key as it is) {
  const auto lines = lines_of(root / "docs/CONFIGURATION.md");
  CAF_REQUIRE(!lines.empty());
  auto at = lines.begin();
  auto section = std::string{};
  // In their order, each below the headline of its section.
  for (const auto& each : known_keys()) {
    if (each.section != section) {
      section = each.section;
      const auto headline = "### `[" + section + "]`";
      at = std::find(lines.begin(), lines.end(), headline);
      CAF_MESSAGE(headline);
      CAF_REQUIRE(at != lines.end());
    }
    const auto row = row_of(each);
    const auto found = std::find(at, lines.end(), row);
    CAF_MESSAGE("expected: " << row);
    CAF_CHECK(found != lines.end());
    if (found != lines.end())
      at = found;
  }
}

CAF_TEST(the documentation of the configuration has no other key) {
  const auto known = known_keys();
  for (const auto& line : lines_of(root / "docs/CONFIGURATION.md")) {
    if (line.compare(0, 3, "| `") != 0)
      continue;
    CAF_MESSAGE(line);
    CAF_CHECK(std::any_of(known.begin(), known.end(), [&](const key_info& x) {
      return row_of(x) == line;
    }));
  }
}
