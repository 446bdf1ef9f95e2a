#pragma once

#include "actors/automation.hpp"
#include "actors/interfaces.hpp"
#include "actors/lifecycle/machine.hpp"
#include "actors/metrics.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace slipway {

/// Bounds of the actors. No default is infinite.
struct actor_limits {
  /// Commands that wait for one supervisor; more are refused as overloaded.
  std::size_t commands_waiting_max = 256;
  /// Timers further away than this live in the database only.
  millis timer_horizon{60'000};
  /// A supervisor without work leaves memory after this.
  millis linger{120'000};
  /// How long a cancellation's caller waits for the provider's word.
  millis cancel_patience{20'000};
  /// Delay before a failed supervisor starts again: doubled with each failure.
  millis restart_backoff_initial{100};
  millis restart_backoff_max{10'000};
  /// Loads from the store under way at once.
  std::size_t loads_max = 128;
  /// Rows of a recovery page.
  std::size_t page_rows = 500;
  /// How often due timers are looked for.
  millis timer_scan{1'000};
  /// How often the dispatcher compares itself with the database.
  millis slot_scan{1'000};
  /// How often the notifier looks into the outbox.
  millis mail_scan{2'000};
  /// How often the reconciler looks for orders that are due.
  millis ask_scan{500};
};

/// What all actors share: one clock, one source of randomness, one set of
/// handles. Filled by whoever wires the system before the first message leaves,
/// and constant from then on.
struct environment {
  const slipway::clock* clock = nullptr;
  slipway::entropy* entropy = nullptr;
  slipway::metrics* metrics = nullptr;
  lifecycle::rules rules;
  /// Where a plan has rules of its own.
  std::map<std::string, lifecycle::rules> plan_rules;
  actor_limits limits;
  bool mail = false; ///< Whether notices go out by mail.
  std::uint32_t max_concurrent = 3;
  /// The main switch. What the pointer leads to changes, the pointer does not.
  std::shared_ptr<slipway::automation> automation
    = std::make_shared<slipway::automation>();

  std::vector<journal_actor> journals;
  std::vector<store_actor> stores;
  registry_actor registry;
  dispatcher_actor dispatcher;
  provider_actor provider; ///< Null without a provider.
  watcher_actor watcher;   ///< Null without a provider.
  logbook_actor logbook;   ///< Null without a provider.
  notifier_actor notifier; ///< Null without mail.
  reconciler_actor reconciler;

  /// The rules for subscriptions of this plan.
  [[nodiscard]] const lifecycle::rules&
  rules_of(const std::string& plan) const {
    const auto own = plan_rules.find(plan);
    return own == plan_rules.end() ? rules : own->second;
  }

  /// The journal that writes this subscription: always the same one.
  [[nodiscard]] const journal_actor& journal_of(subscription_id id) const {
    return journals[raw(id) % journals.size()];
  }

  /// A store for this subscription's queries.
  [[nodiscard]] const store_actor& store_of(subscription_id id) const {
    return stores[raw(id) % stores.size()];
  }

  /// Whether anything may leave: the main switch is on.
  [[nodiscard]] bool may_act() const noexcept {
    return automation->enabled();
  }

  [[nodiscard]] std::uint32_t chance() const {
    return static_cast<std::uint32_t>(entropy->next());
  }
};

using environment_ptr = std::shared_ptr<const environment>;

/// Counts an actor as alive for as long as its state lives.
class alive_guard {
public:
  alive_guard() = default;

  alive_guard(metrics* where, const char* kind) : where_{where}, kind_{kind} {
    where_->actor_count(kind_, 1);
  }

  alive_guard(const alive_guard&) = delete;

  alive_guard& operator=(alive_guard&& other) noexcept {
    std::swap(where_, other.where_);
    std::swap(kind_, other.kind_);
    return *this;
  }

  ~alive_guard() {
    if (where_ != nullptr)
      where_->actor_count(kind_, -1);
  }

private:
  metrics* where_ = nullptr;
  const char* kind_ = nullptr;
};

} // namespace slipway
