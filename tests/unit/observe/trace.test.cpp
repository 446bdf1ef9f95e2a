#define CAF_SUITE observe.trace

#include "actors/observe/trace.hpp"

#include "actors/observe/tracer.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::trace;

// Goal: what strangers send is taken by the letter of the W3C's recommendation
// or not at all, and spans of one story find each other.

namespace {

constexpr auto good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Counts up: ids are predictable, and never zero twice.
class counting final : public entropy {
public:
  std::uint64_t next() noexcept override {
    return ++last;
  }

  std::uint64_t last = 0;
};

class basket final : public span_sink {
public:
  void take(span_data what) noexcept override {
    spans.push_back(std::move(what));
  }

  std::vector<span_data> spans;
};

struct fixture {
  tracer make(std::uint32_t per_mille = 1'000, std::size_t journeys = 100) {
    auto with = tracer_options{};
    with.sample_per_mille = per_mille;
    with.random = &random;
    with.now = [this] {
      return now;
    };
    with.sink = &sink;
    with.journeys_max = journeys;
    with.linger = 100;
    return tracer{std::move(with)};
  }

  counting random;
  basket sink;
  std::uint64_t now = 1'000;
};

constexpr auto one = subscription_id{1};

} // namespace

CAF_TEST_FIXTURE_SCOPE(tests, fixture)

CAF_TEST(a good traceparent is read and written back) {
  const auto x = parse_traceparent(good);
  CAF_REQUIRE(x);
  CAF_CHECK_EQUAL(to_text(x->trace), "0af7651916cd43dd8448eb211c80319c");
  CAF_CHECK_EQUAL(span_to_text(x->span), "b7ad6b7169203331");
  CAF_CHECK(x->sampled);
  CAF_CHECK_EQUAL(to_traceparent(*x), good);
}

CAF_TEST(flags that we do not know are left alone) {
  const auto with = [](std::string flags) {
    return parse_traceparent(
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + flags);
  };
  CAF_CHECK(with("ff").value().sampled);
  CAF_CHECK(with("03").value().sampled);
  CAF_CHECK(!with("00").value().sampled);
  CAF_CHECK(!with("fe").value().sampled);
}

CAF_TEST(later versions may go on behind a dash) {
  const auto rest
    = std::string{"-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"};
  CAF_CHECK(parse_traceparent("cc" + rest));
  CAF_CHECK(parse_traceparent("cc" + rest + "-what-the-future-brings"));
  CAF_CHECK(parse_traceparent("01" + rest + "-"));
  CAF_CHECK(!parse_traceparent("cc" + rest + ".what"));
  CAF_CHECK(!parse_traceparent("00" + rest + "-what"));
  CAF_CHECK(!parse_traceparent("ff" + rest));
}

CAF_TEST(everything else is no traceparent) {
  for (const auto* bad : {
         "",
         "00",
         "00-",
         // Too short and too long.
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011",
         "0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         "000-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c0-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033310-01",
         // Nothing but zeros.
         "00-00000000000000000000000000000000-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
         // Upper case, and no hexadecimal digits at all.
         "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-B7AD6B7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0A",
         "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319z-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333.-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
         // Other dashes, and blanks.
         "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01",
         " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01,00",
       })
    CAF_CHECK(!parse_traceparent(bad));
}

CAF_TEST(a tracestate is passed on in its order) {
  CAF_CHECK_EQUAL(read_tracestate({}), "");
  CAF_CHECK_EQUAL(read_tracestate({"rojo=00f067aa,congo=t61r"}),
                  "rojo=00f067aa,congo=t61r");
  CAF_CHECK_EQUAL(read_tracestate({" a=1 ,\tb=2", ",", "", "t3@sys=x y"}),
                  "a=1,b=2,t3@sys=x y");
  CAF_CHECK_EQUAL(read_tracestate({"a_-*/0=!~"}), "a_-*/0=!~");
}

CAF_TEST(half of a malformed tracestate means nothing) {
  for (const auto* bad : {"a", "a=", "=1", "A=1", "0a=1", "a=1,a=2", "a b=1",
                          "a=1=2", "a=\x7f", "a=\xc3\xa9", "@s=1", "t@=1",
                          "t@s@u=1", "t@0s=1", "t@abcdefghijklmno=1", "a=1,b"})
    CAF_CHECK_EQUAL(read_tracestate({bad}), "");
  CAF_CHECK_EQUAL(read_tracestate({std::string(257, 'a') + "=1"}), "");
  CAF_CHECK_EQUAL(read_tracestate({"a=" + std::string(257, 'x')}), "");
  auto many = std::string{};
  for (auto i = 0; i < 33; ++i)
    many += "k" + std::to_string(i) + "=1,";
  CAF_CHECK_EQUAL(read_tracestate({many}), "");
}

CAF_TEST(what is too long loses its long members first) {
  const auto member = [](const std::string& key, std::size_t size) {
    return key + "=" + std::string(size - key.size() - 1, 'x');
  };
  const auto big = member("big", 200);
  auto line = big + "," + member("a", 128) + "," + member("b", 128) + ","
              + member("c", 128);
  CAF_CHECK_EQUAL(read_tracestate({line}), line.substr(big.size() + 1));
  line += "," + member("d", 128) + "," + member("e", 128);
  const auto kept = read_tracestate({line});
  CAF_CHECK(kept.size() <= 512);
  CAF_CHECK(kept.starts_with("a=") && kept.find("d=") == std::string::npos);
}

