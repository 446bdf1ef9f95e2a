#define CAF_SUITE api.auth

#include "http/api/auth.hpp"

#include "http/api/jwks.hpp"
#include "tests/unit/api/issuer.hpp"

#include <caf/test/unit_test.hpp>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdlib.h>

using namespace slipway;
using namespace slipway::api;
using namespace slipway::test;

namespace {

namespace fs = std::filesystem;

const timestamp now = *parse_rfc3339("2026-11-23T08:00:00.000Z");

std::int64_t seconds_at(std::int64_t from_now) {
  return std::chrono::duration_cast<std::chrono::seconds>(
           now.time_since_epoch())
           .count()
         + from_now;
}

std::string claims(const std::string& more = {}, std::int64_t life = 60) {
  return R"({"sub":"u-1","exp":)" + std::to_string(seconds_at(life)) + more
         + "}";
}

/// One key of each kind is enough for most tests: making them is slow.
struct keys {
  issuer rsa = issuer::rsa("rsa-1");
  issuer rsa2 = issuer::rsa("rsa-2");
  issuer ec = issuer::ec("ec-1");
  issuer ed = issuer::ed("ed-1");
};

const keys& known() {
  static const auto all = keys{};
  return all;
}

std::string usual_set() {
  const auto& k = known();
  return key_set_of({k.rsa.jwk(), k.rsa2.jwk(), k.ec.jwk(), k.ed.jwk()});
}

constexpr auto secret = "a secret of at least thirty-two bytes";

std::string hs256(const std::string& head, const std::string& body,
                  const std::string& key = secret) {
  const auto text = b64(head) + "." + b64(body);
  return text + "." + b64(crypto::hmac_sha256(key, text));
}

const auto hs_head = std::string{R"({"alg":"HS256","typ":"JWT"})"};

/// A directory with a key file in it, and the log of what is read.
struct house {
  house() {
    auto name = (fs::temp_directory_path() / "slipway-auth-XXXXXX").string();
    must_be(mkdtemp(name.data()) != nullptr);
    dir = name;
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(log);
    spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::move(sink)));
  }

  ~house() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("none"));
    fs::remove_all(dir);
  }

  [[nodiscard]] std::string path() const {
    return (dir / "jwks.json").string();
  }

  void write(const std::string& text) const {
    std::ofstream{path(), std::ios::binary | std::ios::trunc} << text;
  }

  /// Puts another file in its place at once, as a careful person does.
  void replace(const std::string& text) const {
    const auto beside = dir / "new";
    std::ofstream{beside, std::ios::binary} << text;
    fs::rename(beside, path());
  }

  [[nodiscard]] std::unique_ptr<token_verifier>
  open(const std::string& text, bool with_secret = true) const {
    write(text);
    auto settings = config::auth_settings{};
    settings.jwks_file = path();
    if (with_secret)
      settings.hs256_secret = config::secret{secret};
    auto made = make_verifier(settings, now);
    if (!made)
      CAF_FAIL(made.error());
    return std::move(*made);
  }

  fs::path dir;
  std::ostringstream log;
};

std::string error_of(const token_verifier& by, const std::string& token,
                     timestamp at = now) {
  const auto who = by.verify(token, at);
  return who ? "" : who.error();
}

bool accepts(const token_verifier& by, const std::string& token,
             timestamp at = now) {
  return by.verify(token, at).has_value();
}

std::size_t count(const std::string& text, const std::string& part) {
  auto out = std::size_t{0};
  for (auto at = text.find(part); at != text.npos; at = text.find(part, at + 1))
    ++out;
  return out;
}

std::string parse_error(const std::string& text) {
  const auto made = key_set::parse(text);
  return made ? "" : made.error();
}

bool says(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos)
    return true;
  CAF_MESSAGE("it says: " << text);
  return false;
}

} // namespace

// -- tokens
// --------------------------------------------------------------------------

CAF_TEST(every kind of signature is verified and beside them the secret) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known();
  for (const auto* x : {&k.rsa, &k.rsa2, &k.ec, &k.ed}) {
    const auto who = by->verify(x->token(claims()), now);
    CAF_REQUIRE(who);
    CAF_CHECK_EQUAL(who->user_id, "u-1");
    CAF_CHECK(who->role == role::user);
  }
  CAF_CHECK(accepts(*by, hs256(hs_head, claims())));
  const auto keys_only = h.open(usual_set(), false);
  CAF_CHECK(accepts(*keys_only, k.ed.token(claims())));
  CAF_CHECK(says(error_of(*keys_only, hs256(hs_head, claims())),
                 "not signed with RS256, ES256 or EdDSA"));
}

