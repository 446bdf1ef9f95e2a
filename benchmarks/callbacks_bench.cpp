// How many payment notifications a second a server acknowledges, each one only
// after it is durable, how long each of them takes, and what a subscription
// costs in memory.

#include "benchmarks/bench_world.hpp"
#include "benchmarks/load_client.hpp"

#include <CLI/CLI.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

namespace {

using namespace slipway;
using namespace slipway::bench;

struct arguments {
  std::string server;
  std::string database_url;
  std::size_t rounds = 3;
  std::size_t subscriptions = 20'000;
  std::size_t in_flight = 10'000;
  std::size_t connections = 64;
  double rate = 0;
  bool update_readme = false;
};

constexpr auto form = "application/x-www-form-urlencoded; charset=utf-8";

constexpr auto json = "application/json";

/// The text behind `"name":"` up to the next quote.
std::string text_member(std::string_view body, std::string_view name) {
  const auto key = "\"" + std::string{name} + "\":\"";
  const auto at = body.find(key);
  if (at == std::string_view::npos)
    return {};
  const auto rest = body.substr(at + key.size());
  return std::string{rest.substr(0, rest.find('"'))};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle]
                                : (values[middle - 1] + values[middle]) / 2;
}

std::string printed(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), format, value);
  return text;
}

double milliseconds(seconds x) {
  return x.count() * 1'000;
}

/// One server with its database, and users who order and pay.
class shop {
public:
  shop(const arguments& how, const scratch& in, const key_set& keys,
       database& db, std::uint16_t provider_port)
    : how_{how}, keys_{keys}, url_{db.make()}, server{how.server, in, keys,
                                                      url_, provider_port} {
    for (auto i = 0; i < 1'000; ++i)
      tokens_.push_back(make_token(keys, "user-" + std::to_string(i)));
  }

  /// Creates subscriptions with an order each.
  /// @returns the orders.
  std::vector<std::string> order(std::size_t count) {
    auto ids = post_all(count, "/api/subscriptions", "subscriptionId",
                        [](std::size_t) {
                          return std::string{R"({"planType":"PRO"})"};
                        });
    return post_all(count, "/api/payment/create", "orderId",
                    [&](std::size_t i) {
                      return R"({"subscriptionId":")" + ids[i]
                             + R"(","gateway":"ALIPAY","method":"page"})";
                    });
  }

  /// Signs one notification for each order.
  std::vector<std::string> sign(const std::vector<std::string>& orders) {
    auto out = std::vector<std::string>(orders.size());
    const auto first = signed_;
    signed_ += orders.size();
    auto threads = std::vector<std::thread>{};
    const auto workers = std::max(1u, std::thread::hardware_concurrency());
    for (auto t = 0u; t < workers; ++t)
      threads.emplace_back([&, t] {
        for (auto i = std::size_t{t}; i < orders.size(); i += workers)
          out[i] = make_request("POST", "/api/payment/alipay/notify", form,
                                make_notification(keys_, orders[i], first + i));
      });
    for (auto& x : threads)
      x.join();
    return out;
  }

  /// Posts the notifications; every one has to be acknowledged.
  /// @param rate per second, 0 for as fast as the connections allow.
  load_report notify(const std::vector<std::string>& requests, double rate) {
    auto load = load_options{};
    load.port = server.port();
    load.connections = how_.connections;
    load.rate = rate;
    auto report = run_load(
      load, requests, [](std::size_t, unsigned status, std::string_view body) {
        return status == 200 && body == "success";
      });
    paid_ += requests.size();
    if (report.failed != 0)
      give_up(std::to_string(report.failed)
              + " notifications were not acknowledged, the first one with: "
              + report.first_failure);
    check();
    return report;
  }

