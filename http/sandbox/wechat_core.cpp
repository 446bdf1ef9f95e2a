#include "http/sandbox/wechat_core.hpp"

#include "http/crypto/certificate.hpp"
#include "http/crypto/encoding.hpp"

#include <boost/json.hpp>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace slipway::sandbox::wechat {

namespace {

namespace json_ns = boost::json;

constexpr auto events_kept = std::size_t{64};

constexpr auto buyers_account = "支付用户零钱";

constexpr auto probe_prefix = "WECHATPAY/SIGNTEST/";

std::string seconds_of(timestamp at) {
  return std::to_string(
    std::chrono::floor<std::chrono::seconds>(at).time_since_epoch().count());
}

std::string_view summary_of(std::string_view event) {
  if (event == "REFUND.SUCCESS")
    return "退款成功";
  if (event == "REFUND.ABNORMAL")
    return "退款异常";
  if (event == "REFUND.CLOSED")
    return "退款关闭";
  return "支付成功";
}

/// Somebody else's.
std::string other(std::string id) {
  if (!id.empty())
    id.back() = id.back() == '9' ? '8' : '9';
  return id;
}

} // namespace

// -- keys ---------------------------------------------------------------------

tl::expected<void, std::string> key_ring::add(const wechat_platform_key& key) {
  const auto fail = [&](const std::string& why) {
    return tl::make_unexpected("platform key " + key.serial + ": " + why);
  };
  auto parsed = crypto::rsa_private_key::parse(key.private_key);
  if (!parsed)
    return fail(parsed.error());
  auto made = signer{key.serial, std::move(*parsed), key.certificate};
  const auto is_public_key = key.serial.rfind("PUB_KEY_ID_", 0) == 0;
  if (is_public_key != key.certificate.empty())
    return fail("expected a certificate, or a serial PUB_KEY_ID_… and none");
  if (!is_public_key) {
    const auto facts = crypto::parse_certificates(key.certificate);
    if (!facts)
      return fail(facts.error());
    const auto& first = facts->front();
    if (first.public_key_pem != made.key.public_key().to_pem())
      return fail("the certificate is of another key");
    made.not_before = first.not_before;
    made.not_after = first.not_after;
  }
  if (find(key.serial) != nullptr)
    return fail("there is one of this serial already");
  const auto lock = std::lock_guard{mutex_};
  keys_.push_back(std::make_shared<const signer>(std::move(made)));
  return {};
}

bool key_ring::use(std::string_view serial) {
  const auto lock = std::lock_guard{mutex_};
  for (auto i = std::size_t{0}; i < keys_.size(); ++i)
    if (keys_[i]->serial == serial) {
      current_ = i;
      return true;
    }
  return false;
}

void key_ring::mix(bool on) {
  const auto lock = std::lock_guard{mutex_};
  mix_ = on;
}

signer_ptr key_ring::current() const {
  const auto lock = std::lock_guard{mutex_};
  return keys_.at(current_);
}

signer_ptr key_ring::next() {
  const auto lock = std::lock_guard{mutex_};
  if (!mix_)
    return keys_.at(current_);
  return keys_.at(turn_++ % keys_.size());
}

signer_ptr key_ring::find(std::string_view serial) const {
  const auto lock = std::lock_guard{mutex_};
  for (const auto& each : keys_)
    if (each->serial == serial)
      return each;
  return nullptr;
}

std::vector<signer_ptr> key_ring::all() const {
  const auto lock = std::lock_guard{mutex_};
  return keys_;
}

std::string sign(const signer& with, std::string_view message) {
  const auto raw = with.key.sign(crypto::digest::sha256, message);
  if (!raw) {
    spdlog::error("sandbox wechat: cannot sign: {}", raw.error());
    return "";
  }
  return crypto::base64_encode(*raw);
}

// -- life ---------------------------------------------------------------------

core::core(wechat_simulator_options given, const clock& clock_in,
           client::outbound& outbound)
  : options{std::move(given)}, time{clock_in}, out{outbound},
    random{std::make_shared<dice>(options.seed)},
    books{options.orders_max, *random}, plans{options.delivery,
                                              options.orders_max} {
}

tl::expected<void, std::string> core::prepare() {
  const auto fail = [](const std::string& why) {
    return tl::make_unexpected("sandbox: " + why);
  };
  constexpr auto key_bytes = std::size_t{32};
  if (options.api_v2_key.size() != key_bytes
      || options.api_v3_key.size() != key_bytes)
    return fail("expected api_v2_key and api_v3_key of 32 bytes");
  auto known = crypto::rsa_public_key::parse(options.merchant_certificate);
  if (!known)
    return fail("merchant_certificate: " + known.error());
  merchant.emplace(std::move(*known));
  if (options.platform_keys.empty())
    return fail("expected at least one platform key");
  for (const auto& each : options.platform_keys)
    if (auto added = keys.add(each); !added)
      return fail(added.error());
  mail.emplace(options.retry_ladder, options.notify_timeout, time, out,
               [weak = weak_from_this()](const std::string& no, delivery what) {
                 const auto self = weak.lock();
                 if (self == nullptr)
                   return;
                 const auto lock = std::lock_guard{self->mutex};
                 if (auto* x = self->books.find(no))
                   remember(x->deliveries, std::move(what));
               });
  return {};
}

