#pragma once

#include "config/settings.hpp"
#include "http/crypto/rsa.hpp"
#include "http/gateway/platform_keys.hpp"
#include "http/gateway/protocol.hpp"

#include <boost/json/fwd.hpp>
#include <tl/expected.hpp>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::gateway {

/// What the `Wechatpay-*` headers say about a body.
struct signature_check {
  signature_verdict signature = signature_verdict::not_evaluated;
  /// Set unless the signature is `valid`.
  std::optional<rejection> refused;
};

/// The WeChat Pay APIv3 codec of one merchant. Immutable apart from the keys,
/// which it shares; callable from any thread.
class wechat_v3 final : public merchant {
public:
  /// Parses the merchant's key once. Without one there are no requests, without
  /// `api_v3_key` no notification can be read; both say so when it comes to it.
  /// @returns a sentence on the first setting that is wrong.
  [[nodiscard]] static tl::expected<wechat_v3, std::string>
  make(const config::wechat_settings& settings,
       std::shared_ptr<platform_keys> keys);

  // -- what comes in

  /// Checks headers, signature and clock of a notification or an answer. The
  /// body must be the exact bytes received.
  [[nodiscard]] signature_check
  check(const client::header_list& headers, std::string_view body,
        timestamp now) const;

  /// Reads a notification of a payment or a refund: `check`, then the envelope,
  /// then what is encrypted in it. Orders are not known here.
  [[nodiscard]] reading
  read_notification(const client::header_list& headers, std::string_view body,
                    timestamp now) const;

  // -- WeChat Pay's certificates

  [[nodiscard]] request certificates_request(const stamp& with) const;

  /// Reads the certificates, for `platform_keys::put`. Where the answer is
  /// signed by a certificate that is not known yet, the one in it counts: only
  /// who has the APIv3 key could have put it there.
  [[nodiscard]] answer<std::vector<platform_certificate>>
  read_certificates(const client::http_response& from, timestamp now) const;

  // -- payments

  /// What the page inside WeChat hands to `WeixinJSBridge` to have the order
  /// with this `prepay_id` paid.
  [[nodiscard]] tl::expected<boost::json::object, std::string>
  jsapi_parameters(std::string_view prepay_id, const stamp& with) const;

  [[nodiscard]] bool
  takes(lifecycle::payment_method method) const noexcept override;

  [[nodiscard]] bool
  has_to_call(lifecycle::payment_method method) const noexcept override;

  [[nodiscard]] tl::expected<payment_link, std::string>
  link(const pay_order& order) const override;

  [[nodiscard]] request
  create_request(const pay_order& order, const stamp& with) const override;

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

  [[nodiscard]] request
  refund_request(const refund_order& order, const stamp& with) const override;

  [[nodiscard]] answer<refund_report>
  read_refund(const refund_order& order, const client::http_response& from,
              timestamp now) const override;

  [[nodiscard]] request refund_query_request(const refund_order& order,
                                             const stamp& with) const override;

  [[nodiscard]] answer<refund_report>
  read_refund_query(const refund_order& order,
                    const client::http_response& from,
                    timestamp now) const override;

private:
  wechat_v3() = default;

  /// Signs and addresses a request.
  /// @param target Path and query, as they go out.
  [[nodiscard]] request
  signed_request(std::string_view method, std::string_view target,
                 std::string body, const stamp& with) const;

  /// Nothing where the answer is proven to be WeChat Pay's and no error;
  /// otherwise what it means that it is not.
  [[nodiscard]] std::optional<call_failure>
  failure_of(const client::http_response& from, timestamp now) const;

  [[nodiscard]] answer<refund_report>
  read_refund_object(const refund_order& order,
                     const client::http_response& from) const;

  std::string app_id_;
  std::string mch_id_;
  std::string gateway_url_;
  std::string merchant_serial_;
  config::secret api_v3_key_;
  std::optional<crypto::rsa_private_key> merchant_key_;
  std::shared_ptr<platform_keys> keys_;
};

} // namespace slipway::gateway
