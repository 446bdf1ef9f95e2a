#pragma once

#include "http/server/message.hpp"

#include <string>
#include <string_view>

/// Entity tags, as RFC 9110 has them.
namespace slipway::api {

/// A strong tag that changes whenever the body does.
[[nodiscard]] std::string etag_of(std::string_view body);

/// Whether the client has what this tag stands for: `If-None-Match` names it,
/// or is `*`. Fields that are malformed name nothing.
[[nodiscard]] bool is_known(const http::request& in, std::string_view tag);

} // namespace slipway::api
