#define CAF_SUITE gateway.alipay

#include "tests/unit/gateway/alipay_world.hpp"

#include <algorithm>
#include <random>

using namespace alipay_world;

namespace {

/// The words of the vectors for what a reading comes to, given the order. The
/// comparison with the order is the subscription's affair; here it stands for
/// it.
std::pair<std::string, std::string>
decision_of(const reading& got, const json::object& order) {
  auto reject = [](reject_reason reason) {
    return std::pair{std::string{"reject"}, std::string{to_string(reason)}};
  };
  if (got.refused)
    return reject(got.refused->reason);
  if (got.what.is == meaning::nothing)
    return {"ack_noop", ""};
  if (text(order, "out_trade_no") != got.what.order_id)
    return reject(reject_reason::order_not_found);
  if (parse_amount(text(order, "total_amount")) != got.what.amount)
    return reject(reject_reason::amount_mismatch);
  switch (got.what.is) {
    case meaning::payment:
      return {text(order, "status") == "WAIT_BUYER_PAY" ? "credit"
                                                        : "ack_duplicate",
              ""};
    case meaning::closed:
      return {"close", ""};
    case meaning::refund:
      return {"record_refund", ""};
    default:
      return {std::string{to_string(got.what.is)}, ""};
  }
}

struct notifications : fixture {
  [[nodiscard]] params payment() const {
    return {
      {"app_id", settings.app_id},
      {"seller_id", settings.seller_id},
      {"out_trade_no", "S1"},
      {"trade_no", "T1"},
      {"trade_status", "TRADE_SUCCESS"},
      {"total_amount", "99.00"},
      {"notify_type", "trade_status_sync"},
      {"notify_id", "N1"},
      {"notify_time", "2026-11-23 16:00:05"},
      {"gmt_payment", "2026-11-23 16:00:00"},
      {"subject", "专业版 & more"},
    };
  }

  /// Signs as the gateway does and encodes as a form.
  [[nodiscard]] std::string
  signed_body(const params& all,
              crypto::digest digest = crypto::digest::sha256) const {
    crypto::form_fields fields(all.begin(), all.end());
    fields.emplace_back("sign_type", "RSA2");
    fields.emplace_back("sign", sign(joined(all), digest));
    return crypto::encode_form(fields);
  }

  [[nodiscard]] reading read(const params& all) const {
    auto result = codec().read_notification(signed_body(all));
    CAF_CHECK(result.signature == signature_verdict::valid);
    CAF_CHECK(is_authentic(result));
    return result;
  }

  /// Why a payment with that field changed is refused, or what it means.
  [[nodiscard]] std::string
  reason_for(const std::string& name, const std::string& value) const {
    auto all = payment();
    all[name] = value;
    auto result = read(all);
    if (!result.refused)
      return std::string{to_string(result.what.is)};
    CAF_CHECK(!result.refused->sentence.empty());
    CAF_CHECK(result.what.is == meaning::nothing);
    return std::string{to_string(result.refused->reason)};
  }
};

} // namespace

// -- vectors
// -------------------------------------------------------------------

CAF_TEST(every recorded notification is judged as expected) {
  auto all = vectors_of("notify");
  CAF_CHECK(all.size() >= 28);
  for (const auto& vector : all) {
    CAF_MESSAGE(text(vector, "id"));
    auto codec = alipay::make(settings_of(vector));
    if (!codec)
      CAF_FAIL(codec.error());
    const auto& expect = vector.at("expect").as_object();
    auto got = codec->read_notification(body_of(vector));
    CAF_CHECK_EQUAL(to_string(got.signature), text(expect, "signature"));
    auto [decision, reason] = decision_of(got, vector.at("order").as_object());
    CAF_CHECK_EQUAL(decision, text(expect, "decision"));
    if (decision == "reject")
      CAF_CHECK_EQUAL(reason, text(expect, "reason"));
    CAF_CHECK_EQUAL(got.refused.has_value()
                      && got.signature != signature_verdict::valid,
                    !is_authentic(got));
  }
}

