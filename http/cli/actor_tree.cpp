#include "http/cli/actor_tree.hpp"

#include "http/cli/json_reading.hpp"

#include <unordered_map>
#include <utility>

namespace slipway::cli {

namespace json = boost::json;

std::vector<tree_line> tree_of(const json::array& actors, bool unicode) {
  const auto branch = std::string{unicode ? "├─ " : "|- "};
  const auto last = std::string{unicode ? "└─ " : "`- "};
  const auto through = std::string{unicode ? "│  " : "|  "};
  const auto blank = std::string{"   "};

  auto places = std::unordered_map<std::string, std::size_t>{};
  auto nodes = std::vector<const json::object*>{};
  for (const auto& x : actors) {
    places.emplace(text_of(as_object(x), "id"), nodes.size());
    nodes.push_back(&as_object(x));
  }
  auto children = std::vector<std::vector<std::size_t>>(nodes.size());
  auto roots = std::vector<std::size_t>{};
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const auto parent = places.find(text_of(*nodes[i], "parent"));
    if (parent == places.end() || parent->second == i)
      roots.push_back(i);
    else
      children[parent->second].push_back(i);
  }

  auto out = std::vector<tree_line>{};
  auto seen = std::vector<bool>(nodes.size(), false);
  // Not recursive: the depth is the server's to choose.
  struct step {
    std::size_t node;
    std::string lead;  ///< Of the node itself.
    std::string below; ///< In front of what is below it.
  };
  const auto grow = [&](std::size_t root) {
    auto open = std::vector<step>{{root, {}, {}}};
    while (!open.empty()) {
      const auto at = std::move(open.back());
      open.pop_back();
      if (seen[at.node])
        continue;
      seen[at.node] = true;
      out.push_back({at.lead, nodes[at.node]});
      const auto& below = children[at.node];
      for (auto i = below.size(); i-- > 0;) {
        const auto is_last = i + 1 == below.size();
        open.push_back({below[i], at.below + (is_last ? last : branch),
                        at.below + (is_last ? blank : through)});
      }
    }
  };
  for (const auto root : roots)
    grow(root);
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (!seen[i])
      grow(i);
  return out;
}

} // namespace slipway::cli
