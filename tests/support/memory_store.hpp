#pragma once

#include "actors/environment.hpp"

#include <caf/fwd.hpp>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

/// A database in memory with the rules of the real one: revisions fence, rows
/// have owners, one transition is written whole or not at all. It outlives the
/// actors, so that a test can crash them.
namespace slipway::test {
struct memory_database {
  struct row {
    record value;
    std::int64_t owner = 0;
    /// The last owner that was given up and may live on; 0: none.
    std::int64_t taken_from = 0;
  };

  struct kept_notice {
    subscription_id subscription{};
    std::uint64_t revision = 0;
    notice what;
    query::mail_status mail = query::mail_status::owed;
    timestamp next_at{};
    std::uint32_t tries = 0;
  };

  struct kept_history {
    subscription_id subscription{};
    std::uint64_t revision = 0;
    history_entry entry;
  };

  /// When the gateway is to be asked about an order.
  struct asking {
    std::optional<timestamp> at;
    std::uint32_t asks = 0;
    std::optional<timestamp> asked_at;
  };

  /// A project at the provider that belongs to no instance.
  struct orphan {
    std::string name;
    subscription_id subscription{};
    std::string reason;
    timestamp seen_at{};
    timestamp last_seen_at{};
    std::optional<timestamp> gone_at;
    bool removed_by_us = false;
  };

  /// A person is done with a callback.
  struct settlement {
    timestamp at{};
    std::string by;
    std::string why;
  };

  std::map<std::uint64_t, row> rows;
  /// By subscription and order.
  std::map<std::pair<std::uint64_t, std::uint32_t>, asking> asks;
  std::map<std::uint64_t, std::vector<sealed_credential>> credentials;
  std::vector<kept_notice> notices;
  /// Of the one user that there is mail for.
  bool wants_progress = true;
  std::string bounced; ///< Why mails to that address come back.
  std::vector<kept_history> history;
  std::vector<callback_entry> callbacks; ///< Their ids count from 1.
  std::map<std::int64_t, settlement> settled;
  std::vector<callback_entry> forged; ///< The newest last.
  std::map<std::uint64_t, query::note_quarantine> quarantines;
  std::map<std::string, orphan> orphans; ///< By the project's id.
  automation_state automation;
  /// What each step of the PRUNER finds, and what it was asked.
  std::function<query::prune::found(const query::prune&)> pruning;
  /// Those of the actors: what a timer is due by.
  lifecycle::rules rules;
  /// The server that writes. Rows of other servers are orphans, unless those
  /// have a lease.
  std::int64_t server = 1;
  std::set<std::int64_t> leases;
  /// Servers that have lost their lease: they write nothing any more.
  std::set<std::int64_t> fenced;

  /// How long ago this server was given up, if it may still be at it.
  std::function<std::optional<millis>(std::int64_t)> silence_of = [](auto) {
    return std::nullopt;
  };

  /// Decides how the commit of a transition ends; `in_doubt` ones are stored
  /// where `in_doubt_stores` says so.
  std::function<commit_status(const transition&)> commit_fault;
  std::function<bool()> in_doubt_stores = [] {
    return true;
  };
  /// Decides whether a query fails.
  std::function<errc(const store_job&)> query_fault;
  /// Decides whether a query is carried out and its answer lost.
  std::function<bool(const store_job&)> answer_lost;
  /// Takes an answer of the STORE of a server, to hand it out later. False: it
  /// is handed out at once.
  std::function<bool(std::int64_t, std::function<void()>)> postpone;
  /// Called with each transition once it is stored.
  std::function<void(const record& before, const transition&)> stored;

  /// What happens to the power around a durable step.
  enum class power : std::uint8_t {
    on,
    off_before, ///< Nothing was written.
    off_after,  ///< It was written, and nobody heard so.
  };
  /// Asked before each durable step. Whoever lets the power fail ends the
  /// server as soon as the actor returns.
  std::function<power(std::string_view)> supply;

  // -- faults that no database may have: to see that they are found -----------

  /// Takes the place of a commit.
  std::function<std::optional<commit_status>(const transition&)> instead;
  bool ignores_fences = false;    ///< Whoever writes is believed.
  bool ignores_leases = false;    ///< Rows of living servers are given away.
  bool forgets_mails_end = false; ///< A mail that was sent stays owed.

  /// Acts for a server as long as it lives.
  class session {
  public:
    session(memory_database& db, std::int64_t as)
      : db_{db}, before_{db.server} {
      if (as != 0)
        db_.server = as;
    }

    session(const session&) = delete;

    session& operator=(const session&) = delete;

    ~session() {
      db_.server = before_;
    }

  private:
    memory_database& db_;
    std::int64_t before_;
  };

  [[nodiscard]] bool is_fenced() const;