CAF_TEST(recorded links of the official SDK verify and look like ours) {
  auto all = vectors_of("request");
  CAF_CHECK(!all.empty());
  for (const auto& vector : all) {
    CAF_MESSAGE(text(vector, "id"));
    const auto& given = vector.at("config").as_object();
    auto recorded
      = checked(query_of(text(vector.at("request").as_object(), "url")),
                text(given, "app_public_key_pem"));
    auto content = parse_object(recorded["biz_content"]);
    CAF_REQUIRE(content.has_value());
    pay_order order;
    order.method = recorded["method"] == "alipay.trade.page.pay"
                     ? lifecycle::payment_method::page
                     : lifecycle::payment_method::wap;
    order.order_id = text(*content, "out_trade_no");
    order.amount = *parse_amount(text(*content, "total_amount"));
    order.subject = text(*content, "subject");
    order.notify_url = recorded["notify_url"];
    order.return_url = recorded["return_url"];
    order.created_at = *parse_beijing(recorded["timestamp"]);
    order.expires_at = *parse_beijing(text(*content, "time_expire"));
    fixture f;
    f.settings.app_id = text(given, "app_id");
    auto ours = checked(query_of(f.codec().link(order)->pay_url),
                        f.app_pair.public_pem);
    // The SDK advertises itself and leaves out format, whose only value is
    // JSON.
    recorded.erase("alipay_sdk");
    recorded.erase("sign");
    ours.erase("format");
    ours.erase("sign");
    CAF_CHECK(recorded == ours);
  }
}

CAF_TEST(certificate numbers are those of the official SDKs) {
  auto all = vectors_of("computation");
  CAF_CHECK(!all.empty());
  for (const auto& vector : all) {
    CAF_MESSAGE(text(vector, "id"));
    const auto& given = vector.at("config").as_object();
    const auto& expect = vector.at("expect").as_object();
    CAF_CHECK(alipay_cert_sn(text(given, "app_cert_pem"))
              == text(expect, "app_cert_sn"));
    CAF_CHECK(alipay_cert_sn(text(given, "alipay_cert_pem"))
              == text(expect, "alipay_cert_sn"));
    CAF_CHECK(alipay_root_cert_sn(text(given, "alipay_root_cert_pem"))
              == text(expect, "alipay_root_cert_sn"));
    CAF_CHECK(!alipay_cert_sn("nothing"));
    CAF_CHECK(!alipay_root_cert_sn("nothing"));
    // In certificate mode both numbers go into the link.
    fixture f;
    f.settings.alipay_public_key.clear();
    f.settings.alipay_cert = text(given, "alipay_cert_pem");
    f.settings.app_cert = text(given, "app_cert_pem");
    f.settings.root_cert = text(given, "alipay_root_cert_pem");
    CAF_CHECK(f.codec().alipay_cert_sn() == text(expect, "alipay_cert_sn"));
    auto link = checked(query_of(f.codec().link(an_order())->pay_url),
                        f.app_pair.public_pem);
    CAF_CHECK_EQUAL(link["app_cert_sn"], text(expect, "app_cert_sn"));
    CAF_CHECK_EQUAL(link["alipay_root_cert_sn"],
                    text(expect, "alipay_root_cert_sn"));
  }
}

CAF_TEST_FIXTURE_SCOPE(alipay_tests, notifications)

CAF_TEST(wrong settings are told apart) {
  auto wrong = [this](auto change) {
    auto changed = settings;
    change(changed);
    auto made = alipay::make(changed);
    return !made && !made.error().empty();
  };
  CAF_CHECK(!wrong([](auto&) {}));
  CAF_CHECK(wrong([](auto& s) {
    s.app_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.seller_id.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.sign_type = "MD5";
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.alipay_public_key.clear();
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.alipay_public_key = "x";
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.app_private_key = config::secret{"x"};
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.app_cert = "x";
  }));
  CAF_CHECK(wrong([](auto& s) {
    s.app_cert = "x";
    s.root_cert = "x";
  }));
  // A key is no certificate: it has no number.
  CAF_CHECK(wrong([](auto& s) {
    s.alipay_cert = s.alipay_public_key;
  }));
}

// -- notifications
// -------------------------------------------------------------

