#include "http/cli/access.hpp"

#include "config/keys.hpp"
#include "config/text.hpp"
#include "http/cli/token.hpp"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <pwd.h>
#include <unistd.h>
#include <utility>

namespace slipway::cli {

namespace {

/// A token that is made for one call lives so long.
constexpr auto token_life = std::chrono::minutes{5};

constexpr auto token_file_max = std::size_t{64 * 1024};
constexpr auto certificate_file_max = std::size_t{1024 * 1024};

using namespace std::string_literals;

tl::unexpected<refusal> wrong(std::string message) {
  return tl::unexpected{refusal{exit_usage, std::move(message)}};
}

std::string variable(const config::environment& env, const std::string& name) {
  const auto found = env.find(name);
  return found == env.end() ? ""s : found->second;
}

std::string trimmed(std::string_view text) {
  constexpr auto blanks = " \t\r\n";
  const auto begin = text.find_first_not_of(blanks);
  if (begin == std::string_view::npos)
    return {};
  return std::string{
    text.substr(begin, text.find_last_not_of(blanks) - begin + 1)};
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

/// The person at the keyboard, also behind sudo.
std::string caller(const config::environment& env) {
  for (const auto* name : {"SUDO_USER", "USER", "LOGNAME"})
    if (const auto text = variable(env, name); !text.empty())
      return text;
  auto buffer = std::array<char, 4096>{};
  auto entry = passwd{};
  passwd* found = nullptr;
  if (getpwuid_r(geteuid(), &entry, buffer.data(), buffer.size(), &found) == 0
      && found != nullptr)
    return found->pw_name;
  return std::to_string(geteuid());
}

/// A token goes into a header: visible characters only.
bool is_token(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > 0x20 && c < 0x7f;
  });
}

tl::expected<config::secret, refusal>
read_token(const connection_arguments& given, const config::environment& env) {
  auto text = std::string{};
  auto source = "SLIPWAY_OPS_TOKEN"s;
  if (!given.token_file.empty()) {
    source = "--token-file";
    auto problem = std::string{};
    const auto read
      = config::read_file(given.token_file, token_file_max, problem);
    if (!read)
      return wrong("--token-file: expected a file with a token, found "
                   + problem);
    text = trimmed(*read);
  } else {
    text = trimmed(variable(env, source));
  }
  if (!is_token(text))
    return wrong(source + ": expected one token without blanks, found "
                 + (text.empty() ? "nothing" : "something else"));
  return config::secret{std::move(text)};
}

tl::expected<void, refusal>
take_url(access& to, const std::string& url, const std::string& source) {
  const auto parts = config::parse_url(url);
  if (!parts || (parts->scheme != "http" && parts->scheme != "https")
      || parts->host.empty() || parts->has_user_info || parts->has_fragment
      || !parts->query.empty())
    return wrong(source
                 + ": expected a URL such as https://pay.example.com, found "
                 + config::one_line(url));
  to.base = url;
  while (to.base.ends_with('/'))
    to.base.pop_back();
  if (parts->scheme == "http" && !is_loopback(parts->host))
    to.warning = "the token goes to " + parts->host + " without encryption";
  return {};
}

tl::expected<void, refusal>
take_listener(access& to, const config::http_settings& http,
              const std::string& file) {
  auto at = http.listen;
  if (at.port == 0)
    return wrong(file
                 + ": http.listen takes any free port, so that only --url can "
                   "say where the server is");
  // What listens everywhere is here as well.
  if (at.host == "0.0.0.0")
    at.host = "127.0.0.1";
  else if (at.host == "::")
    at.host = "::1";
  const auto where = config::format_endpoint(at);
  if (http.tls_cert_file.empty()) {
    to.base = "http://" + where;
    if (!is_loopback(at.host))
      to.warning = "the token goes to " + at.host + " without encryption";
    return {};
  }
  if (to.ca_file.empty())
    to.ca_file = http.tls_cert_file;
  auto problem = std::string{};
  const auto pem
    = config::read_file(http.tls_cert_file, certificate_file_max, problem);
  if (!pem)
    return wrong(file + ": http.tls_cert_file: " + problem);
  auto named = config::endpoint{certified_name(*pem), at.port};
  if (is_certified(*pem, at.host) || named.host.empty()) {
    to.base = "https://" + where;
    return {};
  }
  // Asked for by its name, at the address that is known here.
  to.base = "https://" + config::format_endpoint(named);
  to.connect_to = where;
  return {};
}

struct certificate_free {
  void operator()(X509* x) const noexcept {
    X509_free(x);
  }
};

struct bio_free {
  void operator()(BIO* x) const noexcept {
    BIO_free_all(x);
  }
};

struct names_free {
  void operator()(GENERAL_NAMES* x) const noexcept {
    GENERAL_NAMES_free(x);
  }
};

using certificate_ptr = std::unique_ptr<X509, certificate_free>;

certificate_ptr read_certificate(const std::string& pem) {
  const auto from = std::unique_ptr<BIO, bio_free>{
    BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  return certificate_ptr{
    from ? PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr) : nullptr};
}

} // namespace

