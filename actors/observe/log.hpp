#pragma once

#include "actors/observe/trace.hpp"

#include <spdlog/spdlog.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

/// Lines of the log that say what they are about in fields as well as in words.
///
///     log::about{id}.request(x.in().id).warn("{} not stored ({})", what, why);
///
/// Nothing is remembered between two lines: a thread serves many actors, and
/// what one of them is about must not turn up in another's line.
namespace slipway::log {

enum class format : std::uint8_t {
  text, ///< `2026-11-23T08:00:00.123Z warn  words subscription=sub_…`
  json, ///< One object per line: `time`, `level`, `message`, then the fields.
};

/// What a line is about. Made where the line is written, and good for that line
/// only: it holds views. Costs next to nothing when nobody writes the line.
class about {
public:
  /// Fields beside the ones with a name of their own.
  static constexpr auto extras_max = std::size_t{4};

  using value = std::variant<std::string_view, std::int64_t, double>;

  struct extra {
    std::string_view key;
    log::about::value value;
  };

  about() = default;

  explicit about(subscription_id id) : subscription_{id} {
  }

  explicit about(const trace::origin& from) {
    begun_by(from);
  }

  about& subscription(subscription_id id) noexcept {
    subscription_ = id;
    return *this;
  }

  about& order(std::string_view id) noexcept {
    order_ = id;
    return *this;
  }

  about& request(std::string_view id) noexcept {
    request_ = id;
    return *this;
  }

  about& trace(trace::trace_id id) noexcept {
    trace_ = id;
    return *this;
  }

  /// Which part of the server speaks.
  about& actor(std::string_view name) noexcept {
    actor_ = name;
    return *this;
  }

  about& begun_by(const trace::origin& from) noexcept {
    request_ = from.request_id;
    trace_ = from.where.trace;
    return *this;
  }

  /// Any other field; those beyond `extras_max` are left out.
  /// @param key In lower case with underscores.
  about& with(std::string_view key, value what) noexcept {
    if (extras_count_ < extras_max)
      extras_[extras_count_++] = {key, what};
    return *this;
  }

  template <class... Args>
  void debug(spdlog::format_string_t<Args...> text, Args&&... args) const {
    write(spdlog::level::debug, text, std::forward<Args>(args)...);
  }

  template <class... Args>
  void info(spdlog::format_string_t<Args...> text, Args&&... args) const {
    write(spdlog::level::info, text, std::forward<Args>(args)...);
  }

  template <class... Args>
  void warn(spdlog::format_string_t<Args...> text, Args&&... args) const {
    write(spdlog::level::warn, text, std::forward<Args>(args)...);
  }

  template <class... Args>
  void error(spdlog::format_string_t<Args...> text, Args&&... args) const {
    write(spdlog::level::err, text, std::forward<Args>(args)...);
  }

  template <class... Args>
  void critical(spdlog::format_string_t<Args...> text, Args&&... args) const {
    write(spdlog::level::critical, text, std::forward<Args>(args)...);
  }

  template <class... Args>
  void write(spdlog::level::level_enum at,
             spdlog::format_string_t<Args...> text, Args&&... args) const {
    auto* to = spdlog::default_logger_raw();
    if (!to->should_log(at))
      return;
    auto message = spdlog::memory_buf_t{};
    fmt::format_to(fmt::appender{message}, text, std::forward<Args>(args)...);
    hand_over(*to, at, {message.data(), message.size()});
  }

private:
  friend std::string format_line(format, const spdlog::details::log_msg&);

  void hand_over(spdlog::logger& to, spdlog::level::level_enum at,
                 std::string_view message) const;

  subscription_id subscription_{};
  std::string_view order_;
  std::string_view request_;
  std::string_view actor_;
  trace::trace_id trace_;
  std::array<extra, extras_max> extras_{};
  std::size_t extras_count_ = 0;
};

/// Makes one line of a message and of what it is about; whatever stands in it,
/// it is one line of valid UTF-8.
[[nodiscard]] std::string
format_line(format how, const spdlog::details::log_msg& what);

/// Sends everything that is logged from now on to a descriptor, by way of a
/// bounded queue and a thread of its own: whoever logs never waits for whoever
/// reads. Lines that find no room are left out, and counted where the gap is;
/// the last quarter of the room is for warnings and worse.
/// @param descriptor Stays open for as long as the process.
/// @param bytes_max Of lines that wait.
void set_up(spdlog::level::level_enum least, format how, int descriptor,
            std::size_t bytes_max = 4 * 1024 * 1024);

/// Waits until what has been logged is written, for as long as `patience`. For
/// those who end the process.
/// @returns whether it came to that.
bool drain(std::chrono::milliseconds patience);

/// Lines that were left out so far.
[[nodiscard]] std::uint64_t dropped() noexcept;

} // namespace slipway::log
