#define CAF_SUITE payment.reconciler

#include "http/payment/reconciler.hpp"

#include "actors/registry.hpp"
#include "http/payment/accounts.hpp"
#include "tests/support/actor_fixture.hpp"
#include "tests/support/gateway_model.hpp"

#include <atomic>
#include <deque>

using namespace slipway;
using namespace slipway::test;

namespace {

using call = gateway_model::call;

/// The wire between the actor and the gateways, with a person at the switch.
struct switchboard final : client::outbound {
  struct held {
    client::http_request request;
    client::http_callback done;
    call what;
  };

  using script = std::function<std::optional<client::http_outcome>(
    const client::http_request&, const call&)>;

  explicit switchboard(gateway_model& to) : world{to} {
  }

  void send(client::http_request request, client::http_callback done) override {
    auto what = gateway_model::read(request);
    sent.push_back(what);
    times.push_back(now());
    auto x = held{std::move(request), std::move(done), std::move(what)};
    if (hold && hold(x.what))
      waiting.push_back(std::move(x));
    else
      resolve(x);
  }

  void resolve(held& x) {
    if (says)
      if (auto scripted = says(x.request, x.what)) {
        x.done(std::move(*scripted));
        return;
      }
    x.done(world.answer(x.request));
  }

  /// Answers the oldest one that waits.
  void release() {
    auto x = std::move(waiting.front());
    waiting.pop_front();
    resolve(x);
  }

  void release_all() {
    while (!waiting.empty())
      release();
  }

  /// The operations sent, `query close`; without fetching certificates.
  [[nodiscard]] std::string log(const std::string& order_id = {}) const {
    auto out = std::string{};
    for (const auto& x : sent)
      if (x.operation != "certificates"
          && (order_id.empty() || x.order_id == order_id
              || x.refund_id.starts_with(order_id)))
        out += (out.empty() ? "" : " ") + x.operation;
    return out;
  }

  [[nodiscard]] std::size_t count(std::string_view operation) const {
    return static_cast<std::size_t>(
      std::count_if(sent.begin(), sent.end(), [&](const call& x) {
        return x.operation == operation;
      }));
  }

  gateway_model& world;
  std::function<timestamp()> now;
  std::function<bool(const call&)> hold;
  script says;
  std::deque<held> waiting;
  std::vector<call> sent;
  std::vector<timestamp> times;
};

client::http_outcome in_doubt() {
  return client::http_failure{client::failure_kind::in_doubt, "broken"};
}

client::http_outcome not_sent() {
  return client::http_failure{client::failure_kind::not_sent, "no way"};
}

client::http_outcome bad_gateway() {
  return client::http_response{502, {}, "<html>502</html>"};
}

bool all(const call&) {
  return true;
}

struct fixture : actor_fixture {
  gateway_model world{1, [this] {
                        return time.now();
                      }};
  std::shared_ptr<switchboard> wire = std::make_shared<switchboard>(world);
  payment::reconciler_options options;
  std::uint64_t last_id = 0;

  fixture() {
    env->rules.provider = false;
    env->rules.orders_max = 32;
    db->rules = env->rules;
    env->dispatcher = keep(spawn_probe_dispatcher(sys, log));
    env->registry
      = keep(sys.spawn(registry, environment_ptr{env},
                       std::make_shared<std::atomic<bool>>(false), false));
    wire->now = [this] {
      return time.now();
    };
    configure(true);
    options.network = wire;
    options.words.public_url = "https://slipway.example";
    caf::anon_send(env->registry(), tick{});
    consume_messages();
  }

  ~fixture() {
    // Whatever is still held is dropped with the wire, after the actors.
    stop();
  }

  void configure(bool public_key) {
    auto opened = payment::open_accounts(gateway_model::settings(public_key));
    CAF_REQUIRE(opened.has_value());
    options.accounts = opened->accounts;
    options.wechat_keys = opened->wechat_keys;
  }

  void start() {
    env->reconciler
      = sys.spawn(payment::reconciler, environment_ptr{env}, options);
    caf::anon_send(env->reconciler(), tick{});
    consume_messages();
  }

  void stop() {
    if (!env->reconciler)
      return;
    caf::anon_send_exit(env->reconciler(), caf::exit_reason::kill);
    env->reconciler = nullptr;
    consume_messages();
  }

  /// Time with the gateways' own events.
  void go(millis length, millis step = millis{50}) {
    for (auto gone = millis{0}; gone < length; gone += step) {
      world.run();
      pass(std::min(step, length - gone));
    }
  }

  // -- orders

  struct made {
    subscription_id id{};
    std::string order_id;
  };

  made subscribe(std::function<void(driver&)> how) {
    auto x = driver{};
    x.with = env->rules;
    x.at = time.now();
    x.create();
    how(x);
    auto row = record{};
    row.id = make_subscription_id(day_one, ++last_id);
    row.user_id = "user-1";
    row.plan = "PRO";
    row.created_at = day_one;
    row.state = std::move(x.now);
    db->put(row);
    return {row.id, to_text(order_ref{row.id, 1})};
  }

  made order(payment_gateway at = payment_gateway::alipay, millis ttl = 30min) {
    return subscribe([&](driver& x) {
      x.feed(order_requested{x.at, at,
                             at == payment_gateway::alipay
                               ? payment_method::qr
                               : payment_method::native,
                             x.at + ttl, "key"});
    });
  }

  /// The gateway knows it.
  void
  register_order(const made& x, payment_gateway at = payment_gateway::alipay) {
    auto theirs = gateway_model::order{};
    theirs.at = at;
    theirs.id = x.order_id;
    theirs.amount = price;
    theirs.expires_at = time.now() + 30min;
    if (at == payment_gateway::alipay)
      theirs.transaction_id = "tx-" + x.order_id;
    world.put(theirs);
  }

  /// Paid for, and to be given back.
  made refunding(payment_gateway at = payment_gateway::alipay) {
    auto x = subscribe([&](driver& d) {
      d.feed(order_requested{d.at, at,
                             at == payment_gateway::alipay
                               ? payment_method::qr
                               : payment_method::native,
                             d.at + 30min, "key"});
      d.feed(payment_settled{d.at, 1, at, "tx-" + std::to_string(last_id + 1),
                             price, d.at});
      CAF_REQUIRE_EQUAL(d.refund(1), verdict::applied);
    });
    register_order(x, at);
    world.orders[x.order_id].transaction_id = row(x).transaction_id;
    CAF_REQUIRE(world.pay(x.order_id));
    return x;
  }

  const lifecycle::order& row(const made& x, std::size_t seq = 1) {
    return db->find(x.id)->state.orders.at(seq - 1);
  }

  order_status status(const made& x, std::size_t seq = 1) {
    return row(x, seq).status;
  }

