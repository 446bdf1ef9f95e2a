#pragma once

#include "http/provider/log_cursor.hpp"
#include "http/provider/log_text.hpp"

#include <boost/json/value.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The lines of one lane, and how to come by them.
///
/// The provider answers a question about a span of time with the newest lines
/// within it, one more than asked for at most. So an answer that is full says
/// nothing about the older part of its span, and one that is not full is the
/// whole truth about it. Everything here is built on whole truths: windows.
/// Pure.
namespace slipway::provider {

/// One line out of an answer, clean and without secrets.
struct raw_line {
  nanos at = 0;
  std::string_view level; ///< One of `log_level`'s words.
  std::string text;
};

/// What the provider gave.
struct log_answer {
  std::vector<raw_line> lines; ///< Oldest first.
  std::size_t messages = 0;    ///< A message may be several lines.
  nanos oldest = 0;            ///< Of the messages; means nothing without any.
  nanos newest = 0;
};

/// Reads `[Log!]!`. What has no time that can be read is left out.
[[nodiscard]] log_answer
read_log_answer(const boost::json::value& list, const redactor& secrets);

/// How far back from its end a lane is not settled yet: lines of several
/// sources reach the provider's store in a somewhat other order than their
/// times say.
inline constexpr nanos unsettled_span = 2'000 * nanos_per_ms;

inline constexpr nanos no_end = std::numeric_limits<nanos>::max();

// -- windows
// ----------------------------------------------------------------------

/// One line with its place.
struct kept_line {
  nanos at = 0;
  std::uint32_t count = 0; ///< Numbers the lines of an instant from 1.
  std::string_view level;
  std::string text;
  std::size_t mark = 0; ///< Stands for level and text.
  /// The live stream that has brought it; 0: none.
  std::uint64_t stream = 0;

  [[nodiscard]] log_place place() const noexcept {
    return {at, count};
  }
};

/// All lines of a lane from `begin` on, and before `end`.
class log_window {
public:
  log_window(nanos begin, nanos end) : begin_{begin}, end_{end} {
  }

  [[nodiscard]] nanos begin() const noexcept {
    return begin_;
  }

  /// `no_end`: up to the present, as of when it was filled last.
  [[nodiscard]] nanos end() const noexcept {
    return end_;
  }

  [[nodiscard]] const std::deque<kept_line>& lines() const noexcept {
    return lines_;
  }

  /// What the lines take in memory, about.
  [[nodiscard]] std::size_t bytes() const noexcept {
    return bytes_;
  }

  /// The first line behind a place, or nullptr.
  [[nodiscard]] const kept_line* behind(log_place where) const;

  /// Takes over the whole truth about a span of time within the window. Lines
  /// never go and never change their places: what is new of an instant stands
  /// behind what is known of it.
  /// @returns the places of lines that were put before the last one.
  std::vector<log_place>
  absorb(const std::vector<raw_line>& lines, nanos from, nanos until);

  enum class live : std::uint8_t {
    known, ///< It is there, or too old to be kept.
    added, ///< Behind all others.
    late,  ///< Before others that have been seen already.
  };

  /// Takes a line of a live stream. Streams repeat what there was before they
  /// began; a line that the stream has not brought yet and that is there is
  /// such a one, also among equals.
  /// @param stream Numbers the streams from 1.
  /// @param settled The repetition is over: what is older than the last line
  ///        and not known has come late. Before, it is dropped.
  /// @param place Set for `late`.
  live
  add_live(raw_line line, std::uint64_t stream, bool settled, log_place& place);

  /// Ends it somewhat before its last line: what came at the end may not have
  /// been all of it.
  void close();

  /// Drops the oldest instants until no more is left than this.
  void trim(std::size_t lines_max, std::size_t bytes_max);

  timestamp filled_at{}; ///< When it was true up to the present.
  timestamp used_at{};

private:
  using iterator = std::deque<kept_line>::iterator;

  iterator after(nanos at);

  iterator insert(iterator where, kept_line line);

