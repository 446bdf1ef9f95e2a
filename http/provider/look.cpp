#include "http/provider/look.hpp"

#include "http/provider/answer.hpp"
#include "http/provider/documents.hpp"

#include <algorithm>
#include <charconv>

namespace slipway::provider {

namespace {

namespace json = boost::json;

using lifecycle::instance_health;

/// A number at the beginning, with what follows it cut off.
std::optional<std::size_t> take_number(std::string_view& text) {
  auto out = std::size_t{0};
  const auto* end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, out);
  if (read.ec != std::errc{})
    return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
  return out;
}

/// Whether one field is all that is asked for.
bool is_plain(const std::vector<look>& looks) {
  return looks.size() == 1
         && looks.front().steps_of.size()
                + (looks.front().environment_id.empty() ? 0u : 1u)
              == 1;
}

bool serves(std::string_view status) {
  return status == "SUCCESS" || status == "SLEEPING";
}

/// Whether another deployment than the latest may be the one that serves.
bool may_serve_by_another(const service_view& x, bool running) {
  return x.status == "SKIPPED" || x.status == "REMOVED"
         || (running && (x.status == "FAILED" || x.status.empty()));
}

const std::string* serving(const service_view& x, const closer_look& known) {
  if (!known.serving)
    return nullptr;
  const auto found = known.serving->find(x.id);
  return found == known.serving->end() ? nullptr : &found->second;
}

bool is_degraded(const service_view& x, const closer_look& known) {
  const auto found = known.replicas.find(x.deployment_id);
  return found != known.replicas.end() && found->second;
}

/// One service of a deployment under way.
deployment_view judge_service(const service_view& x, const closer_look& known,
                              const std::map<std::string, steps_view>& steps) {
  using v = deployment_view;
  if (x.status == "CRASHED" && is_degraded(x, known))
    return {v::running, 100, &x};
  if (may_serve_by_another(x, false) && serving(x, known) != nullptr)
    return {v::running, 100, &x};
  // One more than the others that wait, so that it is shown: a person has to
  // act.
  if (x.status == "NEEDS_APPROVAL")
    return {
      v::in_progress,
      static_cast<std::uint8_t>(read_status(x.status, false).progress + 1), &x};
  // On its way out because the next one is on its way in, or to be REMOVED.
  if (x.status == "REMOVING")
    return {v::in_progress, read_status("", false).progress, &x};
  const auto means = read_status(x.status, x.stopped);
  switch (means.is) {
    case status_meaning::in_progress: {
      const auto known_steps = steps.find(x.deployment_id);
      const auto has_steps = is_being_made(x) && known_steps != steps.end();
      return {v::in_progress,
              has_steps ? std::max(means.progress, known_steps->second.progress)
                        : means.progress,
              &x};
    }
    case status_meaning::running:
      return {v::running, 100, &x};
    case status_meaning::gone:
      return {v::removed, 0, &x};
    case status_meaning::failed:
      break;
  }
  return {v::failed, 0, &x};
}

/// One service of an instance that came to run.
health_view
judge_service_of_instance(const service_view& x, const closer_look& known) {
  auto out
    = health_view{instance_health::unknown, x.deployment_id, x.status, {}};
  const auto down = [&](instance_health is) {
    out.is = is;
    out.reason = "service " + clean(x.name) + " is "
                 + (x.status.empty() ? "without a deployment" : x.status);
    if (x.stopped)
      out.reason += " and has stopped";
    return out;
  };
  if (x.status == "SUCCESS") {
    if (x.stopped)
      return down(instance_health::ended);
    out.is = instance_health::healthy;
    return out;
  }
  if (x.status == "SLEEPING") {
    out.is = instance_health::sleeping;
    return out;
  }
  if (x.status == "CRASHED")
    return down(is_degraded(x, known) ? instance_health::degraded
                                      : instance_health::crashed);
  if (may_serve_by_another(x, true)) {
    if (!known.serving)
      return {};
    if (const auto* id = serving(x, known)) {
      out.is = instance_health::healthy;
      out.deployment_id = *id;
      return out;
    }
    return down(x.status == "FAILED" ? instance_health::crashed
                                     : instance_health::removed);
  }
  return {}; // On its way from one deployment to the next.
}

/// Which one of several services is told of.
int gravity(instance_health x) {
  switch (x) {
    case instance_health::healthy:
      return 0;
    case instance_health::sleeping:
      return 1;
    case instance_health::unknown:
      return 2;
    case instance_health::degraded:
      return 3;
    case instance_health::ended:
      return 4;
    case instance_health::crashed:
      return 5;
    case instance_health::removed:
    case instance_health::missing:
      return 6;
  }
  return 0;
}

} // namespace

