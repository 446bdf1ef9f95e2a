#include "http/api/problem.hpp"

namespace slipway::api {

problem problem_of(errc why) noexcept {
  switch (why) {
    case errc::not_found:
      return {404, "not_found", "Subscription not found"};
    case errc::forbidden:
      return {403, "forbidden", "Unauthorized to access this subscription"};
    case errc::unavailable:
      return {503, "unavailable", "Not possible right now, please try again"};
    case errc::database_down:
      return {503, "database_unavailable",
              "The database cannot be reached, please try again"};
    case errc::conflict:
      return {503, "conflict", "Changed meanwhile, please try again"};
    case errc::owned_elsewhere:
      return {503, "owned_elsewhere",
              "Another server works on this subscription, please try again"};
    case errc::overloaded:
      return {503, "overloaded", "Too much to do right now, please try again"};
    case errc::gateway_down:
      return {503, "gateway_unavailable",
              "The payment gateway does not answer, please try again"};
    case errc::gateway_refused:
      return {502, "gateway_refused",
              "The payment gateway has refused this order"};
    case errc::invalid_cursor:
      return {400, "invalid_cursor",
              "cursor must be what an earlier answer gave as nextCursor"};
    case errc::quarantined:
      return {503, "quarantined",
              "This subscription has failed again and again; a person has been "
              "told"};
    case errc::none:
    case errc::rejected:
    case errc::internal:
      break;
  }
  return {500, "internal", "Something went wrong on our side"};
}

problem problem_of(lifecycle::verdict why) noexcept {
  using lifecycle::verdict;
  switch (why) {
    case verdict::not_payable:
      return {409, "not_payable",
              "This subscription is paid for already, or has ended"};
    case verdict::idempotency_mismatch:
      return {422, "idempotency_key_reused",
              "The Idempotency-Key was used for another request"};
    case verdict::too_many_orders:
      return {429, "too_many_orders",
              "Too many payment orders for this subscription"};
    case verdict::not_paid:
      return {409, "not_paid", "The subscription is not active: pay first"};
    case verdict::already_running:
      return {400, "already_running", "Instance is already running"};
    case verdict::under_way:
      return {409, "deployment_under_way", "A deployment is under way"};
    case verdict::nothing_to_cancel:
      return {409, "nothing_to_cancel", "There is no deployment to cancel"};
    case verdict::provider_off:
      return {409, "provider_not_configured",
              "No provider is configured, there is nowhere to deploy to"};
    case verdict::nothing_to_terminate:
      return {409, "nothing_to_terminate", "There is no instance to terminate"};
    case verdict::nothing_to_refund:
      return {409, "nothing_to_refund", "There is no payment to refund"};
    case verdict::unknown_order:
      return {404, "order_not_found", "Payment order not found"};
    case verdict::amount_mismatch:
    case verdict::gateway_mismatch:
    case verdict::conflicting_payment:
    case verdict::stale:
    case verdict::applied:
    case verdict::already_applied:
      break;
  }
  return {409, "conflict", "Not possible in the current state"};
}

void fail(http::exchange& to, const problem& what) {
  if (what.status == 503) {
    auto response
      = http::error_response(what.status, what.code, what.message, to.in().id);
    response.headers.emplace_back("Retry-After", "1");
    to.answer(std::move(response));
    return;
  }
  to.fail(what.status, what.code, what.message);
}

} // namespace slipway::api
