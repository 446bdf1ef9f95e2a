#define CAF_SUITE mail.bounce

#include "http/mail/bounce.hpp"

#include <caf/test/unit_test.hpp>

#include <random>
#include <string>

using namespace slipway;
using namespace slipway::mail;

namespace {

constexpr auto status_type = "message/delivery-status";

constexpr auto report_type
  = "multipart/report; report-type=delivery-status;\r\n boundary=\"b 1\"";

/// As Postfix writes it.
const auto status
  = std::string{"Reporting-MTA: dns; mail.example.com\r\n"
                "X-Postfix-Queue-ID: 4711\r\n"
                "Arrival-Date: Mon, 23 Nov 2026 08:00:00 +0000 (UTC)\r\n"
                "\r\n"
                "Final-Recipient: rfc822; moved@elsewhere.example\r\n"
                "Original-Recipient: rfc822;user@example.com\r\n"
                "Action: failed\r\n"
                "Status: 5.1.1\r\n"
                "Remote-MTA: dns; mx.example.com\r\n"
                "Diagnostic-Code: smtp; 550 5.1.1 <user@example.com>:\r\n"
                "    Recipient address rejected\r\n"};

const auto report = std::string{"This is a MIME-encapsulated message.\r\n"
                                "\r\n"
                                "--b 1\r\n"
                                "Content-Type: text/plain\r\n"
                                "\r\n"
                                "I'm sorry to have to inform you\r\n"
                                "--b 1\r\n"
                                "Content-Description: Delivery report\r\n"
                                "Content-Type: message/delivery-status\r\n"
                                "\r\n"}
                    + status
                    + "\r\n--b 1\r\n"
                      "Content-Type: message/rfc822\r\n"
                      "\r\n"
                      "From: no-reply@example.com\r\n"
                      "Message-ID:\r\n <0000000000001.7.1@example.com>\r\n"
                      "Content-Type: multipart/alternative; boundary=x\r\n"
                      "\r\n"
                      "--x\r\nContent-Type: message/delivery-status\r\n\r\n"
                      "Action: failed\r\n--x--\r\n"
                      "--b 1--\r\n";

std::vector<returned_mail> read(std::string_view type, std::string_view body) {
  auto out = read_delivery_status(type, body);
  if (!out)
    CAF_FAIL(out.error());
  return std::move(*out);
}

std::string refusal(std::string_view type, std::string_view body) {
  const auto out = read_delivery_status(type, body);
  return out ? "" : out.error();
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != text.npos;
}

} // namespace

CAF_TEST(a status names recipient and reason) {
  const auto all = read(status_type, status);
  CAF_REQUIRE_EQUAL(all.size(), 1u);
  CAF_CHECK_EQUAL(all[0].recipient, "user@example.com");
  CAF_CHECK_EQUAL(all[0].action, "failed");
  CAF_CHECK(all[0].failed);
  CAF_CHECK(all[0].permanent);
  CAF_CHECK_EQUAL(all[0].reason, "5.1.1: smtp; 550 5.1.1 <user@example.com>: "
                                 "Recipient address rejected");
  CAF_CHECK(all[0].message_id.empty());
}

CAF_TEST(a report names the mail as well) {
  for (const auto& [type, body] :
       {std::pair{std::string{report_type}, report},
        std::pair{std::string{"Message/RFC822"},
                  "Return-Path: <>\r\nTo: bounces@example.com\r\n"
                  "MIME-Version: 1.0\r\nContent-Type: "
                    + std::string{report_type} + "\r\n\r\n" + report}}) {
    const auto all = read(type, body);
    CAF_REQUIRE_EQUAL(all.size(), 1u);
    CAF_CHECK_EQUAL(all[0].recipient, "user@example.com");
    CAF_CHECK_EQUAL(all[0].message_id, "0000000000001.7.1@example.com");
  }
  // Line ends of another kind, and only the head of the mail.
  auto plain = std::string{};
  for (const auto c : report)
    if (c != '\r')
      plain += c;
  const auto at = plain.find("message/rfc822");
  plain.replace(at, 14, "text/rfc822-headers");
  const auto all = read(report_type, plain);
  CAF_CHECK_EQUAL(all[0].message_id, "0000000000001.7.1@example.com");
}

CAF_TEST(what is late has not failed and what is full may work again) {
  const auto all
    = read(status_type, "Reporting-MTA: dns; x\n\n"
                        "Final-Recipient: rfc822; a@example.com\n"
                        "Action: delayed (still trying)\nStatus: 4.4.1\n\n"
                        "Final-Recipient: RFC822; <b@example.com>\n"
                        "Action: FAILED\nStatus: 4.2.2 (mailbox full)\n\n\n"
                        "Final-Recipient: x400; /C=de/\n"
                        "Action: relayed\nStatus: 2.1.9\n");
  CAF_REQUIRE_EQUAL(all.size(), 3u);
  CAF_CHECK_EQUAL(all[0].action, "delayed");
  CAF_CHECK(!all[0].failed);
  CAF_CHECK_EQUAL(all[1].recipient, "b@example.com");
  CAF_CHECK(all[1].failed);
  CAF_CHECK(!all[1].permanent);
  CAF_CHECK_EQUAL(all[1].reason, "4.2.2 (mailbox full)");
  CAF_CHECK(all[2].recipient.empty());
  CAF_CHECK(!all[2].failed);
}

