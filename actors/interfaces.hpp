#pragma once

#include "actors/answer_once.hpp"
#include "actors/observe/trace.hpp"
#include "actors/queries.hpp"
#include "actors/record.hpp"

#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/error.hpp>
#include <caf/fwd.hpp>
#include <caf/replies_to.hpp>
#include <caf/typed_actor.hpp>

#include <functional>
#include <memory>

/// Every actor's interface, and the messages between them: the map of the
/// system.
namespace slipway {

// -- commands
// -----------------------------------------------------------------------

/// How a command ended. `now` is valid during the call only.
struct outcome {
  errc error = errc::none;
  lifecycle::verdict is = lifecycle::verdict::stale;
  /// The row as it stands. Null when `error` is set, and for a callback that
  /// moved nothing.
  const record* now = nullptr;
};

/// Answers a command exactly once: by `deliver`, or with errc::unavailable when
/// the last reference goes, so that no crash leaves anybody waiting.
class reply_slot {
public:
  using function = std::function<void(const outcome&)>;

  explicit reply_slot(function fn) : fn_{std::move(fn)} {
  }

  reply_slot(const reply_slot&) = delete;

  reply_slot& operator=(const reply_slot&) = delete;

  ~reply_slot() {
    deliver({errc::unavailable, lifecycle::verdict::stale, nullptr});
  }

  void deliver(const outcome& what) {
    if (auto fn = std::exchange(fn_, nullptr))
      fn(what);
  }

private:
  function fn_;
};

using reply_ptr = std::shared_ptr<reply_slot>;

/// One fact for one subscription, with what is to be stored along with it.
struct command {
  subscription_id subscription{};
  lifecycle::event what;
  /// What follows from it at once: stored in the same commit, up to the first
  /// that does not apply. Not looked at when `what` itself does not.
  std::vector<lifecycle::event> then;
  /// The user who asks. Where it is set, somebody else's subscription answers
  /// errc::forbidden.
  std::string on_behalf_of;
  /// The gateway's message, when the fact came by one: kept whatever the
  /// verdict.
  std::shared_ptr<callback_entry> callback;
  std::vector<provider_call> calls;
  /// Who did it and why, where a person did: goes into the history with it.
  std::optional<history_entry> act;
  std::shared_ptr<const creation> create;
  reply_ptr reply; ///< May be null.
  /// Of our own making: never refused for want of room.
  bool control = false;
  /// The request that it came by, if it did.
  trace::origin origin;
};

using command_ptr = std::shared_ptr<command>;

// -- transitions
// ---------------------------------------------------------------------

enum class commit_status : std::uint8_t {
  stored,   ///< Durable.
  conflict, ///< Another revision or another owner: nothing was written.
  failed,   ///< Rolled back: nothing was written.
  refused,  ///< The database refuses what this one says: nothing was written.
  in_doubt, ///< The answer to the commit was lost: only the database knows.
  /// Refused: another order was paid by this transaction. Nothing was written.
  payment_taken,
};

} // namespace slipway

namespace slipway {

struct transition;

using transition_ptr = std::shared_ptr<transition>;

/// The end of a transition, told to the supervisor that asked for it.
struct commit_result {
  std::uint64_t revision = 0;
  commit_status status = commit_status::stored;
};

/// A callback that moves no subscription: kept, nothing else.
struct inbox_job {
  callback_entry entry;
  /// Called on the JOURNAL's thread once it is durable, or with what is wrong;
  /// with errc::unavailable where the job is dropped.
  answer_once<errc> done;
};

using inbox_job_ptr = std::shared_ptr<inbox_job>;

// -- messages
// ------------------------------------------------------------------------

/// A timer of the SUPERVISOR. Stale ones are harmless.
struct timer_rang {
  std::uint64_t revision = 0;
};

/// REGISTRY asks a SUPERVISOR whether it could leave memory.
struct idle_question {};

/// SUPERVISOR has nothing to do; `handled` commands so far.
struct idle_answer {
  subscription_id subscription{};
  std::uint64_t handled = 0;
  /// It waits for its turn in the queue, and nobody has asked.
  bool queued = false;
};

struct leave_order {};

/// SUPERVISOR could not go on and has to be started again from the journal.
struct restart_wish {
  subscription_id subscription{};
};

/// Parts that others rely on were started again and have forgotten what they
/// were told: supervisors order anew what their states owe.
struct parts_restarted {};

/// REGISTRY passes that on.
struct resume_order {};

/// What operators see of one actor.
struct actor_view {
  std::string id; ///< `journal-0`, `supervisor:<subscription>`.
  std::string kind;
  std::string parent; ///< Empty for the root.
  /// `running`, `restarting`, `loading`, `quarantined`, or `silent` for one
  /// that has not shown life for a while.
  std::string state = "running";
  std::size_t mailbox_depth = 0;
  std::uint32_t restarts = 0;
  std::string last_failure; ///< Empty: none since the server started.
  std::optional<timestamp> failed_at;
};

/// A page of supervisors, by id. Answers when the last reference goes: those
/// who are asked fill in their line, and one that cannot is left as it is.
/// Each line is written by one actor only.
struct roster {
  subscription_id after{}; ///< 0: from the first.
  std::size_t limit = 100;
  bool troubled_only = false; ///< Those that do not simply run.
  std::vector<actor_view> lines;
  bool more = false;
  std::function<void(roster&)> done;

