#define CAF_SUITE provider.answer

#include "http/provider/answer.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;
using namespace slipway::provider;
using client::failure_kind;

namespace {

answer read(int status, std::string body, client::header_list headers = {}) {
  return read_answer(
    client::http_response{status, std::move(headers), std::move(body)});
}

answer_class of(int status, std::string body) {
  return read(status, std::move(body)).is;
}

/// An error as GraphQL tells it, under HTTP 200.
answer_class of_error(const std::string& message, const std::string& code) {
  return of(200, R"({"data":null,"errors":[{"message":")" + message
                   + R"(","extensions":{"code":")" + code + R"("}}]})");
}

constexpr auto internal = "INTERNAL_SERVER_ERROR";

} // namespace

CAF_TEST(data is data) {
  const auto got = read(200, R"({"data":{"project":{"id":"p-1"}}})");
  CAF_CHECK(got.is == answer_class::ok);
  CAF_CHECK_EQUAL(got.data.at("project").at("id").as_string(), "p-1");
  // An empty list of errors is none.
  CAF_CHECK(of(200, R"({"data":{},"errors":[]})") == answer_class::ok);
}

CAF_TEST(half a pair of UTF - 16 does not cost the answer) {
  const auto got = read(200, R"({"data":{"line":"cut \ud83d"}})");
  CAF_CHECK(got.is == answer_class::ok);
  CAF_CHECK_EQUAL(got.data.at("line").as_string(), "cut \ufffd");
}

CAF_TEST(errors are told by their words under HTTP 200) {
  using c = answer_class;
  for (auto [message, code, is] :
       std::vector<std::tuple<const char*, const char*, c>>{
         {"Not Authorized", internal, c::auth},
         {"Project Token not found", internal, c::auth},
         {"anything", "UNAUTHENTICATED", c::auth},
         {"anything", "UNAUTHORIZED", c::auth},
         {"anything", "FORBIDDEN", c::auth},
         {"Project not found", internal, c::not_found},
         {"ServiceInstance not found", internal, c::not_found},
         {"Deployment not found", internal, c::not_found},
         {"anything", "PROJECT_NOT_FOUND", c::not_found},
         {"You are creating projects too quickly, slow down", internal,
          c::throttled},
         {"Limited to 1 project per 30 seconds", internal, c::throttled},
         {"You can do this once every 30s", internal, c::throttled},
         {"Only one project can be created per user at a time", internal,
          c::throttled},
         {"Whoa there pal! You are creating volumes too quickly", internal,
          c::throttled},
         {"anything", "RATE_LIMITED", c::throttled},
         {"anything", "TOO_MANY_REQUESTS", c::throttled},
         {"Cannot redeploy yet, please wait for the original deployment to "
          "finish building",
          internal, c::busy},
         {"Cannot redeploy without a snapshot", internal, c::busy},
         {"An operation is already in progress", internal, c::busy},
         {"Failed to create service domain, please try again", internal,
          c::busy},
         {"A service with this name already exists", internal, c::duplicate},
         {"This domain is already in use", internal, c::duplicate},
         {"Two Factor Authentication Required", internal, c::plan},
         {"anything", "PLAN_LIMIT", c::plan},
         {"anything", "SUBSCRIPTION_REQUIRED", c::plan},
         {"Cannot query field nope", "GRAPHQL_VALIDATION_FAILED", c::invalid},
         {"anything", "BAD_USER_INPUT", c::invalid},
         {"anything", "BAD_REQUEST", c::invalid},
         {"Cannot query field nope on Query", "", c::invalid},
         {"Unknown argument nope", "", c::invalid},
         {"Problem processing request", internal, c::opaque},
         {"a sentence that nobody has seen yet", internal, c::opaque},
       }) {
    const auto got = of_error(message, code);
    if (got != is)
      CAF_ERROR(message << " / " << code << " is " << to_string(got)
                        << " instead of " << to_string(is));
  }
}

