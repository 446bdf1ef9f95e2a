#include "actors/observe/log.hpp"

#include "actors/lifecycle/time.hpp"
#include "actors/observe/text.hpp"

#include <spdlog/sinks/sink.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <poll.h>
#include <thread>
#include <unistd.h>

namespace slipway::log {

namespace {

/// Marks a message that comes with fields: the logger is a synchronous one, so
/// that what the pointer in `funcname` leads to lives while it is formatted.
/// Compared by address, which no text from outside has.
constexpr char fields_mark[] = "fields";

/// A message is cut to this.
constexpr auto message_bytes_max = std::size_t{16 * 1024};

/// What a pipe takes as one, and for which it has room when it says that it
/// has any.
constexpr auto portion_max = std::size_t{4096};

/// How often a writer that waits for a reader looks whether to end.
constexpr auto poll_ms = 100;

/// The end of a process waits for a reader no longer than this.
constexpr auto end_patience = std::chrono::milliseconds{1'000};

std::string_view word_of(spdlog::level::level_enum x) {
  switch (x) {
    case spdlog::level::trace:
      return "trace";
    case spdlog::level::debug:
      return "debug";
    case spdlog::level::info:
      return "info";
    case spdlog::level::warn:
      return "warn";
    case spdlog::level::err:
      return "error";
    default:
      return "critical";
  }
}

/// Cuts at the end of a character.
std::string_view cut(std::string_view text) {
  if (text.size() <= message_bytes_max)
    return text;
  auto end = message_bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U)
    --end;
  return text.substr(0, end);
}

/// A value that is a word of its own stands as it is.
bool is_plain(std::string_view text) {
  if (text.empty())
    return false;
  for (const auto c : text)
    if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=')
      return false;
  return true;
}

/// The lines that wait, and the thread that writes them. Shared with that
/// thread, which outlives everything else when its reader has gone to sleep.
struct outlet {
  explicit outlet(int where, std::size_t most)
    : descriptor{where}, bytes_max{most} {
  }

  const int descriptor;
  const std::size_t bytes_max;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines; ///< Guarded.
  std::size_t bytes = 0;         ///< Guarded: of `lines`.
  std::uint64_t gap = 0;         ///< Guarded: left out behind the last line.
  bool writing = false;          ///< Guarded.
  bool ended = false;            ///< Guarded.
  /// Writes a line about a gap, which has to look like all others.
  std::function<std::string(std::uint64_t)> line_of_gap;
  std::atomic<std::uint64_t> dropped{0};

  void put(std::string line, bool grave) {
    {
      const auto guard = std::lock_guard{mutex};
      const auto room = grave ? bytes_max : bytes_max - bytes_max / 4;
      if (bytes + line.size() > room) {
        ++gap;
        dropped.fetch_add(1, std::memory_order_relaxed);
        return;
      }
      if (gap > 0)
        note_gap();
      bytes += line.size();
      lines.push_back(std::move(line));
    }
    changed.notify_all();
  }

  void note_gap() {
    auto note = line_of_gap(std::exchange(gap, 0));
    bytes += note.size();
    lines.push_back(std::move(note));
  }