  ~roster() {
    if (done)
      done(*this);
  }
};

using roster_ptr = std::shared_ptr<roster>;

/// Asks a supervisor for its line. Understood by every actor under
/// supervision.
struct roll_call {
  roster_ptr to;
  std::size_t line = 0;
};

/// Somebody wants a supervisor to go down, or to be loaded again although it
/// is in quarantine.
struct supervisor_order {
  enum class what : std::uint8_t { kill, restart };
  what is = what::restart;
  subscription_id subscription{};
  answer_once<errc> done; ///< errc::not_found for one that is not in memory.
};

using supervisor_order_ptr = std::shared_ptr<supervisor_order>;

/// A store job's answer on its way back to the REGISTRY.
struct record_loaded {
  subscription_id subscription{};
  errc error = errc::none;
  std::shared_ptr<record> value;
};

struct recovery_page {
  errc error = errc::none;
  std::shared_ptr<std::vector<record>> rows;
  bool own = false; ///< Ours before, from a REGISTRY that went down.
};

struct timers_due {
  errc error = errc::none;
  std::vector<subscription_id> ids;
};

struct slot_wanted {
  subscription_id subscription{};
  /// Its place in the queue; nothing: perhaps ahead of all others.
  std::optional<timestamp> rank = std::nullopt;
};

struct slot_released {
  subscription_id subscription{};
};

struct slots_read {
  errc error = errc::none;
  std::shared_ptr<query::slots::found> value;
};

struct grant_answered {
  subscription_id subscription{};
  bool taken = false;
};

/// Work on the current phase of this subscription.
struct step_order {
  record_ptr subject;
  /// What the step creates was announced by the very commit that this order
  /// follows on, and is begun by nobody but whoever gets it: there is nothing
  /// to look for.
  bool announced = false;
};

/// Stop working for this subscription.
struct step_dropped {
  subscription_id subscription{};
};

/// Look at this subscription's deployment until it is over, or until dropped.
struct watch_order {
  record_ptr subject;
};

/// Stop looking.
struct watch_dropped {
  subscription_id subscription{};
};

/// The provider says that something may have happened: look soon. Never
/// believed by itself. What is unknown is empty.
struct provider_hint {
  std::string project_id;
  std::string environment_id;
  std::string service_id;
  std::string deployment_id;
};

enum class log_source : std::uint8_t { build = 0, deploy = 1, event = 2 };

/// One line of what happened to a deployment, fit for a browser: no control
/// characters, no known secrets.
struct log_line {
  std::string at; ///< RFC 3339, as fine as its source gives it.
  log_source source = log_source::event;
  std::string level; ///< `info`, `warn`, `error` …
  std::string message;
  /// Continues behind this line, see `log_query`. Only followers are told.
  std::string cursor;
};

struct log_page {
  std::vector<log_line> lines; ///< Oldest first.
  std::string next_cursor;     ///< Empty: nothing more for now.
  /// Continues behind the last line, whenever there is more. Never empty.
  std::string tail_cursor;
};

/// Lines of one subscription's present deployment, in one order.
struct log_query {
  record_ptr subject;
  bool build = true;
  bool deploy = true;
  bool event = true;
  std::string cursor; ///< Empty: from the first line that is kept.
  std::size_t limit = 100;
  /// Called once, on the LOGBOOK's thread; errc::invalid_cursor for a cursor
  /// that was never handed out.
  std::function<void(tl::expected<log_page, errc>)> done;
};

using log_query_ptr = std::shared_ptr<log_query>;

enum class follower_state : std::uint8_t {
  gone,  ///< Nothing reaches the reader any more.
  busy,  ///< What was sent last is still on its way.
  ready, ///< Takes more.
};

/// Somebody who wants to see new lines as they come. Everything is called on
/// the LOGBOOK's thread, and must not block. Dropped when the reader is gone or
/// has stayed for long enough; whoever wants more comes back with the cursor of
/// the last line.
struct log_follower {
  /// `done` is called only to refuse the reader; nothing else is called then.
  /// Without a cursor: the newest lines of each log, and all of our events.
  /// `limit` is not used.
  log_query from;
  /// Asked before each line, and every second.
  std::function<follower_state()> state;
  /// Takes one line; false: the reader is gone.
  std::function<bool(const log_line&)> take;
  /// Called once when the reader has been let in, then whenever there was no
  /// line for a while; false: the reader is gone.
  std::function<bool()> beat;
};

using log_follower_ptr = std::shared_ptr<log_follower>;

/// Somebody who wants to see how a deployment stands, as it changes. All of it
/// is called on the BROADCASTER's thread and must not block. Dropping it ends
/// the reader's stream.
class status_watcher {
public:
  virtual ~status_watcher() = default;

