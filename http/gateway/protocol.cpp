#include "http/gateway/protocol.hpp"

#include <array>

namespace slipway::gateway {

namespace {

constexpr std::array<std::string_view, signature_verdict_count> verdict_names{
  "valid",
  "invalid",
  "missing",
  "malformed",
  "valid_under_configured_type",
  "valid_but_weak",
  "valid_but_stale",
  "unsupported",
  "not_evaluated",
  "none_by_design",
};

constexpr std::array<std::string_view, reject_reason_count> reason_names{
  "malformed_body",
  "duplicate_parameter",
  "sign_missing",
  "sign_malformed",
  "sign_type_not_allowed",
  "sign_mismatch",
  "header_missing",
  "header_duplicate",
  "header_malformed",
  "timestamp_out_of_range",
  "unsupported_signature_type",
  "unknown_serial",
  "signtest_probe",
  "malformed_xml",
  "doctype_forbidden",
  "duplicate_element",
  "malformed_message",
  "return_code_fail",
  "decrypt_failed",
  "malformed_resource",
  "duplicate_member",
  "app_id_mismatch",
  "seller_id_mismatch",
  "mch_id_mismatch",
  "malformed_field",
  "amount_malformed",
  "order_not_found",
  "amount_mismatch",
  "currency_mismatch",
  "trade_no_missing",
  "unknown_status",
};

constexpr std::array<std::string_view, meaning_count> meaning_names{
  "nothing", "payment", "closed", "refund", "refund_abnormal", "refund_closed",
};

constexpr std::array<std::string_view, 4> failure_names{
  "forged",
  "unclear",
  "limited",
  "refused",
};

constexpr std::array<std::string_view, 5> trade_names{
  "absent", "unpaid", "paid", "closed", "refunded",
};

constexpr std::array<std::string_view, 3> close_names{
  "closed",
  "absent",
  "paid",
};

constexpr std::array<std::string_view, 5> refund_names{
  "done", "processing", "absent", "abnormal", "closed",
};

template <std::size_t N, class E>
std::string_view name(const std::array<std::string_view, N>& of, E x) noexcept {
  const auto i = static_cast<std::size_t>(x);
  return i < N ? of[i] : "unknown";
}

} // namespace

std::string_view to_string(signature_verdict verdict) noexcept {
  return name(verdict_names, verdict);
}

std::string_view to_string(reject_reason reason) noexcept {
  return name(reason_names, reason);
}

std::string_view to_string(meaning is) noexcept {
  return name(meaning_names, is);
}

std::string_view to_string(failure kind) noexcept {
  return name(failure_names, kind);
}

std::string_view to_string(trade_state is) noexcept {
  return name(trade_names, is);
}

std::string_view to_string(close_end is) noexcept {
  return name(close_names, is);
}

std::string_view to_string(refund_state is) noexcept {
  return name(refund_names, is);
}

} // namespace slipway::gateway
