#include "http/sandbox/railway_nodes.hpp"

#include "http/crypto/encoding.hpp"
#include "http/sandbox/railway_json.hpp"

#include <algorithm>

namespace slipway::sandbox::railway {

namespace json = boost::json;

using graphql::field_error;

namespace {

/// An object whose fields a function knows.
class node final : public graphql::object {
public:
  node(std::string type, getter get)
    : type_{std::move(type)}, get_{std::move(get)} {
  }

  [[nodiscard]] std::string_view type() const override {
    return type_;
  }

  [[nodiscard]] resolved
  get(std::string_view field, const json::object& arguments) const override {
    return get_(field, arguments);
  }

private:
  std::string type_;
  getter get_;
};

constexpr auto page_max = std::int64_t{500};

std::string cursor_of(const std::string& id) {
  return crypto::base64_encode("cursor:" + id);
}

} // namespace

object_ptr make(std::string type, getter get) {
  return std::make_shared<node>(std::move(type), std::move(get));
}

object_ptr record(std::string type, json::object values) {
  return make(std::move(type),
              [values = std::move(values)](std::string_view field,
                                           const json::object&) -> resolved {
                const auto* value = values.if_contains(field);
                return value == nullptr ? json::value(nullptr) : *value;
              });
}

json::value moment(timestamp at) {
  return json::value(to_rfc3339(at));
}

json::value moment(const std::optional<timestamp>& at) {
  return at ? moment(*at) : json::value(nullptr);
}

json::value known(const std::string& value) {
  return value.empty() ? json::value(nullptr) : json::value(value);
}

resolved connection(const std::string& type, const std::vector<entry>& all,
                    const json::object& arguments) {
  const auto after = text_of(arguments, "after");
  const auto before = text_of(arguments, "before");
  const auto find = [&](const std::string& cursor) {
    return std::find_if(all.begin(), all.end(), [&](const entry& x) {
      return cursor_of(x.first) == cursor;
    });
  };
  auto from = all.begin();
  auto to = all.end();
  if (!after.empty()) {
    from = find(after);
    if (from == all.end())
      return field_error{"Invalid cursor", "BAD_USER_INPUT"};
    ++from;
  }
  if (!before.empty()) {
    to = find(before);
    if (to == all.end() || to < from)
      return field_error{"Invalid cursor", "BAD_USER_INPUT"};
  }
  const auto first = number_of(arguments, "first");
  const auto last = number_of(arguments, "last");
  if (first.value_or(0) < 0 || last.value_or(0) < 0)
    return field_error{"A page cannot be negative.", "BAD_USER_INPUT"};
  auto more_behind = to != all.end();
  auto more_before = from != all.begin();
  if (const auto n = std::min(first.value_or(page_max), page_max);
      to - from > n) {
    to = from + n;
    more_behind = true;
  }
  if (last && to - from > *last) {
    from = to - *last;
    more_before = true;
  }
  json::object info;
  info["hasNextPage"] = more_behind;
  info["hasPreviousPage"] = more_before;
  info["startCursor"]
    = from == to ? json::value(nullptr) : json::value(cursor_of(from->first));
  info["endCursor"] = from == to ? json::value(nullptr)
                                 : json::value(cursor_of(std::prev(to)->first));
  std::vector<object_ptr> edges;
  for (auto i = from; i != to; ++i)
    edges.push_back(make(
      type + "Edge", [x = *i](std::string_view field, const json::object&) {
        return field == "cursor" ? resolved{json::value(cursor_of(x.first))}
                                 : resolved{x.second};
      }));
  return make(type,
              [edges = std::move(edges), info = std::move(info)](
                std::string_view field, const json::object&) -> resolved {
                if (field == "edges")
                  return edges;
                return record("PageInfo", info);
              });
}

} // namespace slipway::sandbox::railway
