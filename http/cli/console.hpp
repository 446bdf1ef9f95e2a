#pragma once

#include "actors/lifecycle/time.hpp"
#include "config/load_settings.hpp"
#include "http/cli/look.hpp"

#include <string>
#include <string_view>

namespace slipway::cli {

/// The terminal, or what stands in for it: answers on standard output, messages
/// on standard error, questions to whoever sits there.
class console {
public:
  /// Looks at the terminal and at the environment: NO_COLOR, TERM, COLUMNS and
  /// the locale's variables.
  console(const config::environment& env, bool utc, const clock& time);

  /// The look at this moment.
  [[nodiscard]] look how() const;

  /// Writes at once. @returns false when nobody takes it any more.
  bool print(std::string_view text);

  /// A message on standard error, made safe; each line after the first one is
  /// indented.
  void complain(std::string_view message) const;

  /// Progress on standard error: a line that replaces the last one on a
  /// terminal, and a line of its own elsewhere. Empty ends it.
  void progress(std::string_view text);

  /// Whether somebody can be asked: a terminal on both ends.
  [[nodiscard]] bool can_ask() const noexcept {
    return can_ask_;
  }

  /// Asks for a yes; anything else, and the end of the input, is a no.
  [[nodiscard]] bool confirm(std::string_view question) const;

  /// Asks for a line of text; empty when there is none.
  [[nodiscard]] std::string ask(std::string_view question) const;

  /// Waits. @returns false, at once, when nobody reads the output any more.
  [[nodiscard]] bool wait(millis length) const;

  /// Whether somebody still reads the output.
  [[nodiscard]] bool is_read() const;

  /// Why `print` has failed: 0, or an errno.
  [[nodiscard]] int trouble() const noexcept {
    return trouble_;
  }

  /// Standard output is a terminal.
  [[nodiscard]] bool is_terminal() const noexcept {
    return is_terminal_;
  }

private:
  look look_;
  const clock& time_;
  bool is_terminal_ = false;
  bool errors_on_terminal_ = false;
  bool can_ask_ = false;
  bool in_progress_ = false;
  int trouble_ = 0;
};

} // namespace slipway::cli
