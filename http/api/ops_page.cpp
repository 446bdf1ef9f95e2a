#include "http/api/ops_page.hpp"

#include "http/api/etag.hpp"
#include "http/server/embedded_file.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace slipway {

/// The files of http/ops (cmake/EmbedFiles.cmake).
const std::vector<embedded_file>& ops_page_files();

} // namespace slipway

namespace slipway::api {

namespace {

/// The page talks to its own server and runs its own files: whatever gets into
/// it by way of data can neither run nor leave.
constexpr auto policy = std::string_view{
  "default-src 'none'; script-src 'self'; style-src 'self'; "
  "connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
  "form-action 'none'; frame-ancestors 'none'"};

std::string_view type_of(std::string_view name) noexcept {
  struct known {
    std::string_view ending;
    std::string_view type;
  };
  constexpr auto all
    = std::array{known{".html", "text/html; charset=utf-8"},
                 known{".css", "text/css; charset=utf-8"},
                 known{".js", "text/javascript; charset=utf-8"},
                 known{".svg", "image/svg+xml"}};
  for (const auto& x : all)
    if (name.ends_with(x.ending))
      return x.type;
  return "text/plain; charset=utf-8";
}

void serve(http::exchange& to, const embedded_file& file) {
  auto tag = '"' + std::string{file.digest} + '"';
  auto response = http::response{};
  response.content_type = type_of(file.name);
  if (is_known(to.in(), tag))
    response.status = 304;
  else
    response.body = file.content;
  // Kept, and asked about each time: the files change together, with the
  // server.
  response.headers = {{"ETag", std::move(tag)},
                      {"Cache-Control", "no-cache"},
                      {"Content-Security-Policy", std::string{policy}},
                      {"Referrer-Policy", "no-referrer"},
                      {"X-Frame-Options", "DENY"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"}};
  to.answer(std::move(response));
}

void serve_named(http::exchange& to, std::string_view name) {
  const auto& all = ops_page_files();
  const auto found
    = std::find_if(all.begin(), all.end(), [&](const embedded_file& x) {
        return x.name == name;
      });
  if (found == all.end())
    to.fail(404, "not_found", "The operators' page has no such file");
  else
    serve(to, *found);
}

} // namespace

void add_ops_page_routes(http::router& to) {
  to.add(http::method::get, "/ops", "ops_page",
         [](const std::shared_ptr<http::exchange>& x) {
           serve_named(*x, "index.html");
         });
  to.add(http::method::get, "/ops/{file}", "ops_page_file",
         [](const std::shared_ptr<http::exchange>& x) {
           serve_named(*x, x->in().param(0));
         });
}

} // namespace slipway::api
