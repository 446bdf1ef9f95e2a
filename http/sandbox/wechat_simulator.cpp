#include "http/sandbox/wechat_simulator.hpp"

#include "config/settings.hpp"
#include "http/crypto/form.hpp"
#include "http/sandbox/console.hpp"
#include "http/sandbox/wechat_core.hpp"

#include <array>
#include <utility>

namespace slipway::sandbox {

namespace {

using namespace wechat;

constexpr auto troubles
  = std::array<std::pair<std::string_view, wechat_trouble>, 6>{
    {{"none", wechat_trouble::none},
     {"frequency_limited", wechat_trouble::frequency_limited},
     {"system_error", wechat_trouble::system_error},
     {"answer_lost", wechat_trouble::answer_lost},
     {"unsigned_answer", wechat_trouble::unsigned_answer},
     {"wrong_signature", wechat_trouble::wrong_signature}}};

constexpr auto outcomes
  = std::array<std::pair<std::string_view, wechat_refund_outcome>, 3>{
    {{"SUCCESS", wechat_refund_outcome::success},
     {"ABNORMAL", wechat_refund_outcome::abnormal},
     {"CLOSED", wechat_refund_outcome::closed}}};

template <class Table>
auto find_word(const Table& table, std::string_view word) {
  using value = decltype(table.front().second);
  for (const auto& [name, is] : table)
    if (name == word)
      return std::optional<value>{is};
  return std::optional<value>{};
}

template <class Table, class Value>
std::string choices(const Table& table, Value chosen) {
  std::string result;
  for (const auto& [name, is] : table)
    result += "<option" + std::string{is == chosen ? " selected" : ""} + ">"
              + std::string{name} + "</option>";
  return result;
}

tl::unexpected<console_refusal>
refused(int status, std::string code, std::string sentence) {
  return tl::unexpected{
    console_refusal{status, std::move(code), std::move(sentence)}};
}

} // namespace

struct wechat_simulator::impl final : console_host {
  impl(wechat_simulator_options options, const clock& time,
       client::outbound& out)
    : all{std::make_shared<core>(std::move(options), time, out)} {
  }

  // -- life -------------------------------------------------------------------

  tl::expected<void, std::string> start() {
    if (auto local = check_loopback(all->options.listen); !local)
      return local;
    if (auto ready = all->prepare(); !ready)
      return ready;
    http::router routes;
    add_style(routes);
    add_console(routes, "微信支付 · WeChat Pay", "simulated WeChat Pay", *this);
    add_v3(routes, *all);
    add_v2(routes, *all);
    add_cashier(routes, *all);
    using http::method;
    routes
      .add(method::post, "/sandbox/trouble", "trouble",
           [this](auto x) {
             switch_trouble(*x);
           })
      .add(method::post, "/sandbox/refunds", "refunds", [this](auto x) {
        switch_refunds(*x);
      });
    server.emplace(server_for(all->options.listen), std::move(routes));
    // Whoever is quicker than this waits for the address.
    const auto lock = std::lock_guard{all->mutex};
    auto listening = server->start();
    all->base_url = server->url();
    return listening;
  }

  void stop() {
    if (server)
      server->stop(millis{500});
    if (all->mail)
      all->mail->stop();
  }

  // -- for people and scripts -------------------------------------------------

  [[nodiscard]] console_order show(const order& x) const {
    console_order result;
    result.number = x.number;
    result.transaction = x.transaction_id;
    result.subject = x.description;
    result.product = x.trade_type + (x.version == api::v3 ? " v3" : " v2");
    result.pay_path = "/pay/" + crypto::percent_encode(x.number);
    result.notify_url = x.notify_url;
    result.amount = x.total;
    result.refunded = x.refunded;
    result.status = to_string(x.state);
    if (x.state == trade_state::success)
      result.mood = tone::good;
    else if (x.state == trade_state::closed)
      result.mood = tone::bad;
    result.created = x.created;
    result.paid = x.paid;
    for (const auto& number : x.refunds)
      if (const auto* back = all->books.find_refund(number))
        result.refunds.push_back({back->number, back->amount,
                                  std::string{to_string(back->status)},
                                  back->created});
    result.deliveries = x.deliveries;
    result.plan = all->plans.of(x.number);
    result.can_pay = x.state == trade_state::notpay;
    result.can_close = result.can_pay;
    result.can_refund = x.paid && x.refunded < x.total;
    return result;
  }

