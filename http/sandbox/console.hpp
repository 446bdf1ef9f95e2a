#pragma once

#include "actors/lifecycle/money.hpp"
#include "http/sandbox/delivery.hpp"
#include "http/server/router.hpp"

#include <tl/expected.hpp>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// INTERNAL: What the gateways' simulators have in common for people and
/// scripts: a page with all orders, and the same as JSON.
namespace slipway::sandbox {

enum class tone : std::uint8_t { neutral, good, bad };

struct console_refund {
  std::string number;
  minor_units amount = 0;
  std::string status;
  timestamp at{};
};

/// One order as it is shown.
struct console_order {
  std::string number;      ///< The merchant's.
  std::string transaction; ///< The gateway's; may be empty.
  std::string subject;
  std::string product;  ///< `NATIVE`, `page` …
  std::string pay_path; ///< Where the buyer pays, on this server.
  std::string notify_url;
  minor_units amount = 0;
  minor_units refunded = 0;
  std::string status; ///< The gateway's word.
  tone mood = tone::neutral;
  timestamp created{};
  std::optional<timestamp> paid;
  std::vector<console_refund> refunds;
  std::deque<delivery> deliveries;
  delivery_plan plan;
  bool can_pay = false;
  bool can_close = false;
  bool can_refund = false;
};

enum class console_action : std::uint8_t {
  pay,
  close,
  refund,    ///< From the gateway's console, not through its API.
  notify,    ///< Everything once more, now, whatever the plan.
  duplicate, ///< The same, many times at once.
  plan,      ///< Sets the plan of an order, or of all.
};

struct console_command {
  console_action action = console_action::plan;
  std::string order; ///< Empty: all of them (of `plan` only).
  delivery_plan plan;
  /// Of `pay`: the plan for this callback alone.
  bool own_plan = false;
  /// Of `refund`; nothing means: all that is left.
  std::optional<minor_units> amount;
  std::size_t copies = 100; ///< Of `duplicate`.
  /// Of `refund`, where the gateway has them: `SUCCESS`, `ABNORMAL`, `CLOSED`.
  std::string outcome;
};

/// Why a command was not carried out.
struct console_refusal {
  int status = 409; ///< 404 where there is no such order.
  std::string code;
  std::string sentence;
};

/// What a simulator has to be able to do for its console. Called on the
/// server's thread; takes its own locks.
class console_host {
public:
  virtual ~console_host() = default;

  /// The newest first.
  [[nodiscard]] virtual std::vector<console_order> console_orders() = 0;

  [[nodiscard]] virtual std::optional<console_order>
  console_find(const std::string& number) = 0;

  [[nodiscard]] virtual delivery_plan console_plan() = 0;

  [[nodiscard]] virtual tl::expected<void, console_refusal>
  perform(const console_command& what) = 0;

  /// More switches, as HTML; none by default.
  [[nodiscard]] virtual std::string console_switches();
};

/// Adds the page `/` with its form target `/console`, and for scripts
/// `GET /sandbox/trades`, `POST /sandbox/trades/{no}/{pay|close|refund|notify|
/// duplicate|delivery}` and `POST /sandbox/delivery`.
/// @param title Plain text, as is `word`, which stands beside it.
/// @param host Must outlive the server that the routes are for.
void add_console(http::router& routes, std::string title, std::string word,
                 console_host& host);

/// Reads a plan from form fields: `lose`, `refund_first`, `wrong_amount`,
/// `wrong_app`, `probe` (set where present and not `false`), `delay` (`30`,
/// `30s`, `250ms`), `copies`. What is absent is off.
[[nodiscard]] tl::expected<delivery_plan, std::string>
read_plan(std::string_view form);

} // namespace slipway::sandbox
