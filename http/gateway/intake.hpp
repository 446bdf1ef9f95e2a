#pragma once

#include "actors/lifecycle/machine.hpp"
#include "http/gateway/alipay.hpp"
#include "http/gateway/protocol.hpp"
#include "http/gateway/wechat_v2.hpp"
#include "http/gateway/wechat_v3.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// From a gateway's bytes to a fact for the machine, and from the machine's
/// verdict to the gateway's answer. The one way that the server and `slipway
/// verify` share. Pure; callable from any thread.
namespace slipway::gateway {

/// The merchant's accounts. Null where one is not configured.
struct accounts {
  std::shared_ptr<const alipay> ali;
  std::shared_ptr<const wechat_v3> v3;
  std::shared_ptr<const wechat_v2> v2;

  [[nodiscard]] bool has(lifecycle::payment_gateway which) const noexcept {
    return of(which) != nullptr;
  }

  /// The account that orders are made with, or null. WeChat Pay v3 where its
  /// keys are there, else v2.
  [[nodiscard]] const merchant*
  of(lifecycle::payment_gateway which) const noexcept {
    if (which == lifecycle::payment_gateway::alipay)
      return ali.get();
    if (v3 != nullptr)
      return v3.get();
    return v2.get();
  }
};

/// What language a message speaks.
enum class protocol : std::uint8_t { alipay, wechat_v2, wechat_v3 };

/// `alipay`, `wechat` (for metrics; both versions are one gateway).
[[nodiscard]] std::string_view gateway_name(protocol x) noexcept;

[[nodiscard]] lifecycle::payment_gateway gateway_of(protocol x) noexcept;

/// v2 speaks XML, v3 JSON.
[[nodiscard]] protocol wechat_protocol_of(std::string_view body) noexcept;

/// A message on its way in. The views have to outlive the call only.
struct inbound {
  protocol from = protocol::alipay;
  /// Came by the URL for refunds.
  bool refund = false;
  const client::header_list* headers = nullptr;
  std::string_view body;
  timestamp now{};
};

/// Reads and checks a message. One for an account that is not configured is
/// refused as not authentic.
[[nodiscard]] reading read(const accounts& with, const inbound& what);

// -- refund numbers
// ------------------------------------------------------------------

/// Our number of an order's refund: the order's, `r`, and which one it is.
[[nodiscard]] std::string
refund_id_of(std::string_view order_id, std::uint32_t refund_seq);

/// Which one of the order's refunds a number names; 0 when it is none of ours.
[[nodiscard]] std::uint32_t
refund_seq_of(std::string_view order_id, std::string_view refund_id) noexcept;

/// A refund that we asked for.
struct known_refund {
  std::string refund_id; ///< Our number of it.
  minor_units amount = 0;
};

/// Whether a refund result agrees with what we know: the payment it is about,
/// and the number and amount of one of the refunds. What nobody has signed and
/// does not even do that is damaged or made up, and not worth asking about.
[[nodiscard]] bool
agrees_with(const notification& what, const lifecycle::order& order,
            std::span<const known_refund> refunds) noexcept;

// -- facts and answers
// ---------------------------------------------------------------

/// What a believed message means to the machine; nothing where it means nothing
/// to us.
/// @param order the subscription's order that it names.
/// @param refund_seq our refund that it names, 0 for none of ours.
[[nodiscard]] std::optional<lifecycle::event>
event_of(const notification& what, std::uint32_t order,
         std::uint32_t refund_seq, timestamp at);

/// How a message fared.
enum class ending : std::uint8_t {
  done,         ///< Applied, applied before, or nothing to us.
  forged,       ///< Not proven to come from the gateway.
  contradicted, ///< Authentic, and in conflict with what we know.
  trouble,      ///< Our own: the gateway shall come again.
};

/// How a message fared that the machine has judged so.
[[nodiscard]] ending ending_of(lifecycle::verdict is) noexcept;

/// What a gateway is answered.
struct reply {
  int status = 200;
  std::string content_type; ///< Empty without a body.
  std::string body;
};

/// The exact words of the protocol.
/// @param why tells a message that could not be decrypted from one that
///            contradicts.
[[nodiscard]] reply
reply_to(protocol to, ending how, std::optional<reject_reason> why = {});

} // namespace slipway::gateway
