#include "http/mail/templates.hpp"

#include "http/crypto/text.hpp"

#include <utility>
#include <vector>

namespace slipway::mail {

namespace {

// -- a small renderer
// ----------------------------------------------------------
//
// `{{name}}` inserts a value, `{{{name}}}` one that is HTML already, and
// `{{#name}}…{{/name}}` stays only where the value is not empty. Values are
// never looked at again: a `{{` in one of them is text.

using values = std::vector<std::pair<std::string_view, std::string>>;

enum class output : std::uint8_t { text, html };

const std::string& value_of(const values& given, std::string_view name) {
  static const std::string none;
  for (const auto& [key, value] : given)
    if (key == name)
      return value;
  return none;
}

std::string render(std::string_view source, const values& given, output kind) {
  std::string result;
  for (;;) {
    auto open = source.find("{{");
    result += source.substr(0, open);
    if (open == source.npos)
      return result;
    source.remove_prefix(open + 2);
    auto raw = source.starts_with('{');
    if (raw)
      source.remove_prefix(1);
    std::string_view close = raw ? "}}}" : "}}";
    auto end = source.find(close);
    auto name = source.substr(0, end);
    source.remove_prefix(end == source.npos ? source.size()
                                            : end + close.size());
    if (name.starts_with('#')) {
      name.remove_prefix(1);
      auto finish = "{{/" + std::string{name} + "}}";
      auto at = source.find(finish);
      auto inner = source.substr(0, at);
      if (!value_of(given, name).empty())
        result += render(inner, given, kind);
      source.remove_prefix(at == source.npos ? source.size()
                                             : at + finish.size());
    } else if (kind == output::html && !raw) {
      result += crypto::html_escape(value_of(given, name));
    } else {
      result += value_of(given, name);
    }
  }
}

// -- what all mails look like
// --------------------------------------------------

constexpr std::string_view html_layout = R"html(<!DOCTYPE html>
<html lang="{{language}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{heading}}</title>
</head>
<body style="margin:0;padding:0;background:#f3f5f8;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="background:#f3f5f8;">
<tr><td align="center" style="padding:32px 12px;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="max-width:560px;background:#ffffff;border:1px solid #e3e8ef;border-radius:10px;font-family:-apple-system,'Segoe UI',Roboto,'PingFang SC','Microsoft YaHei',sans-serif;color:#1f2937;">
<tr><td style="height:4px;background:{{accent}};border-radius:10px 10px 0 0;font-size:0;line-height:0;">&nbsp;</td></tr>
<tr><td style="padding:28px 32px 8px;">
<h1 style="margin:0 0 12px;font-size:20px;line-height:1.4;font-weight:600;">{{heading}}</h1>
<p style="margin:0;font-size:15px;line-height:1.7;color:#374151;">{{intro}}</p>
</td></tr>
<tr><td style="padding:12px 32px;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" style="font-size:14px;line-height:1.6;">
{{{rows}}}</table>
</td></tr>
{{{button}}}{{#hint}}<tr><td style="padding:8px 32px 0;font-size:14px;line-height:1.7;color:#374151;">{{hint}}</td></tr>
{{/hint}}<tr><td style="padding:20px 32px 28px;font-size:12px;line-height:1.6;color:#8a94a6;">{{footer}}</td></tr>
</table>
</td></tr>
</table>
</body>
</html>
)html";

constexpr std::string_view html_row
  = R"html(<tr><td style="padding:8px 16px 8px 0;border-top:1px solid #eef1f5;color:#6b7280;white-space:nowrap;vertical-align:top;">{{label}}</td><td style="padding:8px 0;border-top:1px solid #eef1f5;word-break:break-word;">{{value}}</td></tr>
)html";

constexpr std::string_view html_link_row
  = R"html(<tr><td style="padding:8px 16px 8px 0;border-top:1px solid #eef1f5;color:#6b7280;white-space:nowrap;vertical-align:top;">{{label}}</td><td style="padding:8px 0;border-top:1px solid #eef1f5;word-break:break-all;"><a href="{{value}}" style="color:#2563eb;">{{value}}</a></td></tr>
)html";

constexpr std::string_view html_button
  = R"html(<tr><td style="padding:12px 32px 4px;"><a href="{{url}}" style="display:inline-block;padding:11px 22px;background:#2563eb;color:#ffffff;text-decoration:none;border-radius:6px;font-size:15px;font-weight:600;">{{label}}</a></td></tr>
)html";

constexpr std::string_view text_layout = "{{heading}}\n"
                                         "\n"
                                         "{{intro}}\n"
                                         "\n"
                                         "{{{rows}}}"
                                         "{{#hint}}\n{{hint}}\n{{/hint}}"
                                         "\n"
                                         "-- \n"
                                         "{{footer}}\n";

