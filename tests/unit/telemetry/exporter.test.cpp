#define CAF_SUITE telemetry.exporter

#include "http/telemetry/exporter.hpp"

#include <boost/json/parse.hpp>
#include <caf/test/unit_test.hpp>

#include <condition_variable>
#include <map>
#include <mutex>

using namespace slipway;
using namespace slipway::telemetry;
using namespace std::chrono_literals;

// Goal: a collector gets what OTLP says, in batches, once; and whatever it
// does, nobody waits for it and every span is accounted for.

namespace {

constexpr auto patience = 20s;

/// A collector that answers as it is told to.
class imposter final : public client::outbound {
public:
  using answer = std::function<void(const client::http_request&,
                                    const client::http_callback&)>;

  void send(client::http_request request, client::http_callback done) override {
    auto how = answer{};
    {
      const auto guard = std::lock_guard{mutex_};
      requests_.push_back(request);
      how = next_;
    }
    changed_.notify_all();
    how(request, done);
  }

  void answers(answer how) {
    const auto guard = std::lock_guard{mutex_};
    next_ = std::move(how);
  }

  std::vector<client::http_request> until(std::size_t requests) {
    auto guard = std::unique_lock{mutex_};
    CAF_CHECK(changed_.wait_for(guard, patience, [&] {
      return requests_.size() >= requests;
    }));
    return requests_;
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<client::http_request> requests_;
  answer next_ = [](const auto&, const client::http_callback& done) {
    done(client::http_response{200, {}, "{}"});
  };
};

imposter::answer status(int code, std::string body = "{}") {
  return [code, body](const auto&, const client::http_callback& done) {
    done(client::http_response{code, {}, body});
  };
}

class ledger {
public:
  void add(span_fate what, std::size_t n) {
    {
      const auto guard = std::lock_guard{mutex_};
      counts_[what] += n;
    }
    changed_.notify_all();
  }

  bool until(span_fate what, std::size_t n) {
    auto guard = std::unique_lock{mutex_};
    return changed_.wait_for(guard, patience, [&] {
      return counts_[what] == n;
    });
  }

  std::size_t of(span_fate what) {
    const auto guard = std::lock_guard{mutex_};
    return counts_[what];
  }

private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<span_fate, std::size_t> counts_;
};

trace::span_data make_span(std::string name = "a") {
  auto out = trace::span_data{};
  out.where = {
    {0x0af7651916cd43dd, 0x8448eb211c80319c}, 0xb7ad6b7169203331, true, "x=y"};
  out.parent = 7;
  out.name = std::move(name);
  out.is = trace::span_kind::client;
  out.began = 1'764'000'000'123'456'789;
  out.ended = 1'764'000'000'223'456'789;
  out.attributes.push_back({"text", std::string{"\"q\"\n\xff"}});
  out.attributes.push_back({"number", std::int64_t{-5}});
  out.links.push_back({{1, 2}, 3});
  out.failure = "opaque";
  return out;
}

struct fixture {
  imposter network;
  ledger counts;

  exporter_options options() {
    auto out = exporter_options{};
    out.endpoint = "http://127.0.0.1:1/v1/traces";
    out.of = {"slipway", "1.2", "host:1"};
    out.network = &network;
    out.interval = 5ms;
    out.pause = 1ms;
    out.pause_max = 5ms;
    out.count = [this](span_fate what, std::size_t n) {
      counts.add(what, n);
    };
    return out;
  }
};

} // namespace

CAF_TEST_FIXTURE_SCOPE(tests, fixture)

CAF_TEST(a span becomes what OTLP says in JSON) {
  const auto body = boost::json::parse(
    to_otlp_json({"slipway", "1.2", "host:1"}, {make_span()}));
  CAF_CHECK(body == boost::json::parse(R"({"resourceSpans":[{
    "resource":{"attributes":[
      {"key":"service.name","value":{"stringValue":"slipway"}},
      {"key":"service.version","value":{"stringValue":"1.2"}},
      {"key":"service.instance.id","value":{"stringValue":"host:1"}}]},
    "scopeSpans":[{"scope":{"name":"slipway"},"spans":[{
      "traceId":"0af7651916cd43dd8448eb211c80319c",
      "spanId":"b7ad6b7169203331",
      "parentSpanId":"0000000000000007",
      "traceState":"x=y",
      "flags":1,
      "name":"a",
      "kind":3,
      "startTimeUnixNano":"1764000000123456789",
      "endTimeUnixNano":"1764000000223456789",
      "attributes":[
        {"key":"text","value":{"stringValue":"\"q\"\n\uFFFD"}},
        {"key":"number","value":{"intValue":"-5"}}],
      "links":[{"traceId":"00000000000000010000000000000002",
                "spanId":"0000000000000003"}],
      "status":{"code":2,"message":"opaque"}}]}]}]})"));
}