// -- asking
// -----------------------------------------------------------------------------

look_document make_look_document(const std::vector<look>& looks) {
  auto out = look_document{};
  if (is_plain(looks)) {
    const auto& only = looks.front();
    const auto steps = !only.steps_of.empty();
    out.text = steps ? read_events.document : read_environment.document;
    out.variables["id"] = steps ? only.steps_of.front() : only.environment_id;
    return out;
  }
  auto parameters = std::string{};
  auto fields = std::string{};
  const auto add = [&](const std::string& alias, std::string_view field,
                       const std::string& id) {
    parameters += (parameters.empty() ? "$" : ", $") + alias + ": String!";
    fields += "  " + alias + ": ";
    fields += field;
    out.variables[alias] = id;
  };
  auto any_environment = false;
  auto any_steps = false;
  for (auto i = std::size_t{0}; i < looks.size(); ++i) {
    const auto number = std::to_string(i);
    if (!looks[i].environment_id.empty()) {
      add("e" + number, "environment(id: $e" + number + ") { ...Seen }\n",
          looks[i].environment_id);
      any_environment = true;
    }
    for (auto j = std::size_t{0}; j < looks[i].steps_of.size(); ++j) {
      const auto alias = "s" + number + "_" + std::to_string(j);
      add(alias,
          "deploymentEvents(id: $" + alias + ", first: 50) { ...Steps }\n",
          looks[i].steps_of[j]);
      any_steps = true;
    }
  }
  out.text = "query Watch(" + parameters + ") {\n" + fields + "}\n";
  if (any_environment)
    out.text += seen_fragment;
  if (any_steps) {
    out.text += "fragment Steps on QueryDeploymentEventsConnection ";
    out.text += steps_selection;
  }
  return out;
}

std::optional<look_field>
find_look(std::string_view field, const std::vector<look>& looks) {
  if (is_plain(looks))
    return look_field{0, looks.front().environment_id.empty()};
  if (field.empty() || (field.front() != 'e' && field.front() != 's'))
    return std::nullopt;
  const auto steps = field.front() == 's';
  auto rest = field.substr(1);
  const auto number = take_number(rest);
  if (!number || *number >= looks.size())
    return std::nullopt;
  if (!steps)
    return rest.empty() ? std::optional{look_field{*number, false}}
                        : std::nullopt;
  return rest.starts_with('_') ? std::optional{look_field{*number, true}}
                               : std::nullopt;
}

// -- seeing
// -----------------------------------------------------------------------------

steps_view steps_of(const json::value& connection) {
  auto out = steps_view{};
  for_each_node(connection, [&out](const json::value& node) {
    out.progress
      = std::max(out.progress, progress_of_step(text_at(node, "step")));
    const auto error = text_at(value_at(node, "payload"), "error");
    if (!error.empty())
      out.error = word_at(node, "step") + ": " + clean(error);
  });
  return out;
}

namespace {

void see(const json::value& environment, seen_environment& into) {
  into.there = environment.is_object();
  into.services = services_of(environment);
}

} // namespace