private:
  template <class Body>
  std::vector<std::string> post_all(std::size_t count, const char* target,
                                    const char* member, Body body) {
    auto requests = std::vector<std::string>{};
    for (std::size_t i = 0; i < count; ++i)
      requests.push_back(make_request("POST", target, json, body(i),
                                      tokens_[i % tokens_.size()]));
    auto out = std::vector<std::string>(count);
    auto load = load_options{};
    load.port = server.port();
    load.connections = how_.connections;
    const auto report
      = run_load(load, requests,
                 [&](std::size_t i, unsigned status, std::string_view answer) {
                   out[i] = text_member(answer, member);
                   return status == 201 && !out[i].empty();
                 });
    if (report.failed != 0)
      give_up(std::string{target} + ": " + std::to_string(report.failed)
              + " failed, the first one with: " + report.first_failure);
    return out;
  }

  /// What was acknowledged has to be in the database.
  void check() const {
    const auto expect = [this](const char* what) {
      const auto found
        = database::count(url_, std::string{"SELECT count(*) FROM "} + what);
      if (found != static_cast<std::int64_t>(paid_))
        give_up("acknowledged " + std::to_string(paid_)
                + ", but in the database are " + std::to_string(found) + " "
                + what);
    };
    expect("payments WHERE status = 1 AND applied");
    expect("subscriptions WHERE status = 1");
    expect("callbacks WHERE outcome = 0 AND repeats = 0");
    expect("notifications WHERE kind = 0");
  }

  const arguments& how_;
  const key_set& keys_;
  std::string url_;
  std::vector<std::string> tokens_;
  std::size_t signed_ = 0;
  std::size_t paid_ = 0;

public:
  server_process server;
};

struct round {
  load_report load;
  double cpu_us; ///< Of the server, for each notification.
  double batch;  ///< Writes of a commit on average.
};

std::string row(const std::string& name, const std::vector<round>& rounds) {
  const auto column = [&](const char* format, auto read) {
    auto values = std::vector<double>{};
    for (const auto& x : rounds)
      values.push_back(read(x));
    return " " + printed(format, median(std::move(values))) + " |";
  };
  const auto latency = [&](double share) {
    return column("%.1f", [share](const round& x) {
      return milliseconds(x.load.percentile(share));
    });
  };
  return "| " + name + " |"
         + column("%.0f",
                  [](const round& x) {
                    return x.load.per_second();
                  })
         + latency(0.5) + latency(0.9) + latency(0.99) + latency(0.999)
         + latency(1)
         + column("%.0f",
                  [](const round& x) {
                    return x.cpu_us;
                  })
         + column("%.1f",
                  [](const round& x) {
                    return x.batch;
                  })
         + "\n";
}

round take_round(shop& in, const std::vector<std::string>& requests,
                 double rate) {
  const auto cpu = in.server.cpu_time();
  const auto commits = in.server.metric("slipway_journal_batch_size_count");
  const auto writes = in.server.metric("slipway_journal_batch_size_sum");
  auto out = round{in.notify(requests, rate), 0, 0};
  out.cpu_us = (in.server.cpu_time() - cpu).count() * 1e6
               / static_cast<double>(requests.size());
  out.batch
    = (in.server.metric("slipway_journal_batch_size_sum") - writes)
      / (in.server.metric("slipway_journal_batch_size_count") - commits);
  return out;
}

std::string measure_callbacks(const arguments& how, const scratch& in,
                              const key_set& keys, database& db) {
  auto closed = std::vector<round>{};
  auto here = shop{how, in, keys, db, 0};
  for (std::size_t i = 0; i < how.rounds; ++i) {
    std::fprintf(stderr, "round %zu of %zu: ordering, signing", i + 1,
                 how.rounds);
    const auto requests = here.sign(here.order(how.subscriptions));
    std::fprintf(stderr, ", notifying");
    closed.push_back(take_round(here, requests, 0));
    std::fprintf(stderr, ": %.0f/s\n", closed.back().load.per_second());
  }
  auto throughput = std::vector<double>{};
  for (const auto& x : closed)
    throughput.push_back(x.load.per_second());
  const auto rate = how.rate > 0 ? how.rate : median(throughput) / 2;
  auto open = std::vector<round>{};
  for (std::size_t i = 0; i < how.rounds; ++i) {
    std::fprintf(stderr, "round %zu of %zu: ordering, signing", i + 1,
                 how.rounds);
    const auto requests = here.sign(here.order(how.subscriptions));
    std::fprintf(stderr, ", notifying at %.0f/s\n", rate);
    open.push_back(take_round(here, requests, rate));
  }
  return "| load | acknowledged/s | p50 ms | p90 ms | p99 ms | p99.9 ms | max "
         "ms | server CPU µs each | writes per commit |\n"
         "|---|---|---|---|---|---|---|---|---|\n"
         + row("closed loop, " + std::to_string(how.connections)
                 + " connections",
               closed)
         + row("fixed rate, " + printed("%.0f/s", rate), open);
}

