#include "http/mail/mailer.hpp"

#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <cstring>
#include <memory>
#include <utility>

namespace slipway::mail {

namespace {

using steady = std::chrono::steady_clock;

constexpr std::size_t reply_max = 400;
constexpr millis good_bye_max{250};

struct easy_free {
  void operator()(CURL* handle) const noexcept {
    curl_easy_cleanup(handle);
  }
};

struct slist_free {
  void operator()(curl_slist* list) const noexcept {
    curl_slist_free_all(list);
  }
};

struct url_free {
  void operator()(CURLU* url) const noexcept {
    curl_url_cleanup(url);
  }
};

/// One conversation with a server.
struct conversation {
  std::string_view content;
  std::size_t sent = 0;
  steady::time_point deadline;
  /// The code of the server's last complete reply, 0 before the first.
  int code = 0;
  /// That reply's text.
  std::string reply;
  /// Lines of a reply that is not complete yet.
  std::string partial;
  /// QUIT has gone out: what is said from now on does not count.
  bool leaving = false;
  /// The code of the reply to the content, 0 where there was none. A reply
  /// counts as one from the moment when all of the content has left our hands:
  /// only then can the server have taken the mail over.
  int verdict = 0;

  [[nodiscard]] bool content_left() const noexcept {
    return sent == content.size();
  }
};

std::size_t
on_read(char* out, std::size_t size, std::size_t count, void* user) {
  auto& self = *static_cast<conversation*>(user);
  auto length = std::min(size * count, self.content.size() - self.sent);
  std::memcpy(out, self.content.data() + self.sent, length);
  self.sent += length;
  return length;
}

/// Runs for each line that the server says.
std::size_t on_reply(char* data, std::size_t, std::size_t size, void* user) {
  auto& self = *static_cast<conversation*>(user);
  if (self.leaving)
    return size;
  std::string_view line{data, size};
  while (line.ends_with('\n') || line.ends_with('\r'))
    line.remove_suffix(1);
  auto is_digit = [](char c) {
    return c >= '0' && c <= '9';
  };
  if (line.size() < 3 || !std::all_of(line.begin(), line.begin() + 3, is_digit))
    return size;
  auto last = line.size() == 3 || line[3] == ' ';
  if (self.partial.size() < reply_max) {
    if (!self.partial.empty() && line.size() > 4)
      self.partial += ' ';
    self.partial += self.partial.empty()
                      ? line
                      : line.substr(std::min<std::size_t>(4, line.size()));
  }
  if (!last)
    return size;
  self.code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
  self.reply = std::exchange(self.partial, {});
  if (self.content_left() && self.verdict == 0)
    self.verdict = self.code;
  return size;
}

/// Runs for what goes over the wire. curl says QUIT when all is decided, and
/// then waits for the reply for up to two minutes, which nobody needs.
int on_wire(CURL*, curl_infotype type, char* data, std::size_t size,
            void* user) {
  auto& self = *static_cast<conversation*>(user);
  if (type == CURLINFO_HEADER_OUT
      && std::string_view{data, size}.starts_with("QUIT")) {
    self.leaving = true;
    self.deadline = std::min(self.deadline, steady::now() + good_bye_max);
  }
  return 0;
}

/// Ends a conversation that is over its time. curl's own timeout does not count
/// while it waits for the reply to QUIT.
int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return steady::now() >= static_cast<conversation*>(user)->deadline ? 1 : 0;
}

std::size_t on_body(char*, std::size_t, std::size_t size, void*) {
  return size;
}

/// One line without control characters, not too long.
std::string one_line(std::string_view text) {
  auto result = crypto::to_valid_utf8(text.substr(0, reply_max));
  for (auto& c : result)
    if (crypto::has_control({&c, 1}))
      c = ' ';
  return result;
}

/// Whether a refusal is about us rather than about the mail: what is configured
/// here can be mended, and the mail be sent then.
bool is_about_login(int code) noexcept {
  return code == 530 || code == 534 || code == 535 || code == 538;
}

send_outcome
outcome_of(const conversation& talk, CURLcode code, std::string_view error) {
  auto reply = one_line(talk.reply);
  if (talk.verdict >= 200 && talk.verdict < 300)
    return {send_status::sent, talk.verdict, reply};
  if (talk.verdict >= 500)
    return {send_status::rejected, talk.verdict, reply};
  if (talk.verdict >= 400)
    return {send_status::deferred, talk.verdict, reply};
  if (talk.content_left())
    return {send_status::in_doubt, 0,
            "the content was sent and not answered: " + one_line(error)};
  // CURLE_SEND_ERROR: the server refused MAIL, RCPT or DATA, or the connection
  // broke, and then its last reply was no refusal.
  if (code == CURLE_SEND_ERROR && talk.code >= 500
      && !is_about_login(talk.code))
    return {send_status::rejected, talk.code, reply};
  if (talk.code >= 400)
    return {send_status::deferred, talk.code, reply};
  return {send_status::deferred, 0, one_line(error)};
}

std::string part_of(CURLU* url, CURLUPart part) {
  char* value = nullptr;
  if (curl_url_get(url, part, &value, 0) != CURLUE_OK || value == nullptr)
    return {};
  std::string result{value};
  curl_free(value);
  return result;
}

bool is_loopback(std::string_view host) noexcept {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

constexpr std::array<std::string_view, 4> status_names{
  "sent",
  "rejected",
  "deferred",
  "in_doubt",
};

static_assert(status_names.size()
              == static_cast<std::size_t>(send_status::in_doubt) + 1);

} // namespace

std::string_view to_string(send_status status) noexcept {
  return status_names[static_cast<std::size_t>(status)];
}

smtp_sender::smtp_sender(config::mail_settings settings, std::string helo,
                         std::string ca_file)
  : settings_{std::move(settings)}, helo_{std::move(helo)}, ca_file_{std::move(
                                                              ca_file)} {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(started); // A failure shows in curl_easy_init.
}

send_outcome smtp_sender::send(const mail_message& message) const {
  auto content = build_mail(settings_.from, message);
  if (!content)
    return {send_status::rejected, 0, content.error()};
  auto sender = bare_address(settings_.from);
  auto receiver = bare_address(message.to);
  if (!sender || !receiver)
    return {send_status::rejected, 0,
            sender ? receiver.error() : sender.error()};
  // Before the handle: closing it still calls back.
  conversation talk;
  talk.content = *content;
  talk.deadline = steady::now() + settings_.timeout;
  std::array<char, CURL_ERROR_SIZE> error{};
  std::unique_ptr<CURLU, url_free> url{curl_url()};
  std::unique_ptr<CURL, easy_free> handle{curl_easy_init()};
  std::unique_ptr<curl_slist, slist_free> receivers{
    curl_slist_append(nullptr, ('<' + *receiver + '>').c_str())};
  if (!url || !handle || !receivers)
    return {send_status::deferred, 0, "libcurl is out of memory"};
  if (curl_url_set(url.get(), CURLUPART_URL, settings_.url.c_str(),
                   CURLU_NON_SUPPORT_SCHEME)
      != CURLUE_OK)
    return {send_status::deferred, 0,
            "mail.url is no URL; expected smtp://host:port"};
  auto scheme = part_of(url.get(), CURLUPART_SCHEME);
  auto host = part_of(url.get(), CURLUPART_HOST);
  if (scheme != "smtp" && scheme != "smtps")
    return {send_status::deferred, 0,
            "mail.url has another scheme than smtp and smtps"};
  if (!helo_.empty())
    curl_url_set(url.get(), CURLUPART_PATH,
                 ('/' + crypto::percent_encode(helo_)).c_str(), 0);
  auto target = part_of(url.get(), CURLUPART_URL);

  auto timeout = static_cast<long>(
    std::clamp<millis::rep>(settings_.timeout.count(), 1, INT_MAX));
  // A password never goes over a network in the clear. Without one, and unless
  // demanded, TLS is opportunistic: better than nothing, and as nothing proves
  // that it was offered, checking the certificate would add nothing.
  auto with_login = !settings_.username.empty();
  auto must_encrypt
    = settings_.require_tls || (with_login && !is_loopback(host));
  auto verify = must_encrypt || with_login || scheme == "smtps";

  auto envelope = '<' + *sender + '>';

  auto result = CURLE_OK;
  auto set = [&](CURLoption option, auto value) {
    if (result == CURLE_OK)
      result = curl_easy_setopt(handle.get(), option, value);
  };
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_URL, target.c_str());
  set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  set(CURLOPT_PROXY, "");
  set(CURLOPT_ERRORBUFFER, error.data());
  set(CURLOPT_TIMEOUT_MS, timeout);
  set(CURLOPT_CONNECTTIMEOUT_MS, timeout);
  set(CURLOPT_QUICK_EXIT, 1L);
  set(CURLOPT_USE_SSL,
      static_cast<long>(must_encrypt ? CURLUSESSL_ALL : CURLUSESSL_TRY));
  set(CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
  set(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
  if (!ca_file_.empty())
    set(CURLOPT_CAINFO, ca_file_.c_str());
  if (with_login) {
    set(CURLOPT_USERNAME, settings_.username.c_str());
    set(CURLOPT_PASSWORD, settings_.password.reveal().c_str());
  }
  set(CURLOPT_MAIL_FROM, envelope.c_str());
  set(CURLOPT_MAIL_RCPT, receivers.get());
  set(CURLOPT_UPLOAD, 1L);
  set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(content->size()));
  set(CURLOPT_READFUNCTION, &on_read);
  set(CURLOPT_READDATA, &talk);
  set(CURLOPT_HEADERFUNCTION, &on_reply);
  set(CURLOPT_HEADERDATA, &talk);
  set(CURLOPT_VERBOSE, 1L); // Turns the next one on; nothing is printed.
  set(CURLOPT_DEBUGFUNCTION, &on_wire);
  set(CURLOPT_DEBUGDATA, &talk);
  // So that closing is part of what follows and keeps our limits.
  set(CURLOPT_FORBID_REUSE, 1L);
  set(CURLOPT_WRITEFUNCTION, &on_body);
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(CURLOPT_XFERINFODATA, &talk);
  if (result == CURLE_OK)
    result = curl_easy_perform(handle.get());
  std::string reason
    = error[0] != '\0' ? error.data() : curl_easy_strerror(result);
  if (result == CURLE_ABORTED_BY_CALLBACK)
    reason = "timed out";
  return outcome_of(talk, result, reason);
}

} // namespace slipway::mail
