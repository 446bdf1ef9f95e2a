#pragma once

#include "actors/lifecycle/time.hpp"
#include "http/client/outbound.hpp"

#include <boost/json/value.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// Railway as far as our documents go, in memory and under virtual time, with
/// all of the trouble that the real one makes: it creates and does not say so,
/// hides what it has created for a while, throttles, times out, and does what
/// it was told long after whoever told it has died.
namespace slipway::test {

/// How much trouble there is; in percent of the calls.
struct railway_faults {
  int not_sent = 4;
  int lost_before = 4;
  int lost_after = 6;
  int opaque_before = 4;
  int opaque_after = 2;
  int throttled = 3;
  int blocked = 1;
  int slow = 4;         ///< Takes effect after up to `slow_max`.
  int build_fails = 20; ///< Of the deployments.
  int build_hangs = 3;
  int workflow_fails = 4;
  millis slow_max{20'000};
  millis lag_max{20'000}; ///< Until a creation can be seen.

  static railway_faults none() {
    return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, millis{1}, millis{1}};
  }
};

class railway_model {
public:
  struct deployment {
    std::string id;
    timestamp visible_at{};
    timestamp ends_at{};
    bool fails = false;
    bool cancelled = false;
  };

  struct service {
    std::string id;
    timestamp visible_at{};
    std::string domain;
    std::vector<deployment> deployments;
  };

  struct project {
    std::string id;
    std::string name;
    std::string environment;
    std::string subscription; ///< The variable that it was deployed with.
    timestamp created_at{};
    timestamp visible_at{};
    bool deleted = false;
    std::vector<service> services;
    std::string workflow;
    timestamp workflow_ends_at{};
    bool workflow_fails = false;
    int templates = 0; ///< How often one was deployed into it.
  };

  railway_model(std::uint64_t seed, std::function<timestamp()> now);

  /// The network of one server. Once severed it carries nothing more, but what
  /// has left arrives.
  class wire final : public client::outbound,
                     public std::enable_shared_from_this<wire> {
  public:
    explicit wire(railway_model& to) : to_{to} {
    }

    void
    send(client::http_request request, client::http_callback done) override;

    bool severed = false;
    /// Asked before anything leaves that changes something. What may not leave
    /// fails as not sent.
    std::function<bool()> may_act;
    /// Told of everything that leaves and changes something.
    std::function<void(const client::http_request&)> left;

  private:
    railway_model& to_;
  };

  std::shared_ptr<wire> connect();

  void sever();

  /// When something is to happen next.
  [[nodiscard]] std::optional<timestamp> next() const;

  /// Makes happen what is due.
  void run();

  [[nodiscard]] std::vector<const project*> live(std::string_view name) const;

  railway_faults faults;
  millis create_cooldown{30'000};
  /// How long a deployment takes: at least the one, at most both.
  millis build_min{10'000};
  millis build_more{60'000};
  std::vector<timestamp> arrivals; ///< Of every call.
  /// How often each operation was asked for, by its name in the document.
  std::map<std::string, std::size_t> asked;
  /// Called with the body of every call that leaves.
  std::function<void(const std::string& body)> leaves;
  /// Called when a deployment comes to its end, if it has not been cancelled.
  std::function<void(const std::string& environment)> ended;
  /// Called when a project comes to be.
  std::function<void(const std::string& name)> created;
  std::vector<project> projects;
  std::size_t calls = 0;
  std::size_t mutations = 0;
  std::vector<std::string> complaints; ///< What no client may ever do.

private:
  void arrive(client::http_request request, client::http_callback done,
              std::shared_ptr<wire> over);
  client::http_response answer(const std::string& body);
  client::http_response
  answer_all(const std::string& query, const boost::json::value& variables);
  void at(timestamp when, std::function<void()> what);
  int roll(int sides);
  millis some(millis most);
  std::string fresh(std::string_view prefix);
  project* find(std::string_view id);
  deployment start_deployment(const std::string& environment);

  std::mt19937_64 random_;
  std::function<timestamp()> now_;
  std::shared_ptr<wire> current_;
  std::multimap<timestamp, std::function<void()>> events_;
  std::uint64_t last_id_ = 0;
  timestamp last_create_{};
};

} // namespace slipway::test
