#define CAF_SUITE observe.log

#include "actors/observe/log.hpp"

#include "actors/observe/text.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

#include <csignal>
#include <poll.h>
#include <unistd.h>

using namespace slipway;
using namespace std::chrono_literals;
using namespace std::literals;

// Goal: a line is one line of valid UTF-8, whatever it says; its fields are
// what was meant; and whoever logs waits for nobody.

namespace {

constexpr auto patience = 20s;

/// What is logged, through a pipe.
class reader {
public:
  explicit reader(log::format how,
                  spdlog::level::level_enum least = spdlog::level::trace,
                  std::size_t bytes_max = 4 * 1024 * 1024) {
    CAF_REQUIRE_EQUAL(::pipe(ends_), 0);
    log::set_up(least, how, ends_[1], bytes_max);
  }

  ~reader() {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("none"));
    ::close(ends_[0]);
    ::close(ends_[1]);
  }

  /// All lines up to the one that holds `last`.
  std::vector<std::string> until(std::string_view last) {
    auto text = std::string{};
    const auto end = std::chrono::steady_clock::now() + patience;
    while (std::chrono::steady_clock::now() < end) {
      auto ready = pollfd{ends_[0], POLLIN, 0};
      if (::poll(&ready, 1, 50) <= 0)
        continue;
      char bytes[4096];
      const auto n = ::read(ends_[0], bytes, sizeof(bytes));
      if (n <= 0)
        break;
      text.append(bytes, static_cast<std::size_t>(n));
      if (const auto at = text.find(last);
          at != std::string::npos && text.find('\n', at) != std::string::npos)
        break;
    }
    auto out = std::vector<std::string>{};
    for (std::size_t from = 0; from < text.size();) {
      const auto end_of_line = text.find('\n', from);
      out.push_back(text.substr(from, end_of_line - from));
      from = end_of_line == std::string::npos ? text.size() : end_of_line + 1;
    }
    return out;
  }

  std::string one(std::string_view last) {
    const auto lines = until(last);
    CAF_REQUIRE_EQUAL(lines.size(), 1u);
    return lines[0];
  }

  [[nodiscard]] int end() const {
    return ends_[1];
  }

private:
  int ends_[2] = {-1, -1};
};

const auto subscription
  = make_subscription_id(timestamp{1'764'000'000'000ms}, 5);

log::about about_everything(const std::string& order) {
  auto out = log::about{subscription};
  out.order(order).request("req-1").trace({1, 2}).actor("supervisor");
  return out;
}

} // namespace

CAF_TEST(a line of JSON has the fields that were given and no others) {
  auto log = reader{log::format::json};
  const auto order = to_text(order_ref{subscription, 1});
  about_everything(order)
    .with("route", "plans"sv)
    .with("status", std::int64_t{200})
    .with("duration_ms", 1.5)
    .warn("went {} times", 3);
  const auto line = boost::json::parse(log.one("went")).as_object();
  CAF_CHECK_EQUAL(line.at("message").as_string(), "went 3 times");
  CAF_CHECK_EQUAL(line.at("level").as_string(), "warn");
  CAF_CHECK_EQUAL(line.at("subscription_id").as_string(),
                  to_text(subscription));
  CAF_CHECK_EQUAL(line.at("order_id").as_string(), order);
  CAF_CHECK_EQUAL(line.at("request_id").as_string(), "req-1");
  CAF_CHECK_EQUAL(line.at("trace_id").as_string(),
                  "00000000000000010000000000000002");
  CAF_CHECK_EQUAL(line.at("actor").as_string(), "supervisor");
  CAF_CHECK_EQUAL(line.at("route").as_string(), "plans");
  CAF_CHECK_EQUAL(line.at("status").as_int64(), 200);
  CAF_CHECK_EQUAL(line.at("duration_ms").as_double(), 1.5);
  const auto at = std::string{line.at("time").as_string()};
  CAF_CHECK_EQUAL(at.size(), "2026-11-23T08:00:00.123Z"s.size());
  CAF_CHECK(parse_rfc3339(at).has_value());
  CAF_CHECK_EQUAL(line.size(), 11u);
}

CAF_TEST(a plain line has no fields but the three) {
  auto log = reader{log::format::json};
  spdlog::error("it is {}", "late");
  const auto line = boost::json::parse(log.one("late")).as_object();
  CAF_CHECK_EQUAL(line.size(), 3u);
  CAF_CHECK_EQUAL(line.at("level").as_string(), "error");
}

