#include "http/sandbox/mailbox_simulator.hpp"

#include "http/sandbox/mime.hpp"
#include "http/sandbox/smtp_server.hpp"

#include <boost/json.hpp>

#include <charconv>
#include <deque>
#include <mutex>
#include <optional>
#include <tuple>

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

/// Of all mails together.
constexpr auto kept_bytes_max = std::size_t{64} * 1024 * 1024;

struct kept_mail {
  std::uint64_t id = 0;
  timestamp received;
  smtp_envelope envelope;
};

std::string joined(const std::vector<std::string>& all) {
  std::string result;
  for (const auto& x : all) {
    if (!result.empty())
      result += ", ";
    result += x;
  }
  return result;
}

std::string subject_of(const mail_content& x) {
  const auto subject = x.header("Subject");
  return subject.empty() ? "(无主题 no subject)" : subject;
}

} // namespace

struct mailbox_simulator::impl {
  impl(mailbox_simulator_options given, const clock& clock_in)
    : options{std::move(given)}, time{clock_in} {
  }

  tl::expected<void, std::string> start() {
    smtp_server_options wanted;
    wanted.host = options.smtp.host;
    wanted.port = options.smtp.port;
    wanted.mail_bytes_max = options.mail_bytes_max;
    wanted.sessions_max = options.sessions_max;
    wanted.idle_timeout = options.idle_timeout;
    smtp.emplace(wanted, [this](smtp_envelope mail) {
      return receive(std::move(mail));
    });
    if (auto ready = smtp->start(); !ready)
      return ready;
    http::router routes;
    add_style(routes);
    const auto to = [this](void (impl::*run)(http::exchange&)) {
      return [this, run](std::shared_ptr<http::exchange> x) {
        (this->*run)(*x);
      };
    };
    using http::method;
    routes.add(method::get, "/", "home", to(&impl::home))
      .add(method::get, "/mails/{n}", "mail", to(&impl::show))
      .add(method::get, "/mails/{n}/html", "html", to(&impl::show_html))
      .add(method::get, "/mails/{n}/source", "source", to(&impl::show_source))
      .add(method::get, "/previews", "previews", to(&impl::list_previews))
      .add(method::get, "/previews/{name}/{locale}", "preview",
           to(&impl::show_preview))
      .add(method::get, "/previews/{name}/{locale}/html", "preview_html",
           to(&impl::show_preview_html))
      .add(method::get, "/sandbox/mails", "list", to(&impl::list))
      .add(method::put, "/sandbox/mails", "switches", to(&impl::put))
      .add(method::delete_, "/sandbox/mails", "forget", to(&impl::forget));
    server.emplace(server_for(options.web), std::move(routes));
    return server->start();
  }

  void stop() {
    if (smtp)
      smtp->stop();
    if (server)
      server->stop(millis{500});
  }

  // -- taking mails -----------------------------------------------------------

  std::string receive(smtp_envelope mail) {
    const auto lock = std::lock_guard{mutex};
    if (reject > 0) {
      --reject;
      return "550 No such mailbox here";
    }
    if (defer > 0) {
      --defer;
      return "451 Try again later";
    }
    kept_bytes += mail.data.size();
    mails.push_back({++last_id, time.now(), std::move(mail)});
    while (mails.size() > options.mails_max || kept_bytes > kept_bytes_max) {
      kept_bytes -= mails.front().envelope.data.size();
      mails.pop_front();
    }
    return "250 Ok: queued as " + std::to_string(last_id);
  }

  // -- showing them -----------------------------------------------------------