CAF_TEST(an error wins over data that came along with it) {
  CAF_CHECK(
    of(200, R"({"data":{"project":{"id":"p"}},"errors":[{"message":"x"}]})")
    == answer_class::opaque);
  CAF_CHECK(of(200, R"({"errors":[{}]})") == answer_class::opaque);
  CAF_CHECK(of(200, R"({"errors":[17]})") == answer_class::opaque);
}

CAF_TEST(the trace id is found in either place) {
  CAF_CHECK(read(200, R"({"errors":[{"message":"m","traceId":"t1"}]})")
              .message.find("t1")
            != std::string::npos);
  CAF_CHECK(
    read(200, R"({"errors":[{"message":"m","extensions":{"traceId":"t2"}}]})")
      .message.find("t2")
    != std::string::npos);
}

CAF_TEST(statuses without a telling body) {
  using c = answer_class;
  CAF_CHECK(of(429, "error code: 1015") == c::blocked);
  CAF_CHECK(of(429, R"({"message":"slow down"})") == c::throttled);
  CAF_CHECK(of(429, R"({"errors":[{"message":"x"}]})") == c::throttled);
  for (auto status : {500, 502, 503, 504}) {
    CAF_CHECK(of(status, "<html>Bad Gateway</html>") == c::in_doubt);
    CAF_CHECK(of(status, "") == c::in_doubt);
    CAF_CHECK(of(status, "{}") == c::in_doubt);
    // Whatever it says: it may have acted.
    CAF_CHECK(of(status, R"({"errors":[{"message":"Not Authorized"}]})")
              == c::in_doubt);
  }
  for (auto status : {401, 403}) {
    CAF_CHECK(of(status, "no") == c::auth);
    CAF_CHECK(of(status, "{}") == c::auth);
  }
  // Garbage of somebody in between condemns no document: nobody knows what
  // became of the call.
  CAF_CHECK(of(400, "{}") == c::in_doubt);
  CAF_CHECK(of(400, "<html>Bad Request</html>") == c::in_doubt);
  CAF_CHECK(of(404, "not here") == c::in_doubt);
  CAF_CHECK(of(405, "") == c::in_doubt);
  CAF_CHECK(of(400, R"({"errors":[{"message":"m"}]})") == c::opaque);
  CAF_CHECK(of(400, R"({"errors":[{"message":"m","extensions":)"
                    R"({"code":"GRAPHQL_VALIDATION_FAILED"}}]})")
            == c::invalid);
}

CAF_TEST(the page of the firewall is told from a refusal) {
  using c = answer_class;
  CAF_CHECK(of(403, "error code: 1015") == c::blocked);
  CAF_CHECK(of(403, "<html><h1>Access denied</h1></html>") == c::blocked);
  CAF_CHECK(of(429, "") == c::blocked);
  CAF_CHECK(of(403, R"({"message":"Access denied"})") == c::auth);
}

CAF_TEST(whoever answered is known) {
  CAF_CHECK(read(200, R"({"data":{}})").spoken);
  CAF_CHECK(read(200, R"({"errors":[{"message":"x"}]})").spoken);
  CAF_CHECK(read(429, R"({"errors":[{"message":"x"}]})").spoken);
  CAF_CHECK(!read(429, "error code: 1015").spoken);
  CAF_CHECK(!read(502, "<html>").spoken);
  CAF_CHECK(!read(400, "nope").spoken);
  CAF_CHECK(
    !read_answer(client::http_failure{failure_kind::in_doubt, "x"}).spoken);
}

CAF_TEST(the pause between creations is told from other limits) {
  const auto cooldown = [](int status, const char* message) {
    const auto got = read(status, R"({"errors":[{"message":")"
                                    + std::string{message} + R"("}]})");
    CAF_CHECK(got.is == answer_class::throttled);
    return got.cooldown;
  };
  CAF_CHECK(cooldown(200, "You are creating projects too quickly"));
  CAF_CHECK(cooldown(200, "Limited to 1 project per 30 seconds"));
  CAF_CHECK(cooldown(200, "You can do this once every 30s"));
  CAF_CHECK(cooldown(200, "Only one project can be created per user"));
  CAF_CHECK(cooldown(200, "Whoa there pal!"));
  CAF_CHECK(!cooldown(429, "Rate limit exceeded"));
  CAF_CHECK(!cooldown(200, "Too many requests"));
  CAF_CHECK(!cooldown(429, "x"));
  CAF_CHECK(!read(503, R"({"errors":[{"message":"too quickly"}]})").cooldown);
}

