#include "http/gateway/platform_keys.hpp"

#include "http/crypto/certificate.hpp"
#include "http/crypto/text.hpp"

#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <utility>

namespace slipway::gateway {

namespace {

constexpr std::string_view public_key_prefix = "PUB_KEY_ID_";
constexpr std::size_t serial_max = 128;

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  return crypto::json_quote(text.substr(0, shown_max))
         + (text.size() > shown_max ? "…" : "");
}

int no_passphrase(char*, int, int, void*) {
  return -1;
}

struct period {
  timestamp from;
  timestamp until;
};

std::optional<timestamp> time_of(const ASN1_TIME* from) {
  std::tm parts{};
  if (from == nullptr || ASN1_TIME_to_tm(from, &parts) != 1)
    return std::nullopt;
  using namespace std::chrono;
  const auto date = year{parts.tm_year + 1900}
                    / static_cast<int>(parts.tm_mon + 1) / parts.tm_mday;
  if (!date.ok())
    return std::nullopt;
  return timestamp{sys_days{date} + hours{parts.tm_hour} + minutes{parts.tm_min}
                   + seconds{parts.tm_sec}};
}

/// When the first certificate of the PEM is valid.
std::optional<period> period_of(std::string_view pem) {
  std::unique_ptr<BIO, decltype(&BIO_free_all)> bio{
    BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), &BIO_free_all};
  std::unique_ptr<X509, decltype(&X509_free)> certificate{
    bio ? PEM_read_bio_X509(bio.get(), nullptr, &no_passphrase, nullptr)
        : nullptr,
    &X509_free};
  auto result = std::optional<period>{};
  if (certificate) {
    auto from = time_of(X509_get0_notBefore(certificate.get()));
    auto until = time_of(X509_get0_notAfter(certificate.get()));
    if (from && until)
      result = period{*from, *until};
  }
  ERR_clear_error();
  return result;
}

/// A number has no leading zeros, a serial may: the same number is the same
/// certificate, and the text as given is what messages name.
std::string_view without_leading_zeros(std::string_view serial) noexcept {
  auto first = serial.find_first_not_of('0');
  return first == std::string_view::npos ? std::string_view{}
                                         : serial.substr(first);
}

bool is_serial(std::string_view text) noexcept {
  return !text.empty() && text.size() <= serial_max
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                     || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
            });
}

bool is_certificate(std::string_view pem) noexcept {
  return pem.find("-----BEGIN CERTIFICATE-----") != std::string_view::npos;
}

} // namespace

bool is_public_key_id(std::string_view serial) noexcept {
  return serial.starts_with(public_key_prefix);
}

tl::expected<platform_certificate, std::string>
read_platform_certificate(std::string_view serial, std::string_view pem) {
  if (!is_serial(serial))
    return failed("the serial is " + in_quotes(serial)
                  + "; expected up to 128 letters, digits, - or _");
  auto facts = crypto::parse_certificates(pem);
  if (!facts)
    return failed(std::move(facts.error()));
  const auto& found = facts->front().serial_hex;
  if (without_leading_zeros(found) != without_leading_zeros(serial))
    return failed("the certificate's serial is " + found + "; expected "
                  + std::string{serial});
  auto key = crypto::rsa_public_key::parse(pem);
  if (!key)
    return failed(std::move(key.error()));
  auto valid = period_of(pem);
  if (!valid)
    return failed("the certificate's period of validity can't be read");
  return platform_certificate{std::string{serial}, std::string{pem},
                              std::move(*key), valid->from, valid->until};
}

platform_keys::platform_keys(entries configured)
  : configured_{std::move(configured)} {
}

tl::expected<std::shared_ptr<platform_keys>, std::string>
platform_keys::make(const std::vector<config::platform_key>& configured) {
  entries result;
  for (const auto& each : configured) {
    const auto& serial = each.serial;
    const auto& pem = each.pem;
    auto wrong = [&](const std::string& sentence) {
      return failed("wechat.platform_keys, " + in_quotes(serial) + ": "
                    + sentence);
    };
    if (!is_serial(serial))
      return wrong("expected a serial of up to 128 letters, digits, - or _");
    if (std::any_of(result.begin(), result.end(), [&](const auto& other) {
          return other.serial == serial;
        }))
      return wrong("the same serial is configured twice");
    if (is_certificate(pem)) {
      if (is_public_key_id(serial))
        return wrong("expected a PUBLIC KEY, found a certificate");
      auto certificate = read_platform_certificate(serial, pem);
      if (!certificate)
        return wrong(certificate.error());
      result.push_back({serial, std::move(certificate->key),
                        certificate->effective_at, certificate->expires_at});
      continue;
    }
    auto key = crypto::rsa_public_key::parse(pem);
    if (!key)
      return wrong(key.error());
    result.push_back(
      {serial, std::move(*key), timestamp::min(), timestamp::max()});
  }
  return std::shared_ptr<platform_keys>{new platform_keys{std::move(result)}};
}

std::optional<crypto::rsa_public_key>
platform_keys::find(std::string_view serial, timestamp now) const {
  auto look_in
    = [&](const entries& in) -> std::optional<crypto::rsa_public_key> {
    for (const auto& each : in)
      if (each.serial == serial && each.effective_at <= now
          && now <= each.expires_at)
        return each.key;
    return std::nullopt;
  };
  if (auto found = look_in(configured_))
    return found;
  return look_in(*downloaded());
}

void platform_keys::put(std::vector<platform_certificate> downloaded,
                        timestamp now) {
  auto next = std::make_shared<entries>();
  for (auto& each : downloaded)
    if (now <= each.expires_at && !is_public_key_id(each.serial))
      next->push_back({std::move(each.serial), std::move(each.key),
                       each.effective_at, each.expires_at});
  std::shared_ptr<const entries> old = std::move(next);
  const std::lock_guard lock{mutex_};
  downloaded_.swap(old);
}

std::string platform_keys::public_key_id() const {
  for (const auto& each : configured_)
    if (is_public_key_id(each.serial))
      return each.serial;
  // The newest, which lasts longest.
  auto held = downloaded();
  auto newest = std::max_element(held->begin(), held->end(),
                                 [](const auto& a, const auto& b) {
                                   return a.effective_at < b.effective_at;
                                 });
  if (newest != held->end())
    return newest->serial;
  return configured_.empty() ? std::string{} : configured_.front().serial;
}

std::vector<std::string> platform_keys::serials() const {
  auto held = downloaded();
  std::vector<std::string> result;
  for (const auto* list : {&configured_, held.get()})
    for (const auto& each : *list)
      if (std::find(result.begin(), result.end(), each.serial) == result.end())
        result.push_back(each.serial);
  return result;
}

bool platform_keys::has_downloaded() const {
  return !downloaded()->empty();
}

std::shared_ptr<const platform_keys::entries>
platform_keys::downloaded() const {
  const std::lock_guard lock{mutex_};
  return downloaded_;
}

} // namespace slipway::gateway
