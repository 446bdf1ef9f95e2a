#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/sandbox/graphql.hpp"
#include "http/sandbox/railway_simulator.hpp"
#include "http/sandbox/railway_switches.hpp"

#include <deque>
#include <functional>
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
enum class fate : std::uint8_t {
  good,
  build_fails,
  deploy_fails,
  crashes,
  exits, ///< Comes up, and its process ends with 0.
  skipped,
};

/// A step of a deployment, planned ahead to its end.
struct event {
  std::string_view step;
  timestamp created;
  /// May lie in the future, as `created` may.
  std::optional<timestamp> completed;
  std::string error;
};

/// May lie in the future: then nobody sees it yet.
struct log_line {
  timestamp at;
  std::uint64_t serial; ///< Counts the lines of one deployment.
  std::string severity;
  std::string message;

  /// The moment and nanoseconds below its millisecond.
  using place = std::pair<timestamp, std::uint32_t>;

  [[nodiscard]] place position() const noexcept {
    return {at, static_cast<std::uint32_t>(serial % 1'000'000)};
  }

  /// RFC 3339 with nanoseconds. No two lines of a deployment have the same.
  [[nodiscard]] std::string when() const;
};

struct deployment {
  std::string id;
  std::string service_id;
  std::string image;
  timestamp created;
  railway_stages stages; ///< Its own pace.
  fate ending = fate::good;
  /// The status that it does not leave by itself.
  std::string hang_in = {};
  std::string_view status = "QUEUED";
  timestamp since = {};
  bool stopped = false; ///< It is up, and no process of it runs.
  bool restarting = false;
  std::int64_t replicas = 1;
  std::int64_t replicas_down = 0;
  std::uint64_t turn = 0; ///< What is due for another turn is void.
  std::vector<event> events = {};
  std::deque<log_line> build_log = {};
  std::deque<log_line> deploy_log = {};
  std::uint64_t lines = 0;
};

/// Something that has become of a deployment, as a webhook names it.
struct change {
  std::string_view type; ///< `Deployment.failed`.
  timestamp at;
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
  std::string template_id;
  std::string template_service_id;
  timestamp created;
  std::optional<timestamp> deleted = {};
  /// Its part of the environment's configuration, kept as it came: whatever
  /// nobody here knows stays. Domains and mounts are added when it is shown.
  boost::json::object config = {};
  std::vector<service_domain> domains = {};
  std::vector<std::string> deployments = {};

  /// An image or a repository; empty where there is nothing to deploy.
  [[nodiscard]] std::string source() const;

  /// The variables with their values.
  [[nodiscard]] std::map<std::string, std::string> variables() const;
};

/// A volume with its one instance.
struct volume {
  std::string id;
  std::string instance_id;
  std::string name;
  std::string project_id;
  std::string environment_id;
  std::string service_id; ///< Empty once it is detached.
  std::string region;
  timestamp created;
  /// `mountPath`, and whatever else came with it.
  boost::json::object mount = {};
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
  std::vector<std::string> services = {}; ///< Deleted ones included.
  std::vector<std::string> volumes = {};
  /// The shared variables, as a configuration has them.
  boost::json::object shared = {};
  /// What else the environment's configuration holds.
  boost::json::object rest = {};
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

struct blueprint {
  std::string id;
  std::string code;
  std::string name;
  bool published = false;
  timestamp created;
  boost::json::object config = {};
};

struct notification_rule {
  std::string id;
  std::string project_id; ///< Empty: all projects of the workspace.
  std::vector<std::string> event_types;
  std::vector<std::string> severities;
  bool ephemeral = false;
  timestamp created;

  struct channel {
    std::string id;
    boost::json::object config;
  };

  std::vector<channel> channels = {};
};

using graphql::field_error;

class world {
public:
  world(const railway_simulator_options& options, const clock& time);

  /// The moment of the last `catch_up`: it stands still meanwhile, so that all
  /// of an answer is of one moment.
  [[nodiscard]] timestamp now() const noexcept {
    return now_;
  }

