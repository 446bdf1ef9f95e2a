#include "http/sandbox/railway_world.hpp"

#include "http/sandbox/railway_json.hpp"

#include <algorithm>
#include <array>

namespace slipway::sandbox::railway {

namespace json = boost::json;

field_error not_found(std::string_view what) {
  return {std::string{what} + " not found"};
}

world::world(const railway_simulator_options& options, const clock& time)
  : options_{options}, time_{time}, now_{time.now()} {
  random_.seed(options.seed == 0 ? std::random_device{}() : options.seed);
  knobs.cooldown_ms = options_.create_cooldown.count();
  knobs.requests_per_hour = options_.requests_per_hour;
  born_ = now();
  add_published_template();
  if (!options_.template_project_id.empty())
    add_template_project();
}

// -- making things up ---------------------------------------------------------

std::string world::uuid() {
  static constexpr auto hex = std::string_view{"0123456789abcdef"};
  auto result = std::string{"xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx"};
  for (auto& c : result) {
    if (c == 'x')
      c = hex[random_() % 16];
    else if (c == 'y')
      c = hex[8 + random_() % 4];
  }
  return result;
}

std::string world::secret(std::size_t length) {
  static constexpr auto signs
    = std::string_view{"abcdefghijklmnopqrstuvwxyz0123456789"};
  std::string result;
  while (result.size() < length)
    result += signs[random_() % signs.size()];
  return result;
}

/// Puts secrets where `${{secret(n)}}` stands.
std::string world::expand(std::string value) {
  constexpr auto open = std::string_view{"${{secret("};
  constexpr auto end = std::string_view{")}}"};
  for (auto at = value.find(open); at != std::string::npos;
       at = value.find(open)) {
    const auto close = value.find(end, at);
    if (close == std::string::npos)
      break;
    auto length = std::size_t{0};
    for (auto i = at + open.size(); i < close; ++i)
      if (value[i] >= '0' && value[i] <= '9' && length < 1'000)
        length = length * 10 + static_cast<std::size_t>(value[i] - '0');
    value.replace(at, close + end.size() - at,
                  secret(std::clamp<std::size_t>(length, 1, 256)));
  }
  return value;
}

bool world::takes_failure(std::string_view kind) {
  if (knobs.fail_count <= 0 || knobs.fail_next != kind)
    return false;
  if (--knobs.fail_count == 0)
    knobs.fail_next.clear();
  return true;
}

// -- looking ------------------------------------------------------------------

const project* world::find_project(const std::string& id) const {
  const auto i = projects_.find(id);
  return i == projects_.end() || is_gone(i->second) ? nullptr : &i->second;
}

const project* world::find_environment(const std::string& id) const {
  const auto i = environments_.find(id);
  return i == environments_.end() ? nullptr : find_project(i->second);
}

const service* world::find_service(const std::string& id) const {
  const auto i = services_.find(id);
  return i == services_.end() || i->second.deleted
             || find_project(i->second.project_id) == nullptr
           ? nullptr
           : &i->second;
}

const deployment* world::find_deployment(const std::string& id) const {
  const auto i = deployments_.find(id);
  return i == deployments_.end()
             || find_service(i->second.service_id) == nullptr
           ? nullptr
           : &i->second;
}

const workflow* world::find_workflow(const std::string& id) const {
  const auto i = workflows_.find(id);
  return i == workflows_.end() ? nullptr : &i->second;
}

const volume* world::find_volume(const std::string& id) const {
  const auto i = volumes_.find(id);
  return i == volumes_.end() || find_project(i->second.project_id) == nullptr
           ? nullptr
           : &i->second;
}

const project* world::subject_of(const json::object& arguments) const {
  constexpr auto names = std::array<std::string_view, 5>{
    "projectId", "environmentId", "serviceId", "deploymentId", "id"};
  for (const auto* from : {&arguments, &object_of(arguments, "input")})
    for (const auto name : names) {
      const auto id = text_of(*from, name);
      if (id.empty())
        continue;
      auto of = projects_.find(id);
      if (const auto i = environments_.find(id); i != environments_.end())
        of = projects_.find(i->second);
      else if (const auto j = services_.find(id); j != services_.end())
        of = projects_.find(j->second.project_id);
      else if (const auto k = deployments_.find(id); k != deployments_.end())
        of = projects_.find(services_.at(k->second.service_id).project_id);
      if (of != projects_.end())
        return &of->second;
    }
  return nullptr;
}

std::vector<const project*> world::projects() const {
  std::vector<const project*> result;
  for (const auto& id : project_order_)
    result.push_back(&projects_.at(id));
  return result;
}

std::vector<const service*> world::services_of(const project& x) const {
  std::vector<const service*> result;
  if (is_gone(x))
    return result;
  for (const auto& id : x.services)
    if (const auto& each = services_.at(id); !each.deleted)
      result.push_back(&each);
  return result;
}

std::vector<const volume*> world::volumes_of(const project& x) const {
  std::vector<const volume*> result;
  if (is_gone(x))
    return result;
  for (const auto& id : x.volumes)
    result.push_back(&volumes_.at(id));
  return result;
}

std::size_t world::live_projects() const {
  return static_cast<std::size_t>(
    std::count_if(projects_.begin(), projects_.end(), [](const auto& x) {
      return !x.second.deleted;
    }));
}

// -- doing --------------------------------------------------------------------

void world::catch_up() {
  now_ = std::max(now_, time_.now());
  run_due();
}

void world::run_due() {
  while (!agenda_.empty() && agenda_.begin()->first <= now_) {
    const auto [when, what] = *agenda_.begin();
    agenda_.erase(agenda_.begin());
    if (what.is_workflow) {
      const auto i = workflows_.find(what.id);
      if (i != workflows_.end())
        apply(i->second, when);
    } else {
      const auto i = deployments_.find(what.id);
      if (i != deployments_.end() && i->second.turn == what.turn)
        go_on(i->second, when);
    }
  }
}

project* world::live_project(const std::string& id) {
  const auto i = projects_.find(id);
  return i == projects_.end() || i->second.deleted ? nullptr : &i->second;
}

service*
world::live_service(const std::string& id, const std::string& environment) {
  const auto i = services_.find(id);
  if (i == services_.end() || i->second.deleted
      || i->second.environment_id != environment
      || live_project(i->second.project_id) == nullptr)
    return nullptr;
  return &i->second;
}

world::outcome<const project*>
world::create_project(const json::object& input) {
  const auto workspace = text_of(input, "workspaceId");
  if (!workspace.empty() && workspace != options_.workspace_id)
    return tl::unexpected{field_error{"Not Authorized"}};
  const auto at = now();
  if (knobs.cooldown && last_create_
      && at < *last_create_ + millis{knobs.cooldown_ms})
    return tl::unexpected{
      field_error{"You are creating projects too quickly. Please wait before "
                  "creating another one (1 project per 30 seconds)."}};
  if (live_projects() >= options_.projects_max)
    return tl::unexpected{
      field_error{"Project limit reached for this plan.", "PLAN_LIMIT"}};
  const auto name = text_of(input, "name");
  if (knobs.unique_names && !name.empty()
      && std::any_of(projects_.begin(), projects_.end(), [&](const auto& x) {
           return !x.second.deleted && x.second.name == name;
         }))
    return tl::unexpected{
      field_error{"A project named \"" + name + "\" already exists"}};
  project made;
  made.id = uuid();
  made.name = name;
  if (made.name.empty())
    made.name = "quiet-harbour-" + secret(4);
  made.description = text_of(input, "description");
  made.environment_id = uuid();
  made.environment_name = text_of(input, "defaultEnvironmentName");
  if (made.environment_name.empty())
    made.environment_name = "production";
  made.created = at;
  last_create_ = at;
  forget_oldest();
  project_order_.push_back(made.id);
  environments_[made.environment_id] = made.id;
  return &projects_.emplace(made.id, std::move(made)).first->second;
}

void world::forget_oldest() {
  if (project_order_.size() < 2 * options_.projects_max)
    return;
  const auto oldest = std::find_if(
    project_order_.begin(), project_order_.end(), [&](const std::string& id) {
      return projects_.at(id).deleted.has_value();
    });
  if (oldest == project_order_.end())
    return;
  const auto& x = projects_.at(*oldest);
  for (const auto& id : x.services) {
    for (const auto& each : services_.at(id).deployments)
      deployments_.erase(each);
    services_.erase(id);
  }
  for (const auto& id : x.volumes)
    volumes_.erase(id);
  for (auto i = workflows_.begin(); i != workflows_.end();)
    i = i->second.project_id == x.id && i->second.done ? workflows_.erase(i)
                                                       : std::next(i);
  environments_.erase(x.environment_id);
  projects_.erase(x.id);
  project_order_.erase(oldest);
}

world::outcome<bool>
world::delete_project(const std::string& id, bool scheduled) {
  auto* x = live_project(id);
  // The real one says this of what has been deleted before, too.
  if (x == nullptr)
    return tl::unexpected{field_error{"Not Authorized"}};
  x->deleted = now();
  x->gone = !scheduled;
  for (const auto& each : x->services)
    take_down(services_.at(each), *x->deleted);
  run_due();
  return true;
}

} // namespace slipway::sandbox::railway
