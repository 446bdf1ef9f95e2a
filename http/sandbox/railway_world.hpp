#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/graphql.hpp"
#include "http/sandbox/railway_simulator.hpp"

#include <deque>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// INTERNAL: What exists at the simulated provider, and how it moves on. Not
/// thread-safe.
namespace slipway::sandbox::railway {

/// How a deployment is going to end.
enum class fate : std::uint8_t { good, build_fails, deploy_fails, crashes };

struct deployment {
  std::string id;
  std::string service_id;
  std::string image;
  timestamp created;
  fate ending = fate::good;
  std::optional<timestamp> removed = {};
  std::optional<timestamp> stopped = {};
  std::optional<timestamp> restarted = {};
  std::optional<timestamp> crashed = {}; ///< By hand, while it ran.
};

struct service_domain {
  std::string id;
  std::string domain;
  std::optional<std::int64_t> port;
  timestamp created;
};

/// A service with its one instance.
struct service {
  std::string id;
  std::string instance_id;
  std::string project_id;
  std::string environment_id;
  std::string name;
  std::string icon;
  std::string image;
  std::string start_command;
  std::string healthcheck_path;
  std::string template_id;
  std::string template_service_id;
  timestamp created;
  std::map<std::string, std::string> variables = {};
  std::vector<service_domain> domains = {};
  std::vector<std::string> deployments = {};
};

struct project {
  std::string id;
  std::string name;
  std::string description;
  std::string environment_id;
  std::string environment_name;
  timestamp created;
  std::optional<timestamp> deleted = {};
  /// Scheduled deletions can still be looked at.
  bool gone = false;
  std::vector<std::string> services = {};
  std::map<std::string, std::string> shared = {};
};

struct workflow {
  std::string id;
  std::string project_id;
  std::string template_id;
  timestamp started;
  bool fails = false;
  bool done = false;
  std::string error = {};
  boost::json::object config = {};
};

/// What can be made to go wrong.
struct switches {
  std::string fail_next; ///< Empty, `build`, `deploy`, `crash`, `workflow`.
  std::int64_t fail_count = 0;
  std::int64_t opaque_errors = 0;
  std::int64_t lost_answers = 0;
  std::int64_t rate_limited = 0;
  std::int64_t slow_ms = 0;
  bool down = false;
};

/// Where a deployment stands, and since when.
struct standing {
  std::string_view status;
  timestamp since;
};

struct event {
  std::string_view step;
  timestamp created;
  std::optional<timestamp> completed;
  std::string error;
};

struct log_line {
  timestamp at;
  std::string severity;
  std::string message;
};

using graphql::field_error;

class world {
public:
  world(const railway_simulator_options& options, const clock& time);

  [[nodiscard]] timestamp now() const {
    return time_.now();
  }

  /// Lets everything happen that is due.
  void catch_up();

  // -- looking ----------------------------------------------------------------

  [[nodiscard]] const project* find_project(const std::string& id) const;
  [[nodiscard]] const project* find_environment(const std::string& id) const;
  [[nodiscard]] const service* find_service(const std::string& id) const;
  [[nodiscard]] const deployment* find_deployment(const std::string& id) const;

  [[nodiscard]] const workflow* find_workflow(const std::string& id) const;

  /// Oldest first, deleted ones included.
  [[nodiscard]] std::vector<const project*> projects() const;

  [[nodiscard]] std::size_t live_projects() const;

  [[nodiscard]] standing standing_of(const deployment& x) const;
  [[nodiscard]] std::vector<event> events_of(const deployment& x) const;
  [[nodiscard]] std::vector<log_line> build_log(const deployment& x) const;
  [[nodiscard]] std::vector<log_line> deploy_log(const deployment& x) const;

  /// The variables as the service sees them, Railway's own included.
  [[nodiscard]] boost::json::object
  variables_of(const project& of, const service* in) const;

  [[nodiscard]] const std::string& template_id() const noexcept {
    return template_id_;
  }

  [[nodiscard]] const boost::json::object& template_config() const noexcept {
    return template_config_;
  }

  [[nodiscard]] timestamp born() const noexcept {
    return born_;
  }

  // -- doing ------------------------------------------------------------------

  template <class T>
  using outcome = tl::expected<T, field_error>;

  outcome<const project*> create_project(const boost::json::object& input);
  outcome<bool> delete_project(const std::string& id, bool scheduled);
  outcome<const workflow*> deploy_template(const boost::json::object& input);
  outcome<bool> upsert_variables(const boost::json::object& input);
  outcome<const service_domain*>
  create_domain(const boost::json::object& input);
  outcome<const deployment*> deploy_service(const std::string& service_id,
                                            const std::string& environment_id);
  outcome<const deployment*>
  redeploy_service(const std::string& service_id,
                   const std::string& environment_id);
  outcome<const deployment*> redeploy(const std::string& deployment_id);
  outcome<bool> cancel(const std::string& deployment_id);
  outcome<bool> remove(const std::string& deployment_id);
  outcome<bool> stop(const std::string& deployment_id);
  outcome<bool> restart(const std::string& deployment_id);
  outcome<bool> crash(const std::string& deployment_id);

  std::string uuid();

  switches knobs;

private:
  project* live_project(const std::string& id);
  service* live_service(const std::string& id, const std::string& environment);
  deployment* live_deployment(const std::string& id);
  deployment& new_deployment(service& in, timestamp at);
  service_domain&
  new_domain(service& in, std::optional<std::int64_t> port, timestamp at);
  void apply(workflow& what, timestamp at);
  void
  add_service(project& to, const std::string& template_id, std::string_view key,
              const boost::json::object& config, timestamp at);
  /// Makes room once there are many deleted projects.
  void forget_oldest();
  std::string secret(std::size_t length);
  std::string expand(std::string value);
  bool takes_failure(std::string_view kind);
  [[nodiscard]] bool is_in_progress(const deployment& x) const;

  railway_simulator_options options_;
  const clock& time_;
  std::mt19937_64 random_;
  std::map<std::string, project> projects_;
  std::vector<std::string> project_order_;
  std::map<std::string, std::string> environments_; ///< To their project.
  std::map<std::string, service> services_;
  std::map<std::string, deployment> deployments_;
  std::map<std::string, workflow> workflows_;
  std::vector<std::string> running_workflows_;
  std::optional<timestamp> last_create_;
  std::string template_id_;
  boost::json::object template_config_;
  timestamp born_;
};

} // namespace slipway::sandbox::railway