  subscription_status bought(const made& x) {
    return db->find(x.id)->state.status;
  }

  memory_database::asking asking(const made& x, std::uint32_t seq = 1) {
    return db->asks[{raw(x.id), seq}];
  }

  told_ptr
  errand(const made& x, gateway_errand::kind what, std::string refund_id = {},
         std::shared_ptr<callback_entry> callback = nullptr) {
    auto to = std::make_shared<told>();
    auto out = std::make_shared<gateway_errand>();
    out->what = what;
    out->subject = std::make_shared<const record>(*db->find(x.id));
    out->order = 1;
    out->gateway = row(x).gateway;
    out->refund_id = std::move(refund_id);
    out->callback = std::move(callback);
    out->reply = listen(to);
    caf::anon_send(env->reconciler(), out);
    consume_messages();
    return to;
  }

  told_ptr ask_for(const made& x) {
    return errand(x, gateway_errand::kind::ask);
  }

  /// An operator wants the money back.
  void want_refund(const made& x) {
    caf::anon_send(
      env->registry(),
      make_command(x.id,
                   refund_requested{time.now(), 1, refund_cause::operator_}));
    consume_messages();
  }

  // -- what was learnt

  const callback_entry* proof(const made& x) {
    const callback_entry* out = nullptr;
    for (const auto& c : db->callbacks)
      if (c.order_id == x.order_id)
        out = &c;
    return out;
  }

  double counted(const std::string& gateway, const std::string& operation,
                 const std::string& outcome) {
    const auto text = meters.expose();
    const auto name = "slipway_gateway_requests_total{gateway=\"" + gateway
                      + "\",operation=\"" + operation + "\",outcome=\""
                      + outcome + "\"} ";
    const auto where = text.find(name);
    return where == std::string::npos
             ? 0
             : std::strtod(text.c_str() + where + name.size(), nullptr);
  }

  std::shared_ptr<callback_entry> refund_callback(const made& x) {
    auto out = std::make_shared<callback_entry>();
    out->gateway = row(x).gateway;
    out->source = callback_source::refund_notify;
    out->dedupe_key = "refund-of-" + x.order_id;
    out->received_at = time.now();
    out->order_id = x.order_id;
    out->subscription = x.id;
    out->body = "unsigned";
    return out;
  }
};

constexpr auto both = {payment_gateway::alipay, payment_gateway::wechat};

} // namespace

CAF_TEST_FIXTURE_SCOPE(orders_scope, fixture)

CAF_TEST(an order that is due is asked about and settled with a proof) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    go(5s);
    CAF_REQUIRE(world.pay(x.order_id));
    go(9s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "");
    go(2s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query");
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK_EQUAL(row(x).transaction_id,
                    world.find(x.order_id)->transaction_id);
    CAF_CHECK(row(x).applied);
    CAF_CHECK_EQUAL(bought(x), subscription_status::active);
    const auto* kept = proof(x);
    CAF_REQUIRE(kept != nullptr);
    CAF_CHECK(kept->source == callback_source::query);
    CAF_CHECK(kept->outcome == callback_outcome::applied);
    CAF_CHECK(kept->gateway == at);
    CAF_CHECK(kept->subscription == x.id);
    CAF_CHECK(kept->body.find(row(x).transaction_id) != std::string::npos);
    if (at == payment_gateway::alipay)
      CAF_CHECK(kept->body.find("\"sign\":") != std::string::npos);
    else
      CAF_CHECK(kept->headers.find("Wechatpay-Signature: ")
                != std::string::npos);
    // Nobody asks about it any more.
    go(10min, 1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query");
  }
  CAF_CHECK(world.complaints.empty());
}

CAF_TEST(an order that nobody has paid is asked about after 15 30 and 45 s) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    const auto began = time.now();
    const auto from = wire->sent.size();
    go(4min);
    auto pauses = std::vector<std::int64_t>{};
    auto last = began;
    for (auto i = from; i < wire->sent.size(); ++i)
      if (wire->sent[i].order_id == x.order_id) {
        pauses.push_back((wire->times[i] - last).count());
        last = wire->times[i];
      }
    CAF_REQUIRE_EQUAL(pauses.size(), 6u);
    const auto expected = std::vector<std::int64_t>{15'000, 30'000, 45'000,
                                                    45'000, 45'000, 45'000};
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAF_CHECK(pauses[i] >= expected[i] - 600);
      CAF_CHECK(pauses[i] <= expected[i] + 600);
    }
    CAF_CHECK_EQUAL(status(x), order_status::pending);
    CAF_CHECK_EQUAL(wire->count("close"), 0u);
    CAF_CHECK(proof(x) == nullptr);
  }
}

CAF_TEST(what the gateway does not know is unpaid) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    go(20s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query");
    CAF_CHECK_EQUAL(status(x), order_status::pending);
  }
}

CAF_TEST(an expired order is asked about and closed) {
  start();
  for (const auto at : both)
    for (const auto known : {true, false}) {
      const auto x = order(at, 10s);
      if (known)
        register_order(x, at);
      go(9s);
      CAF_CHECK_EQUAL(wire->log(x.order_id), "");
      go(2s);
      CAF_CHECK_EQUAL(wire->log(x.order_id), "query close");
      CAF_CHECK_EQUAL(status(x), order_status::closed);
      if (known)
        CAF_CHECK(world.find(x.order_id)->is
                  == gateway_model::trade_status::closed);
    }
}

CAF_TEST(orders are asked about and not closed while automation is off) {
  start();
  automation(false);
  for (const auto at : both) {
    const auto unpaid = order(at, 10s);
    const auto paid = order(at, 10s);
    register_order(unpaid, at);
    register_order(paid, at);
    CAF_REQUIRE(world.pay(paid.order_id));
    go(1min);
    CAF_CHECK_EQUAL(status(unpaid), order_status::pending);
    CAF_CHECK_EQUAL(status(paid), order_status::paid);
    CAF_CHECK_EQUAL(bought(paid), subscription_status::active);
  }
  CAF_CHECK_EQUAL(wire->count("close"), 0u);
  automation(true);
  go(1min);
  CAF_CHECK_EQUAL(wire->count("close"), 2u);
}

CAF_TEST(an expired order is not closed here before it is closed there) {
  start();
  wire->says = [](const auto&, const call& what) {
    return what.operation == "close" ? std::optional{in_doubt()} : std::nullopt;
  };
  const auto x = order(payment_gateway::alipay, 10s);
  register_order(x);
  go(12s);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "query close");
  CAF_CHECK_EQUAL(status(x), order_status::pending);
  wire->says = nullptr;
  go(20s);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "query close query close");
  CAF_CHECK_EQUAL(status(x), order_status::closed);
}

