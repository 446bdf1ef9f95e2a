#include "http/payment/reconciler.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/client/trace_header.hpp"
#include "http/crypto/text.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <array>
#include <deque>
#include <set>
#include <unordered_map>
#include <utility>

namespace slipway::payment {

namespace {

using lifecycle::order_status;
using lifecycle::payment_gateway;
using lifecycle::verdict;

constexpr auto gateways
  = std::array{payment_gateway::alipay, payment_gateway::wechat};

/// An answer that is kept as a proof; longer ones are cut.
constexpr auto answer_max = std::size_t{64 * 1024};

/// How long after its expiry an order is asked about again soon, should asking
/// have come to nothing: later on, a gateway that is gone is left in peace.
constexpr auto payable_retry = millis{600'000};

/// The same of a closed one, and the pause.
constexpr auto closed_retry = millis{600'000};

constexpr auto closed_retry_until = millis{54'000'000};

/// Orders whose last ask is remembered.
constexpr auto recent_max = std::size_t{10'000};

std::string_view word(payment_gateway x) {
  return x == payment_gateway::alipay ? "alipay" : "wechat";
}

bool is_unpaid(order_status x) {
  return x == order_status::pending || x == order_status::closing
         || x == order_status::closed;
}

/// A gateway's answer as the inbox keeps it.
std::string kept_headers(const client::header_list& headers) {
  auto out = std::string{};
  for (const auto& [name, value] : headers)
    out += crypto::to_valid_utf8(name) + ": " + crypto::to_valid_utf8(value)
           + "\n";
  return out;
}

} // namespace

struct reconciler_state::impl {
  /// What a call is about, for logs and spans. Empty: about no order.
  struct subject {
    subscription_id subscription{};
    std::string order_id;
    trace::origin origin; ///< The request that it came by, if it did.

    /// Good for as long as this lives.
    [[nodiscard]] log::about about() const {
      auto out = log::about{subscription};
      out.order(order_id).begun_by(origin).actor(name);
      return out;
    }
  };

  /// What is to be done for an order belongs to the request that asks for it,
  /// or else to whatever is under way for its subscription.
  [[nodiscard]] subject subject_of(subscription_id id, std::string order_id,
                                   trace::origin by = {}) const {
    auto out = subject{id, std::move(order_id), std::move(by)};
    if (env->tracer != nullptr && !out.origin.where.trace)
      if (auto known = env->tracer->journey(id))
        out.origin.where = std::move(known);
    return out;
  }

  /// One order being worked on. Lives as long as somebody waits for an answer
  /// about it.
  struct job {
    payment_gateway at = payment_gateway::alipay;
    subscription_id subscription{};
    std::string order_id;
    std::string currency;
    subject of; ///< For logs and spans.
    lifecycle::order order;
    /// How often the gateway was asked in this status before.
    std::uint32_t asks = 0;
    bool asked_again = false;
    reply_ptr reply; ///< Of whoever waits; may be null.
    std::shared_ptr<callback_entry> callback;
    std::string refund_id;
  };

  using job_ptr = std::shared_ptr<job>;

  /// One gateway's budget and queue.
  struct lane {
    double tokens = 0;
    timestamp filled_at{};
    bool claiming = false;
    std::size_t in_flight = 0;
    std::size_t creating = 0; ///< Orders being made known.
    std::deque<gateway_errand_ptr> waiting;
  };

  reconciler_actor::pointer self = nullptr;
  environment_ptr env;
  reconciler_options options;
  std::map<payment_gateway, lane> lanes;
  /// Orders at work: nobody asks about one twice at the same time, and no
  /// refund is requested while its request is still on the way.
  std::set<std::string> at_work;
  std::unordered_map<std::string, timestamp> recent;
  timestamp keys_due{};
  timestamp keys_fetched_at{};
  bool fetching_keys = false;
  alive_guard alive;

  // -- plumbing
  // ---------------------------------------------------------------------

  [[nodiscard]] timestamp now() const {
    return env->clock->now();
  }

  gateway::stamp make_stamp() {
    return payment::make_stamp(now(), *env->entropy);
  }

  /// Whether a call does more than to ask.
  static bool changes_anything(std::string_view operation) {
    return operation == "create" || operation == "close"
           || operation == "refund";
  }

  /// Calls the gateway and goes on inside of the actor with what `read` makes
  /// of the answer.
  /// @param read `answer<T>(const http_response&, timestamp)`; runs on the
  ///             network's thread.
  template <class Read, class Next>
  void call(payment_gateway at, const char* operation, const subject& of,
            gateway::merchant::request request, Read read, Next next) {
    using answer = std::decay_t<decltype(read(
      std::declval<const client::http_response&>(), timestamp{}))>;
    if (!request) {
      next(answer{tl::unexpected{gateway::call_failure{
             gateway::failure::refused, "", request.error()}}},
           std::make_shared<client::http_response>());
      return;
    }
    if (changes_anything(operation) && !env->may_act()) {
      next(answer{tl::unexpected{
             gateway::call_failure{gateway::failure::unclear, "",
                                   "this server may not change anything now"}}},
           std::make_shared<client::http_response>());
      return;
    }
    request->timeout = options.request_timeout;
    auto span = std::shared_ptr<trace::span>{};
    if (env->tracer != nullptr && of.origin.where) {
      span = std::make_shared<trace::span>(env->tracer->begin(
        of.origin.where, std::string{word(at)} + " " + operation,
        trace::span_kind::client));
      span->set("slipway.gateway", std::string{word(at)});
      span->set("slipway.order_id", of.order_id);
      span->set("http.request.method", request->method);
      client::add_trace(request->headers, span->where());
    }
    options.network->send(
      std::move(*request),
      [this, me = reconciler_actor{self}, clock = env->clock, at, operation,
       mark = changes_anything(operation)
                ? std::make_shared<outward_mark>(env->load)
                : nullptr,
       span, of, read = std::move(read),
       next = std::move(next)](client::http_outcome outcome) mutable {
        // Not on our thread, and the actor may be gone: nothing of it may be
        // touched here.
        auto raw = std::make_shared<client::http_response>();
        auto got = std::make_shared<answer>(tl::unexpected{
          gateway::call_failure{gateway::failure::unclear, "", ""}});
        auto sent = true;
        if (auto* response = outcome.response()) {
          *got = read(*response, clock->now());
          *raw = std::move(*response);
        } else {
          const auto* why = outcome.failure();
          sent = why->kind != client::failure_kind::not_sent
                 && why->kind != client::failure_kind::refused;
          got->error().sentence = why->message;
        }
        if (span) {
          if (raw->status != 0)
            span->set("http.response.status_code",
                      static_cast<std::int64_t>(raw->status));
          if (!got->has_value())
            span->fail(sent ? std::string{gateway::to_string(got->error().kind)}
                            : "not_sent");
          span->end();
        }
        caf::anon_send(
          me, std::make_shared<std::function<void()>>(
                [this, at, operation, of, got, raw, sent, next]() mutable {
                  note(at, operation, of,
                       got->has_value() ? nullptr : &got->error(), sent);
                  next(std::move(*got), raw);
                }));
      });
  }

  void note(payment_gateway at, const char* operation, const subject& of,
            const gateway::call_failure* why, bool sent) {
    const auto outcome = why == nullptr ? std::string_view{"ok"}
                         : sent         ? gateway::to_string(why->kind)
                                        : std::string_view{"not_sent"};
    env->metrics->gateway_request(word(at), operation, outcome);
    if (why == nullptr)
      return;
    const auto& text = why->sentence.empty() ? why->code : why->sentence;
    if (why->kind == gateway::failure::forged)
      of.about().error("{}: the answer to {} is not proven to be the gateway's "
                       "and was not used: {}",
                       word(at), operation, text);
    else
      of.about().warn("{}: {} {}: {}", word(at), operation, outcome, text);
  }

  // -- the budget
  // -------------------------------------------------------------------

  void fill(lane& what) {
    const auto at = now();
    const auto rate = static_cast<double>(options.asks_per_second);
    const auto most = std::max(1.0, rate);
    if (what.filled_at == timestamp{})
      what.tokens = most;
    else
      what.tokens = std::min(
        most,
        what.tokens
          + rate * static_cast<double>((at - what.filled_at).count()) / 1000);
    what.filled_at = at;
  }

  /// Errands leave half of what can be saved up to the orders that are due:
  /// however many people look at their orders, lost callbacks and refunds get
  /// their turn.
  [[nodiscard]] bool has_room_for_errand(lane& what) {
    return room(what) > 0
           && what.tokens
                >= 1 + static_cast<double>(options.asks_per_second / 2);
  }

  [[nodiscard]] std::size_t room(lane& what) {
    fill(what);
    if (what.tokens < 1 || what.in_flight >= options.in_flight_max)
      return 0;
    return std::min(static_cast<std::size_t>(what.tokens),
                    options.in_flight_max - what.in_flight);
  }

  /// Takes an order to work on; false when somebody is at it already.
  bool begin(const job_ptr& what) {
    if (!at_work.insert(what->order_id).second)
      return false;
    auto& where = lanes[what->at];
    where.tokens -= 1;
    ++where.in_flight;
    if (recent.size() >= recent_max)
      recent.clear();
    recent[what->order_id] = now();
    return true;
  }

  /// Nothing is left to be done for this order now.
  void finish(const job_ptr& what) {
    at_work.erase(what->order_id);
    auto& where = lanes[what->at];
    --where.in_flight;
    pump(what->at);
  }

  void answer(const job_ptr& what, const outcome& how) {
    if (auto reply = std::exchange(what->reply, nullptr))
      reply->deliver(how);
  }

  /// The gateway's answer was of no use: whoever waits is told so, and the
  /// order's next time comes by itself.
  void give_up(const job_ptr& what, const gateway::call_failure& why) {
    answer(what, {why.kind == gateway::failure::refused ? errc::gateway_refused
                                                        : errc::gateway_down,
                  verdict::stale, nullptr});
    ask_soon(*what);
    finish(what);
  }

  /// The claim has moved the order on already. An order that can still be paid,
  /// or could a moment ago, is due again soon; one that is closed, after a
  /// while.
  void ask_soon(const job& about) {
    auto pause = options.ask_retry;
    auto until = about.order.expires_at + payable_retry;
    if (about.order.status == order_status::closed) {
      pause = std::max(pause, closed_retry);
      until = about.order.expires_at + closed_retry_until;
    }
    if (about.order.status == order_status::refunding || now() > until)
      return;
    self->send(env->stores.back()(),
               make_job(query::ask_soon{about.subscription, about.order.seq,
                                        now() + pause},
                        [](slipway::job<query::ask_soon>::reply) {
                          // Where that fails the claim's pause holds.
                        }));
  }

  // -- telling what was learnt
  // ------------------------------------------------------

  std::shared_ptr<callback_entry>
  make_entry(const job_ptr& about, const client::http_response& raw,
             std::string_view what) {
    auto out = std::make_shared<callback_entry>();
    out->gateway = about->at;
    out->source = callback_source::query;
    out->dedupe_key
      = "query|" + about->order_id + "|" + crypto::to_valid_utf8(what);
    out->received_at = now();
    out->order_id = about->order_id;
    out->subscription = about->subscription;
    out->headers = kept_headers(raw.headers);
    out->body = raw.body.substr(0, answer_max);
    return out;
  }

  /// Hands a fact to the order's supervisor, and is done with the order when
  /// that is durable. Should it not get there, the order is still due.
  void tell(const job_ptr& about, lifecycle::event what,
            std::shared_ptr<callback_entry> proof = nullptr) {
    auto cmd = std::make_shared<command>();
    cmd->subscription = about->subscription;
    cmd->what = std::move(what);
    cmd->callback = std::move(proof);
    cmd->control = true;
    cmd->origin = about->of.origin;
    cmd->reply = std::make_shared<reply_slot>(
      [this, me = reconciler_actor{self}, about](const outcome& how) {
        // Not on our thread: nothing of the job may be touched here.
        if (how.error != errc::none)
          about->of.about().warn("what the gateway says about it could not "
                                 "be stored: {}",
                                 to_string(how.error));
        else if (gateway::ending_of(how.is) == gateway::ending::contradicted)
          about->of.about().warn("what the gateway says about it contradicts "
                                 "us: {}",
                                 lifecycle::to_string(how.is));
        caf::anon_send(me, std::make_shared<std::function<void()>>(
                             [this, about, error = how.error, is = how.is] {
                               answer(about, {error, is, nullptr});
                               if (error != errc::none)
                                 ask_soon(*about);
                               finish(about);
                             }));
      });
    self->send(env->registry(), std::move(cmd));
  }

  /// What the gateway says contradicts us beyond what the machine can judge: a
  /// person has to look.
  void contradict(const job_ptr& about, const client::http_response& raw,
                  const std::string& reason) {
    about->of.about().warn("the gateway's answer needs a person: {}", reason);
    keep(about,
         about->callback ? *about->callback : *make_entry(about, raw, reason),
         callback_outcome::contradicted, reason);
  }

  /// Keeps a message that moves nothing, and is done with the order.
  void keep(const job_ptr& about, callback_entry entry, callback_outcome as,
            std::string reason) {
    auto what = std::make_shared<inbox_job>();
    what->entry = std::move(entry);
    what->entry.outcome = as;
    what->entry.reason = std::move(reason);
    what->done = {
      [this, me = reconciler_actor{self}, about, as](errc error) {
        caf::anon_send(
          me, std::make_shared<std::function<void()>>([this, about, as, error] {
            answer(about, {error,
                           as == callback_outcome::contradicted
                             ? verdict::unknown_order
                             : verdict::already_applied,
                           nullptr});
            finish(about);
          }));
      },
      errc::unavailable};
    self->send(env->journal_of(about->subscription), std::move(what));
  }

  // -- orders
  // -----------------------------------------------------------------------

  const gateway::merchant* merchant_of(payment_gateway at) const {
    return options.accounts.of(at);
  }

  /// Asks what became of an order, and does what follows from it.
  void ask(const job_ptr& about) {
    const auto* merchant = merchant_of(about->at);
    if (merchant == nullptr) {
      give_up(about, {gateway::failure::refused, "",
                      "this gateway is not configured any more"});
      return;
    }
    call(
      about->at, "query", about->of,
      merchant->query_request(about->order_id, make_stamp()),
      [merchant, id = about->order_id](const client::http_response& from,
                                       timestamp at) {
        return merchant->read_query(id, from, at);
      },
      [this, about](gateway::merchant::answer<gateway::trade> got,
                    const std::shared_ptr<client::http_response>& raw) {
        if (!got)
          give_up(about, got.error());
        else
          learnt(about, *got, *raw);
      });
  }

  void learnt(const job_ptr& about, const gateway::trade& what,
              const client::http_response& raw) {
    switch (what.is) {
      case gateway::trade_state::paid:
        if (!what.amount || what.transaction_id.empty())
          contradict(about, raw, "amount_malformed");
        else if (what.currency != about->currency)
          contradict(about, raw, "currency_mismatch");
        else
          tell(about,
               lifecycle::payment_settled{now(), about->order.seq, about->at,
                                          what.transaction_id, *what.amount,
                                          what.paid_at.value_or(now())},
               make_entry(about, raw, what.transaction_id));
        return;
      case gateway::trade_state::refunded:
        // Paid and given back while nobody told us. Nothing is to be activated
        // for it, and how much went back only a person can find out.
        if (is_unpaid(about->order.status))
          contradict(about, raw, "refunded_unseen");
        else
          done(about);
        return;
      case gateway::trade_state::closed:
        if (about->order.status == order_status::pending
            || about->order.status == order_status::closing)
          tell(about, lifecycle::order_closed{now(), about->order.seq});
        else
          done(about);
        return;
      case gateway::trade_state::absent:
      case gateway::trade_state::unpaid:
        // A closed one that has come to be payable, since somebody scanned it
        // late, is closed once more.
        if ((about->order.status == order_status::closed
             && what.is == gateway::trade_state::unpaid)
            || about->order.status == order_status::closing
            || (about->order.status == order_status::pending
                && about->order.expires_at <= now()))
          close(about);
        else
          done(about);
        return;
    }
  }

  /// Nothing new.
  void done(const job_ptr& about) {
    answer(about, {errc::none, verdict::already_applied, nullptr});
    finish(about);
  }

  void close(const job_ptr& about) {
    if (!env->may_act()) {
      // Asked about, not closed: its turn comes again.
      ask_soon(*about);
      done(about);
      return;
    }
    const auto* merchant = merchant_of(about->at);
    call(
      about->at, "close", about->of,
      merchant->close_request(about->order_id, make_stamp()),
      [merchant, id = about->order_id](const client::http_response& from,
                                       timestamp at) {
        return merchant->read_close(id, from, at);
      },
      [this, about](gateway::merchant::answer<gateway::close_end> got,
                    const std::shared_ptr<client::http_response>&) {
        if (!got)
          give_up(about, got.error());
        else if (*got != gateway::close_end::paid)
          tell(about, lifecycle::order_closed{now(), about->order.seq});
        else if (!std::exchange(about->asked_again, true))
          ask(about); // The payment has won the race.
        else
          done(about);
      });
  }

  // -- refunds
  // ----------------------------------------------------------------------

  gateway::refund_order refund_order_of(const job& about) const {
    auto out = gateway::refund_order{};
    out.order_id = about.order_id;
    out.transaction_id = about.order.transaction_id;
    out.refund_id = about.refund_id;
    out.amount = about.order.refund_amount;
    out.total = about.order.amount;
    out.currency = about.currency;
    out.reason
      = about.order.refund_for == lifecycle::refund_cause::deployment_failed
          ? "部署失败退款"
          : "订阅退款";
    out.notify_url = options.words.public_url + "/api/payment/"
                     + std::string{word(about.at)} + "/refund-notify";
    return out;
  }

  void refund(const job_ptr& about) {
    // The claim has counted this ask durably before anything leaves: whoever
    // comes after a crash or a lost answer asks first.
    if (about->asks == 0)
      send_refund(about);
    else
      ask_refund(about);
  }

  void send_refund(const job_ptr& about) {
    if (!env->may_act()) {
      done(about);
      return;
    }
    const auto* merchant = merchant_of(about->at);
    const auto order = refund_order_of(*about);
    call(
      about->at, "refund", about->of,
      merchant->refund_request(order, make_stamp()),
      [merchant, order](const client::http_response& from, timestamp at) {
        return merchant->read_refund(order, from, at);
      },
      [this, about](gateway::merchant::answer<gateway::refund_report> got,
                    const std::shared_ptr<client::http_response>& raw) {
        if (got)
          refund_learnt(about, *got, *raw, true);
        else if (got.error().kind == gateway::failure::refused)
          refund_failed(about,
                        got.error().code.empty()
                          ? got.error().sentence
                          : got.error().code + ": " + got.error().sentence);
        else
          give_up(about, got.error());
      });
  }

  void ask_refund(const job_ptr& about) {
    const auto* merchant = merchant_of(about->at);
    const auto order = refund_order_of(*about);
    call(
      about->at, "refund_query", about->of,
      merchant->refund_query_request(order, make_stamp()),
      [merchant, order](const client::http_response& from, timestamp at) {
        return merchant->read_refund_query(order, from, at);
      },
      [this, about](gateway::merchant::answer<gateway::refund_report> got,
                    const std::shared_ptr<client::http_response>& raw) {
        if (got)
          refund_learnt(about, *got, *raw, false);
        else
          give_up(about, got.error());
      });
  }

  void refund_learnt(const job_ptr& about, const gateway::refund_report& what,
                     const client::http_response& raw, bool just_sent) {
    switch (what.is) {
      case gateway::refund_state::done: {
        auto fact = lifecycle::refund_observed{};
        fact.at = now();
        fact.order = about->order.seq;
        fact.total = what.total;
        fact.portion = what.amount.value_or(about->order.refund_amount);
        fact.refund_id = about->refund_id;
        tell(about, fact,
             about->callback ? about->callback
                             : make_entry(about, raw, about->refund_id));
        return;
      }
      case gateway::refund_state::processing:
        if (about->callback)
          keep(about, *about->callback, callback_outcome::acknowledged,
               "the refund is being processed");
        else
          done(about);
        return;
      case gateway::refund_state::absent:
        if (about->callback)
          contradict(about, raw, "refund_not_found");
        else if (just_sent)
          done(about);
        else
          send_refund(about);
        return;
      case gateway::refund_state::abnormal:
        refund_failed(about, "the gateway could not pay the refund out: settle "
                             "it in its merchant console");
        return;
      case gateway::refund_state::closed:
        refund_failed(about, "the gateway has closed the refund", true);
        return;
    }
  }

  void
  refund_failed(const job_ptr& about, std::string reason, bool spent = false) {
    about->of.about().error("refund {} failed: {}", about->refund_id, reason);
    tell(about,
         lifecycle::refund_failed{
           now(), about->order.seq,
           gateway::refund_seq_of(about->order_id, about->refund_id), spent,
           std::move(reason)},
         about->callback);
  }

  // -- what is due
  // ------------------------------------------------------------------

  void work(const job_ptr& what) {
    if (what->order.status == order_status::refunding)
      refund(what);
    else
      ask(what);
  }

  void claim(payment_gateway at) {
    // Without an account nobody can be asked, and nothing may be believed: what
    // is due stays due until there is one again.
    if (merchant_of(at) == nullptr)
      return;
    auto& where = lanes[at];
    const auto limit = room(where);
    if (where.claiming || limit == 0)
      return;
    where.claiming = true;
    auto what = query::claim_asks{};
    what.gateway = at;
    what.now = now();
    what.limit = limit;
    what.rules = env->rules;
    // A claim counts: one that cannot be sent yet waits where it is.
    what.unsent_refunds = env->may_act();
    self->send(
      env->stores.back()(),
      make_job(std::move(what), [this, me = reconciler_actor{self}, at](
                                  slipway::job<query::claim_asks>::reply rows) {
        auto got = std::make_shared<slipway::job<query::claim_asks>::reply>(
          std::move(rows));
        caf::anon_send(me,
                       std::make_shared<std::function<void()>>([this, at, got] {
                         claimed(at, *got);
                       }));
      }));
  }

  void
  claimed(payment_gateway at, slipway::job<query::claim_asks>::reply& rows) {
    lanes[at].claiming = false;
    if (!rows)
      return; // The store has said why; the next tick tries again.
    for (auto& row : *rows) {
      auto next = std::make_shared<job>();
      next->at = at;
      next->subscription = row.subscription;
      next->order_id = to_text(order_ref{row.subscription, row.order.seq});
      next->currency = std::move(row.currency);
      next->order = std::move(row.order);
      next->asks = row.asks;
      next->refund_id
        = gateway::refund_id_of(next->order_id, next->order.refund_seq);
      next->of = subject_of(next->subscription, next->order_id);
      if (begin(next))
        work(next);
    }
  }

  // -- errands
  // ----------------------------------------------------------------------

  void refuse(const gateway_errand& what, errc why) {
    if (what.reply)
      what.reply->deliver({why, verdict::stale, nullptr});
  }

  /// There is nothing to be done for it.
  void leave(const gateway_errand& what) {
    if (what.reply)
      what.reply->deliver({errc::none, verdict::already_applied, nullptr});
  }

  [[nodiscard]] bool asked_lately(const std::string& order_id) const {
    const auto asked = recent.find(order_id);
    return asked != recent.end()
           && now() < asked->second + options.ask_again_after;
  }

  void receive(gateway_errand_ptr what) {
    if (what->what == gateway_errand::kind::refresh_keys) {
      // One for all who ask, and not before long again.
      keys_due = std::min(keys_due, keys_fetched_at + options.keys_retry);
      refresh_keys();
      return;
    }
    auto& where = lanes[what->gateway];
    if (what->what == gateway_errand::kind::prepare) {
      // A payer waits, and there is one call for each order they make: it does
      // not share the budget of the asks.
      prepare(*what);
      return;
    }
    if (what->what == gateway_errand::kind::ask
        && asked_lately(to_text(order_ref{what->subject->id, what->order}))) {
      leave(*what);
      return;
    }
    if (where.waiting.size() >= options.errands_max) {
      env->metrics->shed("gateway_errands");
      refuse(*what, errc::overloaded);
      return;
    }
    // Patience begins here: late may come the answer, or their turn already.
    if (what->what == gateway_errand::kind::ask && what->reply)
      self->delayed_send(
        self, options.ask_patience,
        std::make_shared<std::function<void()>>([reply = what->reply] {
          reply->deliver({errc::none, verdict::already_applied, nullptr});
        }));
    where.waiting.push_back(std::move(what));
    pump(where);
  }

  void pump(payment_gateway at) {
    pump(lanes[at]);
  }

  void pump(lane& where) {
    while (!where.waiting.empty() && has_room_for_errand(where)) {
      const auto next = std::move(where.waiting.front());
      where.waiting.pop_front();
      run(*next);
    }
  }

  void run(gateway_errand& what) {
    const auto* order = lifecycle::find_order(what.subject->state, what.order);
    if (order == nullptr) {
      refuse(what, errc::internal);
      return;
    }
    auto next = std::make_shared<job>();
    next->at = what.gateway;
    next->subscription = what.subject->id;
    next->order_id = to_text(order_ref{what.subject->id, what.order});
    next->currency = what.subject->currency;
    next->order = *order;
    next->of = subject_of(next->subscription, next->order_id, what.origin);
    const auto confirms = what.what == gateway_errand::kind::confirm_refund;
    if (!confirms && asked_lately(next->order_id)) {
      leave(what);
      return;
    }
    if (!begin(next)) {
      // Somebody is at it. A gateway that wants to know comes again.
      if (what.reply)
        what.reply->deliver({confirms ? errc::unavailable : errc::none,
                             verdict::already_applied, nullptr});
      return;
    }
    next->reply = std::move(what.reply);
    if (confirms) {
      next->callback = std::move(what.callback);
      next->refund_id = std::move(what.refund_id);
      ask_refund(next);
    } else {
      ask(next);
    }
  }

  /// Makes an order known to the gateway, and its code known to the order.
  void prepare(const gateway_errand& what) {
    const auto* merchant = merchant_of(what.gateway);
    const auto* order = lifecycle::find_order(what.subject->state, what.order);
    auto& where = lanes[what.gateway];
    if (merchant == nullptr || order == nullptr) {
      refuse(what, errc::internal);
      return;
    }
    if (where.creating >= 4 * options.in_flight_max) {
      env->metrics->shed("gateway_orders");
      refuse(what, errc::overloaded);
      return;
    }
    ++where.creating;
    const auto of = subject_of(what.subject->id,
                               to_text(order_ref{what.subject->id, what.order}),
                               what.origin);
    auto pay = pay_order_of(*what.subject, *order, options.words);
    pay.payer_id = what.payer_id;
    pay.payer_ip = what.payer_ip;
    call(
      what.gateway, "create", of, merchant->create_request(pay, make_stamp()),
      [merchant, pay](const client::http_response& from, timestamp at) {
        return merchant->read_create(pay, from, at);
      },
      [this, at = what.gateway, id = what.subject->id, seq = what.order,
       reply = what.reply,
       of](gateway::merchant::answer<gateway::payment_link> got,
           const std::shared_ptr<client::http_response>&) {
        --lanes[at].creating;
        pump(at);
        if (!got) {
          if (reply)
            reply->deliver({got.error().kind == gateway::failure::refused
                              ? errc::gateway_refused
                              : errc::gateway_down,
                            verdict::stale, nullptr});
          return;
        }
        auto cmd = std::make_shared<command>();
        cmd->subscription = id;
        cmd->what
          = lifecycle::order_prepared{now(), seq,
                                      !got->qr_code.empty()   ? got->qr_code
                                      : !got->pay_url.empty() ? got->pay_url
                                                              : got->prepay_id};
        cmd->reply = reply;
        cmd->control = true;
        cmd->origin = of.origin;
        self->send(env->registry(), std::move(cmd));
      });
  }

  // -- WeChat Pay's keys
  // -------------------------------------------------------------

  /// Whether an answer of this gateway could be believed.
  [[nodiscard]] bool has_keys() const {
    return !options.wechat_keys || !options.wechat_keys->serials().empty();
  }

  void refresh_keys() {
    const auto at = now();
    if (!options.accounts.v3 || !options.wechat_keys || fetching_keys
        || at < keys_due)
      return;
    fetching_keys = true;
    keys_fetched_at = at;
    keys_due = at + (has_keys() ? options.keys_retry : options.keys_urgent);
    call(
      payment_gateway::wechat, "certificates", {},
      options.accounts.v3->certificates_request(make_stamp()),
      [v3 = options.accounts.v3](const client::http_response& from,
                                 timestamp when) {
        return v3->read_certificates(from, when);
      },
      [this](
        gateway::merchant::answer<std::vector<gateway::platform_certificate>>
          got,
        const std::shared_ptr<client::http_response>&) {
        fetching_keys = false;
        if (!got)
          return;
        options.wechat_keys->put(std::move(*got), now());
        keys_due = now() + options.keys_interval;
      });
  }

  void on_tick() {
    refresh_keys();
    for (const auto at : gateways) {
      // To ask who could not be believed is to ask in vain.
      if (at == payment_gateway::wechat && !has_keys())
        continue;
      claim(at);
      pump(at);
    }
    self->delayed_send(self, env->limits.ask_scan, tick{});
  }
};

reconciler_state::reconciler_state() : impl_{std::make_unique<impl>()} {
}

reconciler_state::~reconciler_state() = default;

void reconciler_state::start(reconciler_actor::pointer self,
                             environment_ptr env, reconciler_options options) {
  impl_->self = self;
  impl_->alive = alive_guard{env->metrics, name};
  impl_->env = std::move(env);
  impl_->options = std::move(options);
  // Where public keys are configured certificates are asked for only when an
  // unknown one turns up.
  const auto& keys = impl_->options.wechat_keys;
  impl_->keys_due = keys && !gateway::is_public_key_id(keys->public_key_id())
                      ? impl_->now()
                      : timestamp::max();
}

void reconciler_state::receive(gateway_errand_ptr what) {
  impl_->receive(std::move(what));
}

void reconciler_state::on_tick() {
  impl_->on_tick();
}

reconciler_actor::behavior_type
reconciler(reconciler_actor::stateful_pointer<reconciler_state> self,
           environment_ptr env, reconciler_options options) {
  under_supervision(self);
  self->state.start(self, std::move(env), std::move(options));
  return {
    [self](gateway_errand_ptr& what) {
      self->state.receive(std::move(what));
    },
    [](const continuation& what) {
      (*what)();
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway::payment
