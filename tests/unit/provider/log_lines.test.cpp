#define CAF_SUITE provider.log_lines

#include "http/provider/log_lines.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

#include <algorithm>
#include <random>

using namespace slipway;
using namespace slipway::provider;

namespace json = boost::json;

// Goal: however lines are spread over time, and wherever a reader stops and
// goes on, every line is read once, in one order; and it takes few questions.

namespace {

constexpr auto ms = nanos_per_ms;
constexpr auto second = 1'000 * ms;
constexpr auto hour = 3'600 * second;
constexpr auto origin = nanos{1'795'420'800} * second;

raw_line line(nanos at, std::string text) {
  return {at, "info", std::move(text)};
}

/// The provider's side: gives the newest lines of a span, one more than asked
/// for, and cuts times to milliseconds.
struct model {
  std::vector<raw_line> all; ///< Oldest first.
  std::size_t questions = 0;

  log_answer answer(const log_question& q) {
    ++questions;
    auto out = log_answer{};
    const auto in = [&](const raw_line& x) {
      const auto at = timestamp{millis{x.at / ms}};
      return (!q.start || at >= *q.start) && (!q.end || at <= *q.end);
    };
    for (const auto& x : all)
      if (in(x))
        out.lines.push_back(x);
    const auto max = q.limit + 1;
    if (out.lines.size() > max)
      out.lines.erase(out.lines.begin(),
                      out.lines.end() - static_cast<std::ptrdiff_t>(max));
    out.messages = out.lines.size();
    if (!out.lines.empty()) {
      out.oldest = out.lines.front().at;
      out.newest = out.lines.back().at;
    }
    return out;
  }
};

std::string text_of(const std::vector<raw_line>& lines) {
  auto out = std::string{};
  for (const auto& x : lines)
    out += x.text + " ";
  return out;
}

std::string text_of(const log_window& from) {
  auto out = std::string{};
  for (const auto& x : from.lines())
    out += x.text + "@" + std::to_string(x.at) + "." + std::to_string(x.count)
           + " ";
  return out;
}

/// Reads a lane as the LOGBOOK does.
struct reader {
  model& api;
  std::size_t limit;
  nanos floor = 0;
  nanos now = origin + 100 * hour;
  log_shelf shelf{};
  search_memory memory{};
  log_place place{};

  /// The next line; nothing at the end.
  std::optional<kept_line> next() {
    for (auto i = 0; i < 500; ++i) {
      const auto found = shelf.find(place, timestamp{});
      if (found.line != nullptr) {
        place = found.line->place();
        return *found.line;
      }
      if (found.tail != nullptr)
        return std::nullopt;
      load(found.from, found.until);
    }
    CAF_FAIL("too many questions");
  }

  void load(nanos from, nanos until) {
    auto search = window_search{from, until, limit, floor, memory, now};
    for (auto i = 0; i < 500; ++i) {
      const auto got = api.answer(search.question());
      const auto found = search.learn(got);
      if (search.tail())
        shelf.put(*search.tail(), no_end, got.lines, timestamp{});
      if (found) {
        search.teach(memory);
        shelf.put(search.from(), search.until(), got.lines, timestamp{});
        return;
      }
    }
    CAF_FAIL("a search without an end");
  }

  std::vector<raw_line> read_all() {
    auto out = std::vector<raw_line>{};
    while (const auto x = next())
      out.push_back(line(x->at, x->text));
    return out;
  }
};

} // namespace

// -- answers
// ----------------------------------------------------------------------

CAF_TEST(answers are read line by line) {
  const auto got = read_log_answer(json::parse(R"([
      {"timestamp":"2026-11-23T08:00:01.000000002Z","severity":"err",
       "message":"\u001b[31mtwo\u001b[0m\nand three"},
      {"timestamp":"2026-11-23T08:00:01.000000001Z","severity":null,
       "message":"one secret-token"},
      {"timestamp":"never","message":"x"}, 7, null,
      {"timestamp":"2026-11-23T08:00:02Z"}])"),
                                   redactor{{"secret-token"}});
  CAF_CHECK_EQUAL(text_of(got.lines), "one *** two and three  ");
  CAF_CHECK_EQUAL(got.messages, 3u);
  CAF_CHECK_EQUAL(got.lines[0].level, "info");
  CAF_CHECK_EQUAL(got.lines[2].level, "error");
  CAF_CHECK_EQUAL(got.newest - got.oldest, second - 1);
  CAF_CHECK_EQUAL(read_log_answer(json::parse("null"), {}).messages, 0u);
  CAF_CHECK_EQUAL(read_log_answer(json::parse("[]"), {}).messages, 0u);
}

