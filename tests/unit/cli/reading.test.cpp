#define CAF_SUITE cli.reading

#include "http/cli/access.hpp"
#include "http/cli/actor_tree.hpp"
#include "http/cli/event_reader.hpp"
#include "http/cli/json_reading.hpp"
#include "http/cli/session.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

using namespace slipway;
using namespace slipway::cli;

namespace json = boost::json;

namespace {

class fixed_clock final : public clock {
public:
  timestamp now() const noexcept override {
    return timestamp{std::chrono::seconds{1'700'000'000}};
  }
};

const auto time_of_test = fixed_clock{};

std::vector<server_event>
read_in_pieces(const std::string& text, std::size_t size) {
  auto reader = event_reader{};
  auto out = std::vector<server_event>{};
  for (std::size_t at = 0; at < text.size(); at += size)
    for (auto& event : reader.take(std::string_view{text}.substr(at, size)))
      out.push_back(std::move(event));
  CAF_CHECK(!reader.overflowed());
  return out;
}

std::vector<std::string> drawn(const json::array& actors, bool unicode) {
  auto out = std::vector<std::string>{};
  for (const auto& line : tree_of(actors, unicode))
    out.push_back(line.lead + text_of(*line.actor, "id"));
  return out;
}

json::object actor(const char* id, const char* parent) {
  return {
    {"id", id},
    {"parent", *parent == '\0' ? json::value(nullptr) : json::value(parent)}};
}

struct folder {
  std::filesystem::path path = std::filesystem::temp_directory_path()
                               / ("slipway-cli-" + std::to_string(::getpid()));

  folder() {
    std::filesystem::create_directories(path);
  }

  ~folder() {
    std::filesystem::remove_all(path);
  }

  std::string file(const char* name, const std::string& text) const {
    auto out = std::ofstream{path / name, std::ios::binary};
    out << text;
    return (path / name).string();
  }
};

std::string message_of(const connection_arguments& given,
                       const config::environment& env = {}) {
  const auto found = find_access(given, env, time_of_test);
  CAF_REQUIRE(!found);
  CAF_CHECK_EQUAL(found.error().exit_code, exit_usage);
  return found.error().message;
}

/// A certificate for these names, in OpenSSL's notation: `DNS:a,IP:127.0.0.1`.
std::string certificate_for(const std::string& names) {
  auto key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>{
    EVP_EC_gen("P-256"), &EVP_PKEY_free};
  auto cert
    = std::unique_ptr<X509, decltype(&X509_free)>{X509_new(), &X509_free};
  X509_set_version(cert.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(cert.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
  X509_set_pubkey(cert.get(), key.get());
  auto* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name,
                                        names.c_str());
  CAF_REQUIRE(extension != nullptr);
  X509_add_ext(cert.get(), extension, -1);
  X509_EXTENSION_free(extension);
  CAF_REQUIRE(X509_sign(cert.get(), key.get(), EVP_sha256()) > 0);
  auto* out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(out, cert.get());
  char* data = nullptr;
  const auto size = BIO_get_mem_data(out, &data);
  auto text = std::string{data, static_cast<std::size_t>(size)};
  BIO_free(out);
  return text;
}

} // namespace

CAF_TEST(events are put together from any pieces) {
  const auto text = std::string{
    ": hello\r\n\r\nretry: 2000\n\nid: 1\nevent: status\ndata: {\"a\":1}\n\n"
    "data: two\ndata:  lines\r\rid: 3\n\ndata\n\nevent: log\n\ndata: end\r\n"
    "\r\n"};
  for (std::size_t size = 1; size <= text.size(); ++size) {
    const auto events = read_in_pieces(text, size);
    CAF_REQUIRE_EQUAL(events.size(), 4u);
    CAF_CHECK_EQUAL(events[0].name, "status");
    CAF_CHECK_EQUAL(events[0].id, "1");
    CAF_CHECK_EQUAL(events[0].data, "{\"a\":1}");
    CAF_CHECK_EQUAL(events[1].name, "message");
    CAF_CHECK_EQUAL(events[1].data, "two\n lines");
    CAF_CHECK_EQUAL(events[1].id, "1");
    CAF_CHECK_EQUAL(events[2].data, "");
    CAF_CHECK_EQUAL(events[2].id, "3");
    CAF_CHECK_EQUAL(events[3].data, "end");
    CAF_CHECK_EQUAL(events[3].name, "message");
  }
}

CAF_TEST(a line without an end is given up) {
  auto reader = event_reader{};
  const auto piece = std::string(64 * 1024, 'x');
  for (auto i = 0; i < 20; ++i)
    CAF_CHECK(reader.take(piece).empty());
  CAF_CHECK(reader.overflowed());
  reader.restart();
  CAF_CHECK(!reader.overflowed());
  CAF_CHECK_EQUAL(reader.take("data: a\n\n").size(), 1u);
}

CAF_TEST(actors stand below their parents) {
  const auto actors = json::array{
    actor("guardian", ""), actor("registry", "guardian"),
    actor("supervisor:1", "registry"), actor("supervisor:2", "registry"),
    actor("journal", "guardian")};
  CAF_CHECK_EQUAL(
    drawn(actors, true),
    (std::vector<std::string>{"guardian", "├─ registry", "│  ├─ supervisor:1",
                              "│  └─ supervisor:2", "└─ journal"}));
  CAF_CHECK_EQUAL(
    drawn(actors, false),
    (std::vector<std::string>{"guardian", "|- registry", "|  |- supervisor:1",
                              "|  `- supervisor:2", "`- journal"}));
}

CAF_TEST(an actor without its parent and a circle of actors are shown once) {
  const auto actors = json::array{actor("lonely", "gone"), actor("a", "b"),
                                  actor("b", "a"), actor("self", "self")};
  CAF_CHECK_EQUAL(drawn(actors, true),
                  (std::vector<std::string>{"lonely", "self", "a", "└─ b"}));
}

CAF_TEST(a failed answer is told with its code and its request) {
  const auto body
    = std::string{R"({"success":false,"message":"Subscription not found",)"
                  R"("error":"not_found","requestId":"r-1"})"};
  const auto why = explain(404, body, {});
  CAF_CHECK_EQUAL(why.exit_code, exit_refused);
  CAF_CHECK(why.message.find("Subscription not found (404 not_found)") == 0);
  CAF_CHECK(why.message.find("request: r-1") != std::string::npos);
  CAF_CHECK(why.message.find("hint: ") != std::string::npos);
  CAF_CHECK(explain(502, "<html>", {}).message.find("502")
            != std::string::npos);
  const auto forbidden
    = std::string{R"({"success":false,"message":"no","error":"forbidden"})"};
  CAF_CHECK(explain(403, forbidden, "viewer").message.find("--role")
            != std::string::npos);
  CAF_CHECK(explain(403, forbidden, {}).message.find("--role")
            == std::string::npos);
}

CAF_TEST(a segment cannot leave its place in the path) {
  CAF_CHECK_EQUAL(segment("supervisor:1"), "supervisor%3A1");
  CAF_CHECK_EQUAL(segment("../x?y#z"), "..%2Fx%3Fy%23z");
  CAF_CHECK_EQUAL(segment(".."), "%2E%2E");
}

CAF_TEST(the server is found by an address or by a configuration) {
  const auto here = folder{};
  const auto token = here.file("token", "abc.def.ghi\n");
  auto given = connection_arguments{};
  CAF_CHECK(message_of(given).find("--config") != std::string::npos);
  given.url = "https://pay.example.com/";
  CAF_CHECK(message_of(given).find("--token-file") != std::string::npos);
  given.token_file = token;
  const auto found = find_access(given, {}, time_of_test);
  CAF_REQUIRE(found);
  CAF_CHECK_EQUAL(found->base, "https://pay.example.com");
  CAF_CHECK_EQUAL(found->token().reveal(), "abc.def.ghi");
  CAF_CHECK(found->warning.empty());

  given.url = "http://10.0.0.1:8080";
  CAF_CHECK(!find_access(given, {}, time_of_test).value().warning.empty());
  given.url = "http://127.0.0.1:8080";
  CAF_CHECK(find_access(given, {}, time_of_test).value().warning.empty());
  for (const auto* url :
       {"pay.example.com", "ftp://x", "https://u:p@x/", "https://x/?a=b"}) {
    given.url = url;
    CAF_CHECK(message_of(given).find("--url") == 0);
  }

  given.url.clear();
  const auto env = config::environment{
    {"SLIPWAY_OPS_URL", "http://127.0.0.1:1"}, {"SLIPWAY_OPS_TOKEN", "t"}};
  const auto by_variable = find_access(given, env, time_of_test);
  CAF_REQUIRE(by_variable);
  CAF_CHECK_EQUAL(by_variable->base, "http://127.0.0.1:1");
  // The file comes first.
  CAF_CHECK_EQUAL(by_variable->token().reveal(), "abc.def.ghi");
  given.as = "alice";
  CAF_CHECK(message_of(given, env).find("--as") == 0);
}

CAF_TEST(a token that could break a header is refused and not shown) {
  const auto here = folder{};
  auto given = connection_arguments{};
  given.url = "http://127.0.0.1:1";
  for (const auto* text : {"", "  \n", "SECRET one", "SECRET\r\nX: y"}) {
    given.token_file = here.file("token", text);
    const auto why = message_of(given);
    CAF_CHECK(why.find("--token-file") == 0);
    CAF_CHECK(why.find("SECRET") == std::string::npos);
  }
  given.token_file = (here.path / "missing").string();
  CAF_CHECK(message_of(given).find("does not exist") != std::string::npos);
}

CAF_TEST(a certificate tells the name that it is asked for by) {
  const auto named = certificate_for("DNS:pay.example.com,IP:127.0.0.1");
  CAF_CHECK_EQUAL(certified_name(named), "pay.example.com");
  CAF_CHECK(is_certified(named, "127.0.0.1"));
  CAF_CHECK(!is_certified(named, "127.0.0.2"));
  const auto wild = certificate_for("DNS:*.example.com");
  CAF_CHECK(is_certified(wild, certified_name(wild)));
  CAF_CHECK_EQUAL(certified_name(certificate_for("IP:10.0.0.1")), "");
  CAF_CHECK_EQUAL(certified_name("no PEM"), "");
}
