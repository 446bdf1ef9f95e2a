#pragma once

#include "actors/answer_once.hpp"
#include "actors/automation.hpp"
#include "actors/record.hpp"

#include <tl/expected.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

/// What the STORE can be asked. Each query is a struct with its `result`; a job
/// carries the query and what to do with the answer.
namespace slipway {

/// What crosses an actor boundary when something goes wrong.
enum class errc : std::uint8_t {
  none = 0,
  not_found,       ///< No such row.
  unavailable,     ///< We could not do it now; nothing is known to be wrong.
  database_down,   ///< PostgreSQL cannot be reached.
  conflict,        ///< Another owner has written meanwhile.
  owned_elsewhere, ///< A living server works on this subscription.
  overloaded,      ///< A bounded queue is full.
  internal,        ///< A fault of ours; the log has more.
  forbidden,       ///< The subscription belongs to somebody else.
  gateway_down,    ///< The payment gateway does not answer as it should.
  gateway_refused, ///< The payment gateway has refused for good.
  invalid_cursor,  ///< A cursor that was never handed out.
  quarantined,     ///< The subscription fails again and again; a person looks.
  rejected,        ///< The database refuses what was to be written.
};

inline constexpr std::size_t errc_count = 14;

[[nodiscard]] std::string_view to_string(errc x) noexcept;

/// Whether the same request may succeed when it is made again later.
[[nodiscard]] bool is_transient(errc x) noexcept;

namespace query {

/// Reads one subscription with orders and instance.
struct find_record {
  struct found {
    record value;
    /// How many deployments go first, counting this one; 0 when not queued.
    std::int64_t queue_position = 0;
  };
  using result = found;
  subscription_id id{};
};

/// Those of some subscriptions that have changed since somebody looked last.
struct list_changes {
  struct known {
    subscription_id id{};
    std::uint64_t revision = 0; ///< 0: nothing is known of it.
  };
  struct row {
    record value;
    /// As in `find_record`.
    std::int64_t queue_position = 0;
    /// Whether this server owns it: no other one changes it then.
    bool own = false;
  };
  using result = std::vector<row>;
  std::vector<known> of;
};

/// Reads a subscription and makes this server its owner, unless another living
/// server is: errc::owned_elsewhere then.
struct claim_record {
  using result = record;
  subscription_id id{};
};

/// Claims subscriptions under way whose server is dead: after a crash, all that
/// the predecessor left. Fewer than `limit` rows mean that there are no more.
struct claim_orphans {
  using result = std::vector<record>;
  std::size_t limit = 0;
};

/// What this server owns and is under way, by id: for a REGISTRY that was
/// started again.
struct list_own {
  using result = std::vector<record>;
  subscription_id after{}; ///< 0: from the first.
  std::size_t limit = 0;
};

/// Writes down that a subscription's actor has failed again and again.
struct note_quarantine {
  using result = std::monostate;
  subscription_id id{};
  timestamp at{};
  std::uint32_t failures = 0;
  std::string reason;
};

/// It works again.
struct lift_quarantine {
  using result = std::monostate;
  subscription_id id{}; ///< 0: all that this server has written down.
};

/// How long ago the server was given up that this subscription was taken from,
/// where nobody knows whether its process has ended: its last calls may be on
/// their way. Nothing: there is no such server.
struct last_silence {
  using result = std::optional<millis>;
  subscription_id id{};
};

/// Finds subscriptions of which a timer is due.
struct due_timers {
  using result = std::vector<subscription_id>;
  timestamp now{};
  std::size_t limit = 0;
};

/// Corrects when a subscription is to be woken, where the rules that its row
/// was written under have changed since. Moves nothing else.
struct move_timer {
  using result = std::monostate;
  subscription_id id{};
  std::uint64_t revision = 0; ///< As long as it is this one.
  std::optional<timestamp> wake_at;
};

/// Has every active subscription whose deployment has failed for good looked at
/// once: rules for them may be new.
struct wake_failed {
  using result = std::monostate;
  timestamp now{};
};

/// The deployments that hold a slot, and the first ones that wait for one.
struct slots {
  struct found {
    std::vector<subscription_id> held;
    std::vector<subscription_id> waiting;
    std::optional<std::int64_t> queue_depth;
  };
  using result = found;
  std::size_t waiting_max = 0;
  /// Whether to count the whole queue, which takes the longer the longer it is.
  bool count = false;
};

/// Instances that came to run and are looked at now and then, by id.
struct list_watched {
  using result = std::vector<record>;
  subscription_id after{}; ///< 0: from the first.
  std::size_t limit = 0;
};

/// Whose live instance lies in this project of the provider.
struct find_by_project {
  using result = record;
  std::string project_id;
};

/// What is stored of these subscriptions, in any order; unknown ones are left
/// out.
struct match_records {
  using result = std::vector<record>;
  std::vector<subscription_id> ids;
};

/// Writes down projects at the provider that should not be there.
/// @returns when each was seen first, in the order of `of`.
struct note_orphans {
  struct project {
    std::string id;
    std::string name;
    subscription_id subscription{}; ///< 0: none of ours.
    std::string reason;             ///< For people.
  };
  using result = std::vector<timestamp>;
  std::vector<project> of; ///< Each of them once.
  timestamp at{};
};

/// Adds a line to a subscription's history that no transition goes with.
struct note_history {
  using result = std::monostate;
  subscription_id id{};
  history_entry entry;
};

/// The project has gone, or belongs to an instance after all.
struct close_orphan {
  using result = std::monostate;
  std::string project_id;
  timestamp at{};
  bool removed_by_us = false;
};

/// Closes all orphans that were last seen before `at`: those that a whole sweep
/// has not found any more.
struct close_vanished_orphans {
  using result = std::monostate;
  timestamp at{};
};

/// Subscriptions of all users, newest first.
struct search_records {
  using result = std::vector<record>;
  /// The id of a user, a project or a gateway's transaction, or a mail address;
  /// as a whole. Empty: of all.
  std::string text;
  subscription_id id{}; ///< This one only; 0: any.
  std::optional<lifecycle::subscription_status> status;
  std::vector<lifecycle::phase> phases; ///< Empty: in any.
  subscription_id before{};             ///< 0: from the newest.
  std::size_t limit = 0;
};

/// All that is known to have happened to one subscription, oldest first:
/// history, callbacks, in-app notifications.
struct list_timeline {
  /// Where a page ends; rows of one moment keep an order.
  struct place {
    timestamp at{};
    std::int16_t source = 0;
    std::int64_t id = 0;
  };
  struct row {
    place where;
    std::string kind; ///< `state`, `provider`, `callback` …
    std::string summary;
    std::string operation;
    std::string outcome;
  };
  using result = std::vector<row>;
  subscription_id id{};
  place after{};
  std::size_t limit = 0;
};

/// A user's subscriptions, newest first.
struct list_records {
  using result = std::vector<record>;
  std::string user_id;
  subscription_id before{}; ///< 0: from the newest.
  std::size_t limit = 0;
};

/// The subscription on which this user has used this idempotency key.
struct find_key {
  using result = subscription_id;
  std::string user_id;
  std::string key;
};

struct list_credentials {
  using result = std::vector<sealed_credential>;
  subscription_id id{};
};

/// A subscription's history, oldest first.
struct list_history {
  struct row {
    std::int64_t id = 0;
    history_entry entry;
  };
  using result = std::vector<row>;
  subscription_id id{};
  std::int64_t after = 0;
  std::size_t limit = 0;
};

/// How many of a user's notifications, the newest, are looked at for one answer
/// about unread ones: what it costs stays bounded, however many there are.
inline constexpr std::size_t notifications_scan = 2'000;

/// How many unread ones a user has.
struct count_unread {
  struct found {
    std::int64_t count = 0; ///< At most `count_max`.
    bool at_least = false;  ///< There may be more of them.
  };
  using result = found;
  std::string user_id;
  std::size_t count_max = 1'000;
  std::size_t scan_max = notifications_scan;
};

/// A user's in-app notifications, newest first.
struct list_notifications {
  struct row {
    std::int64_t id = 0;
    subscription_id subscription{};
    std::string plan;
    notice what;
    std::optional<timestamp> read_at;
  };
  struct found {
    std::vector<row> rows;
    /// Where the next page goes on; 0: this was the last one. A page of unread
    /// ones may be short, even empty, and not be the last.
    std::int64_t next = 0;
    count_unread::found unread;
  };
  using result = found;
  std::string user_id;
  std::int64_t before = 0; ///< 0: from the newest.
  std::size_t limit = 0;
  bool unread_only = false;
  std::size_t scan_max = notifications_scan;
};

/// Marks a notification as read; errc::not_found when it is not the user's.
struct mark_notification_read {
  using result = list_notifications::row;
  std::string user_id;
  std::int64_t id = 0;
  timestamp at{};
};

/// Marks those of a user as read that are among the next `scan_max`, newest
/// first.
struct mark_all_read {
  struct found {
    std::int64_t marked = 0;
    std::int64_t next = 0; ///< Where the next step goes on; 0: it was the last.
  };
  using result = found;
  std::string user_id;
  std::int64_t before = 0; ///< 0: from the newest.
  timestamp at{};
  std::size_t scan_max = notifications_scan;
};

/// What a user wants to be told of. Who was never heard of wants everything.
struct read_preferences {
  struct found {
    bool mail_progress = true; ///< Mails about how a deployment is doing.
  };
  using result = found;
  std::string user_id;
};

struct write_preferences {
  using result = read_preferences::found;
  std::string user_id;
  read_preferences::found wanted;
  timestamp at{};
};

/// Takes over what a token says of its user.
struct remember_user {
  using result = std::monostate;
  std::string user_id;
  std::string email;  ///< Empty: unknown, keeps what is stored.
  std::string locale; ///< Likewise.
  timestamp at{};
};

/// An ask came to nothing: the order is due again at `at`, if it is not sooner.
/// Refunds keep their pauses.
struct ask_soon {
  using result = std::monostate;
  subscription_id subscription{};
  std::uint32_t order = 0;
  timestamp at{};
};

/// A mail that is owed.
struct due_mails {
  struct row {
    subscription_id subscription{};
    std::uint64_t revision = 0;
    notice what;
    std::string email;
    std::string locale;
    std::string plan;
    std::uint32_t tries = 0;
    std::string user_id;
    bool wants_progress = true;
    /// Why mails to this address come back; empty: they do not.
    std::string bounced;
  };
  using result = std::vector<row>;
  timestamp now{};
  std::size_t limit = 0;
};

enum class mail_status : std::uint8_t {
  owed = 0,
  sent = 1,
  undeliverable = 2,
  no_address = 3,
  unwanted = 4, ///< The user has turned off mails of this kind.
};

/// Records how a mail fared.
struct mark_mail {
  using result = std::monostate;
  subscription_id subscription{};
  std::uint64_t revision = 0;
  notice_kind kind = notice_kind::deployment_success;
  mail_status status = mail_status::owed;
  timestamp at{};
  timestamp next_at{}; ///< When to try again, while it is owed.
  std::string detail;  ///< The mail server's words.
  std::string address; ///< Where it was sent to.
};

/// Names one mail that has left.
struct mail_ref {
  subscription_id subscription{};
  std::uint64_t revision = 0;
  notice_kind kind = notice_kind::deployment_success;
};

/// A mail came back after the mail server had taken it over: it is
/// undeliverable. Where the address is at fault, nothing is sent there any
/// more. errc::not_found when neither the mail nor the address is one of ours.
struct note_bounce {
  struct found {
    std::string address;            ///< Nothing is sent there; may be empty.
    subscription_id subscription{}; ///< Whose mail it is; 0: none is known.
    bool marked = false;            ///< It counted as sent until now.
  };
  using result = found;
  std::optional<mail_ref> mail;
  std::string address;   ///< May be empty where the mail is named.
  bool permanent = true; ///< The address is at fault.
  std::string reason;
  std::string by;
  timestamp at{};
};

/// Addresses that nothing is sent to, the latest first.
struct list_bounces {
  struct row {
    std::int64_t id = 0;
    std::string address; ///< In small letters.
    std::string reason;
    timestamp since{};
    std::string reported_by;
    subscription_id subscription{}; ///< Whose mail came back; 0: unknown.
  };
  using result = std::vector<row>;
  std::int64_t before = 0; ///< 0: from the latest.
  std::size_t limit = 0;
};

/// The address works again; errc::not_found when nothing was wrong with it.
struct lift_bounce {
  using result = std::monostate;
  std::string address;
};

/// Numbers for the operator.
struct read_stats {
  struct found {
    /// By phase, over subscriptions that have been paid for.
    std::vector<std::int64_t> by_phase;
    /// By subscription_status.
    std::vector<std::int64_t> by_status;
    std::int64_t completed = 0; ///< Deployments that came to an end: running…
    std::int64_t succeeded = 0; ///< …and those of them that run.
    double average_ms = 0;      ///< From the slot to running.
    double p95_ms = 0;
  };
  using result = found;
};

/// How many subscriptions there are in each status, a page at a time: reading
/// all of them at once would keep the disk from everybody else.
struct count_page {
  struct found {
    std::vector<std::int64_t> by_status; ///< By subscription_status.
    subscription_id next{};              ///< 0: these were the last ones.
  };
  using result = found;
  subscription_id after{}; ///< 0: from the first.
  std::size_t limit = 0;
};

/// What a person has to look at.
struct list_attention {
  struct row {
    subscription_id subscription{}; ///< 0: belongs to none.
    std::uint32_t instance_seq = 0;
    std::string kind;
    std::string reason;
    timestamp since{};
    std::string suggested_action;
    std::int64_t callback = 0; ///< The one to be settled; 0: none.
  };
  using result = std::vector<row>;
  timestamp now{};
  millis stuck_after{0}; ///< Beyond a deadline, before it counts as stuck.
  std::size_t limit = 0;
};

/// The callback inbox, newest first.
struct list_callbacks {
  struct row {
    std::int64_t id = 0;
    std::uint32_t repeats = 0; ///< Deliveries after the first one.
    timestamp last_received_at{};
    callback_entry entry; ///< Headers and body only where one is asked for.
    std::optional<timestamp> settled_at; ///< When a person was done with it.
    std::string settled_by;
    std::string settled_why;
  };
  using result = std::vector<row>;
  std::int64_t before = 0; ///< 0: from the newest.
  std::size_t limit = 0;
  std::optional<lifecycle::payment_gateway> gateway;
  std::optional<callback_outcome> outcome;
  std::string order_id; ///< Empty: of all orders.
};

/// Takes a contradicting callback out of attention; errc::not_found when there
/// is no such one that contradicts. Settled once, the first one's words stay.
struct settle_callback {
  using result = list_callbacks::row;
  std::int64_t id = 0;
  timestamp at{};
  std::string by;
  std::string why;
};

/// Keeps a sample of what was forged. The oldest make room: there are never
/// more than `keep`, whatever arrives.
struct keep_forged {
  using result = std::monostate;
  callback_entry entry;
  std::size_t keep = 200;
};

/// Takes orders of which the gateway is due to be asked, the longest overdue
/// first, and moves each one's next time on (`lifecycle::next_ask`) in the same
/// transaction: two servers never take the same one, and a crash before the
/// answer costs no more than the pause.
struct claim_asks {
  struct row {
    subscription_id subscription{};
    std::string currency;
    lifecycle::order order;
    /// How often it was asked about in its present status before.
    std::uint32_t asks = 0;
  };
  using result = std::vector<row>;
  lifecycle::payment_gateway gateway = lifecycle::payment_gateway::alipay;
  timestamp now{};
  std::size_t limit = 0;
  lifecycle::rules rules;
  /// Whether refunds whose request has never left are among them.
  bool unsent_refunds = true;
};

/// One callback whole.
struct find_callback {
  using result = list_callbacks::row;
  std::int64_t id = 0;
};

/// The main switch as it is stored. A database that turns out to be another one
/// than the one that was written to last is a restored one: that switches it
/// off.
struct read_automation {
  using result = automation_state;
};

/// Switches the main switch, and writes down who did and why; errc::conflict
/// when the database has just turned out to be a restored one, which somebody
/// has to see first.
struct switch_automation {
  using result = automation_state;
  bool enabled = true;
  std::string by;
  std::string why;
  timestamp at{};
};

/// What would leave if everything could, and who has used the main switch.
struct list_pending {
  enum class kind : std::uint8_t {
    deploy = 0, ///< A deployment would begin or go on.
    remove = 1, ///< A project would be taken away.
    mail = 2,
    refund = 3,
    close = 4, ///< An order would be closed at its gateway.
    timer = 5, ///< A deadline, a retry or the end of a period is due.
  };
  struct row {
    kind is = kind::deploy;
    subscription_id subscription{};
    std::string what; ///< For people.
    timestamp since{};
  };
  struct change {
    timestamp at{};
    bool enabled = true;
    std::string by;
    std::string why;
  };
  struct found {
    std::vector<std::int64_t> by_phase; ///< Of those that are under way.
    std::int64_t removals = 0;
    std::int64_t orphans = 0;
    std::int64_t mails = 0;
    std::int64_t refunds = 0;
    std::int64_t closes = 0;
    std::int64_t timers = 0;
    std::vector<row> rows;       ///< Of each kind the longest waiting ones.
    std::vector<change> changes; ///< The newest first.
  };
  using result = found;
  timestamp now{};
  std::size_t limit = 0; ///< Rows of each kind.
};

/// Writes down what an operator is about to do, before it is done.
/// @returns the row's number, for `close_act`.
struct announce_act {
  using result = std::int64_t;
  timestamp at{};
  std::string actor;        ///< The user id of the operator.
  std::string role;         ///< `operator`, `admin`
  std::string act;          ///< `retry`, `refund` …
  std::string subject_kind; ///< `subscription`, `callback`, `actor` …
  std::string subject;      ///< Its id; empty where there is only one.
  std::string detail;       ///< What else the request said.
  std::string reason;
  std::string request_id;
};

/// What became of it. The first one counts.
struct close_act {
  using result = std::monostate;
  std::int64_t id = 0;
  std::string outcome;     ///< `done`, `under_way`, or the error's stable code.
  std::int16_t status = 0; ///< Of the answer.
  timestamp at{};
};

/// The audit trail, newest first.
struct list_acts {
  struct row {
    std::int64_t id = 0;
    announce_act what;
    std::string outcome; ///< Empty: not known, the server has died meanwhile.
    std::int16_t status = 0;
    std::optional<timestamp> done_at;
  };
  using result = std::vector<row>;
  std::int64_t before = 0; ///< 0: from the newest.
  std::size_t limit = 0;
  std::string actor;   ///< Empty: of all.
  std::string subject; ///< Likewise.
};

/// Credentials that are sealed with another key than the first one, in the
/// order of key, subscription and type.
struct list_stale_credentials {
  struct place {
    std::string key_id;
    subscription_id subscription{};
    std::string type;
    bool operator==(const place&) const = default;
  };
  struct row {
    subscription_id subscription{};
    sealed_credential what;
  };
  struct found {
    std::vector<row> rows;
    /// How many there are behind the place, the rows included.
    std::int64_t remaining = 0;
  };
  using result = found;
  std::string key_id; ///< The first key's.
  place after;        ///< Empty: from the beginning.
  std::size_t limit = 0;
};

/// Puts other seals in the place of those that are still as they were read.
/// @returns how many were.
struct replace_credentials {
  struct change {
    subscription_id subscription{};
    sealed_credential from;
    sealed_credential to;
  };
  using result = std::int64_t;
  std::vector<change> rows;
};

/// What leaves the database once it is old.
enum class prunable : std::uint8_t {
  callbacks = 0,
  history = 1,
  notifications = 2,
  mails = 3,
  orphans = 4,
  servers = 5,
};

/// Deletes rows that are old and of no more use, a bounded number of them.
/// docs/decisions/0014 says which.
struct prune {
  struct found {
    std::int64_t removed = 0;
    /// Where the next step goes on; 0: this was the last one.
    std::int64_t next = 0;
  };
  using result = found;
  prunable what = prunable::callbacks;
  std::int64_t after = 0; ///< 0: from the oldest.
  timestamp before{};
  std::size_t limit = 0; ///< Rows that are looked at.
};

/// Answers when the database can be reached and is migrated.
struct ping {
  using result = std::monostate;
};

inline constexpr std::size_t prunable_count = 6;

/// The table's name.
[[nodiscard]] std::string_view to_string(prunable x) noexcept;

[[nodiscard]] std::string_view to_string(list_pending::kind x) noexcept;

} // namespace query

/// A query with what to do with its answer. `done` is called exactly once: on
/// the STORE's thread, or with errc::unavailable where the job is dropped.
template <class Query>
struct job {
  using reply = tl::expected<typename Query::result, errc>;
  Query what;
  answer_once<reply> done;
};

using store_job = std::variant<
  job<query::find_record>, job<query::list_changes>, job<query::claim_record>,
  job<query::claim_orphans>, job<query::list_own>, job<query::last_silence>,
  job<query::note_quarantine>, job<query::lift_quarantine>,
  job<query::due_timers>, job<query::move_timer>, job<query::wake_failed>,
  job<query::slots>, job<query::list_watched>, job<query::find_by_project>,
  job<query::match_records>, job<query::note_orphans>, job<query::note_history>,
  job<query::close_orphan>, job<query::close_vanished_orphans>,
  job<query::search_records>, job<query::list_timeline>,
  job<query::list_records>, job<query::list_credentials>, job<query::find_key>,
  job<query::list_history>, job<query::list_notifications>,
  job<query::mark_notification_read>, job<query::count_unread>,
  job<query::mark_all_read>, job<query::read_preferences>,
  job<query::write_preferences>, job<query::note_bounce>,
  job<query::list_bounces>, job<query::lift_bounce>, job<query::remember_user>,
  job<query::due_mails>, job<query::mark_mail>, job<query::read_stats>,
  job<query::count_page>, job<query::list_attention>,
  job<query::list_callbacks>, job<query::find_callback>,
  job<query::settle_callback>, job<query::keep_forged>, job<query::claim_asks>,
  job<query::ask_soon>, job<query::read_automation>,
  job<query::switch_automation>, job<query::list_pending>, job<query::prune>,
  job<query::announce_act>, job<query::close_act>, job<query::list_acts>,
  job<query::list_stale_credentials>, job<query::replace_credentials>,
  job<query::ping>>;

using store_job_ptr = std::shared_ptr<store_job>;

/// Packs a query and its continuation for the STORE.
template <class Query, class F>
store_job_ptr make_job(Query what, F done) {
  return std::make_shared<store_job>(job<Query>{
    std::move(what), {std::move(done), tl::unexpected{errc::unavailable}}});
}

} // namespace slipway
