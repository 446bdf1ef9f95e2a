#pragma once

#include "actors/lifecycle/money.hpp"
#include "actors/lifecycle/time.hpp"
#include "http/sandbox/delivery.hpp"
#include "http/sandbox/wechat_simulator.hpp"
#include "http/sandbox/wechat_wire.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// INTERNAL: The simulated WeChat Pay's books: orders, refunds, and the rules
/// that both versions of the API have in common.
namespace slipway::sandbox::wechat {

/// Numbers and texts that are made up. Thread-safe.
class dice {
public:
  /// @param seed 0 means: from the system.
  explicit dice(std::uint64_t seed);

  [[nodiscard]] std::string digits(std::size_t count);

  /// Upper-case letters and digits.
  [[nodiscard]] std::string letters(std::size_t count);

private:
  [[nodiscard]] std::string pick(std::string_view from, std::size_t count);

  std::mutex mutex_;
  std::mt19937_64 random_;
};

enum class api : std::uint8_t { v2, v3 };

enum class trade_state : std::uint8_t { notpay, success, refund, closed };

/// `NOTPAY` …
[[nodiscard]] std::string_view to_string(trade_state is) noexcept;

/// What people are told of a state.
[[nodiscard]] std::string_view words_of(trade_state is) noexcept;

enum class refund_status : std::uint8_t {
  processing,
  success,
  abnormal,
  closed,
};

/// `PROCESSING` …
[[nodiscard]] std::string_view to_string(refund_status is) noexcept;

/// Why a request is not carried out, in the words of v3.
struct refusal {
  int status = 400;
  std::string code;
  std::string message;
  /// The member that is wrong: `/amount/total`; empty where it is none.
  std::string field = {};
};

[[nodiscard]] refusal param_error(std::string field, std::string issue);

struct refund {
  api version = api::v3;
  std::string number; ///< out_refund_no
  std::string id;     ///< WeChat Pay's own.
  std::string order_no;
  minor_units amount = 0;
  std::string reason;
  std::string notify_url;
  timestamp created{};
  std::optional<timestamp> done;
  refund_status status = refund_status::processing;
};

/// Something that the merchant is told.
struct event {
  std::string id;
  std::string name;
  std::string refund_no; ///< Empty: it is about the payment.
  timestamp created{};
};

struct order {
  api version = api::v3;
  v2_sign_type sign_type = v2_sign_type::md5; ///< Of v2.
  std::string number;                         ///< out_trade_no
  std::string trade_type;                     ///< `NATIVE`, `MWEB`, `JSAPI`.
  std::string description;
  std::string attach;
  std::string notify_url;
  std::string openid;
  minor_units total = 0;
  std::optional<timestamp> expires;
  timestamp created{};

  std::string code; ///< `pr` of the QR code.
  std::string prepay_id;
  timestamp link_until{};
  trade_state state = trade_state::notpay;
  std::string transaction_id; ///< Once it is paid.
  std::optional<timestamp> paid;
  minor_units refunded = 0;
  std::vector<std::string> refunds; ///< Their numbers, in order.
  std::vector<event> events;
  std::deque<delivery> deliveries;
};

/// Not thread-safe.
class ledger {
public:
  ledger(std::size_t orders_max, dice& random)
    : orders_max_{orders_max}, random_{random} {
  }

  template <class T>
  using result = tl::expected<T, refusal>;

  /// Takes an order over, or finds it again when it is asked for once more in
  /// the same words. Its link is good again from now on.
  [[nodiscard]] result<order*> place(order asked, timestamp now);

  [[nodiscard]] order* find(const std::string& number);
  [[nodiscard]] order* find_transaction(std::string_view id);
  [[nodiscard]] order* find_code(std::string_view code);
  [[nodiscard]] order* find_prepay(std::string_view prepay_id);

  [[nodiscard]] result<void> pay(order& x, timestamp now);
  [[nodiscard]] result<void> close(order& x);

  /// Accepts a refund, or finds it again.
  /// @param total What the merchant believes was paid.
  /// @param fresh Whether it is a new one.
  [[nodiscard]] result<refund*>
  give_back(refund asked, minor_units total, timestamp now, bool& fresh);

  [[nodiscard]] refund* find_refund(const std::string& number);
  [[nodiscard]] refund* find_refund_id(std::string_view id);

  /// How a refund under way ends. What has been given up is the merchant's
  /// again.
  void settle(refund& x, refund_status end, timestamp now);

  /// The numbers of all orders, the newest first.
  [[nodiscard]] std::vector<std::string> numbers() const;

private:
  [[nodiscard]] order*
  find_by(const std::string order::*member, std::string_view value);

  std::size_t orders_max_;
  dice& random_;
  std::map<std::string, order> orders_;
  std::deque<std::string> order_;
  std::map<std::string, refund> refunds_;
};

/// 6 to 32 of `0-9A-Za-z_-|*`.
[[nodiscard]] bool is_order_number(std::string_view text);

/// 1 to 64 of the same and `@`.
[[nodiscard]] bool is_refund_number(std::string_view text);

/// https without a query; http is taken for this machine alone.
[[nodiscard]] bool is_notify_url(std::string_view url);

/// Code points of UTF-8.
[[nodiscard]] std::size_t count_characters(std::string_view text);

} // namespace slipway::sandbox::wechat
