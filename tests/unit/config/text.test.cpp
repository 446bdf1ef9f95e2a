#define CAF_SUITE config_text

#include "config/text.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway;
using namespace slipway::config;

namespace {

std::int64_t ms(std::string_view text) {
  const auto length = parse_duration(text);
  return length ? length->count() : -1;
}

std::int64_t bytes(std::string_view text) {
  return parse_size(text).value_or(-1);
}

std::string listen(std::string_view text) {
  const auto at = parse_endpoint(text);
  return at ? at->host + " " + std::to_string(at->port) : "none";
}

std::string url(std::string_view text) {
  const auto parts = parse_url(text);
  if (!parts)
    return "none";
  return parts->scheme + ' ' + parts->host + ' '
         + (parts->port ? std::to_string(*parts->port) : "-") + ' '
         + parts->path + ' ' + parts->query
         + (parts->has_user_info ? " user" : "")
         + (parts->has_fragment ? " fragment" : "");
}

std::string decoded(std::string_view text) {
  return parse_base64(text).value_or("none");
}

} // namespace

CAF_TEST(durations have a whole number and a unit) {
  CAF_CHECK_EQUAL(ms("450ms"), 450);
  CAF_CHECK_EQUAL(ms("31s"), 31'000);
  CAF_CHECK_EQUAL(ms("15m"), 900'000);
  CAF_CHECK_EQUAL(ms("72h"), 259'200'000);
  CAF_CHECK_EQUAL(ms("15d"), 1'296'000'000);
  CAF_CHECK_EQUAL(ms("0ms"), 0);
  for (const auto* text :
       {"", "s", "31", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1h30m", "1S",
        "1w", "0x1s", "99999999999999999999s", "9223372036854775807d"})
    CAF_CHECK_EQUAL(ms(text), -1);
}

CAF_TEST(durations are written in the largest unit without a rest) {
  CAF_CHECK_EQUAL(format_duration(millis{0}), "0ms");
  CAF_CHECK_EQUAL(format_duration(millis{1'500}), "1500ms");
  CAF_CHECK_EQUAL(format_duration(millis{31'000}), "31s");
  CAF_CHECK_EQUAL(format_duration(millis{600'000}), "10m");
  CAF_CHECK_EQUAL(format_duration(millis{86'400'000}), "1d");
  for (const auto* text : {"1ms", "59s", "61s", "90m", "25h", "3d"})
    CAF_CHECK_EQUAL(format_duration(*parse_duration(text)), text);
}

CAF_TEST(sizes have a whole number and a binary unit) {
  CAF_CHECK_EQUAL(bytes("1000B"), 1'000);
  CAF_CHECK_EQUAL(bytes("256KiB"), 262'144);
  CAF_CHECK_EQUAL(bytes("2MiB"), 2'097'152);
  CAF_CHECK_EQUAL(bytes("1GiB"), 1'073'741'824);
  for (const auto* text : {"", "256", "256KB", "256kib", "KiB", "-1B", "1.5MiB",
                           "1 MiB", "1025GiB", "99999999999999999999B"})
    CAF_CHECK_EQUAL(bytes(text), -1);
  CAF_CHECK_EQUAL(format_size(262'144), "256KiB");
  CAF_CHECK_EQUAL(format_size(1'000), "1000B");
}

CAF_TEST(listen addresses have a host and a port) {
  CAF_CHECK_EQUAL(listen("127.0.0.1:8080"), "127.0.0.1 8080");
  CAF_CHECK_EQUAL(listen("0.0.0.0:0"), "0.0.0.0 0");
  CAF_CHECK_EQUAL(listen("localhost:65535"), "localhost 65535");
  CAF_CHECK_EQUAL(listen("[::1]:8080"), "::1 8080");
  for (const auto* text : {"",
                           ":8080",
                           "8080",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1:+1",
                           "127.0.0.1: 1",
                           "127.0.0.1:1 ",
                           "300.0.0.1:1",
                           "127.0.1:1",
                           "::1:8080",
                           "[::1]",
                           "[::1]8080",
                           "[::g]:1",
                           "[127.0.0.1]:1",
                           "a b:1",
                           "a/b:1",
                           "-a:1",
                           "a-:1",
                           "a..b:1"})
    CAF_CHECK_EQUAL(listen(text), "none");
  CAF_CHECK_EQUAL(format_endpoint({"::1", 80}), "[::1]:80");
  CAF_CHECK_EQUAL(format_endpoint({"127.0.0.1", 80}), "127.0.0.1:80");
}

CAF_TEST(urls are taken apart) {
  CAF_CHECK_EQUAL(url("https://a.example"), "https a.example -  ");
  CAF_CHECK_EQUAL(url("HTTPS://a:1/b/c?d=e"), "https a 1 /b/c d=e");
  CAF_CHECK_EQUAL(url("http://[::1]:80/"), "http ::1 80 / ");
  CAF_CHECK_EQUAL(url("http://u:p@a/"), "http a - /  user");
  CAF_CHECK_EQUAL(url("http://a/#x"), "http a - /  fragment");
  for (const auto* text :
       {"", "a", "a.example/b", "://a", "http://", "http:///b", "http:/a",
        "http://a b", "http://a\n", "http://a:0", "http://a:x", "http://a:",
        "http://a:65536", "ht tp://a", "http://\"a\"", "http://例"})
    CAF_CHECK_EQUAL(url(text), "none");
}

CAF_TEST(base64 is strict) {
  CAF_CHECK_EQUAL(decoded(""), "");
  CAF_CHECK_EQUAL(decoded("YQ=="), "a");
  CAF_CHECK_EQUAL(decoded("YQ"), "a");
  CAF_CHECK_EQUAL(decoded("YWI="), "ab");
  CAF_CHECK_EQUAL(decoded("YWJj"), "abc");
  CAF_CHECK_EQUAL(decoded("+/+/"), "\xfb\xff\xbf");
  for (const auto* text : {"Y", "YQ=", "YR==", "YWJ=", "YWJj=", "Y W", "YQ==\n",
                           "-_-_", "====", "YQ==YQ=="})
    CAF_CHECK_EQUAL(decoded(text), "none");
}

CAF_TEST(mailboxes have one address) {
  for (const auto* text :
       {"a@b", "no-reply@example.com", "Slipway <no-reply@example.com>",
        "客服 <a@b.example>", "<a@b>"})
    CAF_CHECK(is_mailbox(text));
  for (const auto* text :
       {"", "a", "@b", "a@", "a@b@c", "a b@c", "A <a@b", "A a@b>", "A <>",
        "a@b\r\nBcc: c@d", "a@b, c@d", "A <a@b> x", "a@b_ c"})
    CAF_CHECK(!is_mailbox(text));
}

CAF_TEST(the nearest name is the one with the fewest changes) {
  const auto names = std::vector<std::string>{"listen", "admin_listen",
                                              "public_url", "threads"};
  CAF_CHECK_EQUAL(nearest("lisen", names), "listen");
  CAF_CHECK_EQUAL(nearest("LISTEN", names), "listen");
  CAF_CHECK_EQUAL(nearest("adminlisten", names), "admin_listen");
  CAF_CHECK_EQUAL(nearest("thraeds", names), "threads");
  CAF_CHECK_EQUAL(nearest("publik_uri", names), "public_url");
  CAF_CHECK_EQUAL(nearest("x", {}), "");
  // A swap counts once: two changes would lose to the other name.
  CAF_CHECK_EQUAL(nearest("ab", {"xb", "ba"}), "xb");
  CAF_CHECK_EQUAL(nearest("abcd", {"axyd", "acbd"}), "acbd");
  CAF_CHECK_EQUAL(nearest(std::string(100'000, 'x'), names).empty(), false);
}

CAF_TEST(foreign text is cut to one line) {
  CAF_CHECK_EQUAL(one_line("a\r\nb\tc\x7f"), "a??b?c?");
  CAF_CHECK_EQUAL(one_line("专业版", 7), "专业…");
  CAF_CHECK_EQUAL(one_line("abc", 3), "abc");
  const auto parts = split("a, b ,,c", ',');
  CAF_CHECK_EQUAL(parts, (std::vector<std::string>{"a", "b", "", "c"}));
  CAF_CHECK(split("", ',').empty());
}