CAF_TEST(a signature by another key is none whatever kid it names) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known();
  for (const auto* x : {&k.rsa, &k.ec, &k.ed}) {
    auto stranger = x == &k.rsa  ? issuer::rsa(x->kid)
                    : x == &k.ec ? issuer::ec(x->kid)
                                 : issuer::ed(x->kid);
    CAF_CHECK_EQUAL(error_of(*by, stranger.token(claims())),
                    "the token's signature is not valid");
  }
  // The right key under the other one's name.
  CAF_CHECK_EQUAL(error_of(*by, k.rsa.token_with(k.rsa2.head(), claims())),
                  "the token's signature is not valid");
  CAF_CHECK(
    says(error_of(*by, k.rsa.token_with(R"({"alg":"RS256","kid":"nobody"})",
                                        claims())),
         "not known"));
}

CAF_TEST(the algorithm has to be the one of the key) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known();
  const auto* fits = "the token's alg does not fit its key";
  for (const auto* x : {&k.rsa, &k.ec, &k.ed})
    for (const auto* alg : {"RS256", "ES256", "EdDSA", "HS256"}) {
      if (x->alg == alg)
        continue;
      const auto head
        = std::string{R"({"alg":")"} + alg + R"(","kid":")" + x->kid + R"("})";
      CAF_CHECK_EQUAL(error_of(*by, x->token_with(head, claims())), fits);
      // Without a kid there is no key of that kind that has signed this.
      const auto bare = std::string{R"({"alg":")"} + alg + R"("})";
      CAF_CHECK(!accepts(*by, x->token_with(bare, claims())));
    }
  for (const auto* alg : {"none", "None", "NONE", "", "RS384", "RS512", "PS256",
                          "ES384", "ES256K", "HS384", "HS512", "rs256", "eddsa",
                          "Ed25519", "A128KW", "dir"}) {
    const auto head = std::string{R"({"alg":")"} + alg + R"("})";
    CAF_CHECK(!accepts(*by, k.rsa.token_with(head, claims())));
    CAF_CHECK(!accepts(*by, hs256(head, claims())));
    CAF_CHECK(!accepts(*by, b64(head) + "." + b64(claims()) + "."));
    CAF_CHECK(!accepts(*by, b64(head) + "." + b64(claims())));
  }
}

CAF_TEST(a public key is no secret) {
  auto h = house{};
  const auto& k = known();
  for (const auto with_secret : {true, false}) {
    const auto by = h.open(usual_set(), with_secret);
    for (const auto* x : {&k.rsa, &k.ec, &k.ed})
      for (const auto& head :
           {hs_head, R"({"alg":"HS256","kid":")" + x->kid + R"("})"})
        for (const auto& key : {x->pem(), x->jwk(), x->kid, std::string{}})
          CAF_CHECK(!accepts(*by, hs256(head, claims(), key)));
  }
}

CAF_TEST(without a kid every key of the kind is tried) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known();
  for (const auto* x : {&k.rsa, &k.rsa2, &k.ec, &k.ed})
    CAF_CHECK(
      accepts(*by, x->token_with(R"({"alg":")" + x->alg + R"("})", claims())));
  CAF_CHECK(!accepts(*by, issuer::ec("").token(claims())));
  // A key without an id serves those alone.
  const auto nameless = issuer::ed("");
  const auto other = h.open(key_set_of({nameless.jwk(), k.ed.jwk()}));
  CAF_CHECK(accepts(*other, nameless.token(claims())));
  CAF_CHECK(!accepts(*other, nameless.token_with(k.ed.head(), claims())));
}

CAF_TEST(only the strict form is a token) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known();
  for (const auto* x : {&k.rsa, &k.ec, &k.ed}) {
    const auto good = x->token(claims());
    CAF_REQUIRE(accepts(*by, good));
    // Cut anywhere, and with anything added.
    for (std::size_t n = 0; n < good.size(); n += 7)
      CAF_CHECK(!accepts(*by, good.substr(0, n)));
    CAF_CHECK(!accepts(*by, good.substr(0, good.size() - 1)));
    CAF_CHECK(!accepts(*by, good.substr(1)));
    for (const auto* more : {"=", "A", ".", ".x", " ", "\n", "%3d"})
      CAF_CHECK(!accepts(*by, good + more));
    // Each byte counts.
    for (std::size_t n = 0; n < good.size(); n += 11) {
      auto changed = good;
      changed[n] = changed[n] == 'A' ? 'B' : 'A';
      CAF_CHECK(!accepts(*by, changed));
    }
    const auto dot = good.rfind('.');
    CAF_CHECK(!accepts(*by, good.substr(0, dot + 1)));
    CAF_CHECK(!accepts(*by, good.substr(0, dot + 1) + b64(std::string(64, 0))));
    CAF_CHECK(
      !accepts(*by, good.substr(0, dot + 1) + b64(std::string(256, '\1'))));
  }
  CAF_CHECK(!accepts(*by, ""));
  CAF_CHECK(!accepts(*by, ".."));
  CAF_CHECK(!accepts(*by, "..."));
  CAF_CHECK(says(error_of(*by, k.ed.token(claims(
                                 R"(,"x":")" + std::string(9'000, 'x') + '"'))),
                 "8 KiB"));
}

CAF_TEST(a head with anything odd in it is refused) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto& k = known().ed;
  for (const auto* head :
       {"", "[]", "{}", "null", "{\"alg\":7}", "{\"alg\":[\"EdDSA\"]}",
        R"({"alg":"EdDSA","alg":"EdDSA"})", R"({"alg":"EdDSA","kid":7})",
        R"({"alg":"EdDSA","kid":""})", R"({"alg":"EdDSA","kid":["ed-1"]})",
        R"({"alg":"EdDSA","kid":"ed-1","crit":["exp"]})",
        R"({"alg":"EdDSA","kid":"ed-1","crit":[]})", R"({"alg":"EdDSA"} x)"})
    CAF_CHECK(!accepts(*by, k.token_with(head, claims())));
  CAF_CHECK(!accepts(*by, k.token_with(R"({"alg":"EdDSA","kid":")"
                                         + std::string(300, 'k') + R"("})",
                                       claims())));
  // A key that comes with the token proves nothing.
  const auto stranger = issuer::ed("");
  CAF_CHECK(!accepts(
    *by, stranger.token_with(R"({"alg":"EdDSA","jwk":)" + stranger.jwk() + "}",
                             claims())));
  CAF_CHECK(accepts(
    *by, k.token_with(R"({"typ":"at+jwt","alg":"EdDSA","kid":"ed-1","x":{}})",
                      claims())));
}

