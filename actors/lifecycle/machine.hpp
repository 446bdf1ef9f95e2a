#pragma once

#include "actors/lifecycle/ids.hpp"
#include "actors/lifecycle/money.hpp"
#include "actors/lifecycle/time.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// The life of one subscription as a pure machine: `decide(state, event)` says
/// what is next and what is owed, and does nothing. Standard library only; no
/// clock, no random number, no I/O.
namespace slipway::lifecycle {

// -- where things stand
// -----------------------------------------------------------
//
// Numbers are stored in PostgreSQL: never renumber, only append.

/// What the user has bought.
///
///   pending ──payment_settled──▶ active ──woke after end_at──▶ expired
///                                  │  ▲                           │
///                   refund_observed│  └──────payment_settled──────┘
///                                  ▼
///                               refunded
///
/// `suspended` and `cancelled` are reserved for the operators' and users' acts.
enum class subscription_status : std::uint8_t {
  pending = 0,   ///< Created, not paid for.
  active = 1,    ///< Paid; runs until `end_at`, whatever the deployment does.
  expired = 2,   ///< The paid period is over. A new payment makes it active.
  suspended = 3, ///< Held by an operator.
  cancelled = 4, ///< Ended before its time.
  refunded = 5,  ///< The money went back in full.
};

enum class payment_gateway : std::uint8_t { alipay = 0, wechat = 1 };

enum class payment_method : std::uint8_t {
  page = 0,
  wap = 1,
  qr = 2,
  native = 3,
  h5 = 4,
  jsapi = 5,
};

/// One payment order. Money on a closed order still counts: it never was lost.
///
///   pending ──payment_settled──▶ paid ──refund_requested──▶ refunding
///     │  │                       ▲  ▲                        │    │
///     │  └order_closed─▶ closed ─┘  └──────refund_failed─────┘    │
///     │replaced           ▲                            refund_observed
///     └──────▶ closing ───┘order_closed                           ▼
///                 └──payment_settled──▶ paid                  refunded
enum class order_status : std::uint8_t {
  pending = 0, ///< Payable. Expired ones stay so until the gateway has closed.
  paid = 1,
  closed = 2,    ///< Nobody can pay it any more, as far as the gateway knows.
  refunding = 3, ///< We want the money to go back and have no proof yet.
  refunded = 4,  ///< Proven by the gateway, in full.
  closing = 5,   ///< Closed here, for a newer one; the gateway is to be told.
};

inline constexpr std::uint8_t order_status_count = 6;

/// Why money goes back.
enum class refund_cause : std::uint8_t {
  none = 0,
  operator_ = 1,
  late_payment = 2,      ///< The order was closed, and the rules say so.
  surplus_payment = 3,   ///< The period had been paid for already.
  deployment_failed = 4, ///< For good, and for as long as the rules say.
};

/// Where the deployment stands. `[slot]` marks the phases that count against
/// the limit of deployments at work.
///
///   idle ─paid─▶ queued ─slot_granted─▶ creating_project [slot]
///     │            ▲                       │ project_ready
///     │no          │                       ▼
///     │provider    │                  deploying_template [slot]
///     ▼            │                       │ template_deployed
///   skipped ─retry─┤                       ▼
///                  │                  awaiting_workflow [slot]
///             backing_off                  │ workflow_finished
///                  ▲                       ▼
///                  │                  configuring [slot]
///                  │                       │ configured
///                  │ more                  ▼
///                  │ attempts         deploying [slot] ──▶ running
///                  │ left                  │
///                  └──halted── halting ◀───┘ attempt failed
///                              [slot] │
///                                     └─no attempt left─▶ failed
///
///   running ◀──instance_observed──▶ lapsed
///
///   stopped ◀─confirmed─ cancelling [slot] ◀─cancel_requested─ under way
///   stopped ◀─confirmed─ terminating ◀─terminate_requested─ running, lapsed,
///                                                           failed
///
/// `failed`, `lapsed`, `stopped` and `skipped` go back to `queued` on
/// retry_requested. An attempt that fails before anything can be building has
/// nothing to halt.
enum class phase : std::uint8_t {
  idle = 0,               ///< Nothing paid, nothing to deploy.
  skipped = 1,            ///< Paid, but no provider is configured.
  queued = 2,             ///< Waits for a slot.
  creating_project = 3,   ///< The project is looked for, then created.
  deploying_template = 4, ///< The template goes into the project.
  awaiting_workflow = 5,  ///< The provider creates services from it.
  configuring = 6,        ///< Services and the public URL are looked up.
  deploying = 7,          ///< The provider builds and starts them.
  running = 8,            ///< Done: the instance runs.
  failed = 9,             ///< Every attempt failed. A person can retry.
  cancelling = 10,        ///< Being taken away at the provider.
  stopped = 11,           ///< Taken away; the provider confirmed it.
  backing_off = 12,       ///< An attempt failed; the next one waits a while.
  lapsed = 13,            ///< It ran, and does not any more, without our doing.
  terminating = 14, ///< Being taken away after it ran, or failed for good.
  halting = 15,     ///< An attempt failed; what still builds is being stopped.
};

inline constexpr std::uint8_t phase_count = 16;

/// What a frontend calls the phase: pending, creating, configuring, deploying,
/// running, failed, stopped.
enum class deployment_status : std::uint8_t {
  pending = 0,
  creating = 1,
  configuring = 2,
  deploying = 3,
  running = 4,
  failed = 5,
  stopped = 6,
};

enum class instance_status : std::uint8_t {
  initializing = 0,
  deploying = 1,
  running = 2,
  failed = 3,
  deleted = 4, ///< Only after the provider confirmed it.
};

/// What the provider shows of an instance that came to run.
enum class instance_health : std::uint8_t {
  unknown = 0,  ///< Never looked at since it came to run.
  healthy = 1,  ///< Runs.
  sleeping = 2, ///< Scaled to zero; wakes up on traffic.
  degraded = 3, ///< Some replicas have crashed, some run.
  crashed = 4,  ///< No replica runs.
  ended = 5,    ///< The process has ended by itself.
  removed = 6,  ///< Its deployment was taken away at the provider.
  missing = 7,  ///< The whole project was taken away at the provider.
};

inline constexpr std::uint8_t instance_health_count = 8;

/// Who brought an end about.
enum class actor_kind : std::uint8_t {
  nobody = 0,
  user = 1,
  operator_ = 2,
  provider = 3,
  slipway = 4, ///< We ourselves, by a deadline or a rule.
};

struct order {
  std::uint32_t seq = 0;
  payment_gateway gateway = payment_gateway::alipay;
  payment_method method = payment_method::page;
  order_status status = order_status::pending;
  /// Whether this payment bought the period. A paid order that did not is money
  /// that a person has to look at.
  bool applied = false;
  minor_units amount = 0;
  minor_units refunded = 0; ///< In total, so far.
  timestamp created_at{};
  timestamp expires_at{};
  std::optional<timestamp> paid_at;
  std::string transaction_id; ///< The gateway's own number.
  std::string idempotency_key;
  /// What the gateway gave for paying: the text of a QR code, a link, a
  /// prepay_id. Empty where the method needs none, or while it is asked for.
  std::string code;
  /// Numbers our refund requests: the same until the gateway has proven that
  /// nothing can come of it any more. 0: none yet.
  std::uint32_t refund_seq = 0;
  minor_units refund_amount = 0; ///< Of our request.
  refund_cause refund_for = refund_cause::none;
  std::string refund_error; ///< Why our last request failed.
  /// The gateway's refunds that are part of `refunded`, each followed by a
  /// blank: none is counted twice.
  std::string refunds_counted;
  bool operator==(const order&) const = default;
};

struct instance {
  std::uint32_t seq = 0; ///< 0: none yet.
  instance_status status = instance_status::initializing;
  std::string project_id;
  std::string environment_id;
  std::string service_id;
  std::string service_name;
  std::string public_url;
  instance_health health = instance_health::unknown;
  /// Whether the user has been told that this one falls asleep: once is enough.
  bool sleep_told = false;
  timestamp created_at{};
  std::optional<timestamp> deleted_at;
  bool operator==(const instance&) const = default;
};

/// One run of the deployment, over all of its attempts.
struct deployment {
  phase at = phase::idle;
  std::uint32_t attempt = 0; ///< Counts from 1 over the subscription's life.
  std::uint32_t attempt_limit = 0; ///< The last one before it failed for good.
  std::uint32_t tries = 0;         ///< Failures in a row of the current step.
  std::uint8_t progress = 0;       ///< 0…100, never falls within one attempt.
  /// The current step may have taken effect at the provider although we never
  /// heard so: it was announced then, and look-ups must outlast the lag.
  std::optional<timestamp> intent_at;
  std::optional<timestamp> queued_at;
  /// Its place in the queue: the smaller goes first. When it was paid for, and
  /// earlier than that by the plan's head start. It never moves back, so that
  /// whoever waits gets to the front, whatever comes in later. Nothing while
  /// the instance is being taken away, unless it was paid for meanwhile.
  std::optional<timestamp> queue_rank;
  std::optional<timestamp> started_at;  ///< Of the current attempt.
  std::optional<timestamp> deadline_at; ///< Of the current attempt.
  std::optional<timestamp> retry_at;    ///< The next try or attempt.
  std::optional<timestamp> completed_at;
  timestamp phase_at{}; ///< When the current phase was entered.
  std::string workflow_id;
  std::string deployment_id;
  std::string error; ///< Of the last failure, for people.
  actor_kind ended_by = actor_kind::nobody;
  bool operator==(const deployment&) const = default;
};

/// Everything the next decision depends on. `revision` is the row's version.
struct state {
  std::uint64_t revision = 0; ///< 0: not stored yet.
  subscription_status status = subscription_status::pending;
  minor_units amount = 0;
  std::uint32_t period_days = 30;
  std::optional<timestamp> start_at;
  std::optional<timestamp> end_at;
  std::vector<order> orders; ///< By seq, without gaps.
  slipway::lifecycle::deployment deployment;
  slipway::lifecycle::instance instance;
  bool operator==(const state&) const = default;
};

/// What the operator has configured. The same for all subscriptions of a plan.
struct rules {
  bool provider = true; ///< Whether there is a provider to deploy at.
  std::uint32_t attempts = 3;
  millis backoff_initial{5'000};
  millis backoff_max{300'000};
  millis deadline{900'000}; ///< Of one attempt.
  /// How long a failed attempt waits for the provider to stop what still
  /// builds, before it is over all the same.
  millis halt_patience{120'000};
  /// By how much this plan goes before the others in the queue.
  millis head_start{0};
  bool revive_late_payment = true;
  /// How long a deployment has to have failed for good before the money goes
  /// back by itself. Nothing: never.
  std::optional<millis> refund_failed_after;
  /// The longest pause between two looks at the gateway about an unpaid order.
  millis ask_interval{45'000};
  /// Unpaid ones of one subscription within a day.
  std::size_t orders_max = 32;
  /// All of one subscription; not more than 64, see `transition`.
  std::size_t orders_total_max = 64;
};

// -- events: facts that already happened
// -------------------------------------------
//
// `at` is when we learnt of it. `chance` is a random number for jitter, handed
// in by whoever makes the event.

/// The row comes to be.
struct subscription_created {
  timestamp at{};
  minor_units amount = 0;
  std::uint32_t period_days = 30;
};

/// A user wants to pay. A repeat with the same idempotency key finds its order.
struct order_requested {
  timestamp at{};
  payment_gateway gateway = payment_gateway::alipay;
  payment_method method = payment_method::page;
  timestamp expires_at{};
  std::string idempotency_key;
};

/// The gateway confirmed the money; its signature has been checked.
struct payment_settled {
  timestamp at{};
  std::uint32_t order = 0;
  payment_gateway gateway = payment_gateway::alipay;
  std::string transaction_id;
  minor_units amount = 0;
  timestamp paid_at{};
};

/// The gateway gave what the payer needs to pay.
struct order_prepared {
  timestamp at{};
  std::uint32_t order = 0;
  std::string code;
};

/// The gateway closed an unpaid order, or never had it.
struct order_closed {
  timestamp at{};
  std::uint32_t order = 0;
};

/// Somebody wants a payment to go back, whatever of it has not yet.
struct refund_requested {
  timestamp at{};
  std::uint32_t order = 0; ///< 0: the one that pays for the present period.
  refund_cause cause = refund_cause::operator_;
};

/// The gateway has proven that money went back, by our request or by somebody's
/// at the gateway itself.
struct refund_observed {
  timestamp at{};
  std::uint32_t order = 0;
  /// In total over all refunds of this order, where the gateway says that…
  std::optional<minor_units> total;
  /// …else of this refund, and its number, without blanks.
  minor_units portion = 0;
  std::string refund_id;
  /// Which of our requests it is; 0: none of ours.
  std::uint32_t refund_seq = 0;
  /// What the gateway says of the payment, where it says so: compared.
  std::string transaction_id = {};
  minor_units amount = 0;
};

/// Our request for a refund came to nothing; a person has to look.
struct refund_failed {
  timestamp at{};
  std::uint32_t order = 0;
  std::uint32_t refund_seq = 0;
  /// Nothing can come of this number any more: the next request has another.
  bool spent = false;
  std::string reason;
};

/// The dispatcher has a free slot for this deployment.
struct slot_granted {
  timestamp at{};
};

/// About to call projectCreate: after this, a crash has to look before it
/// calls.
struct project_create_started {
  timestamp at{};
  std::uint32_t attempt = 0;
};

struct project_ready {
  timestamp at{};
  std::uint32_t attempt = 0;
  std::string project_id;
  std::string environment_id;
  bool adopted = false; ///< It was there already.
};

/// About to call templateDeployV2.
struct template_deploy_started {
  timestamp at{};
  std::uint32_t attempt = 0;
};

struct template_deployed {
  timestamp at{};
  std::uint32_t attempt = 0;
  std::string workflow_id; ///< Empty when the services were there already.
};

struct workflow_finished {
  timestamp at{};
  std::uint32_t attempt = 0;
};

struct configured {
  timestamp at{};
  std::uint32_t attempt = 0;
  std::string service_id;
  std::string service_name;
  std::string deployment_id;
  std::string public_url;
};

enum class condition : std::uint8_t { in_progress, running, failed };

/// The provider's own view of the deployment has changed.
struct deployment_observed {
  timestamp at{};
  std::uint32_t attempt = 0;
  condition is = condition::in_progress;
  std::uint8_t progress = 0;
  std::string provider_status; ///< As the provider spells it.
  std::string reason;          ///< Why it failed, in the provider's words.
  std::uint32_t chance = 0;
};

/// A step did not succeed. `permanent` ends the attempt, everything else is
/// tried again until the attempt's deadline.
struct step_failed {
  timestamp at{};
  std::uint32_t attempt = 0;
  phase in = phase::creating_project;
  bool permanent = false;
  /// What was announced has certainly not happened.
  bool without_effect = false;
  /// No other attempt can help, either: fails for good at once.
  bool hopeless = false;
  millis retry_after{0}; ///< The least delay that the provider asked for.
  std::string reason;
  std::uint32_t chance = 0;
  /// What was announced may have happened just now.
  bool in_doubt = false;
};

struct retry_requested {
  timestamp at{};
  actor_kind by = actor_kind::user;
};

struct cancel_requested {
  timestamp at{};
  actor_kind by = actor_kind::user;
};

/// Somebody wants the instance taken away, wherever it stands.
struct terminate_requested {
  timestamp at{};
  actor_kind by = actor_kind::operator_;
};

/// The provider confirmed that nothing of the instance is left.
struct cancellation_confirmed {
  timestamp at{};
};

/// Nothing of a failed attempt is being built any more.
struct halted {
  timestamp at{};
  std::uint32_t attempt = 0;
  std::uint32_t chance = 0;
};

/// The provider shows something else of an instance that came to run.
struct instance_observed {
  timestamp at{};
  std::uint32_t instance = 0; ///< Its seq.
  instance_health is = instance_health::healthy;
  std::string deployment_id; ///< The present one; empty: unknown or none.
  std::string provider_status;
  std::string reason; ///< For people; empty while all is well.
};

/// A timer rang. Harmless when nothing is due: timers are never cancelled.
struct woke {
  timestamp at{};
  std::uint32_t chance = 0;
  /// Since when anything has been allowed to happen: an attempt is not to blame
  /// for the time before.
  timestamp working_since{};
};

using event = std::variant<
  subscription_created, order_requested, order_prepared, payment_settled,
  order_closed, refund_requested, refund_observed, refund_failed, slot_granted,
  project_create_started, project_ready, template_deploy_started,
  template_deployed, workflow_finished, configured, deployment_observed,
  step_failed, retry_requested, cancel_requested, cancellation_confirmed, woke,
  terminate_requested, halted, instance_observed>;

// -- effects: orders for the shell
// --------------------------------------------------

enum class effect : std::uint8_t {
  /// Join the queue of deployments.
  request_slot,
  /// Give the slot back, or leave the queue.
  release_slot,
  /// Work on the current phase at the provider; drop work on earlier ones.
  run_step,
  /// Tell the user that the payment arrived (in-app).
  notify_paid,
  /// Tell the user that the instance runs (in-app and mail).
  notify_running,
  /// Tell the user that the deployment failed for good (in-app and mail).
  notify_failed,
  /// Tell the user that money went back (in-app and mail).
  notify_refunded,
  /// Tell the user that the deployment was cancelled (in-app).
  notify_cancelled,
  /// Tell the user that the instance was taken away (in-app and mail).
  notify_terminated,
  /// Tell the user that the instance is down (in-app and mail).
  notify_down,
  /// Tell the user that it runs again (in-app and mail).
  notify_recovered,
  /// Tell the user that somebody or something changed it (in-app).
  notify_changed,
};

inline constexpr std::uint8_t effect_count = 12;

// -- the pure functions
// -------------------------------------------------------------

enum class verdict : std::uint8_t {
  applied,              ///< `next` is to be made durable.
  already_applied,      ///< Benign repetition; answer as if just done.
  stale,                ///< Of an earlier phase or attempt; nothing to do.
  unknown_order,        ///< No such order on this subscription.
  amount_mismatch,      ///< Other money than ordered. Alarm.
  gateway_mismatch,     ///< Paid through another gateway than ordered. Alarm.
  conflicting_payment,  ///< A second transaction on a paid order. Alarm.
  not_payable,          ///< Paid already, or ended.
  idempotency_mismatch, ///< The key was used for another request.
  too_many_orders,      ///< More orders than one subscription can have.
  not_paid,             ///< Nothing to deploy without a payment.
  already_running,
  under_way,
  nothing_to_cancel,
  provider_off,         ///< No provider is configured.
  nothing_to_refund,    ///< No money is there that could go back.
  nothing_to_terminate, ///< No instance is there that could be taken away.
};

inline constexpr std::uint8_t verdict_count = 17;

struct decision {
  verdict is = verdict::stale;
  state next;
  std::vector<effect> effects;
};

/// Decides what `what` means for `now`. Total: never throws for reasons of the
/// domain.
/// @post `next == now` and no effects unless `is == verdict::applied`.
/// @post `next.revision == now.revision + 1` when `is == verdict::applied`.
[[nodiscard]] decision
decide(const state& now, const event& what, const rules& with);

/// Names what a freshly loaded `now` still owes to the outside, so that a crash
/// between a commit and its effects loses nothing. Mails and in-app notices are
/// rows of their own and not among it.
[[nodiscard]] std::vector<effect> resume(const state& now);

/// The moment at which `woke` has something to do, if any.
[[nodiscard]] std::optional<timestamp>
wake_at(const state& now, const rules& with);

/// Whether the provider works for this subscription, so that it holds a slot.
[[nodiscard]] bool holds_slot(phase at) noexcept;

/// Whether a step at the provider is to be carried out: also one that needs no
/// slot.
[[nodiscard]] bool has_step(phase at) noexcept;

/// Whether nothing of the deployment was ever announced: as far as the row
/// knows there is nothing of it at the provider.
[[nodiscard]] bool is_untouched(const state& now) noexcept;

/// Whether the instance came to run and is looked at now and then.
[[nodiscard]] bool is_watched(const state& now) noexcept;

/// Whether an instance in this condition does what it was bought for.
[[nodiscard]] bool is_up(instance_health x) noexcept;

/// Whether nothing is under way and nothing waits.
[[nodiscard]] bool is_settled(phase at) noexcept;

/// Whether nothing is to be done before something comes from outside or a timer
/// rings: settled, in the queue, or between two attempts.
[[nodiscard]] bool can_wait(phase at) noexcept;

[[nodiscard]] deployment_status to_deployment_status(phase at) noexcept;

/// Finds an order, or null.
[[nodiscard]] const order*
find_order(const state& now, std::uint32_t seq) noexcept;

/// When the gateway is to be asked about an order that has just come to its
/// present status; nothing where there is nothing to ask.
[[nodiscard]] std::optional<timestamp>
first_ask(const order& about, timestamp at, const rules& with) noexcept;

/// When to ask again after having asked `asks` times in the present status,
/// the last time at `now`. The pauses grow; for an unpaid order they stay so
/// short that a payment whose callback is lost counts within a minute.
[[nodiscard]] std::optional<timestamp>
next_ask(const order& about, std::uint32_t asks, timestamp now,
         const rules& with) noexcept;

// -- names
// ---------------------------------------------------------------------------

[[nodiscard]] std::string_view to_string(subscription_status x) noexcept;
[[nodiscard]] std::string_view to_string(payment_gateway x) noexcept;
[[nodiscard]] std::string_view to_string(payment_method x) noexcept;
[[nodiscard]] std::string_view to_string(order_status x) noexcept;
[[nodiscard]] std::string_view to_string(refund_cause x) noexcept;
[[nodiscard]] std::string_view to_string(phase x) noexcept;
[[nodiscard]] std::string_view to_string(deployment_status x) noexcept;
[[nodiscard]] std::string_view to_string(instance_status x) noexcept;
[[nodiscard]] std::string_view to_string(instance_health x) noexcept;
[[nodiscard]] std::string_view to_string(actor_kind x) noexcept;
[[nodiscard]] std::string_view to_string(verdict x) noexcept;
[[nodiscard]] std::string_view to_string(effect x) noexcept;

/// The event's name, for histories: `payment_settled`.
[[nodiscard]] std::string_view name_of(const event& what) noexcept;

/// When it was learnt.
[[nodiscard]] timestamp time_of(const event& what) noexcept;

/// One sentence for the subscription's history.
[[nodiscard]] std::string
describe(const event& what, const state& before, const state& after);

} // namespace slipway::lifecycle