constexpr std::string_view green = "#16a34a";
constexpr std::string_view red = "#dc2626";
constexpr std::string_view blue = "#2563eb";

// -- the words
// -----------------------------------------------------------------

/// The words of one kind of notice in one language; templates themselves.
struct wording {
  std::string_view title;
  std::string_view message;
  std::string_view subject;
  std::string_view intro;
  std::string_view hint;
  std::string_view accent;
};

/// The words that all notices in one language share.
struct labels {
  std::string_view instance_name;
  std::string_view public_url;
  std::string_view duration;
  std::string_view error;
  std::string_view plan;
  std::string_view amount;
  std::string_view order_id;
  std::string_view open_instance;
  std::string_view separator;
  std::string_view footer;
};

constexpr labels labels_zh{
  "实例名称", "访问地址",
  "部署用时", "失败原因",
  "套餐",     "金额",
  "订单号",   "打开我的实例",
  "：",       "此邮件由 Slipway 自动发送，请勿直接回复。",
};

constexpr labels labels_en{
  "Instance",
  "URL",
  "Deployed in",
  "Reason",
  "Plan",
  "Amount",
  "Order",
  "Open your instance",
  ": ",
  "Sent automatically by Slipway. Please do not reply to this mail.",
};

constexpr wording success_zh{
  "实例部署成功",
  "您的实例 {{instance_name}} 已成功部署",
  "实例部署成功: {{instance_name}}",
  "您的实例 {{instance_name}} 已成功部署，现在可以使用了。",
  "",
  green,
};

constexpr wording success_en{
  "Instance deployed",
  "Your instance {{instance_name}} has been deployed",
  "Instance deployed: {{instance_name}}",
  "Your instance {{instance_name}} has been deployed and is ready to use.",
  "",
  green,
};

constexpr wording failed_zh{
  "实例部署失败",
  "您的实例 {{instance_name}} 部署失败: {{error}}",
  "实例部署失败: {{instance_name}}",
  "很抱歉，您的实例 {{instance_name}} 未能部署成功。",
  "您的订阅仍然有效。您可以在控制台重新部署，我们的运维人员也已收到提醒。",
  red,
};

constexpr wording failed_en{
  "Instance deployment failed",
  "Your instance {{instance_name}} could not be deployed: {{error}}",
  "Instance deployment failed: {{instance_name}}",
  "We are sorry: your instance {{instance_name}} could not be deployed.",
  "Your subscription stays active. You can start the deployment again in the "
  "console, and our operators have been told.",
  red,
};

constexpr wording payment_zh{
  "已收到付款",
  "我们已收到您为{{plan_title}}支付的 {{price}}",
  "已收到付款: {{price}}",
  "我们已收到您为{{plan_title}}支付的 {{price}}，感谢您的信任。",
  "",
  blue,
};

constexpr wording payment_en{
  "Payment received",
  "We have received your payment of {{price}} for {{plan_title}}",
  "Payment received: {{price}}",
  "We have received your payment of {{price}} for {{plan_title}}. Thank you.",
  "",
  blue,
};

// Of the whole payment or of a part of it.
constexpr wording refund_zh{
  "退款已完成",
  "您为{{plan_title}}支付的款项已退回 {{price}}",
  "退款已完成: {{price}}",
  "您为{{plan_title}}支付的款项已退回 {{price}}，款项将原路返回您的付款账户。",
  "具体到账时间以支付渠道为准。",
  blue,
};

constexpr wording refund_en{
  "Refund completed",
  "{{price}} of your payment for {{plan_title}} has been refunded",
  "Refund completed: {{price}}",
  "{{price}} of your payment for {{plan_title}} has been refunded to the "
  "account you paid with.",
  "When it shows up there depends on the payment channel.",
  blue,
};

constexpr wording cancelled_zh{
  "部署已取消",
  "您的实例 {{instance_name}} 的部署已取消",
  "部署已取消: {{instance_name}}",
  "您的实例 {{instance_name}} 的部署已取消，云端资源已全部清理。",
  "您的订阅仍然有效，可以随时重新部署。",
  blue,
};

constexpr wording cancelled_en{
  "Deployment cancelled",
  "The deployment of your instance {{instance_name}} has been cancelled",
  "Deployment cancelled: {{instance_name}}",
  "The deployment of your instance {{instance_name}} has been cancelled, and "
  "nothing of it is left.",
  "Your subscription stays active: you can deploy again at any time.",
  blue,
};

