#include "http/api/auth.hpp"

#include "http/api/jwks.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/token.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace slipway::api {

namespace json = boost::json;

using crypto::signature_kind;

namespace {

/// A whole head of a request is no longer than twice this.
constexpr auto token_max = std::size_t{8 * 1024};

constexpr auto kid_max = std::size_t{256};

template <class T>
using or_words = tl::expected<T, std::string>;

tl::unexpected<std::string> refuse(const char* why) {
  return tl::unexpected{std::string{why}};
}

/// `exp`, `nbf`: seconds since 1970, with or without a fraction.
std::optional<double> time_of(const json::object& claims, const char* name) {
  const auto* value = claims.if_contains(name);
  if (value == nullptr)
    return std::nullopt;
  if (value->is_int64())
    return static_cast<double>(value->get_int64());
  if (value->is_uint64())
    return static_cast<double>(value->get_uint64());
  if (value->is_double())
    return value->get_double();
  return std::nullopt;
}

std::string text_of(const json::object& claims, const char* name) {
  return gateway::text_of(claims, name).value_or("");
}

bool names_audience(const json::object& claims, const std::string& wanted) {
  const auto* aud = claims.if_contains("aud");
  const auto same = [&](const json::value& x) {
    return x.is_string() && x.get_string() == wanted;
  };
  if (aud == nullptr)
    return false;
  if (aud->is_array())
    return std::any_of(aud->get_array().begin(), aud->get_array().end(), same);
  return same(*aud);
}

bool is_plain(std::string_view text, std::size_t bytes_max) {
  return text.size() <= bytes_max
         && std::none_of(text.begin(), text.end(), [](unsigned char c) {
              return c < 0x20 || c == 0x7f;
            });
}

/// A token in compact form, taken apart.
struct compact {
  std::string algorithm;
  std::string key_id;       ///< Empty when it names none.
  std::string_view signed_; ///< Head and claims, as they were signed.
  std::string_view claims;  ///< Still encoded.
  std::string signature;
};

or_words<compact> take_apart(std::string_view token) {
  if (token.size() > token_max)
    return refuse("the token is longer than 8 KiB");
  const auto first = token.find('.');
  const auto second
    = first == token.npos ? token.npos : token.find('.', first + 1);
  if (second == token.npos || token.find('.', second + 1) != token.npos)
    return refuse("the token does not have three parts");
  auto out = compact{};
  out.signed_ = token.substr(0, second);
  out.claims = token.substr(first + 1, second - first - 1);
  const auto head = crypto::base64url_decode(token.substr(0, first));
  auto signature = crypto::base64url_decode(token.substr(second + 1));
  if (!head || !signature)
    return refuse("the token is not base64url");
  if (signature->empty())
    return refuse("the token is not signed");
  const auto fields = gateway::parse_object(*head);
  if (!fields)
    return refuse("the token's head is no JSON object");
  // What must be understood, and is not.
  if (fields->contains("crit"))
    return refuse("the token's head has extensions (crit)");
  out.signature = std::move(*signature);
  out.algorithm = text_of(*fields, "alg");
  if (const auto* kid = fields->if_contains("kid")) {
    if (!kid->is_string() || kid->get_string().empty()
        || kid->get_string().size() > kid_max)
      return refuse("the token's kid is not a text of 1 to 256 bytes");
    out.key_id = std::string{kid->get_string()};
  }
  return out;
}

std::optional<signature_kind> kind_named(std::string_view algorithm) {
  for (const auto x :
       {signature_kind::rs256, signature_kind::es256, signature_kind::eddsa})
    if (to_string(x) == algorithm)
      return x;
  return std::nullopt;
}

class jwt_verifier final : public token_verifier {
public:
  jwt_verifier(const config::auth_settings& settings,
               std::unique_ptr<key_file> file)
    : secret_{settings.hs256_secret}, issuer_{settings.issuer},
      audience_{settings.audience}, file_{std::move(file)} {
  }

  tl::expected<principal, std::string>
  verify(std::string_view token, timestamp now) const override {
    const auto parts = take_apart(token);
    if (!parts)
      return tl::unexpected{parts.error()};
    if (auto wrong = check_signature(*parts, now))
      return tl::unexpected{std::move(*wrong)};
    const auto bytes = crypto::base64url_decode(parts->claims);
    if (!bytes)
      return refuse("the token is not base64url");
    const auto claims = gateway::parse_object(*bytes);
    if (!claims)
      return refuse("the token's claims are no JSON object");
    return read(*claims, now);
  }

private:
  /// The algorithm is never the message's alone to choose: it has to be the one
  /// of the key that is there.
  std::optional<std::string>
  check_signature(const compact& parts, timestamp now) const {
    const auto keys = file_ ? file_->keys(now) : nullptr;
    if (parts.algorithm == "HS256")
      return check_secret(parts, keys);
    const auto kind = kind_named(parts.algorithm);
    if (!kind)
      return "the token is not signed with "
             + std::string{!file_            ? "HS256"
                           : secret_.empty() ? "RS256, ES256 or EdDSA"
                                             : "HS256, RS256, ES256 or EdDSA"};
    if (!file_)
      return "the token is not signed with HS256";
    return check_key(parts, *kind, *keys, now);
  }

