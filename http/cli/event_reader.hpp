#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace slipway::cli {

/// One server-sent event.
struct server_event {
  std::string id;   ///< The last one that was given, also by an earlier event.
  std::string name; ///< `message` where none is given.
  std::string data;
};

/// Puts server-sent events together from the pieces they arrive in.
class event_reader {
public:
  /// Takes a piece and returns the events that are complete with it.
  [[nodiscard]] std::vector<server_event> take(std::string_view piece);

  /// A line or an event has become longer than 1 MiB: no server of ours.
  [[nodiscard]] bool overflowed() const noexcept {
    return overflowed_;
  }

  /// Forgets what is not complete, for the next connection.
  void restart();

private:
  void read_line(std::string_view line, std::vector<server_event>& out);

  std::string line_;
  bool after_return_ = false; ///< A line feed that comes next belongs to it.
  bool overflowed_ = false;
  std::string id_;
  std::string name_;
  std::string data_;
  bool has_data_ = false;
};

} // namespace slipway::cli
