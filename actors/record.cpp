#include "actors/record.hpp"

namespace slipway {

std::string_view to_string(callback_outcome x) noexcept {
  switch (x) {
    case callback_outcome::applied:
      return "applied";
    case callback_outcome::repeated:
      return "repeated";
    case callback_outcome::acknowledged:
      return "acknowledged";
    case callback_outcome::contradicted:
      return "contradicted";
    case callback_outcome::forged:
      return "forged";
  }
  return "?";
}

std::string_view to_string(callback_source x) noexcept {
  switch (x) {
    case callback_source::notify:
      return "notify";
    case callback_source::refund_notify:
      return "refund_notify";
    case callback_source::query:
      return "query";
  }
  return "?";
}

std::string_view level_of(const history_entry& x) noexcept {
  const auto failed = x.kind == history_kind::provider
                        ? x.outcome != "ok"
                        : x.operation == "step_failed" || x.outcome == "failed"
                            || x.outcome == "backing_off";
  return failed ? "error" : "info";
}

std::string_view to_string(history_kind x) noexcept {
  switch (x) {
    case history_kind::state:
      return "state";
    case history_kind::provider:
      return "provider";
    case history_kind::mail:
      return "mail";
    case history_kind::operator_:
      return "operator";
  }
  return "?";
}

std::string_view to_string(notice_kind x) noexcept {
  switch (x) {
    case notice_kind::payment_received:
      return "PAYMENT_RECEIVED";
    case notice_kind::deployment_success:
      return "DEPLOYMENT_SUCCESS";
    case notice_kind::deployment_failed:
      return "DEPLOYMENT_FAILED";
    case notice_kind::refund_completed:
      return "REFUND_COMPLETED";
    case notice_kind::deployment_cancelled:
      return "DEPLOYMENT_CANCELLED";
    case notice_kind::instance_terminated:
      return "INSTANCE_TERMINATED";
    case notice_kind::instance_down:
      return "INSTANCE_DOWN";
    case notice_kind::instance_recovered:
      return "INSTANCE_RECOVERED";
    case notice_kind::instance_changed:
      return "INSTANCE_CHANGED";
    case notice_kind::deployment_started:
      return "DEPLOYMENT_STARTED";
  }
  return "?";
}

} // namespace slipway