// -- windows
// ----------------------------------------------------------------------

CAF_TEST(lines of one instant are numbered and keep their numbers) {
  auto aut = log_window{0, no_end};
  aut.absorb({line(5, "a"), line(5, "b"), line(7, "c")}, 0, no_end);
  CAF_CHECK_EQUAL(text_of(aut), "a@5.1 b@5.2 c@7.1 ");
  // More of an instant that was known, and what is known once more.
  const auto late = aut.absorb(
    {line(5, "a"), line(5, "b"), line(5, "d"), line(7, "c"), line(9, "e")}, 0,
    no_end);
  CAF_CHECK_EQUAL(text_of(aut), "a@5.1 b@5.2 d@5.3 c@7.1 e@9.1 ");
  CAF_REQUIRE_EQUAL(late.size(), 1u);
  CAF_CHECK(late[0] == (log_place{5, 3}));
  // An instant in between, and spans that cut.
  CAF_CHECK_EQUAL(
    aut.absorb({line(6, "f"), line(8, "g"), line(9, "e")}, 6, 8).size(), 1u);
  CAF_CHECK_EQUAL(text_of(aut), "a@5.1 b@5.2 d@5.3 f@6.1 c@7.1 e@9.1 ");
  CAF_CHECK(aut.behind({5, 2})->text == "d");
  CAF_CHECK(aut.behind({5, 3})->text == "f");
  CAF_CHECK(aut.behind({6, 1})->text == "c");
  CAF_CHECK(aut.behind({0, 0})->text == "a");
  CAF_CHECK(aut.behind({9, 1}) == nullptr);
}

CAF_TEST(a window takes nothing that lies outside) {
  auto aut = log_window{10, 20};
  aut.absorb({line(9, "a"), line(10, "b"), line(19, "c"), line(20, "d")}, 0,
             no_end);
  CAF_CHECK_EQUAL(text_of(aut), "b@10.1 c@19.1 ");
}

CAF_TEST(a live stream repeats what is known and goes on) {
  using live = log_window::live;
  auto aut = log_window{5, no_end};
  aut.absorb({line(5, "a"), line(6, "x"), line(6, "x"), line(6, "y")}, 5,
             no_end);
  auto place = log_place{};
  const auto hear = [&](raw_line x, std::uint64_t stream, bool settled) {
    return aut.add_live(std::move(x), stream, settled, place);
  };
  // The repetition.
  CAF_CHECK(hear(line(4, "old"), 1, false) == live::known);
  CAF_CHECK(hear(line(5, "a"), 1, false) == live::known);
  CAF_CHECK(hear(line(5, "other"), 1, false) == live::known);
  CAF_CHECK(hear(line(6, "x"), 1, false) == live::known);
  CAF_CHECK(hear(line(6, "x"), 1, false) == live::known);
  CAF_CHECK(hear(line(6, "y"), 1, false) == live::known);
  // Of the last instant, a third and a new one.
  CAF_CHECK(hear(line(6, "x"), 1, false) == live::added);
  CAF_CHECK(hear(line(6, "z"), 1, true) == live::added);
  CAF_CHECK(hear(line(8, "b"), 1, true) == live::added);
  CAF_CHECK(hear(line(8, "b"), 1, true) == live::added);
  CAF_CHECK_EQUAL(text_of(aut), "a@5.1 x@6.1 x@6.2 y@6.3 x@6.4 z@6.5 b@8.1 "
                                "b@8.2 ");
  // The next stream repeats all of it.
  for (const auto* x : {"x", "x", "y", "x", "z"})
    CAF_CHECK(hear(line(6, x), 2, false) == live::known);
  CAF_CHECK(hear(line(8, "b"), 2, false) == live::known);
  CAF_CHECK(hear(line(8, "b"), 2, false) == live::known);
  CAF_CHECK(hear(line(8, "b"), 2, true) == live::added);
  // Late ones, once the repetition is over.
  CAF_CHECK(hear(line(7, "late"), 2, true) == live::late);
  CAF_CHECK(place == (log_place{7, 1}));
  CAF_CHECK(hear(line(6, "late"), 2, true) == live::late);
  CAF_CHECK(place == (log_place{6, 6}));
  CAF_CHECK(hear(line(4, "late"), 2, true) == live::known);
  CAF_CHECK_EQUAL(text_of(aut), "a@5.1 x@6.1 x@6.2 y@6.3 x@6.4 z@6.5 late@6.6 "
                                "late@7.1 b@8.1 b@8.2 b@8.3 ");
  // What the provider's store gives afterwards is the same.
  CAF_CHECK(
    aut.absorb({line(8, "b"), line(8, "b"), line(8, "b")}, 8, no_end).empty());
  CAF_CHECK_EQUAL(aut.lines().size(), 11u);
}

