#include "http/sandbox/console.hpp"

#include "http/crypto/form.hpp"
#include "http/sandbox/page.hpp"

#include <boost/json.hpp>

#include <charconv>
#include <memory>
#include <utility>

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

constexpr auto orders_shown = std::size_t{100};

/// Rows of equal deliveries together.
constexpr auto rows_shown = std::size_t{30};

std::optional<std::size_t> parse_count(std::string_view text) {
  auto value = std::size_t{0};
  const auto* end = text.data() + text.size();
  const auto [rest, ec] = std::from_chars(text.data(), end, value);
  if (ec != std::errc{} || rest != end)
    return std::nullopt;
  return value;
}

std::optional<millis> parse_delay(std::string_view text) {
  auto unit = std::int64_t{1'000};
  if (text.size() > 2 && text.substr(text.size() - 2) == "ms") {
    unit = 1;
    text.remove_suffix(2);
  } else if (text.size() > 1 && text.back() == 's') {
    text.remove_suffix(1);
  }
  const auto count = parse_count(text);
  if (!count || *count > static_cast<std::size_t>(delay_max.count()))
    return std::nullopt;
  const auto result = millis{static_cast<std::int64_t>(*count) * unit};
  if (result > delay_max)
    return std::nullopt;
  return result;
}

tl::expected<delivery_plan, std::string>
plan_of(const crypto::form_fields& form) {
  const auto is_set = [&](std::string_view name) {
    const auto* value = crypto::find_field(form, name);
    return value != nullptr && *value != "false" && *value != "0";
  };
  delivery_plan result;
  result.lose = is_set("lose");
  result.refund_first = is_set("refund_first");
  result.wrong_amount = is_set("wrong_amount");
  result.wrong_app = is_set("wrong_app");
  result.probe = is_set("probe");
  if (const auto* text = crypto::find_field(form, "delay");
      text != nullptr && !text->empty()) {
    const auto delay = parse_delay(*text);
    if (!delay)
      return tl::unexpected{std::string{"delay: expected seconds, as 30, or "
                                        "250ms, up to a day"}};
    result.delay = *delay;
  }
  if (const auto* text = crypto::find_field(form, "copies");
      text != nullptr && !text->empty()) {
    const auto copies = parse_count(*text);
    if (!copies || *copies < 1 || *copies > copies_max)
      return tl::unexpected{std::string{"copies: expected 1 to 500"}};
    result.copies = *copies;
  }
  return result;
}

std::optional<console_action> action_of(std::string_view word) {
  if (word == "pay")
    return console_action::pay;
  if (word == "close")
    return console_action::close;
  if (word == "refund")
    return console_action::refund;
  if (word == "notify")
    return console_action::notify;
  if (word == "duplicate")
    return console_action::duplicate;
  if (word == "delivery")
    return console_action::plan;
  return std::nullopt;
}

/// What a form asks for.
tl::expected<console_command, std::string>
read_command(console_action action, std::string order,
             const crypto::form_fields& form) {
  console_command result;
  result.action = action;
  result.order = std::move(order);
  const auto plan = plan_of(form);
  if (!plan)
    return tl::unexpected{plan.error()};
  result.plan = *plan;
  result.own_plan = !(result.plan == delivery_plan{});
  if (const auto* text = crypto::find_field(form, "amount");
      text != nullptr && !text->empty()) {
    result.amount = parse_amount(*text);
    if (!result.amount || *result.amount < 1)
      return tl::unexpected{std::string{"amount: expected yuan, as 9.90"}};
  }
  if (action == console_action::duplicate
      && crypto::find_field(form, "copies") != nullptr)
    result.copies = result.plan.copies;
  if (const auto* text = crypto::find_field(form, "outcome"))
    result.outcome = *text;
  return result;
}

std::string words_of(const delivery_plan& plan) {
  std::string result;
  const auto add = [&](std::string_view text) {
    if (!result.empty())
      result += " · ";
    result += text;
  };
  if (plan.lose)
    add("丢失 lost");
  if (plan.delay > millis{0})
    add("迟到 late by " + to_words(plan.delay));
  if (plan.copies > 1)
    add("重复 ×" + std::to_string(plan.copies));
  if (plan.refund_first)
    add("乱序 refund first");
  if (plan.wrong_amount)
    add("金额错误 wrong amount");
  if (plan.wrong_app)
    add("应用错误 wrong app");
  if (plan.probe)
    add("探测 bad signature first");
  if (result.empty())
    add("即时送达 at once");
  return result;
}

std::string checkbox(std::string_view name, bool on, std::string_view label) {
  return "<label><span>" + std::string{label}
         + "</span><input type=\"checkbox\" name=\"" + std::string{name} + "\""
         + (on ? " checked" : "") + "></label>";
}

std::string plan_fields(const delivery_plan& plan) {
  const auto seconds = plan.delay.count() % 1'000 == 0
                         ? std::to_string(plan.delay.count() / 1'000)
                         : std::to_string(plan.delay.count()) + "ms";
  return "<div class=\"fields\">" + checkbox("lose", plan.lose, "丢失 Lose all")
         + "<label><span>迟到 Late by (s)</span><input name=\"delay\" value=\""
         + seconds
         + "\"></label><label><span>份数 Copies</span><input "
           "name=\"copies\" value=\""
         + std::to_string(plan.copies) + "\"></label>"
         + checkbox("refund_first", plan.refund_first,
                    "退款先到 Refund before payment")
         + checkbox("wrong_amount", plan.wrong_amount, "金额错误 Wrong amount")
         + checkbox("wrong_app", plan.wrong_app, "应用错误 Wrong app")
         + checkbox("probe", plan.probe, "先发错误签名 Bad signature first")
         + "</div>";
}

/// A form with one button. `fields` is HTML.
std::string button(std::string_view order, std::string_view action,
                   std::string_view label, std::string_view fields = "") {
  return "<form class=\"inline\" method=\"post\" action=\"/console\">"
         "<input type=\"hidden\" name=\"order\" value=\""
         + escape(order) + "\"><input type=\"hidden\" name=\"do\" value=\""
         + std::string{action} + "\">" + std::string{fields}
         + "<button class=\"small\">" + std::string{label}
         + "</button></form> ";
}

std::string hidden(std::string_view name, std::string_view value) {
  return "<input type=\"hidden\" name=\"" + std::string{name} + "\" value=\""
         + std::string{value} + "\">";
}

std::string buttons(const console_order& x) {
  auto result = std::string{"<div class=\"buttons\">"};
  if (x.can_pay && !x.pay_path.empty())
    result += "<a class=\"button small\" href=\"" + escape(x.pay_path)
              + "\">买家付款页 Buyer's page</a> ";
  if (x.can_pay) {
    result += button(x.number, "pay", "付款 Pay");
    result += button(x.number, "pay", "付款，丢失回调 Pay, lose callbacks",
                     hidden("lose", "on"));
    result += button(x.number, "pay", "付款，回调迟到 30 s Pay, late callback",
                     hidden("delay", "30"));
  }
  if (x.can_close)
    result += button(x.number, "close", "关闭 Close");
  if (!x.deliveries.empty() || x.paid) {
    result += button(x.number, "notify", "立即发送回调 Send callback now");
    result += button(x.number, "duplicate", "重复 ×100 Duplicate ×100",
                     hidden("copies", "100"));
  }
  if (x.can_refund)
    result += button(x.number, "refund", "后台退款 Refund in console",
                     "<input class=\"short\" name=\"amount\" value=\""
                       + format_amount(x.amount - x.refunded) + "\"> ");
  return result + "</div>";
}

std::string result_of(const delivery& x) {
  if (x.lost)
    return "<span class=\"bad\">丢失 lost</span>";
  if (x.answer == 0)
    return "<span class=\"bad\">—</span>";
  return "<span class=\"" + std::string{x.understood ? "good" : "bad"} + "\">"
         + std::to_string(x.answer) + "</span>";
}

bool is_alike(const delivery& a, const delivery& b) {
  return a.id == b.id && a.event == b.event && a.attempt == b.attempt
         && a.probe == b.probe && a.lost == b.lost && a.answer == b.answer
         && a.body == b.body;
}

/// Equal deliveries are one row; the newest come first.
std::string delivery_table(const std::deque<delivery>& all) {
  auto result = std::string{
    "<div class=\"scroll\"><table><tr><th>时间 At<th>事件 Event<th>次数 "
    "Attempt<th>结果 Answer<th></tr>"};
  auto shown = std::size_t{0};
  for (auto i = all.rbegin(); i != all.rend() && shown < rows_shown; ++shown) {
    auto same = i;
    auto count = std::size_t{0};
    for (; same != all.rend() && is_alike(*same, *i); ++same)
      ++count;
    result += "<tr><td>" + to_rfc3339(i->at) + "<td>" + escape(i->event)
              + "<br><small>" + escape(i->id) + "</small><td>#"
              + std::to_string(i->attempt);
    if (i->probe)
      result += " <small>探测 probe</small>";
    if (count > 1)
      result += " ×" + std::to_string(count);
    result += "<td>" + result_of(*i) + "<td><small>" + escape(i->body)
              + "</small></tr>";
    i = same;
  }
  if (all.empty())
    result += "<tr><td colspan=\"5\" class=\"dim\">还没有回调 None yet</tr>";
  return result + "</table></div>";
}

std::string order_card(const console_order& x) {
  const auto* mood = x.mood == tone::good  ? "good"
                     : x.mood == tone::bad ? "bad"
                                           : "";
  auto body = "<div class=\"card\"><h2>" + escape(x.number) + " <small>"
              + escape(x.subject) + "</small></h2><p><b>¥ "
              + format_amount(x.amount) + "</b> <span class=\"tag " + mood
              + "\">" + escape(x.status) + "</span> <small>" + escape(x.product)
              + " · " + to_rfc3339(x.created);
  if (!x.transaction.empty())
    body += " · " + escape(x.transaction);
  body += "</small></p>" + buttons(x);
  for (const auto& each : x.refunds)
    body += "<p class=\"line\">退款 Refund <b>¥ " + format_amount(each.amount)
            + "</b> <span class=\"tag\">" + escape(each.status)
            + "</span> <small>" + escape(each.number) + " · "
            + to_rfc3339(each.at) + "</small></p>";
  body
    += "<details><summary>回调 Callbacks ("
       + std::to_string(x.deliveries.size()) + ") <small>" + words_of(x.plan)
       + " → " + escape(x.notify_url) + "</small></summary>"
       + delivery_table(x.deliveries)
       + "<form method=\"post\" action=\"/console\">"
         "<input type=\"hidden\" name=\"do\" value=\"delivery\">"
         "<input type=\"hidden\" name=\"order\" value=\""
       + escape(x.number) + "\">" + plan_fields(x.plan)
       + "<p><button class=\"small\">这样送达 Deliver this order's callbacks "
         "so</button></p></form></details>";
  return body + "</div>";
}

http::response
home(const std::string& title, const std::string& word, console_host& host) {
  const auto plan = host.console_plan();
  auto body
    = "<div class=\"card\"><h1>" + escape(title) + " <small>" + escape(word)
      + "</small></h1><details><summary>全部订单的回调 Callbacks of all "
        "orders <small>"
      + words_of(plan)
      + "</small></summary><form method=\"post\" action=\"/console\">"
        "<input type=\"hidden\" name=\"do\" value=\"delivery\">"
      + plan_fields(plan)
      + "<p><button class=\"small\">这样送达 Deliver them so</button></p>"
        "</form></details>"
      + host.console_switches() + "</div>";
  auto all = host.console_orders();
  for (auto i = std::size_t{0}; i < all.size() && i < orders_shown; ++i)
    body += order_card(all[i]);
  if (all.size() > orders_shown)
    body += "<p class=\"dim\">… +" + std::to_string(all.size() - orders_shown)
            + "</p>";
  if (all.empty())
    body += "<p class=\"dim\">还没有交易 No trades yet</p>";
  return page(200, title, body);
}

json_ns::value time_or_null(const std::optional<timestamp>& at) {
  return at ? json_ns::value(to_rfc3339(*at)) : json_ns::value(nullptr);
}

json_ns::object describe(const console_order& x) {
  json_ns::array told;
  for (const auto& each : x.deliveries)
    told.push_back({{"at", to_rfc3339(each.at)},
                    {"notifyId", each.id},
                    {"tradeStatus", each.event},
                    {"attempt", each.attempt},
                    {"probe", each.probe},
                    {"lost", each.lost},
                    {"understood", each.understood},
                    {"status", each.answer},
                    {"body", to_utf8(each.body)}});
  json_ns::array refunds;
  for (const auto& each : x.refunds)
    refunds.push_back({{"number", each.number},
                       {"amount", format_amount(each.amount)},
                       {"status", each.status},
                       {"at", to_rfc3339(each.at)}});
  return {{"outTradeNo", x.number},
          {"tradeNo", x.transaction},
          {"subject", to_utf8(x.subject)},
          {"product", x.product},
          {"amount", format_amount(x.amount)},
          {"refunded", format_amount(x.refunded)},
          {"status", x.status},
          {"createdAt", to_rfc3339(x.created)},
          {"paidAt", time_or_null(x.paid)},
          {"notifyUrl", to_utf8(x.notify_url)},
          {"payPath", x.pay_path},
          {"refunds", std::move(refunds)},
          {"deliveries", std::move(told)}};
}

void answer_data(http::exchange& x, json_ns::value data) {
  x.answer(json(200, json_ns::serialize(json_ns::object{
                       {"success", true}, {"data", std::move(data)}})));
}

http::response refusal_page(int status, std::string_view sentence) {
  return page(status, "无法执行",
              "<div class=\"card narrow\"><h1 class=\"bad\">无法执行 <small>"
              "Impossible</small></h1><p>"
                + escape(sentence)
                + "</p><p><a class=\"button\" href=\"/\">返回 Back</a></p>"
                  "</div>");
}

/// A press of one of the page's buttons.
void press(http::exchange& x, console_host& host) {
  const auto form = crypto::decode_form(x.in().body);
  if (!form) {
    x.answer(refusal_page(400, to_string(form.error())));
    return;
  }
  const auto field = [&](std::string_view name) {
    const auto* value = crypto::find_field(*form, name);
    return value == nullptr ? std::string{} : *value;
  };
  const auto action = action_of(field("do"));
  if (!action) {
    x.answer(refusal_page(400, "there is no such button"));
    return;
  }
  const auto command = read_command(*action, field("order"), *form);
  if (!command) {
    x.answer(refusal_page(400, command.error()));
    return;
  }
  const auto done = host.perform(*command);
  x.answer(done ? see_other("/")
                : refusal_page(done.error().status, done.error().sentence));
}

/// The same for scripts.
void run(http::exchange& x, console_host& host, console_action action,
         const std::string& order) {
  const auto form = crypto::decode_form(x.in().body);
  if (!form) {
    x.fail(400, "bad_form", to_string(form.error()));
    return;
  }
  auto command = read_command(action, order, *form);
  if (!command) {
    x.fail(400, "bad_form", command.error());
    return;
  }
  if (x.in().query("notify") == "false") {
    command->plan.lose = true;
    command->own_plan = true;
  }
  if (const auto done = host.perform(*command); !done) {
    const auto& why = done.error();
    x.fail(why.status, why.code, why.sentence);
    return;
  }
  const auto now = host.console_find(order);
  answer_data(x,
              now ? json_ns::value(describe(*now)) : json_ns::value(nullptr));
}

} // namespace

std::string console_host::console_switches() {
  return "";
}

tl::expected<delivery_plan, std::string> read_plan(std::string_view form) {
  const auto decoded = crypto::decode_form(form);
  if (!decoded)
    return tl::unexpected{std::string{to_string(decoded.error())}};
  return plan_of(*decoded);
}

void add_console(http::router& routes, std::string title, std::string word,
                 console_host& host) {
  using http::method;
  auto* to = &host;
  routes
    .add(method::get, "/", "home",
         [to, title = std::move(title), word = std::move(word)](auto x) {
           x->answer(home(title, word, *to));
         })
    .add(method::post, "/console", "console",
         [to](auto x) {
           press(*x, *to);
         })
    .add(method::get, "/sandbox/trades", "trades",
         [to](auto x) {
           json_ns::array all;
           for (const auto& each : to->console_orders())
             all.push_back(describe(each));
           answer_data(*x, std::move(all));
         })
    .add(method::post, "/sandbox/delivery", "delivery", [to](auto x) {
      run(*x, *to, console_action::plan, "");
    });
  for (const auto* word_of :
       {"pay", "close", "refund", "notify", "duplicate", "delivery"}) {
    const auto action = *action_of(word_of);
    routes.add(method::post, "/sandbox/trades/{no}/" + std::string{word_of},
               word_of, [to, action](auto x) {
                 run(*x, *to, action, x->in().param(0));
               });
  }
}

} // namespace slipway::sandbox
