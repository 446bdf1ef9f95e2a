#pragma once

#include "actors/lifecycle/machine.hpp"

#include <limits>
#include <string>
#include <vector>

/// States and events of the lifecycle, made to order for tests.
namespace slipway::test {

using namespace lifecycle;
using namespace std::chrono_literals;

/// Whether sanitizers make everything slow: such a build looks for undefined
/// behaviour, and large searches are thinned out.
#if defined(__SANITIZE_ADDRESS__)
inline constexpr auto slow_build = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
inline constexpr auto slow_build = true;
#else
inline constexpr auto slow_build = false;
#endif
#else
inline constexpr auto slow_build = false;
#endif

/// Some Monday. Every test begins here.
inline constexpr auto day_one = timestamp{millis{1'767'600'000'000}};

inline constexpr auto price = minor_units{9'900};

inline constexpr auto chance_max = std::numeric_limits<std::uint32_t>::max();

rules make_rules();

const std::vector<phase>& all_phases();

const std::vector<instance_health>& all_healths();

// What follows is written down a second time: the machine's own lists are under
// test.

/// Whether something may be building at the provider in this phase.
bool builds(phase at);

/// Whoever has announced a project goes on to its template before anything of
/// it is heard.
bool builds(const deployment& what);

/// Whether an attempt is being made in this phase.
bool in_attempt(phase at);

/// Whether the instance is being taken away in this phase.
bool leaves(phase at);

/// Whether a slot is held in this phase.
bool works(phase at);

/// Whether the provider has a step to carry out in this phase.
bool has_work(phase at);

/// Whether a deployment waits or is at work in this phase.
bool is_under_way(phase at);

/// Whether an instance in this condition serves its user.
bool serves(instance_health x);

int count(const std::vector<effect>& effects, effect what);

/// Whether the gateway has had money on it.
bool has_money(const order& x);

/// Whether nothing more is to happen at the gateway.
bool is_done(const order& x);

/// The payment that pays for the present period, or null: the one of the
/// period's first moment. Tests settle payments when they are made.
const order* buyer(const state& s);

/// What is wrong with the money in a state, or null.
const char* money_flaw_in(const state& s);

/// What an event must not have done to an order, or null.
const char* flaw_between(const order& a, const order& b, const event& what);

/// What an event must not have done to the money, or null.
const char*
money_flaw_between(const state& before, const event& what, const state& after);

/// Feeds events into a machine one after the other.
struct driver {
  state now;
  rules with = make_rules();
  timestamp at = day_one;
  std::vector<effect> effects; ///< Of the last event.
  verdict is = verdict::applied;

  verdict feed(const event& what);

  [[nodiscard]] const deployment& d() const;

  [[nodiscard]] std::uint32_t attempt() const;

  verdict create();

  verdict open_order(std::string key = {});

  verdict pay(std::uint32_t seq = 1, std::string transaction = "t-1",
              minor_units amount = price);

  verdict close(std::uint32_t seq);

  /// Somebody wants the money back; 0: whichever it is.
  verdict refund(std::uint32_t seq = 0);

  /// The gateway says how much went back in total.
  verdict see_total(std::uint32_t seq, minor_units total, std::string id = {});

  /// The gateway says what one refund amounts to.
  verdict see_portion(std::uint32_t seq, minor_units portion, std::string id);

  verdict fail_refund(std::uint32_t seq, std::uint32_t refund_seq, bool spent);

  [[nodiscard]] const order& o(std::uint32_t seq) const;

  /// The event by which the provider ends the step of the current phase.
  [[nodiscard]] event progress_event() const;

  /// Goes on as a kind provider lets us, until `to`.
  void advance_to(phase to);

  verdict cancel(actor_kind by = actor_kind::user);

  verdict terminate(actor_kind by = actor_kind::operator_);

  verdict confirm();

  verdict retry();

  verdict halt();

  verdict wake();

  /// The provider shows the instance that there is in this condition.
  verdict observe(instance_health is, std::string deployment_id = {},
                  std::string reason = {});

  /// Another period is paid for, once this one is over.
  void renew();

  verdict fail(bool permanent, std::uint32_t chance = 0,
               millis retry_after = millis{0});
};

/// A machine that has been paid for and got to `to` by itself.
driver paid_at(phase to);

} // namespace slipway::test
