#include "http/provider/log_lines.hpp"

#include "http/provider/view.hpp"

#include <algorithm>
#include <functional>

namespace slipway::provider {

namespace {

namespace json = boost::json;

/// Both sides of a question's span.
constexpr auto margin = nanos_per_ms;

/// Lines reach the provider's store with some delay.
constexpr auto settled_after = 60'000 * nanos_per_ms;

/// What an answer's line takes beside its text.
constexpr auto line_overhead = sizeof(kept_line) + 16;

std::size_t mark_of(std::string_view level, std::string_view text) {
  return std::hash<std::string_view>{}(text)*31
         + std::hash<std::string_view>{}(level);
}

nanos floor_ms(nanos at) {
  return at - at % nanos_per_ms;
}

nanos ceil_ms(nanos at) {
  return floor_ms(at + nanos_per_ms - 1);
}

timestamp to_timestamp(nanos at) {
  return timestamp{millis{std::max(at, nanos{0}) / nanos_per_ms}};
}

kept_line make_kept(raw_line&& line, std::uint32_t count) {
  auto out = kept_line{};
  out.at = line.at;
  out.count = count;
  out.level = line.level;
  out.text = std::move(line.text);
  out.mark = mark_of(out.level, out.text);
  return out;
}

} // namespace

log_answer read_log_answer(const json::value& list, const redactor& secrets) {
  auto out = log_answer{};
  if (!list.is_array())
    return out;
  out.oldest = no_end;
  for (const auto& x : list.get_array()) {
    const auto at = parse_nanos(text_at(x, "timestamp"));
    if (!at)
      continue;
    ++out.messages;
    out.oldest = std::min(out.oldest, *at);
    out.newest = std::max(out.newest, *at);
    const auto level = log_level(text_at(x, "severity"));
    for (auto& text : make_log_lines(text_at(x, "message"), secrets))
      out.lines.push_back({*at, level, std::move(text)});
  }
  // They come sorted; should they not, equals keep their order.
  std::stable_sort(out.lines.begin(), out.lines.end(),
                   [](const raw_line& a, const raw_line& b) {
                     return a.at < b.at;
                   });
  return out;
}

// -- windows
// ----------------------------------------------------------------------

const kept_line* log_window::behind(log_place where) const {
  const auto found = std::upper_bound(lines_.begin(), lines_.end(), where,
                                      [](log_place p, const kept_line& x) {
                                        return p < x.place();
                                      });
  return found == lines_.end() ? nullptr : &*found;
}

log_window::iterator log_window::after(nanos at) {
  return std::upper_bound(lines_.begin(), lines_.end(), at,
                          [](nanos t, const kept_line& x) {
                            return t < x.at;
                          });
}

log_window::iterator log_window::insert(iterator where, kept_line line) {
  bytes_ += line.text.size() + line_overhead;
  return lines_.insert(where, std::move(line));
}

std::vector<log_place> log_window::absorb(const std::vector<raw_line>& lines,
                                          nanos from, nanos until) {
  auto out = std::vector<log_place>{};
  const auto last = lines_.empty() ? log_place{} : lines_.back().place();
  from = std::max(from, begin_);
  until = std::min(until, end_);
  for (std::size_t i = 0; i < lines.size();) {
    const auto at = lines[i].at;
    auto size = std::size_t{1};
    while (i + size < lines.size() && lines[i + size].at == at)
      ++size;
    if (at >= from && at < until) {
      auto end = after(at);
      auto known = end != lines_.begin() && std::prev(end)->at == at
                     ? std::prev(end)->count
                     : 0U;
      for (; known < size; ++known) {
        const auto place = log_place{at, known + 1};
        if (place < last)
          out.push_back(place);
        auto copy = lines[i + known];
        end = std::next(insert(end, make_kept(std::move(copy), place.count)));
      }
    }
    i += size;
  }
  return out;
}

log_window::live log_window::add_live(raw_line line, std::uint64_t stream,
                                      bool settled, log_place& place) {
  if (line.at < begin_)
    return live::known;
  const auto mark = mark_of(line.level, line.text);
  const auto end = after(line.at);
  auto count = std::uint32_t{0};
  for (auto i = end; i != lines_.begin();) {
    --i;
    if (i->at != line.at)
      break;
    count = std::max(count, i->count);
  }
  // The oldest of the equals is the first that is repeated.
  for (auto i = end - static_cast<std::ptrdiff_t>(count); i != end; ++i)
    if (i->mark == mark && i->stream != stream && i->text == line.text) {
      i->stream = stream;
      return live::known;
    }
  const auto is_last = end == lines_.end();
  if (!is_last && !settled)
    return live::known;
  place = {line.at, count + 1};
  auto kept = make_kept(std::move(line), place.count);
  kept.stream = stream;
  insert(end, std::move(kept));
  return is_last ? live::added : live::late;
}

void log_window::close() {
  end_ = begin_;
  if (!lines_.empty())
    end_ = std::max(begin_, lines_.back().at - unsettled_span);
  while (!lines_.empty() && lines_.back().at >= end_) {
    bytes_ -= lines_.back().text.size() + line_overhead;
    lines_.pop_back();
  }
}

void log_window::trim(std::size_t lines_max, std::size_t bytes_max) {
  while (!lines_.empty() && (lines_.size() > lines_max || bytes_ > bytes_max)) {
    const auto at = lines_.front().at;
    if (at == lines_.back().at)
      return; // An instant is dropped as a whole or not at all.
    while (lines_.front().at == at) {
      bytes_ -= lines_.front().text.size() + line_overhead;
      lines_.pop_front();
    }
    begin_ = at + 1;
  }
}

// -- searching
// ---------------------------------------------------------------------

window_search::window_search(nanos from, nanos until, std::size_t limit,
                             nanos floor)
  : from_{from}, until_{until}, limit_{limit}, floor_{floor} {
}

window_search::window_search(nanos from, nanos until, std::size_t limit,
                             nanos floor, const search_memory& memory,
                             nanos now)
  : window_search{from, until, limit, memory.early ? 0 : floor} {
  const auto begin = lower();
  auto width = memory.width;
  // Somewhere before it the lines begin to be many: halfway, as likely as not.
  if (width == 0 && memory.full_at > begin)
    width = (memory.full_at - begin) / 2;
  if (width == 0 || width > now)
    return;
  const auto guess = ceil_ms(begin + width);
  if (guess < until && guess < now - settled_after)
    until_ = guess;
}

nanos window_search::lower() const noexcept {
  return std::max(from_, floor_);
}

log_question window_search::question() const {
  auto out = log_question{};
  if (from_ > 0)
    out.start = to_timestamp(floor_ms(from_) - margin);
  if (until_ != no_end)
    out.end = to_timestamp(ceil_ms(until_) + margin);
  out.limit = limit_;
  return out;
}

bool window_search::learn(const log_answer& got) {
  tail_.reset();
  found_ = got.messages;
  // Something older than what was asked for: nothing is missing in between.
  if (got.messages < limit_ || got.oldest < from_)
    return true;
  full_at_ = got.oldest;
  // Of its oldest instant, an answer may lack the first lines.
  const auto known = got.oldest + 1;
  if (until_ == no_end && known <= got.newest)
    tail_ = known;
  // As dense as it is at the end it may well be here, then half an answer is
  // what the next one will be. In any case half of what is left is enough.
  if (known <= lower()) {
    early_ = true;
    floor_ = 0;
  }
  auto width = (known - lower()) / 2;
  if (const auto dense = (got.newest - got.oldest) / 2; dense > 0)
    width = std::min(width, dense);
  const auto next = ceil_ms(lower() + std::max(width, nanos{1}));
  if (next >= until_ || next > got.newest) {
    // So many within a millisecond that they cannot be told apart.
    gave_up_ = true;
    return true;
  }
  until_ = next;
  return false;
}

void window_search::teach(search_memory& memory) const {
  memory.early = memory.early || early_;
  if (full_at_ != 0)
    memory.full_at = full_at_;
  if (until_ == no_end)
    return;
  if (until_ >= memory.full_at)
    memory.full_at = 0;
  const auto width = std::max(until_ - lower(), nanos_per_ms);
  if (found_ == 0) {
    memory.width = memory.full_at == 0 ? width * 2 : 0;
    return;
  }
  const auto times
    = static_cast<double>(limit_) * 0.6 / static_cast<double>(found_);
  memory.width = static_cast<nanos>(static_cast<double>(width)
                                    * std::clamp(times, 0.125, 8.0));
}

// -- what is known of a lane
// -------------------------------------------------------

log_shelf::found log_shelf::find(log_place behind, timestamp now) {
  for (;;) {
    // The nearest beginning before it, of those that reach so far.
    auto i = windows_.upper_bound(behind.at);
    const auto next = i;
    auto* window = static_cast<log_window*>(nullptr);
    while (window == nullptr && i != windows_.begin()) {
      --i;
      if (behind.at < i->second.end())
        window = &i->second;
    }
    if (window == nullptr)
      return {nullptr, nullptr, behind.at,
              next == windows_.end() ? no_end : next->first};
    window->used_at = now;
    if (const auto* line = window->behind(behind))
      return {line, nullptr, 0, no_end};
    if (window->end() == no_end)
      return {nullptr, window, 0, no_end};
    behind = {window->end(), 0};
  }
}

log_window* log_shelf::tail() {
  for (auto& [begin, x] : windows_)
    if (x.end() == no_end)
      return &x;
  return nullptr;
}

void log_shelf::put_closed(nanos from, nanos until,
                           const std::vector<raw_line>& lines, timestamp now) {
  if (from >= until)
    return;
  const auto known = windows_.find(from);
  if (known != windows_.end()) {
    if (known->second.end() >= until) {
      known->second.absorb(lines, from, until);
      return;
    }
    windows_.erase(known);
  }
  auto& made = windows_.emplace(from, log_window{from, until}).first->second;
  made.absorb(lines, from, until);
  made.used_at = now;
}

std::vector<log_place>
log_shelf::put(nanos from, nanos until, const std::vector<raw_line>& lines,
               timestamp now) {
  if (until != no_end) {
    put_closed(from, until, lines, now);
    return {};
  }
  if (auto* known = tail()) {
    const auto reach
      = known->lines().empty() ? known->begin() : known->lines().back().at + 1;
    if (from <= reach) {
      put_closed(from, known->begin(), lines, now);
      known->filled_at = now;
      known->used_at = now;
      return known->absorb(lines, from, no_end);
    }
    // More has come in between than is known: the old tail ends here.
    const auto begin = known->begin();
    known->close();
    if (known->end() == begin)
      windows_.erase(begin);
  }
  windows_.erase(from);
  auto& made = windows_.emplace(from, log_window{from, no_end}).first->second;
  made.absorb(lines, from, no_end);
  made.filled_at = now;
  made.used_at = now;
  return {};
}

std::size_t log_shelf::bytes() const {
  auto out = std::size_t{0};
  for (const auto& [begin, x] : windows_)
    out += x.bytes() + sizeof(log_window);
  return out;
}

log_shelf::windows::const_iterator log_shelf::oldest(bool spare_tail) const {
  auto out = windows_.end();
  for (auto i = windows_.begin(); i != windows_.end(); ++i)
    if (!(spare_tail && i->second.end() == no_end)
        && (out == windows_.end() || i->second.used_at < out->second.used_at))
      out = i;
  return out;
}

std::optional<timestamp> log_shelf::oldest_use(bool spare_tail) const {
  const auto found = oldest(spare_tail);
  if (found == windows_.end())
    return std::nullopt;
  return found->second.used_at;
}

void log_shelf::drop_oldest(bool spare_tail) {
  const auto found = oldest(spare_tail);
  if (found != windows_.end())
    windows_.erase(found);
}

} // namespace slipway::provider