CAF_TEST(a payment that beats the closing is found by asking once more) {
  start();
  for (const auto at : both) {
    const auto x = order(at, 10s);
    register_order(x, at);
    wire->says = [&](const auto&, const call& what) {
      if (what.operation == "close")
        world.pay(x.order_id);
      return std::nullopt;
    };
    go(12s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query close query");
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK_EQUAL(bought(x), subscription_status::active);
  }
}

CAF_TEST(a gateway that says now this now that is not asked in circles) {
  start();
  const auto x = order(payment_gateway::wechat, 10s);
  register_order(x, payment_gateway::wechat);
  // Unpaid when asked, paid when it is to be closed.
  auto paid = gateway_model{2, [this] {
                              return time.now();
                            }};
  auto theirs = *world.find(x.order_id);
  paid.put(theirs);
  paid.pay(x.order_id);
  wire->says = [&](const client::http_request& request, const call& what) {
    return what.operation == "close"
             ? std::optional<client::http_outcome>{paid.answer(request)}
             : std::nullopt;
  };
  go(12s);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "query close query close");
  CAF_CHECK_EQUAL(status(x), order_status::pending);
  CAF_CHECK(asking(x).at.has_value());
}

CAF_TEST(a replaced order is closed at once and its payment still counts) {
  start();
  for (const auto paid : {false, true}) {
    const auto x = subscribe([&](driver& d) {
      d.open_order("one");
      d.open_order("two");
    });
    register_order(x);
    if (paid)
      world.pay(x.order_id);
    go(1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), paid ? "query" : "query close");
    CAF_CHECK_EQUAL(status(x, 1),
                    paid ? order_status::paid : order_status::closed);
    CAF_CHECK_EQUAL(status(x, 2), order_status::pending);
    CAF_CHECK_EQUAL(bought(x), paid ? subscription_status::active
                                    : subscription_status::pending);
  }
}

CAF_TEST(what the gateway has closed is closed) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    world.orders[x.order_id].is = gateway_model::trade_status::closed;
    go(16s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query");
    CAF_CHECK_EQUAL(status(x), order_status::closed);
  }
}

CAF_TEST(closed orders are looked at some more and late money is found) {
  start();
  for (const auto at : both) {
    const auto x = order(at, 10s);
    go(12s);
    CAF_REQUIRE_EQUAL(status(x), order_status::closed);
    const auto before = wire->log(x.order_id);
    go(9min, 1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), before);
    go(2min, 1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), before + " query");
    register_order(x, at);
    world.pay(x.order_id);
    go(3h, 10s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), before + " query query");
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK(row(x).applied);
  }
}

CAF_TEST(late money is given back by itself where the rules say so) {
  env->rules.revive_late_payment = false;
  db->rules = env->rules;
  start();
  for (const auto at : both) {
    const auto x = order(at, 10s);
    go(12s);
    register_order(x, at);
    world.pay(x.order_id);
    go(11min, 500ms);
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(bought(x), subscription_status::pending);
    CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
    CAF_CHECK_EQUAL(world.trails[x.order_id + "r1"].arrived, 1);
  }
}

CAF_TEST(other money than ordered changes nothing and is kept) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    world.orders[x.order_id].amount = price - 1;
    world.pay(x.order_id);
    go(20s);
    CAF_CHECK_EQUAL(status(x), order_status::pending);
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK(proof(x)->outcome == callback_outcome::contradicted);
    CAF_CHECK_EQUAL(proof(x)->reason, "amount_mismatch");
  }
}

CAF_TEST(money that came and went unseen is for a person to look at) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    auto& theirs = world.orders[x.order_id];
    world.pay(x.order_id);
    theirs.refunds.push_back(
      {"console", price, gateway_model::refund_end::done, ""});
    theirs.refunded = price;
    go(20s);
    CAF_CHECK_EQUAL(status(x), order_status::pending);
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK(proof(x)->outcome == callback_outcome::contradicted);
    CAF_CHECK_EQUAL(proof(x)->reason, "refunded_unseen");
  }
}

CAF_TEST(a payment that another order has had is kept as a contradiction) {
  start();
  db->commit_fault = [](const transition& t) {
    return t.callback ? commit_status::payment_taken : commit_status::stored;
  };
  const auto x = order();
  register_order(x);
  world.pay(x.order_id);
  go(20s);
  CAF_CHECK_EQUAL(status(x), order_status::pending);
  CAF_REQUIRE(proof(x) != nullptr);
  CAF_CHECK(proof(x)->outcome == callback_outcome::contradicted);
}

CAF_TEST(what could not be stored is asked about again) {
  start();
  auto faults = 2;
  db->commit_fault = [&](const transition&) {
    return faults-- > 0 ? commit_status::failed : commit_status::stored;
  };
  const auto x = order();
  register_order(x);
  world.pay(x.order_id);
  go(16s);
  CAF_CHECK_EQUAL(status(x), order_status::pending);
  go(2min);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "query query query");
  CAF_CHECK_EQUAL(status(x), order_status::paid);
}

CAF_TEST(a database that is away delays asking only) {
  start();
  auto away = true;
  db->query_fault = [&](const store_job&) {
    return away ? errc::database_down : errc::none;
  };
  const auto x = order();
  register_order(x);
  world.pay(x.order_id);
  go(30s);
  CAF_CHECK(wire->sent.empty());
  away = false;
  go(1s);
  CAF_CHECK_EQUAL(status(x), order_status::paid);
}

CAF_TEST(answers of strangers change nothing and are counted) {
  start();
  wire->says = [this](const client::http_request& request, const call&) {
    return std::optional<client::http_outcome>{world.forge(request)};
  };
  for (const auto at : both) {
    const auto pending = order(at);
    const auto expired = order(at, 5s);
    const auto back = refunding(at);
    const auto again = refunding(at);
    db->asks[{raw(again.id), 1}].asks = 1;
    for (const auto& x : {pending, expired})
      register_order(x, at);
    const auto before = *db->find(back.id);
    go(2min);
    const auto* name = at == payment_gateway::alipay ? "alipay" : "wechat";
    CAF_CHECK_EQUAL(status(pending), order_status::pending);
    CAF_CHECK_EQUAL(status(expired), order_status::pending);
    CAF_CHECK_EQUAL(status(back), order_status::refunding);
    CAF_CHECK_EQUAL(status(again), order_status::refunding);
    CAF_CHECK_EQUAL(db->find(back.id)->state.revision, before.state.revision);
    CAF_CHECK(counted(name, "query", "forged") > 3);
    CAF_CHECK_EQUAL(counted(name, "query", "ok"), 0);
    CAF_CHECK_EQUAL(counted(name, "refund", "forged"), 1);
    CAF_CHECK(counted(name, "refund_query", "forged") > 1);
    const auto told = errand(pending, gateway_errand::kind::prepare);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::gateway_down);
    CAF_CHECK(row(pending).code.empty());
  }
  CAF_CHECK(db->callbacks.empty());
}