CAF_TEST(what is no report is refused with what was expected) {
  CAF_CHECK(contains(refusal("text/plain", status), "message/delivery-status"));
  CAF_CHECK(contains(refusal("multipart/report", report), "boundary"));
  CAF_CHECK(
    contains(refusal("multipart/report; boundary=\"", report), "boundary"));
  CAF_CHECK(contains(refusal("multipart/report; boundary=other", report),
                     "no delivery status"));
  CAF_CHECK(contains(refusal("message/rfc822", "Subject: x\r\n\r\nhello"),
                     "no delivery status"));
  CAF_CHECK(contains(refusal(status_type, ""), "names no recipient"));
  CAF_CHECK(contains(refusal(status_type, "hello"), "names no recipient"));
  CAF_CHECK(contains(refusal(status_type, "Reporting-MTA: dns; x\r\n\r\n"),
                     "names no recipient"));
}

CAF_TEST(whatever comes stays within bounds) {
  auto many = std::string{"Reporting-MTA: dns; x\n\n"};
  for (auto i = 0; i < 1'000; ++i)
    many += "Final-Recipient: rfc822; a@example.com\nAction: failed\n"
            "Status: 5.0.0\nDiagnostic-Code: smtp; "
            + std::string(500, 'x') + "\n\n";
  const auto all = read(status_type, many);
  CAF_CHECK_EQUAL(all.size(), 20u);
  CAF_CHECK(all[0].reason.size() <= 300u);
  // Parts in parts in parts.
  auto deep = std::string{};
  for (auto i = 0; i < 2'000; ++i)
    deep += "--b\nContent-Type: multipart/mixed; boundary=b\n\n";
  CAF_CHECK(!refusal("multipart/report; boundary=b", deep).empty());
  auto mails = std::string{};
  for (auto i = 0; i < 2'000; ++i)
    mails += "Content-Type: message/rfc822\n\n";
  CAF_CHECK(!refusal("message/rfc822", mails).empty());
  // One field over and over, folded without an end.
  CAF_CHECK_EQUAL(read(
                    status_type, "Action: failed\nDiagnostic-Code: x\n" +
                                   [] {
                                     auto out = std::string{};
                                     for (auto i = 0; i < 10'000; ++i)
                                       out += " y\n";
                                     return out;
                                   }())
                    .size(),
                  1u);
}

CAF_TEST(bytes turned over break nothing) {
  auto random = std::mt19937{4711};
  const auto whole
    = "Content-Type: " + std::string{report_type} + "\r\n\r\n" + report;
  auto taken = 0;
  for (auto round = 0; round < 3'000; ++round) {
    auto body = whole;
    for (auto i = random() % 8; i < 8; ++i)
      switch (random() % 3) {
        case 0:
          body[random() % body.size()] = static_cast<char>(random());
          break;
        case 1:
          body.erase(random() % body.size(), random() % 40);
          break;
        default:
          body.insert(random() % body.size(),
                      whole.substr(random() % whole.size(), random() % 40));
      }
    const auto out = read_delivery_status("message/rfc822", body);
    if (!out) {
      CAF_CHECK(out.error().find_first_of("\r\n") == std::string::npos);
      continue;
    }
    ++taken;
    CAF_CHECK(out->size() <= 20u);
    for (const auto& x : *out) {
      CAF_CHECK(x.reason.find_first_of("\r\n") == std::string::npos);
      CAF_CHECK(x.message_id.find_first_of("\r\n") == std::string::npos);
      CAF_CHECK(x.recipient.size() <= 254u);
    }
  }
  CAF_CHECK(taken > 0);
}

CAF_TEST(a Message - ID of ours names one mail) {
  const auto id = subscription_id{4711};
  const auto mail
    = parse_message_id(" <" + to_text(id) + ".12.2@example.com> ");
  CAF_REQUIRE(mail.has_value());
  CAF_CHECK(mail->subscription == id);
  CAF_CHECK_EQUAL(mail->revision, 12u);
  CAF_CHECK(mail->kind == slipway::notice_kind::deployment_failed);
  for (const auto& bad :
       {std::string{}, std::string{"x@example.com"}, to_text(id) + ".12.2",
        to_text(id) + ".12@example.com", to_text(id) + ".12.99@example.com",
        to_text(id) + ".-1.2@example.com", to_text(id) + ".12.2.3@example.com",
        to_text(id) + ".99999999999999999999.2@example.com",
        std::string{"zz.12.2@example.com"}, std::string{"..@"}})
    CAF_CHECK(!parse_message_id(bad));
}
