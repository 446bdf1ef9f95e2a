#include "http/api/context.hpp"

#include <caf/send.hpp>
#include <openssl/crypto.h>

#include <simdjson.h>

namespace slipway::api {

namespace {

/// The id of `name` in the webhook's newer shape (under `resource`) or in its
/// older one (at the top). Empty when it has none that could be an id.
std::string id_of(const simdjson::dom::element& root, std::string_view name) {
  constexpr auto id_bytes_max = std::size_t{128};
  std::string_view out;
  if (root["resource"][name]["id"].get(out) != simdjson::SUCCESS
      && root[name]["id"].get(out) != simdjson::SUCCESS)
    return {};
  return out.size() > id_bytes_max ? std::string{} : std::string{out};
}

bool is_secret(const std::string& given, const std::string& ours) {
  return !ours.empty() && given.size() == ours.size()
         && CRYPTO_memcmp(given.data(), ours.data(), ours.size()) == 0;
}

/// Railway signs nothing, so a long secret in the path stands for it; and what
/// it says is not believed: it makes us look.
void take_webhook(const context_ptr& ctx, const exchange_ptr& x) {
  const auto& railway = ctx->settings.railway;
  if (!railway
      || !is_secret(std::string{x->in().param(0)},
                    railway->webhook_secret.reveal())) {
    x->fail(404, "not_found", "Nothing is here");
    return;
  }
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(x->in().body).get(root) != simdjson::SUCCESS
      || !root.is_object()) {
    x->fail(400, "malformed_json", "Expected a JSON object as the body");
    return;
  }
  auto hint = provider_hint{id_of(root, "project"), id_of(root, "environment"),
                            id_of(root, "service"), id_of(root, "deployment")};
  const auto useful = !hint.project_id.empty() || !hint.environment_id.empty()
                      || !hint.service_id.empty()
                      || !hint.deployment_id.empty();
  if (useful && ctx->env->watcher)
    caf::anon_send(ctx->env->watcher(), std::move(hint));
  succeed(*x, boost::json::object{{"accepted", useful}});
}

} // namespace

std::string_view loggable_path(std::string_view path) noexcept {
  constexpr auto before_secret = std::string_view{"/api/railway/webhook/"};
  return path.starts_with(before_secret) ? before_secret : path;
}

void add_webhook_routes(http::router& to, const context_ptr& ctx) {
  to.add(http::method::post, "/api/railway/webhook/{secret}", "railway_webhook",
         [ctx](exchange_ptr x) {
           take_webhook(ctx, x);
         });
}

} // namespace slipway::api
