#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace slipway {

/// What can need attention; the words of the contract's `kind`.
inline constexpr const char* attention_kinds[]
  = {"deployment_failed",  "instance_down",    "refunded_running",
     "quarantined",        "orphan_project",   "stuck",
     "surplus_payment",    "refund_failed",    "refund_stuck",
     "order_unsettled",    "payment_mismatch", "unknown_payment",
     "undeliverable_mail", "automation_off"};

/// What operators watch: counters, gauges and histograms under the names that
/// the contract promises. All members may be called from any thread; none
/// blocks for longer than a short lock.
class metrics {
public:
  metrics();

  ~metrics();

  metrics(const metrics&) = delete;

  metrics& operator=(const metrics&) = delete;

  // -- actors
  // ---------------------------------------------------------------------

  /// An actor of this kind came to be (+1) or went (-1).
  void actor_count(std::string_view kind, int change);

  void actor_restarted(std::string_view kind, std::string_view reason);

  void mailbox_depth(std::string_view kind, double messages);

  // -- money
  // ------------------------------------------------------------------------

  void callback(std::string_view gateway, std::string_view outcome);

  /// From the request read to the reply written.
  void callback_seconds(double seconds);

  // -- journal
  // ----------------------------------------------------------------------

  void journal_commit(double seconds, double batch_size);

  // -- deployments
  // --------------------------------------------------------------------

  void deploy_queue(double depth);

  void deploy_slots(double used, double free);

  void time_to_running(double seconds);

  void provider_request(std::string_view operation, std::string_view outcome);

  /// A call of ours to a payment gateway.
  void gateway_request(std::string_view gateway, std::string_view operation,
                       std::string_view outcome);

  void provider_budget_remaining(double requests);

  // -- everything else
  // --------------------------------------------------------------

  void notification(std::string_view channel, std::string_view outcome);

  void http_request(std::string_view route, int status);

  /// Readers of live progress.
  void watchers(double readers);

  void shed(std::string_view reason);

  /// Rows by state, as last counted.
  void subscriptions(std::string_view state, double rows);

  void attention(std::string_view kind, double rows);

  /// Whether the main switch is on.
  void automation_enabled(bool is_on);

  /// Whether the server can serve: the database answers, and what was under
  /// way has been looked at.
  void ready(bool is_ready);

  /// When the server started, in seconds since 1970.
  void started(double seconds);

  /// Whether nobody can have taken over from this server.
  void lease_held(bool is_held);

  /// What became of spans: `exported`, or why they were dropped.
  void spans_exported(double spans);

  void spans_dropped(std::string_view reason, double spans);

  /// Lines of the log that were left out since the start.
  void log_lines_dropped(double lines);

  /// Rows that left for being old.
  void pruned_rows(std::string_view table, double rows);

  /// Renders the Prometheus text format.
  [[nodiscard]] std::string expose() const;

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

} // namespace slipway