constexpr wording terminated_zh{
  "实例已终止",
  "您的实例 {{instance_name}} 已被终止并删除",
  "实例已终止: {{instance_name}}",
  "您的实例 {{instance_name}} 已由运维人员终止，云端资源已全部删除。",
  "如有疑问，请联系我们。",
  blue,
};

constexpr wording terminated_en{
  "Instance terminated",
  "Your instance {{instance_name}} has been terminated and deleted",
  "Instance terminated: {{instance_name}}",
  "Your instance {{instance_name}} has been terminated by our operators, and "
  "nothing of it is left.",
  "Please contact us if you have any questions.",
  blue,
};

constexpr wording down_zh{
  "实例已停止运行",
  "您的实例 {{instance_name}} 已停止运行: {{error}}",
  "实例已停止运行: {{instance_name}}",
  "您的实例 {{instance_name}} 已停止运行。",
  "您可以在控制台重新部署，我们的运维人员也已收到提醒。",
  red,
};

constexpr wording down_en{
  "Instance is down",
  "Your instance {{instance_name}} is down: {{error}}",
  "Instance is down: {{instance_name}}",
  "Your instance {{instance_name}} no longer runs.",
  "You can deploy it again in the console, and our operators have been told.",
  red,
};

constexpr wording recovered_zh{
  "实例已恢复运行",
  "您的实例 {{instance_name}} 已恢复运行",
  "实例已恢复运行: {{instance_name}}",
  "您的实例 {{instance_name}} 已恢复运行。",
  "",
  green,
};

constexpr wording recovered_en{
  "Instance is running again",
  "Your instance {{instance_name}} is running again",
  "Instance is running again: {{instance_name}}",
  "Your instance {{instance_name}} is running again.",
  "",
  green,
};

constexpr wording sleeping_zh{
  "实例已休眠",
  "您的实例 {{instance_name}} 因没有访问已休眠，下次访问时会自动唤醒",
  "实例已休眠: {{instance_name}}",
  "您的实例 {{instance_name}} 因没有访问已休眠，下次访问时会自动唤醒。",
  "",
  blue,
};

constexpr wording sleeping_en{
  "Instance is asleep",
  "Your instance {{instance_name}} sleeps for want of visitors and wakes up "
  "with the next one",
  "Instance is asleep: {{instance_name}}",
  "Your instance {{instance_name}} sleeps for want of visitors and wakes up "
  "with the next one.",
  "",
  blue,
};

constexpr wording degraded_zh{
  "实例部分副本异常",
  "您的实例 {{instance_name}} 的部分副本已崩溃，其余副本仍在运行",
  "实例部分副本异常: {{instance_name}}",
  "您的实例 {{instance_name}} 的部分副本已崩溃，其余副本仍在运行。",
  "",
  red,
};

constexpr wording degraded_en{
  "Instance is degraded",
  "Some replicas of your instance {{instance_name}} have crashed, the others "
  "run",
  "Instance is degraded: {{instance_name}}",
  "Some replicas of your instance {{instance_name}} have crashed, the others "
  "run.",
  "",
  red,
};

constexpr wording redeployed_zh{
  "实例已重新部署",
  "您的实例 {{instance_name}} 已在云端被重新部署",
  "实例已重新部署: {{instance_name}}",
  "您的实例 {{instance_name}} 已在云端被重新部署，并正常运行。",
  "",
  blue,
};

constexpr wording redeployed_en{
  "Instance redeployed",
  "Your instance {{instance_name}} has been redeployed at the provider",
  "Instance redeployed: {{instance_name}}",
  "Your instance {{instance_name}} has been redeployed at the provider, and "
  "runs.",
  "",
  blue,
};

const wording& wording_of_change(std::string_view what, bool zh) noexcept {
  if (what == "sleeping")
    return zh ? sleeping_zh : sleeping_en;
  if (what == "degraded")
    return zh ? degraded_zh : degraded_en;
  return zh ? redeployed_zh : redeployed_en;
}

const wording& wording_of(const notice_facts& facts, language in) noexcept {
  auto zh = in == language::zh_cn;
  switch (facts.kind) {
    case notice_kind::deployment_success:
      return zh ? success_zh : success_en;
    case notice_kind::deployment_failed:
      return zh ? failed_zh : failed_en;
    case notice_kind::payment_received:
      return zh ? payment_zh : payment_en;
    case notice_kind::refund_completed:
      return zh ? refund_zh : refund_en;
    case notice_kind::deployment_cancelled:
      return zh ? cancelled_zh : cancelled_en;
    case notice_kind::instance_terminated:
      return zh ? terminated_zh : terminated_en;
    case notice_kind::instance_down:
      return zh ? down_zh : down_en;
    case notice_kind::instance_recovered:
      return zh ? recovered_zh : recovered_en;
    case notice_kind::instance_changed:
      return wording_of_change(facts.error, zh);
  }
  return success_en;
}