  std::vector<console_order> console_orders() override {
    const auto lock = std::lock_guard{all->mutex};
    std::vector<console_order> result;
    for (const auto& number : all->books.numbers())
      if (const auto* each = all->books.find(number))
        result.push_back(show(*each));
    return result;
  }

  std::optional<console_order>
  console_find(const std::string& number) override {
    const auto lock = std::lock_guard{all->mutex};
    const auto* found = all->books.find(number);
    if (found == nullptr)
      return std::nullopt;
    return show(*found);
  }

  delivery_plan console_plan() override {
    const auto lock = std::lock_guard{all->mutex};
    return all->plans.all();
  }

  std::string console_switches() override {
    const auto lock = std::lock_guard{all->mutex};
    return "<details><summary>接口故障 Trouble of the API <small>"
           + std::to_string(all->trouble_left)
           + "</small></summary><form method=\"post\" "
             "action=\"/sandbox/trouble\"><p>接下来 Next "
             "<input class=\"short\" name=\"count\" value=\"1\"> <select "
             "name=\"what\">"
           + choices(troubles, all->trouble)
           + "</select> <button class=\"small\">设定 Set</button></p></form>"
             "</details><details><summary>退款结局 How refunds end"
             "</summary><form method=\"post\" action=\"/sandbox/refunds\"><p>"
             "<select name=\"outcome\">"
           + choices(outcomes, all->outcome)
           + "</select> <button class=\"small\">设定 Set</button></p></form>"
             "</details>";
  }

  void switch_trouble(http::exchange& x) {
    const auto form = crypto::decode_form(x.in().body);
    const auto* word = form ? crypto::find_field(*form, "what") : nullptr;
    const auto* count = form ? crypto::find_field(*form, "count") : nullptr;
    const auto what
      = word == nullptr ? std::nullopt : find_word(troubles, *word);
    if (!what || count == nullptr || count->empty() || count->size() > 3
        || count->find_first_not_of("0123456789") != std::string::npos) {
      x.fail(400, "bad_form",
             "expected what=system_error (and so on) and count=0 to 999");
      return;
    }
    const auto lock = std::lock_guard{all->mutex};
    all->trouble = *what;
    all->trouble_left = std::stoul(*count);
    x.answer(see_other("/"));
  }

  void switch_refunds(http::exchange& x) {
    const auto form = crypto::decode_form(x.in().body);
    const auto* word = form ? crypto::find_field(*form, "outcome") : nullptr;
    const auto what
      = word == nullptr ? std::nullopt : find_word(outcomes, *word);
    if (!what) {
      x.fail(400, "bad_form", "outcome: expected SUCCESS, ABNORMAL or CLOSED");
      return;
    }
    const auto lock = std::lock_guard{all->mutex};
    all->outcome = *what;
    x.answer(see_other("/"));
  }

  tl::expected<void, console_refusal>
  perform(const console_command& what) override {
    const auto lock = std::lock_guard{all->mutex};
    if (what.action == console_action::plan) {
      if (what.order.empty())
        all->plans.set(what.plan);
      else
        all->plans.set(what.order, what.plan);
      return {};
    }
    auto* x = all->books.find(what.order);
    if (x == nullptr)
      return refused(404, "not_found", "There is no such order.");
    switch (what.action) {
      case console_action::pay:
        if (x->paid)
          break;
        if (auto done = all->pay(*x, what.own_plan ? &what.plan : nullptr);
            !done)
          return refused(409, "closed", done.error().message);
        break;
      case console_action::close:
        if (x->state == trade_state::closed)
          break;
        if (auto done = all->books.close(*x); !done)
          return refused(409, "paid", done.error().message);
        break;
      case console_action::refund:
        return refund_by_hand(*x, what);
      case console_action::notify:
        all->tell_again(*x, 1);
        break;
      case console_action::duplicate:
        all->tell_again(*x, what.copies);
        break;
      case console_action::plan:
        break;
    }
    return {};
  }

