// What single steps on the way of a notification cost: time, allocations, and,
// under valgrind, instructions.

#include "actors/interfaces.hpp"
#include "actors/lifecycle/machine.hpp"
#include "actors/record.hpp"
#include "benchmarks/allocations.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/rsa.hpp"
#include "http/gateway/intake.hpp"
#include "persistence/journal_encode.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace slipway;
using namespace slipway::lifecycle;

constexpr auto app_id = "2021000000000000";

constexpr auto seller_id = "2088000000000000";

/// Programming errors of a benchmark end it.
void demand(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "slipway_micro: %s\n", what);
    std::exit(1);
  }
}

// -- subjects ----------------------------------------------------------------

timestamp at(std::int64_t ms) {
  return timestamp{millis{1'764'000'000'000 + ms}};
}

state after(const state& now, const event& what) {
  auto made = decide(now, what, rules{});
  demand(made.is == verdict::applied, "an event does not apply");
  return std::move(made.next);
}

/// A subscription on its way, at each stop of it.
struct journey {
  state ordered;
  state paid;
  state creating;
  state announced;
  state deploying;
  state running;

  event settled = payment_settled{
    at(2), 1,    payment_gateway::alipay, "2026112322001400000000000001",
    9'900, at(2)};
  event granted = slot_granted{at(3)};
  event announce = project_create_started{at(4), 1};
  event ready = project_ready{at(5), 1, "00000000-0000-4000-8000-000000000001",
                              "0000000e-0000-4000-8000-000000000001", false};
  event seen
    = deployment_observed{at(9), 1, condition::running, 100, "SUCCESS", "", 7};
  event rang = woke{at(10), 7, at(0)};

  journey() {
    ordered = after(state{}, subscription_created{at(0), 9'900, 30});
    ordered = after(ordered,
                    order_requested{at(1), payment_gateway::alipay,
                                    payment_method::page, at(1'800'000), ""});
    paid = after(ordered, settled);
    creating = after(paid, granted);
    announced = after(creating, announce);
    auto x = after(announced, ready);
    x = after(x, template_deploy_started{at(6), 1});
    x = after(
      x, template_deployed{at(7), 1, "0000000f-0000-4000-8000-000000000001"});
    x = after(x, workflow_finished{at(7), 1});
    deploying
      = after(x, configured{at(8), 1, "0000005e-0000-4000-8000-000000000001",
                            "gateway", "000000d0-0000-4000-8000-000000000001",
                            "https://p1.up.example.com"});
    running = after(deploying, seen);
  }
};

/// A notification as Alipay sends it, and the account that takes it.
struct notification {
  std::string body;
  std::string content; ///< What is signed.
  std::string signature;
  crypto::rsa_public_key key;
  gateway::accounts accounts;

  static notification make(std::string_view private_key) {
    const auto signs = crypto::rsa_private_key::parse(private_key);
    demand(signs.has_value(), "no private key");
    auto fields = crypto::form_fields{
      {"gmt_create", "2026-11-23 14:00:00"},
      {"charset", "utf-8"},
      {"seller_email", "merchant@example.com"},
      {"subject", "专业版"},
      {"body", ""},
      {"buyer_id", "2088102122458832"},
      {"buyer_logon_id", "bob***@example.com"},
      {"invoice_amount", "99.00"},
      {"notify_id", "202611230022208000100000000000001"},
      {"fund_bill_list",
       R"([{"amount":"99.00","fundChannel":"ALIPAYACCOUNT"}])"},
      {"notify_type", "trade_status_sync"},
      {"trade_status", "TRADE_SUCCESS"},
      {"receipt_amount", "99.00"},
      {"buyer_pay_amount", "99.00"},
      {"point_amount", "0.00"},
      {"app_id", app_id},
      {"auth_app_id", app_id},
      {"seller_id", seller_id},
      {"gmt_payment", "2026-11-23 14:00:00"},
      {"notify_time", "2026-11-23 14:00:00"},
      {"version", "1.0"},
      {"out_trade_no", to_text(order_ref{subscription_id{1ull << 58}, 1})},
      {"total_amount", "99.00"},
      {"trade_no", "2026112322001400000000000001"},
    };
    auto sorted = fields;
    std::sort(sorted.begin(), sorted.end());
    auto content = std::string{};
    for (const auto& [name, value] : sorted)
      content += (content.empty() ? "" : "&") + name + "=" + value;
    const auto signature = signs->sign(crypto::digest::sha256, content);
    demand(signature.has_value(), "no signature");
    fields.emplace_back("sign_type", "RSA2");
    fields.emplace_back("sign", crypto::base64_encode(*signature));

    auto settings = config::alipay_settings{};
    settings.app_id = app_id;
    settings.seller_id = seller_id;
    settings.app_private_key = config::secret{std::string{private_key}};
    settings.alipay_public_key = signs->public_key().to_pem();
    auto account = gateway::alipay::make(settings);
    demand(account.has_value(), "no account");
    auto accounts = gateway::accounts{};
    accounts.ali = std::make_shared<const gateway::alipay>(std::move(*account));
    return {crypto::encode_form(fields), std::move(content), *signature,
            signs->public_key(), std::move(accounts)};
  }
};

record record_of(const state& x) {
  auto out = record{};
  out.id = subscription_id{1ull << 58};
  out.user_id = "user-4711";
  out.plan = "PRO";
  out.created_at = at(0);
  out.updated_at = at(9);
  out.epoch = 1;
  out.state = x;
  return out;
}

/// What a payment writes.
transition payment_of(const state& paid, const std::string& body) {
  auto out = transition{};
  out.expected_revision = paid.revision - 1;
  out.next = record_of(paid);
  out.orders_changed = 1;
  out.orders_known = 1;
  out.wake_at = paid.end_at;
  out.history = {{at(2), history_kind::state, "paid by order 1",
                  "payment_settled", "applied"}};
  auto told = notice{};
  told.amount = 9'900;
  told.at = at(2);
  out.notices = {std::move(told)};
  out.callback = std::make_shared<callback_entry>();
  out.callback->dedupe_key = "sw0000000000000001|TRADE_SUCCESS|1";
  out.callback->received_at = at(2);
  out.callback->order_id = "sw0000000000000001";
  out.callback->subscription = out.next.id;
  out.callback->headers = "Host: 127.0.0.1\nContent-Length: 1300\n";
  out.callback->body = body;
  return out;
}

// -- the benchmarks ----------------------------------------------------------

using step = std::function<void()>;

void measure(benchmark::State& how, const step& act) {
  act(); // What is made once is made.
  const auto before = bench::allocations();
  for (auto x : how) {
    static_cast<void>(x);
    act();
  }
  how.counters["allocations"]
    = benchmark::Counter(static_cast<double>(bench::allocations() - before),
                         benchmark::Counter::kAvgIterations);
}

struct named {
  std::string name;
  step act;
};

std::vector<named>
all_benchmarks(const journey& on, const notification& message) {
  auto out = std::vector<named>{};
  const auto decides
    = [&](const char* name, const state& now, const event& what) {
        out.push_back({std::string{"decide/"} + name, [&now, &what] {
                         auto made = decide(now, what, rules{});
                         benchmark::DoNotOptimize(made);
                       }});
      };
  decides("payment_settled", on.ordered, on.settled);
  decides("payment_settled_again", on.paid, on.settled);
  decides("slot_granted", on.paid, on.granted);
  decides("project_create_started", on.creating, on.announce);
  decides("project_ready", on.announced, on.ready);
  decides("deployment_observed", on.deploying, on.seen);
  decides("woke", on.running, on.rang);
  out.push_back({"rsa/verify_2048", [&message] {
                   auto fine
                     = message.key.verify(crypto::digest::sha256,
                                          message.content, message.signature);
                   benchmark::DoNotOptimize(fine);
                 }});
  out.push_back({"form/decode", [&message] {
                   auto fields = crypto::decode_form(message.body);
                   benchmark::DoNotOptimize(fields);
                 }});
  out.push_back({"intake/alipay_notification", [&message] {
                   auto what = gateway::inbound{};
                   what.body = message.body;
                   auto got = gateway::read(message.accounts, what);
                   demand(!got.refused, "the notification is refused");
                   benchmark::DoNotOptimize(got);
                 }});
  out.push_back({"record/copy_paid", [x = record_of(on.paid)] {
                   auto copy = x;
                   benchmark::DoNotOptimize(copy);
                 }});
  out.push_back({"record/copy_running", [x = record_of(on.running)] {
                   auto copy = x;
                   benchmark::DoNotOptimize(copy);
                 }});
  // Of different subscriptions in truth; here their ids are all the same.
  auto payment
    = std::make_shared<transition>(payment_of(on.paid, message.body));
  out.push_back({"journal/encode_64_payments",
                 [payment, some = transition_batch(64, payment.get())] {
                   auto to = pg::params{};
                   const auto& made = encode_update(to, {}, 1, some);
                   benchmark::DoNotOptimize(made);
                   benchmark::DoNotOptimize(to);
                 }});
  return out;
}

/// Takes `--name=value` out of the arguments; all others are Google
/// Benchmark's.
std::string take(std::string_view name, int& argc, char** argv) {
  auto out = std::string{};
  const auto* end = std::remove_if(argv + 1, argv + argc, [&](char* x) {
    const auto text = std::string_view{x};
    if (!text.starts_with(name))
      return false;
    out = text.substr(name.size());
    return true;
  });
  argc = static_cast<int>(end - argv);
  return out;
}

std::string fresh_key() {
  auto pair = crypto::generate_rsa_key();
  demand(pair.has_value(), "no key");
  return std::move(pair->private_pem);
}

std::string read_file(const std::string& path) {
  auto in = std::ifstream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

int main(int argc, char** argv) {
  // Exactly so many, for whoever counts instructions, and always the same key:
  // finding one never takes the same.
  const auto iterations
    = std::strtoll(take("--iterations=", argc, argv).c_str(), nullptr, 10);
  const auto key_file = take("--key=", argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv))
    return 1;
  const auto on = journey{};
  const auto message
    = notification::make(key_file.empty() ? fresh_key() : read_file(key_file));
  for (const auto& [name, act] : all_benchmarks(on, message)) {
    auto* added = benchmark::RegisterBenchmark(
      name.c_str(), [act = act](benchmark::State& how) {
        measure(how, act);
      });
    if (iterations > 0)
      added->Iterations(iterations);
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