/// Subscriptions that are paid and wait for a provider that never answers.
std::string measure_memory(const arguments& how, const scratch& in,
                           const key_set& keys, database& db) {
  std::fprintf(stderr, "memory: %zu subscriptions in the queue\n",
               how.in_flight);
  auto silent = silent_endpoint{};
  auto here = shop{how, in, keys, db, silent.port()};
  const auto idle = here.server.resident_bytes();
  const auto requests = here.sign(here.order(how.in_flight));
  static_cast<void>(here.notify(requests, 0));
  const auto supervisors
    = here.server.metric("slipway_actors{kind=\"supervisor\"}");
  if (supervisors < static_cast<double>(how.in_flight))
    give_up("only " + printed("%.0f", supervisors)
            + " subscriptions are in memory");
  const auto loaded = here.server.resident_bytes();
  const auto each
    = static_cast<double>(loaded - idle) / static_cast<double>(how.in_flight);
  return "| memory (VmRSS) | |\n|---|---|\n| idle after the start | "
         + printed("%.1f MB", static_cast<double>(idle) / 1e6) + " |\n| with "
         + std::to_string(how.in_flight) + " paid and queued | "
         + printed("%.1f MB", static_cast<double>(loaded) / 1e6)
         + " |\n| for each of them | " + printed("%.1f kB", each / 1e3)
         + " |\n";
}

/// Replaces what stands between the two marks of README.md.
void update_readme(const std::string& text) {
  const auto path = std::string{SLIPWAY_SOURCE_DIR "/benchmarks/README.md"};
  auto in = std::ifstream{path};
  auto whole = std::string{std::istreambuf_iterator<char>{in}, {}};
  const auto open = std::string{"<!-- last run -->\n"};
  const auto begin = whole.find(open);
  const auto end = whole.find("<!-- /last run -->");
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    give_up(path + " lacks the marks around the last run");
  whole.replace(begin + open.size(), end - begin - open.size(), text);
  auto out = std::ofstream{path};
  out << whole;
  if (!out.flush())
    give_up("cannot write " + path);
}

void run(const arguments& how) {
  const auto in = scratch{};
  const auto keys = key_set{};
  auto db = database{how.database_url};
  // Before we add to it: a busy machine measures something else.
  auto busy = 0.0;
  if (::getloadavg(&busy, 1) != 1)
    give_up("the machine's load cannot be read");
  auto text = "Machine: " + describe_machine()
              + ", load average before the start " + printed("%.1f", busy)
              + ".\nServer, PostgreSQL (default durability) and load generator "
                "share it.\nMedians over "
              + std::to_string(how.rounds) + " rounds of "
              + std::to_string(how.subscriptions) + " notifications.\n\n";
  text += measure_callbacks(how, in, keys, db) + "\n";
  text += measure_memory(how, in, keys, db);
  std::printf("\n%s", text.c_str());
  if (how.update_readme)
    update_readme("\n" + text + "\n");
}

} // namespace

int main(int argc, char** argv) {
  auto how = arguments{};
  auto cli = CLI::App{"Measures durable payment notifications",
                      "slipway_callbacks_bench"};
  cli.add_option("--server", how.server, "The slipway binary")
    ->required()
    ->check(CLI::ExistingFile);
  cli.add_option("--rounds", how.rounds, "Rounds of each load")
    ->check(CLI::Range(1, 100))
    ->capture_default_str();
  cli
    .add_option("--subscriptions", how.subscriptions,
                "Notifications of a round")
    ->check(CLI::Range(100, 1'000'000))
    ->capture_default_str();
  cli
    .add_option("--in-flight", how.in_flight,
                "Subscriptions for measuring memory")
    ->check(CLI::Range(100, 1'000'000))
    ->capture_default_str();
  cli.add_option("--connections", how.connections, "Connections at once")
    ->check(CLI::Range(1, 1'000))
    ->capture_default_str();
  cli.add_option("--rate", how.rate,
                 "Notifications a second of the fixed rate (half of the "
                 "closed loop's otherwise)");
  cli.add_option("--database-url", how.database_url,
                 "An empty database (one in a cluster of its own otherwise)");
  cli.add_flag("--update-readme", how.update_readme,
               "Writes the result into benchmarks/README.md");
  CLI11_PARSE(cli, argc, argv);
  spdlog::set_level(spdlog::level::warn);

  try {
    run(how);
  } catch (const failure& why) {
    std::fprintf(stderr, "benchmark: %s\n", why.what());
    return 1;
  }
  return 0;
}
