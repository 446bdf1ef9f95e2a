#include "tests/support/gateway_model.hpp"

#include "http/crypto/aead.hpp"
#include "http/crypto/certificate.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/rsa.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <algorithm>
#include <cstdlib>

namespace slipway::test {

namespace {

namespace json = boost::json;

using namespace std::chrono_literals;
using lifecycle::payment_gateway;

constexpr auto app_id = "2021000000000001";
constexpr auto seller_id = "2088000000000001";
constexpr auto wechat_app_id = "wx0000000000000001";
constexpr auto mch_id = "1900000001";
constexpr auto api_v3_key = "0123456789abcdef0123456789abcdef";
constexpr auto merchant_serial = "5F00000000000000000000000000000000000001";
constexpr auto public_key_id = "PUB_KEY_ID_0119000000012026010500000000000001";
constexpr auto alipay_url = "http://127.0.0.1/gateway.do";
constexpr auto wechat_url = "http://127.0.0.1/wechat";
constexpr auto order_path = "/v3/pay/transactions/out-trade-no/";
constexpr auto refund_path = "/v3/refund/domestic/refunds";

// -- keys
// ----------------------------------------------------------------------------

/// 1024 bits sign five times as fast as 2048, and prove the same here.
std::string short_key() {
  auto* key = EVP_RSA_gen(1024);
  auto* out = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* text = nullptr;
  const auto size = BIO_get_mem_data(out, &text);
  auto pem = std::string(text, static_cast<std::size_t>(size));
  BIO_free(out);
  EVP_PKEY_free(key);
  return pem;
}

struct key {
  std::string pem = short_key();
  crypto::rsa_private_key half = *crypto::rsa_private_key::parse(pem);

  [[nodiscard]] std::string sign(std::string_view text) const {
    return crypto::base64_encode(*half.sign(crypto::digest::sha256, text));
  }
};

struct key_ring {
  key alipay;
  key app; ///< The merchant's at Alipay.
  key merchant;
  key platform;
  key stranger; ///< Of somebody who answers for the gateways.
  struct certificate {
    std::string serial;
    std::string pem;
  };
  std::vector<certificate> certificates;

