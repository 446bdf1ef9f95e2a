#pragma once

#include "actors/environment.hpp"
#include "config/settings.hpp"
#include "http/mail/mailer.hpp"
#include "http/mail/templates.hpp"

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace slipway::mail {

using plan_map = std::map<std::string, config::plan_settings>;

/// What the notice's words are made from. A plan that is no longer sold goes by
/// its name.
[[nodiscard]] notice_facts
facts_of(const slipway::notice& what, subscription_id subscription,
         const std::string& plan, const plan_map& plans);

struct notifier_options {
  plan_map plans;
  /// Sends one mail; blocks for a bounded time. Handed in, so that tests can
  /// bring their own.
  std::function<send_outcome(const mail_message&)> send;
  /// The right-hand side of our Message-IDs.
  std::string domain = "slipway.local";
  /// Null: the built-in templates.
  std::shared_ptr<const template_store> templates;
  /// Where people turn mails off, with `{user}` for their id. May be empty.
  std::string unsubscribe_url;
  /// The delay after the first deferral; doubled with each, at most an hour.
  millis retry_initial{5'000};
  millis retry_max{3'600'000};
  /// After so many deferrals a mail counts as undeliverable.
  std::uint32_t tries_max = 20;
};

/// Ends of mails that the database has not taken. The answers of the stores,
/// which come on their threads, put them here.
class unrecorded_ends {
public:
  void add(query::mark_mail what) {
    const auto guard = std::lock_guard{mutex_};
    ends_.push_back(std::move(what));
  }

  [[nodiscard]] std::vector<query::mark_mail> take() {
    const auto guard = std::lock_guard{mutex_};
    return std::exchange(ends_, {});
  }

  [[nodiscard]] bool empty() const {
    const auto guard = std::lock_guard{mutex_};
    return ends_.empty();
  }

private:
  mutable std::mutex mutex_;
  std::vector<query::mark_mail> ends_;
};

/// State of the NOTIFIER actor: works through the outbox, one mail at a time.
/// Every attempt at a mail carries the same Message-ID, so that one whose
/// answer was lost can be told from a second one.
struct notifier_state {
  static inline const char* name = "notifier";

  notifier_actor::pointer self = nullptr;

  void look();
  void send(const mails_read& what);
  void on_tick();

  environment_ptr env;
  notifier_options options;
  bool looking = false;
  bool look_again = false;
  /// While there are any, no further mail leaves: the rows of those that have
  /// left still say that they are due.
  std::shared_ptr<unrecorded_ends> unrecorded
    = std::make_shared<unrecorded_ends>();
  alive_guard alive;

private:
  void send_one(const query::due_mails::row& mail);
  void mark(const query::due_mails::row& mail, query::mail_status status,
            timestamp next_at, std::string detail);
  void record(query::mark_mail what);
};

/// Spawns the NOTIFIER; detached, since sending blocks.
notifier_actor::behavior_type
notifier(notifier_actor::stateful_pointer<notifier_state> self,
         environment_ptr env, notifier_options options);

} // namespace slipway::mail