CAF_TEST(a forged close is no close) {
  start();
  wire->says = [this](const client::http_request& request, const call& what) {
    return what.operation == "close"
             ? std::optional<client::http_outcome>{world.forge(request)}
             : std::nullopt;
  };
  for (const auto at : both) {
    const auto x = order(at, 5s);
    register_order(x, at);
    go(7s);
    CAF_CHECK_EQUAL(wire->log(x.order_id), "query close");
    CAF_CHECK_EQUAL(status(x), order_status::pending);
  }
}

CAF_TEST(a gateway in trouble changes nothing and is asked again) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    world.pay(x.order_id);
    auto i = 0;
    wire->says = [&](const client::http_request& request,
                     const call&) -> std::optional<client::http_outcome> {
      switch (i++) {
        case 0:
          return bad_gateway();
        case 1:
          return not_sent();
        case 2:
          return in_doubt();
        case 3: {
          auto bare = world.answer(request);
          std::erase_if(bare.headers, [](const auto& h) {
            return h.first == "Wechatpay-Signature";
          });
          if (const auto sign = bare.body.find(",\"sign\"");
              sign != std::string::npos)
            bare.body = bare.body.substr(0, sign) + "}";
          return bare;
        }
        default:
          return std::nullopt;
      }
    };
    // One bad answer does not cost a whole pause.
    go(1min + 5s);
    CAF_CHECK_EQUAL(status(x), order_status::pending);
    CAF_CHECK_EQUAL(i, 4);
    go(20s);
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK_EQUAL(i, 5);
  }
  CAF_CHECK_EQUAL(counted("alipay", "query", "not_sent"), 1);
  CAF_CHECK_EQUAL(counted("wechat", "query", "not_sent"), 1);
  CAF_CHECK_EQUAL(counted("alipay", "query", "forged"), 1);
  CAF_CHECK_EQUAL(counted("wechat", "query", "forged"), 1);
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(nobody_scope, fixture)

CAF_TEST(without an account nothing is believed and all stays due) {
  options.accounts = {};
  options.wechat_keys = nullptr;
  start();
  for (const auto at : both) {
    const auto pending = order(at);
    const auto expired = order(at, 5s);
    const auto back = refunding(at);
    const auto asked = ask_for(pending);
    CAF_CHECK_EQUAL(asked->times, 1);
    CAF_CHECK(asked->error == errc::gateway_refused);
    const auto prepared = errand(pending, gateway_errand::kind::prepare);
    CAF_CHECK_EQUAL(prepared->times, 1);
    CAF_CHECK(prepared->error == errc::internal);
    go(20s);
    CAF_CHECK_EQUAL(status(pending), order_status::pending);
    CAF_CHECK_EQUAL(status(expired), order_status::pending);
    CAF_CHECK_EQUAL(status(back), order_status::refunding);
  }
  CAF_CHECK(wire->sent.empty());
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(budget_scope, fixture)

CAF_TEST(a thousand orders are asked about within the budget) {
  start();
  go(1s);
  auto made_ones = std::vector<made>{};
  for (auto i = 0; i < 1'000; ++i) {
    made_ones.push_back(order());
    // All overdue, each longer than the one before.
    db->asks[{raw(made_ones.back().id), 1}].at
      = time.now() - millis{1'000 + i * 10};
  }
  // The longest overdue come first, and none comes again before all others.
  const auto began = time.now();
  go(30s);
  CAF_CHECK(wire->sent.size() >= 29u * options.asks_per_second);
  for (std::size_t i = 0; i < wire->sent.size(); ++i) {
    CAF_CHECK_EQUAL(wire->sent[i].order_id, made_ones[999 - i].order_id);
    // What was saved up may go at once; from then on a second is a second.
    const auto age = (wire->times[i] - began).count();
    CAF_CHECK(static_cast<double>(i + 1)
              <= options.asks_per_second * (1 + age / 1000.0) + 1);
  }
  for (std::size_t i = options.asks_per_second; i < wire->sent.size(); ++i) {
    const auto first = i + 1 - options.asks_per_second;
    if (wire->times[first] > began + 2s)
      CAF_CHECK((wire->times[i] - wire->times[first]).count() >= 500);
  }
  go(25s);
  auto asked = std::set<std::string>{};
  for (const auto& x : wire->sent)
    asked.insert(x.order_id);
  CAF_CHECK_EQUAL(asked.size(), 1'000u);
}

CAF_TEST(no more orders are at work than allowed) {
  options.in_flight_max = 4;
  start();
  wire->hold = all;
  auto made_ones = std::vector<made>{};
  for (auto i = 0; i < 40; ++i)
    made_ones.push_back(order());
  go(30s);
  CAF_CHECK_EQUAL(wire->waiting.size(), 4u);
  // A gateway that is slow does not stop the other one.
  const auto other = order(payment_gateway::wechat);
  go(16s);
  CAF_CHECK_EQUAL(wire->waiting.size(), 5u);
  CAF_CHECK_EQUAL(wire->waiting.back().what.order_id, other.order_id);
  for (auto i = 0; i < 200; ++i) {
    if (!wire->waiting.empty())
      wire->release();
    go(500ms);
    CAF_CHECK(wire->waiting.size() <= 5u);
  }
  auto asked = std::set<std::string>{};
  for (const auto& x : wire->sent)
    asked.insert(x.order_id);
  CAF_CHECK_EQUAL(asked.size(), 41u);
}

CAF_TEST(errands wait for their turn and too many are refused) {
  options.asks_per_second = 4;
  options.errands_max = 5;
  start();
  go(1s);
  auto answers = std::vector<told_ptr>{};
  for (auto i = 0; i < 10; ++i)
    answers.push_back(ask_for(order()));
  // Half of what is saved up is kept for orders that are due.
  CAF_CHECK_EQUAL(wire->sent.size(), 2u);
  CAF_CHECK_EQUAL(std::count_if(answers.begin(), answers.end(),
                                [](const told_ptr& x) {
                                  return x->error == errc::overloaded;
                                }),
                  3);
  go(4s);
  CAF_CHECK_EQUAL(wire->sent.size(), 7u);
  for (const auto& x : answers)
    CAF_CHECK_EQUAL(x->times, 1);
}

CAF_TEST(nobody waits longer because others came first) {
  options.asks_per_second = 2;
  start();
  auto answers = std::vector<told_ptr>{};
  for (auto i = 0; i < 100; ++i)
    answers.push_back(ask_for(order()));
  go(2900ms);
  CAF_CHECK(std::any_of(answers.begin(), answers.end(), [](const auto& x) {
    return x->times == 0;
  }));
  go(200ms);
  for (const auto& x : answers) {
    CAF_CHECK_EQUAL(x->times, 1);
    CAF_CHECK(x->error == errc::none);
  }
  go(1min);
  for (const auto& x : answers)
    CAF_CHECK_EQUAL(x->times, 1);
}

CAF_TEST(who asks about what was just asked about does not stand in line) {
  options.asks_per_second = 2;
  start();
  const auto x = order();
  (void)ask_for(x);
  for (auto i = 0; i < 100; ++i)
    (void)ask_for(order());
  const auto told = ask_for(x);
  CAF_CHECK_EQUAL(told->times, 1);
  CAF_CHECK(told->error == errc::none);
}

CAF_TEST(many who look at their orders do not keep lost payments waiting) {
  start();
  auto watched = std::vector<made>{};
  for (auto i = 0; i < 600; ++i) {
    watched.push_back(order());
    db->asks[{raw(watched.back().id), 1}].at = time.now() + 1h;
  }
  // Each of them looks every 5 s: four times the budget.
  auto next = std::size_t{0};
  const auto look = [&] {
    for (auto i = 0; i < 6; ++i)
      (void)ask_for(watched[next++ % watched.size()]);
    go(50ms);
  };
  for (auto i = 0; i < 100; ++i)
    look();
  const auto lost = order();
  register_order(lost);
  world.pay(lost.order_id);
  const auto back = refunding();
  for (auto i = 0; i < 400; ++i)
    look();
  CAF_CHECK_EQUAL(status(lost), order_status::paid);
  CAF_CHECK_EQUAL(status(back), order_status::refunded);
  // And they are asked about all the same.
  CAF_CHECK(wire->count("query") > 18u * options.asks_per_second);
  CAF_CHECK(wire->count("query") <= 26u * options.asks_per_second);
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(errands_scope, fixture)

CAF_TEST(whoever asks is told what is durable) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    world.pay(x.order_id);
    journal().hold = true;
    const auto told = ask_for(x);
    go(200ms);
    CAF_CHECK_EQUAL(told->times, 0);
    journal().hold = false;
    caf::anon_send(env->journals.front()(), tick{});
    consume_messages();
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::applied);
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    go(10s);
    CAF_CHECK_EQUAL(told->times, 1);
  }
}

CAF_TEST(nobody waits for a gateway that hangs) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    register_order(x, at);
    world.pay(x.order_id);
    wire->hold = all;
    const auto told = ask_for(x);
    go(2900ms);
    CAF_CHECK_EQUAL(told->times, 0);
    go(200ms);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::already_applied);
    // It counts all the same, once it comes.
    wire->hold = nullptr;
    wire->release_all();
    go(100ms);
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK_EQUAL(told->times, 1);
  }
}