std::vector<seen_environment>
read_looks(const std::vector<look>& looks, const json::value& data) {
  auto out = std::vector<seen_environment>(looks.size());
  if (is_plain(looks)) {
    const auto& only = looks.front();
    if (only.steps_of.empty())
      see(value_at(data, read_environment.field), out.front());
    else
      out.front().steps[only.steps_of.front()]
        = steps_of(value_at(data, read_events.field));
    return out;
  }
  for (auto i = std::size_t{0}; i < looks.size(); ++i) {
    const auto number = std::to_string(i);
    see(value_at(data, "e" + number), out[i]);
    for (auto j = std::size_t{0}; j < looks[i].steps_of.size(); ++j)
      out[i].steps[looks[i].steps_of[j]]
        = steps_of(value_at(data, "s" + number + "_" + std::to_string(j)));
  }
  return out;
}

// -- looking closer
// ---------------------------------------------------------------------

std::optional<std::string>
wants_replicas(const std::vector<service_view>& services,
               const closer_look& known) {
  for (const auto& x : services)
    if (x.status == "CRASHED" && !x.deployment_id.empty()
        && known.replicas.count(x.deployment_id) == 0)
      return x.deployment_id;
  return std::nullopt;
}

bool any_replica_runs(const json::value& deployment) {
  const auto& list = value_at(deployment, "instances");
  if (!list.is_array())
    return false;
  const auto& all = list.get_array();
  return std::any_of(all.begin(), all.end(), [](const json::value& x) {
    return text_at(x, "status") == "RUNNING";
  });
}

bool wants_serving(const std::vector<service_view>& services,
                   const closer_look& known, bool running) {
  return !known.serving
         && std::any_of(services.begin(), services.end(),
                        [running](const service_view& x) {
                          return may_serve_by_another(x, running);
                        });
}

std::map<std::string, std::string> serving_of(const json::value& environment) {
  auto out = std::map<std::string, std::string>{};
  for_each_node(value_at(environment, "serviceInstances"),
                [&out](const json::value& node) {
                  const auto& list = value_at(node, "activeDeployments");
                  if (!list.is_array())
                    return;
                  for (const auto& x : list.get_array()) {
                    const auto& stopped = value_at(x, "deploymentStopped");
                    if (serves(text_at(x, "status"))
                        && !(stopped.is_bool() && stopped.get_bool()))
                      out.emplace(word_at(node, "serviceId"), word_at(x, "id"));
                  }
                });
  return out;
}

// -- judging
// ----------------------------------------------------------------------------

bool is_being_made(const service_view& x) {
  return x.status == "BUILDING" || x.status == "DEPLOYING";
}

deployment_view
judge_deployment(const std::vector<service_view>& services,
                 const closer_look& known,
                 const std::map<std::string, steps_view>& steps) {
  using v = deployment_view;
  auto out = deployment_view{};
  for (const auto& x : services) {
    const auto one = judge_service(x, known, steps);
    const auto is_graver = one.is >= v::removed && one.is > out.is;
    if (out.is == v::nothing || is_graver) {
      out = one;
      continue;
    }
    if (out.is >= v::removed)
      continue;
    if (one.is == v::in_progress)
      out.is = v::in_progress;
    if (one.progress < out.progress) {
      out.progress = one.progress;
      out.about = one.about;
    }
  }
  return out;
}

health_view judge_instance(const std::vector<service_view>& services,
                           const closer_look& known, std::string_view main) {
  auto out = health_view{};
  auto is_there = false;
  auto first = true;
  auto deployment_id = std::string{};
  for (const auto& x : services) {
    auto one = judge_service_of_instance(x, known);
    const auto is_main = x.id == main;
    is_there = is_there || is_main;
    if (is_main)
      deployment_id = one.deployment_id;
    else if (one.is == instance_health::sleeping)
      one.is = instance_health::healthy; // Its callers wake it up.
    if (first || gravity(one.is) > gravity(out.is)
        || (is_main && gravity(one.is) == gravity(out.is)))
      out = std::move(one);
    first = false;
  }
  if (!is_there) {
    out = health_view{};
    out.is = instance_health::removed;
    out.reason = "its service is not there any more";
  }
  out.deployment_id = std::move(deployment_id);
  return out;
}

} // namespace slipway::provider
