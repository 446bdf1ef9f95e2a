#define CAF_SUITE provider.log_text

#include "http/provider/log_text.hpp"

#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"

#include <caf/test/unit_test.hpp>

#include <chrono>
#include <random>

using namespace slipway;
using namespace slipway::provider;

// Goal: nothing that a program prints does anything but stand there as text,
// and no secret of a customer's is in it, however it was painted, encoded or
// cut.

namespace {

using lines = std::vector<std::string>;

const auto token = std::string{"123456:AAF-tele/gram+tok~en"};

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string redacted(const lines& secrets, std::string_view text) {
  return redactor{secrets}.apply(text);
}

std::string only(const lines& from) {
  CAF_REQUIRE_EQUAL(from.size(), 1u);
  return from.front();
}

bool is_plain(std::string_view text) {
  if (!crypto::is_utf8(text) || crypto::has_control(text))
    return false;
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    if (text[i] == '\xc2' && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      return false;
  return true;
}

} // namespace

// -- time
// -------------------------------------------------------------------------

CAF_TEST(times keep what their source gave) {
  const auto through = [](std::string_view text) {
    const auto at = parse_nanos(text);
    return at ? nanos_to_text(*at) : std::string{"none"};
  };
  for (const auto* text :
       {"2026-11-23T08:00:00.000Z", "2026-11-23T08:00:00.123Z",
        "2026-11-23T08:00:00.123456Z", "2026-11-23T08:00:00.123456789Z",
        "2026-11-23T08:00:00.000000001Z", "1970-01-01T00:00:00.000Z"})
    CAF_CHECK_EQUAL(through(text), text);
  CAF_CHECK_EQUAL(through("2026-11-23T08:00:00Z"), "2026-11-23T08:00:00.000Z");
  CAF_CHECK_EQUAL(through("2026-11-23T08:00:00.5Z"),
                  "2026-11-23T08:00:00.500Z");
  CAF_CHECK_EQUAL(through("2026-11-23T16:00:00.0000001+08:00"),
                  "2026-11-23T08:00:00.000000100Z");
  CAF_CHECK_EQUAL(through("yesterday"), "none");
  CAF_CHECK_EQUAL(through(""), "none");
  CAF_CHECK_EQUAL(through("1969-12-31T23:59:59.999Z"), "none");
  CAF_CHECK_EQUAL(through("9999-01-01T00:00:00Z"), "none");
  CAF_CHECK_EQUAL(*parse_nanos("2026-11-23T08:00:00.000000002Z")
                    - *parse_nanos("2026-11-23T08:00:00.000000001Z"),
                  1);
}

// -- cleaning
// ---------------------------------------------------------------------

CAF_TEST(escape sequences go as a whole) {
  const auto clean = [](std::string_view raw) {
    return clean_log_text(raw);
  };
  CAF_CHECK_EQUAL(clean("\x1b[32mUsing\x1b[0m Railpack"), "Using Railpack");
  CAF_CHECK_EQUAL(clean("\x1b[38;5;208;1mo\x1b[mk"), "ok");
  CAF_CHECK_EQUAL(clean("\x1b[?25l\x1b[2K\x1b[1Gdone"), "done");
  CAF_CHECK_EQUAL(clean("\x1b[38:2::1:2:3mtrue\x1b[ qcolour"), "truecolour");
  CAF_CHECK_EQUAL(clean("\x1b]0;title\aListening"), "Listening");
  CAF_CHECK_EQUAL(clean("\x1b]0;title\x1b\\Listening"), "Listening");
  CAF_CHECK_EQUAL(clean("\x1b]8;;https://a/?t=1\x1b\\link\x1b]8;;\x1b\\."),
                  "link.");
  CAF_CHECK_EQUAL(clean("\x1bPq#0;2;0\x1b\\sixel"), "sixel");
  CAF_CHECK_EQUAL(clean("\x1b_app\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\x"), "x");
  CAF_CHECK_EQUAL(clean("\x1b(B\x1b)0\x1b#8\x1b=\x1b>\x1b"
                        "7\x1b"
                        "8\x1b"
                        "Mx"),
                  "x");
  // The same in eight bits, as UTF-8 writes them.
  CAF_CHECK_EQUAL(clean("\u009b31mred\u009b0m"), "red");
  CAF_CHECK_EQUAL(clean("\u009d0;title\u009cx"), "x");
  CAF_CHECK_EQUAL(clean("\u0090q\u009cx"), "x");
}

CAF_TEST(a broken sequence takes nothing along that is to be read) {
  const auto clean = [](std::string_view raw) {
    return clean_log_text(raw);
  };
  CAF_CHECK_EQUAL(clean("\x1b]0;no end"), "0;no end");
  CAF_CHECK_EQUAL(clean("\x1b]0;no end\nnext\a"), "0;no end\nnext");
  CAF_CHECK_EQUAL(clean("\x1b]0;no end\x1b[1mbold\a"), "0;no endbold");
  CAF_CHECK_EQUAL(clean("\x1b[31\nnext"), "\nnext");
  CAF_CHECK_EQUAL(clean("cut\x1b"), "cut");
  CAF_CHECK_EQUAL(clean("cut\x1b["), "cut");
  CAF_CHECK_EQUAL(clean("cut\x1b[3"), "cut");
  CAF_CHECK_EQUAL(clean("cut\x1b]"), "cut");
  CAF_CHECK_EQUAL(clean("\x1b\x1b[1mx"), "x");
  CAF_CHECK_EQUAL(clean("\x1b安装"), "安装");
  CAF_CHECK_EQUAL(clean("\xc2"), "\ufffd");
}

CAF_TEST(a progress bar keeps its last state) {
  const auto clean = [](std::string_view raw) {
    return clean_log_text(raw);
  };
  CAF_CHECK_EQUAL(clean(" 10%\r 50%\r100%"), "100%");
  CAF_CHECK_EQUAL(clean(" 10%\r\x1b[2K100%\r"), "100%");
  CAF_CHECK_EQUAL(clean("a\r\rb"), "b");
  CAF_CHECK_EQUAL(clean("one\r\ntwo\r\n"), "one\ntwo\n");
  CAF_CHECK_EQUAL(clean("one\r\r\ntwo"), "one\ntwo");
  CAF_CHECK_EQUAL(clean("kept\n 10%\r100%\nkept"), "kept\n100%\nkept");
  CAF_CHECK_EQUAL(clean("spin |\b/\b-\bdone"), "spin done");
  CAF_CHECK_EQUAL(clean("安\b装\b\b\bx"), "x");
  CAF_CHECK_EQUAL(clean("kept\n\bx"), "kept\nx");
}

CAF_TEST(what is left has no control characters) {
  CAF_CHECK_EQUAL(clean_log_text(std::string_view{"a\0b\x01\x7f\x0e z", 8}),
                  "ab z");
  CAF_CHECK_EQUAL(clean_log_text("\tat f()"), "    at f()");
  CAF_CHECK_EQUAL(clean_log_text("a\vb\fc\u0085"
                                 "d\u2028"
                                 "e\u2029"
                                 "f"),
                  "a\nb\nc\nd\ne\nf");
  CAF_CHECK_EQUAL(clean_log_text("\ufeffuser\u202e nimda\u2066!\u2069"),
                  "user nimda!");
  CAF_CHECK_EQUAL(clean_log_text("ok \xff\xc0\xaf \xed\xa0\x80"),
                  "ok \ufffd\ufffd\ufffd \ufffd\ufffd\ufffd");
  CAF_CHECK_EQUAL(clean_log_text("安装依赖 ✓ 🚀 é"), "安装依赖 ✓ 🚀 é");
}

CAF_TEST(random bytes come out as plain text) {
  auto random = std::mt19937{7};
  const auto pieces
    = lines{"\x1b",   "[",    "]",    "0;", "\a",    "\x1b\\", "m",
            "\r",     "\n",   "\b",   "\t", "x",     "\u009b", "\u009d",
            "\u009c", "\xff", "\xc2", "安", "\x1bP", "1"};
  for (auto round = 0; round < 4'000; ++round) {
    auto text = std::string{};
    for (auto i = random() % 40; i > 0; --i)
      text += pieces[random() % pieces.size()];
    for (const auto& line : make_log_lines(text, redactor{}))
      if (!is_plain(line))
        CAF_FAIL("round " << round << ": " << crypto::json_quote(text));
    // What is clean stays as it is, but for digits whose sequence went.
    const auto once = clean_log_text(text);
    if (clean_log_text(once) != once)
      CAF_FAIL("not stable: " << crypto::json_quote(text));
  }
}

CAF_TEST(hostile lines cost no more than their length) {
  auto text = std::string{};
  for (auto i = 0; i < 400'000; ++i)
    text += "\x1b]";
  const auto begin = std::chrono::steady_clock::now();
  CAF_CHECK_EQUAL(clean_log_text(text), "");
  CAF_CHECK_EQUAL(clean_log_text(std::string(800'000, '\b')), "");
  CAF_CHECK(std::chrono::steady_clock::now() - begin
            < std::chrono::seconds{10});
}

// -- lines
// ------------------------------------------------------------------------

CAF_TEST(a message of several lines becomes several lines) {
  CAF_CHECK(split_log_text("") == lines{""});
  CAF_CHECK(split_log_text("one") == lines{"one"});
  CAF_CHECK(split_log_text("one  \ntwo\n\n") == (lines{"one", "two"}));
  CAF_CHECK(split_log_text("one\n\n  two") == (lines{"one", "", "  two"}));
  CAF_CHECK(split_log_text("\n\n") == lines{""});
}

CAF_TEST(long lines and long messages are cut between characters) {
  for (auto size = log_line_bytes_max - 3; size < log_line_bytes_max + 6;
       ++size) {
    auto text = std::string{"x"};
    while (text.size() < size)
      text += "安";
    const auto line = only(split_log_text(text));
    CAF_CHECK(crypto::is_utf8(line));
    CAF_CHECK(line.size() <= log_line_bytes_max);
    CAF_CHECK_EQUAL(line == text, text.size() <= log_line_bytes_max);
    CAF_CHECK_EQUAL(line.ends_with("…"), text.size() > log_line_bytes_max);
  }
  auto many = std::string{};
  for (auto i = std::size_t{0}; i < log_message_lines_max; ++i)
    many += std::to_string(i) + "\n";
  auto cut = split_log_text(many);
  CAF_REQUIRE_EQUAL(cut.size(), log_message_lines_max);
  CAF_CHECK_EQUAL(cut.back(), std::to_string(log_message_lines_max - 1));
  cut = split_log_text(many + "one more");
  CAF_REQUIRE_EQUAL(cut.size(), log_message_lines_max);
  CAF_CHECK_EQUAL(cut.back(), "…");
}

CAF_TEST(levels are told in four words) {
  CAF_CHECK_EQUAL(log_level("info"), "info");
  CAF_CHECK_EQUAL(log_level("err"), "error");
  CAF_CHECK_EQUAL(log_level("ERROR"), "error");
  CAF_CHECK_EQUAL(log_level("Warning"), "warn");
  CAF_CHECK_EQUAL(log_level("debug"), "debug");
  CAF_CHECK_EQUAL(log_level("critical"), "error");
  CAF_CHECK_EQUAL(log_level(""), "info");
  CAF_CHECK_EQUAL(log_level("errors"), "info");
  CAF_CHECK_EQUAL(log_level("er"), "info");
}

// -- secrets
// ------------------------------------------------------------------------

CAF_TEST(a secret is found however it is written) {
  const auto secrets = lines{token};
  const auto gone = [&](const std::string& text, std::string_view expected) {
    CAF_CHECK_EQUAL(redacted(secrets, text), expected);
  };
  gone("token=" + token + ";", "token=***;");
  gone(token, "***");
  gone(token + token, "***");
  gone("a " + token + " b " + token + " c", "a *** b *** c");
  gone("{\"t\":\"123456:AAF-tele\\/gram+tok~en\"}", "{\"t\":\"***\"}");
  gone("?t=" + crypto::percent_encode(token) + "&", "?t=***&");
  gone("?t=123456%3aAAF-tele%2fgram%2btok~en&", "?t=***&");
  gone("t=123456%3AAAF-tele%2Fgram%2Btok~en", "t=***");
  gone("b " + crypto::base64_encode(token) + ".", "b ***.");
  gone("b " + crypto::base64url_encode(token) + ".", "b ***.");
  CAF_CHECK_EQUAL(redacted(secrets, "123456:AAF-tele/gram"),
                  "123456:AAF-tele/gram");
  CAF_CHECK_EQUAL(redacted(secrets, ""), "");
}

CAF_TEST(text beyond ASCII is found in its escapes) {
  const auto secrets = lines{"pass wörd 安全 🚀 \"q\"\\\n!"};
  const auto& secret = secrets.front();
  CAF_CHECK_EQUAL(redacted(secrets, "<" + crypto::json_escape(secret) + ">"),
                  "<***>");
  CAF_CHECK_EQUAL(redacted(secrets, "<pass w\\u00f6rd \\u5b89\\u5168 "
                                    "\\ud83d\\ude80 \\\"q\\\"\\\\\\n!>"),
                  "<***>");
  CAF_CHECK_EQUAL(
    redacted(secrets,
             "<" + crypto::json_escape(crypto::json_escape(secret)) + ">"),
    "<***>");
  CAF_CHECK_EQUAL(
    redacted(secrets, "<pass%20w%C3%B6rd%20%E5%AE%89%E5%85%A8%20%F0%9F%9A%80"
                      "%20%22q%22%5C%0A!>"),
    "<***>");
  CAF_CHECK_EQUAL(redacted(secrets,
                           "<pass+w%C3%B6rd+%E5%AE%89%E5%85%A8+%F0%9F%9A%80"
                           "+%22q%22%5C%0A%21>"),
                  "<***>");
}

CAF_TEST(base64 around a secret gives it away at no offset) {
  // As in `Authorization: Basic base64(user:secret)`.
  const auto secrets = lines{token, "sécrèt"};
  for (const auto& secret : secrets)
    for (const auto* before : {"", "u", "us", "use", "user:", "user1:"})
      for (const auto* after : {"", "a", "ab", "abc"}) {
        const auto plain = before + secret + after;
        for (const auto& coded :
             {crypto::base64_encode(plain), crypto::base64url_encode(plain)}) {
          const auto left = redacted(secrets, "Basic " + coded + "=");
          CAF_CHECK(has(left, "***"));
          // At the edges a character holds bits of both.
          CAF_CHECK(left.size() <= coded.size() - secret.size() * 4 / 3 + 13);
        }
      }
}

CAF_TEST(of overlapping secrets nothing is left) {
  CAF_CHECK_EQUAL(redacted({"abcdef", "defghijk"}, "<abcdefghijk>"), "<***>");
  CAF_CHECK_EQUAL(redacted({"defghijk", "abcdef"}, "<abcdefghijk>"), "<***>");
  CAF_CHECK_EQUAL(redacted({"abcdef", "abcdefgh"}, "<abcdefgh>"), "<***>");
  CAF_CHECK_EQUAL(redacted({"abcdefgh", "cdefgh"}, "<abcdefgh>"), "<***>");
  CAF_CHECK_EQUAL(redacted({"aaaaaa"}, "<aaaaaaaaa>"), "<***>");
  CAF_CHECK_EQUAL(redacted({"abcdef", "ghijkl"}, "<abcdefghijkl>"), "<***>");
}

CAF_TEST(short values are left alone) {
  const auto short_ones = redactor{{"", "a", "abcde", "true", "安"}};
  CAF_CHECK_EQUAL(short_ones.size(), 0u);
  CAF_CHECK_EQUAL(short_ones.apply("a true abcde 安"), "a true abcde 安");
  CAF_CHECK_EQUAL(redacted({"abcdef"}, "abcdef"), "***");
  CAF_CHECK_EQUAL(redacted({"安全"}, "安全"), "***");
}

CAF_TEST(a key of many lines is found line by line) {
  const auto key = std::string{"-----BEGIN PRIVATE KEY-----\n"
                               "MIIEvQIBADANBgkqhkiG9w0BAQEF\n"
                               "AASCBKcwggSjAgEAAoIBAQC7VJTU\n"
                               "Qw==\n"
                               "-----END PRIVATE KEY-----\n"};
  const auto secrets = redactor{{key}};
  CAF_CHECK(!has(secrets.apply(clean_log_text(key)), "MII"));
  CAF_CHECK_EQUAL(secrets.apply("2: AASCBKcwggSjAgEAAoIBAQC7VJTU"), "2: ***");
  CAF_CHECK_EQUAL(secrets.apply("MIIEvQIBADANBgkqhkiG9w0BAQEF"), "***");
  CAF_CHECK_EQUAL(secrets.apply("Qw=="), "Qw==");
  // Windows' line ends are none of the secret.
  const auto dos = std::string{"first-secret-line\r\nsecond-secret-line\r\n"};
  CAF_CHECK_EQUAL(redacted({dos}, "first-secret-line"), "***");
  CAF_CHECK_EQUAL(redacted({dos}, clean_log_text("<" + dos + ">")), "<***>");
  CAF_CHECK_EQUAL(redacted({"abcdef\n"}, "abcdef!"), "***!");
}

CAF_TEST(a credential makes secrets of all its texts) {
  auto found = lines{};
  collect_secrets(R"({"bot": "alpha-token", "n": [1, {"x": "beta-token"}],
                      "nested": "{\"key\": \"gamma-token\"}",
                      "\u006eumber": 12345678, "id": "delta\u002dtoken"})",
                  found);
  const auto secrets = redactor{found};
  for (const auto* x : {"alpha-token", "beta-token", "gamma-token",
                        "delta-token", "{\"key\": \"gamma-token\"}"})
    CAF_CHECK_EQUAL(secrets.apply(x), "***");
  // As the instance is told it, and as somebody may print it again.
  for (const auto& x : found)
    CAF_CHECK_EQUAL(secrets.apply(clean_log_text(x)), "***");
  CAF_CHECK_EQUAL(secrets.apply("12345678 number"), "12345678 number");

  found.clear();
  collect_secrets(R"("a-bare-token")", found);
  CAF_CHECK_EQUAL(redactor{found}.apply("x a-bare-token"), "x ***");
  found.clear();
  collect_secrets("no JSON at all", found);
  CAF_CHECK_EQUAL(redactor{found}.apply("no JSON at all"), "***");
}

CAF_TEST(secrets that colours split in two do not slip through) {
  const auto secrets = redactor{{token}};
  const auto through = [&](std::string_view raw) {
    return only(make_log_lines(raw, secrets));
  };
  CAF_CHECK_EQUAL(through("t=123456:\x1b[31mAAF-tele/\x1b[0mgram+tok~en"),
                  "t=***");
  CAF_CHECK_EQUAL(through("t=123456:\aAAF-\x1b]0;x\atele/gram+tok~en"),
                  "t=***");
  CAF_CHECK_EQUAL(through("t=123456:AAF-tele/gramx\b+tok~en"), "t=***");
  CAF_CHECK_EQUAL(through("garbage\rt=123456:AAF-tele/gram+tok~en"), "t=***");
  CAF_CHECK_EQUAL(through("t=123456:\ufeffAAF-tele/\u202egram+tok~en"),
                  "t=***");
  // Every place, every kind.
  for (const auto* between : {"\x1b[1;31m", "\x1b]0;t\a", "\x1b(B", "\u009b0m",
                              "\x1bPx\x1b\\", "\a", "x\b", "\u0001"})
    for (std::size_t i = 0; i <= token.size(); ++i) {
      auto text = token;
      text.insert(i, between);
      CAF_CHECK_EQUAL(through(text), "***");
    }
}

CAF_TEST(secrets with control characters are found as they are shown) {
  const auto secret = std::string{"pass\x1b[1mword\twith\aeverything"};
  const auto secrets = redactor{{secret}};
  CAF_CHECK_EQUAL(only(make_log_lines("<" + secret + ">", secrets)), "<***>");
  CAF_CHECK_EQUAL(only(make_log_lines("<password    witheverything>", secrets)),
                  "<***>");
}

CAF_TEST(a secret across the cut is gone before the cut) {
  const auto secrets = redactor{{token}};
  for (auto before = log_line_bytes_max - 2 * token.size();
       before < log_line_bytes_max + 4; ++before) {
    const auto raw = std::string(before, 'x') + token + std::string(50, 'y');
    const auto line = only(make_log_lines(raw, secrets));
    CAF_CHECK(line.size() <= log_line_bytes_max);
    for (auto part = std::size_t{3}; part <= token.size(); ++part)
      if (has(line, token.substr(0, part)))
        CAF_FAIL("of the secret " << part << " bytes are left");
  }
}

CAF_TEST(random texts hide every secret in them) {
  auto random = std::mt19937{11};
  const auto secrets
    = lines{token, "AAF-tele", "tok~en-and-more", "安全的密码", "a\"b\\c/d e"};
  const auto known = redactor{secrets};
  for (auto round = 0; round < 3'000; ++round) {
    auto text = std::string{};
    auto inside = std::size_t{0};
    for (auto i = random() % 12; i > 0; --i)
      switch (random() % 6) {
        case 0:
          text += secrets[random() % secrets.size()];
          ++inside;
          break;
        case 1:
          text += crypto::json_escape(secrets[random() % secrets.size()]);
          ++inside;
          break;
        case 2:
          text += crypto::percent_encode(secrets[random() % secrets.size()]);
          ++inside;
          break;
        default:
          text += std::string(random() % 9, static_cast<char>('a' + i));
      }
    const auto left = known.apply(text);
    for (const auto& secret : secrets)
      if (has(left, secret) || has(left, crypto::json_escape(secret))
          || has(left, crypto::percent_encode(secret)))
        CAF_FAIL("left: " << left << " of " << text);
    CAF_CHECK_EQUAL(has(left, "***"), inside > 0);
  }
}