CAF_TEST(text has the same fields at its end) {
  auto log = reader{log::format::text};
  const auto order = to_text(order_ref{subscription, 1});
  about_everything(order).with("why", "two words"sv).info("it went");
  const auto line = log.one("it went");
  CAF_CHECK_NOT_EQUAL(line.find("Z info  it went request=req-1 subscription="
                                + to_text(subscription) + " order=" + order
                                + " trace=00000000000000010000000000000002 "
                                  "actor=supervisor why=\"two words\""),
                      std::string::npos);
}

CAF_TEST(nothing that was said breaks a line or begins another field) {
  constexpr auto wild
    = "a\nb\r\t\x1b[31m\x7f \"q\" \\ =x request_id=forged \xff\xc3 \xc2\x9b "
      "\xe2\x80\xa8 \xe4\xb8\xad"sv;
  {
    auto log = reader{log::format::json};
    log::about{}.order(wild).warn("{} end", wild);
    const auto line = boost::json::parse(log.one("end")).as_object();
    CAF_CHECK_EQUAL(line.at("message").as_string(),
                    "a\nb\r\t\x1b[31m\x7f \"q\" \\ =x request_id=forged "
                    "\xef\xbf\xbd\xef\xbf\xbd \xc2\x9b \xe2\x80\xa8 "
                    "\xe4\xb8\xad end");
    CAF_CHECK(line.if_contains("request_id") == nullptr);
  }
  auto log = reader{log::format::text};
  log::about{}.order(wild).warn("{} end", wild);
  const auto line = log.one("end");
  for (const auto c : line)
    CAF_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  CAF_CHECK_NOT_EQUAL(line.find("order=\"a\\nb"), std::string::npos);
  CAF_CHECK_NOT_EQUAL(line.find("\\u009b \\u2028 \xe4\xb8\xad"),
                      std::string::npos);
  for (std::string_view rest = line; !rest.empty();) {
    const auto n = observe::utf8_length(rest);
    CAF_REQUIRE_NOT_EQUAL(n, 0u);
    rest.remove_prefix(n);
  }
}

CAF_TEST(what nobody wants to read is not written) {
  auto log = reader{log::format::text, spdlog::level::warn};
  log::about{subscription}.debug("quiet");
  log::about{subscription}.info("quiet");
  log::about{subscription}.warn("loud");
  CAF_CHECK_NOT_EQUAL(log.one("loud").find("warn"), std::string::npos);
}

CAF_TEST(a message without an end is cut at a character) {
  auto log = reader{log::format::text};
  auto text = std::string{};
  while (text.size() < 40'000)
    text += "\xe4\xb8\xad";
  spdlog::info("{}", text);
  spdlog::info("last");
  const auto lines = log.until("last");
  CAF_REQUIRE_EQUAL(lines.size(), 2u);
  CAF_CHECK(lines[0].size() < 17'000);
  CAF_CHECK_EQUAL(lines[0].find("\xef\xbf\xbd"), std::string::npos);
}

CAF_TEST(whoever logs waits for nobody and the gap is told) {
  // A pipe holds 64 KiB, the queue 64 more, and then nobody has read yet.
  auto log = reader{log::format::json, spdlog::level::trace, 64 * 1024};
  const auto before = std::chrono::steady_clock::now();
  constexpr auto lines_written = 20'000;
  for (auto i = 0; i < lines_written; ++i)
    spdlog::info("line {}", i);
  // Warnings have room of their own.
  spdlog::warn("grave");
  CAF_CHECK(std::chrono::steady_clock::now() - before < patience);
  const auto dropped = log::dropped();
  CAF_CHECK(dropped > 0);
  CAF_CHECK(!log::drain(1ms));
  auto lines = log.until("grave");
  spdlog::info("the end");
  for (auto& x : log.until("the end"))
    lines.push_back(std::move(x));
  auto told = std::uint64_t{0};
  auto written = std::uint64_t{0};
  for (const auto& x : lines) {
    const auto line = boost::json::parse(x).as_object();
    const auto message = std::string{line.at("message").as_string()};
    if (message.starts_with("log: "))
      told += std::stoull(message.substr(5));
    else if (message.starts_with("line "))
      ++written;
  }
  CAF_CHECK_EQUAL(told, dropped);
  CAF_CHECK_EQUAL(written + told, static_cast<std::uint64_t>(lines_written));
  CAF_CHECK(log::drain(patience));
}

CAF_TEST(a reader that has gone ends nothing) {
  auto ends = std::array<int, 2>{};
  CAF_REQUIRE_EQUAL(::pipe(ends.data()), 0);
  std::signal(SIGPIPE, SIG_IGN);
  log::set_up(spdlog::level::info, log::format::text, ends[1]);
  ::close(ends[0]);
  for (auto i = 0; i < 1'000; ++i)
    spdlog::info("line {}", i);
  CAF_CHECK(log::drain(patience));
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("none"));
  ::close(ends[1]);
}
