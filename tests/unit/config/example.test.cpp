#define CAF_SUITE config_example

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

using namespace slipway;
using namespace slipway::config;

namespace fs = std::filesystem;

namespace {

const auto example_path
  = fs::path{SLIPWAY_SOURCE_DIR} / "config" / "slipway.example.toml";

std::string read(const fs::path& path) {
  auto text = std::ostringstream{};
  text << std::ifstream{path, std::ios::binary}.rdbuf();
  return text.str();
}

/// The comments of a text in one line.
std::string comments(const std::string& text) {
  auto lines = std::istringstream{text};
  auto result = std::string{};
  for (auto line = std::string{}; std::getline(lines, line);)
    if (line.compare(0, 2, "# ") == 0)
      result += line.substr(2) + ' ';
  return result;
}

/// One section of the example with its comments, but without the header.
std::string
section_text(const std::string& example, const std::string& header) {
  const auto at = example.find("\n[" + header + "]\n");
  if (at == std::string::npos)
    return {};
  const auto begin = example.find('\n', at + 1) + 1;
  return example.substr(begin, example.find("\n[", begin) - begin);
}

std::string pem(const std::string& label) {
  return "-----BEGIN " + label + "-----\nAAAA\n-----END " + label + "-----\n";
}

struct fixture {
  fs::path dir;

  fixture() {
    auto name = (fs::temp_directory_path() / "slipway-example-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("mkdtemp failed");
    dir = name;
    fs::copy_file(example_path, dir / "slipway.toml");
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
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(example_tests, fixture)

CAF_TEST(the example is without mistakes) {
  const auto result = load_settings(dir / "slipway.toml", {});
  if (!result)
    for (const auto& each : result.error())
      CAF_ERROR(each.to_string());
  CAF_REQUIRE(result.has_value());
  CAF_CHECK(result->alipay && result->wechat && result->railway
            && result->mail);
  CAF_CHECK_EQUAL(result->plans.size(), 3u);
}

CAF_TEST(the example shows the defaults) {
  auto shown = load_settings(dir / "slipway.toml", {});
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

CAF_TEST(the plans of the example are the default ones) {
  write("least.toml",
        "[database]\nurl = \"embedded:x\"\n"
        "[auth]\nhs256_secret_file = \"jwt.key\"\n"
        "[secrets]\ncredential_keys = [\"a:keys/2026-11.key\"]\n");
  const auto shown = load_settings(dir / "slipway.toml", {});
  const auto least = load_settings(dir / "least.toml", {});
  CAF_REQUIRE(shown.has_value() && least.has_value());
  CAF_CHECK_EQUAL(shown->plans.size(), least->plans.size());
  for (const auto& [name, plan] : least->plans) {
    CAF_REQUIRE(shown->plans.count(name) == 1);
    const auto& same = shown->plans.at(name);
    CAF_CHECK_EQUAL(same.title, plan.title);
    CAF_CHECK_EQUAL(same.amount_minor, plan.amount_minor);
    CAF_CHECK_EQUAL(same.currency, plan.currency);
    CAF_CHECK_EQUAL(same.period_days, plan.period_days);
    CAF_CHECK_EQUAL(same.priority, plan.priority);
  }
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST(the example has every key and what it decides) {
  const auto example = read(example_path);
  CAF_REQUIRE(!example.empty());
  for (const auto& each : known_keys()) {
    const auto header
      = each.section == "plans.*" ? std::string{"plans.BASIC"} : each.section;
    const auto text = section_text(example, header);
    CAF_MESSAGE(each.section << "." << each.name);
    CAF_CHECK(("\n" + text).find("\n" + each.name + " = ")
              != std::string::npos);
    CAF_CHECK(comments(text).find(each.sentence) != std::string::npos);
  }
}

CAF_TEST(every key is described) {
  for (const auto& each : known_keys()) {
    CAF_CHECK(!each.sentence.empty());
    CAF_CHECK(!each.expected.empty());
    CAF_CHECK(each.environment.compare(0, 8, "SLIPWAY_") == 0);
  }
}
