#define CAF_SUITE cli.text

#include "http/cli/look.hpp"
#include "http/cli/safe_text.hpp"
#include "http/cli/table.hpp"
#include "http/cli/views.hpp"

#include <boost/json.hpp>
#include <caf/test/unit_test.hpp>

#include <cstdlib>
#include <ctime>
#include <sstream>
#include <string>
#include <vector>

using namespace slipway;
using namespace slipway::cli;

// Goal: nothing that comes from outside gives a terminal an order, and rows
// stay in their columns whatever is written in them.

namespace {

look plain(std::size_t width = 0) {
  auto out = look{};
  out.width = width;
  out.utc = true;
  out.now = *parse_rfc3339("2026-11-26T12:00:00Z");
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  auto in = std::istringstream{text};
  auto out = std::vector<std::string>{};
  for (auto line = std::string{}; std::getline(in, line);)
    out.push_back(line);
  return out;
}

/// Bytes that a terminal could act on: C0 but for line breaks, DEL, and C1 in
/// UTF-8.
bool has_order(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const auto next
      = i + 1 < text.size() ? static_cast<unsigned char>(text[i + 1]) : 0u;
    if ((c < 0x20 && c != '\n') || c == 0x7f
        || (c == 0xc2 && next >= 0x80 && next <= 0x9f))
      return true;
  }
  return false;
}

const auto attack
  = std::string{"a\x1b]0;owned\x07\x1b[31mred\r\nline\tb\x7f\xc2\x9b"
                "5n\xe2\x80\xae"
                "evil\xff\xf0\x9f\x98\x80"};

} // namespace

CAF_TEST(control characters and escape sequences are spelt out) {
  CAF_CHECK_EQUAL(printable("\x1b[31mred"), "\\x1b[31mred");
  CAF_CHECK_EQUAL(printable("a\r\nb\tc"), "a\\r\\nb\\tc");
  CAF_CHECK_EQUAL(printable("\x7f\xc2\x9b"), "\\x7f\\x9b");
  CAF_CHECK_EQUAL(printable("\xe2\x80\xaex"), "\\u{202e}x");
  CAF_CHECK_EQUAL(printable(std::string{"a\0b", 3}), "a\\x00b");
  CAF_CHECK_EQUAL(printable("\xff"), "\xEF\xBF\xBD");
  CAF_CHECK_EQUAL(printable("专业版 é 👩‍👧"),
                  "专业版 é 👩‍👧");
  CAF_CHECK(has_order(attack));
  CAF_CHECK(!has_order(printable(attack)));
  CAF_CHECK(!has_order(printable_lines(attack)));
  CAF_CHECK_EQUAL(printable_lines("a\n\tb"), "a\n  b");
}

CAF_TEST(JSON keeps its meaning when it is made safe) {
  namespace json = boost::json;
  const auto given
    = json::object{{"text", "\xc2\x9b"
                            "5n\x7f\xe2\x80\xae\xf3\xa0\x80\x81 ok \x1b[0m"}};
  const auto text = printable_json(json::serialize(given));
  CAF_CHECK(!has_order(text));
  CAF_CHECK(text.find("\\u009b") != std::string::npos);
  CAF_CHECK(text.find("\\udb40\\udc01") != std::string::npos);
  CAF_CHECK(json::parse(text) == json::value(given));
}

CAF_TEST(width counts columns and not bytes) {
  CAF_CHECK_EQUAL(width_of("abc"), 3u);
  CAF_CHECK_EQUAL(width_of("专业版"), 6u);
  CAF_CHECK_EQUAL(width_of("ｶﾅ"), 2u);
  CAF_CHECK_EQUAL(width_of("e\xcc\x81"), 1u);
  CAF_CHECK_EQUAL(width_of(""), 0u);
}

CAF_TEST(text is cut between characters) {
  CAF_CHECK_EQUAL(fit("abcdef", 6, "…"), "abcdef");
  CAF_CHECK_EQUAL(fit("abcdef", 5, "…"), "abcd…");
  CAF_CHECK_EQUAL(fit("abcdef", 5, "..."), "ab...");
  // A wide character does not fit in half.
  CAF_CHECK_EQUAL(fit("专业版本", 6, "…"), "专业…");
  CAF_CHECK_EQUAL(fit("专业版本", 7, "…"), "专业版…");
  // The mark stays with its letter, or goes with it.
  CAF_CHECK_EQUAL(fit("ae\xcc\x81xyz", 3, "…"), "ae\xcc\x81…");
  CAF_CHECK_EQUAL(fit("ae\xcc\x81xyz", 2, "…"), "a…");
  CAF_CHECK_EQUAL(fit("abc", 0, "…"), "");
  for (std::size_t columns = 1; columns < 12; ++columns)
    CAF_CHECK(width_of(fit("a专b业c版d", columns, "…")) <= columns);
}

CAF_TEST(columns line up whatever the width of their characters) {
  auto rows = table{{{"ID"}, {"PLAN", 4}, {"N", 0, false, true}}};
  rows.add({{"1"}, {"专业版"}, {"7"}});
  rows.add({{"22"}, {"BASIC"}, {"1000"}});
  const auto lines = lines_of(rows.render(plain()));
  CAF_REQUIRE_EQUAL(lines.size(), 3u);
  CAF_CHECK_EQUAL(lines[0], "ID  PLAN       N");
  CAF_CHECK_EQUAL(lines[1], "1   专业版     7");
  CAF_CHECK_EQUAL(lines[2], "22  BASIC   1000");
}

