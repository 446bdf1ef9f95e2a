#pragma once

#include "actors/audience.hpp"
#include "actors/automation.hpp"
#include "actors/creation_gate.hpp"
#include "actors/interfaces.hpp"
#include "actors/lifecycle/machine.hpp"
#include "actors/metrics.hpp"
#include "actors/observe/tracer.hpp"
#include "actors/slot.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace slipway {

/// Bounds of the actors. No default is infinite.
struct actor_limits {
  /// Commands that wait for one supervisor; more are refused as overloaded.
  std::size_t commands_waiting_max = 256;
  /// Timers further away than this live in the database only.
  millis timer_horizon{60'000};
  /// A supervisor without work leaves memory after this, and sooner when more
  /// than half of `resident_max` are in memory.
  millis linger{120'000};
  /// Subscriptions in memory. Beyond it, whoever needs one more that nobody
  /// works on is refused as overloaded.
  std::size_t resident_max = 100'000;
  /// With more than that in memory, whoever comes to wait in the queue leaves
  /// at once: the queue is in the database.
  std::size_t resident_queued_max = 4'096;
  /// Transitions on their way to the database. Beyond it new requests are
  /// refused at the door; recovery and timers wait when it is half full.
  std::size_t journal_queue_max = 4'096;
  /// How long a cancellation's caller waits for the provider's word.
  millis cancel_patience{20'000};
  /// Delay before a failed supervisor starts again: doubled with each failure.
  millis restart_backoff_initial{100};
  millis restart_backoff_max{10'000};
  /// A supervisor that has failed so often in a row, by no fault of the
  /// database's absence, goes into quarantine.
  std::uint32_t quarantine_after = 8;
  /// It is tried once more after this.
  millis quarantine_retry{600'000};
  /// Loads from the store under way at once.
  std::size_t loads_max = 128;
  /// Rows of a recovery page.
  std::size_t page_rows = 500;
  /// How often due timers are looked for.
  millis timer_scan{1'000};
  /// How often the dispatcher compares itself with the database.
  millis slot_scan{1'000};
  /// For how long it hands out slots in the order that it has read.
  millis line_age_max{200};
  /// How often the notifier looks into the outbox.
  millis mail_scan{2'000};
  /// How often the reconciler looks for orders that are due.
  millis ask_scan{500};
};

/// What is under way in the whole server, for those who have to hold back.
/// Thread: any.
struct server_load {
  /// Transitions that JOURNALs have been given and have not answered.
  std::atomic<std::int64_t> journal_queue{0};
  /// Changes at the provider, at gateways and mails under way.
  std::atomic<std::int64_t> outward{0};

  /// One less of something.
  void ended(std::atomic<std::int64_t>& what);

  /// Waits until nothing is under way and nothing follows from what was.
  /// @returns whether it came to that in time.
  bool drain(std::chrono::steady_clock::time_point until);

private:
  [[nodiscard]] bool is_idle() const;

  std::atomic<bool> draining_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
};

/// Counts something as outward for as long as it lives.
class outward_mark {
public:
  explicit outward_mark(std::shared_ptr<server_load> where)
    : where_{std::move(where)} {
    where_->outward.fetch_add(1, std::memory_order_relaxed);
  }

  outward_mark(const outward_mark&) = delete;

  outward_mark& operator=(const outward_mark&) = delete;

  ~outward_mark() {
    where_->ended(where_->outward);
  }

private:
  std::shared_ptr<server_load> where_;
};

/// What all actors share: one clock, one source of randomness, one set of
/// handles. Filled by whoever wires the system before the first message leaves,
/// and constant from then on.
struct environment {
  const slipway::clock* clock = nullptr;
  slipway::entropy* entropy = nullptr;
  slipway::metrics* metrics = nullptr;
  trace::tracer* tracer = nullptr; ///< Null: nobody wants spans.
  lifecycle::rules rules;
  /// Where a plan has rules of its own.
  std::map<std::string, lifecycle::rules> plan_rules;
  actor_limits limits;
  bool mail = false; ///< Whether notices go out by mail.
  std::uint32_t max_concurrent = 3;
  /// The main switch. What the pointer leads to changes, the pointer does not.
  std::shared_ptr<slipway::automation> automation
    = std::make_shared<slipway::automation>();

  /// Whether nobody can have taken over from this server, and it is not
  /// stopping.
  std::function<bool()> holds_lease = [] {
    return true;
  };
  /// Whether what was under way at the start has been looked at.
  std::function<bool()> is_recovered = [] {
    return true;
  };
  std::shared_ptr<server_load> load = std::make_shared<server_load>();

  std::vector<actor_slot<journal_actor>> journals;
  /// The last one is for what looks at many rows; where there is only one, it
  /// does everything.
  std::vector<actor_slot<store_actor>> stores;
  actor_slot<registry_actor> registry;
  actor_slot<dispatcher_actor> dispatcher;
  actor_slot<provider_actor> provider; ///< Null without a provider.
  /// Whether the PROVIDER could create at once. What the pointer leads to
  /// changes, the pointer does not.
  std::shared_ptr<creation_gate> creations = std::make_shared<creation_gate>();
  actor_slot<watcher_actor> watcher;   ///< Null without a provider.
  actor_slot<logbook_actor> logbook;   ///< Null without a provider.
  actor_slot<notifier_actor> notifier; ///< Null without mail.
  actor_slot<reconciler_actor> reconciler;
  actor_slot<broadcaster_actor> broadcaster;
  /// What the BROADCASTER wants to be told of. What the pointer leads to
  /// changes, the pointer does not.
  std::shared_ptr<slipway::audience> audience
    = std::make_shared<slipway::audience>();

  /// The rules for subscriptions of this plan.
  [[nodiscard]] const lifecycle::rules&
  rules_of(const std::string& plan) const {
    const auto own = plan_rules.find(plan);
    return own == plan_rules.end() ? rules : own->second;
  }

  /// The journal that writes this subscription: always the same one.
  [[nodiscard]] journal_actor journal_of(subscription_id id) const {
    return journals[raw(id) % journals.size()]();
  }

  /// A store for this subscription's queries.
  [[nodiscard]] store_actor store_of(subscription_id id) const {
    return store_in_turn(raw(id));
  }

  /// One of the stores for what somebody waits for.
  [[nodiscard]] store_actor store_in_turn(std::uint64_t turn) const {
    return stores[turn % std::max<std::size_t>(1, stores.size() - 1)]();
  }

  /// The store for what looks at many rows: nobody waits behind that.
  [[nodiscard]] store_actor counting_store() const {
    return stores.back()();
  }

  /// Whether the database has fallen behind so far that new requests have to
  /// be refused.
  [[nodiscard]] bool is_full() const {
    return load->journal_queue.load(std::memory_order_relaxed)
           > static_cast<std::int64_t>(limits.journal_queue_max);
  }

  /// Whether the database has fallen behind: what can wait should.
  [[nodiscard]] bool is_behind() const {
    return load->journal_queue.load(std::memory_order_relaxed)
           > static_cast<std::int64_t>(limits.journal_queue_max / 2);
  }

  /// Whether anything may leave: the main switch is on, and all is still ours.
  /// Asked right before a change leaves.
  [[nodiscard]] bool may_act() const {
    return automation->enabled() && holds_lease();
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
