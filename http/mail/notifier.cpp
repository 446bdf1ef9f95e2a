#include "http/mail/notifier.hpp"

#include "actors/guardian.hpp"
#include "actors/observe/log.hpp"
#include "http/mail/unsubscribe.hpp"

#include <caf/send.hpp>

#include <algorithm>
#include <utility>

namespace slipway::mail {

namespace {

/// Mails of one look into the outbox.
constexpr auto mails_max = std::size_t{20};

notice_kind kind_of(slipway::notice_kind x) {
  switch (x) {
    case slipway::notice_kind::payment_received:
      return notice_kind::payment_received;
    case slipway::notice_kind::deployment_success:
      return notice_kind::deployment_success;
    case slipway::notice_kind::deployment_failed:
      return notice_kind::deployment_failed;
    case slipway::notice_kind::refund_completed:
      return notice_kind::refund_completed;
    case slipway::notice_kind::deployment_cancelled:
      return notice_kind::deployment_cancelled;
    case slipway::notice_kind::instance_terminated:
      return notice_kind::instance_terminated;
    case slipway::notice_kind::instance_down:
      return notice_kind::instance_down;
    case slipway::notice_kind::instance_recovered:
      return notice_kind::instance_recovered;
    case slipway::notice_kind::instance_changed:
      return notice_kind::instance_changed;
    case slipway::notice_kind::deployment_started:
      return notice_kind::deployment_started;
  }
  return notice_kind::payment_received;
}

} // namespace

notice_facts facts_of(const slipway::notice& what, subscription_id subscription,
                      const std::string& plan, const plan_map& plans) {
  auto facts = notice_facts{};
  facts.kind = kind_of(what.kind);
  facts.subscription_id = to_text(subscription);
  facts.instance_name = project_name(subscription);
  facts.public_url = what.public_url;
  if (what.duration)
    facts.duration = to_words(*what.duration);
  facts.error = what.error;
  const auto known = plans.find(plan);
  facts.plan_title = known == plans.end() ? plan : known->second.title;
  facts.currency = known == plans.end() ? "CNY" : known->second.currency;
  facts.amount = format_amount(what.amount);
  return facts;
}

void notifier_state::look() {
  // What is owed stays in the outbox; a tick looks again.
  if (!env->may_act())
    return;
  if (looking) {
    look_again = true;
    return;
  }
  looking = true;
  // Ahead of the look in the same store's mailbox: what they say counts.
  for (auto& end : unrecorded->take())
    record(std::move(end));
  self->send(
    env->stores.front()(),
    make_job(query::due_mails{env->clock->now(), mails_max},
             [me = notifier_actor{self}](job<query::due_mails>::reply rows) {
               auto back = mails_read{};
               if (rows)
                 back.rows
                   = std::make_shared<std::vector<query::due_mails::row>>(
                     std::move(*rows));
               else
                 back.error = rows.error();
               caf::anon_send(me, std::move(back));
             }));
}

void notifier_state::send(const mails_read& what) {
  if (!unrecorded->empty()) {
    // The next tick tries to record them again.
    looking = false;
    look_again = false;
    return;
  }
  if (what.rows && what.next < what.rows->size() && env->may_act()) {
    // One at a time, so that an order to stop is heard in between.
    send_one((*what.rows)[what.next]);
    self->send(self, mails_read{what.error, what.rows, what.next + 1});
    return;
  }
  looking = false;
  // A full page means that there is more. The marks of this one are ahead of
  // the next look in the same store's mailbox.
  const auto more = what.rows && what.rows->size() == mails_max;
  if (std::exchange(look_again, false) || more)
    if (env->may_act())
      look();
}

void notifier_state::send_one(const query::due_mails::row& mail) {
  const auto at = env->clock->now();
  if (mail.email.empty()) {
    mark(mail, query::mail_status::no_address, at, {});
    return;
  }
  const auto facts
    = facts_of(mail.what, mail.subscription, mail.plan, options.plans);
  const auto may_be_unwanted = is_progress(facts.kind);
  if (may_be_unwanted && !mail.wants_progress) {
    env->metrics->notification("mail", "unwanted");
    mark(mail, query::mail_status::unwanted, at, {});
    return;
  }
  if (!mail.bounced.empty()) {
    env->metrics->notification("mail", "bounced");
    mark(mail, query::mail_status::undeliverable, at,
         "not sent, since mails to this address come back: " + mail.bounced);
    return;
  }
  const auto templates = options.templates == nullptr
                           ? builtin_templates()
                           : options.templates->current();
  const auto words = templates->render(facts, mail.locale);
  auto message = mail_message{};
  message.to = mail.email;
  message.subject = words.mail_subject;
  message.text = words.mail_text;
  message.html = words.mail_html;
  message.message_id
    = to_text(mail.subscription) + "." + std::to_string(mail.revision) + "."
      + std::to_string(static_cast<int>(mail.what.kind)) + "@" + options.domain;
  message.date = mail.what.at;
  message.language = to_tag(language_of(mail.locale));
  if (may_be_unwanted && !options.unsubscribe_url.empty()) {
    message.unsubscribe_url
      = unsubscribe_url_for(options.unsubscribe_url, mail.user_id);
    message.one_click = is_one_click(options.unsubscribe_url);
  }
  const auto mark_of_it = outward_mark{env->load};
  auto around = trace::context{};
  auto span = trace::span{};
  if (env->tracer != nullptr) {
    around = env->tracer->journey(mail.subscription);
    span = env->tracer->begin(around, "mail", trace::span_kind::client);
  }
  const auto end = options.send(message);
  if (span) {
    span.set("slipway.subscription_id", to_text(mail.subscription));
    span.set("slipway.notice", std::string{slipway::to_string(mail.what.kind)});
    span.set("slipway.outcome", std::string{to_string(end.status)});
    if (end.status != send_status::sent)
      span.fail(std::string{to_string(end.status)});
    span.end();
  }
  auto about = log::about{mail.subscription};
  about.actor(name);
  if (around)
    about.trace(around.trace);
  env->metrics->notification("mail", to_string(end.status));
  switch (end.status) {
    case send_status::sent:
      about.info("mail {} sent", slipway::to_string(mail.what.kind));
      mark(mail, query::mail_status::sent, at, {});
      return;
    case send_status::rejected:
      about.warn("mail {} undeliverable: {}",
                 slipway::to_string(mail.what.kind), end.message);
      mark(mail, query::mail_status::undeliverable, at, end.message);
      return;
    case send_status::deferred:
    case send_status::in_doubt:
      break;
  }
  if (mail.tries + 1 >= options.tries_max) {
    mark(mail, query::mail_status::undeliverable, at,
         "given up after " + std::to_string(options.tries_max)
           + " tries: " + end.message);
    return;
  }
  auto delay = options.retry_initial;
  for (auto i = 0u; i < mail.tries && delay < options.retry_max; ++i)
    delay *= 2;
  about.warn("mail {} deferred: {}", slipway::to_string(mail.what.kind),
             end.message);
  mark(mail, query::mail_status::owed,
       env->clock->now() + std::min(delay, options.retry_max), end.message);
}

void notifier_state::mark(const query::due_mails::row& mail,
                          query::mail_status status, timestamp next_at,
                          std::string detail) {
  auto what = query::mark_mail{};
  what.subscription = mail.subscription;
  what.revision = mail.revision;
  what.kind = mail.what.kind;
  what.status = status;
  what.at = env->clock->now();
  what.next_at = next_at;
  what.detail = std::move(detail);
  if (status == query::mail_status::sent)
    what.address = mail.email;
  record(std::move(what));
}

void notifier_state::record(query::mark_mail what) {
  auto again = what;
  self->send(env->stores.front()(),
             make_job(std::move(what), [left = unrecorded, again](
                                         job<query::mark_mail>::reply done) {
               if (done)
                 return;
               log::about{again.subscription}.actor(name).warn(
                 "a mail's end is not recorded yet: {}",
                 slipway::to_string(done.error()));
               left->add(again);
             }));
}

void notifier_state::on_tick() {
  look();
  self->delayed_send(self, env->limits.mail_scan, tick{});
}

notifier_actor::behavior_type
notifier(notifier_actor::stateful_pointer<notifier_state> self,
         environment_ptr env, notifier_options options) {
  under_supervision(self);
  auto& st = self->state;
  st.self = self;
  st.alive = alive_guard{env->metrics, notifier_state::name};
  st.env = std::move(env);
  st.options = std::move(options);
  return {
    [self](const mail_nudge&) {
      self->state.look();
    },
    [self](const mails_read& what) {
      self->state.send(what);
    },
    [self](const tick&) {
      self->state.on_tick();
    },
  };
}

} // namespace slipway::mail