  tl::expected<void, console_refusal>
  refund_by_hand(const order& x, const console_command& what) {
    auto outcome = std::optional<wechat_refund_outcome>{};
    if (!what.outcome.empty()) {
      outcome = find_word(outcomes, what.outcome);
      if (!outcome)
        return refused(400, "bad_form",
                       "outcome: expected SUCCESS, ABNORMAL or CLOSED");
    }
    const auto left = x.total - x.refunded;
    if (!x.paid || left == 0)
      return refused(409, "not_refundable",
                     "The order is not paid, or refunded already.");
    refund asked;
    asked.version = x.version;
    asked.number = "console" + all->random->digits(20);
    asked.order_no = x.number;
    asked.amount = what.amount.value_or(left);
    // The platform's setting; without one, where the payment was told.
    asked.notify_url = all->options.refund_notify_url.empty()
                         ? x.notify_url
                         : all->options.refund_notify_url;
    if (asked.amount > left)
      return refused(409, "too_much",
                     "Only " + format_amount(left) + " is left of it.");
    if (auto made = all->give_back(std::move(asked), x.total, outcome); !made)
      return refused(409, "not_refundable", made.error().message);
    return {};
  }

  std::shared_ptr<core> all;
  std::optional<http::server> server;
};

wechat_simulator::wechat_simulator(wechat_simulator_options options,
                                   const clock& time, client::outbound& out)
  : impl_{std::make_shared<impl>(std::move(options), time, out)} {
}

wechat_simulator::~wechat_simulator() {
  impl_->stop();
}

tl::expected<void, std::string> wechat_simulator::start() {
  return impl_->start();
}

void wechat_simulator::stop() {
  impl_->stop();
}

std::uint16_t wechat_simulator::port() const noexcept {
  return impl_->server ? impl_->server->port() : std::uint16_t{0};
}

std::string wechat_simulator::url() const {
  return impl_->server ? impl_->server->url() : std::string{};
}

config::wechat_settings wechat_simulator::settings() const {
  const auto& options = impl_->all->options;
  config::wechat_settings result;
  result.app_id = options.app_id;
  result.mch_id = options.mch_id;
  result.gateway_url = url();
  result.api_v2_key = config::secret{options.api_v2_key};
  result.api_v3_key = config::secret{options.api_v3_key};
  result.merchant_serial = options.merchant_serial;
  for (const auto& each : impl_->all->keys.all()) {
    const auto is_public_key = each->certificate.empty();
    result.platform_keys.push_back(
      {each->serial,
       is_public_key ? each->key.public_key().to_pem() : each->certificate});
  }
  return result;
}

void wechat_simulator::set_delivery(delivery_plan plan) {
  const auto lock = std::lock_guard{impl_->all->mutex};
  impl_->all->plans.set(plan);
}

void wechat_simulator::set_delivery(const std::string& order,
                                    delivery_plan plan) {
  const auto lock = std::lock_guard{impl_->all->mutex};
  impl_->all->plans.set(order, plan);
}

bool wechat_simulator::pay(const std::string& order) {
  console_command what;
  what.action = console_action::pay;
  what.order = order;
  return impl_->perform(what).has_value();
}

bool wechat_simulator::deliver_now(const std::string& order,
                                   std::size_t copies) {
  console_command what;
  what.action = console_action::duplicate;
  what.order = order;
  what.copies = copies;
  return impl_->perform(what).has_value();
}

bool wechat_simulator::refund_by_hand(const std::string& order,
                                      std::optional<minor_units> amount) {
  console_command what;
  what.action = console_action::refund;
  what.order = order;
  what.amount = amount;
  return impl_->perform(what).has_value();
}

void wechat_simulator::set_refund_outcome(wechat_refund_outcome outcome) {
  const auto lock = std::lock_guard{impl_->all->mutex};
  impl_->all->outcome = outcome;
}

void wechat_simulator::trouble_next(wechat_trouble what, std::size_t count) {
  const auto lock = std::lock_guard{impl_->all->mutex};
  impl_->all->trouble = what;
  impl_->all->trouble_left = count;
}

tl::expected<void, std::string>
wechat_simulator::add_platform_key(const wechat_platform_key& key) {
  return impl_->all->keys.add(key);
}

bool wechat_simulator::use_platform_key(std::string_view serial) {
  return impl_->all->keys.use(serial);
}

void wechat_simulator::mix_platform_keys(bool mix) {
  impl_->all->keys.mix(mix);
}

std::vector<delivery>
wechat_simulator::deliveries(const std::string& order) const {
  const auto lock = std::lock_guard{impl_->all->mutex};
  const auto* found = impl_->all->books.find(order);
  if (found == nullptr)
    return {};
  return {found->deliveries.begin(), found->deliveries.end()};
}

} // namespace slipway::sandbox