CAF_TEST(an order is not asked about twice within a few seconds) {
  start();
  const auto x = order();
  register_order(x);
  const auto first = ask_for(x);
  CAF_CHECK_EQUAL(first->times, 1);
  go(4900ms);
  const auto second = ask_for(x);
  CAF_CHECK_EQUAL(second->times, 1);
  CAF_CHECK(second->error == errc::none);
  CAF_CHECK_EQUAL(wire->log(), "query");
  go(200ms);
  const auto third = ask_for(x);
  CAF_CHECK_EQUAL(third->times, 1);
  CAF_CHECK_EQUAL(wire->log(), "query query");
}

CAF_TEST(two who ask at the same time cause one question) {
  start();
  wire->hold = all;
  options.ask_again_after = 0ms;
  stop();
  start();
  const auto x = order();
  const auto first = ask_for(x);
  const auto second = ask_for(x);
  go(100ms);
  CAF_CHECK_EQUAL(wire->log(), "query");
  CAF_CHECK_EQUAL(second->times, 1);
  CAF_CHECK_EQUAL(first->times, 0);
  wire->release_all();
  go(100ms);
  CAF_CHECK_EQUAL(first->times, 1);
}

CAF_TEST(whoever asks a gateway in trouble is told so) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    wire->says = [](const auto&, const call&) {
      return std::optional{bad_gateway()};
    };
    const auto told = ask_for(x);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::gateway_down);
  }
}

CAF_TEST(whoever asks when the actor dies is told so) {
  start();
  wire->hold = all;
  const auto x = order();
  register_order(x);
  world.pay(x.order_id);
  const auto told = ask_for(x);
  stop();
  wire->hold = nullptr;
  // The answer comes to nobody.
  wire->release_all();
  go(options.ask_patience);
  CAF_CHECK_EQUAL(told->times, 1);
  CAF_CHECK(told->error == errc::unavailable);
  CAF_CHECK_EQUAL(status(x), order_status::pending);
}

CAF_TEST(preparing makes the order known and keeps its code) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    const auto told = errand(x, gateway_errand::kind::prepare);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::applied);
    CAF_REQUIRE(told->now.has_value());
    CAF_CHECK(!row(x).code.empty());
    CAF_CHECK_EQUAL(told->now->state.orders[0].code, row(x).code);
    const auto& sent = wire->sent.back();
    CAF_CHECK_EQUAL(sent.operation, "create");
    CAF_CHECK_EQUAL(sent.amount, price);
    CAF_CHECK_EQUAL(sent.order_id, x.order_id);
    CAF_CHECK_EQUAL(sent.notify_url,
                    at == payment_gateway::alipay
                      ? "https://slipway.example/api/payment/alipay/notify"
                      : "https://slipway.example/api/payment/wechat/notify");
    CAF_CHECK(sent.expires_at == row(x).expires_at);
    // A payer can do something with it.
    const auto shown = world.present(row(x).code);
    CAF_REQUIRE(shown.has_value());
    CAF_CHECK_EQUAL(*shown, x.order_id);
    // The same again, and the same code.
    const auto code = row(x).code;
    const auto again = errand(x, gateway_errand::kind::prepare);
    CAF_CHECK_EQUAL(again->times, 1);
    CAF_CHECK(again->error == errc::none);
    CAF_CHECK_EQUAL(again->is, verdict::already_applied);
    CAF_CHECK_EQUAL(row(x).code, code);
  }
  CAF_CHECK(world.complaints.empty());
}

