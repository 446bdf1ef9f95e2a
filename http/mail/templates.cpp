#include "http/mail/templates.hpp"

#include "config/keys.hpp"
#include "http/crypto/text.hpp"
#include "http/mail/template_language.hpp"
#include "http/server/embedded_file.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

namespace slipway {

const std::vector<embedded_file>& mail_template_files();

} // namespace slipway

namespace slipway::mail {

namespace fs = std::filesystem;

namespace {

constexpr auto file_max = std::size_t{64 * 1024};

/// Files that are looked at in a directory.
constexpr auto files_max = std::size_t{1'000};

/// Far below what a mail may have, and more than anybody reads.
constexpr auto subject_max = std::size_t{200};

constexpr auto layout_name = std::string_view{"layout"};

using file_texts = std::map<std::string, std::string, std::less<>>;

std::string
file_name(std::string_view name, language in, std::string_view suffix) {
  return std::string{name} + '.' + std::string{to_tag(in)} + '.'
         + std::string{suffix};
}

// -- what a template may speak of
// ----------------------------------------------------------------------------

known_names names_for(std::string_view name) {
  auto out = known_names{};
  out.plain = {"language", "instance_name", "plan_title"};
  out.codes = {"subscription_id"};
  const auto add = [&](std::initializer_list<std::string_view> more) {
    out.plain.insert(out.plain.end(), more);
  };
  if (name == layout_name) {
    add({"title", "good", "bad", "neutral"});
    out.markup = {"content"};
    return out;
  }
  switch (find_template(name)->kind) {
    case notice_kind::payment_received:
    case notice_kind::refund_completed:
      add({"price", "amount", "currency", "order_id"});
      break;
    case notice_kind::deployment_success:
    case notice_kind::instance_recovered:
    case notice_kind::instance_changed:
      add({"public_url", "duration"});
      out.addresses = {"link"};
      break;
    case notice_kind::deployment_failed:
    case notice_kind::instance_down:
      add({"error"});
      break;
    case notice_kind::deployment_cancelled:
    case notice_kind::deployment_started:
    case notice_kind::instance_terminated:
      break;
  }
  return out;
}

enum class mood : std::uint8_t { good, bad, neutral };

mood mood_of(const notice_facts& facts) noexcept {
  switch (facts.kind) {
    case notice_kind::deployment_success:
    case notice_kind::instance_recovered:
      return mood::good;
    case notice_kind::deployment_failed:
    case notice_kind::instance_down:
      return mood::bad;
    case notice_kind::instance_changed:
      return facts.error == "degraded" ? mood::bad : mood::neutral;
    case notice_kind::payment_received:
    case notice_kind::refund_completed:
    case notice_kind::deployment_cancelled:
    case notice_kind::deployment_started:
    case notice_kind::instance_terminated:
      break;
  }
  return mood::neutral;
}

const template_kind& kind_of(const notice_facts& facts) {
  const auto& all = template_kinds();
  const template_kind* found = nullptr;
  for (const auto& x : all)
    if (x.kind == facts.kind && (found == nullptr || x.change == facts.error))
      found = &x;
  return found == nullptr ? all.front() : *found;
}

/// Only what a browser opens as a page may become a link: `javascript:` and the
/// like stay text.
bool is_web_url(std::string_view url) noexcept {
  auto scheme_end = url.find("://");
  auto scheme = url.substr(0, scheme_end);
  return (scheme == "https" || scheme == "http") && url.size() > scheme_end + 3
         && !crypto::has_control(url)
         && url.find_first_of(" \"<>\\^`{|}") == url.npos;
}

/// One line: control characters would break subjects and rows.
std::string one_line(std::string_view text) {
  auto result = crypto::to_valid_utf8(text);
  for (auto& c : result)
    if (crypto::has_control({&c, 1}))
      c = ' ';
  return result;
}

/// Cut between characters.
std::string shortened(std::string text) {
  if (text.size() <= subject_max)
    return text;
  auto end = subject_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return text.substr(0, end) + "…";
}

std::string price_of(const notice_facts& facts) {
  if (facts.amount.empty())
    return {};
  if (facts.currency.empty() || facts.currency == "CNY")
    return "¥" + facts.amount;
  return facts.amount + ' ' + facts.currency;
}

values values_of(const notice_facts& facts, language in) {
  auto url = one_line(facts.public_url);
  auto link = is_web_url(url) ? url : std::string{};
  return {
    {"language", std::string{to_tag(in)}},
    {"subscription_id", one_line(facts.subscription_id)},
    {"instance_name", one_line(facts.instance_name)},
    {"public_url", std::move(url)},
    {"link", std::move(link)},
    {"duration", one_line(facts.duration)},
    {"error", one_line(facts.error)},
    {"plan_title", one_line(facts.plan_title)},
    {"order_id", one_line(facts.order_id)},
    {"amount", one_line(facts.amount)},
    {"currency", one_line(facts.currency)},
    {"price", one_line(price_of(facts))},
  };
}

// -- reading one
// ----------------------------------------------------------------------------

/// A text file: three lines that have names, a blank one, and what is mailed.
struct text_template {
  compiled_template title;
  compiled_template message;
  compiled_template subject;
  compiled_template body;
};

/// What a file is made of, or what is wrong with it.
class reader {
public:
  /// @param shown How the file is called in faults.
  reader(std::string shown, std::vector<std::string>& faults)
    : shown_{std::move(shown)}, faults_{faults} {
  }

  compiled_template
  parse(std::string_view source, output kind, const known_names& names,
        std::size_t first_line = 1) {
    auto made = compiled_template::parse(source, kind, names, first_line);
    if (made)
      return std::move(*made);
    complain(made.error().line, made.error().what);
    return {};
  }

  text_template parse_text(std::string_view source, const known_names& names) {
    auto out = text_template{};
    auto seen = std::set<std::string, std::less<>>{};
    auto line = std::size_t{0};
    for (;;) {
      ++line;
      const auto end = source.find('\n');
      const auto text = source.substr(0, end);
      const auto is_last = end == source.npos;
      source.remove_prefix(is_last ? source.size() : end + 1);
      if (text.find_first_not_of(" \t") == text.npos)
        break;
      parse_field(text, line, names, out, seen);
      if (is_last)
        break;
    }
    for (const auto* wanted : {"title", "message", "subject"})
      if (seen.count(wanted) == 0)
        complain(1, "no " + std::string{wanted} + "; expected a line \""
                      + wanted + ": …\" above the first blank one");
    while (source.starts_with('\n')) {
      source.remove_prefix(1);
      ++line;
    }
    if (source.find_first_not_of(" \t\n") == source.npos)
      complain(line, "no text; expected the mail's below the first blank line");
    while (source.ends_with('\n'))
      source.remove_suffix(1);
    auto of_body = names;
    of_body.plain.push_back("title");
    out.body = parse(source, output::text, of_body, line + 1);
    return out;
  }

private:
  void
  parse_field(std::string_view text, std::size_t line, const known_names& names,
              text_template& to, std::set<std::string, std::less<>>& seen) {
    const auto colon = text.find(':');
    const auto name = text.substr(0, colon);
    auto* field = name == "title"     ? &to.title
                  : name == "message" ? &to.message
                  : name == "subject" ? &to.subject
                                      : nullptr;
    if (colon == text.npos || field == nullptr) {
      complain(line, "expected \"title: …\", \"message: …\", \"subject: …\" or "
                     "a blank line, found "
                       + crypto::json_quote(text.substr(0, 40)));
      return;
    }
    if (!seen.emplace(name).second)
      complain(line, std::string{name} + " stands there twice; expected once");
    auto value = text.substr(colon + 1);
    const auto from = value.find_first_not_of(" \t");
    if (from == value.npos) {
      complain(line, std::string{name} + " is empty; expected a text");
      return;
    }
    value = value.substr(from, value.find_last_not_of(" \t") - from + 1);
    *field = parse(value, output::text, names, line);
  }

  void complain(std::size_t line, const std::string& what) {
    faults_.push_back(shown_ + ":" + std::to_string(line) + ": " + what);
  }

  std::string shown_;
  std::vector<std::string>& faults_;
};

/// LF line ends, without the mark that some editors put in front.
std::string tidy(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf"))
    text.remove_prefix(3);
  auto out = std::string{};
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n')
      out += text[i];
  return out;
}

/// The line of the first byte that no template has, or 0.
std::size_t line_of_bad_byte(std::string_view text) {
  auto line = std::size_t{1};
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto one = text.substr(0, end);
    auto bad = !crypto::is_utf8(one);
    for (const auto c : one)
      bad |= c != '\t' && crypto::has_control({&c, 1});
    if (bad)
      return line;
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    ++line;
  }
  return 0;
}

file_texts builtin_files() {
  auto out = file_texts{};
  for (const auto& x : mail_template_files())
    out.emplace(x.name, x.content);
  return out;
}

bool is_template_file(const fs::path& name) {
  const auto text = name.string();
  return !text.starts_with('.')
         && (name.extension() == ".txt" || name.extension() == ".html");
}

/// The files in the directory that look like templates, by name.
tl::expected<std::vector<fs::path>, std::string>
list_files(const std::string& directory) {
  auto out = std::vector<fs::path>{};
  auto problem = std::error_code{};
  auto seen = std::size_t{0};
  for (auto i = fs::directory_iterator{directory, problem};
       !problem && i != fs::directory_iterator{}; i.increment(problem)) {
    if (++seen > files_max)
      return tl::unexpected{directory + ": expected at most "
                            + std::to_string(files_max) + " files"};
    if (is_template_file(i->path().filename()))
      out.push_back(i->path());
  }
  if (problem)
    return tl::unexpected{directory + ": expected a readable directory, found "
                          + problem.message()};
  std::sort(out.begin(), out.end());
  return out;
}

/// Names, sizes and times: equal as long as nobody has written.
std::string look_of(const std::string& directory) {
  const auto files = list_files(directory);
  if (!files)
    return files.error();
  auto out = std::string{};
  for (const auto& x : *files) {
    auto problem = std::error_code{};
    out += x.filename().string() + '\n';
    out += std::to_string(fs::file_size(x, problem)) + '\n';
    out += std::to_string(
             fs::last_write_time(x, problem).time_since_epoch().count())
           + '\n';
  }
  return out;
}

/// What the file's name could have meant.
std::string nearest(std::string_view name, const file_texts& known) {
  const auto distance = [name](std::string_view other) {
    auto row = std::vector<std::size_t>(other.size() + 1);
    for (std::size_t i = 0; i < row.size(); ++i)
      row[i] = i;
    for (std::size_t i = 0; i < name.size(); ++i) {
      auto corner = std::exchange(row[0], i + 1);
      for (std::size_t j = 0; j < other.size(); ++j) {
        const auto cost = corner + (name[i] == other[j] ? 0 : 1);
        corner = row[j + 1];
        row[j + 1] = std::min({cost, corner + 1, row[j] + 1});
      }
    }
    return row.back();
  };
  auto best = std::string{};
  auto least = std::size_t{~std::size_t{0}};
  for (const auto& [x, text] : known)
    if (const auto d = distance(x); d < least) {
      least = d;
      best = x;
    }
  return best;
}

} // namespace

language language_of(std::string_view locale) noexcept {
  auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  auto zh = locale.empty()
            || (locale.size() >= 2 && lower(locale[0]) == 'z'
                && lower(locale[1]) == 'h');
  return zh ? language::zh_cn : language::en;
}

std::string_view to_tag(language value) noexcept {
  return value == language::zh_cn ? "zh-CN" : "en";
}

bool is_progress(notice_kind kind) noexcept {
  switch (kind) {
    case notice_kind::deployment_success:
    case notice_kind::deployment_cancelled:
    case notice_kind::deployment_started:
    case notice_kind::instance_recovered:
    case notice_kind::instance_changed:
      return true;
    case notice_kind::payment_received:
    case notice_kind::refund_completed:
    case notice_kind::deployment_failed:
    case notice_kind::instance_terminated:
    case notice_kind::instance_down:
      break;
  }
  return false;
}

const std::vector<template_kind>& template_kinds() {
  using kind = notice_kind;
  static const auto all = std::vector<template_kind>{
    {"payment_received", kind::payment_received, ""},
    {"deployment_started", kind::deployment_started, ""},
    {"deployment_success", kind::deployment_success, ""},
    {"deployment_failed", kind::deployment_failed, ""},
    {"deployment_cancelled", kind::deployment_cancelled, ""},
    {"refund_completed", kind::refund_completed, ""},
    {"instance_terminated", kind::instance_terminated, ""},
    {"instance_down", kind::instance_down, ""},
    {"instance_recovered", kind::instance_recovered, ""},
    {"instance_redeployed", kind::instance_changed, "redeployed"},
    {"instance_sleeping", kind::instance_changed, "sleeping"},
    {"instance_degraded", kind::instance_changed, "degraded"},
  };
  return all;
}

const template_kind* find_template(std::string_view name) {
  const auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  for (const auto& x : template_kinds())
    if (std::equal(name.begin(), name.end(), x.name.begin(), x.name.end(),
                   [&](char a, char b) {
                     return lower(a) == b;
                   }))
      return &x;
  return nullptr;
}

notice_facts sample_facts(const template_kind& of) {
  auto facts = notice_facts{};
  facts.kind = of.kind;
  facts.subscription_id = "sub_0123456789abc";
  facts.instance_name = "slipway-0123456789abc";
  facts.plan_title = "专业版";
  facts.amount = "99.00";
  facts.currency = "CNY";
  facts.public_url = "https://example.up.railway.app/?a=1&b=2";
  facts.duration = "1m 40s";
  facts.error = of.change.empty() ? "build failed: <exit code 1>" : of.change;
  return facts;
}

// -- the whole set
// ----------------------------------------------------------------------------

struct template_set::impl {
  struct one_kind {
    text_template text;
    compiled_template html;
  };
  struct one_language {
    std::map<std::string_view, one_kind> kinds;
    compiled_template text_layout;
    compiled_template html_layout;
  };

