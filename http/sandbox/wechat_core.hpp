#pragma once

#include "http/crypto/rsa.hpp"
#include "http/sandbox/delivery.hpp"
#include "http/sandbox/wechat_ledger.hpp"
#include "http/sandbox/wechat_simulator.hpp"
#include "http/server/router.hpp"

#include <tl/expected.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// INTERNAL: The inside of the simulated WeChat Pay.
namespace slipway::sandbox::wechat {

/// A platform key, ready for use.
struct signer {
  std::string serial;
  crypto::rsa_private_key key;
  std::string certificate;
  timestamp not_before{};
  timestamp not_after{};
};

using signer_ptr = std::shared_ptr<const signer>;

/// The platform's keys. Thread-safe.
class key_ring {
public:
  [[nodiscard]] tl::expected<void, std::string>
  add(const wechat_platform_key& key);

  bool use(std::string_view serial);
  void mix(bool on);

  /// Signs what names no key. At least one has been added.
  [[nodiscard]] signer_ptr current() const;

  /// Signs the next callback.
  [[nodiscard]] signer_ptr next();

  /// Nothing when there is none of this serial.
  [[nodiscard]] signer_ptr find(std::string_view serial) const;

  [[nodiscard]] std::vector<signer_ptr> all() const;

private:
  mutable std::mutex mutex_;
  std::vector<signer_ptr> keys_;
  std::size_t current_ = 0;
  std::size_t turn_ = 0;
  bool mix_ = false;
};

/// A signature over some lines, as base64; empty where OpenSSL refuses.
[[nodiscard]] std::string sign(const signer& with, std::string_view message);

/// The parts that all entries of the simulator work on.
struct core : std::enable_shared_from_this<core> {
  core(wechat_simulator_options given, const clock& clock_in,
       client::outbound& outbound);

  /// Reads the keys. @returns what is wrong otherwise.
  [[nodiscard]] tl::expected<void, std::string> prepare();

  // All of these want `mutex` to be held.

  /// Something has happened to an order: the merchant is told as planned.
  void tell(order& x, std::string name, std::string refund_no,
            const delivery_plan& plan);

  /// Everything that has happened, once more and now.
  void tell_again(order& x, std::size_t copies);

  /// Takes a payment in. @param plan Of this callback; nullptr: as planned.
  [[nodiscard]] ledger::result<void> pay(order& x, const delivery_plan* plan);

  /// Accepts a refund and lets it end in a while.
  /// @param outcome Nothing means: as set for all.
  [[nodiscard]] ledger::result<refund*>
  give_back(refund asked, minor_units total,
            std::optional<wechat_refund_outcome> outcome = std::nullopt);

  [[nodiscard]] wechat_trouble take_trouble();

  wechat_simulator_options options;
  const clock& time;
  client::outbound& out;
  key_ring keys;
  std::optional<crypto::rsa_public_key> merchant;
  std::shared_ptr<dice> random;
  std::optional<courier> mail;
  std::string base_url; ///< Of the server, once it listens.

  std::mutex mutex;
  ledger books;
  delivery_plans plans;
  wechat_refund_outcome outcome = wechat_refund_outcome::success;
  wechat_trouble trouble = wechat_trouble::none;
  std::size_t trouble_left = 0;

private:
  [[nodiscard]] callback
  write(const order& x, const event& from, const delivery_plan& plan);
  [[nodiscard]] callback
  write_v3(const order& x, const event& from, const delivery_plan& plan);
  [[nodiscard]] callback
  write_v2(const order& x, const event& from, const delivery_plan& plan);
  void settle(const std::string& refund_no, wechat_refund_outcome end);
};

/// Who pays it.
[[nodiscard]] std::string payer_of(const order& x);

/// Where an h5 order is paid.
[[nodiscard]] std::string h5_path(const order& x);

/// The routes of each version. `all` must outlive them.
void add_v3(http::router& routes, core& all);
void add_v2(http::router& routes, core& all);

/// The pages of the buyer.
void add_cashier(http::router& routes, core& all);

} // namespace slipway::sandbox::wechat