CAF_TEST(preparing says whether the gateway refuses or is down) {
  start();
  for (const auto at : both) {
    const auto x = order(at);
    for (const auto& [how, want] :
         {std::pair{bad_gateway(), errc::gateway_down},
          std::pair{not_sent(), errc::gateway_down},
          std::pair{in_doubt(), errc::gateway_down}}) {
      wire->says = [how = how](const auto&, const call&) {
        return std::optional{how};
      };
      const auto told = errand(x, gateway_errand::kind::prepare);
      CAF_CHECK_EQUAL(told->times, 1);
      CAF_CHECK(told->error == want);
    }
    wire->says = nullptr;
    // Closed over there: nobody can pay it any more.
    register_order(x, at);
    world.orders[x.order_id].is = gateway_model::trade_status::closed;
    const auto told = errand(x, gateway_errand::kind::prepare);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::gateway_refused);
    CAF_CHECK(row(x).code.empty());
  }
}

CAF_TEST(a payer does not wait for the budget of the asks) {
  options.asks_per_second = 1;
  start();
  for (auto i = 0; i < 50; ++i)
    (void)ask_for(order());
  const auto x = order();
  const auto told = errand(x, gateway_errand::kind::prepare);
  CAF_CHECK_EQUAL(told->times, 1);
  CAF_CHECK(told->error == errc::none);
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(refunds_scope, fixture)

CAF_TEST(a refund leaves once and is proven) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    go(1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund");
    const auto& sent = wire->sent.back();
    CAF_CHECK_EQUAL(sent.refund_id, x.order_id + "r1");
    CAF_CHECK_EQUAL(sent.amount, price);
    if (at == payment_gateway::wechat) {
      CAF_CHECK_EQUAL(sent.total, price);
      CAF_CHECK_EQUAL(
        sent.notify_url,
        "https://slipway.example/api/payment/wechat/refund-notify");
      CAF_CHECK_EQUAL(sent.transaction_id, row(x).transaction_id);
    }
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(row(x).refunded, price);
    CAF_CHECK_EQUAL(bought(x), subscription_status::refunded);
    CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK(proof(x)->source == callback_source::query);
    CAF_CHECK(proof(x)->outcome == callback_outcome::applied);
    go(10min, 1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund");
  }
}

CAF_TEST(no refund leaves while automation is off) {
  start();
  automation(false);
  for (const auto at : both) {
    const auto fresh = refunding(at);
    // One that may have left is asked about: to ask changes nothing.
    const auto asked = refunding(at);
    db->asks[{raw(asked.id), 1}].asks = 1;
    go(10min, 1s);
    CAF_CHECK_EQUAL(wire->log(fresh.order_id + "r1"), "");
    CAF_CHECK_EQUAL(wire->count("refund"), 0u);
    CAF_CHECK(wire->count("refund_query") > 0u);
    CAF_CHECK_EQUAL(status(fresh), order_status::refunding);
    CAF_CHECK_EQUAL(asking(fresh).asks, 0u);
    automation(true);
    go(1s);
    CAF_CHECK_EQUAL(wire->log(fresh.order_id + "r1"), "refund");
    go(20min, 1s);
    CAF_CHECK_EQUAL(status(asked), order_status::refunded);
    CAF_CHECK_EQUAL(wire->count("refund"), 2u);
    automation(false);
    wire->sent.clear();
  }
}

CAF_TEST(a refund that may have left is asked about and not sent) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    db->asks[{raw(x.id), 1}].asks = 1;
    // It did arrive.
    auto& theirs = world.orders[x.order_id];
    theirs.refunds.push_back(
      {x.order_id + "r1", price, gateway_model::refund_end::done, ""});
    theirs.refunded = price;
    go(1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund_query");
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
  }
  CAF_CHECK_EQUAL(wire->count("refund"), 0u);
}

CAF_TEST(a refund that the gateway never got is sent after asking) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    db->asks[{raw(x.id), 1}].asks = 3;
    go(1s);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund_query refund");
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
  }
}

CAF_TEST(a refund in doubt is asked about until the gateway has said it) {
  start();
  for (const auto at : both)
    for (const auto arrived : {false, true}) {
      const auto x = refunding(at);
      auto lost = 0;
      wire->says
        = [&](const client::http_request& request,
              const call& what) -> std::optional<client::http_outcome> {
        if (what.operation == "refund" && lost++ == 0) {
          if (arrived)
            (void)world.answer(request);
          return in_doubt();
        }
        if (what.operation == "refund_query" && lost++ < 4)
          return bad_gateway();
        return std::nullopt;
      };
      go(2min);
      CAF_CHECK_EQUAL(status(x), order_status::refunding);
      go(6min);
      CAF_CHECK_EQUAL(status(x), order_status::refunded);
      CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"),
                      arrived ? "refund refund_query refund_query refund_query "
                                "refund_query"
                              : "refund refund_query refund_query refund_query "
                                "refund_query refund");
      CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
      CAF_CHECK_EQUAL(world.trails[x.order_id + "r1"].arrived, 1);
    }
}

