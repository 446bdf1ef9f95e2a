#include "http/api/context.hpp"
#include "http/api/problem.hpp"
#include "http/api/render.hpp"
#include "http/crypto/text.hpp"
#include "http/mail/bounce.hpp"
#include "http/mail/mailer.hpp"

namespace slipway::api {

namespace json = boost::json;

namespace {

// -- templates
// ----------------------------------------------------------------------------

/// What a browser may do with a preview: show it. Nothing is loaded, run or
/// sent, and no other page can frame it.
constexpr auto preview_policy
  = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox";

/// Where the words of a template come from: `built-in` or `replaced`.
json::object
render_sources(const mail::template_set& from, std::string_view name) {
  const auto source_of = [&](mail::language in, const char* suffix) {
    const auto file
      = std::string{name} + '.' + std::string{to_tag(in)} + '.' + suffix;
    return json::object{
      {"file", file},
      {"source", from.is_replaced(file) ? "replaced" : "built-in"}};
  };
  auto out = json::object{};
  for (const auto in : mail::languages)
    out[to_tag(in)] = json::object{{"text", source_of(in, "txt")},
                                   {"html", source_of(in, "html")}};
  return out;
}

void list_templates(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto from = ctx->notice_templates();
  auto data = json::array{};
  for (const auto& kind : mail::template_kinds())
    data.push_back(json::object{
      {"kind", kind.name},
      {"optional", mail::is_progress(kind.kind)},
      {"locales", render_sources(*from, kind.name)},
      {"preview", "/api/ops/templates/" + std::string{kind.name}}});
  auto faults = json::array{};
  if (ctx->templates != nullptr)
    for (const auto& line : ctx->templates->faults())
      faults.emplace_back(crypto::to_valid_utf8(line));
  succeed_with(*x, {{"success", true},
                    {"data", std::move(data)},
                    {"layout", render_sources(*from, "layout")},
                    {"faults", std::move(faults)},
                    {"nextCursor", nullptr}});
}

void show_template(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto* kind = mail::find_template(x->in().param(0));
  if (kind == nullptr) {
    auto known = std::string{};
    for (const auto& each : mail::template_kinds())
      known += (known.empty() ? "" : ", ") + std::string{each.name};
    x->fail(404, "not_found",
            "There is no such template; expected one of " + known);
    return;
  }
  const auto locale = x->in().query("locale").value_or("zh-CN");
  if (locale != "zh-CN" && locale != "en") {
    x->fail(400, "invalid_locale", "locale must be zh-CN or en");
    return;
  }
  const auto format = x->in().query("format").value_or("html");
  if (format != "html" && format != "text" && format != "json") {
    x->fail(400, "invalid_format", "format must be html, text or json");
    return;
  }
  const auto shown
    = ctx->notice_templates()->render(mail::sample_facts(*kind), locale);
  if (format == "json") {
    succeed(*x, json::object{{"kind", kind->name},
                             {"locale", locale},
                             {"title", shown.title},
                             {"message", shown.message},
                             {"subject", shown.mail_subject},
                             {"text", shown.mail_text},
                             {"html", shown.mail_html}});
    return;
  }
  auto response = http::response{};
  response.headers = {{"Content-Security-Policy", preview_policy},
                      {"Referrer-Policy", "no-referrer"}};
  response.content_type = format == "html" ? "text/html; charset=utf-8"
                                           : "text/plain; charset=utf-8";
  response.body = format == "html" ? shown.mail_html : shown.mail_text;
  x->answer(std::move(response));
}

// -- mails that come back
// ----------------------------------------------------------------------------

constexpr auto wanted_bounce
  = "Expected a delivery status notification (message/delivery-status, "
    "multipart/report or message/rfc822), or JSON {\"messageId\" or "
    "\"recipient\", \"reason\", \"permanent\"?}";

/// One report after the other; answers when the last one is recorded.
struct bounce_run {
  context_ptr ctx;
  exchange_ptr x;
  std::string by;
  std::vector<mail::returned_mail> all;
  std::size_t next = 0;
  json::array told = {};
  bool known = false;
};

void tell(bounce_run& run, const mail::returned_mail& what,
          std::string_view outcome, const query::note_bounce::found& found) {
  run.told.push_back(json::object{
    {"recipient", json_text(what.recipient)},
    {"messageId", json_text(what.message_id)},
    {"outcome", outcome},
    {"reason", what.reason},
    {"blockedAddress", json_text(found.address)},
    {"subscriptionId", raw(found.subscription) == 0
                         ? json::value(nullptr)
                         : json::value(to_text(found.subscription))},
    {"marked", found.marked}});
}

void record_next(std::shared_ptr<bounce_run> run) {
  while (run->next < run->all.size() && !run->all[run->next].failed) {
    // Late, or passed on: it may still arrive.
    tell(*run, run->all[run->next], "not_a_failure", {});
    run->known = true;
    ++run->next;
  }
  if (run->next == run->all.size()) {
    if (run->known)
      succeed(*run->x, std::move(run->told));
    else
      run->x->fail(404, "not_found",
                   "Neither the mail nor the address is one of ours");
    return;
  }
  const auto& what = run->all[run->next];
  auto note = query::note_bounce{};
  note.mail = mail::parse_message_id(what.message_id);
  note.address = what.recipient;
  note.permanent = what.permanent;
  note.reason = what.reason.empty() ? "no reason is told" : what.reason;
  note.by = run->by;
  note.at = run->ctx->now();
  const auto ctx = run->ctx;
  ctx->ask(std::move(note), [run = std::move(run)](
                              job<query::note_bounce>::reply found) mutable {
    if (!found && found.error() != errc::not_found) {
      fail(*run->x, problem_of(found.error()));
      return;
    }
    const auto& what = run->all[run->next];
    if (found) {
      run->known = true;
      tell(*run, what, "recorded", *found);
    } else {
      tell(*run, what, "unknown", {});
    }
    ++run->next;
    record_next(std::move(run));
  });
}

/// The JSON form. Answers 400 itself.
std::optional<mail::returned_mail> read_json_bounce(const exchange_ptr& x) {
  auto body = body_reader{x};
  auto out = mail::returned_mail{};
  out.message_id = body.text("messageId", 250);
  const auto recipient = body.text("recipient", 254);
  out.reason = body.text("reason", 300);
  out.permanent = body.boolean("permanent").value_or(true);
  out.failed = true;
  if (!body)
    return std::nullopt;
  const auto refuse = [&](std::string_view why) {
    x->fail(400, "invalid_request", why);
    return std::nullopt;
  };
  if (out.reason.find_first_not_of(' ') == out.reason.npos)
    return refuse("Expected a reason: why the mail came back");
  if (out.message_id.empty() && recipient.empty())
    return refuse(wanted_bounce);
  if (!out.message_id.empty() && !mail::parse_message_id(out.message_id))
    return refuse("messageId is none of ours; expected what stands in the "
                  "mail's Message-ID, such as "
                  "<sub_0123456789abc.7.1@example.com>");
  if (!recipient.empty()) {
    auto address = mail::bare_address(recipient);
    if (!address)
      return refuse("recipient: " + address.error());
    out.recipient = std::move(*address);
  }
  return out;
}

void note_bounce(const context_ptr& ctx, exchange_ptr x, const principal& who) {
  auto run = std::make_shared<bounce_run>();
  run->ctx = ctx;
  run->x = x;
  run->by = who.user_id;
  const auto type
    = std::string{x->in().headers.find("Content-Type").value_or("")};
  if (mail::is_report_type(type)) {
    auto read = mail::read_delivery_status(type, x->in().body);
    if (!read) {
      x->fail(400, "invalid_report", read.error());
      return;
    }
    run->all = std::move(*read);
  } else if (type.find("application/json") != type.npos) {
    auto one = read_json_bounce(x);
    if (!one)
      return;
    run->all.push_back(std::move(*one));
  } else {
    x->fail(415, "unsupported_media_type", wanted_bounce);
    return;
  }
  record_next(std::move(run));
}

json::object render_bounce(const query::list_bounces::row& row) {
  return {{"id", std::to_string(row.id)},
          {"address", row.address},
          {"reason", row.reason},
          {"since", to_rfc3339(row.since)},
          {"reportedBy", row.reported_by},
          {"subscriptionId", raw(row.subscription) == 0
                               ? json::value(nullptr)
                               : json::value(to_text(row.subscription))}};
}

void list_bounces(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto page = read_page(*x);
  if (!page)
    return;
  const auto before = read_number_cursor(*x, page->cursor);
  if (!before)
    return;
  ctx->ask(query::list_bounces{*before, page->limit + 1},
           [x, limit = page->limit](job<query::list_bounces>::reply rows) {
             if (!rows) {
               fail(*x, problem_of(rows.error()));
               return;
             }
             const auto next = cut_page(*rows, limit, number_cursor);
             auto data = json::array{};
             for (const auto& row : *rows)
               data.push_back(render_bounce(row));
             succeed_page(*x, std::move(data), next);
           });
}

void lift_bounce(const context_ptr& ctx, exchange_ptr x, const principal&) {
  const auto address
    = mail::bare_address(x->in().query("address").value_or(""));
  if (!address) {
    x->fail(400, "invalid_request", "Expected ?address=, " + address.error());
    return;
  }
  ctx->ask(query::lift_bounce{*address},
           [x, address = *address](job<query::lift_bounce>::reply done) {
             if (done)
               succeed(*x, json::object{{"address", address}});
             else if (done.error() == errc::not_found)
               x->fail(404, "not_found",
                       "Mails to this address are sent as it is");
             else
               fail(*x, problem_of(done.error()));
           });
}

} // namespace

void add_mail_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::get, "/api/ops/templates", "template_list",
            list_templates);
  add_route(to, ctx, http::method::get, "/api/ops/templates/{kind}",
            "template_preview", show_template);
  add_route(to, ctx, http::method::get, "/api/ops/mail/bounces", "bounce_list",
            list_bounces);
  add_route(to, ctx, http::method::post, "/api/ops/mail/bounces", "bounce_note",
            note_bounce);
  add_route(to, ctx, http::method::delete_, "/api/ops/mail/bounces",
            "bounce_lift", lift_bounce);
}

} // namespace slipway::api