  /// Lets everything happen that has become due, in its order.
  void catch_up();

  // -- looking ----------------------------------------------------------------

  [[nodiscard]] const project* find_project(const std::string& id) const;
  [[nodiscard]] const project* find_environment(const std::string& id) const;
  [[nodiscard]] const service* find_service(const std::string& id) const;
  [[nodiscard]] const deployment* find_deployment(const std::string& id) const;

  [[nodiscard]] const workflow* find_workflow(const std::string& id) const;
  [[nodiscard]] const volume* find_volume(const std::string& id) const;

  /// A published template by its code, or any by its id.
  [[nodiscard]] const blueprint*
  find_template(const std::string& id, const std::string& code) const;

  /// Those that were made here; oldest first.
  [[nodiscard]] std::vector<const blueprint*> templates() const;

  [[nodiscard]] const std::map<std::string, notification_rule>& rules() const {
    return rules_;
  }

  /// The project of anything that these arguments name, deleted or not.
  [[nodiscard]] const project*
  subject_of(const boost::json::object& arguments) const;

  /// Oldest first, deleted ones included.
  [[nodiscard]] std::vector<const project*> projects() const;

  /// Those that are not deleted; oldest first.
  [[nodiscard]] std::vector<const service*> services_of(const project& x) const;
  [[nodiscard]] std::vector<const volume*> volumes_of(const project& x) const;

  [[nodiscard]] std::size_t live_projects() const;

  /// Whether lists show by now what happened then.
  [[nodiscard]] bool is_listed(timestamp then) const {
    return now() >= then + millis{knobs.lag_lists_ms};
  }

  /// Whether those who ask for it by its id get it by now.
  [[nodiscard]] bool is_found(timestamp then) const {
    return now() >= then + millis{knobs.lag_by_id_ms};
  }

  /// Whether nothing of a project is left to be seen.
  [[nodiscard]] bool is_gone(const project& x) const {
    return x.gone && is_found(*x.deleted);
  }

  /// The configuration of a project's environment.
  /// @param open Values of variables are shown.
  [[nodiscard]] boost::json::object
  configuration_of(const project& x, bool open) const;

  /// What has begun so far, without ends that are still to come.
  [[nodiscard]] std::vector<event> events_of(const deployment& x) const;

  /// What a deployment has said so far, or its build.
  /// @param after Only what comes after this line.
  [[nodiscard]] std::vector<log_line>
  log_of(const deployment& x, bool in_build,
         const std::optional<log_line::place>& after = std::nullopt) const;

  /// The variables as the service sees them, Railway's own included.
  [[nodiscard]] boost::json::object
  variables_of(const project& of, const service* in) const;

  [[nodiscard]] timestamp born() const noexcept {
    return born_;
  }

  // -- doing ------------------------------------------------------------------

  template <class T>
  using outcome = tl::expected<T, field_error>;

  outcome<const project*> create_project(const boost::json::object& input);
  outcome<bool> delete_project(const std::string& id, bool scheduled);
  outcome<const workflow*> deploy_template(const boost::json::object& input);
  outcome<const blueprint*> generate_template(const boost::json::object& input);
  outcome<const service*> create_service(const boost::json::object& input);
  outcome<bool>
  delete_service(const std::string& id, const std::string& environment_id);
  outcome<const volume*> create_volume(const boost::json::object& input);
  outcome<bool> delete_volume(const std::string& id);
  /// @returns an id that stands for the commit.
  outcome<std::string> commit_patch(const std::string& environment_id,
                                    const boost::json::object& patch);
  outcome<const notification_rule*>
  create_rule(const boost::json::object& input);
  outcome<bool> delete_rule(const std::string& id);
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

  // -- by hand ----------------------------------------------------------------

