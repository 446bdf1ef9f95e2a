#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::client {
class outbound;
}

namespace slipway::sandbox {

/// What becomes of a simulated gateway's callbacks.
struct delivery_plan {
  /// Never sent, as if the network had swallowed every one of them.
  bool lose = false;
  /// The first delivery comes so long after what it tells.
  millis delay{0};
  /// Sent so many times at once; 1 to `copies_max`.
  std::size_t copies = 1;
  /// A payment is told only after a refund of it has been told.
  bool refund_first = false;
  /// One fen too much, under a good signature.
  bool wrong_amount = false;
  /// Another app (of a refund of WeChat Pay: another merchant), under a good
  /// signature.
  bool wrong_app = false;
  /// A delivery with a wrong signature goes ahead. WeChat Pay does that now and
  /// then (`WECHATPAY/SIGNTEST/`) to see who checks.
  bool probe = false;

  bool operator==(const delivery_plan&) const = default;
};

inline constexpr std::size_t copies_max = 500;

/// The longest `delay`.
inline constexpr millis delay_max{24LL * 60 * 60 * 1000};

/// One delivery of a callback and what came back.
struct delivery {
  timestamp at{};
  std::string id;          ///< The event's: `notify_id`, `EV-…`.
  std::string event;       ///< `TRADE_SUCCESS`, `REFUND.SUCCESS`.
  std::size_t attempt = 1; ///< Counts from 1.
  bool probe = false;      ///< Its signature was wrong on purpose.
  bool lost = false;       ///< Never sent.
  bool understood = false; ///< The merchant has said that it is done.
  int answer = 0;          ///< HTTP status; 0 when there was none.
  std::string body;        ///< The beginning of the answer.
};

/// INTERNAL: The plans of a simulator: one for all orders, and those of single
/// orders, which may be set before the order is known. Not thread-safe.
class delivery_plans {
public:
  /// @param orders_max The oldest single plans are forgotten beyond it.
  delivery_plans(delivery_plan all, std::size_t orders_max)
    : all_{all}, orders_max_{orders_max} {
  }

  /// For all orders without a plan of their own.
  void set(delivery_plan plan) {
    all_ = plan;
  }

  void set(const std::string& order, delivery_plan plan);

  [[nodiscard]] const delivery_plan& all() const noexcept {
    return all_;
  }

  [[nodiscard]] const delivery_plan& of(const std::string& order) const;

private:
  delivery_plan all_;
  std::size_t orders_max_;
  std::map<std::string, delivery_plan> single_;
  std::deque<std::string> order_;
};

/// INTERNAL: Something to be told to a merchant.
struct callback {
  std::string order_no;
  std::string id;
  std::string event;
  std::string url; ///< Nothing is sent when it is no web address.
  bool is_refund = false;

  struct message {
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
  };

  /// Writes one delivery, signed anew; badly where it is a probe. Runs on the
  /// courier's thread, which holds no lock.
  std::function<message(timestamp now, bool probe)> write;
  /// Whether an answer says that the merchant is done with it.
  std::function<bool(int status, std::string_view body)> is_understood;
};

/// INTERNAL: Delivers callbacks as planned, again and again until they have
/// been understood or the ladder ends. Thread-safe.
class courier {
public:
  /// Told of every delivery, on a thread that holds no lock.
  using recorder
    = std::function<void(const std::string& order_no, delivery what)>;

  /// @param ladder Pauses between the deliveries of one callback.
  /// @param timeout Of one delivery.
  /// @param time Must outlive the courier.
  /// @param out Must outlive the courier.
  courier(std::vector<millis> ladder, millis timeout, const clock& time,
          client::outbound& out, recorder record);

  /// Stops.
  ~courier();

  courier(const courier&) = delete;
  courier& operator=(const courier&) = delete;

  /// Returns at once. Callable with locks held: what it leads to runs on
  /// another thread.
  void post(callback what, const delivery_plan& plan);

  /// Runs something a while from now on the courier's thread.
  void after(millis delay, std::function<void()> what);

  /// Forgets what waits. Nothing is recorded any more.
  void stop();

private:
  struct impl;

  std::shared_ptr<impl> impl_;
};

/// INTERNAL: Whether it begins like a web address.
[[nodiscard]] bool is_web(std::string_view url);

/// INTERNAL: How many deliveries an order remembers.
inline constexpr std::size_t deliveries_kept = 256;

/// INTERNAL: Adds one and drops the oldest beyond `deliveries_kept`.
void remember(std::deque<delivery>& all, delivery one);

} // namespace slipway::sandbox
