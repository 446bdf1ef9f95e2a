#include "http/api/description.hpp"

#include "http/api/etag.hpp"
#include "http/server/embedded_file.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace slipway {

/// The files of http/api/openapi.
const std::vector<embedded_file>& api_description();

} // namespace slipway

namespace slipway::api {

namespace json = boost::json;

namespace {

/// The document as this server gives it out. Throws where the file is none; a
/// test keeps it well-formed.
std::string describe(const std::string& url) {
  auto document = json::parse(api_description().at(0).content);
  auto& root = document.as_object();
  root.at("info").as_object()["version"] = SLIPWAY_VERSION;
  // Without an address of its own it is where the document came from.
  root["servers"] = json::array{json::object{{"url", url.empty() ? "/" : url}}};
  return json::serialize(document);
}

} // namespace

void add_description_routes(http::router& to,
                            const config::settings& settings) {
  const auto text
    = std::make_shared<const std::string>(describe(settings.http.public_url));
  to.add(
    http::method::get, "/api/openapi.json", "openapi",
    [text, tag = etag_of(*text)](const std::shared_ptr<http::exchange>& x) {
      auto response = http::response{};
      if (is_known(x->in(), tag))
        response.status = 304;
      else
        response.body = *text;
      response.headers = {{"ETag", tag}, {"Cache-Control", "no-cache"}};
      x->answer(std::move(response));
    });
}

} // namespace slipway::api
