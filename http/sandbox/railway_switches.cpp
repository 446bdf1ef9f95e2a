#include "http/sandbox/railway_switches.hpp"

#include "http/sandbox/page.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <variant>

namespace slipway::sandbox::railway {

namespace json_ns = boost::json;

namespace {

constexpr auto day_ms = std::int64_t{24} * 60 * 60 * 1'000;

constexpr auto count_max = std::int64_t{1'000'000};

constexpr auto failures = std::array<std::string_view, 6>{
  "build", "deploy", "crash", "exit", "skip", "workflow"};

constexpr auto statuses = std::array<std::string_view, 7>{
  "WAITING",  "NEEDS_APPROVAL", "QUEUED",  "INITIALIZING",
  "BUILDING", "DEPLOYING",      "REMOVING"};

constexpr auto shapes = std::array<std::string_view, 4>{
  "html200", "html502", "truncated", "cloudflare"};

/// From the least to the most.
struct number {
  std::int64_t switches::*member;
  std::int64_t min;
  std::int64_t max;
};

struct flag {
  bool switches::*member;
};

struct choice {
  std::string switches::*member;
  const std::string_view* first;
  std::size_t count;
  bool may_be_empty;

  [[nodiscard]] bool has(std::string_view value) const {
    return std::find(first, first + count, value) != first + count;
  }
};

/// The name of a field of the API.
struct field_name {
  std::string switches::*member;
};

struct knob {
  std::string_view name;
  std::string_view label;
  std::variant<number, flag, choice, field_name> kind;
};

struct group {
  std::string_view title;
  std::vector<knob> knobs;
};

template <std::size_t N>
choice one_of(std::string switches::*member,
              const std::array<std::string_view, N>& names, bool may_be_empty) {
  return {member, names.data(), N, may_be_empty};
}

const std::vector<group>& all_groups() {
  using s = switches;
  static const auto groups = std::vector<group>{
    {"部署 Deployments",
     {{"failNext", "下一次失败 fail next",
       one_of(&s::fail_next, failures, true)},
      {"failCount", "次数 how often", number{&s::fail_count, 0, count_max}},
      {"hangIn", "卡在 hang in", one_of(&s::hang_in, statuses, true)},
      {"hangCount", "次数 how often", number{&s::hang_count, 0, count_max}},
      {"slowBuilds", "构建变慢 builds × n", number{&s::slow_builds, 1, 1'000}},
      {"busy", "忙 busy", number{&s::busy, 0, count_max}},
      {"duplicateServices", "重复服务 duplicates",
       number{&s::duplicate_services, 0, count_max}}}},
    {"应答 Answers",
     {{"lostAnswers", "丢失应答 lost answers",
       number{&s::lost_answers, 0, count_max}},
      {"lostBefore", "丢失请求 lost requests",
       number{&s::lost_before, 0, count_max}},
      {"lostFor", "仅限 lost for", field_name{&s::lost_for}},
      {"opaqueErrors", "模糊错误 opaque errors",
       number{&s::opaque_errors, 0, count_max}},
      {"opaqueFor", "仅限 opaque for", field_name{&s::opaque_for}},
      {"opaqueAfter", "执行后才报错 opaque after", flag{&s::opaque_after}},
      {"garbage", "乱码 garbage", number{&s::garbage, 0, count_max}},
      {"garbageAs", "形式 garbage as", one_of(&s::garbage_as, shapes, false)},
      {"garbageFor", "仅限 garbage for", field_name{&s::garbage_for}},
      {"slowMs", "延迟 slow, ms", number{&s::slow_ms, 0, 120'000}},
      {"down", "停机 down", flag{&s::down}},
      {"socketsDown", "断开长连接 no WebSocket", flag{&s::sockets_down}}}},
    {"限制 Limits",
     {{"rateLimited", "限流 rate limited",
       number{&s::rate_limited, 0, count_max}},
      {"requestsPerHour", "每小时 per hour",
       number{&s::requests_per_hour, 0, count_max}},
      {"requestsPerSecond", "每秒 per second",
       number{&s::requests_per_second, 0, count_max}},
      {"cooldown", "创建间隔 cooldown", flag{&s::cooldown}},
      {"cooldownMs", "间隔 cooldown, ms", number{&s::cooldown_ms, 0, day_ms}},
      {"volumeCooldownMs", "存储卷间隔 volumes, ms",
       number{&s::volume_cooldown_ms, 0, day_ms}},
      {"uniqueNames", "名称唯一 unique names", flag{&s::unique_names}}}},
    {"滞后 Lag",
     {{"lagListsMs", "列表 lists, ms", number{&s::lag_lists_ms, 0, day_ms}},
      {"lagByIdMs", "按编号 by id, ms", number{&s::lag_by_id_ms, 0, day_ms}},
      {"authLagMs", "授权 auth, ms", number{&s::auth_lag_ms, 0, day_ms}}}},
    {"回调 Webhooks",
     {{"webhooks", "发送 sent", flag{&s::webhooks}},
      {"webhookLoss", "丢失 lost, %", number{&s::webhook_loss, 0, 100}},
      {"webhookDoubled", "重复 doubled", flag{&s::webhook_doubled}},
      {"webhookLateMs", "迟到 late, ms",
       number{&s::webhook_late_ms, 0, day_ms}},
      {"webhookLies", "说谎 lying", flag{&s::webhook_lies}}}}};
  return groups;
}

const knob* find_knob(std::string_view name) {
  for (const auto& each : all_groups())
    for (const auto& x : each.knobs)
      if (x.name == name)
        return &x;
  return nullptr;
}

/// A name in GraphQL's grammar, or none.
bool is_field_name(std::string_view text) {
  return text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                  || (c >= '0' && c <= '9') || c == '_';
         });
}

/// One switch, set. @returns what is wrong.
struct setter {
  switches& to;
  std::string_view name;
  const json_ns::value& value;

  [[nodiscard]] std::optional<std::string_view> text() const {
    if (value.is_null())
      return std::string_view{};
    if (const auto* given = value.if_string())
      return std::string_view{given->data(), given->size()};
    return std::nullopt;
  }

  std::string operator()(const number& x) const {
    const auto* given = value.if_int64();
    if (given == nullptr || *given < x.min || *given > x.max)
      return std::string{name} + " must be a number from "
             + std::to_string(x.min) + " to " + std::to_string(x.max) + ".";
    to.*x.member = *given;
    return "";
  }

  std::string operator()(const flag& x) const {
    if (!value.is_bool())
      return std::string{name} + " must be true or false.";
    to.*x.member = value.get_bool();
    return "";
  }

  std::string operator()(const choice& x) const {
    const auto given = text();
    if (given && (given->empty() ? x.may_be_empty : x.has(*given))) {
      to.*x.member = std::string{*given};
      return "";
    }
    auto result = std::string{name} + " must be one of";
    for (auto i = std::size_t{0}; i < x.count; ++i) {
      result += i == 0 ? " " : ", ";
      result += x.first[i];
    }
    return result + (x.may_be_empty ? " or null." : ".");
  }

  std::string operator()(const field_name& x) const {
    const auto given = text();
    if (!given || !is_field_name(*given))
      return std::string{name} + " must be the name of a field or null.";
    to.*x.member = std::string{*given};
    return "";
  }
};

std::string
set(switches& to, std::string_view name, const json_ns::value& value) {
  const auto* x = find_knob(name);
  if (x == nullptr)
    return "There is no switch named " + std::string{name} + ".";
  return std::visit(setter{to, name, value}, x->kind);
}

/// What is to happen next and how often go together.
void pair_up(std::string& next, std::int64_t& count) {
  if (next.empty())
    count = 0;
  else
    count = std::max<std::int64_t>(count, 1);
}

std::string to_html(const knob& x, const switches& now) {
  auto text = "<label><span>" + std::string{x.label} + "</span>";
  const auto named = " name=\"" + std::string{x.name} + "\"";
  if (const auto* it = std::get_if<number>(&x.kind)) {
    text += "<input type=\"number\" min=\"" + std::to_string(it->min)
            + "\" max=\"" + std::to_string(it->max) + "\"" + named + " value=\""
            + std::to_string(now.*it->member) + "\">";
  } else if (const auto* box = std::get_if<flag>(&x.kind)) {
    text += "<input type=\"checkbox\"" + named
            + (now.*box->member ? " checked>" : ">");
  } else if (const auto* one = std::get_if<choice>(&x.kind)) {
    text += "<select" + named + ">";
    if (one->may_be_empty)
      text += "<option value=\"\">—</option>";
    for (auto i = std::size_t{0}; i < one->count; ++i) {
      text
        += one->first[i] == now.*one->member ? "<option selected>" : "<option>";
      text += one->first[i];
      text += "</option>";
    }
    text += "</select>";
  } else {
    const auto& member = std::get<field_name>(x.kind).member;
    text += "<input placeholder=\"projectCreate\"" + named + " value=\""
            + escape(now.*member) + "\">";
  }
  return text + "</label>";
}

} // namespace

json_ns::object to_json(const switches& x) {
  json_ns::object result;
  const auto or_null = [](const std::string& text) {
    return text.empty() ? json_ns::value(nullptr) : json_ns::value(text);
  };
  for (const auto& each : all_groups())
    for (const auto& one : each.knobs) {
      auto& to = result[one.name];
      if (const auto* it = std::get_if<number>(&one.kind))
        to = x.*it->member;
      else if (const auto* box = std::get_if<flag>(&one.kind))
        to = x.*box->member;
      else if (const auto* of = std::get_if<choice>(&one.kind))
        to = or_null(x.*of->member);
      else
        to = or_null(x.*std::get<field_name>(one.kind).member);
    }
  return result;
}

std::string update(switches& to, const json_ns::object& from) {
  auto changed = to;
  for (const auto& each : from)
    if (auto wrong = set(changed, each.key(), each.value()); !wrong.empty())
      return wrong;
  // A count of nothing calls it off; without a count it is for once.
  const auto settle
    = [&](std::string_view name, std::string& next, std::int64_t& count) {
        if (from.contains(name) && count == 0)
          next.clear();
        pair_up(next, count);
      };
  settle("failCount", changed.fail_next, changed.fail_count);
  settle("hangCount", changed.hang_in, changed.hang_count);
  to = std::move(changed);
  return "";
}

std::string
update(switches& to,
       const std::vector<std::pair<std::string, std::string>>& form) {
  auto changed = to;
  for (const auto& each : all_groups())
    for (const auto& x : each.knobs)
      if (const auto* box = std::get_if<flag>(&x.kind))
        changed.*box->member = false;
  for (const auto& [name, value] : form) {
    auto as = json_ns::value(value);
    const auto* x = find_knob(name);
    if (x != nullptr && std::holds_alternative<flag>(x->kind)) {
      as = true;
    } else if (x != nullptr && std::holds_alternative<number>(x->kind)) {
      auto read = std::int64_t{0};
      const auto* end = value.data() + value.size();
      const auto got = std::from_chars(value.data(), end, read);
      if (got.ec == std::errc{} && got.ptr == end)
        as = read;
    }
    if (auto wrong = set(changed, name, as); !wrong.empty())
      return wrong;
  }
  pair_up(changed.fail_next, changed.fail_count);
  pair_up(changed.hang_in, changed.hang_count);
  to = std::move(changed);
  return "";
}

std::string to_html(const switches& x, const switches& initial) {
  const auto now = to_json(x);
  const auto before = to_json(initial);
  auto text = std::string{};
  for (const auto& each : all_groups()) {
    const auto is_changed
      = std::any_of(each.knobs.begin(), each.knobs.end(), [&](const knob& one) {
          return now.at(one.name) != before.at(one.name);
        });
    text += is_changed ? "<details open><summary>" : "<details><summary>";
    text += each.title;
    text += "</summary><div class=\"fields\">";
    for (const auto& one : each.knobs)
      text += to_html(one, x);
    text += "</div></details>";
  }
  return text;
}

bool concerns(const std::string& name,
              const std::vector<std::string_view>& fields) {
  return name.empty()
         || std::find(fields.begin(), fields.end(), name) != fields.end();
}

} // namespace slipway::sandbox::railway
