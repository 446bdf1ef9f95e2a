#include "http/sandbox/shop.hpp"

#include "http/crypto/text.hpp"
#include "http/sandbox/page.hpp"
#include "http/server/embedded_file.hpp"

#include <boost/json.hpp>
#include <tl/expected.hpp>

#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace slipway {

/// http/sandbox/shop/, by cmake/EmbedFiles.cmake.
const std::vector<embedded_file>& shop_files();

} // namespace slipway

namespace slipway::sandbox {

namespace {

namespace json_ns = boost::json;

constexpr auto user_id_bytes_max = std::size_t{64};

constexpr auto email_bytes_max = std::size_t{254};

constexpr auto index_name = std::string_view{"index.html"};

/// Nothing from anywhere else, nothing inline, and no text that becomes markup:
/// the scripts have no way to write HTML.
constexpr auto policy
  = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'";

std::string_view type_of(std::string_view name) {
  constexpr auto types
    = std::array<std::pair<std::string_view, std::string_view>, 4>{{
      {".html", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".svg", "image/svg+xml"},
    }};
  for (const auto& [ending, type] : types)
    if (name.size() > ending.size()
        && name.substr(name.size() - ending.size()) == ending)
      return type;
  return "text/plain; charset=utf-8";
}

/// The browser asks each time and hears that nothing has changed: a sandbox is
/// started anew, with other pages, under the same address.
void answer_file(http::exchange& x, const embedded_file& file) {
  auto out = http::response{};
  const auto tag = "\"" + std::string{file.digest} + "\"";
  out.content_type = type_of(file.name);
  out.headers = {{"Cache-Control", "no-cache"},
                 {"ETag", tag},
                 {"Content-Security-Policy", policy},
                 {"Cross-Origin-Opener-Policy", "same-origin"},
                 {"Referrer-Policy", "no-referrer"}};
  if (x.in().headers.find("If-None-Match") == tag)
    out.status = 304;
  else
    out.body = file.content;
  x.answer(std::move(out));
}

json_ns::object describe(const shop_visitor& who) {
  return {
    {"userId", who.user_id}, {"email", who.email}, {"locale", who.locale}};
}

void answer_data(http::exchange& x, json_ns::object data, int status = 200) {
  x.answer(json(status, json_ns::serialize(json_ns::object{
                          {"success", true}, {"data", std::move(data)}})));
}

bool is_local(http::exchange& x) {
  if (is_loopback_name(x.in().headers.find("Host").value_or("")))
    return true;
  x.fail(403, "not_local",
         "Tokens are handed out on this machine only: open the page at "
         "http://127.0.0.1 or http://localhost");
  return false;
}

/// What a visitor has said about themselves; the rest is as in `otherwise`.
/// @returns what is wrong with it.
tl::expected<shop_visitor, std::string>
read_visitor(std::string_view body, shop_visitor otherwise) {
  auto error = boost::system::error_code{};
  const auto given
    = body.empty()
        ? json_ns::value(json_ns::object{})
        : json_ns::parse(json_ns::string_view{body.data(), body.size()}, error);
  const auto* object = given.if_object();
  if (error || object == nullptr)
    return tl::unexpected{std::string{"The body must be a JSON object"}};
  const auto take = [&](std::string_view name, std::string& to) {
    const auto* value
      = object->if_contains(json_ns::string_view{name.data(), name.size()});
    if (value == nullptr || value->is_null())
      return true;
    const auto* text = value->if_string();
    if (text == nullptr)
      return false;
    to.assign(text->data(), text->size());
    return !crypto::has_control(to);
  };
  auto out = std::move(otherwise);
  if (!take("userId", out.user_id) || out.user_id.empty()
      || out.user_id.size() > user_id_bytes_max)
    return tl::unexpected{
      std::string{"userId must be 1 to 64 printable characters"}};
  if (!take("email", out.email) || out.email.size() > email_bytes_max)
    return tl::unexpected{
      std::string{"email must be up to 254 printable characters"}};
  if (!take("locale", out.locale)
      || (out.locale != "zh-CN" && out.locale != "en"))
    return tl::unexpected{std::string{"locale must be zh-CN or en"}};
  return out;
}

} // namespace

bool is_loopback_name(std::string_view host) noexcept {
  // An IPv6 address has colons of its own, within brackets.
  const auto end = host.substr(0, 1) == "["
                     ? host.find(']') + 1
                     : std::min(host.find(':'), host.size());
  const auto name = host.substr(0, end);
  const auto rest = host.substr(name.size());
  if (!rest.empty()
      && (rest.front() != ':'
          || rest.find_first_not_of("0123456789", 1) != rest.npos))
    return false;
  return name == "127.0.0.1" || name == "localhost" || name == "[::1]";
}

void add_shop(http::router& routes, shop_options options) {
  using http::method;
  for (const auto& file : shop_files()) {
    const auto serve = [&file](std::shared_ptr<http::exchange> x) {
      answer_file(*x, file);
    };
    if (file.name == index_name)
      routes.add(method::get, "/shop", "shop", serve);
    else
      routes.add(method::get, "/shop/" + std::string{file.name}, "shop", serve);
  }
  routes.add(method::get, "/", "home", [](std::shared_ptr<http::exchange> x) {
    x->answer(see_other("/shop"));
  });
  const auto all = std::make_shared<const shop_options>(std::move(options));
  routes
    .add(method::get, "/sandbox/shop", "sandbox_shop",
         [all](std::shared_ptr<http::exchange> x) {
           if (!is_local(*x))
             return;
           answer_data(*x, {{"visitor", describe(all->visitor)},
                            {"token", all->token(all->visitor)},
                            {"links",
                             {{"alipay", all->alipay_url},
                              {"wechat", all->wechat_url},
                              {"railway", all->railway_url},
                              {"mailbox", all->mailbox_url}}}});
         })
    .add(method::post, "/sandbox/shop/visitors", "sandbox_visitors",
         [all](std::shared_ptr<http::exchange> x) {
           if (!is_local(*x))
             return;
           const auto who = read_visitor(x->in().body, all->visitor);
           if (!who)
             x->fail(400, "invalid_request", who.error());
           else
             answer_data(
               *x, {{"visitor", describe(*who)}, {"token", all->token(*who)}},
               201);
         });
}

} // namespace slipway::sandbox