CAF_TEST(a payment brings its data along) {
  auto result = read(payment());
  CAF_CHECK(!result.refused);
  const auto& what = result.what;
  CAF_CHECK(what.gateway == lifecycle::payment_gateway::alipay);
  CAF_CHECK(what.is == meaning::payment);
  CAF_CHECK_EQUAL(what.order_id, "S1");
  CAF_CHECK_EQUAL(what.transaction_id, "T1");
  CAF_CHECK_EQUAL(what.amount, 9'900);
  CAF_CHECK_EQUAL(what.currency, "CNY");
  CAF_CHECK_EQUAL(what.event_id, "N1");
  CAF_CHECK_EQUAL(what.word, "TRADE_SUCCESS");
  CAF_CHECK(what.paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
  CAF_CHECK(!what.refunded_total);
  CAF_CHECK(!what.refund_amount);
  CAF_CHECK(what.refund_id.empty());
  auto all = payment();
  all.erase("gmt_payment");
  CAF_CHECK(read(all).what.paid_at == parse_rfc3339("2026-11-23T08:00:05Z"));
  all.erase("notify_time");
  CAF_CHECK(!read(all).what.paid_at);
  CAF_CHECK(read(all).what.is == meaning::payment);
}

CAF_TEST(coupons do not lower what was ordered) {
  auto all = payment();
  all["buyer_pay_amount"] = "1.00";
  all["receipt_amount"] = "2.00";
  CAF_CHECK_EQUAL(read(all).what.amount, 9'900);
}

CAF_TEST(refunds are recognised by an amount above zero) {
  auto all = payment();
  all["refund_fee"] = "0.00";
  all["out_biz_no"] = "R1";
  CAF_CHECK(read(all).what.is == meaning::payment);
  CAF_CHECK(!read(all).what.refunded_total);
  CAF_CHECK(read(all).what.refund_id.empty());
  all["refund_fee"] = "1.50";
  auto partial = read(all).what;
  CAF_CHECK(partial.is == meaning::refund);
  CAF_CHECK(partial.refunded_total == 150);
  CAF_CHECK(!partial.refund_amount);
  CAF_CHECK_EQUAL(partial.refund_id, "R1");
  // It proves the payment as well.
  CAF_CHECK_EQUAL(partial.amount, 9'900);
  CAF_CHECK_EQUAL(partial.transaction_id, "T1");
  CAF_CHECK(partial.paid_at == parse_rfc3339("2026-11-23T08:00:00Z"));
  all["trade_status"] = "TRADE_FINISHED";
  CAF_CHECK(read(all).what.is == meaning::refund);
  all["trade_status"] = "TRADE_CLOSED";
  all["refund_fee"] = "99";
  CAF_CHECK(read(all).what.is == meaning::refund);
  CAF_CHECK(read(all).what.refunded_total == 9'900);
  // When it was sent says nothing on when it was paid.
  all.erase("gmt_payment");
  CAF_CHECK(!read(all).what.paid_at);
  all["refund_fee"] = "99.01";
  CAF_REQUIRE(read(all).refused.has_value());
  CAF_CHECK(read(all).refused->reason == reject_reason::amount_mismatch);
}

CAF_TEST(what contradicts us is refused with its reason) {
  CAF_CHECK_EQUAL(reason_for("app_id", "2021000000000001"), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("app_id", ""), "app_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("seller_id", "2088000000000001"),
                  "seller_id_mismatch");
  CAF_CHECK_EQUAL(reason_for("total_amount", "99.001"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", "9.9e1"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", " 99.00"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("total_amount", ""), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("refund_fee", "-1"), "amount_malformed");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_PENDING"),
                  "unknown_status");
  CAF_CHECK_EQUAL(reason_for("trade_status", ""), "unknown_status");
  CAF_CHECK_EQUAL(reason_for("trade_no", ""), "trade_no_missing");
  CAF_CHECK_EQUAL(reason_for("trade_no", std::string("T\0", 2)),
                  "malformed_field");
  CAF_CHECK_EQUAL(reason_for("trade_no", std::string(129, 'T')),
                  "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_biz_no", "a\nb"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("notify_id", "\x7f"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", "\xff"), "malformed_field");
  CAF_CHECK_EQUAL(reason_for("out_trade_no", ""), "order_not_found");
  // The amount is told, whatever it is: the order decides.
  CAF_CHECK_EQUAL(reason_for("total_amount", "98.99"), "payment");
  CAF_CHECK_EQUAL(reason_for("total_amount", "99"), "payment");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_FINISHED"), "payment");
  CAF_CHECK_EQUAL(reason_for("trade_status", "TRADE_CLOSED"), "closed");
  CAF_CHECK_EQUAL(reason_for("trade_status", "WAIT_BUYER_PAY"), "nothing");
}

CAF_TEST(of a refused message as much is told as can be) {
  auto all = payment();
  all["seller_id"] = "another";
  all["trade_no"] = "\xff";
  auto got = read(all);
  CAF_CHECK(is_authentic(got));
  CAF_REQUIRE(got.refused.has_value());
  CAF_CHECK(got.refused->reason == reject_reason::seller_id_mismatch);
  CAF_CHECK(got.refused->sentence.find("another") != std::string::npos);
  CAF_CHECK(got.what.is == meaning::nothing);
  CAF_CHECK_EQUAL(got.what.order_id, "S1");
  CAF_CHECK_EQUAL(got.what.amount, 9'900);
  CAF_CHECK_EQUAL(got.what.event_id, "N1");
  CAF_CHECK_EQUAL(got.what.transaction_id, "");
  // Nothing at all of one that is not authentic.
  auto forged = codec().read_notification(signed_body(all) + "&more=1");
  CAF_CHECK(!is_authentic(forged));
  CAF_CHECK(forged.what.order_id.empty());
  CAF_CHECK(forged.what.event_id.empty());
}

CAF_TEST(a message on something else than a trade is only acknowledged) {
  auto all = payment();
  all["notify_type"] = "servicemarket_order_notify";
  all.erase("out_trade_no");
  all.erase("total_amount");
  auto got = read(all);
  CAF_CHECK(!got.refused);
  CAF_CHECK(got.what.is == meaning::nothing);
  CAF_CHECK_EQUAL(got.what.event_id, "N1");
  all["app_id"] = "other";
  CAF_CHECK(read(all).refused.has_value());
}

CAF_TEST(a message on a trade may leave out its type) {
  auto all = payment();
  all.erase("notify_type");
  CAF_CHECK(read(all).what.is == meaning::payment);
}

CAF_TEST(no single changed byte gets through) {
  auto body = signed_body(payment());
  const auto made = codec();
  CAF_REQUIRE(!made.read_notification(body).refused);
  auto original = *crypto::decode_form(body);
  std::sort(original.begin(), original.end());
  std::size_t accepted = 0;
  auto look = [&](const std::string& changed) {
    auto result = made.read_notification(changed);
    if (!is_authentic(result)) {
      CAF_CHECK(result.refused.has_value());
      return;
    }
    // Another spelling of the same fields is all that may pass.
    ++accepted;
    auto fields = *crypto::decode_form(changed);
    std::sort(fields.begin(), fields.end());
    CAF_CHECK(fields == original);
  };
  for (std::size_t at = 0; at < body.size(); ++at) {
    auto changed = body;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    look(changed);
  }
  CAF_CHECK(accepted < body.size() / 20);
  std::mt19937_64 random{20261123};
  for (auto i = 0; i < 2'000; ++i) {
    auto changed = body;
    for (auto flips = 1 + random() % 3; flips > 0; --flips)
      changed[random() % body.size()] ^= static_cast<char>(1 << random() % 8);
    if (random() % 4 == 0)
      changed.resize(random() % body.size());
    if (changed != body)
      look(changed);
  }
}

CAF_TEST(what is no signed form is refused with the reason) {
  auto reason = [this](std::string_view body) {
    auto result = codec().read_notification(body);
    CAF_REQUIRE(result.refused.has_value());
    CAF_CHECK(!is_authentic(result));
    return std::string{to_string(result.signature)} + ' '
           + std::string{to_string(result.refused->reason)};
  };
  auto body = signed_body(payment());
  CAF_CHECK_EQUAL(reason(""), "missing sign_missing");
  CAF_CHECK_EQUAL(reason("sign=&a=b"), "missing sign_missing");
  CAF_CHECK_EQUAL(reason("sign=%"), "not_evaluated malformed_body");
  CAF_CHECK_EQUAL(reason(body + "&sign=AAAA"),
                  "not_evaluated duplicate_parameter");
  CAF_CHECK_EQUAL(reason(body + "&total_amount=0.01"),
                  "not_evaluated duplicate_parameter");
  CAF_CHECK_EQUAL(reason("sign=***"), "malformed sign_malformed");
  CAF_CHECK_EQUAL(reason("sign=AAAA"), "invalid sign_mismatch");
  CAF_CHECK_EQUAL(reason(body + "&extra=1"), "invalid sign_mismatch");
  // SHA-1 is never accepted where SHA-256 is configured.
  CAF_CHECK_EQUAL(reason(signed_body(payment(), crypto::digest::sha1)),
                  "valid_but_weak sign_type_not_allowed");
  std::string many;
  for (int i = 0; i < 300; ++i)
    many += "f" + std::to_string(i) + "=&";
  CAF_CHECK_EQUAL(reason(many), "not_evaluated malformed_body");
  // Fields without a value take part in the sign string.
  auto all = payment();
  all["body"] = "";
  CAF_CHECK(!read(all).refused);
}

CAF_TEST(what the message says of its algorithm never counts) {
  auto body = signed_body(payment());
  body.replace(body.find("sign_type=RSA2"), 14, "sign_type=RSA");
  auto got = codec().read_notification(body);
  CAF_CHECK(got.signature == signature_verdict::valid_under_configured_type);
  CAF_CHECK(!is_authentic(got));
  body = signed_body(payment(), crypto::digest::sha1);
  body.replace(body.find("sign_type=RSA2"), 14, "sign_type=RSA");
  got = codec().read_notification(body);
  CAF_CHECK(got.signature == signature_verdict::valid_but_weak);
  CAF_CHECK(!is_authentic(got));
  CAF_CHECK(got.refused->reason == reject_reason::sign_type_not_allowed);
  // Where it is configured, SHA-1 is right, and alone right.
  settings.sign_type = "RSA";
  CAF_CHECK(!codec().read_notification(body).refused);
  CAF_CHECK(codec().read_notification(signed_body(payment())).refused);
}

CAF_TEST_FIXTURE_SCOPE_END()
