#pragma once

#include "http/sandbox/railway_world.hpp"

/// INTERNAL: The simulated provider's objects as GraphQL sees them.
namespace slipway::sandbox::railway {

/// Who asks, and what is left of the budget.
struct caller {
  std::string workspace_id;
  std::string template_code;
  bool account = false;
  std::int64_t points_left = 0;
  std::string resets_at = {};
};

/// Answers the fields of one request. The objects it hands out live no longer
/// than itself.
class graph {
public:
  graph(world& all, caller who);
  ~graph();

  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;

  /// A field of `Query` or `Mutation`.
  [[nodiscard]] graphql::resolved root(bool is_mutation, std::string_view field,
                                       const boost::json::object& arguments);

private:
  class view;

  world& all_;
  caller who_;
  std::unique_ptr<view> view_;
};

} // namespace slipway::sandbox::railway
