#include "http/sandbox/railway_json.hpp"
#include "http/sandbox/railway_world.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

// The life of a deployment: what it goes through, what it says meanwhile, and
// what people can do to it.

namespace slipway::sandbox::railway {

namespace {

/// Of one service.
constexpr auto deployments_kept = std::size_t{100};

/// Of one deployment's build, and of the rest of it.
constexpr auto lines_kept = std::size_t{6'000};

constexpr auto message_max = std::size_t{16 * 1024};

bool is_secret_name(std::string_view name) {
  return name.find("SECRET") != std::string_view::npos
         || name.find("TOKEN") != std::string_view::npos
         || name.find("PASSWORD") != std::string_view::npos
         || name.find("KEY") != std::string_view::npos;
}

template <std::size_t N>
bool is_among(std::string_view status,
              const std::array<std::string_view, N>& all) {
  return std::find(all.begin(), all.end(), status) != all.end();
}

bool is_over(const deployment& x) {
  constexpr auto all
    = std::array<std::string_view, 3>{"REMOVING", "REMOVED", "SKIPPED"};
  return is_among(x.status, all);
}

bool is_up(const deployment& x) {
  return x.status == "SUCCESS" || x.status == "SLEEPING";
}

/// How long a status lasts; nothing for one that lasts until further notice.
std::optional<millis> length_of(const deployment& x) {
  const auto& t = x.stages;
  if (x.status == "WAITING" || x.status == "NEEDS_APPROVAL")
    return millis{0};
  if (x.status == "QUEUED")
    return t.queued;
  if (x.status == "INITIALIZING")
    return t.initializing;
  if (x.status == "BUILDING")
    return t.building;
  if (x.status == "DEPLOYING")
    return t.deploying;
  if (x.status == "REMOVING")
    return t.removing;
  return std::nullopt;
}

/// What a webhook calls it; empty for what it does not tell.
std::string_view type_of(std::string_view from, std::string_view to) {
  if (to == "BUILDING")
    return "Deployment.building";
  if (to == "DEPLOYING")
    return "Deployment.deploying";
  if (to == "SUCCESS")
    return from == "SLEEPING" ? "Deployment.resumed" : "Deployment.deployed";
  if (to == "FAILED")
    return "Deployment.failed";
  if (to == "CRASHED")
    return "Deployment.crashed";
  if (to == "SLEEPING")
    return "Deployment.slept";
  return to == "REMOVED" ? "Deployment.removed" : "";
}

field_error impossible(std::string_view what) {
  return {std::string{what}};
}

} // namespace

std::string log_line::when() const {
  auto result = to_rfc3339(at);
  auto digits = std::array<char, 8>{};
  std::snprintf(digits.data(), digits.size(), "%06u", position().second);
  result.insert(result.size() - 1, digits.data());
  return result;
}

bool is_in_progress(const deployment& x) {
  constexpr auto all = std::array<std::string_view, 6>{
    "WAITING",      "NEEDS_APPROVAL", "QUEUED",
    "INITIALIZING", "BUILDING",       "DEPLOYING"};
  return is_among(x.status, all);
}

// -- looking ------------------------------------------------------------------

std::vector<event> world::events_of(const deployment& x) const {
  const auto at = now();
  auto result = x.events;
  result.erase(std::remove_if(result.begin(), result.end(),
                              [&](const event& y) {
                                return y.created > at;
                              }),
               result.end());
  for (auto& each : result)
    if (!each.completed || *each.completed > at) {
      each.completed.reset();
      each.error.clear();
    }
  return result;
}

std::vector<log_line>
world::log_of(const deployment& x, bool in_build,
              const std::optional<log_line::place>& after) const {
  const auto& all = in_build ? x.build_log : x.deploy_log;
  // They lie in their order.
  auto first = all.begin();
  if (after)
    first = std::upper_bound(all.begin(), all.end(), *after,
                             [](const log_line::place& a, const log_line& b) {
                               return a < b.position();
                             });
  auto result = std::vector<log_line>{};
  for (; first != all.end() && first->at <= now(); ++first)
    result.push_back(*first);
  return result;
}

// -- what it says -------------------------------------------------------------

void world::add_line(deployment& x, bool in_build, timestamp at,
                     std::string_view severity, std::string message) {
  auto& to = in_build ? x.build_log : x.deploy_log;
  const auto place = std::upper_bound(to.begin(), to.end(), at,
                                      [](timestamp a, const log_line& b) {
                                        return a < b.at;
                                      });
  to.insert(place, {at, ++x.lines, std::string{severity}, std::move(message)});
  if (to.size() > lines_kept)
    to.pop_front();
}

void world::write_start(deployment& x, timestamp at) {
  const auto& t = x.stages;
  const auto hangs = x.hang_in == x.status;
  const auto step = [&](std::string_view name, timestamp from, timestamp to,
                        std::string_view error = "") {
    event made{name, from, std::nullopt, std::string{error}};
    if (!hangs)
      made.completed = to;
    x.events.push_back(std::move(made));
  };
  if (x.status == "INITIALIZING") {
    add_line(x, true, at, "info", "scheduling build on Metal builder");
    step("SNAPSHOT_CODE", at, at + t.initializing);
  } else if (x.status == "BUILDING") {
    add_line(x, true, at, "info", "\x1b[35mpulling\x1b[0m " + x.image);
    add_line(x, true, at + t.building / 3, "info",
             "\x1b[32m#1\x1b[0m extracting layers");
    const auto built = at + t.building * 7 / 10;
    const auto end = at + t.building;
    if (x.ending == fate::build_fails) {
      step("BUILD_IMAGE", at, end,
           "failed to pull the image: manifest unknown");
    } else {
      step("BUILD_IMAGE", at, built);
      if (!hangs)
        step("PUBLISH_IMAGE", built, end);
    }
  } else if (x.status == "DEPLOYING" && x.restarting) {
    add_line(x, false, at, "info", "Restarting Container");
  } else if (x.status == "DEPLOYING") {
    const auto& in = services_.at(x.service_id);
    add_line(x, false, at, "info", "Starting Container");
    add_line(x, false, at + t.deploying / 4, "info",
             in.name + ": reading configuration");
    // Careless programs do this, so whoever shows logs has to cope.
    for (const auto& [name, value] : in.variables())
      if (is_secret_name(name) && !value.empty())
        add_line(x, false, at + t.deploying / 4, "warn",
                 "using " + name + "=" + value + " from the environment");
    const auto made = at + t.deploying * 3 / 10;
    const auto routed = made + t.deploying * 2 / 10;
    step("CREATE_CONTAINER", at, made);
    if (hangs)
      return;
    step("CONFIGURE_NETWORK", made, routed);
    step("HEALTHCHECK", routed, at + t.deploying,
         x.ending == fate::deploy_fails ? "1/1 replicas never became healthy"
                                        : "");
  }
}

void world::write_end(deployment& x, timestamp at) {
  if (x.status == "BUILDING") {
    if (x.ending == fate::build_fails)
      add_line(x, true, at, "error",
               "failed to pull the image: manifest unknown");
    else
      add_line(x, true, at, "info", "=== Successfully Built! ===");
  } else if (x.status == "DEPLOYING") {
    switch (x.ending) {
      case fate::deploy_fails:
        add_line(x, false, at, "error", "1/1 replicas never became healthy!");
        break;
      case fate::crashes:
        add_line(x, false, at, "error", "fatal: cannot open the database");
        add_line(x, false, at, "error", "container exited with code 1");
        break;
      default:
        add_line(x, false, at, "info",
                 services_.at(x.service_id).name
                   + ": listening on 0.0.0.0:8080");
        if (x.ending == fate::exits)
          add_line(x, false, at, "info", "container exited with code 0");
    }
  }
}

void world::cut(deployment& x, timestamp at) {
  auto& steps = x.events;
  steps.erase(std::remove_if(steps.begin(), steps.end(),
                             [&](const event& y) {
                               return y.created > at;
                             }),
              steps.end());
  for (auto& each : steps)
    if (each.completed && *each.completed > at)
      each.completed.reset();
  for (auto* lines : {&x.build_log, &x.deploy_log})
    while (!lines->empty() && lines->back().at > at)
      lines->pop_back();
}

// -- how it goes on -----------------------------------------------------------

deployment& world::new_deployment(service& in, timestamp at, bool is_again) {
  deployment made;
  made.id = uuid();
  made.service_id = in.id;
  made.image = in.source();
  made.created = at;
  made.stages = options_.stages;
  const auto replicas
    = number_of(object_of(in.config, "deploy"), "numReplicas");
  made.replicas = std::clamp<std::int64_t>(replicas.value_or(1), 1, 10);
  made.stages.building *= knobs.slow_builds;
  if (takes_failure("build"))
    made.ending = fate::build_fails;
  else if (takes_failure("deploy"))
    made.ending = fate::deploy_fails;
  else if (takes_failure("crash"))
    made.ending = fate::crashes;
  else if (takes_failure("exit"))
    made.ending = fate::exits;
  else if (takes_failure("skip"))
    made.ending = fate::skipped;
  if (knobs.hang_count > 0) {
    made.hang_in = knobs.hang_in;
    if (--knobs.hang_count == 0)
      knobs.hang_in.clear();
  }
  if (in.deployments.size() >= deployments_kept) {
    deployments_.erase(in.deployments.front());
    in.deployments.erase(in.deployments.begin());
  }
  in.deployments.push_back(made.id);
  auto& x = deployments_.emplace(made.id, std::move(made)).first->second;
  if (x.hang_in == "WAITING")
    enter(x, "WAITING", at);
  else if (x.hang_in == "NEEDS_APPROVAL")
    enter(x, "NEEDS_APPROVAL", at);
  else
    enter(x, "QUEUED", at);
  if (is_again)
    tell(x, "Deployment.redeployed", at);
  return x;
}

void world::tell(const deployment& x, std::string_view type,
                 timestamp at) const {
  if (type.empty() || !on_change)
    return;
  const auto& in = services_.at(x.service_id);
  on_change(projects_.at(in.project_id), in, x, {type, at});
}

void world::enter(deployment& x, std::string_view status, timestamp at) {
  const auto before = x.status;
  x.status = status;
  x.since = at;
  ++x.turn;
  write_start(x, at);
  if (const auto length = length_of(x); length && x.hang_in != status)
    agenda_.emplace(at + *length, due{false, x.id, x.turn});
  tell(x, type_of(before, status), at);
}

void world::go_on(deployment& x, timestamp at) {
  write_end(x, at);
  const auto status = x.status;
  if (status == "WAITING" || status == "NEEDS_APPROVAL") {
    enter(x, "QUEUED", at);
  } else if (status == "QUEUED") {
    enter(x, x.ending == fate::skipped ? "SKIPPED" : "INITIALIZING", at);
  } else if (status == "INITIALIZING") {
    enter(x, "BUILDING", at);
  } else if (status == "BUILDING") {
    enter(x, x.ending == fate::build_fails ? "FAILED" : "DEPLOYING", at);
  } else if (status == "DEPLOYING" && x.ending == fate::deploy_fails) {
    enter(x, "FAILED", at);
  } else if (status == "DEPLOYING" && x.ending == fate::crashes) {
    x.replicas_down = x.replicas;
    enter(x, "CRASHED", at);
  } else if (status == "DEPLOYING") {
    x.restarting = false;
    x.stopped = x.ending == fate::exits;
    enter(x, "SUCCESS", at);
    supersede(x, at);
  } else if (status == "REMOVING") {
    enter(x, "REMOVED", at);
  }
}

void world::supersede(const deployment& by, timestamp at) {
  auto& all = services_.at(by.service_id).deployments;
  auto newest = all.end();
  for (auto i = all.begin(); i != all.end(); ++i)
    if (is_up(deployments_.at(*i)))
      newest = i;
  for (auto i = all.begin(); i != newest; ++i) {
    auto& old = deployments_.at(*i);
    if (!is_up(old))
      continue;
    cut(old, at);
    enter(old, "REMOVED", at);
  }
}

void world::begin_removal(deployment& x, timestamp at) {
  if (is_over(x))
    return;
  cut(x, at);
  if (!x.deploy_log.empty())
    add_line(x, false, at, "info", "Stopping Container");
  enter(x, "REMOVING", at);
}

// -- doing --------------------------------------------------------------------

world::outcome<deployment*> world::live_deployment(const std::string& id) {
  const auto i = deployments_.find(id);
  const auto* in
    = i == deployments_.end() ? nullptr : &services_.at(i->second.service_id);
  if (in == nullptr || in->deleted || live_project(in->project_id) == nullptr)
    return tl::unexpected{not_found("Deployment")};
  return &i->second;
}

world::outcome<const deployment*>
world::deploy_service(const std::string& service_id,
                      const std::string& environment_id) {
  auto* in = live_service(service_id, environment_id);
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  if (in->source().empty())
    return tl::unexpected{field_error{"Cannot redeploy without a snapshot"}};
  if (knobs.busy > 0) {
    --knobs.busy;
    return tl::unexpected{field_error{"operation is already in progress"}};
  }
  return &new_deployment(*in, now());
}

world::outcome<const deployment*>
world::redeploy_service(const std::string& service_id,
                        const std::string& environment_id) {
  const auto* in = live_service(service_id, environment_id);
  if (in == nullptr)
    return tl::unexpected{not_found("ServiceInstance")};
  if (in->deployments.empty())
    return tl::unexpected{field_error{"Cannot redeploy without a snapshot"}};
  return redeploy(in->deployments.back());
}

world::outcome<const deployment*>
world::redeploy(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  const auto is_busy = knobs.busy > 0;
  if (is_busy)
    --knobs.busy;
  if (is_busy || is_in_progress(**x))
    return tl::unexpected{
      field_error{"Cannot redeploy yet, please wait for the original "
                  "deployment to finish building"}};
  return &new_deployment(services_.at((*x)->service_id), now(), true);
}

world::outcome<bool> world::cancel(const std::string& deployment_id) {
  return remove(deployment_id);
}

world::outcome<bool> world::remove(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  begin_removal(**x, now());
  run_due();
  return true;
}

world::outcome<bool> world::stop(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  if ((*x)->status == "SUCCESS")
    (*x)->stopped = true;
  return true;
}

world::outcome<bool> world::restart(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  auto& it = **x;
  if (!is_up(it) && it.status != "CRASHED")
    return tl::unexpected{
      impossible("Only a running or crashed deployment can be restarted.")};
  it.ending = fate::good;
  it.stopped = false;
  it.restarting = true;
  it.replicas_down = 0;
  enter(it, "DEPLOYING", now());
  return true;
}

// -- by hand ------------------------------------------------------------------

world::outcome<bool> world::crash(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  auto& it = **x;
  if (it.status != "SUCCESS")
    return tl::unexpected{impossible("Only what runs can crash.")};
  it.replicas_down = it.replicas;
  add_line(it, false, now(), "error", "container exited with code 137");
  enter(it, "CRASHED", now());
  return true;
}

world::outcome<bool> world::degrade(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  auto& it = **x;
  if (it.status != "SUCCESS")
    return tl::unexpected{impossible("Only what runs can crash.")};
  it.replicas = std::max<std::int64_t>(it.replicas, 2);
  it.replicas_down = 1;
  add_line(it, false, now(), "error", "container exited with code 137");
  enter(it, "CRASHED", now());
  return true;
}

world::outcome<bool> world::sleep(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  if ((*x)->status != "SUCCESS" || (*x)->stopped)
    return tl::unexpected{impossible("Only what runs can fall asleep.")};
  enter(**x, "SLEEPING", now());
  return true;
}

world::outcome<bool> world::wake(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  if ((*x)->status != "SLEEPING")
    return tl::unexpected{impossible("Only what sleeps can wake up.")};
  enter(**x, "SUCCESS", now());
  return true;
}

world::outcome<bool> world::release(const std::string& deployment_id) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  auto& it = **x;
  if (it.hang_in != it.status)
    return tl::unexpected{impossible("It does not hang.")};
  it.hang_in.clear();
  for (auto& each : it.events)
    if (!each.completed)
      each.completed = now();
  go_on(it, now());
  run_due();
  return true;
}

world::outcome<bool> world::say(const std::string& deployment_id, bool in_build,
                                std::string severity, std::string message) {
  const auto x = live_deployment(deployment_id);
  if (!x)
    return tl::unexpected{x.error()};
  if (message.size() > message_max || severity.size() > 32)
    return tl::unexpected{impossible("That is too long for one line.")};
  add_line(**x, in_build, now(), severity, std::move(message));
  return true;
}

} // namespace slipway::sandbox::railway