  /// Does not let the reader in; nothing else is called then.
  virtual void refuse(errc why) = 0;

  /// Lets the reader in, with these bytes as the first ones it gets.
  /// @returns whether it is still there.
  virtual bool open(std::string_view first) = 0;

  /// @returns whether the reader is still there.
  virtual bool write(std::string_view bytes) = 0;

  /// Bytes that the reader has not taken yet.
  [[nodiscard]] virtual std::size_t waiting() const = 0;

  /// Whether the reader has left.
  [[nodiscard]] virtual bool gone() const = 0;

  subscription_id subscription{};
  /// Who asks; errc::not_found for what is somebody else's.
  std::string user_id;
  /// The revision that the reader has seen last; 0: none.
  std::uint64_t seen = 0;
};

using status_watcher_ptr = std::shared_ptr<status_watcher>;

/// A watched subscription has changed; durable.
struct status_changed {
  record_ptr now;
};

/// The STORE's answer on its way back to the BROADCASTER.
struct changes_read {
  errc error = errc::none;
  std::shared_ptr<query::list_changes::result> rows;
};

/// Something to be done at a payment gateway at once, for somebody who waits.
struct gateway_errand {
  enum class kind : std::uint8_t {
    /// Make the order known there; answers with the row that holds its `code`.
    prepare,
    /// Ask what became of the order. Answers when what was learnt is durable,
    /// or at once when it was asked about lately.
    ask,
    /// Ask what became of the refund that `callback` speaks of.
    confirm_refund,
    /// A key of the gateway's is unknown: fetch them anew, if that is not done
    /// all the time.
    refresh_keys,
  };
  kind what = kind::ask;
  lifecycle::payment_gateway gateway = lifecycle::payment_gateway::alipay;
  record_ptr subject; ///< Null only for `refresh_keys`.
  std::uint32_t order = 0;
  std::string payer_id; ///< jsapi: the payer's openid.
  std::string payer_ip; ///< h5: the payer's address.
  std::string refund_id;
  std::shared_ptr<callback_entry> callback;
  reply_ptr reply;      ///< May be null.
  trace::origin origin; ///< The request that it came by.
};

using gateway_errand_ptr = std::shared_ptr<gateway_errand>;

/// There may be new mail in the outbox.
struct mail_nudge {};

struct mails_read {
  errc error = errc::none;
  std::shared_ptr<std::vector<query::due_mails::row>> rows;
  std::size_t next = 0; ///< The one to be sent now.
};

/// Something periodic.
struct tick {};

/// A continuation that runs inside of an actor, so that answers from other
/// threads meet its state without locks.
using continuation = std::shared_ptr<std::function<void()>>;

} // namespace slipway

/// An actor may end with an errc: why it has to be started again.
CAF_ERROR_CODE_ENUM(slipway::errc, "slipway")

#define SLIPWAY_LOCAL_MESSAGE(type) CAF_ALLOW_UNSAFE_MESSAGE_TYPE(slipway::type)

