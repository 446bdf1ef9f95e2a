#include "http/cli/token.hpp"

#include "http/crypto/token.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

namespace slipway::cli {

namespace {

std::int64_t seconds_of(timestamp at) {
  return std::chrono::floor<std::chrono::seconds>(at.time_since_epoch())
    .count();
}

} // namespace

std::string make_token(const config::auth_settings& to, const claims& what) {
  auto out = boost::json::object{{"sub", what.subject},
                                 {"role", what.role},
                                 {"iat", seconds_of(what.issued_at)},
                                 {"exp", seconds_of(what.expires_at)}};
  if (!to.issuer.empty())
    out["iss"] = to.issuer;
  if (!to.audience.empty())
    out["aud"] = to.audience;
  return crypto::sign_hs256_token(to.hs256_secret.reveal(),
                                  boost::json::serialize(out));
}

} // namespace slipway::cli