  std::optional<std::string>
  check_secret(const compact& parts, const key_file::keys_ptr& keys) const {
    if (secret_.empty())
      return "the token is not signed with RS256, ES256 or EdDSA";
    if (keys && !parts.key_id.empty() && keys->knows(parts.key_id))
      return "the token's alg does not fit its key";
    const auto expected = crypto::hmac_sha256(secret_.reveal(), parts.signed_);
    if (!crypto::constant_time_equal(expected, parts.signature))
      return "the token's signature is not valid";
    return std::nullopt;
  }

  std::optional<std::string>
  check_key(const compact& parts, signature_kind kind, const key_set& keys,
            timestamp now) const {
    if (keys.fits(parts.key_id, kind))
      return check(keys, parts, kind);
    if (!parts.key_id.empty() && keys.knows(parts.key_id))
      return "the token's alg does not fit its key";
    // It may be a new one.
    const auto newer = file_->look_again(now);
    if (newer->fits(parts.key_id, kind))
      return check(*newer, parts, kind);
    return "the token is signed with a key that is not known";
  }

  static std::optional<std::string>
  check(const key_set& keys, const compact& parts, signature_kind kind) {
    if (keys.verify(parts.key_id, kind, parts.signed_, parts.signature))
      return std::nullopt;
    return "the token's signature is not valid";
  }

  or_words<principal> read(const json::object& claims, timestamp now) const {
    const auto seconds
      = std::chrono::duration<double>(now.time_since_epoch()).count();
    const auto expires = time_of(claims, "exp");
    if (!expires)
      return refuse("the token has no exp");
    if (*expires <= seconds)
      return refuse("the token has expired");
    if (const auto begins = time_of(claims, "nbf"); begins && *begins > seconds)
      return refuse("the token is not valid yet");
    if (!issuer_.empty() && text_of(claims, "iss") != issuer_)
      return refuse("the token has another issuer");
    if (!audience_.empty() && !names_audience(claims, audience_))
      return refuse("the token is for another audience");
    auto who = principal{};
    who.user_id = text_of(claims, "sub");
    if (who.user_id.empty() || !is_plain(who.user_id, 255))
      return refuse("the token's sub is not 1 to 255 printable characters");
    // What cannot be used is as good as not given.
    if (auto email = text_of(claims, "email"); is_plain(email, 254))
      who.email = std::move(email);
    if (auto locale = text_of(claims, "locale"); is_plain(locale, 35))
      who.locale = std::move(locale);
    who.role = parse_role(text_of(claims, "role"));
    return who;
  }

  config::secret secret_;
  std::string issuer_;
  std::string audience_;
  std::unique_ptr<key_file> file_; ///< Null without one.
};

} // namespace

std::string_view to_string(role x) noexcept {
  switch (x) {
    case role::user:
      return "user";
    case role::viewer:
      return "viewer";
    case role::operator_:
      return "operator";
    case role::admin:
      return "admin";
  }
  return "?";
}

role parse_role(std::string_view text) noexcept {
  for (const auto x : {role::viewer, role::operator_, role::admin})
    if (to_string(x) == text)
      return x;
  return role::user;
}

tl::expected<std::unique_ptr<token_verifier>, std::string>
make_verifier(const config::auth_settings& settings, timestamp now) {
  auto file = std::unique_ptr<key_file>{};
  if (!settings.jwks_file.empty()) {
    auto opened = key_file::open(settings.jwks_file, now);
    if (!opened)
      return tl::unexpected{std::move(opened.error())};
    file = std::move(*opened);
  }
  return std::make_unique<jwt_verifier>(settings, std::move(file));
}

std::unique_ptr<token_verifier>
make_hs256_verifier(const config::auth_settings& settings) {
  return std::make_unique<jwt_verifier>(settings, nullptr);
}

tl::expected<std::string, std::string>
describe_keys(const config::auth_settings& settings) {
  auto out = std::string{settings.hs256_secret.empty() ? "" : "HS256"};
  if (settings.jwks_file.empty())
    return out;
  const auto opened = key_file::open(settings.jwks_file, timestamp{});
  if (!opened)
    return tl::unexpected{opened.error()};
  const auto keys = (*opened)->keys(timestamp{});
  return out + (out.empty() ? "" : ", ") + keys->describe();
}

std::string make_hs256_token(const config::secret& secret, const principal& who,
                             timestamp expires_at) {
  const auto expires = std::chrono::duration_cast<std::chrono::seconds>(
                         expires_at.time_since_epoch())
                         .count();
  auto claims = json::object{{"sub", who.user_id}, {"exp", expires}};
  if (!who.email.empty())
    claims["email"] = who.email;
  if (!who.locale.empty())
    claims["locale"] = who.locale;
  if (who.role != role::user)
    claims["role"] = to_string(who.role);
  return crypto::sign_hs256_token(secret.reveal(), json::serialize(claims));
}

} // namespace slipway::api
