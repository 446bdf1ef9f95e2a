#include "http/cli/console.hpp"

#include "config/text.hpp"
#include "http/cli/safe_text.hpp"

#include <sys/ioctl.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <poll.h>
#include <unistd.h>

namespace slipway::cli {

namespace {

constexpr auto answer_max = std::size_t{2'000};

std::string variable(const config::environment& env, const char* name) {
  const auto found = env.find(name);
  return found == env.end() ? std::string{} : found->second;
}

/// The terminal's width; COLUMNS where it is set, as everywhere.
std::size_t width_of_terminal(const config::environment& env) {
  const auto told = config::parse_integer(variable(env, "COLUMNS"));
  if (told && *told > 0 && *told < 10'000)
    return static_cast<std::size_t>(*told);
  auto size = winsize{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return 80;
}

bool is_unicode(const config::environment& env) {
  for (const auto* name : {"LC_ALL", "LC_CTYPE", "LANG"})
    if (const auto text = variable(env, name); !text.empty())
      return text.find("UTF-8") != std::string::npos
             || text.find("utf8") != std::string::npos
             || text.find("UTF8") != std::string::npos
             || text.find("utf-8") != std::string::npos;
  return false;
}

} // namespace

console::console(const config::environment& env, bool utc, const clock& time)
  : time_{time} {
  // A pipe whose reader has gone is told by `print`.
  std::signal(SIGPIPE, SIG_IGN);
  is_terminal_ = isatty(STDOUT_FILENO) == 1;
  errors_on_terminal_ = isatty(STDERR_FILENO) == 1;
  can_ask_ = isatty(STDIN_FILENO) == 1 && errors_on_terminal_;
  look_.utc = utc;
  // What is read by programs has no need for a terminal's lines, and takes any
  // character.
  look_.unicode = !is_terminal_ || is_unicode(env);
  if (is_terminal_) {
    look_.width = width_of_terminal(env);
    look_.colours = variable(env, "NO_COLOR").empty()
                    && variable(env, "TERM") != "dumb"
                    && !variable(env, "TERM").empty();
  }
}

look console::how() const {
  auto out = look_;
  out.now = time_.now();
  return out;
}

bool console::print(std::string_view text) {
  while (trouble_ == 0 && !text.empty()) {
    const auto written = ::write(STDOUT_FILENO, text.data(), text.size());
    if (written >= 0)
      text.remove_prefix(static_cast<std::size_t>(written));
    else if (errno != EINTR)
      trouble_ = errno;
  }
  return trouble_ == 0;
}

void console::complain(std::string_view message) const {
  auto text = printable_lines(message);
  for (auto at = text.find('\n'); at != std::string::npos;
       at = text.find('\n', at + 1))
    text.insert(at + 1, "  ");
  std::fprintf(stderr, "slipway ops: %s\n", text.c_str());
}

void console::progress(std::string_view text) {
  if (text.empty()) {
    if (in_progress_)
      std::fputc('\n', stderr);
    in_progress_ = false;
    return;
  }
  const auto line = printable(text);
  if (!errors_on_terminal_) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  std::fprintf(stderr, "\r\x1b[K%s", line.c_str());
  std::fflush(stderr);
  in_progress_ = true;
}

std::string console::ask(std::string_view question) const {
  std::fprintf(stderr, "%s ", printable_lines(question).c_str());
  std::fflush(stderr);
  auto out = std::string{};
  for (;;) {
    auto c = char{};
    const auto got = ::read(STDIN_FILENO, &c, 1);
    if (got < 0 && errno == EINTR)
      continue;
    if (got != 1 || c == '\n')
      return out;
    if (out.size() < answer_max)
      out += c;
  }
}

bool console::confirm(std::string_view question) const {
  const auto answer = ask(std::string{question} + " [y/N]");
  return answer == "y" || answer == "Y" || answer == "yes" || answer == "Yes"
         || answer == "YES";
}

bool console::wait(millis length) const {
  // No event is asked for: what comes of its own is that the reader has gone.
  auto output = pollfd{STDOUT_FILENO, 0, 0};
  return poll(&output, 1, static_cast<int>(length.count())) <= 0;
}

bool console::is_read() const {
  return wait(millis{0});
}

} // namespace slipway::cli
