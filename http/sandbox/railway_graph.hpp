#pragma once

#include "http/sandbox/railway_view.hpp"

/// INTERNAL: What can be asked of the simulated provider, and done to it.
namespace slipway::sandbox::railway {

/// Answers the fields of one request. The objects it hands out live no longer
/// than itself.
class graph {
public:
  graph(world& all, caller who)
    : all_{all}, who_{std::move(who)}, show_{all_, who_} {
  }

  graph(const graph&) = delete;
  graph& operator=(const graph&) = delete;

  /// A field of `Query` or `Mutation`.
  [[nodiscard]] graphql::resolved root(bool is_mutation, std::string_view field,
                                       const boost::json::object& arguments);

  [[nodiscard]] const view& show() const noexcept {
    return show_;
  }

private:
  [[nodiscard]] resolved
  query(std::string_view field, const boost::json::object& args) const;

  [[nodiscard]] resolved
  mutate(std::string_view field, const boost::json::object& args);

  world& all_;
  caller who_;
  view show_;
};

} // namespace slipway::sandbox::railway
