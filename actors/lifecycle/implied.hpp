#pragma once

#include "actors/lifecycle/machine.hpp"

namespace slipway::lifecycle {

/// Whether all that is known of the instance follows from the rest of the
/// state: an attempt has begun with a new one, and has no project yet. Such an
/// instance needs no row of its own.
[[nodiscard]] bool is_implied(const state& now) noexcept;

/// Adds the instance that is implied.
/// @pre `now` holds the last instance that was stored, if one was.
void imply_instance(state& now);

/// Whether the instance of `after` has to be stored, when `before` is stored.
[[nodiscard]] bool
stores_instance(const state& before, const state& after) noexcept;

} // namespace slipway::lifecycle