CAF_TEST(trimming drops whole instants from the front) {
  auto aut = log_window{0, no_end};
  aut.absorb(
    {line(1, "a"), line(1, "b"), line(2, "c"), line(3, "d"), line(3, "e")}, 0,
    no_end);
  const auto full = aut.bytes();
  aut.trim(5, full);
  CAF_CHECK_EQUAL(aut.lines().size(), 5u);
  aut.trim(4, full);
  CAF_CHECK_EQUAL(text_of(aut), "c@2.1 d@3.1 e@3.2 ");
  CAF_CHECK_EQUAL(aut.begin(), 2);
  aut.trim(3, aut.bytes() - 1);
  CAF_CHECK_EQUAL(text_of(aut), "d@3.1 e@3.2 ");
  CAF_CHECK_EQUAL(aut.begin(), 3);
  // The last instant stays, else nothing would ever be read.
  aut.trim(1, 1);
  CAF_CHECK_EQUAL(aut.lines().size(), 2u);
  CAF_CHECK_EQUAL(aut.bytes() * 5, full * 2);
}

// -- searching
// ---------------------------------------------------------------------

CAF_TEST(a small log takes one question) {
  auto api = model{};
  for (auto i = 0; i < 400; ++i)
    api.all.push_back(line(origin + i * second, std::to_string(i)));
  auto aut = reader{api, 5'000};
  CAF_CHECK_EQUAL(text_of(aut.read_all()), text_of(api.all));
  CAF_CHECK_EQUAL(api.questions, 1u);
}

CAF_TEST(a question is wider than its span by a millisecond) {
  auto aut = window_search{origin + 5, origin + 2 * ms, 10};
  auto q = aut.question();
  CAF_CHECK(q.start == timestamp{millis{origin / ms - 1}});
  CAF_CHECK(q.end == timestamp{millis{origin / ms + 3}});
  q = window_search{0, no_end, 10}.question();
  CAF_CHECK(!q.start);
  CAF_CHECK(!q.end);
}

CAF_TEST(an answer that is just full is not believed) {
  // Whether it gives as many as asked for or one more.
  for (const auto extra : {0, 1}) {
    auto got = log_answer{};
    for (auto i = 0; i < 10 + extra; ++i)
      got.lines.push_back(line(origin + i * second, "x"));
    got.messages = got.lines.size();
    got.oldest = got.lines.front().at;
    got.newest = got.lines.back().at;
    auto aut = window_search{origin - hour, no_end, 10};
    CAF_CHECK(!aut.learn(got));
    CAF_CHECK(aut.tail() == origin + 1);
    // Unless it reaches beyond the beginning of the span.
    aut = window_search{origin + 1, no_end, 10};
    CAF_CHECK(aut.learn(got));
    CAF_CHECK(!aut.tail());
    CAF_CHECK_EQUAL(aut.until(), no_end);
  }
}

CAF_TEST(a large log is read from its beginning in few questions) {
  struct shape {
    const char* name;
    std::size_t most; ///< Questions, beyond those that all lines need.
    std::function<nanos(std::size_t)> at;
  };
  const auto shapes = std::vector<shape>{
    {"even", 12,
     [](std::size_t i) {
       return origin + static_cast<nanos>(i) * second;
     }},
    {"a burst, then calm", 40,
     [](std::size_t i) {
       return i < 30'000
                ? origin + static_cast<nanos>(i) * ms
                : origin + hour + static_cast<nanos>(i - 30'000) * second;
     }},
    {"calm, then a burst", 40,
     [](std::size_t i) {
       return i < 1'000
                ? origin + static_cast<nanos>(i) * 60 * second
                : origin + 48 * hour + static_cast<nanos>(i - 1'000) * ms / 10;
     }},
    {"a day of nothing, then all", 60,
     [](std::size_t i) {
       return origin + 24 * hour + static_cast<nanos>(i) * ms / 2;
     }},
  };
  for (const auto& x : shapes) {
    auto api = model{};
    for (auto i = std::size_t{0}; i < 40'000; ++i)
      api.all.push_back(line(x.at(i), std::to_string(i)));
    auto aut = reader{api, 5'000, origin};
    const auto got = aut.read_all();
    CAF_MESSAGE(x.name << ": " << api.questions);
    CAF_CHECK(text_of(got) == text_of(api.all));
    CAF_CHECK_LESS_OR_EQUAL(api.questions, 40'000 / 2'000 + x.most);
    // The first page does not wait for all of it.
    api.questions = 0;
    auto fresh = reader{api, 5'000, origin};
    CAF_CHECK(fresh.next().has_value());
    CAF_MESSAGE(x.name << ", first line: " << api.questions);
    CAF_CHECK_LESS_OR_EQUAL(api.questions, 30u);
  }
}

CAF_TEST(lines before the expected beginning are read as well) {
  auto api = model{};
  for (auto i = 0; i < 300; ++i)
    api.all.push_back(line(origin + i * second, std::to_string(i)));
  auto aut = reader{api, 20, origin + hour};
  CAF_CHECK_EQUAL(text_of(aut.read_all()), text_of(api.all));
}

CAF_TEST(more in a millisecond than an answer holds does not stop the reading) {
  auto api = model{};
  api.all.push_back(line(origin, "first"));
  for (auto i = 0; i < 50; ++i)
    api.all.push_back(line(origin + hour, std::to_string(i)));
  api.all.push_back(line(origin + 2 * hour, "last"));
  auto aut = reader{api, 10, origin};
  const auto got = aut.read_all();
  CAF_REQUIRE(got.size() >= 10);
  CAF_CHECK_EQUAL(got.front().text, "first");
  CAF_CHECK_EQUAL(got.back().text, "last");
  CAF_CHECK_EQUAL(got[got.size() - 2].text, "49");
}

CAF_TEST(random logs are read once and in order) {
  auto random = std::mt19937_64{17};
  const auto below = [&](std::uint64_t n) {
    return static_cast<nanos>(random() % n);
  };
  for (auto round = 0; round < 400; ++round) {
    auto api = model{};
    auto at = origin;
    const auto steps
      = std::vector<nanos>{0, 0, 1, 100, ms, ms, 10 * ms, second, hour};
    for (auto i = below(400); i > 0; --i) {
      const auto step = steps[static_cast<std::size_t>(
        below(1 + static_cast<std::uint64_t>(round) % steps.size()))];
      at += step;
      api.all.push_back(line(at, std::to_string(api.all.size())));
    }
    // As many as share four milliseconds have to fit into an answer.
    auto most = std::size_t{1};
    for (std::size_t i = 0, j = 0; i < api.all.size(); ++i) {
      while (api.all[i].at - api.all[j].at > 5 * ms)
        ++j;
      most = std::max(most, i - j + 1);
    }
    auto aut = reader{api, most + 1 + static_cast<std::size_t>(below(40)),
                      below(2) == 0 ? nanos{0} : origin};
    auto got = std::vector<raw_line>{};
    while (const auto x = aut.next()) {
      got.push_back(line(x->at, x->text));
      // Now and then everything is forgotten but the place.
      if (below(30) == 0)
        aut.shelf = {};
      if (below(60) == 0)
        aut.memory = {};
    }
    if (text_of(got) != text_of(api.all))
      CAF_FAIL("round " << round << ": " << text_of(got) << " instead of "
                        << text_of(api.all));
  }
}

// -- the shelf
// ---------------------------------------------------------------------

CAF_TEST(a tail is extended where the answers meet) {
  auto aut = log_shelf{};
  aut.put(0, no_end, {line(5, "a"), line(7, "b")}, timestamp{millis{1}});
  CAF_REQUIRE(aut.tail() != nullptr);
  aut.put(6, no_end, {line(7, "b"), line(9, "c")}, timestamp{millis{2}});
  CAF_CHECK_EQUAL(text_of(*aut.tail()), "a@5.1 b@7.1 c@9.1 ");
  CAF_CHECK(aut.tail()->filled_at == timestamp{millis{2}});
  // Just behind the last line is still without a gap.
  aut.put(10, no_end, {line(11, "d")}, timestamp{millis{3}});
  CAF_CHECK_EQUAL(aut.tail()->lines().size(), 4u);
}

CAF_TEST(a tail behind a gap is another one) {
  const auto s = second;
  auto aut = log_shelf{};
  aut.put(0, no_end, {line(5 * s, "a"), line(8 * s, "b"), line(9 * s, "c")},
          timestamp{});
  aut.put(20 * s, no_end, {line(21 * s, "z")}, timestamp{});
  CAF_CHECK(aut.tail()->behind({})->text == "z");
  // What was the end of the first is not believed any more: more of its last
  // moments may have come.
  CAF_CHECK(aut.find({}, timestamp{}).line->text == "a");
  auto found = aut.find({5 * s, 1}, timestamp{});
  CAF_CHECK(found.line == nullptr);
  CAF_CHECK(found.tail == nullptr);
  CAF_CHECK_EQUAL(found.from, 7 * s);
  CAF_CHECK_EQUAL(found.until, 20 * s);
  aut.put(
    7 * s, 20 * s,
    {line(8 * s, "b"), line(8 * s, "b2"), line(9 * s, "c"), line(21 * s, "z")},
    timestamp{});
  CAF_CHECK(aut.find({5 * s, 1}, timestamp{}).line->text == "b");
  CAF_CHECK(aut.find({8 * s, 1}, timestamp{}).line->text == "b2");
  CAF_CHECK(aut.find({9 * s, 1}, timestamp{}).line->text == "z");
  CAF_CHECK(aut.find({21 * s, 1}, timestamp{}).tail == aut.tail());
}

CAF_TEST(what goes before a tail does not disturb it) {
  auto aut = log_shelf{};
  aut.put(20, no_end, {line(21, "y")}, timestamp{});
  auto place = log_place{};
  aut.tail()->add_live(line(30, "live"), 1, true, place);
  // The provider's store does not have the last line yet.
  aut.put(0, no_end, {line(5, "a"), line(21, "y")}, timestamp{});
  CAF_CHECK_EQUAL(text_of(*aut.tail()), "y@21.1 live@30.1 ");
  auto read = std::string{};
  auto at = log_place{};
  while (const auto* x = aut.find(at, timestamp{}).line) {
    read += x->text + " ";
    at = x->place();
  }
  CAF_CHECK_EQUAL(read, "a y live ");
}

CAF_TEST(an empty tail that is left behind leaves nothing) {
  auto aut = log_shelf{};
  aut.put(10, no_end, {}, timestamp{});
  aut.put(20, no_end, {line(21, "z")}, timestamp{});
  const auto found = aut.find({10, 0}, timestamp{});
  CAF_CHECK(found.line == nullptr);
  CAF_CHECK_EQUAL(found.from, 10);
  CAF_CHECK_EQUAL(found.until, 20);
}

CAF_TEST(windows go in the order of their use) {
  auto aut = log_shelf{};
  aut.put(0, 10, {line(1, "a")}, timestamp{millis{1}});
  aut.put(10, 20, {line(11, "b")}, timestamp{millis{2}});
  aut.put(20, no_end, {line(21, "c")}, timestamp{millis{0}});
  const auto all = aut.bytes();
  CAF_CHECK(aut.oldest_use(true) == timestamp{millis{1}});
  CAF_CHECK(aut.oldest_use(false) == timestamp{millis{0}});
  static_cast<void>(aut.find({0, 0}, timestamp{millis{3}}));
  aut.drop_oldest(true);
  CAF_CHECK(aut.bytes() < all);
  CAF_CHECK(aut.find({0, 0}, timestamp{millis{3}}).line->text == "a");
  CAF_CHECK_EQUAL(aut.find({1, 1}, timestamp{millis{3}}).from, 10);
  aut.drop_oldest(true);
  CAF_CHECK(!aut.oldest_use(true));
  aut.drop_oldest(false);
  CAF_CHECK(aut.empty());
}
