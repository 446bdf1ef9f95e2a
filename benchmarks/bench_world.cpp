#include "benchmarks/bench_world.hpp"

#include "benchmarks/load_client.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "persistence/pg/process.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <poll.h>
#include <signal.h>
#include <sstream>
#include <thread>
#include <unistd.h>

namespace slipway::bench {

namespace {

namespace fs = std::filesystem;

using steady = std::chrono::steady_clock;

constexpr auto app_id = "2021000000000000";

constexpr auto seller_id = "2088000000000000";

template <class T>
T must(tl::expected<T, std::string> outcome) {
  if (!outcome)
    give_up(outcome.error());
  return std::move(*outcome);
}

std::string read_file(const std::string& path) {
  auto in = std::ifstream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

int listen_anywhere(std::uint16_t& port) {
  const auto fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  auto address = sockaddr_in{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto size = socklen_t{sizeof(address)};
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0
      || ::listen(fd, 128) != 0
      || ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    give_up("no free port on 127.0.0.1");
  port = ntohs(address.sin_port);
  return fd;
}

std::uint16_t free_port() {
  auto port = std::uint16_t{0};
  ::close(listen_anywhere(port));
  return port;
}

/// Our own environment without anything that would configure the server.
std::vector<std::string> plain_environment() {
  auto out = std::vector<std::string>{};
  for (const auto* const* x = environ; *x != nullptr; ++x) {
    const auto text = std::string_view{*x};
    if (!text.starts_with("SLIPWAY_") && !text.starts_with("DATABASE_URL=")
        && !text.starts_with("RAILWAY_") && !text.starts_with("PG"))
      out.emplace_back(text);
  }
  return out;
}

pg::connection connect(const std::string& url) {
  auto options = pg::connection_options{};
  options.url = url;
  options.application_name = "slipway benchmark";
  options.statement_timeout = millis{60'000};
  auto opened = pg::connection::open(options);
  if (!opened)
    give_up("database: " + to_string(opened.error()));
  return std::move(*opened);
}

/// Turns libpq's `name=value` form, whose values hold no blanks here, into the
/// URL that a configuration takes.
std::string to_uri(const std::string& keywords) {
  auto in = std::istringstream{keywords};
  auto out = std::string{"postgresql:///"};
  auto separator = '?';
  for (std::string word; in >> word; separator = '&') {
    const auto equals = word.find('=');
    auto value = word.substr(equals + 1);
    std::erase(value, '\'');
    out += separator + word.substr(0, equals) + "="
           + crypto::percent_encode(value);
  }
  return out;
}

} // namespace

void give_up(const std::string& why) {
  throw failure{why};
}

// -- files -------------------------------------------------------------------

scratch::scratch() : dir_{"/tmp/slipway-bench-XXXXXX"} {
  if (::mkdtemp(dir_.data()) == nullptr)
    give_up("cannot make a directory in /tmp");
}

scratch::~scratch() {
  auto failed = std::error_code{};
  fs::remove_all(dir_, failed);
  if (failed)
    std::fprintf(stderr, "benchmark: cannot remove %s: %s\n", dir_.c_str(),
                 failed.message().c_str());
}

std::string
scratch::write(const std::string& name, std::string_view content) const {
  const auto path = dir_ + "/" + name;
  auto out = std::ofstream{path, std::ios::binary};
  out << content;
  if (!out.flush())
    give_up("cannot write " + path);
  return path;
}

// -- what is signed ----------------------------------------------------------

key_set::key_set()
  : app{must(crypto::generate_rsa_key())}, alipay{must(
                                             crypto::generate_rsa_key())},
    alipay_signs{must(crypto::rsa_private_key::parse(alipay.private_pem))},
    token_secret{crypto::base64_encode(must(crypto::random_bytes(32)))},
    credential_key{crypto::base64_encode(must(crypto::random_bytes(32)))} {
}

std::string make_token(const key_set& keys, const std::string& user) {
  const auto expires = std::chrono::duration_cast<std::chrono::seconds>(
                         std::chrono::system_clock::now().time_since_epoch())
                         .count()
                       + 86'400;
  const auto text
    = crypto::base64url_encode(R"({"alg":"HS256","typ":"JWT"})") + "."
      + crypto::base64url_encode(R"({"sub":")" + user + R"(","exp":)"
                                 + std::to_string(expires) + "}");
  return text + "."
         + crypto::base64url_encode(
           crypto::hmac_sha256(keys.token_secret, text));
}

std::string make_notification(const key_set& keys, const std::string& order_id,
                              std::uint64_t number) {
  const auto now
    = std::chrono::time_point_cast<millis>(std::chrono::system_clock::now());
  const auto at = to_beijing(now);
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%014llu",
                static_cast<unsigned long long>(number));
  auto fields = crypto::form_fields{
    {"gmt_create", at},
    {"charset", "utf-8"},
    {"seller_email", "merchant@example.com"},
    {"subject", "专业版"},
    {"body", ""},
    {"buyer_id", "2088102122458832"},
    {"buyer_logon_id", "bob***@example.com"},
    {"invoice_amount", "99.00"},
    {"notify_id", std::string{"2026112300222080001"} + digits},
    {"fund_bill_list", R"([{"amount":"99.00","fundChannel":"ALIPAYACCOUNT"}])"},
    {"notify_type", "trade_status_sync"},
    {"trade_status", "TRADE_SUCCESS"},
    {"receipt_amount", "99.00"},
    {"buyer_pay_amount", "99.00"},
    {"point_amount", "0.00"},
    {"app_id", app_id},
    {"auth_app_id", app_id},
    {"seller_id", seller_id},
    {"gmt_payment", at},
    {"notify_time", at},
    {"version", "1.0"},
    {"out_trade_no", order_id},
    {"total_amount", "99.00"},
    {"trade_no", std::string{"20261123220014"} + digits},
  };
  auto sorted = fields;
  std::sort(sorted.begin(), sorted.end());
  auto text = std::string{};
  for (const auto& [name, value] : sorted)
    text += (text.empty() ? "" : "&") + name + "=" + value;
  fields.emplace_back("sign_type", "RSA2");
  fields.emplace_back("sign", crypto::base64_encode(must(keys.alipay_signs.sign(
                                crypto::digest::sha256, text))));
  return crypto::encode_form(fields);
}

// -- the database ------------------------------------------------------------

database::database(std::string url) : url_{std::move(url)} {
  if (!url_.empty())
    return;
  auto options = embedded_options{};
  options.dir = place_.dir();
  cluster_ = must(embedded_cluster::start(std::move(options)));
}

std::string database::make() {
  if (!cluster_) {
    // Somebody's database: only what we have put there ourselves may go.
    if (made_++ == 0
        && count(url_, "SELECT count(*) FROM pg_class c JOIN pg_namespace n "
                       "ON n.oid = c.relnamespace WHERE n.nspname = 'public'")
             != 0)
      give_up("the database of --database-url is not empty");
    if (auto done = connect(url_).script(
          "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        !done)
      give_up("database: " + to_string(done.error()));
    return url_;
  }
  const auto name = "bench_" + std::to_string(++made_);
  auto db = connect(cluster_->url_of("postgres"));
  if (auto done = db.script("CREATE DATABASE " + name); !done)
    give_up("database: " + to_string(done.error()));
  return to_uri(cluster_->url_of(name));
}

std::int64_t database::count(const std::string& url, const std::string& sql) {
  auto db = connect(url);
  const auto what = pg::statement{"count", sql.c_str(), false};
  auto row = db.execute(what);
  if (!row)
    give_up("database: " + to_string(row.error()));
  return row->int64(0, 0);
}

// -- processes ---------------------------------------------------------------

silent_endpoint::silent_endpoint() : socket_{listen_anywhere(port_)} {
}

silent_endpoint::~silent_endpoint() {
  ::close(socket_);
}

server_process::server_process(const std::string& binary, const scratch& in,
                               const key_set& keys,
                               const std::string& database_url,
                               std::uint16_t provider_port)
  : port_{free_port()}, admin_port_{free_port()}, log_{in.dir() + "/log"} {
  in.write("jwt.key", keys.token_secret);
  in.write("credentials.key", keys.credential_key);
  in.write("app.pem", keys.app.private_pem);
  in.write("alipay.pem", keys.alipay.public_pem);
  in.write("railway.token", "none");
  auto toml = std::ostringstream{};
  toml << "[http]\nlisten = \"127.0.0.1:" << port_
       << "\"\nadmin_listen = \"127.0.0.1:" << admin_port_
       << "\"\n[database]\nurl = \"\"\"" << database_url
       << "\"\"\"\n[auth]\nhs256_secret_file = \"jwt.key\"\n"
          "[secrets]\ncredential_keys = [\"bench:credentials.key\"]\n"
          "[plans.PRO]\ntitle = \"专业版\"\namount = \"99.00\"\n"
          "[alipay]\napp_id = \""
       << app_id << "\"\nseller_id = \"" << seller_id
       << "\"\napp_private_key_file = \"app.pem\"\n"
          "alipay_public_key_file = \"alipay.pem\"\n";
  if (provider_port != 0)
    toml << "[railway]\nendpoint = \"http://127.0.0.1:" << provider_port
         << "/graphql/v2\"\ntoken_file = \"railway.token\"\n"
            "workspace_id = \"00000000-0000-0000-0000-000000000000\"\n"
            "template_code = \"none\"\n[deployment]\nmax_concurrent = 3\n";
  const auto config = in.write("slipway.toml", toml.str());
  auto options = pg::process_options{};
  options.arguments
    = {fs::absolute(binary).string(), "serve", "--config", config};
  options.environment = plain_environment();
  options.directory = in.dir();
  options.as = pg::own_identity();
  options.output
    = ::open(log_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  options.death_signal = SIGTERM;
  auto started = pg::start_process(options);
  ::close(options.output);
  if (!started)
    give_up("cannot start " + binary);
  pid_ = *started;
  const auto probe
    = std::vector<std::string>{make_request("GET", "/readyz", "", "")};
  const auto until = steady::now() + std::chrono::seconds{60};
  for (;;) {
    auto how = load_options{};
    how.port = admin_port_;
    how.connections = 1;
    how.limit = seconds{5};
    const auto ready = run_load(
      how, probe, [](std::size_t, unsigned status, std::string_view) {
        return status == 200;
      });
    if (ready.failed == 0)
      return;
    if (const auto status = pg::reap(pid_)) {
      pid_ = 0;
      not_ready("ended with " + pg::describe_status(*status));
    }
    if (steady::now() >= until)
      not_ready("is not ready after 60 s: " + ready.first_failure);
    ::poll(nullptr, 0, 20);
  }
}

void server_process::not_ready(const std::string& why) {
  auto log = read_file(log_);
  give_up("the server " + why + "\n"
          + log.substr(log.size() - std::min<std::size_t>(log.size(), 4'000)));
}

server_process::~server_process() {
  if (pid_ == 0)
    return;
  ::kill(pid_, SIGTERM);
  if (!pg::wait_for_end(pid_, steady::now() + std::chrono::seconds{20})) {
    std::fprintf(stderr, "benchmark: the server did not stop, killing it\n");
    ::kill(pid_, SIGKILL);
    static_cast<void>(
      pg::wait_for_end(pid_, steady::now() + std::chrono::seconds{5}));
  }
  static_cast<void>(pg::reap(pid_));
}

double server_process::metric(const std::string& name) const {
  auto value = 0.0;
  auto how = load_options{};
  how.port = admin_port_;
  how.connections = 1;
  how.limit = seconds{10};
  const auto report = run_load(
    how, {make_request("GET", "/metrics", "", "")},
    [&](std::size_t, unsigned status, std::string_view body) {
      const auto at = body.find("\n" + name + " ");
      if (at != std::string_view::npos)
        value = std::atof(
          std::string{body.substr(at + name.size() + 2, 40)}.c_str());
      return status == 200;
    });
  if (report.failed != 0)
    give_up("/metrics: " + report.first_failure);
  return value;
}

std::int64_t server_process::resident_bytes() const {
  const auto text = read_file("/proc/" + std::to_string(pid_) + "/status");
  const auto at = text.find("VmRSS:");
  if (at == std::string::npos)
    give_up("the server is gone");
  return std::atoll(text.c_str() + at + 6) * 1024;
}

std::chrono::duration<double> server_process::cpu_time() const {
  const auto text = read_file("/proc/" + std::to_string(pid_) + "/stat");
  const auto name_end = text.rfind(')');
  if (name_end == std::string::npos)
    give_up("the server is gone");
  auto in = std::istringstream{text.substr(name_end + 2)};
  auto skipped = std::string{};
  for (auto i = 0; i < 11; ++i)
    in >> skipped;
  auto user = 0.0;
  auto kernel = 0.0;
  in >> user >> kernel;
  return std::chrono::duration<double>{
    (user + kernel) / static_cast<double>(::sysconf(_SC_CLK_TCK))};
}

std::string describe_machine() {
  auto name = utsname{};
  ::uname(&name);
  const auto bytes = static_cast<double>(::sysconf(_SC_PHYS_PAGES))
                     * static_cast<double>(::sysconf(_SC_PAGE_SIZE));
  char text[128];
  std::snprintf(text, sizeof(text), "%u cores, %.0f GB of memory, %s",
                std::thread::hardware_concurrency(), bytes / 1e9, name.machine);
  return text;
}

} // namespace slipway::bench
