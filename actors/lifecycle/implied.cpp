#include "actors/lifecycle/implied.hpp"

namespace slipway::lifecycle {

bool is_implied(const state& now) noexcept {
  const auto& x = now.instance;
  return x.seq != 0 && holds_slot(now.deployment.at) && x.project_id.empty()
         && x.status == instance_status::initializing && !x.deleted_at
         && x.created_at == now.deployment.started_at;
}

void imply_instance(state& now) {
  auto& x = now.instance;
  const auto& began = now.deployment.started_at;
  const auto is_missing = x.seq == 0 || x.deleted_at;
  if (!is_missing || !holds_slot(now.deployment.at) || !began)
    return;
  const auto seq = x.seq + 1;
  x = {};
  x.seq = seq;
  x.created_at = *began;
}

bool stores_instance(const state& before, const state& after) noexcept {
  if (is_implied(after))
    return false;
  return is_implied(before) || before.instance != after.instance;
}

} // namespace slipway::lifecycle
