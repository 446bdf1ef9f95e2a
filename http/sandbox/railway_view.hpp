#pragma once

#include "http/sandbox/railway_nodes.hpp"
#include "http/sandbox/railway_world.hpp"

/// INTERNAL: The simulated provider's objects as GraphQL sees them.
namespace slipway::sandbox::railway {

/// Who asks, and what is left of the budget.
struct caller {
  std::string workspace_id;
  bool account = false;
  std::int64_t points_left = 0;
  std::string resets_at = {};
};

/// Turns what exists into objects. They live no longer than itself, nor than
/// what they show: what a mutation takes away is not to be looked at any more.
class view {
public:
  view(const world& all, const caller& who) : all_{all}, who_{who} {
  }

  // -- objects ----------------------------------------------------------------

  [[nodiscard]] object_ptr of(const project& x) const;
  [[nodiscard]] object_ptr environment(const project& x) const;
  [[nodiscard]] object_ptr of(const service& x) const;
  [[nodiscard]] object_ptr instance(const service& x) const;
  [[nodiscard]] object_ptr of(const deployment& x) const;
  [[nodiscard]] object_ptr of(const service_domain& x, const service& in) const;
  [[nodiscard]] object_ptr domains(const service& in) const;
  [[nodiscard]] object_ptr of(const volume& x) const;
  [[nodiscard]] object_ptr of(const notification_rule& x) const;
  [[nodiscard]] object_ptr of(const blueprint& x) const;
  [[nodiscard]] object_ptr workspace() const;
  [[nodiscard]] object_ptr user() const;

  // -- lists ------------------------------------------------------------------

  [[nodiscard]] resolved
  projects(const std::string& type, const boost::json::object& args) const;

  [[nodiscard]] resolved environments(const std::string& type, const project& x,
                                      const boost::json::object& args) const;

  [[nodiscard]] resolved deployments(const boost::json::object& args) const;

  [[nodiscard]] resolved
  events(const deployment& x, const boost::json::object& args) const;

  [[nodiscard]] resolved templates(const boost::json::object& args) const;

  /// @returns the newest of `lines` that fit, one more than asked for.
  [[nodiscard]] resolved logs(const deployment& x, std::vector<log_line> lines,
                              const boost::json::object& args) const;

private:
  [[nodiscard]] object_ptr volume_instance(const volume& x) const;
  [[nodiscard]] object_ptr line(const deployment& x, const log_line& y) const;
  [[nodiscard]] object_ptr rate_limit() const;

  [[nodiscard]] resolved
  deployment_pages(const std::string& type,
                   std::vector<const deployment*> chosen,
                   const boost::json::object& args) const;

  /// Those of a service that lists show.
  [[nodiscard]] std::vector<const deployment*>
  deployments_of(const service& x) const;

  [[nodiscard]] resolved
  services_of(const std::string& type, const project& x, bool instances,
              const boost::json::object& args) const;

  [[nodiscard]] resolved
  volumes_of(const std::string& type, const project& x, bool instances,
             const boost::json::object& args) const;

  [[nodiscard]] resolved project_field(const project& x, std::string_view field,
                                       const boost::json::object& args) const;

  [[nodiscard]] resolved
  environment_field(const project& x, std::string_view field,
                    const boost::json::object& args) const;

  [[nodiscard]] resolved service_field(const service& x, std::string_view field,
                                       const boost::json::object& args) const;

  [[nodiscard]] resolved
  instance_field(const service& x, std::string_view field) const;

  [[nodiscard]] resolved
  deployment_field(const deployment& x, std::string_view field) const;

  const world& all_;
  const caller& who_;
};

} // namespace slipway::sandbox::railway