CAF_TEST(errors name their fields and their code) {
  const auto got
    = read(200, R"({"data":null,"errors":[)"
                R"({"message":"Not Authorized","path":["e3","id"],)"
                R"("extensions":{"code":"FORBIDDEN"}},)"
                R"({"message":"x","path":["v1"]},)"
                R"({"message":"x","path":["e3"]},)"
                R"({"message":"x","path":[]},{"message":"x","path":[7]},)"
                R"({"message":"x","path":"e9"},{"message":"x"},3]})");
  CAF_CHECK_EQUAL(got.code, "FORBIDDEN");
  CAF_CHECK(got.failed_fields == (std::vector<std::string>{"e3", "v1"}));
  CAF_CHECK(read(200, R"({"data":{}})").failed_fields.empty());
  // Nobody can make us remember a million of them.
  auto many = std::string{R"({"errors":[)"};
  for (auto i = 0; i < 1'000; ++i)
    many += R"({"path":["f)" + std::to_string(i) + R"("]},)";
  many.back() = ']';
  CAF_CHECK_EQUAL(read(200, many + "}").failed_fields.size(), 64u);
}

CAF_TEST(the budget is read from the headers of every answer) {
  const auto limits = [](client::header_list headers, int status = 200) {
    return read(status, R"({"data":{}})", std::move(headers)).rate;
  };
  for (auto status : {200, 429, 500}) {
    const auto got = limits({{"x-ratelimit-limit", "1000"},
                             {"x-ratelimit-remaining", "0"},
                             {"x-ratelimit-reset", "3600"}},
                            status);
    CAF_CHECK(got.limit == 1'000u);
    CAF_CHECK(got.remaining == 0u);
    CAF_CHECK_EQUAL(got.reset, "3600");
  }
  for (auto text : {"", "-1", "1.5", "1e3", "1000;w=3600", " 7", "many",
                    "99999999999999999999999"}) {
    const auto got
      = limits({{"X-RateLimit-Limit", text}, {"X-RateLimit-Remaining", text}});
    CAF_CHECK(!got.limit);
    CAF_CHECK(!got.remaining);
  }
  CAF_CHECK_EQUAL(limits({{"X-RateLimit-Reset", std::string(41, '1')}}).reset,
                  "");
}

CAF_TEST(a success that makes no sense is in doubt) {
  for (auto body : {"", "ok", "[]", "17", "null", R"({"data":null})",
                    R"({"data":[]})", R"({"other":1})", R"({"data":{)"})
    CAF_CHECK(of(200, body) == answer_class::in_doubt);
}

CAF_TEST(failures of the wire say whether it may have happened) {
  const auto of_failure = [](failure_kind kind) {
    return read_answer(client::http_failure{kind, "a\nb"});
  };
  CAF_CHECK(of_failure(failure_kind::not_sent).is == answer_class::not_sent);
  CAF_CHECK(of_failure(failure_kind::refused).is == answer_class::not_sent);
  CAF_CHECK(of_failure(failure_kind::in_doubt).is == answer_class::in_doubt);
  CAF_CHECK(of_failure(failure_kind::too_large).is == answer_class::in_doubt);
  CAF_CHECK_EQUAL(of_failure(failure_kind::in_doubt).message, "a b");
}

CAF_TEST(retry after is read where it is a number of seconds) {
  const auto after = [](const char* text) {
    return read(429, R"({"errors":[{"message":"x"}]})", {{"retry-after", text}})
      .retry_after;
  };
  CAF_CHECK(after("7") == millis{7'000});
  CAF_CHECK(after("0") == millis{0});
  for (auto text : {"", "-1", "1.5", "soon", "99999999999999999999",
                    "Wed, 21 Oct 2026 07:28:00 GMT"})
    CAF_CHECK(after(text) == millis{0});
  CAF_CHECK(read(429, "error code: 1015", {{"Retry-After", "30"}}).retry_after
            == millis{30'000});
}

CAF_TEST(statuses of deployments have one meaning) {
  using m = status_meaning;
  for (auto [status, stopped, is, progress] :
       std::vector<std::tuple<const char*, bool, m::kind, int>>{
         {"SUCCESS", false, m::running, 100},
         {"SUCCESS", true, m::failed, 100},
         {"SLEEPING", false, m::running, 100},
         {"FAILED", false, m::failed, 0},
         {"CRASHED", false, m::failed, 0},
         {"SKIPPED", false, m::failed, 0},
         {"REMOVED", false, m::gone, 0},
         {"REMOVING", false, m::gone, 0},
         {"QUEUED", false, m::in_progress, 42},
         {"WAITING", false, m::in_progress, 42},
         {"NEEDS_APPROVAL", false, m::in_progress, 42},
         {"INITIALIZING", false, m::in_progress, 45},
         {"BUILDING", false, m::in_progress, 50},
         {"DEPLOYING", false, m::in_progress, 78},
         {"", false, m::in_progress, 42},
         {"SOMETHING_NEW", false, m::in_progress, 42},
         {"success", false, m::in_progress, 42},
       }) {
    const auto got = read_status(status, stopped);
    if (got.is != is || got.progress != progress)
      CAF_ERROR(status << " means " << int{got.is} << ", " << int{got.progress}
                       << "%");
  }
}

CAF_TEST(steps of a build move forward) {
  auto last = std::uint8_t{0};
  for (auto step : {"SNAPSHOT_CODE", "BUILD_IMAGE", "PUBLISH_IMAGE",
                    "PRE_DEPLOY_COMMAND", "CREATE_CONTAINER",
                    "CONFIGURE_NETWORK", "HEALTHCHECK", "DRAIN_INSTANCES"}) {
    CAF_CHECK(progress_of_step(step) > last);
    last = progress_of_step(step);
  }
  CAF_CHECK(last < 100);
  CAF_CHECK_EQUAL(int{progress_of_step("NEW_STEP")}, 0);
}

CAF_TEST(words of the provider become one clean line) {
  CAF_CHECK_EQUAL(clean(""), "");
  CAF_CHECK_EQUAL(clean("plain"), "plain");
  CAF_CHECK_EQUAL(clean("a\r\n\tb"), "a b");
  CAF_CHECK_EQUAL(clean("\n\na"), "a");
  CAF_CHECK_EQUAL(clean("\x1b[31mred\x1b[0m"), "[31mred [0m");
  CAF_CHECK_EQUAL(clean(std::string_view{"a\0b", 3}), "a b");
  CAF_CHECK_EQUAL(clean("失败"), "失败");
  CAF_CHECK_EQUAL(clean("a\xff"
                        "b"),
                  "a\xef\xbf\xbd"
                  "b");
  CAF_CHECK_EQUAL(clean("cut \xe5\xa4"), "cut \xef\xbf\xbd\xef\xbf\xbd");
}

CAF_TEST(words of the provider are bounded and well formed) {
  for (auto size : {499u, 500u, 501u, 5'000u}) {
    CAF_CHECK(clean(std::string(size, 'x')).size() <= 500);
    auto wide = std::string{};
    while (wide.size() < size)
      wide += "败";
    const auto text = clean(wide);
    CAF_CHECK(text.size() <= 500);
    CAF_CHECK_EQUAL(text.size() % 3, 0u);
  }
  // Forms of UTF-8 that PostgreSQL refuses: overlong, a surrogate, too high.
  CAF_CHECK_EQUAL(clean("\xc0\xaf").find('\xc0'), std::string::npos);
  CAF_CHECK_EQUAL(clean("\xed\xa0\x80").find('\xed'), std::string::npos);
  CAF_CHECK_EQUAL(clean("\xf5\x80\x80\x80").find('\xf5'), std::string::npos);
}