wechat_trouble core::take_trouble() {
  if (trouble_left == 0)
    return wechat_trouble::none;
  --trouble_left;
  return trouble;
}

// -- what happens -------------------------------------------------------------

ledger::result<void> core::pay(order& x, const delivery_plan* plan) {
  auto done = books.pay(x, time.now());
  if (done)
    tell(x, "TRANSACTION.SUCCESS", "",
         plan == nullptr ? plans.of(x.number) : *plan);
  return done;
}

ledger::result<refund*>
core::give_back(refund asked, minor_units total,
                std::optional<wechat_refund_outcome> end) {
  auto fresh = false;
  auto made = books.give_back(std::move(asked), total, time.now(), fresh);
  if (made && fresh)
    mail->after(options.refund_duration,
                [weak = weak_from_this(), number = (**made).number,
                 last = end.value_or(outcome)] {
                  if (auto self = weak.lock())
                    self->settle(number, last);
                });
  return made;
}

void core::settle(const std::string& refund_no, wechat_refund_outcome end) {
  const auto lock = std::lock_guard{mutex};
  auto* back = books.find_refund(refund_no);
  auto* x = back == nullptr ? nullptr : books.find(back->order_no);
  if (x == nullptr || back->status != refund_status::processing)
    return;
  auto status = refund_status::success;
  auto name = std::string{"REFUND.SUCCESS"};
  if (end == wechat_refund_outcome::abnormal) {
    status = refund_status::abnormal;
    name = "REFUND.ABNORMAL";
  } else if (end == wechat_refund_outcome::closed) {
    status = refund_status::closed;
    name = "REFUND.CLOSED";
  }
  books.settle(*back, status, time.now());
  tell(*x, std::move(name), refund_no, plans.of(x->number));
}

void core::tell(order& x, std::string name, std::string refund_no,
                const delivery_plan& plan) {
  const auto now = time.now();
  auto made = event{"EV-" + beijing_digits(now) + random->digits(9),
                    std::move(name), std::move(refund_no), now};
  mail->post(write(x, made, plan), plan);
  x.events.push_back(std::move(made));
  if (x.events.size() > events_kept)
    x.events.erase(x.events.begin());
}

void core::tell_again(order& x, std::size_t copies) {
  auto plan = plans.of(x.number);
  auto all = x.events;
  if (plan.refund_first)
    std::reverse(all.begin(), all.end());
  plan.lose = false;
  plan.delay = millis{0};
  plan.refund_first = false;
  plan.copies = copies;
  for (const auto& each : all)
    mail->post(write(x, each, plan), plan);
}

// -- callbacks ----------------------------------------------------------------

callback
core::write(const order& x, const event& from, const delivery_plan& plan) {
  auto result
    = x.version == api::v3 ? write_v3(x, from, plan) : write_v2(x, from, plan);
  result.order_no = x.number;
  result.id = from.id;
  result.event = from.name;
  result.url = x.notify_url;
  result.is_refund = !from.refund_no.empty();
  if (const auto* back = books.find_refund(from.refund_no))
    result.url = back->notify_url;
  return result;
}

callback
core::write_v3(const order& x, const event& from, const delivery_plan& plan) {
  const auto money_off = minor_units{plan.wrong_amount ? 1 : 0};
  json_ns::object resource;
  const auto* back = books.find_refund(from.refund_no);
  if (back == nullptr) {
    resource = {
      {"transaction_id", x.transaction_id},
      {"amount",
       {{"payer_total", x.total + money_off},
        {"total", x.total + money_off},
        {"currency", "CNY"},
        {"payer_currency", "CNY"}}},
      {"mchid", options.mch_id},
      {"trade_state", "SUCCESS"},
      {"bank_type", "OTHERS"},
      {"appid", plan.wrong_app ? other(options.app_id) : options.app_id},
      {"trade_state_desc", "支付成功"},
      {"out_trade_no", x.number},
      {"attach", x.attach},
      {"trade_type", x.trade_type},
      {"success_time", beijing_rfc3339(x.paid.value_or(from.created))},
      {"payer", {{"openid", payer_of(x)}}},
    };
  } else {
    resource = {
      {"mchid", plan.wrong_app ? other(options.mch_id) : options.mch_id},
      {"transaction_id", x.transaction_id},
      {"out_trade_no", x.number},
      {"refund_id", back->id},
      {"out_refund_no", back->number},
      {"refund_status", to_string(back->status)},
      {"user_received_account", buyers_account},
      {"amount",
       {{"total", x.total},
        {"refund", back->amount + money_off},
        {"payer_total", x.total},
        {"payer_refund", back->amount + money_off}}},
    };
    if (back->done)
      resource["success_time"] = beijing_rfc3339(*back->done);
  }
  callback result;
  result.write
    = [plain = json_ns::serialize(resource), from, is_refund = back != nullptr,
       // The ring is a part of the core, which outlives the courier.
       ring = &keys, random = random,
       api_v3_key = options.api_v3_key](timestamp now, bool probe) {
        const auto nonce = random->letters(12);
        const auto* type = is_refund ? "refund" : "transaction";
        const auto sealed = encrypt_gcm(api_v3_key, nonce, type, plain);
        if (!sealed)
          spdlog::error("sandbox wechat: {}", sealed.error());
        const auto body = json_ns::serialize(
          json_ns::object{{"id", from.id},
                          {"create_time", beijing_rfc3339(from.created)},
                          {"resource_type", "encrypt-resource"},
                          {"event_type", from.name},
                          {"summary", summary_of(from.name)},
                          {"resource",
                           {{"original_type", type},
                            {"algorithm", "AEAD_AES_256_GCM"},
                            {"ciphertext", sealed.value_or("")},
                            {"associated_data", type},
                            {"nonce", nonce}}}});
        const auto with = ring->next();
        const auto at = seconds_of(now);
        const auto once = random->letters(32);
        // The real probes too carry a signature that is not base64 as a whole.
        const auto signature
          = probe ? probe_prefix + sign(*with, random->letters(32))
                  : sign(*with, at + "\n" + once + "\n" + body + "\n");
        return callback::message{
          {{"Content-Type", "application/json; charset=utf-8"},
           {"User-Agent", "Mozilla/4.0"},
           {"Request-ID", random->letters(32)},
           {"Wechatpay-Nonce", once},
           {"Wechatpay-Serial", with->serial},
           {"Wechatpay-Signature", signature},
           {"Wechatpay-Signature-Type", "WECHATPAY2-SHA256-RSA2048"},
           {"Wechatpay-Timestamp", at}},
          body};
      };
  result.is_understood = [](int status, std::string_view) {
    return status == 200 || status == 204;
  };
  return result;
}

