#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <string>
#include <vector>

namespace slipway::cli {

/// An actor with the lines that lead to it.
struct tree_line {
  std::string lead; ///< `├─ `, `│  └─ `; empty for a root.
  const boost::json::object* actor = nullptr;
};

/// Puts actors below their parents, in the order they came in. Whose parent is
/// not among them stands at the root, and so does the first one of a circle.
/// @param actors Objects with `id` and `parent`; has to outlive what is
///        returned.
[[nodiscard]] std::vector<tree_line>
tree_of(const boost::json::array& actors, bool unicode);

} // namespace slipway::cli
