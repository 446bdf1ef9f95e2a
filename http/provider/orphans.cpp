#include "http/provider/orphans.hpp"

namespace slipway::provider {

using lifecycle::phase;
using namespace std::chrono_literals;

namespace {

/// A retry uses what a failed deployment has left behind; a person who wants
/// one has this long.
constexpr auto retry_grace = 1h;

/// Whether steps at the provider may look for projects by their name now, or
/// any moment.
bool may_look_by_name(phase at) {
  switch (at) {
    case phase::queued:
    case phase::creating_project:
    case phase::cancelling:
    case phase::terminating:
    case phase::backing_off:
    case phase::halting:
      return true;
    case phase::idle:
    case phase::skipped:
    case phase::deploying_template:
    case phase::awaiting_workflow:
    case phase::configuring:
    case phase::deploying:
    case phase::running:
    case phase::failed:
    case phase::stopped:
    case phase::lapsed:
      return false;
  }
  return true;
}

} // namespace

judgement judge(const listed_project& what, const record* row, timestamp now) {
  if (row == nullptr)
    return {judgement::report, "named after a subscription that is not in this "
                               "database"};
  const auto& s = row->state;
  const auto has_instance = s.instance.seq != 0 && !s.instance.deleted_at
                            && !s.instance.project_id.empty();
  if (has_instance && s.instance.project_id == what.id)
    return {};
  if (may_look_by_name(s.deployment.at))
    return {};
  if (has_instance)
    return {judgement::remove, "a second project of a subscription that has "
                               "one"};
  if (s.deployment.at == phase::failed || s.deployment.at == phase::lapsed) {
    if (now < what.created_at + retry_grace)
      return {};
    return {judgement::remove, "left behind by a deployment that has failed"};
  }
  return {judgement::remove, "left behind by an instance that was taken away"};
}

} // namespace slipway::provider