// All actors live in one process: messages are handed over, never serialised.
SLIPWAY_LOCAL_MESSAGE(command_ptr)
SLIPWAY_LOCAL_MESSAGE(transition_ptr)
SLIPWAY_LOCAL_MESSAGE(inbox_job_ptr)
SLIPWAY_LOCAL_MESSAGE(store_job_ptr)
SLIPWAY_LOCAL_MESSAGE(commit_result)
SLIPWAY_LOCAL_MESSAGE(timer_rang)
SLIPWAY_LOCAL_MESSAGE(idle_question)
SLIPWAY_LOCAL_MESSAGE(idle_answer)
SLIPWAY_LOCAL_MESSAGE(leave_order)
SLIPWAY_LOCAL_MESSAGE(restart_wish)
SLIPWAY_LOCAL_MESSAGE(parts_restarted)
SLIPWAY_LOCAL_MESSAGE(resume_order)
SLIPWAY_LOCAL_MESSAGE(roster_ptr)
SLIPWAY_LOCAL_MESSAGE(roll_call)
SLIPWAY_LOCAL_MESSAGE(supervisor_order_ptr)
SLIPWAY_LOCAL_MESSAGE(record_loaded)
SLIPWAY_LOCAL_MESSAGE(recovery_page)
SLIPWAY_LOCAL_MESSAGE(timers_due)
SLIPWAY_LOCAL_MESSAGE(slot_wanted)
SLIPWAY_LOCAL_MESSAGE(slot_released)
SLIPWAY_LOCAL_MESSAGE(slots_read)
SLIPWAY_LOCAL_MESSAGE(grant_answered)
SLIPWAY_LOCAL_MESSAGE(step_order)
SLIPWAY_LOCAL_MESSAGE(step_dropped)
SLIPWAY_LOCAL_MESSAGE(watch_order)
SLIPWAY_LOCAL_MESSAGE(watch_dropped)
SLIPWAY_LOCAL_MESSAGE(provider_hint)
SLIPWAY_LOCAL_MESSAGE(log_query_ptr)
SLIPWAY_LOCAL_MESSAGE(log_follower_ptr)
SLIPWAY_LOCAL_MESSAGE(status_watcher_ptr)
SLIPWAY_LOCAL_MESSAGE(status_changed)
SLIPWAY_LOCAL_MESSAGE(changes_read)
SLIPWAY_LOCAL_MESSAGE(gateway_errand_ptr)
SLIPWAY_LOCAL_MESSAGE(mail_nudge)
SLIPWAY_LOCAL_MESSAGE(mails_read)
SLIPWAY_LOCAL_MESSAGE(tick)
SLIPWAY_LOCAL_MESSAGE(continuation)

#undef SLIPWAY_LOCAL_MESSAGE