CAF_TEST(what went back before is not given back again) {
  start();
  for (const auto at : both) {
    const auto x = subscribe([&](driver& d) {
      d.feed(order_requested{d.at, at,
                             at == payment_gateway::alipay
                               ? payment_method::qr
                               : payment_method::native,
                             d.at + 30min, "key"});
      d.feed(payment_settled{d.at, 1, at, "tx-" + std::to_string(last_id + 1),
                             price, d.at});
      d.see_portion(1, 1'000, "console");
      CAF_REQUIRE_EQUAL(d.refund(1), verdict::applied);
    });
    register_order(x, at);
    auto& theirs = world.orders[x.order_id];
    theirs.transaction_id = row(x).transaction_id;
    CAF_REQUIRE(world.pay(x.order_id));
    theirs.refunds.push_back(
      {"console", 1'000, gateway_model::refund_end::done, ""});
    theirs.refunded = 1'000;
    go(1s);
    CAF_CHECK_EQUAL(wire->sent.back().amount, price - 1'000);
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(row(x).refunded, price);
    CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
  }
  CAF_CHECK(world.complaints.empty());
}

CAF_TEST(a refund that takes its time is waited for) {
  world.faults.later = 100;
  world.faults.later_max = 90s;
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    go(1s);
    CAF_CHECK_EQUAL(status(x), order_status::refunding);
    CAF_CHECK_EQUAL(row(x).refunded, 0);
    go(5min);
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
  }
}

CAF_TEST(a refund that cannot be paid out is a persons with the same number) {
  world.faults.abnormal = 100;
  world.faults.later_max = 1s;
  start();
  const auto x = refunding(payment_gateway::wechat);
  go(1min);
  CAF_CHECK_EQUAL(status(x), order_status::paid);
  CAF_CHECK_EQUAL(row(x).refund_seq, 1u);
  CAF_CHECK(row(x).refund_error.find("could not pay") != std::string::npos);
  // Nobody tries by itself.
  const auto before = wire->sent.size();
  go(1h, 10s);
  CAF_CHECK_EQUAL(wire->sent.size(), before);
  world.settle_abnormal();
  want_refund(x);
  go(1min);
  CAF_CHECK_EQUAL(status(x), order_status::refunded);
  CAF_CHECK_EQUAL(wire->sent.back().refund_id, x.order_id + "r1");
  CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
}

CAF_TEST(a refund that was given up gets another number) {
  world.faults.given_up = 100;
  world.faults.later_max = 1s;
  start();
  const auto x = refunding(payment_gateway::wechat);
  go(1min);
  CAF_CHECK_EQUAL(status(x), order_status::paid);
  CAF_CHECK_EQUAL(row(x).refund_seq, 2u);
  CAF_CHECK(!row(x).refund_error.empty());
  world.faults.given_up = 0;
  want_refund(x);
  go(1min);
  CAF_CHECK_EQUAL(status(x), order_status::refunded);
  CAF_CHECK_EQUAL(wire->sent.back().refund_id, x.order_id + "r2");
  CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
}

CAF_TEST(a refund that a rule forbids is a persons and can be wanted again) {
  start();
  for (const auto at : both) {
    world.faults.refused = 100;
    const auto x = refunding(at);
    go(1min);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund");
    CAF_CHECK_EQUAL(status(x), order_status::paid);
    CAF_CHECK_EQUAL(row(x).refund_seq, 1u);
    CAF_CHECK(row(x).refund_error.find(at == payment_gateway::alipay
                                         ? "ACQ.SELLER_BALANCE_NOT_ENOUGH"
                                         : "NOT_ENOUGH")
              != std::string::npos);
    CAF_CHECK_EQUAL(bought(x), subscription_status::active);
    world.faults.refused = 0;
    want_refund(x);
    go(1min);
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(world.trails[x.order_id + "r1"].arrived, 2);
    CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
  }
}

CAF_TEST(a refund that alipay forgot is sent again with the same number) {
  world.faults.given_up = 100;
  world.faults.later_max = 1s;
  start();
  const auto x = refunding();
  go(10s);
  world.faults.given_up = 0;
  go(1min);
  CAF_CHECK_EQUAL(status(x), order_status::refunded);
  CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund refund_query refund");
  CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
}

CAF_TEST(a crash never makes a refund leave twice without asking) {
  for (const auto at : both)
    for (const auto arrives : {false, true})
      for (const auto later : {0, 100}) {
        world.faults.later = later;
        start();
        const auto x = refunding(at);
        wire->hold = [](const call& what) {
          return what.operation == "refund";
        };
        go(1s);
        CAF_REQUIRE_EQUAL(wire->waiting.size(), 1u);
        // The request has left; the server dies before the answer.
        stop();
        wire->hold = nullptr;
        if (arrives)
          wire->release_all();
        else
          wire->waiting.clear();
        consume_messages();
        CAF_CHECK_EQUAL(status(x), order_status::refunding);
        start();
        go(6min, 200ms);
        CAF_CHECK_EQUAL(status(x), order_status::refunded);
        CAF_CHECK_EQUAL(world.find(x.order_id)->refunded, price);
        auto asked = true;
        for (const auto& sent : wire->sent) {
          if (sent.refund_id != x.order_id + "r1")
            continue;
          if (sent.operation == "refund_query")
            asked = true;
          else
            CAF_CHECK(std::exchange(asked, false));
        }
        stop();
      }
}

CAF_TEST(a refund that nobody has signed is confirmed) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    auto& theirs = world.orders[x.order_id];
    theirs.refunds.push_back(
      {x.order_id + "r1", price, gateway_model::refund_end::done, ""});
    theirs.refunded = price;
    const auto told = errand(x, gateway_errand::kind::confirm_refund,
                             x.order_id + "r1", refund_callback(x));
    go(100ms);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::applied);
    CAF_CHECK_EQUAL(status(x), order_status::refunded);
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund_query");
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK_EQUAL(proof(x)->body, "unsigned");
    CAF_CHECK(proof(x)->outcome == callback_outcome::applied);
  }
}

CAF_TEST(a refund that nobody has signed and nobody knows is a contradiction) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    wire->hold = [](const call& what) {
      return what.operation == "refund";
    };
    const auto told = errand(x, gateway_errand::kind::confirm_refund,
                             x.order_id + "r1", refund_callback(x));
    go(100ms);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::unknown_order);
    CAF_CHECK_EQUAL(status(x), order_status::refunding);
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK(proof(x)->outcome == callback_outcome::contradicted);
    CAF_CHECK_EQUAL(proof(x)->reason, "refund_not_found");
    CAF_CHECK_EQUAL(wire->log(x.order_id + "r1"), "refund_query");
  }
}

CAF_TEST(a refund that nobody has signed and is under way is acknowledged) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    world.orders[x.order_id].refunds.push_back(
      {x.order_id + "r1", price, gateway_model::refund_end::waiting, ""});
    db->asks[{raw(x.id), 1}].at = time.now() + 1h;
    // Alipay says that only most of the time.
    auto told = told_ptr{};
    for (auto i = 0; i < 20; ++i) {
      told = errand(x, gateway_errand::kind::confirm_refund, x.order_id + "r1",
                    refund_callback(x));
      go(100ms);
      if (told->is == verdict::already_applied)
        break;
    }
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(told->error == errc::none);
    CAF_CHECK_EQUAL(told->is, verdict::already_applied);
    CAF_REQUIRE(proof(x) != nullptr);
    CAF_CHECK(proof(x)->outcome == callback_outcome::acknowledged);
    CAF_CHECK_EQUAL(status(x), order_status::refunding);
    CAF_CHECK_EQUAL(wire->count("refund"), 0u);
    stop();
    start();
  }
}

CAF_TEST(a gateway that cannot confirm comes again) {
  start();
  for (const auto at : both) {
    const auto x = refunding(at);
    wire->says = [](const auto&, const call&) {
      return std::optional{bad_gateway()};
    };
    const auto told = errand(x, gateway_errand::kind::confirm_refund,
                             x.order_id + "r1", refund_callback(x));
    go(100ms);
    CAF_CHECK_EQUAL(told->times, 1);
    CAF_CHECK(is_transient(told->error));
    CAF_CHECK(proof(x) == nullptr);
    CAF_CHECK_EQUAL(status(x), order_status::refunding);
    wire->says = nullptr;
  }
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(keys_scope, fixture)

CAF_TEST(certificates are fetched when they are needed) {
  configure(false);
  start();
  go(100ms);
  CAF_CHECK_EQUAL(wire->count("certificates"), 1u);
  const auto x = order(payment_gateway::wechat);
  register_order(x, payment_gateway::wechat);
  world.pay(x.order_id);
  go(16s);
  CAF_CHECK_EQUAL(status(x), order_status::paid);
  go(10h, 10s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 1u);
  go(70min, 10s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 2u);
}

CAF_TEST(without a certificate none is asked and they are fetched again soon) {
  configure(false);
  wire->says = [this](const client::http_request& request, const call& what) {
    return what.operation == "certificates"
             ? std::optional<client::http_outcome>{wire->count("certificates")
                                                       == 1
                                                     ? in_doubt()
                                                     : world.forge(request)}
             : std::nullopt;
  };
  start();
  const auto x = order(payment_gateway::wechat);
  const auto other = order();
  register_order(x, payment_gateway::wechat);
  world.pay(x.order_id);
  go(14s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 1u);
  go(1s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 2u);
  CAF_CHECK(options.wechat_keys->serials().empty());
  wire->says = nullptr;
  go(10s);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "");
  CAF_CHECK_EQUAL(wire->log(other.order_id), "query");
  go(6s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 3u);
  CAF_CHECK_EQUAL(wire->log(x.order_id), "query");
  CAF_CHECK_EQUAL(status(x), order_status::paid);
}