callback
core::write_v2(const order& x, const event& from, const delivery_plan& plan) {
  const auto money_off = minor_units{plan.wrong_amount ? 1 : 0};
  auto all = fields{
    {"return_code", "SUCCESS"},
    {"appid", plan.wrong_app ? other(options.app_id) : options.app_id},
    {"mch_id", options.mch_id},
    {"nonce_str", random->letters(32)},
  };
  const auto* back = books.find_refund(from.refund_no);
  if (back == nullptr) {
    const auto total = std::to_string(x.total + money_off);
    all.insert({
      {"result_code", "SUCCESS"},
      {"openid", payer_of(x)},
      {"is_subscribe", "N"},
      {"trade_type", x.trade_type},
      {"bank_type", "OTHERS"},
      {"total_fee", total},
      {"cash_fee", total},
      {"fee_type", "CNY"},
      {"transaction_id", x.transaction_id},
      {"out_trade_no", x.number},
      {"attach", x.attach},
      {"time_end", beijing_digits(x.paid.value_or(from.created))},
    });
    if (options.v2_names_sign_type)
      all["sign_type"] = to_string(x.sign_type);
    all["sign"] = sign_v2(all, x.sign_type, options.api_v2_key);
  } else {
    const auto total = std::to_string(x.total);
    const auto amount = std::to_string(back->amount + money_off);
    auto info = fields{
      {"transaction_id", x.transaction_id},
      {"out_trade_no", x.number},
      {"refund_id", back->id},
      {"out_refund_no", back->number},
      {"total_fee", total},
      {"settlement_total_fee", total},
      {"refund_fee", amount},
      {"settlement_refund_fee", amount},
      {"refund_status", back->status == refund_status::success    ? "SUCCESS"
                        : back->status == refund_status::abnormal ? "CHANGE"
                                                                  : "REFUNDCLOS"
                                                                    "E"},
      {"refund_recv_accout", buyers_account},
      {"refund_account", "REFUND_SOURCE_RECHARGE_FUNDS"},
      {"refund_request_source",
       back->number.rfind("console", 0) == 0 ? "VENDOR_PLATFORM" : "API"},
    };
    if (back->done)
      info["success_time"] = to_beijing(*back->done);
    const auto sealed
      = encrypt_req_info(options.api_v2_key, write_xml(info, "root"));
    if (!sealed)
      spdlog::error("sandbox wechat: {}", sealed.error());
    all["req_info"] = sealed.value_or("");
  }
  callback result;
  result.write = [all](timestamp, bool probe) {
    auto sent = all;
    if (probe) {
      auto& mark = sent[sent.count("sign") != 0 ? "sign" : "req_info"];
      if (!mark.empty())
        mark.front() = mark.front() == 'A' ? 'B' : 'A';
    }
    return callback::message{
      {{"Content-Type", "text/xml"}, {"User-Agent", "Mozilla/4.0"}},
      write_xml(sent)};
  };
  result.is_understood = [](int status, std::string_view body) {
    const auto said = read_xml(body);
    return status == 200 && said && get(*said, "return_code") == "SUCCESS";
  };
  return result;
}

std::string payer_of(const order& x) {
  return x.openid.empty() ? "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o" : x.openid;
}

std::string h5_path(const order& x) {
  return "/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=" + x.prepay_id
         + "&package=" + x.code;
}

} // namespace slipway::sandbox::wechat