CAF_TEST(claims are judged alike for every kind of key) {
  auto h = house{};
  h.write(usual_set());
  auto settings = config::auth_settings{};
  settings.jwks_file = h.path();
  settings.hs256_secret = config::secret{secret};
  settings.issuer = "https://id.example";
  settings.audience = "slipway";
  const auto by = std::move(*make_verifier(settings, now));
  const auto& k = known().ed;
  const auto both = [&](const std::string& body) {
    const auto one = error_of(*by, k.token(body));
    CAF_CHECK_EQUAL(one, error_of(*by, hs256(hs_head, body)));
    return one;
  };
  const auto good
    = std::string{R"(,"iss":"https://id.example","aud":"slipway")"};
  const auto at = [](std::int64_t x) {
    return std::to_string(seconds_at(x));
  };
  CAF_CHECK_EQUAL(both(claims(good)), "");
  CAF_CHECK_EQUAL(
    both(claims(R"(,"iss":"https://id.example","aud":["a","slipway"])")), "");
  CAF_CHECK(says(both(claims(good, 0)), "expired"));
  CAF_CHECK(says(both(claims(good, -1)), "expired"));
  CAF_CHECK_EQUAL(both(claims(good, 1)), "");
  CAF_CHECK(says(both(R"({"sub":"u")" + good + "}"), "no exp"));
  CAF_CHECK(
    says(both(R"({"sub":"u","exp":"9999999999")" + good + "}"), "no exp"));
  CAF_CHECK(says(both(R"({"sub":"u","exp":null)" + good + "}"), "no exp"));
  CAF_CHECK(says(both(claims(good + R"(,"nbf":)" + at(1))), "not valid yet"));
  CAF_CHECK_EQUAL(both(claims(good + R"(,"nbf":)" + at(0))), "");
  CAF_CHECK(says(both(claims(R"(,"aud":"slipway")")), "issuer"));
  CAF_CHECK(
    says(both(claims(R"(,"iss":"https://other","aud":"slipway")")), "issuer"));
  CAF_CHECK(says(both(claims(R"(,"iss":"https://id.example")")), "audience"));
  CAF_CHECK(says(both(claims(R"(,"iss":"https://id.example","aud":["x"])")),
                 "audience"));
  const auto with_sub = [&](const std::string& sub) {
    return both(R"({"exp":)" + at(60) + good + R"(,"sub":)" + sub + "}");
  };
  for (const auto* sub :
       {R"("")", "7", "null", R"(["u"])", "\"a\\u0000\"", "\"a\\n\""})
    CAF_CHECK(says(with_sub(sub), "sub"));
  CAF_CHECK(says(with_sub('"' + std::string(256, 'x') + '"'), "sub"));
  CAF_CHECK_EQUAL(with_sub('"' + std::string(255, 'x') + '"'), "");
  CAF_CHECK(says(both("[]"), "no JSON object"));
  CAF_CHECK(says(both(""), "no JSON object"));
  CAF_CHECK(says(both(claims(good + R"(,"sub":"other")")), "no JSON object"));
}

CAF_TEST(roles are exactly three words) {
  auto settings = config::auth_settings{};
  settings.hs256_secret = config::secret{secret};
  const auto by = make_hs256_verifier(settings);
  const auto role_in = [&](const std::string& json) {
    return by->verify(hs256(hs_head, claims(R"(,"role":)" + json)), now)
      .value()
      .role;
  };
  CAF_CHECK(role_in(R"("viewer")") == role::viewer);
  CAF_CHECK(role_in(R"("operator")") == role::operator_);
  CAF_CHECK(role_in(R"("admin")") == role::admin);
  for (const auto* json : {R"("user")", R"("")", R"("Admin")", R"("root")",
                           R"(["admin"])", "true", "null", R"("operator ")"})
    CAF_CHECK(role_in(json) == role::user);
  for (const auto x :
       {role::user, role::viewer, role::operator_, role::admin}) {
    auto who = principal{};
    who.user_id = "u-1";
    who.email = "u@example.com";
    who.locale = "en";
    who.role = x;
    const auto token = make_hs256_token(settings.hs256_secret, who,
                                        now + std::chrono::hours{1});
    const auto got = by->verify(token, now).value();
    CAF_CHECK(got.role == x);
    CAF_CHECK_EQUAL(got.email, who.email);
    CAF_CHECK_EQUAL(got.locale, who.locale);
  }
}

// -- key sets
// --------------------------------------------------------------------------

CAF_TEST(what is not for us in a key set is left out) {
  const auto& k = known();
  const auto made = key_set::parse(key_set_of({
    k.rsa.jwk(R"("use":"enc")"),
    k.rsa2.jwk(R"("alg":"RS512")"),
    k.rsa2.jwk(R"("key_ops":["encrypt"])"),
    R"({"kty":"EC","crv":"P-384","kid":"x","x":"AA","y":"AA"})",
    R"({"kty":"OKP","crv":"X25519","kid":"x","x":"AA"})",
    R"({"kty":"new","kid":"x"})",
    k.ec.jwk(R"("use":"sig","alg":"ES256","key_ops":["verify"],"x5c":["AA"])"),
  }));
  CAF_REQUIRE(made);
  CAF_REQUIRE_EQUAL(made->entries().size(), 1u);
  CAF_CHECK_EQUAL(made->entries()[0].id, "ec-1");
  CAF_CHECK_EQUAL(made->describe(), "1 key: ES256 \"ec-1\"");
}

CAF_TEST(what is wrong in a key set is told by its place) {
  const auto& k = known();
  const auto error = [](const std::string& key) {
    return parse_error(key_set_of({known().ed.jwk(), key}));
  };
  const auto ec = [](const std::string& x, const std::string& y) {
    return R"({"kty":"EC","crv":"P-256","kid":"e","x":")" + b64(x)
           + R"(","y":")" + b64(y) + R"("})";
  };
  CAF_CHECK(says(parse_error(""), "no JSON object"));
  CAF_CHECK(says(parse_error("-----BEGIN PUBLIC KEY-----"), "no JSON object"));
  CAF_CHECK(says(parse_error("[]"), "no JSON object"));
  CAF_CHECK(says(parse_error("{}"), R"(list "keys", found none)"));
  CAF_CHECK(says(parse_error(R"({"keys":{}})"), R"(list "keys")"));
  CAF_CHECK(says(parse_error(R"({"keys":[]})"), "at least one key"));
  CAF_CHECK(says(parse_error(key_set_of({k.rsa.jwk(R"("use":"enc")")})),
                 "at least one key"));
  CAF_CHECK(says(error("7"), "key 2: expected an object"));
  CAF_CHECK(says(error("{}"), R"(key 2: expected "kty")"));
  CAF_CHECK(says(error(R"({"kty":"oct","kid":"s","k":"c2VjcmV0"})"),
                 "key 2 (kid \"s\"): expected public keys only, found a secret "
                 "one"));
  CAF_CHECK(says(error(k.ec.jwk(R"("d":"AAAA")")), "private one"));
  CAF_CHECK(says(error(k.ed.jwk()), "a second one"));
  CAF_CHECK(says(error(R"({"kty":"OKP","crv":"Ed25519","kid":7,"x":"AA"})"),
                 "\"kid\" as a text"));
  CAF_CHECK(says(error(R"({"kty":"OKP","crv":"Ed25519","kid":"e"})"),
                 R"(expected "x" in base64url, found none)"));
  CAF_CHECK(says(error(R"({"kty":"OKP","crv":"Ed25519","kid":"e","x":"AA=="})"),
                 "without padding"));
  CAF_CHECK(says(error(R"({"kty":"OKP","crv":"Ed25519","kid":"e","x":"AAAA"})"),
                 "32 bytes, found 3"));
  CAF_CHECK(says(error(ec(std::string(32, '\1'), std::string(32, '\1'))),
                 "point of P-256"));
  CAF_CHECK(says(error(ec(std::string(31, '\1'), std::string(32, '\1'))),
                 "32 bytes each, found 31 and 32"));
  CAF_CHECK(says(error(issuer::rsa("r", 1024).jwk()),
                 "modulus of 2048 to 8192 bits, found 1024 bits"));
  auto even = k.rsa.jwk();
  even.replace(even.rfind(R"("e":")"), std::string::npos, R"("e":"AA"})");
  CAF_CHECK(says(error(even), "exponent"));
  auto many = std::vector<std::string>{};
  for (auto i = 0; i < 33; ++i)
    many.push_back(R"({"kty":"OKP","crv":"Ed25519","kid":")" + std::to_string(i)
                   + R"(","x":")" + b64(std::string(32, static_cast<char>(i)))
                   + R"("})");
  CAF_CHECK(says(parse_error(key_set_of(many)), "at most 32 keys, found 33"));
  many.pop_back();
  CAF_CHECK_EQUAL(parse_error(key_set_of(many)), "");
  // One id, two kinds: the algorithm tells which.
  CAF_CHECK_EQUAL(parse_error(key_set_of(
                    {issuer::ed("same").jwk(), issuer::ec("same").jwk()})),
                  "");
}

CAF_TEST(a broken file at the start is a mistake with its path) {
  auto h = house{};
  auto settings = config::auth_settings{};
  settings.jwks_file = h.path();
  CAF_CHECK(says(describe_keys(settings).error(),
                 h.path() + ": expected a readable file"));
  h.write("{");
  CAF_CHECK(says(describe_keys(settings).error(),
                 h.path() + ": expected a JSON Web Key Set"));
  CAF_CHECK(!make_verifier(settings, now));
  fs::remove(h.path());
  fs::create_directory(h.path());
  CAF_CHECK(says(describe_keys(settings).error(), "something that is no file"));
  fs::remove(h.path());
  h.write(std::string(300 * 1024, ' '));
  CAF_CHECK(says(describe_keys(settings).error(), "at most 256 KiB"));
  h.write(usual_set());
  settings.hs256_secret = config::secret{secret};
  CAF_CHECK(says(describe_keys(settings).value(),
                 "HS256, 4 keys: RS256 \"rsa-1\", RS256 \"rsa-2\""));
  CAF_CHECK_EQUAL(h.log.str(), "");
}

// -- rotation
// --------------------------------------------------------------------------

CAF_TEST(keys come and go with the file) {
  auto h = house{};
  const auto& k = known();
  const auto next = issuer::ed("ed-2");
  const auto by = h.open(key_set_of({k.ed.jwk()}));
  auto at = now;
  CAF_CHECK(accepts(*by, k.ed.token(claims()), at));
  // A token that names a new key has the file looked at.
  h.replace(key_set_of({k.ed.jwk(), next.jwk()}));
  CAF_CHECK(accepts(*by, next.token(claims()), at));
  CAF_CHECK(accepts(*by, k.ed.token(claims()), at));
  CAF_CHECK(says(h.log.str(), "read anew, 2 keys"));
  // The old one goes within seconds, without anybody asking.
  h.replace(key_set_of({next.jwk()}));
  CAF_CHECK(accepts(*by, k.ed.token(claims()), at));
  at += key_file::interval;
  CAF_CHECK(!accepts(*by, k.ed.token(claims()), at));
  CAF_CHECK(accepts(*by, next.token(claims()), at));
  // Another key under the same name.
  const auto same = issuer::ed("ed-2");
  h.write(key_set_of({same.jwk()}));
  at += key_file::interval;
  CAF_CHECK(accepts(*by, same.token(claims()), at));
  CAF_CHECK(!accepts(*by, next.token(claims()), at));
}

CAF_TEST(looks are bounded however many keys are named that nobody has) {
  auto h = house{};
  const auto by = h.open(usual_set());
  const auto stranger = issuer::ed("not-there-yet");
  const auto token = stranger.token(claims());
  CAF_CHECK(!accepts(*by, token));
  h.replace(key_set_of({known().ed.jwk(), stranger.jwk()}));
  // The second look within a second is not made.
  CAF_CHECK(!accepts(*by, token, now + millis{999}));
  CAF_CHECK(accepts(*by, token, now + key_file::forced_interval));
}

CAF_TEST(a broken new file leaves the keys as they were and is told once) {
  auto h = house{};
  const auto& k = known();
  const auto by = h.open(usual_set());
  auto at = now;
  const auto look = [&] {
    at += key_file::interval;
    return accepts(*by, k.rsa.token(claims("", 3600)), at)
           && accepts(*by, k.ed.token(claims("", 3600)), at);
  };
  const auto errors = [&] {
    return count(h.log.str(), "stay in use");
  };
  h.replace(usual_set().substr(0, 100));
  CAF_CHECK(look());
  CAF_CHECK(look());
  CAF_CHECK(look());
  CAF_CHECK_EQUAL(errors(), 1u);
  CAF_CHECK(says(h.log.str(), h.path() + ": expected a JSON Web Key Set"));
  h.replace(key_set_of({}));
  CAF_CHECK(look());
  CAF_CHECK(look());
  CAF_CHECK_EQUAL(errors(), 2u);
  CAF_CHECK(says(h.log.str(), "at least one key"));
  fs::remove(h.path());
  CAF_CHECK(look());
  CAF_CHECK(look());
  CAF_CHECK_EQUAL(errors(), 3u);
  fs::create_directory(h.path());
  CAF_CHECK(look());
  fs::remove(h.path());
  // And a good one counts again.
  h.replace(key_set_of({k.ed.jwk()}));
  at += key_file::interval;
  CAF_CHECK(accepts(*by, k.ed.token(claims("", 3600)), at));
  CAF_CHECK(!accepts(*by, k.rsa.token(claims("", 3600)), at));
  CAF_CHECK(says(h.log.str(), "read anew, 1 key"));
}

CAF_TEST(a clock that goes back does not put the next look off) {
  auto h = house{};
  const auto by = h.open(key_set_of({known().ed.jwk()}));
  const auto later = now + std::chrono::hours{24};
  const auto life = 3600 * 48;
  CAF_CHECK(accepts(*by, known().ed.token(claims("", life)), later));
  h.replace(key_set_of({known().ec.jwk()}));
  CAF_CHECK(!accepts(*by, known().ed.token(claims("", life)), now));
}
