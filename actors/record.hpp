#pragma once

#include "actors/lifecycle/machine.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Plain data that travels between the actors and the edges. No CAF, no SQL.
namespace slipway {

/// One subscription as it is stored.
struct record {
  subscription_id id{};
  std::string user_id;
  std::string plan;
  std::string currency = "CNY";
  timestamp created_at{};
  timestamp updated_at{};
  /// Counts the servers that have owned the row; fences every write.
  std::uint32_t epoch = 0;
  lifecycle::state state;
};

using record_ptr = std::shared_ptr<const record>;

// -- what goes along with a transition
// --------------------------------------------

/// A channel credential, encrypted. Plaintext never leaves the edges.
struct sealed_credential {
  std::string channel_type;
  std::string key_id;
  std::string nonce;
  std::string ciphertext;
};

enum class callback_outcome : std::uint8_t {
  applied = 0,      ///< It moved the subscription.
  repeated = 1,     ///< It had been applied before.
  acknowledged = 2, ///< Authentic and nothing to us.
  contradicted = 3, ///< Authentic, and in conflict with what we know.
  forged = 4,       ///< Not proven to come from the gateway; a sample is kept.
};

inline constexpr std::size_t callback_outcome_count = 5;

/// How a gateway came to say something.
enum class callback_source : std::uint8_t {
  notify = 0,
  refund_notify = 1,
  query = 2, ///< We asked; the entry holds the signed answer.
};

[[nodiscard]] std::string_view to_string(callback_source x) noexcept;

[[nodiscard]] std::string_view to_string(callback_outcome x) noexcept;

/// One authentic message of a gateway, kept raw.
struct callback_entry {
  lifecycle::payment_gateway gateway = lifecycle::payment_gateway::alipay;
  callback_source source = callback_source::notify;
  /// The same for all deliveries of one event: they share a row.
  std::string dedupe_key;
  timestamp received_at{};
  std::string order_id; ///< As the gateway spelled it; may be none of ours.
  subscription_id subscription{}; ///< 0 when the order is not ours.
  callback_outcome outcome = callback_outcome::applied;
  std::string reason;
  std::string headers; ///< One `Name: value` a line.
  std::string body;    ///< The exact bytes.
  /// Fed in once more by an operator: no delivery of the gateway.
  bool replayed = false;
};

enum class history_kind : std::uint8_t {
  state = 0,
  provider = 1,
  mail = 2,
  operator_ = 3,
};

[[nodiscard]] std::string_view to_string(history_kind x) noexcept;

/// One line of a subscription's history.
struct history_entry {
  timestamp at{};
  history_kind kind = history_kind::state;
  std::string summary;
  std::string operation; ///< Event, GraphQL field, template or operator's act.
  std::string outcome;
};

/// How grave an entry is where it stands in a log: `info` or `error`.
[[nodiscard]] std::string_view level_of(const history_entry& x) noexcept;

/// One call to the provider, for the history.
struct provider_call {
  timestamp at{};
  std::string operation; ///< The GraphQL field, `projectCreate`.
  std::string outcome;   ///< `ok` or the class of the error.
  std::string message;
};

enum class notice_kind : std::uint8_t {
  payment_received = 0,
  deployment_success = 1,
  deployment_failed = 2,
  refund_completed = 3,
  deployment_cancelled = 4,
  instance_terminated = 5,
  instance_down = 6,      ///< It ran, and does not any more; `error` says why.
  instance_recovered = 7, ///< It runs again.
  /// It still does what it was bought for; `error` says what changed:
  /// `sleeping`, `degraded` or `redeployed`.
  instance_changed = 8,
  /// Its turn has come, after it had waited in the queue.
  deployment_started = 9,
};

inline constexpr std::size_t notice_kind_count = 10;

/// What the outside calls it: `DEPLOYMENT_SUCCESS`.
[[nodiscard]] std::string_view to_string(notice_kind x) noexcept;

/// What the user is told. Words are put to it where it is shown or mailed.
struct notice {
  notice_kind kind = notice_kind::payment_received;
  std::uint32_t instance_seq = 0;
  std::string public_url;
  std::string error;
  std::optional<millis> duration; ///< From the payment to running.
  minor_units amount = 0;
  timestamp at{};
  bool by_mail = false; ///< In-app always, by mail where asked.
};

/// What only the first transition of a subscription carries.
struct creation {
  std::string user_id;
  std::string plan;
  std::string currency;
  std::vector<sealed_credential> credentials;
};

} // namespace slipway
