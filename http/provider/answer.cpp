#include "http/provider/answer.hpp"

#include "http/crypto/text.hpp"
#include "http/provider/json_text.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

namespace slipway::provider {

namespace {

namespace json = boost::json;

std::string lower(std::string_view text) {
  auto out = std::string{text};
  std::transform(out.begin(), out.end(), out.begin(), [](unsigned char c) {
    return static_cast<char>(std::tolower(c));
  });
  return out;
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string_view text_of(const json::value* value) {
  if (value != nullptr && value->is_string())
    return std::string_view{value->get_string().data(),
                            value->get_string().size()};
  return {};
}

const json::value* member(const json::value& of, std::string_view name) {
  return of.is_object() ? of.get_object().if_contains(name) : nullptr;
}

struct rule {
  std::string_view needle; ///< Lower case, within the message.
  answer_class is;
};

/// Words of the pause between two creations.
constexpr auto cooldown_words = std::array<std::string_view, 5>{
  {"too quickly", "per 30 seconds", "every 30s",
   "only one project can be created", "whoa there pal"}};

// The order matters: the more telling text goes first.
constexpr auto message_rules = std::array<rule, 18>{{
  {"rate limit", answer_class::throttled},
  {"too many requests", answer_class::throttled},
  {"please wait for the original deployment", answer_class::busy},
  {"without a snapshot", answer_class::busy},
  {"already in progress", answer_class::busy},
  {"failed to create service domain", answer_class::busy},
  {"already exists", answer_class::duplicate},
  {"already in use", answer_class::duplicate},
  {"two factor", answer_class::plan},
  {"plan limit", answer_class::plan},
  {"not authorized", answer_class::auth},
  {"unauthorized", answer_class::auth},
  {"project token not found", answer_class::auth},
  {"not found", answer_class::not_found},
  {"problem processing request", answer_class::opaque},
  // What GraphQL servers say of a document, should the code be missing.
  {"cannot query field", answer_class::invalid},
  {"unknown argument", answer_class::invalid},
  {"unknown type", answer_class::invalid},
}};

constexpr auto code_rules = std::array<rule, 14>{{
  {"graphql_validation_failed", answer_class::invalid},
  {"graphql_parse_failed", answer_class::invalid},
  {"bad_user_input", answer_class::invalid},
  {"bad_request", answer_class::invalid},
  {"unauthenticated", answer_class::auth},
  {"unauthorized", answer_class::auth},
  {"forbidden", answer_class::auth},
  {"rate_limited", answer_class::throttled},
  {"too_many_requests", answer_class::throttled},
  {"plan_limit", answer_class::plan},
  {"subscription_required", answer_class::plan},
  {"already_exists", answer_class::duplicate},
  {"conflict", answer_class::duplicate},
  {"not_found", answer_class::not_found},
}};

bool is_cooldown(std::string_view message) {
  const auto text = lower(message);
  return std::any_of(cooldown_words.begin(), cooldown_words.end(),
                     [&text](std::string_view words) {
                       return has(text, words);
                     });
}

answer_class classify(std::string_view message, std::string_view code) {
  if (is_cooldown(message))
    return answer_class::throttled;
  const auto text = lower(message);
  for (const auto& x : message_rules)
    if (has(text, x.needle))
      return x.is;
  const auto name = lower(code);
  for (const auto& x : code_rules)
    if (has(name, x.needle))
      return x.is;
  return answer_class::opaque;
}

millis read_retry_after(const client::http_response& response) {
  const auto text = response.find("Retry-After");
  if (!text || text->empty() || text->size() > 6
      || !std::all_of(text->begin(), text->end(), [](unsigned char c) {
           return std::isdigit(c) != 0;
         }))
    return millis{0};
  return std::chrono::seconds{std::stol(std::string{*text})};
}

/// A header that is a plain number.
std::optional<std::uint64_t>
read_count(const client::http_response& response, std::string_view name) {
  const auto text = response.find(name);
  auto out = std::uint64_t{0};
  if (!text || text->empty())
    return std::nullopt;
  const auto* end = text->data() + text->size();
  const auto read = std::from_chars(text->data(), end, out);
  if (read.ec != std::errc{} || read.ptr != end)
    return std::nullopt;
  return out;
}

rate_headers read_rate(const client::http_response& response) {
  constexpr auto reset_max = std::size_t{40};
  auto out = rate_headers{};
  out.limit = read_count(response, "X-RateLimit-Limit");
  out.remaining = read_count(response, "X-RateLimit-Remaining");
  if (const auto reset = response.find("X-RateLimit-Reset");
      reset && reset->size() <= reset_max)
    out.reset = *reset;
  return out;
}

/// Whether this is the page of the firewall in front of the API.
bool is_shut_out(const client::http_response& response) {
  const auto body = lower(std::string_view{response.body}.substr(0, 16 * 1024));
  return response.status == 429
         || (response.status == 403
             && (has(body, "error code: 10") || has(body, "access denied")));
}

answer fail(answer_class is, std::string message, millis retry_after = {}) {
  return {is, nullptr, std::move(message), retry_after};
}

/// Each error names what it is about; one name is enough.
void note_field(answer& to, const json::value& error) {
  constexpr auto fields_max = std::size_t{64};
  const auto* path = member(error, "path");
  if (path == nullptr || !path->is_array() || path->get_array().empty())
    return;
  auto name = clean(text_of(&path->get_array().front()));
  auto& known = to.failed_fields;
  if (!name.empty() && known.size() < fields_max
      && std::find(known.begin(), known.end(), name) == known.end())
    known.push_back(std::move(name));
}

answer
read_errors(const json::array& errors, const client::http_response& response) {
  const auto& first = errors.front();
  auto message = std::string{text_of(member(first, "message"))};
  const auto* extensions = member(first, "extensions");
  const auto code = extensions != nullptr ? text_of(member(*extensions, "code"))
                                          : std::string_view{};
  // The trace id is found in either place; the provider's support asks for it.
  auto trace = text_of(member(first, "traceId"));
  if (trace.empty() && extensions != nullptr)
    trace = text_of(member(*extensions, "traceId"));
  auto is = classify(message, code);
  if (response.status == 429)
    is = answer_class::throttled;
  const auto cooldown = is_cooldown(message);
  if (message.empty())
    message = "an error without a message";
  if (!trace.empty())
    message += " (trace " + std::string{trace} + ")";
  auto out = fail(is, clean(message), read_retry_after(response));
  out.code = clean(code);
  out.cooldown = cooldown;
  for (const auto& x : errors)
    note_field(out, x);
  return out;
}

answer read_body(const client::http_response& response) {
  const auto status = "HTTP " + std::to_string(response.status);
  auto parsed = parse_json(response.body);
  if (!parsed || !parsed->is_object()) {
    if (is_shut_out(response))
      return fail(answer_class::blocked, status + " without JSON",
                  read_retry_after(response));
    if (response.status == 401 || response.status == 403)
      return fail(answer_class::auth, status);
    // Whoever wrote this is not the API: nobody knows what became of the call.
    return fail(answer_class::in_doubt,
                status + " without JSON: " + clean(response.body));
  }
  auto& body = *parsed;
  const auto spoken = [](answer got) {
    got.spoken = true;
    return got;
  };
  const auto* errors = member(body, "errors");
  if (errors != nullptr && errors->is_array() && !errors->get_array().empty()) {
    auto got = read_errors(errors->get_array(), response);
    if (response.status >= 500) {
      got.is = answer_class::in_doubt;
      got.message = status + ": " + got.message;
      got.cooldown = false;
    }
    return spoken(std::move(got));
  }
  if (response.status == 429)
    return spoken(
      fail(answer_class::throttled, status, read_retry_after(response)));
  if (response.status == 401 || response.status == 403)
    return spoken(fail(answer_class::auth, status));
  // No error that says what is wrong: the document may be as good as ever.
  if (response.status >= 400)
    return spoken(fail(answer_class::in_doubt, status));
  auto* data = body.get_object().if_contains("data");
  if (data == nullptr || !data->is_object())
    return spoken(fail(answer_class::in_doubt, status + " without data"));
  auto out = answer{};
  out.data = std::move(*data);
  return spoken(std::move(out));
}

} // namespace

std::string_view to_string(answer_class x) noexcept {
  switch (x) {
    case answer_class::ok:
      return "ok";
    case answer_class::invalid:
      return "invalid";
    case answer_class::auth:
      return "auth";
    case answer_class::not_found:
      return "not_found";
    case answer_class::throttled:
      return "throttled";
    case answer_class::blocked:
      return "blocked";
    case answer_class::busy:
      return "busy";
    case answer_class::duplicate:
      return "duplicate";
    case answer_class::plan:
      return "plan";
    case answer_class::opaque:
      return "opaque";
    case answer_class::in_doubt:
      return "in_doubt";
    case answer_class::not_sent:
      return "not_sent";
  }
  return "?";
}

std::string clean(std::string_view text) {
  constexpr auto bytes_max = std::size_t{500};
  const auto is_plain = std::all_of(text.begin(), text.end(), [](char c) {
    return c >= ' ' && c <= '~';
  });
  if (is_plain && text.size() <= bytes_max)
    return std::string{text};
  auto out = std::string{};
  // More than that is cut off anyway; an error page may have megabytes.
  for (auto c : crypto::to_valid_utf8(text.substr(0, 4 * bytes_max))) {
    const auto is_control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    if (!is_control)
      out += c;
    else if (!out.empty() && out.back() != ' ')
      out += ' ';
  }
  if (out.size() > bytes_max) {
    auto end = bytes_max;
    while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80)
      --end;
    out.resize(end);
  }
  return out;
}

answer read_answer(const client::http_outcome& outcome) {
  if (const auto* failure = outcome.failure()) {
    switch (failure->kind) {
      case client::failure_kind::not_sent:
      case client::failure_kind::refused:
        return fail(answer_class::not_sent, clean(failure->message));
      case client::failure_kind::in_doubt:
      case client::failure_kind::too_large:
        return fail(answer_class::in_doubt, clean(failure->message));
    }
  }
  const auto& response = *outcome.response();
  auto out = read_body(response);
  out.rate = read_rate(response);
  return out;
}

status_meaning read_status(std::string_view status, bool stopped) {
  using m = status_meaning;
  if (status == "SUCCESS")
    return stopped ? m{m::failed, 100} : m{m::running, 100};
  if (status == "SLEEPING")
    return {m::running, 100};
  if (status == "FAILED" || status == "CRASHED" || status == "SKIPPED")
    return {m::failed, 0};
  if (status == "REMOVED" || status == "REMOVING")
    return {m::gone, 0};
  if (status == "INITIALIZING")
    return {m::in_progress, 45};
  if (status == "BUILDING")
    return {m::in_progress, 50};
  if (status == "DEPLOYING")
    return {m::in_progress, 78};
  return {m::in_progress, 42}; // QUEUED, WAITING, NEEDS_APPROVAL and the new
}

std::uint8_t progress_of_step(std::string_view step) {
  struct known {
    std::string_view name;
    std::uint8_t progress;
  };
  constexpr auto steps = std::array<known, 10>{{
    {"SNAPSHOT_CODE", 50},
    {"BUILD_IMAGE", 58},
    {"PUBLISH_IMAGE", 74},
    {"WAIT_FOR_DEPENDENCIES", 80},
    {"PRE_DEPLOY_COMMAND", 80},
    {"MIGRATE_VOLUMES", 80},
    {"CREATE_CONTAINER", 85},
    {"CONFIGURE_NETWORK", 88},
    {"HEALTHCHECK", 92},
    {"DRAIN_INSTANCES", 95},
  }};
  for (const auto& x : steps)
    if (x.name == step)
      return x.progress;
  return 0;
}

} // namespace slipway::provider