CAF_TEST(certificates that could not be renewed are fetched again not soon) {
  configure(false);
  start();
  go(10h + 59min, 10s);
  CAF_REQUIRE_EQUAL(wire->count("certificates"), 1u);
  wire->says = [](const auto&, const call&) {
    return std::optional{in_doubt()};
  };
  go(5min, 1s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 2u);
  go(5min, 1s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 3u);
  CAF_CHECK(!options.wechat_keys->serials().empty());
}

CAF_TEST(an unknown key is fetched once for all who meet it) {
  configure(false);
  start();
  go(6min, 1s);
  CAF_REQUIRE_EQUAL(wire->count("certificates"), 1u);
  const auto known = options.wechat_keys->serials().size();
  world.certificate = 1;
  const auto refresh = [this] {
    auto what = std::make_shared<gateway_errand>();
    what->what = gateway_errand::kind::refresh_keys;
    what->gateway = payment_gateway::wechat;
    caf::anon_send(env->reconciler(), what);
    consume_messages();
  };
  wire->hold = all;
  for (auto i = 0; i < 100; ++i)
    refresh();
  CAF_CHECK_EQUAL(wire->count("certificates"), 2u);
  wire->hold = nullptr;
  wire->release_all();
  consume_messages();
  CAF_CHECK_EQUAL(options.wechat_keys->serials().size(), known + 1);
  for (auto i = 0; i < 100; ++i) {
    refresh();
    go(2s, 500ms);
  }
  CAF_CHECK_EQUAL(wire->count("certificates"), 2u);
  go(2min, 1s);
  refresh();
  CAF_CHECK_EQUAL(wire->count("certificates"), 3u);
}

CAF_TEST(with a public key certificates are fetched only when one turns up) {
  start();
  go(30min, 10s);
  CAF_CHECK_EQUAL(wire->count("certificates"), 0u);
}

CAF_TEST_FIXTURE_SCOPE_END()

CAF_TEST_FIXTURE_SCOPE(storm_scope, fixture)

CAF_TEST(whatever happens every reply comes once and nothing stays at work) {
  options.in_flight_max = 3;
  start();
  auto dice = std::mt19937_64{7};
  const auto roll = [&dice](int sides) {
    return static_cast<int>(dice() % static_cast<unsigned>(sides));
  };
  world.faults.later = 40;
  world.faults.abnormal = 20;
  world.faults.given_up = 20;
  world.faults.refused = 20;
  world.faults.later_max = 30s;
  wire->says = [&](const client::http_request& request,
                   const call&) -> std::optional<client::http_outcome> {
    switch (roll(8)) {
      case 0:
        return in_doubt();
      case 1:
        return not_sent();
      case 2:
        return bad_gateway();
      case 3:
        return world.forge(request);
      case 4:
        (void)world.answer(request);
        return in_doubt();
      default:
        return std::nullopt;
    }
  };
  wire->hold = [&](const call&) {
    return roll(2) == 0;
  };
  db->commit_fault = [&](const transition&) {
    const auto n = roll(20);
    return n == 0   ? commit_status::failed
           : n == 1 ? commit_status::in_doubt
           : n == 2 ? commit_status::conflict
                    : commit_status::stored;
  };
  auto ours = std::vector<made>{};
  auto answers = std::vector<told_ptr>{};
  for (auto i = 0; i < 600; ++i) {
    const auto at
      = roll(2) == 0 ? payment_gateway::alipay : payment_gateway::wechat;
    if (ours.size() < 40)
      switch (roll(4)) {
        case 0:
          ours.push_back(refunding(at));
          break;
        case 1:
          ours.push_back(order(at, 20s));
          register_order(ours.back(), at);
          break;
        default:
          ours.push_back(order(at));
          register_order(ours.back(), at);
      }
    const auto& x
      = ours[static_cast<std::size_t>(roll(static_cast<int>(ours.size())))];
    switch (roll(8)) {
      case 0:
        world.pay(x.order_id);
        break;
      case 1:
        answers.push_back(errand(x, gateway_errand::kind::prepare));
        break;
      case 2:
        answers.push_back(errand(x, gateway_errand::kind::confirm_refund,
                                 x.order_id + "r1", refund_callback(x)));
        break;
      case 3:
        want_refund(x);
        break;
      default:
        answers.push_back(ask_for(x));
    }
    if (!wire->waiting.empty() && roll(2) == 0)
      wire->release();
    if (roll(100) == 0) {
      // What was on its way comes to nobody.
      stop();
      start();
    }
    go(millis{200 + roll(800)}, 200ms);
  }
  wire->hold = nullptr;
  wire->says = nullptr;
  db->commit_fault = nullptr;
  wire->release_all();
  go(1min, 200ms);
  for (const auto& x : answers)
    CAF_CHECK_EQUAL(x->times, 1);
  // Room for all three is there, for both gateways.
  wire->hold = all;
  for (const auto at : both)
    for (auto i = 0; i < 4; ++i)
      (void)order(at);
  go(20s, 200ms);
  CAF_CHECK_EQUAL(wire->waiting.size(), 6u);
  wire->hold = nullptr;
  wire->release_all();
  consume_messages();
  // The books agree where nothing is left to be done.
  for (const auto& x : ours) {
    const auto& o = row(x);
    const auto* theirs = world.find(x.order_id);
    CAF_CHECK(o.refunded <= theirs->refunded);
    CAF_CHECK(!(lifecycle::order_status::refunded == o.status
                && theirs->refunded != price));
    CAF_CHECK(!has_money(o) || theirs->paid == price);
  }
  CAF_CHECK(world.complaints.empty());
}

CAF_TEST_FIXTURE_SCOPE_END()