CAF_TEST(a request goes on with the trace of its caller) {
  auto with = make(0);
  const auto in = with.enter(good, {"a=1"});
  CAF_CHECK(in.where);
  CAF_CHECK_EQUAL(to_text(in.where.trace), "0af7651916cd43dd8448eb211c80319c");
  CAF_CHECK_EQUAL(span_to_text(in.parent), "b7ad6b7169203331");
  CAF_CHECK_NOT_EQUAL(in.where.span, in.parent);
  CAF_CHECK_EQUAL(in.where.state, "a=1");
  {
    auto x = with.begin(in, "POST plans", 900);
    x.set("http.route", std::string{"plans"});
    now = 1'500;
  }
  CAF_REQUIRE_EQUAL(sink.spans.size(), 1u);
  const auto& x = sink.spans[0];
  CAF_CHECK_EQUAL(x.parent, in.parent);
  CAF_CHECK_EQUAL(x.where.span, in.where.span);
  CAF_CHECK_EQUAL(x.began, 900u);
  CAF_CHECK_EQUAL(x.ended, 1'500u);
  CAF_CHECK(x.is == span_kind::server);
}

CAF_TEST(a caller that does not sample is taken at its word) {
  auto with = make(1'000);
  const auto in
    = with.enter("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", {});
  CAF_CHECK(!in.where);
  // For the log there is an id all the same.
  CAF_CHECK_EQUAL(to_text(in.where.trace), "0af7651916cd43dd8448eb211c80319c");
  CAF_CHECK(!with.begin(in, "x", 0));
  CAF_CHECK(!with.begin(in.where, "x", span_kind::internal));
}

CAF_TEST(a malformed parent begins a trace of its own without the state) {
  auto with = make();
  const auto in = with.enter("00-nonsense", {"a=1"});
  CAF_CHECK(in.where);
  CAF_CHECK_EQUAL(in.parent, 0u);
  CAF_CHECK_EQUAL(in.where.state, "");
}

CAF_TEST(of a thousand traces as many are recorded as were asked for) {
  auto with = make(250);
  auto sampled = 0;
  for (auto i = 0; i < 1'000; ++i)
    sampled += with.enter(std::nullopt, {}).where ? 1 : 0;
  CAF_CHECK_EQUAL(sampled, 250);
  auto never = make(0);
  CAF_CHECK(!never.enter(std::nullopt, {}).where);
  CAF_CHECK(!never.begin_alone("x"));
}

CAF_TEST(parts belong to the span that they are begun under) {
  auto with = make();
  auto outer = with.begin_alone("outer");
  auto inner = with.begin(outer.where(), "inner", span_kind::client);
  inner.fail("refused");
  const auto where = inner.where();
  inner.end();
  inner.end();
  inner.set("late", std::string{"x"});
  outer.end();
  CAF_REQUIRE_EQUAL(sink.spans.size(), 2u);
  CAF_CHECK_EQUAL(sink.spans[0].parent, sink.spans[1].where.span);
  CAF_CHECK(sink.spans[0].where.trace == sink.spans[1].where.trace);
  CAF_CHECK_EQUAL(sink.spans[0].failure, "refused");
  CAF_CHECK_EQUAL(sink.spans[0].where.span, where.span);
  CAF_CHECK_EQUAL(sink.spans[1].parent, 0u);
}

CAF_TEST(a span that records nothing does nothing) {
  auto x = span{};
  x.set("a", std::string{"b"});
  x.fail("c");
  x.end();
  CAF_CHECK(!x.where().trace);
  CAF_CHECK(sink.spans.empty());
}

CAF_TEST(the trace of a subscription is remembered while it is of use) {
  auto with = make();
  const auto where = context{{1, 2}, 3, true, {}};
  CAF_CHECK(!with.journey(one));
  with.set_journey(one, where);
  CAF_CHECK_EQUAL(with.journey(one).span, 3u);
  with.rest(one);
  now += 100;
  CAF_CHECK(with.journey(one));
  with.set_journey(one, where); // Goes on.
  now += 1'000;
  CAF_CHECK(with.journey(one));
  with.rest(one);
  now += 101;
  CAF_CHECK(!with.journey(one));
  with.rest(one); // Nobody remembers it.
}

CAF_TEST(memory of traces is bounded and the stalest goes first) {
  auto with = make(1'000, 2);
  const auto where = context{{1, 2}, 3, true, {}};
  with.set_journey(subscription_id{1}, where);
  with.set_journey(subscription_id{2}, where);
  CAF_CHECK(with.journey(subscription_id{1}));
  with.set_journey(subscription_id{3}, where);
  CAF_CHECK(!with.journey(subscription_id{2}));
  CAF_CHECK(with.journey(subscription_id{1}));
  CAF_CHECK(with.journey(subscription_id{3}));
}

CAF_TEST(anchors follow from the subscription and lead to its traces) {
  const auto a = tracer::anchor_of(one);
  CAF_CHECK(a.trace == tracer::anchor_of(one).trace);
  CAF_CHECK(!(a.trace == tracer::anchor_of(subscription_id{2}).trace));
  CAF_CHECK(a.trace && a.span != 0);
  auto with = make();
  with.note_at_anchor(one, {{7, 8}, 9, true, {}}, true);
  with.note_at_anchor(one, {{10, 11}, 12, true, {}}, false);
  CAF_REQUIRE_EQUAL(sink.spans.size(), 2u);
  CAF_CHECK_EQUAL(sink.spans[0].where.span, a.span);
  CAF_CHECK_EQUAL(sink.spans[0].parent, 0u);
  CAF_CHECK_EQUAL(sink.spans[1].parent, a.span);
  CAF_CHECK(sink.spans[1].where.trace == a.trace);
  CAF_CHECK_EQUAL(sink.spans[1].links.at(0).span, 12u);
}

CAF_TEST_FIXTURE_SCOPE_END()