namespace slipway {

// -- interfaces
// ----------------------------------------------------------------------

/// The JOURNAL: makes transitions durable, many in one commit. Detached, one
/// connection; there are several.
using journal_actor = caf::typed_actor<
  // Stores one transition and answers its supervisor with a commit_result.
  caf::reacts_to<transition_ptr>,
  // Keeps a callback that moves nothing.
  caf::reacts_to<inbox_job_ptr>,
  // INTERNAL: Writes what has queued up since the last commit.
  caf::reacts_to<tick>>;

/// The STORE: answers queries. Detached, one connection; there are several.
using store_actor = caf::typed_actor<
  // Runs a query and calls its continuation.
  caf::reacts_to<store_job_ptr>,
  // INTERNAL: Loads everybody who has queued up since the last query.
  caf::reacts_to<tick>>;

/// The SUPERVISOR of one subscription: decide → append → release the effects.
using supervisor_actor = caf::typed_actor<
  // Feeds one fact into the machine.
  caf::reacts_to<command_ptr>,
  // The JOURNAL's answer to the transition under way.
  caf::reacts_to<commit_result>,
  // INTERNAL: A deadline or a retry of the stored state is due.
  caf::reacts_to<timer_rang>,
  // Orders anew what the state owes.
  caf::reacts_to<resume_order>,
  // Whether it could leave memory; answered by idle_answer, or not at all.
  caf::reacts_to<idle_question>,
  // Leaves memory.
  caf::reacts_to<leave_order>>;

/// The REGISTRY: finds, loads, restarts and passivates supervisors.
using registry_actor = caf::typed_actor<
  // Hands a command to its subscription's supervisor, loading it where needed.
  caf::reacts_to<command_ptr>,
  // INTERNAL: The STORE's answers.
  caf::reacts_to<record_loaded>, caf::reacts_to<recovery_page>,
  caf::reacts_to<timers_due>,
  // A supervisor has nothing to do.
  caf::reacts_to<idle_answer>,
  // INTERNAL: A failed supervisor's backoff is over.
  caf::reacts_to<restart_wish>,
  // Has all supervisors order anew what they owe.
  caf::reacts_to<parts_restarted>,
  // Fills a page of supervisors.
  caf::reacts_to<roster_ptr>,
  // Kills or restarts one supervisor.
  caf::reacts_to<supervisor_order_ptr>,
  // INTERNAL: Looks for due timers and idle supervisors.
  caf::reacts_to<tick>>;

/// The DISPATCHER: hands out the slots for deployments at work.
using dispatcher_actor
  = caf::typed_actor<caf::reacts_to<slot_wanted>, caf::reacts_to<slot_released>,
                     // INTERNAL: What the database says of slots and queue.
                     caf::reacts_to<slots_read>,
                     // INTERNAL: Whether a supervisor took the slot.
                     caf::reacts_to<grant_answered>,
                     // INTERNAL: Compares memory with the database.
                     caf::reacts_to<tick>>;

/// The PROVIDER: carries out a deployment's steps at the provider and reports
/// back by commands to the REGISTRY.
using provider_actor
  = caf::typed_actor<caf::reacts_to<step_order>, caf::reacts_to<step_dropped>,
                     // INTERNAL: Goes on with an answer from the network or the
                     // STORE.
                     caf::reacts_to<continuation>,
                     // INTERNAL: Forgets doubts that time has settled.
                     caf::reacts_to<tick>>;

/// The WATCHER: looks at what is being deployed and at what runs, and reports
/// changes by commands to the REGISTRY.
using watcher_actor
  = caf::typed_actor<caf::reacts_to<watch_order>, caf::reacts_to<watch_dropped>,
                     caf::reacts_to<provider_hint>,
                     // INTERNAL: Goes on with an answer from the network or the
                     // STORE.
                     caf::reacts_to<continuation>,
                     // INTERNAL: Looks at what is due.
                     caf::reacts_to<tick>>;

/// The JANITOR: finds what should not be at the provider, and keeps our webhook
/// registered there.
using janitor_actor = caf::typed_actor< // INTERNAL: Goes on with an answer from
                                        // the network or the STORE.
  caf::reacts_to<continuation>,
  // INTERNAL: Sweeps when it is time.
  caf::reacts_to<tick>>;

/// The LOGBOOK: the provider's log lines and our own events as one stream.
using logbook_actor
  = caf::typed_actor<caf::reacts_to<log_query_ptr>,
                     caf::reacts_to<log_follower_ptr>,
                     // INTERNAL: Goes on with an answer from the network or the
                     // STORE.
                     caf::reacts_to<continuation>,
                     // INTERNAL: Looks for new lines and for readers gone.
                     caf::reacts_to<tick>>;

/// The RECONCILER: everything we say to payment gateways. Asks about orders and
/// refunds that are due, closes what has expired, and reports what it learns by
/// commands to the REGISTRY.
using reconciler_actor
  = caf::typed_actor<caf::reacts_to<gateway_errand_ptr>,
                     // INTERNAL: Goes on with an answer from the network or the
                     // STORE.
                     caf::reacts_to<continuation>,
                     // INTERNAL: Looks for orders that are due.
                     caf::reacts_to<tick>>;

/// The NOTIFIER: sends the mails that the outbox holds. Detached.
using notifier_actor = caf::typed_actor<caf::reacts_to<mail_nudge>,
                                        // INTERNAL: The mails that are due.
                                        caf::reacts_to<mails_read>,
                                        // INTERNAL: Looks into the outbox.
                                        caf::reacts_to<tick>>;

/// The BROADCASTER: tells readers of what they watch as it changes.
using broadcaster_actor
  = caf::typed_actor<caf::reacts_to<status_watcher_ptr>,
                     caf::reacts_to<status_changed>,
                     // INTERNAL: What the database says of what is watched.
                     caf::reacts_to<changes_read>,
                     // INTERNAL: Looks at what other servers change, and for
                     // readers gone.
                     caf::reacts_to<tick>>;

/// Everything that one transaction writes.
struct transition {
  std::uint64_t expected_revision = 0; ///< 0: the row does not exist yet.
  record next;
  std::uint64_t orders_changed = 0; ///< Bit i: orders[i] is to be written.
  /// The first so many orders have rows already.
  std::size_t orders_known = 0;
  /// When the gateway is to be asked about orders[i], should its status have
  /// changed. As many as there are orders, or none.
  std::vector<std::optional<timestamp>> first_asks;
  /// When the machine has to be woken.
  std::optional<timestamp> wake_at;
  bool instance_changed = false;
  std::vector<history_entry> history;
  std::vector<notice> notices;
  std::shared_ptr<callback_entry> callback;
  std::shared_ptr<const creation> create;
  supervisor_actor from;
  bool answered = false; ///< Set by the JOURNAL, along with its answer.
};

} // namespace slipway