  key_ring() {
    for (const auto* serial : {"4A11111111111111111111111111111111111111",
                               "4B22222222222222222222222222222222222222"})
      certificates.push_back(
        {serial, *crypto::make_certificate(platform.pem, "Tenpay.com", serial,
                                           timestamp{1'700'000'000s},
                                           timestamp{2'000'000'000s})});
  }
};

const key_ring& keys() {
  static const auto ring = key_ring{};
  return ring;
}

// -- forms, JSON, money
// ----------------------------------------------------------------

std::string decode(std::string_view text, bool plus) {
  auto out = std::string{};
  for (std::size_t i = 0; i < text.size(); ++i)
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(
        std::strtol(std::string{text.substr(i + 1, 2)}.c_str(), nullptr, 16));
      i += 2;
    } else {
      out += plus && text[i] == '+' ? ' ' : text[i];
    }
  return out;
}

using fields = std::map<std::string, std::string>;

void read_form(std::string_view text, fields& into) {
  while (!text.empty()) {
    const auto one = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const auto sign = one.find('=');
    into[decode(one.substr(0, sign), true)]
      = sign == std::string_view::npos ? ""
                                       : decode(one.substr(sign + 1), true);
  }
}

std::string write_form(const fields& from) {
  constexpr auto digits = "0123456789ABCDEF";
  auto out = std::string{};
  for (const auto& [name, value] : from) {
    if (!out.empty())
      out += '&';
    out += name + '=';
    for (unsigned char c : value)
      if (std::isalnum(c) != 0)
        out += static_cast<char>(c);
      else if (c == ' ')
        out += '+';
      else
        out += {'%', digits[c >> 4], digits[c & 15]};
  }
  return out;
}

std::string joined(const fields& from, bool empty_ones, bool sign_type) {
  auto out = std::string{};
  for (const auto& [name, value] : from) {
    if (name == "sign" || (!sign_type && name == "sign_type")
        || (!empty_ones && value.empty()))
      continue;
    out += (out.empty() ? "" : "&") + name + "=" + value;
  }
  return out;
}

std::string yuan(minor_units amount) {
  auto cents = std::to_string(amount % 100);
  return std::to_string(amount / 100) + "." + (cents.size() < 2 ? "0" : "")
         + cents;
}

minor_units fen(const std::string& text) {
  const auto dot = text.find('.');
  if (dot == std::string::npos || text.size() != dot + 3)
    return -1;
  return std::atoll(text.substr(0, dot).c_str()) * 100
         + std::atoll(text.substr(dot + 1).c_str());
}

json::object object(std::string_view text) {
  auto error = json::error_code{};
  auto value = json::parse({text.data(), text.size()}, error);
  return !error && value.is_object() ? value.get_object() : json::object{};
}

std::string text(const json::object& of, std::string_view name) {
  const auto* found = of.if_contains({name.data(), name.size()});
  return found != nullptr && found->is_string()
           ? std::string{found->get_string().data(), found->get_string().size()}
           : std::string{};
}

minor_units number(const json::object& of, std::string_view name) {
  const auto* found = of.if_contains({name.data(), name.size()});
  return found != nullptr && found->is_int64() ? found->get_int64() : 0;
}

std::string rfc3339(timestamp at) {
  auto out = to_beijing(at);
  out[10] = 'T';
  return out + "+08:00";
}

std::string seconds(timestamp at) {
  return std::to_string(
    std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count());
}

bool verify(const key& whose, std::string_view content,
            const std::string& sign) {
  const auto raw = crypto::base64_decode(sign);
  return raw
         && whose.half.public_key().verify(crypto::digest::sha256, content,
                                           *raw);
}

// -- requests
// ------------------------------------------------------------------------

gateway_model::call
read_alipay(const std::string& url, const std::string& body) {
  auto out = gateway_model::call{};
  auto all = fields{};
  read_form(std::string_view{url}.substr(url.find('?') + 1), all);
  read_form(body, all);
  if (!verify(keys().app, joined(all, false, true), all["sign"]))
    out.flaw = "isv.invalid-signature";
  if (all["app_id"] != app_id || all["version"] != "1.0"
      || all["charset"] != "utf-8" || all["sign_type"] != "RSA2")
    out.flaw = "isv.invalid-app-id";
  const auto method = all["method"];
  out.operation = method == "alipay.trade.precreate"  ? "create"
                  : method == "alipay.trade.page.pay" ? "page"
                  : method == "alipay.trade.wap.pay"  ? "page"
                  : method == "alipay.trade.query"    ? "query"
                  : method == "alipay.trade.close"    ? "close"
                  : method == "alipay.trade.refund"   ? "refund"
                  : method == "alipay.trade.fastpay.refund.query"
                    ? "refund_query"
                    : "?";
  out.notify_url = all["notify_url"];
  const auto content = object(all["biz_content"]);
  out.order_id = text(content, "out_trade_no");
  out.refund_id = text(content, "out_request_no");
  out.expires_at = parse_beijing(text(content, "time_expire"));
  if (out.operation == "refund")
    out.amount = fen(text(content, "refund_amount"));
  else if (!text(content, "total_amount").empty())
    out.amount = fen(text(content, "total_amount"));
  if (out.order_id.empty() || out.amount < 0)
    out.flaw = "isv.invalid-parameter";
  return out;
}

gateway_model::call read_wechat(const client::http_request& request) {
  auto out = gateway_model::call{};
  out.at = payment_gateway::wechat;
  const auto target = request.url.substr(std::string_view{wechat_url}.size());
  auto proof = std::string{request.headers.empty() ? "" : "?"};
  for (const auto& [name, value] : request.headers) {
    if (name == "Authorization")
      proof = value;
    if (name == "Wechatpay-Serial")
      out.serial = value;
  }
  const auto part = [&proof](const std::string& name) {
    const auto from = proof.find(name + "=\"");
    if (from == std::string::npos)
      return std::string{};
    const auto begin = from + name.size() + 2;
    return proof.substr(begin, proof.find('"', begin) - begin);
  };
  const auto signed_text = request.method + "\n" + target + "\n"
                           + part("timestamp") + "\n" + part("nonce_str") + "\n"
                           + request.body + "\n";
  if (!proof.starts_with("WECHATPAY2-SHA256-RSA2048 ")
      || part("mchid") != mch_id || part("serial_no") != merchant_serial
      || !verify(keys().merchant, signed_text, part("signature")))
    out.flaw = "SIGN_ERROR";
  const auto path = decode(target.substr(0, target.find('?')), false);
  const auto body = object(request.body);
  const auto* amount
    = body.if_contains("amount") != nullptr && body.at("amount").is_object()
        ? &body.at("amount").get_object()
        : nullptr;
  if (path == "/v3/certificates") {
    out.operation = "certificates";
  } else if (path == refund_path && request.method == "POST") {
    out.operation = "refund";
    out.refund_id = text(body, "out_refund_no");
    out.order_id = text(body, "out_trade_no");
    out.transaction_id = text(body, "transaction_id");
    out.notify_url = text(body, "notify_url");
    out.amount = amount != nullptr ? number(*amount, "refund") : 0;
    out.total = amount != nullptr ? number(*amount, "total") : 0;
  } else if (path.starts_with(std::string{refund_path} + "/")) {
    out.operation = "refund_query";
    out.refund_id = path.substr(std::string_view{refund_path}.size() + 1);
  } else if (path.starts_with(order_path)) {
    auto rest = path.substr(std::string_view{order_path}.size());
    const auto close = rest.ends_with("/close");
    out.operation = close ? "close" : "query";
    out.order_id = close ? rest.substr(0, rest.size() - 6) : rest;
    if (close ? text(body, "mchid") != mch_id
              : target.substr(target.find('?') + 1)
                  != std::string{"mchid="} + mch_id)
      out.flaw = "PARAM_ERROR";
  } else if (path.starts_with("/v3/pay/transactions/")) {
    out.operation = "create";
    out.order_id = text(body, "out_trade_no");
    out.notify_url = text(body, "notify_url");
    out.expires_at = parse_rfc3339(text(body, "time_expire"));
    out.amount = amount != nullptr ? number(*amount, "total") : 0;
    if (text(body, "appid") != wechat_app_id || text(body, "mchid") != mch_id)
      out.flaw = "PARAM_ERROR";
  } else {
    out.operation = "?";
  }
  return out;
}

std::string node_name(const std::string& operation) {
  return operation == "create"   ? "alipay_trade_precreate_response"
         : operation == "query"  ? "alipay_trade_query_response"
         : operation == "close"  ? "alipay_trade_close_response"
         : operation == "refund" ? "alipay_trade_refund_response"
                                 : "alipay_trade_fastpay_refund_query_response";
}

client::http_response
alipay_says(const gateway_model::call& what, const json::object& node,
            bool forged = false) {
  const auto content = json::serialize(node);
  const auto& by = forged ? keys().stranger : keys().alipay;
  return {200,
          {{"Content-Type", "text/html;charset=utf-8"}},
          "{\"" + node_name(what.operation) + "\":" + content + ",\"sign\":\""
            + by.sign(content) + "\"}"};
}

json::object alipay_error(const char* code, const std::string& sub_code) {
  return {{"code", code},
          {"msg", "Failed"},
          {"sub_code", sub_code},
          {"sub_msg", "出错"}};
}

json::object alipay_success() {
  return {{"code", "10000"}, {"msg", "Success"}};
}

std::string wechat_error(const std::string& code) {
  return json::serialize(json::object{{"code", code}, {"message", "出错"}});
}

client::http_response without_signature(client::http_response from) {
  std::erase_if(from.headers, [](const auto& x) {
    return x.first.starts_with("Wechatpay-");
  });
  if (const auto sign = from.body.find(",\"sign\":"); sign != std::string::npos)
    from.body = from.body.substr(0, sign) + "}";
  return from;
}

const char* word(gateway_model::refund_end x) {
  switch (x) {
    case gateway_model::refund_end::waiting:
      return "PROCESSING";
    case gateway_model::refund_end::done:
      return "SUCCESS";
    case gateway_model::refund_end::abnormal:
      return "ABNORMAL";
    case gateway_model::refund_end::closed:
    case gateway_model::refund_end::forgotten:
      break;
  }
  return "CLOSED";
}

} // namespace

// -- the outside
// ---------------------------------------------------------------------

gateway_model::gateway_model(std::uint64_t seed, std::function<timestamp()> now)
  : random_{seed}, now_{std::move(now)} {
}

config::settings gateway_model::settings(bool public_key) {
  auto out = config::settings{};
  auto& ali = out.alipay.emplace();
  ali.app_id = app_id;
  ali.seller_id = seller_id;
  ali.gateway_url = alipay_url;
  ali.app_private_key = config::secret{keys().app.pem};
  ali.alipay_public_key = keys().alipay.half.public_key().to_pem();
  auto& wechat = out.wechat.emplace();
  wechat.app_id = wechat_app_id;
  wechat.mch_id = mch_id;
  wechat.gateway_url = wechat_url;
  wechat.api_v3_key = config::secret{api_v3_key};
  wechat.merchant_serial = merchant_serial;
  wechat.merchant_private_key = config::secret{keys().merchant.pem};
  if (public_key)
    wechat.platform_keys.push_back(
      {public_key_id, keys().platform.half.public_key().to_pem()});
  return out;
}

gateway_model::call gateway_model::read(const client::http_request& request) {
  return request.url.starts_with(wechat_url)
           ? read_wechat(request)
           : read_alipay(request.url, request.body);
}

void gateway_model::wire::send(client::http_request request,
                               client::http_callback done) {
  if (severed)
    return;
  // Only money that goes back cannot be taken back.
  if ((may_act || left) && read(request).operation == "refund") {
    if (may_act && !may_act()) {
      done(client::http_failure{client::failure_kind::not_sent,
                                "the lease is lost"});
      return;
    }
    if (left)
      left(request);
  }
  to_.arrive(std::move(request), std::move(done), shared_from_this());
}

std::shared_ptr<gateway_model::wire> gateway_model::connect() {
  current_ = std::make_shared<wire>(*this);
  return current_;
}

void gateway_model::sever() {
  if (current_)
    current_->severed = true;
}

std::optional<timestamp> gateway_model::next() const {
  if (events_.empty())
    return std::nullopt;
  return events_.begin()->first;
}

void gateway_model::run() {
  while (!events_.empty() && events_.begin()->first <= now_()) {
    auto what = std::move(events_.begin()->second);
    events_.erase(events_.begin());
    what();
  }
}

const gateway_model::order* gateway_model::find(const std::string& id) const {
  const auto found = orders.find(id);
  return found == orders.end() ? nullptr : &found->second;
}

void gateway_model::put(order what) {
  watch_expiry(what);
  orders[what.id] = std::move(what);
}

void gateway_model::at(timestamp when, std::function<void()> what) {
  events_.emplace(when, std::move(what));
}

int gateway_model::roll(int sides) {
  return static_cast<int>(random_() % static_cast<std::uint64_t>(sides));
}

millis gateway_model::some(millis most) {
  return millis{static_cast<std::int64_t>(
    random_() % static_cast<std::uint64_t>(most.count() + 1))};
}

std::string gateway_model::fresh(std::string_view prefix) {
  return std::string{prefix} + std::to_string(1'000'000 + ++last_id_);
}

void gateway_model::complain(std::string what) {
  complaints.push_back(std::move(what));
}

// -- the way here and back
// -----------------------------------------------------------

/// A request has left: it takes effect later, and the answer comes later still,
/// or one of the two does not happen.
void gateway_model::arrive(client::http_request request,
                           client::http_callback done,
                           std::shared_ptr<wire> over) {
  using client::failure_kind;
  const auto what = read(request);
  ++calls[what.operation];
  const auto began = now_();
  const auto timeout = began + request.timeout;
  auto dice = roll(100);
  const auto hit = [&dice](int percent) {
    dice -= percent;
    return dice < 0;
  };
  const auto tell = [this, over, done](reply with) {
    if (over->severed)
      return;
    if (!with.denied.empty())
      trails[with.denied].may_leave = true;
    done(std::move(with.response));
  };
  const auto fail = [this, over, done](timestamp when, failure_kind kind) {
    at(when, [over, done, kind] {
      if (!over->severed)
        done(client::http_failure{kind, "the wire broke"});
    });
  };
  const auto say = [this, tell, began](client::http_response response) {
    at(began + 1ms + some(faults.lag), [tell, response = std::move(response)] {
      tell({response, {}});
    });
  };
  if (hit(faults.not_sent)) {
    fail(began + 1ms + some(faults.lag), failure_kind::not_sent);
    return;
  }
  if (what.operation == "refund") {
    auto& trail = trails[what.refund_id];
    if (!trail.may_leave)
      complain("the refund " + what.refund_id
               + " leaves again, and nobody has said that it is not there");
    trail.may_leave = false;
    ++trail.left;
  }
  if (hit(faults.lost_before)) {
    fail(timeout, failure_kind::in_doubt);
    return;
  }
  if (hit(faults.broken_before)) {
    say({502, {{"Content-Type", "text/html"}}, "<html>502</html>"});
    return;
  }
  if (hit(faults.trouble_before)) {
    say(trouble(what, false));
    return;
  }
  if (hit(faults.limited)) {
    say(trouble(what, true));
    return;
  }
  if (hit(faults.forged)) {
    say(lie(what));
    return;
  }
  enum { whole, lost, broken, troubled, bare } end = whole;
  if (hit(faults.lost_after))
    end = lost;
  else if (hit(faults.broken_after))
    end = broken;
  else if (hit(faults.trouble_after))
    end = troubled;
  else if (hit(faults.bare))
    end = bare;
  const auto slow = hit(faults.slow);
  const auto effect_at
    = began + 1ms + some(slow ? faults.slow_max : faults.lag / 2);
  const auto reply_at = effect_at + some(slow ? 10s : faults.lag / 2);
  at(effect_at, [this, what, end, reply_at, timeout, tell, fail] {
    auto made = act(what);
    if (end == lost || reply_at >= timeout) {
      fail(std::max(timeout, now_()), failure_kind::in_doubt);
      return;
    }
    if (end == broken)
      made = {{502, {}, "<html>502</html>"}, {}};
    else if (end == troubled)
      made = {trouble(what, false), {}};
    else if (end == bare)
      made = {without_signature(std::move(made.response)), {}};
    at(reply_at, [tell, made = std::move(made)] {
      tell(made);
    });
  });
}

client::http_response
gateway_model::answer(const client::http_request& request) {
  const auto what = read(request);
  ++calls[what.operation];
  return act(what).response;
}

client::http_response
gateway_model::forge(const client::http_request& request) {
  return lie(read(request));
}

// -- what they do
// ----------------------------------------------------------------------

gateway_model::reply gateway_model::act(const call& what) {
  if (!what.flaw.empty() || what.operation == "?")
    complain("a request that no gateway takes: " + what.operation + " "
             + what.flaw);
  return what.at == gateway::alipay ? act_alipay(what) : act_wechat(what);
}

gateway_model::refund*
gateway_model::find_refund(const std::string& id, order** of) {
  for (auto& [order_id, x] : orders)
    for (auto& back : x.refunds)
      if (back.id == id) {
        *of = &x;
        return &back;
      }
  return nullptr;
}

/// Takes a refund, or finds the one that has this number.
gateway_model::refund*
gateway_model::take_refund(const call& what, order& of, bool& refused) {
  ++trails[what.refund_id].arrived;
  for (auto& x : of.refunds)
    if (x.id == what.refund_id) {
      if (x.amount != what.amount)
        complain("the refund " + x.id + " comes again with another amount");
      if (x.is != refund_end::forgotten)
        return &x;
    }
  if (roll(100) < faults.refused) {
    refused = true;
    return nullptr;
  }
  auto open = minor_units{0};
  for (const auto& x : of.refunds)
    if (x.id != what.refund_id
        && (x.is == refund_end::waiting || x.is == refund_end::abnormal))
      open += x.amount;
  if (of.is != trade_status::paid || what.amount <= 0
      || what.amount > of.paid - of.refunded - open) {
    complain("the refund " + what.refund_id + " is of money that is not there");
    refused = true;
    return nullptr;
  }
  auto found
    = std::find_if(of.refunds.begin(), of.refunds.end(), [&](const refund& x) {
        return x.id == what.refund_id;
      });
  if (found == of.refunds.end())
    found = of.refunds.insert(
      of.refunds.end(),
      {what.refund_id, what.amount, refund_end::waiting, what.notify_url});
  found->is = refund_end::waiting;
  auto dice = roll(100);
  const auto hit = [&dice](int percent) {
    dice -= percent;
    return dice < 0;
  };
  const auto wechat = of.at == gateway::wechat;
  const auto end = hit(faults.abnormal) && wechat ? refund_end::abnormal
                   : !hit(faults.given_up)        ? refund_end::done
                   : wechat                       ? refund_end::closed
                                                  : refund_end::forgotten;
  if (end == refund_end::done && !hit(faults.later)) {
    end_refund(what.refund_id, end);
  } else {
    at(now_() + 1s + some(faults.later_max), [this, id = what.refund_id, end] {
      end_refund(id, end);
    });
  }
  auto* holder = &of;
  return find_refund(what.refund_id, &holder);
}

void gateway_model::end_refund(const std::string& id, refund_end how) {
  auto* of = static_cast<order*>(nullptr);
  auto* x = find_refund(id, &of);
  if (x->is == refund_end::done)
    return;
  x->is = how;
  const auto wechat = of->at == gateway::wechat;
  if (how == refund_end::done) {
    of->refunded += x->amount;
    if (of->refunded > of->paid)
      complain("more than was paid went back on " + of->id);
    announce(*of,
             wechat                     ? "REFUND.SUCCESS"
             : of->refunded == of->paid ? "TRADE_CLOSED"
                                        : "TRADE_SUCCESS",
             id);
  } else if (wechat) {
    announce(*of, std::string{"REFUND."} + word(how), id);
  }
}

gateway_model::reply gateway_model::act_alipay(const call& what) {
  const auto found = orders.find(what.order_id);
  auto* known = found == orders.end() ? nullptr : &found->second;
  const auto about = [&](json::object node) {
    node["out_trade_no"] = what.order_id;
    if (known != nullptr)
      node["trade_no"] = known->transaction_id;
    return node;
  };
  const auto no = [&](const char* sub_code) {
    return reply{alipay_says(what, about(alipay_error("40004", sub_code))), {}};
  };
  const auto yes = [&](json::object node) {
    for (auto& [name, value] : alipay_success())
      node[name] = value;
    return reply{alipay_says(what, about(std::move(node))), {}};
  };
  if (!what.flaw.empty())
    return {alipay_says(what, alipay_error("40002", what.flaw)), {}};
  if (what.operation == "create") {
    if (known != nullptr && known->is != trade_status::unpaid)
      return no("ACQ.TRADE_HAS_CLOSE");
    // Until somebody scans it there is no trade.
    const auto code = "https://qr.alipay.com/" + what.order_id;
    auto& behind = codes_[code];
    behind.id = what.order_id;
    behind.amount = what.amount;
    behind.expires_at = what.expires_at.value_or(now_() + 2h);
    behind.notify_url = what.notify_url;
    known = nullptr;
    return yes({{"qr_code", code}});
  }
  if (known == nullptr) {
    if (what.operation == "refund_query")
      return {alipay_says(what, alipay_success()), what.refund_id};
    auto out = no("ACQ.TRADE_NOT_EXIST");
    if (what.operation == "refund")
      out.denied = what.refund_id;
    return out;
  }
  if (what.operation == "query") {
    auto node = json::object{{"total_amount", yuan(known->amount)},
                             {"buyer_user_id", "2088102000000001"}};
    const auto all_back = known->paid > 0 && known->refunded == known->paid;
    node["trade_status"] = known->is == trade_status::unpaid ? "WAIT_BUYER_PAY"
                           : known->is == trade_status::closed || all_back
                             ? "TRADE_CLOSED"
                             : "TRADE_SUCCESS";
    if (known->is == trade_status::paid)
      node["send_pay_date"] = to_beijing(known->paid_at);
    return yes(std::move(node));
  }
  if (what.operation == "close") {
    if (known->is == trade_status::paid)
      return no(known->refunded == known->paid ? "ACQ.TRADE_STATUS_ERROR"
                                               : "ACQ.TRADE_HAS_SUCCESS");
    if (known->is == trade_status::closed)
      return no("ACQ.TRADE_HAS_CLOSE");
    known->is = trade_status::closed;
    return yes({});
  }
  if (what.operation == "refund") {
    auto refused = false;
    const auto before = known->refunded;
    auto* back = take_refund(what, *known, refused);
    if (refused || back == nullptr) {
      auto out = no("ACQ.SELLER_BALANCE_NOT_ENOUGH");
      out.denied = what.refund_id;
      return out;
    }
    return yes({{"fund_change", known->refunded > before ? "Y" : "N"},
                {"refund_fee", yuan(known->refunded)}});
  }
  // refund_query
  for (const auto& x : known->refunds)
    if (x.id == what.refund_id && x.is != refund_end::forgotten
        && (x.is == refund_end::done || roll(3) > 0)) {
      auto node = json::object{{"out_request_no", what.refund_id},
                               {"total_amount", yuan(known->amount)},
                               {"refund_amount", yuan(x.amount)}};
      node["refund_status"]
        = x.is == refund_end::done ? "REFUND_SUCCESS" : "REFUND_PROCESSING";
      return yes(std::move(node));
    }
  // Also said while it is being worked on.
  return {alipay_says(what, alipay_success()), what.refund_id};
}

client::http_response
gateway_model::wechat_says(const call& what, int status,
                           const std::string& body, bool forged) {
  const auto at = seconds(now_());
  const auto nonce = fresh("nonce");
  const auto serial = !what.serial.empty()
                        ? what.serial
                        : keys().certificates[certificate].serial;
  const auto& by = forged ? keys().stranger : keys().platform;
  return {
    status,
    {{"Content-Type", "application/json"},
     {"Wechatpay-Timestamp", at},
     {"Wechatpay-Nonce", nonce},
     {"Wechatpay-Serial", serial},
     {"Wechatpay-Signature", by.sign(at + "\n" + nonce + "\n" + body + "\n")}},
    body};
}

client::http_response gateway_model::certificates(const call& what) {
  auto data = json::array{};
  for (std::size_t i = 0; i <= certificate; ++i) {
    const auto& x = keys().certificates[i];
    const auto nonce = std::string{"0123456789a"} + std::to_string(i);
    data.push_back(json::object{
      {"serial_no", x.serial},
      {"effective_time", "2023-11-15T06:13:20+08:00"},
      {"expire_time", "2033-05-18T11:33:20+08:00"},
      {"encrypt_certificate",
       json::object{
         {"algorithm", "AEAD_AES_256_GCM"},
         {"nonce", nonce},
         {"associated_data", "certificate"},
         {"ciphertext", crypto::base64_encode(*crypto::seal_aes_256_gcm(
                          api_v3_key, nonce, "certificate", x.pem))}}}});
  }
  return wechat_says(what, 200, json::serialize(json::object{{"data", data}}));
}

gateway_model::reply gateway_model::act_wechat(const call& what) {
  const auto no = [&](int status, const std::string& code) {
    return reply{wechat_says(what, status, wechat_error(code)), {}};
  };
  const auto yes = [&](const json::object& body) {
    return reply{wechat_says(what, 200, json::serialize(body)), {}};
  };
  if (!what.flaw.empty())
    return no(what.flaw == "SIGN_ERROR" ? 401 : 400, what.flaw);
  if (what.operation == "certificates")
    return {certificates(what), {}};
  const auto found = orders.find(what.order_id);
  auto* known = found == orders.end() ? nullptr : &found->second;
  if (what.operation == "create") {
    if (known == nullptr) {
      auto fresh_one = order{};
      fresh_one.at = gateway::wechat;
      fresh_one.id = what.order_id;
      fresh_one.amount = what.amount;
      fresh_one.expires_at = what.expires_at.value_or(now_() + 24h);
      fresh_one.notify_url = what.notify_url;
      put(std::move(fresh_one));
      known = &orders[what.order_id];
    }
    if (known->is == trade_status::paid)
      return no(400, "ORDERPAID");
    if (known->is == trade_status::closed)
      return no(400, "ORDER_CLOSED");
    if (known->amount != what.amount)
      complain("the order " + known->id + " comes again with another amount");
    return yes({{"code_url", "weixin://wxpay/bizpayurl?pr=" + what.order_id}});
  }
  const auto refund_object = [](const order& of, const refund& x) {
    auto body = json::object{{"refund_id", "50" + x.id},
                             {"out_refund_no", x.id},
                             {"transaction_id", of.transaction_id},
                             {"out_trade_no", of.id},
                             {"status", word(x.is)},
                             {"amount", json::object{{"total", of.amount},
                                                     {"refund", x.amount},
                                                     {"currency", "CNY"}}}};
    return body;
  };
  if (what.operation == "refund_query") {
    auto* of = static_cast<order*>(nullptr);
    const auto* x = find_refund(what.refund_id, &of);
    if (x == nullptr) {
      auto out = no(404, "RESOURCE_NOT_EXISTS");
      out.denied = what.refund_id;
      return out;
    }
    auto out = yes(refund_object(*of, *x));
    if (x->is == refund_end::abnormal)
      out.denied = what.refund_id;
    return out;
  }
  if (what.operation == "refund") {
    for (auto& [id, x] : orders)
      if (x.at == gateway::wechat
          && (id == what.order_id
              || (!what.transaction_id.empty()
                  && x.transaction_id == what.transaction_id)))
        known = &x;
    auto refused = known == nullptr;
    const auto* x
      = known == nullptr ? nullptr : take_refund(what, *known, refused);
    if (x == nullptr) {
      auto out = no(403, "NOT_ENOUGH");
      out.denied = what.refund_id;
      return out;
    }
    if (what.total != known->amount)
      complain("a refund names another total");
    auto out = yes(refund_object(*known, *x));
    if (x->is == refund_end::abnormal)
      out.denied = what.refund_id;
    return out;
  }
  if (known == nullptr)
    return no(404, "ORDER_NOT_EXIST");
  if (what.operation == "close") {
    if (known->is == trade_status::paid)
      return no(400, "ORDERPAID");
    if (known->is == trade_status::closed)
      return no(400, "ORDER_CLOSED");
    known->is = trade_status::closed;
    return {wechat_says(what, 204, ""), {}};
  }
  auto body = json::object{
    {"appid", wechat_app_id},
    {"mchid", mch_id},
    {"out_trade_no", known->id},
    {"trade_state", known->is == trade_status::unpaid   ? "NOTPAY"
                    : known->is == trade_status::closed ? "CLOSED"
                    : known->refunds.empty()            ? "SUCCESS"
                                                        : "REFUND"},
    {"amount", json::object{{"total", known->amount}, {"currency", "CNY"}}}};
  if (known->is == trade_status::paid) {
    body["transaction_id"] = known->transaction_id;
    body["success_time"] = rfc3339(known->paid_at);
  }
  return yes(body);
}

/// The gateway's own error, signed by it.
client::http_response gateway_model::trouble(const call& what, bool limit) {
  if (what.at == gateway::alipay)
    return alipay_says(
      what, limit          ? alipay_error("40005", "isv.app-call-limited")
            : roll(2) == 0 ? alipay_error("20000", "isp.unknow-error")
                           : alipay_error("40004", "ACQ.SYSTEM_ERROR"));
  return wechat_says(
    what, limit ? 429 : 500,
    wechat_error(limit ? "FREQUENCY_LIMITED" : "SYSTEM_ERROR"));
}

/// What pays somebody who sits in between and has no key.
client::http_response gateway_model::lie(const call& what) {
  if (what.at == gateway::alipay) {
    auto node = alipay_success();
    node["out_trade_no"] = what.order_id;
    node["trade_no"] = "forged-" + what.order_id;
    node["trade_status"] = "TRADE_SUCCESS";
    node["total_amount"] = "99.00";
    node["send_pay_date"] = to_beijing(now_());
    node["qr_code"] = "https://qr.alipay.com/forged";
    node["fund_change"] = "Y";
    node["refund_fee"] = "99.00";
    if (!what.refund_id.empty()) {
      node["out_request_no"] = what.refund_id;
      node["refund_status"] = "REFUND_SUCCESS";
    }
    return alipay_says(what, node, true);
  }
  const auto amount
    = json::object{{"total", 9'900}, {"refund", 9'900}, {"currency", "CNY"}};
  return wechat_says(
    what, 200,
    json::serialize(json::object{
      {"appid", wechat_app_id},
      {"mchid", mch_id},
      {"out_trade_no", what.order_id},
      {"transaction_id", what.transaction_id.empty() ? "forged-" + what.order_id
                                                     : what.transaction_id},
      {"trade_state", "SUCCESS"},
      {"success_time", rfc3339(now_())},
      {"out_refund_no", what.refund_id},
      {"status", "SUCCESS"},
      {"code_url", "weixin://wxpay/bizpayurl?pr=forged"},
      {"data", json::array{}},
      {"amount", amount}}),
    true);
}

// -- people
// ----------------------------------------------------------------------------

std::optional<std::string> gateway_model::present(std::string_view code) {
  constexpr auto wechat_code = std::string_view{"weixin://wxpay/bizpayurl?pr="};
  auto id = std::string{};
  if (code.starts_with(wechat_code)) {
    id = code.substr(wechat_code.size());
  } else if (const auto behind = codes_.find(code); behind != codes_.end()) {
    id = behind->second.id;
    if (find(id) == nullptr) {
      auto made = behind->second;
      made.transaction_id = fresh("ali");
      put(std::move(made));
    }
  } else if (code.starts_with(alipay_url)) {
    const auto what = read_alipay(std::string{code}, {});
    if (!what.flaw.empty() || what.operation != "page") {
      complain("a link that Alipay does not take: " + what.flaw);
      return std::nullopt;
    }
    id = what.order_id;
    if (find(id) == nullptr) {
      auto made = order{};
      made.id = id;
      made.amount = what.amount;
      made.expires_at = what.expires_at.value_or(now_() + 2h);
      made.notify_url = what.notify_url;
      made.transaction_id = fresh("ali");
      put(std::move(made));
    }
  }
  const auto* known = find(id);
  if (known == nullptr || known->is != trade_status::unpaid)
    return std::nullopt;
  return id;
}

bool gateway_model::pay(const std::string& order_id) {
  const auto found = orders.find(order_id);
  if (found == orders.end() || found->second.is != trade_status::unpaid)
    return false;
  auto& x = found->second;
  x.is = trade_status::paid;
  x.paid = x.amount;
  x.paid_at = now_();
  if (x.transaction_id.empty())
    x.transaction_id = fresh("42");
  announce(x,
           x.at == gateway::alipay ? "TRADE_SUCCESS" : "TRANSACTION.SUCCESS");
  return true;
}

void gateway_model::watch_expiry(const order& about) {
  if (about.is != trade_status::unpaid || roll(100) >= faults.closes_expired)
    return;
  at(std::max(about.expires_at, now_()) + some(30s), [this, id = about.id] {
    auto& x = orders[id];
    if (x.is != trade_status::unpaid)
      return;
    x.is = trade_status::closed;
    if (x.at == gateway::alipay)
      announce(x, "TRADE_CLOSED");
  });
}

void gateway_model::settle_abnormal() {
  auto stuck = std::vector<std::string>{};
  for (const auto& [id, x] : orders)
    for (const auto& back : x.refunds)
      if (back.is == refund_end::abnormal)
        stuck.push_back(back.id);
  for (const auto& id : stuck)
    end_refund(id, refund_end::done);
}

void gateway_model::announce(const order& about, const std::string& word,
                             const std::string& refund_id) {
  if (!on_event)
    return;
  auto what = event{};
  what.at = about.at;
  what.id = fresh("event");
  what.word = word;
  what.order_id = about.id;
  what.refund_id = refund_id;
  what.refunded = about.refunded;
  what.happened_at = now_();
  on_event(what);
}

void gateway_model::acknowledged(const event& what) {
  if (what.word == "REFUND.ABNORMAL")
    trails[what.refund_id].may_leave = true;
}

gateway_model::message gateway_model::render(const event& what) {
  const auto& about = orders.at(what.order_id);
  auto out = message{};
  if (what.at == gateway::alipay) {
    auto form = fields{{"notify_time", to_beijing(now_())},
                       {"notify_type", "trade_status_sync"},
                       {"notify_id", what.id},
                       {"app_id", app_id},
                       {"auth_app_id", app_id},
                       {"charset", "utf-8"},
                       {"version", "1.0"},
                       {"sign_type", "RSA2"},
                       {"seller_id", seller_id},
                       {"out_trade_no", about.id},
                       {"trade_no", about.transaction_id},
                       {"trade_status", what.word},
                       {"total_amount", yuan(about.amount)},
                       {"subject", "月付 & more"},
                       {"body", ""},
                       {"gmt_create", to_beijing(about.paid_at)}};
    if (about.is == trade_status::paid)
      form["gmt_payment"] = to_beijing(about.paid_at);
    if (!what.refund_id.empty()) {
      form["refund_fee"] = yuan(what.refunded);
      form["gmt_refund"] = to_beijing(what.happened_at) + ".123";
      form["out_biz_no"] = what.refund_id;
    }
    form["sign"] = keys().alipay.sign(joined(form, true, false));
    out.headers.emplace_back("Content-Type",
                             "application/x-www-form-urlencoded");
    out.body = write_form(form);
    return out;
  }
  out.refund = !what.refund_id.empty();
  auto inner = json::object{
    {"mchid", mch_id},
    {"out_trade_no", about.id},
    {"transaction_id", about.transaction_id},
    {"success_time", rfc3339(out.refund ? what.happened_at : about.paid_at)}};
  auto amount = json::object{{"total", about.amount}, {"currency", "CNY"}};
  if (out.refund) {
    for (const auto& x : about.refunds)
      if (x.id == what.refund_id) {
        inner["out_refund_no"] = x.id;
        inner["refund_id"] = "50" + x.id;
        inner["refund_status"] = what.word.substr(what.word.find('.') + 1);
        amount["refund"] = x.amount;
      }
  } else {
    inner["appid"] = wechat_app_id;
    inner["trade_state"] = "SUCCESS";
  }
  inner["amount"] = std::move(amount);
  const auto nonce = std::string{"abcdefghijkl"};
  const auto sealed = crypto::seal_aes_256_gcm(api_v3_key, nonce, "transaction",
                                               json::serialize(inner));
  const auto body = json::serialize(json::object{
    {"id", what.id},
    {"create_time", rfc3339(what.happened_at)},
    {"resource_type", "encrypt-resource"},
    {"event_type", what.word},
    {"resource",
     json::object{{"algorithm", "AEAD_AES_256_GCM"},
                  {"nonce", nonce},
                  {"associated_data", "transaction"},
                  {"original_type", out.refund ? "refund" : "transaction"},
                  {"ciphertext", crypto::base64_encode(*sealed)}}}});
  auto about_keys = call{};
  if (public_key)
    about_keys.serial = public_key_id;
  auto made = wechat_says(about_keys, 200, body);
  out.headers = std::move(made.headers);
  out.body = std::move(made.body);
  return out;
}

} // namespace slipway::test
