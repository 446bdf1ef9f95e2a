#include "persistence/journal.hpp"

#include "actors/guardian.hpp"
#include "persistence/journal_encode.hpp"

#include <caf/send.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace slipway {

namespace {

/// Whether the batch as a whole was refused for what one of its rows says, so
/// that its neighbours may still be written.
bool is_about_a_row(const pg::error& why) {
  switch (why.kind) {
    case pg::error_kind::unique_violation:
    case pg::error_kind::check_violation:
    case pg::error_kind::foreign_key_violation:
    case pg::error_kind::serialization:
    case pg::error_kind::other:
      return true;
    case pg::error_kind::connection_lost:
    case pg::error_kind::in_doubt:
    case pg::error_kind::timeout:
    case pg::error_kind::unavailable:
    case pg::error_kind::fenced:
      return false;
  }
  return false;
}

} // namespace

void journal_state::ask_for_flush() {
  // Goes to the end of the mailbox: everything that is ahead of it is taken
  // along by the flush.
  if (std::exchange(flush_asked, true))
    return;
  self->send(self, tick{});
}

void journal_state::add(transition_ptr what) {
  // Two supervisors of one subscription may meet here, when one of them was
  // given up: the second one has to find the first one's revision.
  if (!subscriptions.insert(raw(what->next.id)).second) {
    flush();
    subscriptions.insert(raw(what->next.id));
  }
  transitions.push_back(std::move(what));
  if (transitions.size() + inbox.size() >= options.batch_max)
    flush();
  else
    ask_for_flush();
}

void journal_state::add(inbox_job_ptr what) {
  inbox.push_back(std::move(what));
  if (transitions.size() + inbox.size() >= options.batch_max)
    flush();
  else
    ask_for_flush();
}

void journal_state::flush() {
  subscriptions.clear();
  if (!transitions.empty() || !inbox.empty())
    commit(std::exchange(transitions, {}), std::exchange(inbox, {}));
  else
    tell();
}

void journal_state::tell() {
  for (const auto& [what, status] : std::exchange(answers, {})) {
    what->answered = true;
    self->send(what->from, commit_result{what->next.state.revision, status});
  }
  for (const auto& [what, error] : std::exchange(inbox_answers, {}))
    what->done(error);
}

tl::expected<void, pg::error> journal_state::learn_types(pg::connection& on) {
  if (types_of == db->opened())
    return {};
  auto found = on.execute(find_journal_types);
  if (!found)
    return tl::unexpected{std::move(found.error())};
  types = read_journal_types(*found);
  types_of = db->opened();
  return {};
}

tl::expected<std::vector<std::int64_t>, pg::error>
journal_state::write(const std::vector<transition_ptr>& some,
                     const std::vector<inbox_job_ptr>& kept,
                     bool callbacks_known) {
  if (!db->is_open())
    tell();
  auto* connection = db->get();
  if (connection == nullptr)
    return tl::unexpected{pg::error{pg::error_kind::unavailable, "",
                                    "no connection to the database", ""}};
  if (auto known = learn_types(*connection); !known)
    return tl::unexpected{std::move(known.error())};
  auto updates = transition_batch{};
  auto inserts = transition_batch{};
  for (const auto& t : some)
    (t->expected_revision == 0 ? inserts : updates).push_back(t.get());
  auto commands = std::vector<pg::command>{db->fence()};
  if (!inserts.empty()) {
    encode_insert(insert_params, types, options.server, inserts);
    commands.push_back({&insert_batch, &insert_params});
  }
  if (!updates.empty()) {
    const auto& update = encode_update(update_params, types, options.server,
                                       updates, callbacks_known);
    commands.push_back({&update, &update_params});
  }
  if (!kept.empty()) {
    encode_inbox(inbox_params, types, kept);
    commands.push_back({&keep_callbacks, &inbox_params});
  }
  auto results = connection->pipeline(commands, [this] {
    tell();
  });
  if (!results)
    return tl::unexpected{std::move(results.error())};
  auto stored = std::vector<std::int64_t>{};
  const auto with_ids = commands.size() - (kept.empty() ? 0 : 1);
  for (size_t i = 1; i < with_ids; ++i)
    for (auto row = 0; row < (*results)[i].rows(); ++row)
      stored.push_back((*results)[i].int64(row, 0));
  return stored;
}

void journal_state::commit(std::vector<transition_ptr> some,
                           std::vector<inbox_job_ptr> kept) {
  const auto begin = std::chrono::steady_clock::now();
  if (options.at_commit)
    options.at_commit(false);
  auto stored = write(some, kept, false);
  // A connection that had died while it was idle: nothing was sent, and a new
  // one may be there at once.
  if (!stored && stored.error().kind == pg::error_kind::connection_lost) {
    db->failed(stored.error(), "commit");
    stored = write(some, kept, false);
  }
  // What an operator feeds in once more has a row, and hardly anything else
  // that moves a subscription: looking for one each time would cost every
  // payment.
  if (!stored && stored.error().constraint == "callbacks_one_per_event")
    stored = write(some, kept, true);
  if (stored) {
    if (options.at_commit)
      options.at_commit(true);
    const auto end = std::chrono::steady_clock::now();
    meters->journal_commit(std::chrono::duration<double>(end - begin).count(),
                           static_cast<double>(some.size() + kept.size()));
    const auto ids
      = std::unordered_set<std::int64_t>{stored->begin(), stored->end()};
    for (const auto& t : some)
      answers.emplace_back(
        t, ids.count(static_cast<std::int64_t>(raw(t->next.id))) != 0
             ? commit_status::stored
             : commit_status::conflict);
    for (const auto& x : kept)
      inbox_answers.emplace_back(x, errc::none);
    // With the next batch, which has come by the time that this is received;
    // without one at once.
    ask_for_flush();
    return;
  }
  const auto why = std::move(stored.error());
  if (is_about_a_row(why) && some.size() + kept.size() > 1) {
    spdlog::warn("journal: a batch of {} was refused ({}), going on one by one",
                 some.size() + kept.size(), to_string(why));
    for (auto& t : some)
      commit({std::move(t)}, {});
    for (auto& x : kept)
      commit({}, {std::move(x)});
    return;
  }
  const auto told = db->failed(why, "commit");
  const auto status = why.kind == pg::error_kind::in_doubt
                        ? commit_status::in_doubt
                      : why.constraint == "payments_one_per_transaction"
                        ? commit_status::payment_taken
                      : is_about_a_row(why) ? commit_status::refused
                                            : commit_status::failed;
  for (const auto& t : some)
    answers.emplace_back(t, status);
  for (const auto& x : kept)
    inbox_answers.emplace_back(x, told);
  tell();
}

journal_actor::behavior_type
journal(journal_actor::stateful_pointer<journal_state> self, metrics* meters,
        journal_options options) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{meters, journal_state::name};
  st.meters = meters;
  st.db.emplace(options.connection, options.server, options.on_fenced);
  st.options = std::move(options);
  return {
    [self](transition_ptr& what) {
      self->state.add(std::move(what));
    },
    [self](inbox_job_ptr& what) {
      self->state.add(std::move(what));
    },
    [self](const tick&) {
      self->state.flush_asked = false;
      self->state.flush();
    },
  };
}

} // namespace slipway
