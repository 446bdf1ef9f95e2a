#include "http/api/auth.hpp"

#include <boost/json/parse.hpp>

#include <algorithm>
#include <cstdlib>
#include <jwt.h>
#include <new>
#include <optional>
#include <stdexcept>

namespace slipway::api {

namespace {

struct jwt_deleter {
  void operator()(jwt_t* token) const noexcept {
    jwt_free(token);
  }
};

using jwt_ptr = std::unique_ptr<jwt_t, jwt_deleter>;

std::string grant(jwt_t* token, const char* name) {
  const auto* value = jwt_get_grant(token, name);
  return value != nullptr ? std::string{value} : std::string{};
}

/// A claim as JSON, for what libjwt's typed getters cannot tell apart.
boost::json::value json_grant(jwt_t* token, const char* name) {
  auto* text = jwt_get_grants_json(token, name);
  if (text == nullptr)
    return nullptr;
  auto error = boost::system::error_code{};
  auto value = boost::json::parse(text, error);
  std::free(text);
  return error ? boost::json::value(nullptr) : value;
}

/// `exp`, `nbf`: seconds since 1970, with or without a fraction.
std::optional<double> time_grant(jwt_t* token, const char* name) {
  const auto value = json_grant(token, name);
  if (value.is_int64())
    return static_cast<double>(value.get_int64());
  if (value.is_uint64())
    return static_cast<double>(value.get_uint64());
  if (value.is_double())
    return value.get_double();
  return std::nullopt;
}

bool names_audience(const boost::json::value& aud, const std::string& wanted) {
  const auto same = [&](const boost::json::value& x) {
    return x.is_string() && x.get_string() == wanted;
  };
  if (aud.is_array())
    return std::any_of(aud.get_array().begin(), aud.get_array().end(), same);
  return same(aud);
}

bool is_plain(std::string_view text, std::size_t bytes_max) {
  return text.size() <= bytes_max
         && std::none_of(text.begin(), text.end(), [](unsigned char c) {
              return c < 0x20 || c == 0x7f;
            });
}

class hs256_verifier final : public token_verifier {
public:
  explicit hs256_verifier(const config::auth_settings& settings)
    : secret_{settings.hs256_secret}, issuer_{settings.issuer},
      audience_{settings.audience} {
  }

  tl::expected<principal, std::string>
  verify(const std::string& token, timestamp now) const override {
    const auto& key = secret_.reveal();
    jwt_t* raw = nullptr;
    if (jwt_decode(&raw, token.c_str(),
                   reinterpret_cast<const unsigned char*>(key.data()),
                   static_cast<int>(key.size()))
        != 0)
      return tl::unexpected{std::string{"the token's signature is not valid"}};
    const auto owned = jwt_ptr{raw};
    // The algorithm is ours to choose, never the message's.
    if (jwt_get_alg(raw) != JWT_ALG_HS256)
      return tl::unexpected{std::string{"the token is not signed with HS256"}};
    const auto seconds
      = std::chrono::duration<double>(now.time_since_epoch()).count();
    const auto expires = time_grant(raw, "exp");
    if (!expires)
      return tl::unexpected{std::string{"the token has no exp"}};
    if (*expires <= seconds)
      return tl::unexpected{std::string{"the token has expired"}};
    if (const auto begins = time_grant(raw, "nbf"); begins && *begins > seconds)
      return tl::unexpected{std::string{"the token is not valid yet"}};
    if (!issuer_.empty() && grant(raw, "iss") != issuer_)
      return tl::unexpected{std::string{"the token has another issuer"}};
    if (!audience_.empty()
        && !names_audience(json_grant(raw, "aud"), audience_))
      return tl::unexpected{std::string{"the token is for another audience"}};
    auto who = principal{};
    who.user_id = grant(raw, "sub");
    if (who.user_id.empty() || !is_plain(who.user_id, 255))
      return tl::unexpected{
        std::string{"the token's sub is not 1 to 255 printable characters"}};
    // What cannot be used is as good as not given.
    if (auto email = grant(raw, "email"); is_plain(email, 254))
      who.email = std::move(email);
    if (auto locale = grant(raw, "locale"); is_plain(locale, 35))
      who.locale = std::move(locale);
    who.is_operator = grant(raw, "role") == "operator";
    return who;
  }

private:
  config::secret secret_;
  std::string issuer_;
  std::string audience_;
};

} // namespace

std::unique_ptr<token_verifier>
make_hs256_verifier(const config::auth_settings& settings) {
  return std::make_unique<hs256_verifier>(settings);
}

std::string make_hs256_token(const config::secret& secret, const principal& who,
                             timestamp expires_at) {
  jwt_t* raw = nullptr;
  if (jwt_new(&raw) != 0)
    throw std::bad_alloc{};
  const auto owned = jwt_ptr{raw};
  const auto& key = secret.reveal();
  const auto expires = std::chrono::duration_cast<std::chrono::seconds>(
                         expires_at.time_since_epoch())
                         .count();
  auto failed = jwt_add_grant(raw, "sub", who.user_id.c_str());
  failed |= jwt_add_grant_int(raw, "exp", expires);
  if (!who.email.empty())
    failed |= jwt_add_grant(raw, "email", who.email.c_str());
  if (!who.locale.empty())
    failed |= jwt_add_grant(raw, "locale", who.locale.c_str());
  if (who.is_operator)
    failed |= jwt_add_grant(raw, "role", "operator");
  failed |= jwt_set_alg(raw, JWT_ALG_HS256,
                        reinterpret_cast<const unsigned char*>(key.data()),
                        static_cast<int>(key.size()));
  auto* text = failed == 0 ? jwt_encode_str(raw) : nullptr;
  if (text == nullptr)
    throw std::runtime_error{"a token could not be signed"};
  auto out = std::string{text};
  std::free(text);
  return out;
}

} // namespace slipway::api