  /// Writes for as long as there is anybody to read.
  /// @returns false once there is nobody any more.
  bool write_all(std::string_view text) {
    while (!text.empty()) {
      auto ready = pollfd{descriptor, POLLOUT, 0};
      const auto polled = ::poll(&ready, 1, poll_ms);
      if (polled == 0 || (polled < 0 && errno == EINTR)) {
        const auto guard = std::lock_guard{mutex};
        if (ended)
          return false;
        continue;
      }
      if (polled < 0 || (ready.revents & (POLLERR | POLLNVAL)) != 0)
        return false;
      const auto n
        = ::write(descriptor, text.data(), std::min(text.size(), portion_max));
      if (n < 0 && (errno == EINTR || errno == EAGAIN))
        continue;
      if (n < 0)
        return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  void run() {
    auto portion = std::string{};
    auto guard = std::unique_lock{mutex};
    while (true) {
      changed.wait(guard, [this] {
        return ended || !lines.empty() || gap > 0;
      });
      if (lines.empty() && gap > 0)
        note_gap();
      if (lines.empty())
        return;
      portion.clear();
      while (!lines.empty()
             && (portion.empty()
                 || portion.size() + lines.front().size() <= portion_max)) {
        bytes -= lines.front().size();
        portion += lines.front();
        lines.pop_front();
      }
      writing = true;
      guard.unlock();
      // Where nobody reads any more there is nobody to tell, either.
      write_all(portion);
      guard.lock();
      writing = false;
      changed.notify_all();
    }
  }

  bool drain(std::chrono::milliseconds patience) {
    auto guard = std::unique_lock{mutex};
    return changed.wait_for(guard, patience, [this] {
      return lines.empty() && gap == 0 && !writing;
    });
  }

  void end() {
    drain(end_patience);
    {
      const auto guard = std::lock_guard{mutex};
      ended = true;
      lines.clear();
      bytes = 0;
      gap = 0;
    }
    changed.notify_all();
  }
};

class outlet_sink final : public spdlog::sinks::sink {
public:
  outlet_sink(std::shared_ptr<outlet> to, format how)
    : to_{std::move(to)}, how_{how} {
  }

  ~outlet_sink() override {
    to_->end();
  }

  void log(const spdlog::details::log_msg& what) override {
    to_->put(format_line(how_, what), what.level >= spdlog::level::warn);
  }

  void flush() override {
    // Nobody waits for a reader: see `drain`.
  }

  void set_pattern(const std::string&) override {
  }

  void set_formatter(std::unique_ptr<spdlog::formatter>) override {
  }

private:
  std::shared_ptr<outlet> to_;
  format how_;
};

std::mutex current_mutex;

/// Where lines go now; null before `set_up`.
std::shared_ptr<outlet>& current() {
  static auto here = std::shared_ptr<outlet>{};
  return here;
}

std::shared_ptr<outlet> current_outlet() {
  const auto guard = std::lock_guard{current_mutex};
  return current();
}

} // namespace

void about::hand_over(spdlog::logger& to, spdlog::level::level_enum at,
                      std::string_view message) const {
  to.log(
    spdlog::source_loc{fields_mark, 1, reinterpret_cast<const char*>(this)}, at,
    spdlog::string_view_t{message.data(), message.size()});
}

std::string format_line(format how, const spdlog::details::log_msg& what) {
  auto line = std::string{};
  const auto message
    = cut(std::string_view{what.payload.data(), what.payload.size()});
  const auto at = to_rfc3339(std::chrono::time_point_cast<millis>(what.time));
  const auto is_json = how == format::json;
  if (is_json) {
    line += R"({"time":")";
    line += at;
    line += R"(","level":")";
    line += word_of(what.level);
    line += R"(","message":")";
    observe::append_escaped(line, message);
    line += '"';
  } else {
    line += at;
    line += ' ';
    const auto word = word_of(what.level);
    line += word;
    line.append(word.size() < 6 ? 6 - word.size() : 1, ' ');
    observe::append_printable(line, message);
  }
  if (what.source.filename == fields_mark) {
    const auto& fields = *reinterpret_cast<const about*>(what.source.funcname);
    const auto key = [&](std::string_view in_json, std::string_view in_text) {
      if (is_json) {
        line += ",\"";
        line += in_json;
        line += "\":";
      } else {
        line += ' ';
        line += in_text;
        line += '=';
      }
    };
    const auto text = [&](std::string_view in_json, std::string_view in_text,
                          std::string_view content) {
      if (content.empty())
        return;
      key(in_json, in_text);
      if (!is_json && is_plain(content)) {
        line += content;
        return;
      }
      line += '"';
      observe::append_escaped(line, cut(content));
      line += '"';
    };
    text("request_id", "request", fields.request_);
    if (raw(fields.subscription_) != 0)
      text("subscription_id", "subscription", to_text(fields.subscription_));
    text("order_id", "order", fields.order_);
    if (fields.trace_)
      text("trace_id", "trace", trace::to_text(fields.trace_));
    text("actor", "actor", fields.actor_);
    for (std::size_t i = 0; i < fields.extras_count_; ++i) {
      const auto& x = fields.extras_[i];
      if (const auto* words = std::get_if<std::string_view>(&x.value)) {
        text(x.key, x.key, *words);
      } else if (const auto* whole = std::get_if<std::int64_t>(&x.value)) {
        key(x.key, x.key);
        line += std::to_string(*whole);
      } else {
        key(x.key, x.key);
        line += fmt::format("{:.3f}", std::get<double>(x.value));
      }
    }
  }
  line += is_json ? "}\n" : "\n";
  return line;
}

void set_up(spdlog::level::level_enum least, format how, int descriptor,
            std::size_t bytes_max) {
  auto made = std::make_shared<outlet>(descriptor, bytes_max);
  made->line_of_gap = [how](std::uint64_t lines) {
    const auto words
      = fmt::format("log: {} line(s) left out here, since nobody "
                    "read them in time",
                    lines);
    return format_line(
      how, spdlog::details::log_msg{"slipway", spdlog::level::warn, words});
  };
  // Signals are for those who wait for them, not for this thread.
  auto all = sigset_t{};
  auto before = sigset_t{};
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // Never joined: a write to a terminal that was stopped may last for ever.
  std::thread{[made] {
    made->run();
  }}.detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  auto logger = std::make_shared<spdlog::logger>(
    "slipway", std::make_shared<outlet_sink>(made, how));
  logger->set_level(least);
  {
    const auto guard = std::lock_guard{current_mutex};
    current() = made;
  }
  spdlog::set_default_logger(std::move(logger));
}

bool drain(std::chrono::milliseconds patience) {
  const auto to = current_outlet();
  return !to || to->drain(patience);
}

std::uint64_t dropped() noexcept {
  const auto to = current_outlet();
  return to ? to->dropped.load(std::memory_order_relaxed) : 0;
}

} // namespace slipway::log