std::string certified_name(const std::string& pem) {
  const auto certificate = read_certificate(pem);
  if (!certificate)
    return {};
  const auto names = std::unique_ptr<GENERAL_NAMES, names_free>{
    static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(
      certificate.get(), NID_subject_alt_name, nullptr, nullptr))};
  for (auto i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const auto* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS)
      continue;
    auto text = std::string{
      reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
      static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName))};
    if (text.starts_with("*."))
      text.replace(0, 1, "slipway");
    return text;
  }
  return {};
}

bool is_certified(const std::string& pem, const std::string& host) {
  const auto certificate = read_certificate(pem);
  return certificate
         && (X509_check_ip_asc(certificate.get(), host.c_str(), 0) == 1
             || X509_check_host(certificate.get(), host.data(), host.size(), 0,
                                nullptr)
                  == 1);
}

tl::expected<config::settings, refusal>
load_configuration(const std::string& file, const config::environment& env) {
  auto loaded = config::load_settings(file, env);
  if (loaded)
    return std::move(*loaded);
  auto lines = std::string{};
  for (const auto& mistake : loaded.error())
    lines += (lines.empty() ? "" : "\n") + mistake.to_string();
  return wrong(std::move(lines));
}

tl::expected<access, refusal>
find_access(const connection_arguments& given, const config::environment& env,
            const clock& time) {
  auto out = access{};
  out.ca_file = given.ca_file;
  const auto url
    = given.url.empty() ? variable(env, "SLIPWAY_OPS_URL") : given.url;
  const auto has_token
    = !given.token_file.empty() || !variable(env, "SLIPWAY_OPS_TOKEN").empty();
  if (has_token && !given.as.empty())
    return wrong("--as: expected no token beside it, since a token says itself "
                 "whose it is");
  auto settings = std::optional<config::settings>{};
  if (!given.config.empty()) {
    auto loaded = load_configuration(given.config, env);
    if (!loaded)
      return tl::unexpected{std::move(loaded.error())};
    settings = std::move(*loaded);
  }
  // An URL in the arguments wins, one of the environment stands in for a
  // configuration.
  if (!given.url.empty() || (!settings && !url.empty())) {
    const auto source = given.url.empty() ? "SLIPWAY_OPS_URL" : "--url";
    if (auto done = take_url(out, url, source); !done)
      return tl::unexpected{std::move(done.error())};
  } else if (settings) {
    if (auto done = take_listener(out, settings->http, given.config); !done)
      return tl::unexpected{std::move(done.error())};
  } else {
    return wrong("expected --config FILE of the server, or --url URL");
  }
  if (has_token) {
    auto token = read_token(given, env);
    if (!token)
      return tl::unexpected{std::move(token.error())};
    out.token = [token = std::move(*token)] {
      return token;
    };
    return out;
  }
  if (!settings)
    return wrong("expected a token: --token-file FILE, SLIPWAY_OPS_TOKEN, or "
                 "--config FILE with auth.hs256_secret_file to make one");
  if (settings->auth.hs256_secret.empty())
    return wrong(given.config
                 + ": there is no auth.hs256_secret_file to make a token with: "
                   "expected --token-file FILE or SLIPWAY_OPS_TOKEN");
  auto what = claims{};
  what.subject = given.as.empty() ? "cli:" + caller(env) : given.as;
  if (what.subject.size() > 255 || config::has_control(what.subject))
    return wrong("--as: expected at most 255 printable characters");
  what.role = given.role;
  out.token = [auth = settings->auth, what, &time]() mutable {
    what.issued_at = time.now();
    what.expires_at = what.issued_at + token_life;
    return config::secret{make_token(auth, what)};
  };
  out.role = given.role;
  return out;
}

} // namespace slipway::cli