CAF_TEST(a narrow terminal shortens what may shrink and drops what is extra) {
  auto rows
    = table{{{"ID"}, {"REASON", 10}, {"URL", 12, true}, {"NEVER", 0, true}}};
  rows.add({{"sub-1234567890"},
            {"a reason that goes on and on and on"},
            {"https://example.com/a/long/path"},
            {""}});
  const auto wide = rows.render(plain());
  CAF_CHECK(wide.find("NEVER") != std::string::npos);
  CAF_CHECK(wide.find("on and on and on") != std::string::npos);
  for (const auto width : {80u, 60u, 42u, 30u}) {
    const auto text = rows.render(plain(width));
    for (const auto& line : lines_of(text))
      CAF_CHECK(width_of(line) <= width);
    // An id is nothing without its end.
    CAF_CHECK(text.find("sub-1234567890") != std::string::npos);
    CAF_CHECK(text.find("NEVER") == std::string::npos);
  }
  CAF_CHECK(rows.render(plain(60)).find("URL") != std::string::npos);
  CAF_CHECK(rows.render(plain(30)).find("URL") == std::string::npos);
}

CAF_TEST(colours are there only when they are asked for and take no columns) {
  auto rows = table{{{"STATUS"}, {"X"}}};
  rows.add({{"failed", paint::bad}, {"1"}});
  auto how = plain();
  CAF_CHECK(rows.render(how).find('\x1b') == std::string::npos);
  how.colours = true;
  const auto lines = lines_of(rows.render(how));
  CAF_CHECK_EQUAL(lines[1], "\x1b[31mfailed\x1b[0m  1");
}

CAF_TEST(times are told twice) {
  const auto how = plain();
  CAF_CHECK_EQUAL(both_times(how, "2026-11-26T11:55:00.123Z"),
                  "2026-11-26 11:55:00Z (4m ago)");
  CAF_CHECK_EQUAL(ago(how, "2026-11-26T11:59:59.500Z"), "now");
  CAF_CHECK_EQUAL(ago(how, "2026-11-26T11:59:18Z"), "42s ago");
  CAF_CHECK_EQUAL(ago(how, "2026-11-26T09:00:00Z"), "3h ago");
  CAF_CHECK_EQUAL(ago(how, "2026-11-20T12:00:00Z"), "6d ago");
  CAF_CHECK_EQUAL(ago(how, "2026-11-26T12:05:00Z"), "in 5m");
  CAF_CHECK_EQUAL(ago(how, ""), "");
  CAF_CHECK_EQUAL(both_times(how, "not\x1b a time"), "not\\x1b a time");
}

CAF_TEST(times are those of the place unless UTC is asked for) {
  setenv("TZ", "CST-8", 1);
  tzset();
  auto how = plain();
  how.utc = false;
  CAF_CHECK_EQUAL(absolute(how, "2026-11-26T20:00:00Z"),
                  "2026-11-27 04:00:00+08:00");
  how.utc = true;
  CAF_CHECK_EQUAL(absolute(how, "2026-11-26T20:00:00Z"),
                  "2026-11-26 20:00:00Z");
}

CAF_TEST(whatever the server says it gives the terminal no orders) {
  namespace json = boost::json;
  // Every member that any view reads, all of them hostile.
  auto row = json::object{};
  for (const auto* name : {"subscriptionId",
                           "planType",
                           "status",
                           "deploymentStatus",
                           "updatedAt",
                           "userId",
                           "publicUrl",
                           "at",
                           "kind",
                           "summary",
                           "operation",
                           "outcome",
                           "since",
                           "reason",
                           "callbackId",
                           "suggestedAction",
                           "id",
                           "gateway",
                           "source",
                           "receivedAt",
                           "orderId",
                           "settledBy",
                           "headers",
                           "body",
                           "state",
                           "parent",
                           "lastFailure",
                           "actor",
                           "role",
                           "act",
                           "subject",
                           "requestId",
                           "timestamp",
                           "level",
                           "message",
                           "error",
                           "progress",
                           "by",
                           "projectId",
                           "verdict",
                           "amount",
                           "currency",
                           "transactionId"})
    row[name] = attack;
  row["orders"] = json::array{row};
  row["deployment"] = row;
  row["changes"] = json::array{
    json::object{{"what", attack}, {"from", attack}, {"to", attack}}};
  row["pending"] = json::object{{attack, 1}, {"items", json::array{row}}};
  row["byStatus"] = json::object{{attack, 1}};
  const auto rows = json::array{row};
  for (const auto width : {0u, 40u, 100u}) {
    const auto how = plain(width);
    for (const auto& text :
         {views::subscriptions(rows, how), views::subscription(row, how),
          views::in_a_line(row, how), views::timeline(rows, how),
          views::attention(rows, how), views::stats(row, how),
          views::callbacks(rows, how), views::callback(row, how),
          views::replay(row, how), views::actors(rows, how),
          views::automation(row, how), views::audit(rows, how),
          views::log_line(row, how), views::status_line(row, how)}) {
      CAF_CHECK(!text.empty());
      CAF_CHECK(!has_order(text));
      CAF_CHECK(text.find("\xe2\x80\xae") == std::string::npos);
    }
  }
}

CAF_TEST(an answer of another form is no reason to fall over) {
  namespace json = boost::json;
  const auto how = plain(80);
  const auto rows = json::array{1, "x", nullptr, json::object{{"id", {1, 2}}}};
  for (const auto view :
       {views::subscriptions, views::timeline, views::attention,
        views::callbacks, views::actors, views::audit})
    CAF_CHECK(!view(rows, how).empty());
  const auto odd = json::object{{"deployment", 3}, {"orders", "none"}};
  CAF_CHECK(!views::subscription(odd, how).empty());
  CAF_CHECK(!views::stats(odd, how).empty());
  CAF_CHECK(!views::automation(odd, how).empty());
}
