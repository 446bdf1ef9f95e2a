#pragma once

#include <boost/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// INTERNAL: What can be made to go wrong at the simulated provider.
namespace slipway::sandbox::railway {

/// Counts go down with every use; where they reach nothing, all is well again.
struct switches {
  // -- what becomes of deployments --
  /// Empty, or how the next deployments end: `build`, `deploy`, `crash`,
  /// `exit`, `skip`; `workflow`: how the next templates do.
  std::string fail_next;
  std::int64_t fail_count = 0;
  /// Empty, or the status that the next deployments do not leave by themselves.
  std::string hang_in;
  std::int64_t hang_count = 0;
  std::int64_t slow_builds = 1;        ///< Builds take so many times as long.
  std::int64_t busy = 0;               ///< Deploys, redeploys and domains.
  std::int64_t duplicate_services = 0; ///< Templates that are deployed twice.

  // -- what becomes of answers --
  std::int64_t lost_answers = 0; ///< 504, though it has been done.
  std::int64_t lost_before = 0;  ///< 504, and nothing has been done.
  std::string lost_for;          ///< A field; empty: any mutation.
  std::int64_t opaque_errors = 0;
  bool opaque_after = false; ///< The opaque error comes after the deed.
  std::string opaque_for;    ///< A field; empty: anything.
  std::int64_t garbage = 0;  ///< Answers that are no answers.
  std::string garbage_as = "html200";
  std::string garbage_for; ///< A field; empty: anything.
  std::int64_t slow_ms = 0;
  bool down = false;
  bool sockets_down = false; ///< No WebSocket is let in or kept.

  // -- limits --
  std::int64_t rate_limited = 0; ///< Answers that are 429 out of order.
  std::int64_t requests_per_hour = 10'000;
  std::int64_t requests_per_second = 0; ///< 0: no limit.
  bool cooldown = true; ///< A pause between new projects is asked for.
  std::int64_t cooldown_ms = 0;
  std::int64_t volume_cooldown_ms = 0;
  bool unique_names = false; ///< Of projects, and of services in a project.

  // -- what can be seen when --
  std::int64_t lag_lists_ms = 0;
  std::int64_t lag_by_id_ms = 0;
  std::int64_t auth_lag_ms = 0; ///< A new project is nobody's for so long.

  // -- webhooks --
  bool webhooks = true;
  std::int64_t webhook_loss = 0; ///< In percent.
  bool webhook_doubled = false;
  std::int64_t webhook_late_ms = 0;
  bool webhook_lies = false; ///< The type says failed, the status SUCCESS.
};

[[nodiscard]] boost::json::object to_json(const switches& x);

/// Sets what `from` names. @returns what is wrong with a name or a value,
/// `to` being as it was then; empty if fine.
[[nodiscard]] std::string update(switches& to, const boost::json::object& from);

/// The same with the fields of the page's form, where a box that is not ticked
/// is not sent.
[[nodiscard]] std::string
update(switches& to,
       const std::vector<std::pair<std::string, std::string>>& form);

/// The form's fields, in groups; one that is as in `initial` is folded up.
[[nodiscard]] std::string to_html(const switches& x, const switches& initial);

/// Whether the name of a field is among those that an operation has. An empty
/// name means: any.
[[nodiscard]] bool
concerns(const std::string& name, const std::vector<std::string_view>& fields);

} // namespace slipway::sandbox::railway
