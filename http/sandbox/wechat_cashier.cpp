#include "http/crypto/form.hpp"
#include "http/sandbox/page.hpp"
#include "http/sandbox/wechat_core.hpp"

#include <utility>

/// The pages on the buyer's phone.
namespace slipway::sandbox::wechat {

namespace {

std::string facts(const order& x) {
  return "<p>" + escape(x.description) + "</p><p class=\"amount\">¥ "
         + format_amount(x.total) + "</p><dl><dt>订单号 Order</dt><dd>"
         + escape(x.number) + "</dd></dl>";
}

std::string way_back(const std::string& redirect) {
  if (!is_web(redirect))
    return "";
  return "<p><a class=\"button\" href=\"" + escape(redirect)
         + "\" rel=\"noreferrer\">返回商家 Back to the merchant</a></p>";
}

http::response failure_page(int status, std::string_view text) {
  return page(status, "无法支付",
              "<div class=\"card narrow\"><h1 class=\"bad\">无法支付 <small>"
              "Payment impossible</small></h1><p>"
                + escape(text) + "</p></div>");
}

http::response no_such_order() {
  return failure_page(404, "订单不存在 (there is no such order)");
}

std::string form(const order& x, const std::string& redirect,
                 std::string_view what, std::string_view label) {
  return "<form method=\"post\" action=\"/cashier\">"
         "<input type=\"hidden\" name=\"order\" value=\""
         + escape(x.number)
         + "\"><input type=\"hidden\" name=\"redirect\" value=\""
         + escape(redirect) + "\"><button name=\"do\" value=\""
         + std::string{what} + "\"" + (what == "pay" ? " class=\"main\"" : "")
         + ">" + std::string{label} + "</button></form>";
}

http::response
cashier_page(const order& x, timestamp now, const std::string& redirect) {
  auto body = std::string{"<div class=\"card narrow\">"};
  const auto late = x.expires && now > *x.expires;
  if (x.paid) {
    body += "<h1 class=\"good\">支付成功 <small>Paid</small></h1>" + facts(x)
            + way_back(redirect);
  } else if (x.state == trade_state::closed || late) {
    body += "<h1 class=\"bad\">订单已关闭 <small>This order is closed"
            "</small></h1>"
            + facts(x) + way_back(redirect);
  } else {
    body += "<h1>微信支付 <small>WeChat Pay</small></h1>" + facts(x);
    if (x.expires)
      body += "<p class=\"dim\">请在 " + to_beijing(*x.expires)
              + "（北京时间）前付款<br>Please pay before "
              + to_rfc3339(*x.expires) + "</p>";
    body += form(x, redirect, "pay", "立即支付 / Pay now")
            + form(x, redirect, "leave", "离开 / Leave");
  }
  return page(200, "微信支付 收银台", body + "</div>");
}

void pay_page(core& all, http::exchange& x) {
  const auto lock = std::lock_guard{all.mutex};
  const auto* found = all.books.find(x.in().param(0));
  x.answer(found == nullptr ? no_such_order()
                            : cashier_page(*found, all.time.now(), ""));
}

/// What the QR code's text means here.
void scan(core& all, http::exchange& x) {
  const auto lock = std::lock_guard{all.mutex};
  const auto* found = all.books.find_code(x.in().query("pr").value_or(""));
  const auto now = all.time.now();
  if (found == nullptr || found->trade_type != "NATIVE")
    x.answer(no_such_order());
  else if (!found->paid && now > found->link_until)
    x.answer(failure_page(410, "二维码已过期 (this code is older than 2 h)"));
  else
    x.answer(cashier_page(*found, now, ""));
}

void h5(core& all, http::exchange& x) {
  const auto lock = std::lock_guard{all.mutex};
  const auto* found
    = all.books.find_prepay(x.in().query("prepay_id").value_or(""));
  const auto now = all.time.now();
  if (found == nullptr || found->trade_type != "MWEB"
      || x.in().query("package") != found->code)
    x.answer(no_such_order());
  else if (!found->paid && now > found->link_until)
    x.answer(
      failure_page(410, "支付链接已过期 (this link is older than 5 min)"));
  else
    x.answer(
      cashier_page(*found, now, x.in().query("redirect_url").value_or("")));
}

void press(core& all, http::exchange& x) {
  const auto form = crypto::decode_form(x.in().body);
  const auto field = [&](std::string_view name) {
    const auto* value = form ? crypto::find_field(*form, name) : nullptr;
    return value == nullptr ? std::string{} : *value;
  };
  const auto lock = std::lock_guard{all.mutex};
  auto* found = all.books.find(field("order"));
  const auto redirect = field("redirect");
  if (found == nullptr) {
    x.answer(no_such_order());
    return;
  }
  if (field("do") == "pay") {
    // Too late, closed, or paid already: the page says so.
    (void)all.pay(*found, nullptr);
    x.answer(cashier_page(*found, all.time.now(), redirect));
    return;
  }
  x.answer(page(200, "已取消",
                "<div class=\"card narrow\"><h1>已离开，未付款 <small>Left, "
                "nothing was paid</small></h1>"
                  + facts(*found) + way_back(redirect) + "</div>"));
}

} // namespace

void add_cashier(http::router& routes, core& all) {
  using http::method;
  const auto to = [&all](void (*run)(core&, http::exchange&)) {
    return [&all, run](std::shared_ptr<http::exchange> x) {
      run(all, *x);
    };
  };
  routes.add(method::get, "/pay/{no}", "pay page", to(pay_page))
    .add(method::get, "/bizpayurl", "scan", to(scan))
    .add(method::get, "/cgi-bin/mmpayweb-bin/checkmweb", "h5", to(h5))
    .add(method::post, "/cashier", "cashier", to(press));
}

} // namespace slipway::sandbox::wechat
