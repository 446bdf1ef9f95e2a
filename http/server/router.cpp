#include "http/server/router.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <stdexcept>

namespace slipway::http {

namespace {

constexpr auto verbs
  = std::array{method::get,     method::post,  method::put,
               method::delete_, method::patch, method::options};

constexpr auto verb_count = static_cast<std::size_t>(method::other) + 1;

/// Cuts the next segment off a path that starts with a slash.
std::string_view next_segment(std::string_view& path) {
  path.remove_prefix(1);
  const auto end = std::min(path.find('/'), path.size());
  const auto segment = path.substr(0, end);
  path.remove_prefix(end);
  return segment;
}

} // namespace

/// One place in the tree of segments.
struct router::node {
  std::map<std::string, std::unique_ptr<node>, std::less<>> literal;
  std::unique_ptr<node> parameter;
  std::array<const route*, verb_count> by_verb{};
  bool used = false;

  const node*
  find(std::string_view rest, std::vector<std::string_view>& params) const {
    if (rest.empty())
      return used ? this : nullptr;
    auto after = rest;
    const auto segment = next_segment(after);
    if (auto i = literal.find(segment); i != literal.end())
      if (const auto* hit = i->second->find(after, params))
        return hit;
    if (parameter == nullptr || segment.empty())
      return nullptr;
    params.push_back(segment);
    if (const auto* hit = parameter->find(after, params))
      return hit;
    params.pop_back();
    return nullptr;
  }

  const route* serving(method verb) const {
    const auto* own = by_verb[static_cast<std::size_t>(verb)];
    if (own == nullptr && verb == method::head)
      return by_verb[static_cast<std::size_t>(method::get)];
    return own;
  }

  std::string allow() const {
    std::string result;
    const auto say = [&](std::string_view name) {
      if (!result.empty())
        result += ", ";
      result += name;
    };
    for (const auto verb : verbs) {
      if (verb == method::options || serving(verb) != nullptr)
        say(to_string(verb));
      if (verb == method::get && serving(method::head) != nullptr)
        say("HEAD");
    }
    return result;
  }
};

router::router() : root_{std::make_unique<node>()} {
}

router::~router() = default;

router::router(router&&) noexcept = default;

router& router::operator=(router&&) noexcept = default;

router& router::add(method verb, std::string_view pattern, std::string name,
                    handler run, admission admitted) {
  if (pattern.empty() || pattern.front() != '/')
    throw std::invalid_argument("a route's pattern starts with a slash: "
                                + std::string{pattern});
  auto* place = root_.get();
  auto rest = pattern == "/" ? std::string_view{} : pattern;
  while (!rest.empty()) {
    const auto segment = next_segment(rest);
    if (segment.empty())
      throw std::invalid_argument("an empty segment in the pattern "
                                  + std::string{pattern});
    const auto is_parameter
      = segment.size() > 2 && segment.front() == '{' && segment.back() == '}';
    auto& next
      = is_parameter ? place->parameter : place->literal[std::string{segment}];
    if (next == nullptr)
      next = std::make_unique<node>();
    place = next.get();
  }
  auto& slot = place->by_verb[static_cast<std::size_t>(verb)];
  if (slot != nullptr)
    throw std::invalid_argument("two routes for " + std::string{to_string(verb)}
                                + " " + std::string{pattern});
  auto made = std::make_unique<route>();
  made->verb = verb;
  made->pattern = pattern;
  made->name = std::move(name);
  made->run = std::move(run);
  made->exempt = admitted == admission::exempt;
  made->goes_first = admitted == admission::first;
  slot = made.get();
  place->used = true;
  routes_.push_back(std::move(made));
  return *this;
}

router::match router::find(method verb, std::string_view path) const {
  match result;
  std::vector<std::string_view> params;
  const node* place = nullptr;
  if (path == "*") {
    if (verb == method::options) {
      result.is = verdict::options;
      result.allow = "GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
    }
    return result;
  }
  if (path == "/")
    place = root_->find({}, params);
  else if (!path.empty() && path.front() == '/')
    place = root_->find(path, params);
  if (place == nullptr)
    return result;
  if (const auto* hit = place->serving(verb)) {
    result.is = verdict::found;
    result.to = hit;
    result.params.assign(params.begin(), params.end());
    return result;
  }
  result.is
    = verb == method::options ? verdict::options : verdict::method_not_allowed;
  result.allow = place->allow();
  return result;
}

std::vector<const route*> router::routes() const {
  std::vector<const route*> result;
  result.reserve(routes_.size());
  for (const auto& x : routes_)
    result.push_back(x.get());
  return result;
}

} // namespace slipway::http
