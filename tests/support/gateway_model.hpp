#pragma once

#include "actors/lifecycle/machine.hpp"
#include "config/settings.hpp"
#include "http/client/outbound.hpp"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

/// Alipay and WeChat Pay v3 with one merchant, in memory and under virtual
/// time, with all of the trouble that the real ones make. They read requests
/// and write answers by themselves: nothing of the codecs under test is used.
/// What they sign is really signed. They keep books: what was paid and what
/// went back is what happened, whatever anybody was told.
namespace slipway::test {

/// How much trouble there is; in percent of the calls, or of the refunds.
struct gateway_faults {
  int not_sent = 3;
  int lost_before = 4;
  int lost_after = 5;     ///< Took effect.
  int broken_before = 3;  ///< A proxy's 502, which nobody has signed.
  int broken_after = 2;   ///< The same, after it took effect.
  int trouble_before = 2; ///< The gateway's own error, signed.
  int trouble_after = 2;  ///< The same, after it took effect.
  int limited = 3;
  int slow = 4;     ///< Takes effect after up to `slow_max`.
  int bare = 2;     ///< Took effect; the answer has lost its signature.
  int forged = 3;   ///< Somebody else answers, with the lie that pays best.
  int refused = 6;  ///< Refunds: a rule forbids it just now.
  int later = 35;   ///< Refunds: accepted, paid out after up to `later_max`.
  int abnormal = 6; ///< Refunds of WeChat Pay: can't be paid out.
  int given_up = 6; ///< Refunds: closed (WeChat Pay), forgotten (Alipay).
  int closes_expired = 50; ///< Orders that the gateway closes by itself.
  millis slow_max{25'000};
  millis later_max{120'000};
  millis lag{400}; ///< Of an ordinary answer, at most.

  static gateway_faults none() {
    return {0, 0, 0, 0, 0, 0, 0,         0,         0,         0,
            0, 0, 0, 0, 0, 0, millis{1}, millis{1}, millis{20}};
  }
};

class gateway_model {
public:
  using gateway = lifecycle::payment_gateway;

  /// What one of our requests is about, as its bytes say.
  struct call {
    gateway at = gateway::alipay;
    /// create query close refund refund_query certificates
    std::string operation;
    std::string order_id;
    std::string refund_id;
    std::string transaction_id;
    minor_units amount = 0; ///< Of the order, or of the refund.
    minor_units total = 0;
    std::string notify_url;
    std::optional<timestamp> expires_at;
    std::string serial; ///< The key that WeChat Pay is asked to sign with.
    std::string flaw;   ///< What no gateway would take.
  };

  [[nodiscard]] static call read(const client::http_request& request);

  enum class refund_end { waiting, done, abnormal, closed, forgotten };

  struct refund {
    std::string id;
    minor_units amount = 0;
    refund_end is = refund_end::waiting;
    std::string notify_url;
  };

  enum class trade_status { unpaid, paid, closed };

  struct order {
    gateway at = gateway::alipay;
    std::string id;
    minor_units amount = 0;
    trade_status is = trade_status::unpaid;
    timestamp expires_at{};
    std::string transaction_id;
    timestamp paid_at{};
    minor_units paid = 0;
    minor_units refunded = 0;
    std::vector<refund> refunds;
    std::string notify_url;
  };

  /// How often a refund was asked for.
  struct refund_trail {
    int left = 0;    ///< The client sent it, whether or not it arrived.
    int arrived = 0; ///< At the gateway.
    bool may_leave = true;
  };

  /// Something that the merchant is to be told of.
  struct event {
    gateway at = gateway::alipay;
    std::string id;
    std::string word; ///< TRADE_SUCCESS, TRANSACTION.SUCCESS, REFUND.CLOSED…
    std::string order_id;
    std::string refund_id;
    minor_units refunded = 0; ///< In total.
    timestamp happened_at{};
  };

  /// An event as it arrives.
  struct message {
    bool refund = false; ///< By the URL for refunds.
    client::header_list headers;
    std::string body;
  };

  gateway_model(std::uint64_t seed, std::function<timestamp()> now);

  /// The merchant's settings for these gateways. Keys are made once in a
  /// process, short ones for the sake of speed.
  /// @param public_key WeChat Pay's key is configured; otherwise certificates
  ///                   have to be fetched.
  [[nodiscard]] static config::settings settings(bool public_key = true);

  /// The network of one server. Once severed it carries nothing more, but what
  /// has left arrives.
  class wire final : public client::outbound,
                     public std::enable_shared_from_this<wire> {
  public:
    explicit wire(gateway_model& to) : to_{to} {
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
    gateway_model& to_;
  };

  std::shared_ptr<wire> connect();

  void sever();

  /// When something is to happen next.
  [[nodiscard]] std::optional<timestamp> next() const;

  /// Makes happen what is due.
  void run();

  // -- people

  /// A payer follows a link or scans a code.
  /// @returns the order that can be paid now, or nothing.
  std::optional<std::string> present(std::string_view code);

  /// The payer confirms. @returns whether money moved.
  bool pay(const std::string& order_id);

  /// Makes an order known that is not ours to create in a test.
  void put(order what);

  /// The merchant's bookkeeper settles at the console what could not be paid
  /// out.
  void settle_abnormal();

  /// Told of each event once; it may be lost on the way.
  std::function<void(const event&)> on_event;

  /// The event's bytes, signed now.
  [[nodiscard]] message render(const event& what);

  /// The merchant has taken note of the event.
  void acknowledged(const event& what);

  // -- answers, for scripts

  /// What the gateway answers; it takes effect.
  client::http_response answer(const client::http_request& request);

  /// The lie of somebody who has no key.
  client::http_response forge(const client::http_request& request);

  [[nodiscard]] const order* find(const std::string& id) const;

  gateway_faults faults = gateway_faults::none();
  /// Notifications of WeChat Pay are signed by its public key, or else by one
  /// of its certificates.
  bool public_key = true;
  /// Which of the two certificates signs.
  std::size_t certificate = 0;
  std::map<std::string, order> orders;
  std::map<std::string, refund_trail> trails;
  /// By operation.
  std::map<std::string, int> calls;
  std::vector<std::string> complaints; ///< What no client may ever do.

private:
  struct reply {
    client::http_response response;
    /// The gateway has said that it holds no such refund, or that it failed.
    std::string denied;
  };

  void arrive(client::http_request request, client::http_callback done,
              std::shared_ptr<wire> over);
  reply act(const call& what);
  reply act_alipay(const call& what);
  reply act_wechat(const call& what);
  client::http_response lie(const call& what);
  client::http_response trouble(const call& what, bool limit);
  client::http_response certificates(const call& what);
  client::http_response
  wechat_says(const call& what, int status, const std::string& body,
              bool forged = false);
  refund* find_refund(const std::string& id, order** of);
  refund* take_refund(const call& what, order& of, bool& refused);
  void end_refund(const std::string& id, refund_end how);
  void announce(const order& about, const std::string& word,
                const std::string& refund_id = {});
  void watch_expiry(const order& about);
  void complain(std::string what);
  void at(timestamp when, std::function<void()> what);
  int roll(int sides);
  millis some(millis most);
  std::string fresh(std::string_view prefix);

  std::mt19937_64 random_;
  std::function<timestamp()> now_;
  std::shared_ptr<wire> current_;
  std::multimap<timestamp, std::function<void()>> events_;
  /// What stands behind a QR code or in a link.
  std::map<std::string, order, std::less<>> codes_;
  std::uint64_t last_id_ = 0;
};

} // namespace slipway::test