  nanos begin_ = 0;
  nanos end_ = no_end;
  std::deque<kept_line> lines_;
  std::size_t bytes_ = 0;
};

// -- searching
// ---------------------------------------------------------------------

/// One question to the provider. Spans are wider than needed by a little: the
/// provider may cut times to milliseconds, and count their ends in or out.
struct log_question {
  std::optional<timestamp> start; ///< Nothing: from the first line.
  std::optional<timestamp> end;   ///< Nothing: up to the present.
  std::size_t limit = 0;
};

/// What earlier searches of a lane have taught, so that the next one guesses
/// better.
struct search_memory {
  /// From here on there is more than one answer holds; 0: not known.
  nanos full_at = 0;
  /// There are lines before the time at which they were expected to begin.
  bool early = false;
  /// A span that promises somewhat more than half an answer; 0: not known.
  nanos width = 0;
};

/// Looks for a window that begins at a given time, by asking for ever shorter
/// spans until an answer is not full.
class window_search {
public:
  /// @param from At most the time of the first line that is wanted.
  /// @param until Where a known window goes on; `no_end`: up to the present.
  /// @param limit Of one answer.
  /// @param floor There should be no line before it; should there be one, it
  ///        is found all the same.
  window_search(nanos from, nanos until, std::size_t limit, nanos floor = 0);

  /// Begins with a guess.
  /// @param now A guess that reaches into the last minute is none: what ends
  ///        must be over.
  window_search(nanos from, nanos until, std::size_t limit, nanos floor,
                const search_memory& memory, nanos now);

  [[nodiscard]] log_question question() const;

  /// Takes the answer to the question.
  /// @returns whether the window is found; otherwise there is another question.
  bool learn(const log_answer& got);

  /// What there is to be remembered once the window is found.
  void teach(search_memory& memory) const;

  [[nodiscard]] nanos from() const noexcept {
    return from_;
  }

  /// The end of the window; with `learn`'s last answer it is complete.
  [[nodiscard]] nanos until() const noexcept {
    return until_;
  }

  /// From when on the answer just learnt is complete up to the present; nothing
  /// if it is not.
  [[nodiscard]] std::optional<nanos> tail() const noexcept {
    return tail_;
  }

  /// Lines within one millisecond were more than an answer holds: some are out
  /// of reach.
  [[nodiscard]] bool gave_up() const noexcept {
    return gave_up_;
  }

private:
  [[nodiscard]] nanos lower() const noexcept;

  nanos from_;
  nanos until_;
  std::size_t limit_;
  nanos floor_;
  std::optional<nanos> tail_;
  nanos full_at_ = 0;
  std::size_t found_ = 0;
  bool early_ = false;
  bool gave_up_ = false;
};

// -- what is known of a lane
// -------------------------------------------------------

/// The windows of one lane. One of them at most is open.
class log_shelf {
public:
  /// What stands behind a place.
  struct found {
    /// Nullptr: nothing is known to.
    const kept_line* line = nullptr;
    /// The window up to the present, when there is no line before its end.
    log_window* tail = nullptr;
    /// Otherwise, where the unknown begins…
    nanos from = 0;
    /// …and where a known window goes on.
    nanos until = no_end;
  };

  [[nodiscard]] found find(log_place behind, timestamp now);

  /// The window up to the present, or nullptr.
  [[nodiscard]] log_window* tail();

  /// Puts away the whole truth about a span.
  /// @returns the places of lines that came late, see `log_window::absorb`.
  std::vector<log_place> put(nanos from, nanos until,
                             const std::vector<raw_line>& lines, timestamp now);

  [[nodiscard]] std::size_t bytes() const;

  [[nodiscard]] bool empty() const noexcept {
    return windows_.empty();
  }

  /// When the window was used that was left alone for longest, without the tail
  /// where that is to be spared.
  [[nodiscard]] std::optional<timestamp> oldest_use(bool spare_tail) const;

  /// Drops just that window.
  void drop_oldest(bool spare_tail);

private:
  using windows = std::map<nanos, log_window>;

  [[nodiscard]] windows::const_iterator oldest(bool spare_tail) const;

  void put_closed(nanos from, nanos until, const std::vector<raw_line>& lines,
                  timestamp now);

  windows windows_; ///< By their beginnings.
};

} // namespace slipway::provider