// -- putting it together
// -------------------------------------------------------

/// Only what a browser opens as a page may become a link: `javascript:` and the
/// like stay text.
bool is_web_url(std::string_view url) noexcept {
  auto scheme_end = url.find("://");
  auto scheme = url.substr(0, scheme_end);
  return (scheme == "https" || scheme == "http") && url.size() > scheme_end + 3
         && !crypto::has_control(url)
         && url.find_first_of(" \"<>\\^`{|}") == url.npos;
}

/// One line: control characters would break subjects and rows.
std::string one_line(std::string_view text) {
  auto result = crypto::to_valid_utf8(text);
  for (auto& c : result)
    if (crypto::has_control({&c, 1}))
      c = ' ';
  return result;
}

std::string price_of(const notice_facts& facts) {
  if (facts.amount.empty())
    return {};
  if (facts.currency.empty() || facts.currency == "CNY")
    return "¥" + facts.amount;
  return facts.amount + ' ' + facts.currency;
}

struct row {
  std::string_view label;
  std::string value;
  bool link = false;
};

std::vector<row>
rows_of(const notice_facts& facts, const labels& names, const values& given) {
  std::vector<row> all;
  auto add = [&](std::string_view label, std::string_view name) {
    if (const auto& value = value_of(given, name); !value.empty())
      all.push_back({label, value, false});
  };
  switch (facts.kind) {
    case notice_kind::deployment_success:
    case notice_kind::instance_recovered:
    case notice_kind::instance_changed:
      add(names.instance_name, "instance_name");
      if (const auto& url = value_of(given, "public_url"); !url.empty())
        all.push_back({names.public_url, url, is_web_url(url)});
      add(names.duration, "duration");
      break;
    case notice_kind::deployment_failed:
    case notice_kind::instance_down:
      add(names.instance_name, "instance_name");
      add(names.error, "error");
      break;
    case notice_kind::deployment_cancelled:
    case notice_kind::instance_terminated:
      add(names.instance_name, "instance_name");
      break;
    case notice_kind::payment_received:
    case notice_kind::refund_completed:
      add(names.plan, "plan_title");
      add(names.amount, "price");
      add(names.order_id, "order_id");
      break;
  }
  return all;
}

} // namespace

language language_of(std::string_view locale) noexcept {
  auto lower = [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  auto zh = locale.empty()
            || (locale.size() >= 2 && lower(locale[0]) == 'z'
                && lower(locale[1]) == 'h');
  return zh ? language::zh_cn : language::en;
}

std::string_view to_tag(language value) noexcept {
  return value == language::zh_cn ? "zh-CN" : "en";
}

notice render_notice(const notice_facts& facts, std::string_view locale) {
  auto in = language_of(locale);
  const auto& names = in == language::zh_cn ? labels_zh : labels_en;
  const auto& words = wording_of(facts, in);
  values given{
    {"instance_name", one_line(facts.instance_name)},
    {"public_url", one_line(facts.public_url)},
    {"duration", one_line(facts.duration)},
    {"error", one_line(facts.error)},
    {"plan_title", one_line(facts.plan_title)},
    {"order_id", one_line(facts.order_id)},
    {"price", one_line(price_of(facts))},
  };
  notice result;
  result.title = words.title;
  result.message = render(words.message, given, output::text);
  result.mail_subject = render(words.subject, given, output::text);
  auto rows = rows_of(facts, names, given);
  std::string text_rows;
  std::string html_rows;
  std::string button;
  for (const auto& [label, value, link] : rows) {
    text_rows
      += std::string{label} + std::string{names.separator} + value + '\n';
    html_rows += render(link ? html_link_row : html_row,
                        {{"label", std::string{label}}, {"value", value}},
                        output::html);
    if (link)
      button
        = render(html_button,
                 {{"url", value}, {"label", std::string{names.open_instance}}},
                 output::html);
  }
  values page{
    {"language", std::string{to_tag(in)}},
    {"heading", result.title},
    {"intro", render(words.intro, given, output::text)},
    {"hint", std::string{words.hint}},
    {"footer", std::string{names.footer}},
    {"accent", std::string{words.accent}},
    {"button", std::move(button)},
    {"rows", std::move(text_rows)},
  };
  result.mail_text = render(text_layout, page, output::text);
  page.back().second = std::move(html_rows);
  result.mail_html = render(html_layout, page, output::html);
  return result;
}

} // namespace slipway::mail