  outcome<bool> crash(const std::string& deployment_id);
  /// One replica of several crashes.
  outcome<bool> degrade(const std::string& deployment_id);
  outcome<bool> sleep(const std::string& deployment_id);
  outcome<bool> wake(const std::string& deployment_id);
  /// Lets go of what hangs.
  outcome<bool> release(const std::string& deployment_id);
  /// Adds a line to what a deployment (or its build) has said.
  outcome<bool> say(const std::string& deployment_id, bool in_build,
                    std::string severity, std::string message);

  std::string uuid();

  switches knobs;

  /// Told of every change, in their order, before `catch_up` or the deed
  /// returns.
  std::function<void(const project&, const service&, const deployment&, change)>
    on_change = nullptr;

private:
  /// A thing that is to happen at some time.
  struct due {
    bool is_workflow = false;
    std::string id;
    std::uint64_t turn = 0;
  };

  void run_due();
  project* live_project(const std::string& id);
  service* live_service(const std::string& id, const std::string& environment);
  outcome<deployment*> live_deployment(const std::string& id);
  service& new_service(project& in, std::string name, timestamp at);
  volume& new_volume(project& in, std::string service_id,
                     boost::json::object mount, timestamp at);
  service_domain&
  new_domain(service& in, std::optional<std::int64_t> port, timestamp at);
  void apply(workflow& what, timestamp at);
  void
  add_service(project& to, const std::string& template_id, std::string_view key,
              boost::json::object config, timestamp at);
  void take_down(service& x, timestamp at);
  void add_published_template();
  void add_template_project();

  // -- configurations ---------------------------------------------------------

  [[nodiscard]] boost::json::object
  configuration_of(const service& x, bool open) const;
  /// @returns what is wrong with it as the configuration of this service.
  [[nodiscard]] std::optional<field_error>
  check(const service& of, const boost::json::object& config) const;
  /// Makes a checked configuration that of the service.
  void configure(service& x, boost::json::object config, timestamp at);
  void configure_domains(service& x, boost::json::object& config, timestamp at);
  void configure_volumes(service& x, boost::json::object& config);

  /// Makes room once there are many deleted projects.
  void forget_oldest();
  std::string secret(std::size_t length);
  std::string expand(std::string value);
  bool takes_failure(std::string_view kind);

  // -- the life of a deployment -----------------------------------------------

  deployment& new_deployment(service& in, timestamp at, bool is_again = false);
  /// Goes on to a status, and plans what follows from it.
  void enter(deployment& x, std::string_view status, timestamp at);
  /// The status that it has been in is over.
  void go_on(deployment& x, timestamp at);
  /// Takes its steps and lines from here on back.
  void cut(deployment& x, timestamp at);
  void begin_removal(deployment& x, timestamp at);
  /// The newest that is up takes the others' place.
  void supersede(const deployment& by, timestamp at);
  void tell(const deployment& x, std::string_view type, timestamp at) const;
  void add_line(deployment& x, bool in_build, timestamp at,
                std::string_view severity, std::string message);
  void write_start(deployment& x, timestamp at);
  void write_end(deployment& x, timestamp at);

  railway_simulator_options options_;
  const clock& time_;
  timestamp now_;
  std::mt19937_64 random_;
  std::map<std::string, project> projects_;
  std::vector<std::string> project_order_;
  std::map<std::string, std::string> environments_; ///< To their project.
  std::map<std::string, service> services_;
  std::map<std::string, deployment> deployments_;
  std::map<std::string, volume> volumes_;
  std::map<std::string, workflow> workflows_;
  std::deque<blueprint> templates_;
  std::map<std::string, notification_rule> rules_;
  std::multimap<timestamp, due> agenda_;
  std::optional<timestamp> last_create_;
  std::optional<timestamp> last_volume_;
  timestamp born_;
};

[[nodiscard]] field_error not_found(std::string_view what);

/// Whether a deployment is still on its way.
[[nodiscard]] bool is_in_progress(const deployment& x);

} // namespace slipway::sandbox::railway
