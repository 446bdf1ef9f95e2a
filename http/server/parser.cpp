#include "http/server/parser.hpp"

#include "http/server/target.hpp"

#include <algorithm>

namespace slipway::http {

namespace {

method to_method(boost::beast::http::verb known) noexcept {
  using boost::beast::http::verb;
  switch (known) {
    case verb::get:
      return method::get;
    case verb::head:
      return method::head;
    case verb::post:
      return method::post;
    case verb::put:
      return method::put;
    case verb::delete_:
      return method::delete_;
    case verb::patch:
      return method::patch;
    case verb::options:
      return method::options;
    default:
      return method::other;
  }
}

} // namespace

void request_parser::on_request_impl(verb known, view, view target, int version,
                                     error_code&) {
  to_.verb = to_method(known);
  to_.target.assign(target.data(), target.size());
  minor_version_ = version - 10;
}

void request_parser::on_field_impl(field known, view name, view value,
                                   error_code&) {
  // Trailers come through here, too. They are nothing to us.
  if (head_done_)
    return;
  switch (known) {
    case field::host:
      ++hosts_;
      break;
    case field::expect:
      if (same_name(value, "100-continue"))
        expects_continue_ = true;
      else
        expects_miracles_ = true;
      break;
    case field::transfer_encoding:
      if (!same_name(value, "chunked"))
        odd_encoding_ = true;
      break;
    default:
      break;
  }
  to_.headers.add(std::string{name}, std::string{value});
}

void request_parser::on_body_init_impl(
  const boost::optional<std::uint64_t>& length, error_code&) {
  // The limit has been applied to it. Still, memory is only set aside for what
  // comes, not for what is promised.
  if (length)
    to_.body.reserve(std::min<std::uint64_t>(*length, 16 * 1024));
}

std::size_t request_parser::on_body_impl(view bytes, error_code&) {
  to_.body.append(bytes.data(), bytes.size());
  return bytes.size();
}

std::size_t
request_parser::on_chunk_body_impl(std::uint64_t, view bytes, error_code&) {
  to_.body.append(bytes.data(), bytes.size());
  return bytes.size();
}

} // namespace slipway::http