  /// The mail that the path names, or an answer that there is none.
  const kept_mail* find(http::exchange& x) {
    const auto& text = x.in().param(0);
    auto id = std::uint64_t{0};
    const auto* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, id);
    if (read.ec == std::errc{} && read.ptr == end)
      for (const auto& each : mails)
        if (each.id == id)
          return &each;
    x.answer(
      page(404, "404",
           "<div class=\"card narrow\"><h1>没有这封邮件 <small>There is no "
           "such mail</small></h1></div>"));
    return nullptr;
  }

  void home(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    auto body = std::string{
      "<div class=\"card\"><h1>收件箱 <small>Mailbox</small></h1><div "
      "class=\"scroll\"><table><tr><th>主题 Subject<th>收件人 To<th>时间 "
      "Received"
      "</tr>"};
    for (auto i = mails.rbegin(); i != mails.rend(); ++i)
      body += "<tr><td><a href=\"/mails/" + std::to_string(i->id) + "\">"
              + escape(subject_of(read_mail(i->envelope.data))) + "</a><td>"
              + escape(joined(i->envelope.to)) + "<td>"
              + to_rfc3339(i->received) + "</tr>";
    if (mails.empty())
      body += "<tr><td colspan=\"3\" class=\"dim\">还没有邮件 No mail yet</tr>";
    body += "</table></div></div>";
    if (options.previews)
      body += "<p><a href=\"/previews\">邮件模板预览 Previews of all "
              "mails</a></p>";
    x.answer(page(200, "收件箱 · Mailbox", body));
  }

  // -- what the mails of each kind look like ----------------------------------

  static std::string path_of(const mail_preview& x) {
    return "/previews/" + escape(x.name) + '/' + escape(x.locale);
  }

  /// The preview that the path names, or an answer that there is none.
  std::optional<mail_preview> find_preview(http::exchange& x) const {
    if (options.previews)
      for (auto& each : options.previews())
        if (each.name == x.in().param(0) && each.locale == x.in().param(1))
          return std::move(each);
    x.answer(page(404, "404",
                  "<div class=\"card narrow\"><h1>没有这个模板 <small>There is "
                  "no such preview</small></h1></div>"));
    return std::nullopt;
  }

  void list_previews(http::exchange& x) {
    auto body = std::string{
      "<p><a href=\"/\">← 收件箱 Mailbox</a></p><div class=\"card\">"
      "<h1>邮件模板预览 <small>Previews</small></h1><div class=\"scroll\">"
      "<table><tr><th>模板 Template<th>语言 Language<th>主题 Subject</tr>"};
    if (options.previews)
      for (const auto& each : options.previews())
        body += "<tr><td><a href=\"" + path_of(each) + "\">" + escape(each.name)
                + "</a><td>" + escape(each.locale) + "<td>"
                + escape(each.subject) + "</tr>";
    x.answer(
      page(200, "邮件模板预览 · Previews", body + "</table></div></div>"));
  }

  void show_preview(http::exchange& x) {
    const auto found = find_preview(x);
    if (!found)
      return;
    x.answer(page(
      200, found->subject,
      "<p><a href=\"/previews\">← 邮件模板预览 Previews</a></p>"
      "<div class=\"card\"><h1>"
        + escape(found->subject)
        + "</h1></div><div class=\"card\"><h2>HTML</h2><iframe sandbox=\"\" "
          "title=\"HTML\" src=\""
        + path_of(*found)
        + "/html\"></iframe></div><div class=\"card\"><h2>文本 Text</h2><pre>"
        + escape(found->text) + "</pre></div>"));
  }

  void show_preview_html(http::exchange& x) {
    if (auto found = find_preview(x))
      answer_html(x, std::move(found->html));
  }

  void show(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    const auto* found = find(x);
    if (found == nullptr)
      return;
    const auto content = read_mail(found->envelope.data);
    const auto id = std::to_string(found->id);
    auto body
      = "<p><a href=\"/\">← 收件箱 Mailbox</a></p><div class=\"card\"><h1>"
        + escape(subject_of(content)) + "</h1><dl>";
    for (const auto& [name, value] : content.headers)
      body += "<dt>" + escape(name) + "</dt><dd>" + escape(value) + "</dd>";
    body += "</dl><p><a href=\"/mails/" + id
            + "/source\">原文 Source</a></p></div>";
    if (!content.html.empty())
      body += "<div class=\"card\"><h2>HTML</h2><iframe sandbox=\"\" "
              "title=\"HTML\" src=\"/mails/"
              + id + "/html\"></iframe></div>";
    if (!content.text.empty())
      body += "<div class=\"card\"><h2>文本 Text</h2><pre>"
              + escape(content.text) + "</pre></div>";
    for (const auto& each : content.attachments)
      body += "<p class=\"dim\">附件 attachment: " + escape(each) + "</p>";
    x.answer(page(200, subject_of(content), body));
  }

  /// A stranger's HTML: no scripts, no forms, nothing from elsewhere.
  void show_html(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    const auto* found = find(x);
    if (found == nullptr)
      return;
    answer_html(x, read_mail(found->envelope.data).html);
  }

  static void answer_html(http::exchange& x, std::string html) {
    x.answer({200,
              "text/html; charset=utf-8",
              std::move(html),
              {{"Content-Security-Policy",
                "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
                "frame-ancestors 'self'; sandbox"},
               {"Referrer-Policy", "no-referrer"}}});
  }

  void show_source(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    if (const auto* found = find(x))
      x.answer({200,
                "text/plain; charset=utf-8",
                to_utf8(found->envelope.data),
                {{"Content-Security-Policy", "default-src 'none'; sandbox"}}});
  }

  void list(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    json_ns::array all;
    for (auto i = mails.rbegin(); i != mails.rend(); ++i) {
      const auto content = read_mail(i->envelope.data);
      json_ns::array to;
      for (const auto& each : i->envelope.to)
        to.emplace_back(to_utf8(each));
      json_ns::object entry;
      entry["id"] = i->id;
      entry["receivedAt"] = to_rfc3339(i->received);
      entry["from"] = to_utf8(i->envelope.from);
      entry["to"] = std::move(to);
      entry["subject"] = content.header("Subject");
      entry["messageId"] = content.header("Message-ID");
      entry["text"] = content.text;
      entry["html"] = content.html;
      all.push_back(std::move(entry));
    }
    json_ns::object body;
    body["success"] = true;
    body["data"] = std::move(all);
    x.answer(json(200, json_ns::serialize(body)));
  }

  void put(http::exchange& x) {
    auto ec = json_ns::error_code{};
    const auto body = json_ns::parse(x.in().body, ec);
    if (ec || !body.is_object()) {
      x.fail(400, "bad_request", "The body must be a JSON object.");
      return;
    }
    const auto lock = std::lock_guard{mutex};
    auto changed = std::pair{defer, reject};
    for (const auto& each : body.get_object()) {
      const auto* number = each.value().if_int64();
      if ((each.key() != "defer" && each.key() != "reject") || number == nullptr
          || *number < 0) {
        x.fail(400, "bad_request",
               "Only defer and reject can be set, to numbers.");
        return;
      }
      (each.key() == "defer" ? changed.first : changed.second) = *number;
    }
    std::tie(defer, reject) = changed;
    json_ns::object state;
    state["defer"] = defer;
    state["reject"] = reject;
    x.answer(json(200, json_ns::serialize(state)));
  }

  void forget(http::exchange& x) {
    const auto lock = std::lock_guard{mutex};
    mails.clear();
    kept_bytes = 0;
    x.answer({204, "", "", {}});
  }

  mailbox_simulator_options options;
  const clock& time;
  std::mutex mutex;
  std::deque<kept_mail> mails;
  std::size_t kept_bytes = 0;
  std::uint64_t last_id = 0;
  std::int64_t defer = 0;
  std::int64_t reject = 0;
  std::optional<smtp_server> smtp;
  std::optional<http::server> server;
};

mailbox_simulator::mailbox_simulator(mailbox_simulator_options options,
                                     const clock& time)
  : impl_{std::make_shared<impl>(std::move(options), time)} {
}

mailbox_simulator::~mailbox_simulator() {
  impl_->stop();
}

tl::expected<void, std::string> mailbox_simulator::start() {
  return impl_->start();
}

void mailbox_simulator::stop() {
  impl_->stop();
}

std::uint16_t mailbox_simulator::smtp_port() const noexcept {
  return impl_->smtp ? impl_->smtp->port() : std::uint16_t{0};
}

std::uint16_t mailbox_simulator::web_port() const noexcept {
  return impl_->server ? impl_->server->port() : std::uint16_t{0};
}

std::string mailbox_simulator::smtp_url() const {
  return "smtp://" + impl_->options.smtp.host + ":"
         + std::to_string(smtp_port());
}

std::string mailbox_simulator::web_url() const {
  return impl_->server ? impl_->server->url() : std::string{};
}

} // namespace slipway::sandbox
