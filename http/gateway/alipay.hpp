#pragma once

#include "config/settings.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/gateway/protocol.hpp"

#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace slipway::gateway {

/// What may be done with an answer of Alipay.
enum class response_decision : std::uint8_t {
  /// Signed by Alipay: what it says counts, errors too.
  use,
  /// Not proven to come from Alipay, or ambiguous.
  reject,
  /// An `error_response` without signature: Alipay could not tell who asked.
  /// Good as a diagnosis, never as proof of anything.
  treat_as_unknown_failure,
};

/// The enumerator's name.
[[nodiscard]] std::string_view to_string(response_decision is) noexcept;

/// Why an answer of Alipay is not used.
struct response_refusal {
  signature_verdict signature = signature_verdict::not_evaluated;
  /// Never `use`.
  response_decision decision = response_decision::reject;
  reject_reason reason = reject_reason::malformed_body;
  /// What the answer claims to be the error, `isv.invalid-app-id`; unproven,
  /// may be empty.
  std::string code;
  /// For people. Bounded, no secrets.
  std::string sentence;
};

/// One app at Alipay. Immutable: callable from any thread.
///
/// Methods: `page` and `wap` need no call (`link`), `qr` does. Currency is CNY
/// alone. Orders are named by our own number, 1 to 64 letters, digits or `_`.
class alipay final : public merchant {
public:
  /// Parses the keys and certificates once.
  /// @returns a sentence on the first setting that is wrong.
  [[nodiscard]] static tl::expected<alipay, std::string>
  make(const config::alipay_settings& settings);

  /// Reads a callback's exact body bytes, and checks all that needs no order:
  /// form, signature, app, seller, amounts, numbers, status.
  ///
  /// `event_id` is the notify_id, `word` the trade_status. A refund also proves
  /// the payment: `amount` and `transaction_id` are set, `paid_at` where
  /// Alipay names it. `refunded_total` is everything refunded so far.
  [[nodiscard]] reading read_notification(std::string_view body) const;

  /// Reads an answer's exact body bytes as far as the signature goes.
  /// @param api_method what was called, `alipay.trade.query`.
  /// @returns the signed object, whatever its `code` says.
  [[nodiscard]] tl::expected<boost::json::object, response_refusal>
  read_response(std::string_view api_method, std::string_view body) const;

  [[nodiscard]] bool
  takes(lifecycle::payment_method method) const noexcept override;

  [[nodiscard]] bool
  has_to_call(lifecycle::payment_method method) const noexcept override;

  /// The signed link to Alipay's own page; `order.created_at` is its time.
  [[nodiscard]] tl::expected<payment_link, std::string>
  link(const pay_order& order) const override;

  /// alipay.trade.precreate, for `qr`. Creates no trade: until the code has
  /// been scanned, Alipay calls the order absent.
  [[nodiscard]] request
  create_request(const pay_order& order, const stamp& with) const override;
  [[nodiscard]] answer<payment_link>
  read_create(const pay_order& order, const client::http_response& from,
              timestamp now) const override;

  /// alipay.trade.query. A partial refund leaves a trade `paid`. TRADE_CLOSED
  /// is `refunded` where the answer has a send_pay_date, which only paid trades
  /// have, else `closed`.
  [[nodiscard]] request
  query_request(std::string_view order_id, const stamp& with) const override;
  [[nodiscard]] answer<trade>
  read_query(std::string_view order_id, const client::http_response& from,
             timestamp now) const override;

  /// alipay.trade.close.
  [[nodiscard]] request
  close_request(std::string_view order_id, const stamp& with) const override;
  [[nodiscard]] answer<close_end>
  read_close(std::string_view order_id, const client::http_response& from,
             timestamp now) const override;

  /// alipay.trade.refund. Only fund_change=Y is `done`; the repetition of a
  /// refund that is done answers N, which is `processing`: ask then.
  /// `amount` stays empty, `total` is everything refunded so far.
  [[nodiscard]] request
  refund_request(const refund_order& order, const stamp& with) const override;
  [[nodiscard]] answer<refund_report>
  read_refund(const refund_order& order, const client::http_response& from,
              timestamp now) const override;

  /// alipay.trade.fastpay.refund.query. `absent` also means failed.
  [[nodiscard]] request refund_query_request(const refund_order& order,
                                             const stamp& with) const override;
  [[nodiscard]] answer<refund_report>
  read_refund_query(const refund_order& order,
                    const client::http_response& from,
                    timestamp now) const override;

  /// The certificate numbers in use; empty in key mode.
  [[nodiscard]] const std::string& app_cert_sn() const noexcept {
    return app_cert_sn_;
  }

  /// @copydoc app_cert_sn
  [[nodiscard]] const std::string& root_cert_sn() const noexcept {
    return root_cert_sn_;
  }

  /// @copydoc app_cert_sn
  [[nodiscard]] const std::string& alipay_cert_sn() const noexcept {
    return alipay_cert_sn_;
  }

private:
  alipay() = default;

  /// The parameters of every request, biz_content last, signed.
  [[nodiscard]] tl::expected<crypto::form_fields, std::string>
  signed_fields(std::string_view api_method, timestamp at,
                std::string_view notify_url, std::string_view return_url,
                std::string content) const;

  [[nodiscard]] std::string url_with(const crypto::form_fields& fields) const;

  [[nodiscard]] request
  call(std::string_view api_method, timestamp at, std::string_view notify_url,
       std::string content) const;

  [[nodiscard]] answer<boost::json::object>
  accept(std::string_view api_method, const client::http_response& from) const;

  std::string app_id_;
  std::string seller_id_;
  std::string gateway_url_;
  std::string sign_type_;
  std::string app_cert_sn_;
  std::string root_cert_sn_;
  std::string alipay_cert_sn_;
  crypto::digest digest_ = crypto::digest::sha256;
  std::optional<crypto::rsa_public_key> alipay_key_;
  std::optional<crypto::rsa_private_key> app_key_;
};

/// Alipay's number of a certificate: lower-hex MD5 over issuer and serial.
/// @returns a sentence where the PEM holds none.
[[nodiscard]] tl::expected<std::string, std::string>
alipay_cert_sn(std::string_view pem);

/// The same for a bundle of roots: those signed with RSA, joined with `_`.
[[nodiscard]] tl::expected<std::string, std::string>
alipay_root_cert_sn(std::string_view pem);

} // namespace slipway::gateway
