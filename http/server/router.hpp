#pragma once

#include "http/server/exchange.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::http {

/// Runs on a thread of the server and must not block. To answer later, keep the
/// exchange.
using handler = std::function<void(std::shared_ptr<exchange>)>;

/// One way into the program.
struct route {
  method verb = method::get;
  std::string pattern;
  /// Stands for the route in metrics and access logs.
  std::string name;
  handler run;
  /// Let in even when `max_in_flight` is reached (health checks).
  bool exempt = false;
  /// May take the last eighth of `max_in_flight`.
  bool goes_first = false;
};

/// Whether a route passes by the in-flight gate, or is let in there while
/// others are not any more.
enum class admission : std::uint8_t { gated, first, exempt };

/// Finds the handler of a method and path. Filled before the server starts;
/// from then on constant.
class router {
public:
  router();
  ~router();
  router(router&&) noexcept;
  router& operator=(router&&) noexcept;

  /// Adds a route. `pattern` is a path whose segments are literal text or
  /// `{name}`, which stands for one segment that is not empty; literal segments
  /// are preferred. Adding GET serves HEAD too; OPTIONS and 404/405 are the
  /// router's own.
  /// @pre `pattern` starts with `/`; the same method and pattern once only.
  ///      Throws std::invalid_argument otherwise.
  router& add(method verb, std::string_view pattern, std::string name,
              handler run, admission admitted = admission::gated);

  enum class verdict : std::uint8_t {
    found,
    not_found,          ///< No route has this path.
    method_not_allowed, ///< Other methods have; see `allow`.
    options,            ///< OPTIONS on a known path; see `allow`.
  };

  struct match {
    verdict is = verdict::not_found;
    const route* to = nullptr;
    std::vector<std::string> params = {};
    /// For the Allow header: `GET, HEAD, OPTIONS`.
    std::string allow = {};
  };

  /// @param path A normalised path, as in `request::path`.
  [[nodiscard]] match find(method verb, std::string_view path) const;

  /// All routes in the order they were added.
  [[nodiscard]] std::vector<const route*> routes() const;

private:
  struct node;

  std::unique_ptr<node> root_;
  std::vector<std::unique_ptr<route>> routes_;
};

} // namespace slipway::http