  // -- what the journal does --------------------------------------------------

  commit_status commit(const transition& t);

  commit_status write(const transition& t);

  [[nodiscard]] const record* find(subscription_id id) const;

  void put(record value);

  [[nodiscard]] std::size_t at_work() const;

  // -- what the store does ----------------------------------------------------

  using none = std::monostate;

  template <class T>
  using answer = tl::expected<T, errc>;

  answer<query::find_record::found> run(const query::find_record& q);
  answer<query::list_changes::result> run(const query::list_changes& q);
  answer<record> run(const query::claim_record& q);
  answer<std::vector<record>> run(const query::claim_orphans& q);
  answer<std::vector<record>> run(const query::list_own& q);
  answer<none> run(const query::note_quarantine& q);
  answer<none> run(const query::lift_quarantine& q);
  answer<std::vector<subscription_id>> run(const query::due_timers& q);
  answer<std::optional<millis>> run(const query::last_silence& q);
  answer<none> run(const query::move_timer&);
  answer<query::slots::found> run(const query::slots& q);
  answer<std::vector<record>> run(const query::list_watched& q);
  answer<record> run(const query::find_by_project& q);
  answer<std::vector<record>> run(const query::match_records& q);
  answer<std::vector<timestamp>> run(const query::note_orphans& q);
  answer<none> run(const query::note_history& q);
  answer<none> run(const query::close_orphan& q);
  answer<none> run(const query::close_vanished_orphans& q);
  answer<std::vector<sealed_credential>> run(const query::list_credentials& q);
  answer<query::list_history::result> run(const query::list_history& q);
  answer<std::vector<query::due_mails::row>> run(const query::due_mails& q);
  answer<none> run(const query::mark_mail& q);
  answer<query::claim_asks::result> run(const query::claim_asks& q);
  answer<none> run(const query::ask_soon& q);
  answer<none> run(const query::keep_forged& q);
  answer<query::list_callbacks::row> run(const query::settle_callback& q);
  answer<automation_state> run(const query::read_automation&);
  answer<automation_state> run(const query::switch_automation& q);
  answer<query::prune::found> run(const query::prune& q);
  answer<query::count_page::found> run(const query::count_page& q);
  answer<none> run(const query::ping&);

  /// Everything that the actors never ask.
  template <class Query>
  answer<typename Query::result> run(const Query&) {
    return tl::unexpected{errc::internal};
  }

  // -- which queries write something ------------------------------------------

  [[nodiscard]] bool writes(const query::claim_record& q) const;

  [[nodiscard]] bool writes(const query::claim_orphans&) const;

  [[nodiscard]] bool writes(const query::claim_asks& q) const;

private:
  /// Who waits for a slot, the first in line first.
  [[nodiscard]] std::vector<std::pair<timestamp, subscription_id>>
  queue() const;

  /// Counts from 1; 0 for whoever does not wait.
  [[nodiscard]] std::int64_t position_of(const record& x) const;

  /// Whether the live instance is in this project.
  static bool lies_in(const record& x, const std::string& project);

  /// Whether another live instance is in the project of this one.
  [[nodiscard]] bool is_taken(const record& by) const;

  /// What leaves an order's status alone leaves its time alone.
  void write_asks(const lifecycle::state& before, const transition& t);

  /// Whether this server owns it, or no living one does.
  [[nodiscard]] bool may_take(const row& x) const;

  void claim(row& x) const;
};

// -- actors -------------------------------------------------------------------

/// A JOURNAL over the database. While `hold` is set it only collects; a tick
/// writes what has been collected.
struct memory_journal_state {
  static inline const char* name = "memory-journal";
  std::shared_ptr<memory_database> db;
  std::int64_t server = 0; ///< 0: whichever writes at the time.
  bool hold = false;
  std::vector<transition_ptr> waiting;
  std::vector<inbox_job_ptr> inbox;
};

/// A STORE over the database. While `hold` is set, answers are made at once but
/// handed out only by `release`: the world may have moved on by then.
struct memory_store_state {
  static inline const char* name = "memory-store";
  std::shared_ptr<memory_database> db;
  std::int64_t server = 0; ///< 0: whichever asks at the time.
  bool hold = false;
  std::size_t queries = 0;
  std::vector<std::function<void()>> answers;

  void release() {
    for (auto& x : std::exchange(answers, {}))
      x();
  }
};

/// @param server whom it acts for; 0: whichever asks at the time.
journal_actor spawn_memory_journal(caf::actor_system& sys,
                                   std::shared_ptr<memory_database> db,
                                   std::int64_t server = 0);

/// @copydoc spawn_memory_journal
store_actor
spawn_memory_store(caf::actor_system& sys, std::shared_ptr<memory_database> db,
                   std::int64_t server = 0);

} // namespace slipway::test
