#include "http/gateway/alipay.hpp"

#include "http/crypto/certificate.hpp"
#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/alipay_detail.hpp"

#include <utility>

namespace slipway::gateway {

namespace alipay_detail {

std::string in_quotes(std::string_view text) {
  constexpr std::size_t shown_max = 80;
  auto cut = text.size() > shown_max;
  return crypto::json_quote(text.substr(0, shown_max)) + (cut ? "…" : "");
}

bool is_reference(std::string_view text) noexcept {
  constexpr std::size_t reference_max = 128;
  return text.size() <= reference_max && crypto::is_utf8(text)
         && !crypto::has_control(text);
}

bool is_order_id(std::string_view text) noexcept {
  constexpr std::size_t order_id_max = 64;
  return !text.empty() && text.size() <= order_id_max
         && std::all_of(text.begin(), text.end(), [](char c) {
              return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')
                     || (c >= 'a' && c <= 'z') || c == '_';
            });
}

} // namespace alipay_detail

namespace {

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

std::string cert_sn_of(const crypto::certificate_facts& certificate) {
  return crypto::hex_encode(
    crypto::md5(certificate.issuer + certificate.serial_decimal));
}

} // namespace

tl::expected<std::string, std::string> alipay_cert_sn(std::string_view pem) {
  auto certificates = crypto::parse_certificates(pem);
  if (!certificates)
    return failed(std::move(certificates.error()));
  return cert_sn_of(certificates->front());
}

tl::expected<std::string, std::string>
alipay_root_cert_sn(std::string_view pem) {
  // Only RSA counts: the bundle also holds SM2 and EC roots.
  constexpr std::string_view rsa_oids = "1.2.840.113549.1.1";
  auto certificates = crypto::parse_certificates(pem);
  if (!certificates)
    return failed(std::move(certificates.error()));
  std::string result;
  for (const auto& certificate : *certificates) {
    if (!certificate.signature_oid.starts_with(rsa_oids))
      continue;
    if (!result.empty())
      result += '_';
    result += cert_sn_of(certificate);
  }
  if (result.empty())
    return failed("none of the root certificates is signed with RSA");
  return result;
}

tl::expected<alipay, std::string>
alipay::make(const config::alipay_settings& settings) {
  alipay result;
  if (settings.app_id.empty())
    return failed("alipay.app_id is empty; expected the number of the app");
  if (settings.seller_id.empty())
    return failed("alipay.seller_id is empty; expected the merchant's 2088… "
                  "number");
  result.app_id_ = settings.app_id;
  result.seller_id_ = settings.seller_id;
  result.gateway_url_ = settings.gateway_url;
  result.sign_type_ = settings.sign_type;
  if (settings.sign_type == "RSA2")
    result.digest_ = crypto::digest::sha256;
  else if (settings.sign_type == "RSA")
    result.digest_ = crypto::digest::sha1;
  else
    return failed("alipay.sign_type is "
                  + alipay_detail::in_quotes(settings.sign_type)
                  + "; expected RSA2 or RSA");
  const auto& key_text = settings.alipay_cert.empty()
                           ? settings.alipay_public_key
                           : settings.alipay_cert;
  if (key_text.empty())
    return failed("expected alipay_public_key_file or alipay_cert_file, found "
                  "neither");
  auto key = crypto::rsa_public_key::parse(key_text);
  if (!key)
    return failed("the key of Alipay: " + key.error());
  result.alipay_key_ = std::move(*key);
  if (!settings.alipay_cert.empty()) {
    auto sn = gateway::alipay_cert_sn(settings.alipay_cert);
    if (!sn)
      return failed("alipay.alipay_cert_file: " + sn.error());
    result.alipay_cert_sn_ = std::move(*sn);
  }
  if (!settings.app_private_key.empty()) {
    auto app_key
      = crypto::rsa_private_key::parse(settings.app_private_key.reveal());
    if (!app_key)
      return failed("alipay.app_private_key_file: " + app_key.error());
    result.app_key_ = std::move(*app_key);
  }
  // Certificate mode: the gateway demands both numbers in every request.
  if (settings.app_cert.empty() != settings.root_cert.empty())
    return failed("certificate mode takes app_cert_file and root_cert_file; "
                  "found only one of them");
  if (!settings.app_cert.empty()) {
    auto app_sn = gateway::alipay_cert_sn(settings.app_cert);
    if (!app_sn)
      return failed("alipay.app_cert_file: " + app_sn.error());
    auto root_sn = alipay_root_cert_sn(settings.root_cert);
    if (!root_sn)
      return failed("alipay.root_cert_file: " + root_sn.error());
    result.app_cert_sn_ = std::move(*app_sn);
    result.root_cert_sn_ = std::move(*root_sn);
  }
  return result;
}

} // namespace slipway::gateway
