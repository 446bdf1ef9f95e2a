#pragma once

#include "actors/environment.hpp"
#include "config/settings.hpp"
#include "http/client/outbound.hpp"
#include "http/provider/answer.hpp"
#include "http/provider/urgency.hpp"

#include <boost/json/object.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

namespace slipway::provider {

/// Set once a call has become pointless, so that it does not leave any more.
/// From any thread.
using withdrawal = std::shared_ptr<std::atomic<bool>>;

/// A continuation for one answer: calling it uses it up.
class call_answer {
public:
  call_answer() = default;

  template <class F>
  requires(!std::is_same_v<std::decay_t<F>, call_answer>) call_answer(F fn)
    : fn_{std::move(fn)} {
  }

  void operator()(answer what) {
    if (auto fn = std::exchange(fn_, nullptr))
      fn(std::move(what));
  }

  [[nodiscard]] explicit operator bool() const noexcept {
    return static_cast<bool>(fn_);
  }

private:
  std::function<void(answer)> fn_;
};

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
  trace::context trace; ///< Where its span belongs, if anywhere.
  /// Called exactly once, on the network's thread or the CALLER's: send
  /// yourself a message and return. A call that is dropped on its way to the
  /// CALLER was not sent.
  call_answer done;
  bool sent = false; ///< INTERNAL: The network has it, and answers.

  call() = default;

  call(const call&) = delete;

  call& operator=(const call&) = delete;

  ~call() {
    if (!sent)
      done(
        {answer_class::not_sent, nullptr, "the line to Railway is down", {}});
  }
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

/// What the CALLER works with.
struct caller_options {
  /// Endpoint, token and the two limits.
  config::railway_settings settings;
  std::shared_ptr<client::outbound> network;
};

/// State of the CALLER actor.
///
/// Calls wait in the order of their urgency, those of the same urgency in the
/// order of their arrival, until the budget lets them leave. The queue is
/// bounded: a full one gives up its least urgent call, or the one that has just
/// come. Whatever does not leave is answered as `not_sent`: given up, expired,
/// withdrawn, or left over when the actor ends.
class caller_state {
public:
  static inline const char* name = "caller";

  /// Calls that wait; more are refused.
  static constexpr auto waiting_max = std::size_t{1'000};

  caller_state();

  ~caller_state();

  void start(caller_actor::pointer self, environment_ptr env,
             caller_options options);

  void receive(call_ptr what);

private:
  struct impl;

  std::unique_ptr<impl> impl_;
};

/// Spawns the CALLER.
caller_actor::behavior_type
caller(caller_actor::stateful_pointer<caller_state> self, environment_ptr env,
       caller_options options);

} // namespace slipway::provider
