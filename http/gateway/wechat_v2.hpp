#pragma once

#include "config/settings.hpp"
#include "http/crypto/form.hpp"
#include "http/gateway/protocol.hpp"

#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// WeChat Pay APIv2: XML, signed with a key that both sides share.
namespace slipway::gateway {

/// How messages of v2 are signed. Chosen with the order, never by a message.
enum class v2_sign_type : std::uint8_t { hmac_sha256, md5 };

/// The gateway's word: `HMAC-SHA256`, `MD5`.
[[nodiscard]] std::string_view to_string(v2_sign_type type) noexcept;

/// The type of that name, or nothing.
[[nodiscard]] std::optional<v2_sign_type>
v2_sign_type_of(std::string_view name) noexcept;

/// The `sign` of a message: over every field but `sign` itself and empty ones,
/// sorted by name, the key at the end; upper-case hex.
/// @param key the APIv2 key.
[[nodiscard]] std::string v2_sign(const crypto::form_fields& fields,
                                  std::string_view key, v2_sign_type type);

/// The AES-256 key of `req_info`, derived from the APIv2 key.
[[nodiscard]] std::string v2_refund_key(std::string_view key);

/// The answer to a notification, to the byte as documented.
/// @param message for people at the other end; empty means `OK`. UTF-8.
[[nodiscard]] std::string v2_reply(bool success, std::string_view message);

/// One merchant's account. Immutable; callable from any thread.
class wechat_v2 final : public merchant {
public:
  /// @returns a sentence where the number of the app or the merchant is missing
  ///          or the key hasn't 32 bytes.
  [[nodiscard]] static tl::expected<wechat_v2, std::string>
  make(const config::wechat_settings& settings, v2_sign_type type);

  /// Reads a payment result. `event_id` is the transaction's number.
  [[nodiscard]] reading read_notification(std::string_view body) const;

  /// Reads a refund result. `event_id` is the gateway's number of the refund.
  /// The protocol signs nothing here: what it says was encrypted with our key,
  /// in a mode that notices no rearrangement. Ask the gateway before acting.
  [[nodiscard]] reading read_refund_notification(std::string_view body) const;

  /// What the page inside WeChat hands to `WeixinJSBridge` to have the order
  /// with this `prepay_id` paid.
  [[nodiscard]] boost::json::object
  jsapi_parameters(std::string_view prepay_id, const stamp& with) const;

  // -- merchant. Answers without a valid sign are `forged`, but for errors of
  // transport, which the gateway doesn't sign.

  /// native, jsapi, h5.
  [[nodiscard]] bool
  takes(lifecycle::payment_method method) const noexcept override;
  [[nodiscard]] bool
  has_to_call(lifecycle::payment_method method) const noexcept override;
  /// Always a sentence: every method needs a call.
  [[nodiscard]] tl::expected<payment_link, std::string>
  link(const pay_order& order) const override;
  [[nodiscard]] request
  create_request(const pay_order& order, const stamp& with) const override;
  /// h5: the link leads back to `return_url` where there is one.
  [[nodiscard]] answer<payment_link>
  read_create(const pay_order& order, const client::http_response& from,
              timestamp now) const override;
  [[nodiscard]] request
  query_request(std::string_view order_id, const stamp& with) const override;
  [[nodiscard]] answer<trade>
  read_query(std::string_view order_id, const client::http_response& from,
             timestamp now) const override;
  [[nodiscard]] request
  close_request(std::string_view order_id, const stamp& with) const override;
  [[nodiscard]] answer<close_end>
  read_close(std::string_view order_id, const client::http_response& from,
             timestamp now) const override;
  /// Always a sentence: v2 refunds take a client certificate.
  [[nodiscard]] request
  refund_request(const refund_order& order, const stamp& with) const override;
  /// Always `refused`, like the request.
  [[nodiscard]] answer<refund_report>
  read_refund(const refund_order& order, const client::http_response& from,
              timestamp now) const override;
  /// Of refunds that were started elsewhere, in the merchant's console.
  [[nodiscard]] request refund_query_request(const refund_order& order,
                                             const stamp& with) const override;
  [[nodiscard]] answer<refund_report>
  read_refund_query(const refund_order& order,
                    const client::http_response& from,
                    timestamp now) const override;

private:
  wechat_v2() = default;

  /// Adds who we are and the sign, and addresses it.
  [[nodiscard]] request
  signed_request(std::string_view path, crypto::form_fields fields,
                 const stamp& with) const;

  [[nodiscard]] bool is_genuine(const crypto::form_fields& fields) const;

  /// The contradiction between a message's identity and ours.
  [[nodiscard]] std::optional<rejection>
  check_identity(const crypto::form_fields& fields) const;

  /// The fields of an answer that the gateway gave to us about this order.
  [[nodiscard]] answer<crypto::form_fields>
  opened(const client::http_response& from, std::string_view order_id) const;

  std::string app_id_;
  std::string mch_id_;
  std::string gateway_url_;
  config::secret key_;
  v2_sign_type type_ = v2_sign_type::hmac_sha256;
};

} // namespace slipway::gateway
