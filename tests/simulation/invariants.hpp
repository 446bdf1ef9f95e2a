#pragma once

#include "http/mail/mailer.hpp"
#include "tests/support/memory_store.hpp"

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

/// What is true whatever happens: one checker for all simulations. It is told
/// of everything that becomes durable, leaves or arrives, and keeps books of
/// its own; it believes neither the machine nor the actors.
namespace slipway::test {

class invariants {
public:
  /// Somebody has been promised an answer to a command.
  using promise = std::shared_ptr<timestamp>;

  invariants(const memory_database& db, const clock& time, const clock& wall);

  // -- what happens
  // ------------------------------------------------------------------

  /// A transition has been stored, by this server.
  void stored(const record& before, const transition& t, std::int64_t writer);

  /// A person wants the instance taken away.
  void wished_away(subscription_id who);

  /// A gateway was told that its payment has been taken note of.
  void accepted(subscription_id who, std::uint32_t order, minor_units amount);

  /// The provider has made a project.
  void project_made(const std::string& name);

  /// A request that changes something has left.
  void left(bool may_act, const std::string& what);

  /// A mail has reached its reader.
  void mailed(const mail::mail_message& what);

  /// Something happened that excuses a second delivery of mails.
  void excuse();

  /// A server has started anew: what is due has a while again.
  void started();

  [[nodiscard]] promise promised();

  /// Time has passed.
  /// @param live How many live projects there are of each name.
  /// @param used Slots that the dispatcher believes taken.
  void passed(const std::map<std::string, std::size_t>& live,
              const std::set<std::uint64_t>& held, std::size_t granting,
              std::uint32_t slots);

  /// Everything has come to rest.
  void ended(const std::map<std::string, std::size_t>& live);

  /// What was broken first, or nothing.
  std::string flaw;

  /// How often more than one project of a name was alive, for a while.
  std::size_t twins = 0;

  /// How long anything may be overdue while a server runs.
  millis patience{150'000};

  std::uint64_t runs = 0;          ///< Entered running from a deployment.
  std::uint64_t failures = 0;      ///< Entered failed.
  std::uint64_t cancellations = 0; ///< Cancelled, as its user sees it.
  std::uint64_t terminations = 0;  ///< Taken away after it ran or failed.
  std::uint64_t halts = 0;         ///< Attempts that were halted.

  void complain(const std::string& what);

private:
  struct acceptance {
    subscription_id subscription{};
    std::uint32_t order = 0;
    minor_units amount = 0;
  };

  struct delivery {
    int times = 0;
    std::uint64_t excuses = 0;
  };

  void check_money(const record& before, const transition& t);
  void check_turns(const record& before, const transition& t);
  void overdue(const std::string& what, std::uint64_t version, bool is,
               millis patience);
  void check_rows();
  void check_mails();
  void check_ends(const std::map<std::string, std::size_t>& live);

  const memory_database& db_;
  const clock& time_;
  const clock& wall_;
  std::map<std::string, int> activations_;
  std::vector<acceptance> accepted_;
  std::map<std::string, std::uint64_t> epochs_;
  std::map<std::string, std::int64_t> owners_;
  std::set<std::string> announced_;
  std::set<std::uint64_t> granted_;
  std::set<std::uint64_t> wished_;
  std::map<std::string, delivery> mails_;
  std::vector<std::weak_ptr<timestamp>> promises_;
  /// Since when something is due, and in which version of it.
  std::map<std::string, std::pair<timestamp, std::uint64_t>> due_;
  std::uint64_t excuses_ = 0;
  timestamp looked_{};
  std::set<std::string> doubled_;
};

} // namespace slipway::test