  std::map<language, one_language> by_language;
  std::set<std::string, std::less<>> replaced;
};

template_set::template_set(std::unique_ptr<impl> what)
  : impl_{std::move(what)} {
}

template_set::~template_set() = default;

tl::expected<template_set_ptr, std::vector<std::string>>
template_set::load(const std::string& directory) {
  auto faults = std::vector<std::string>{};
  auto texts = builtin_files();
  auto shown = std::map<std::string, std::string, std::less<>>{};
  auto made = std::make_unique<impl>();
  if (!directory.empty()) {
    const auto files = list_files(directory);
    if (!files)
      return tl::unexpected{std::vector{files.error()}};
    for (const auto& path : *files) {
      const auto name = path.filename().string();
      const auto place = texts.find(name);
      if (place == texts.end()) {
        faults.push_back(path.string() + ":1: no template has this name; "
                         + "expected one of the built-in ones, such as "
                         + nearest(name, texts));
        continue;
      }
      auto problem = std::string{};
      auto text = config::read_file(path.string(), file_max, problem);
      if (!text) {
        faults.push_back(path.string() + ":1: expected a template of at most "
                         + std::to_string(file_max) + " bytes, found "
                         + problem);
        continue;
      }
      if (const auto line = line_of_bad_byte(tidy(*text))) {
        faults.push_back(path.string() + ":" + std::to_string(line)
                         + ": expected text in UTF-8 without control "
                           "characters");
        continue;
      }
      place->second = std::move(*text);
      shown[name] = path.string();
      made->replaced.insert(name);
    }
  }
  const auto source = [&](const std::string& name) {
    return tidy(texts.at(name));
  };
  const auto reader_of = [&](const std::string& name) {
    const auto path = shown.find(name);
    return reader{path == shown.end() ? name : path->second, faults};
  };
  for (const auto in : languages) {
    auto& to = made->by_language[in];
    const auto names = names_for(layout_name);
    auto name = file_name(layout_name, in, "txt");
    to.text_layout = reader_of(name).parse(source(name), output::text, names);
    name = file_name(layout_name, in, "html");
    to.html_layout = reader_of(name).parse(source(name), output::html, names);
    for (const auto& kind : template_kinds()) {
      auto& one = to.kinds[kind.name];
      auto known = names_for(kind.name);
      name = file_name(kind.name, in, "txt");
      one.text = reader_of(name).parse_text(source(name), known);
      known.plain.push_back("title");
      name = file_name(kind.name, in, "html");
      one.html = reader_of(name).parse(source(name), output::html, known);
    }
  }
  if (!faults.empty())
    return tl::unexpected{std::move(faults)};
  return template_set_ptr{new template_set{std::move(made)}};
}

words template_set::render_words(const notice_facts& facts,
                                 std::string_view locale) const {
  const auto in = language_of(locale);
  const auto given = values_of(facts, in);
  const auto& text
    = impl_->by_language.at(in).kinds.at(kind_of(facts).name).text;
  return {text.title.render(given), text.message.render(given)};
}

notice
template_set::render(const notice_facts& facts, std::string_view locale) const {
  const auto in = language_of(locale);
  const auto& of = impl_->by_language.at(in);
  const auto& one = of.kinds.at(kind_of(facts).name);
  auto given = values_of(facts, in);
  auto out = notice{};
  out.title = one.text.title.render(given);
  out.message = one.text.message.render(given);
  out.mail_subject = shortened(one_line(one.text.subject.render(given)));
  given.emplace_back("title", out.title);
  auto frame = given;
  const auto is = mood_of(facts);
  frame.emplace_back("good", is == mood::good ? "1" : "");
  frame.emplace_back("bad", is == mood::bad ? "1" : "");
  frame.emplace_back("neutral", is == mood::neutral ? "1" : "");
  frame.emplace_back("content", one.text.body.render(given));
  auto& content = frame.back().second;
  while (content.ends_with('\n'))
    content.pop_back();
  out.mail_text = of.text_layout.render(frame);
  content = one.html.render(given);
  out.mail_html = of.html_layout.render(frame);
  return out;
}

bool template_set::is_replaced(std::string_view file) const {
  return impl_->replaced.count(file) != 0;
}

std::size_t template_set::replaced() const noexcept {
  return impl_->replaced.size();
}

const template_set_ptr& builtin_templates() {
  static const auto all = [] {
    auto made = template_set::load({});
    if (!made) {
      // A mistake in our own files: a test renders every one of them.
      for (const auto& line : made.error())
        spdlog::critical("built-in template {}", line);
      std::abort();
    }
    return *made;
  }();
  return all;
}

notice render_notice(const notice_facts& facts, std::string_view locale) {
  return builtin_templates()->render(facts, locale);
}

// -- a directory that changes
// ----------------------------------------------------------------------------

tl::expected<std::shared_ptr<template_store>, std::vector<std::string>>
template_store::open(std::string directory, millis look_every) {
  auto out = std::shared_ptr<template_store>{new template_store};
  if (directory.empty()) {
    out->current_ = builtin_templates();
    return out;
  }
  out->directory_ = std::move(directory);
  out->seen_ = look_of(out->directory_);
  auto made = template_set::load(out->directory_);
  if (!made)
    return tl::unexpected{std::move(made.error())};
  out->current_ = std::move(*made);
  if (look_every > millis{0})
    // Ends before the store does: it is joined there.
    out->watcher_ = std::jthread{
      [self = out.get(), look_every](const std::stop_token& stop) {
        auto mutex = std::mutex{};
        auto wake = std::condition_variable_any{};
        auto lock = std::unique_lock{mutex};
        while (!wake.wait_for(lock, stop, look_every, [] {
          return false;
        })) {
          if (stop.stop_requested())
            return;
          self->look();
        }
      }};
  return out;
}

template_store::~template_store() {
  watcher_.request_stop();
}

template_set_ptr template_store::current() const {
  const auto guard = std::lock_guard{mutex_};
  return current_;
}

std::vector<std::string> template_store::faults() const {
  const auto guard = std::lock_guard{mutex_};
  return faults_;
}

void template_store::look() {
  if (directory_.empty())
    return;
  const auto alone = std::lock_guard{looking_};
  // Taken before reading: what is written meanwhile shows at the next look.
  auto now = look_of(directory_);
  if (now == seen_)
    return;
  auto made = template_set::load(directory_);
  seen_ = std::move(now);
  if (made)
    spdlog::info("mail templates: read again, {} replaced by files in {}",
                 (*made)->replaced(), directory_);
  else
    for (const auto& line : made.error())
      spdlog::error("mail templates: the last good ones stay: {}", line);
  const auto guard = std::lock_guard{mutex_};
  if (made) {
    current_ = std::move(*made);
    faults_.clear();
  } else {
    faults_ = std::move(made.error());
  }
}

} // namespace slipway::mail