CAF_TEST(what a span does not have is left out) {
  auto x = make_span();
  x.parent = 0;
  x.where.state.clear();
  x.attributes.clear();
  x.links.clear();
  x.failure.clear();
  const auto text = to_otlp_json({"s", "", ""}, {x});
  for (const auto* key :
       {"parentSpanId", "traceState", "links", "service.version"})
    CAF_CHECK_EQUAL(text.find(key), std::string::npos);
  CAF_CHECK_NOT_EQUAL(text.find(R"("status":{})"), std::string::npos);
}

CAF_TEST(rejected spans are read from either spelling) {
  CAF_CHECK_EQUAL(read_rejected(R"({"partialSuccess":{"rejectedSpans":"3"}})"),
                  3u);
  CAF_CHECK_EQUAL(read_rejected(R"({"partialSuccess":{"rejectedSpans":4}})"),
                  4u);
  for (const auto* nothing :
       {"", "{}", "[]", R"({"partialSuccess":{}})", "<html>",
        R"({"partialSuccess":{"rejectedSpans":"-3"}})",
        R"({"partialSuccess":{"rejectedSpans":-3}})",
        R"({"partialSuccess":null})"})
    CAF_CHECK(!read_rejected(nothing));
}

CAF_TEST(spans leave in batches) {
  auto with = options();
  with.interval = 10s;
  with.batch_max = 3;
  auto x = exporter{with};
  for (auto i = 0; i < 3; ++i)
    x.take(make_span(std::to_string(i)));
  const auto sent = network.until(1);
  CAF_CHECK(counts.until(span_fate::exported, 3));
  CAF_CHECK_EQUAL(sent[0].method, "POST");
  CAF_CHECK_EQUAL(sent[0].url, "http://127.0.0.1:1/v1/traces");
  CAF_CHECK_EQUAL(client::find_header(sent[0].headers, "content-type").value(),
                  "application/json");
  const auto body = boost::json::parse(sent[0].body);
  CAF_CHECK_EQUAL(
    body.at_pointer("/resourceSpans/0/scopeSpans/0/spans").as_array().size(),
    3u);
}

CAF_TEST(a lonely span leaves after the interval) {
  auto x = exporter{options()};
  x.take(make_span());
  CAF_CHECK(counts.until(span_fate::exported, 1));
}

CAF_TEST(an export that may succeed later is repeated and then given up) {
  network.answers(status(503));
  auto x = exporter{options()};
  x.take(make_span());
  CAF_CHECK(counts.until(span_fate::failed, 1));
  CAF_CHECK_EQUAL(network.until(3).size(), 3u);
  network.answers(status(200));
  x.take(make_span());
  CAF_CHECK(counts.until(span_fate::exported, 1));
}

CAF_TEST(what a collector refuses is not sent again) {
  network.answers(status(400));
  auto x = exporter{options()};
  x.take(make_span());
  CAF_CHECK(counts.until(span_fate::failed, 1));
  CAF_CHECK_EQUAL(network.until(1).size(), 1u);
}

CAF_TEST(what a collector takes in part is counted in part) {
  network.answers(status(200, R"({"partialSuccess":{"rejectedSpans":"1"}})"));
  auto with = options();
  with.interval = 10s;
  with.batch_max = 3;
  auto x = exporter{with};
  for (auto i = 0; i < 3; ++i)
    x.take(make_span());
  CAF_CHECK(counts.until(span_fate::exported, 2));
  CAF_CHECK(counts.until(span_fate::failed, 1));
}

CAF_TEST(a collector that hangs costs nobody anything but spans) {
  auto held = std::vector<client::http_callback>{};
  network.answers([&](const auto&, const client::http_callback& done) {
    held.push_back(done);
  });
  auto with = options();
  with.interval = 10s;
  with.batch_max = 2;
  with.queue_max = 4;
  auto x = exporter{with};
  x.take(make_span());
  x.take(make_span());
  network.until(1);
  const auto before = std::chrono::steady_clock::now();
  for (auto i = 0; i < 1'000; ++i)
    x.take(make_span());
  CAF_CHECK(counts.until(span_fate::queue_full, 996));
  // The end does not wait for it, either.
  x.stop(10ms);
  CAF_CHECK(std::chrono::steady_clock::now() - before < patience);
  CAF_CHECK_EQUAL(counts.of(span_fate::stopping), 4u);
  CAF_CHECK_EQUAL(counts.of(span_fate::failed), 2u);
  // An answer that comes when all is over meets nobody.
  held.at(0)(client::http_response{200, {}, "{}"});
  x.take(make_span());
  CAF_CHECK_EQUAL(counts.of(span_fate::stopping), 5u);
}

CAF_TEST(what waits is sent before the end) {
  auto with = options();
  with.interval = 10s;
  auto x = exporter{with};
  for (auto i = 0; i < 5; ++i)
    x.take(make_span());
  x.stop(10s);
  CAF_CHECK_EQUAL(counts.of(span_fate::exported), 5u);
  CAF_CHECK_EQUAL(network.until(1).size(), 1u);
}

CAF_TEST_FIXTURE_SCOPE_END()
