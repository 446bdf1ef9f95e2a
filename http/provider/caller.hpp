#pragma once

#include "actors/interfaces.hpp"
#include "http/provider/answer.hpp"
#include "http/provider/urgency.hpp"

#include <boost/json/object.hpp>
#include <caf/typed_actor.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace slipway::provider {

/// Set once a call has become pointless, so that it does not leave any more.
/// From any thread.
using withdrawal = std::shared_ptr<std::atomic<bool>>;

/// One call to Railway.
struct call {
  std::string field;    ///< Stands for the call in metrics: `projectCreate`.
  std::string document; ///< GraphQL.
  boost::json::object variables;
  bool mutates = false;
  urgency how = urgency::step;
  /// From the moment it leaves; waiting for the budget is bounded by `expires`.
  millis timeout{30'000};
  /// Not sent any more after this, but answered as `not_sent`.
  timestamp expires{};
  withdrawal withdrawn; ///< May be null.
  /// Called exactly once, on the network's thread or the CALLER's: send
  /// yourself a message and return.
  std::function<void(answer)> done;
};

using call_ptr = std::shared_ptr<call>;

} // namespace slipway::provider

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::provider::call_ptr)

namespace slipway::provider {

/// The CALLER: the one line to Railway, with the one budget of its token.
using caller_actor = caf::typed_actor<caf::reacts_to<call_ptr>,
                                      // INTERNAL: Goes on with an answer, or
                                      // when the budget allows more.
                                      caf::reacts_to<continuation>>;

} // namespace slipway::provider
