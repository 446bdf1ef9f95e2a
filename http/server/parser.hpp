#pragma once

#include "http/server/message.hpp"

#include <boost/beast/http/basic_parser.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

/// INTERNAL: Beast's parser, writing straight into our request.
namespace slipway::http {

class request_parser final : public boost::beast::http::basic_parser<true> {
public:
  using error_code = boost::beast::error_code;

  explicit request_parser(request& to) : to_{to} {
  }

  /// Whether the client waits for a word before it sends the body.
  [[nodiscard]] bool expects_continue() const noexcept {
    return expects_continue_;
  }

  /// An Expect header of a kind nobody knows.
  [[nodiscard]] bool expects_miracles() const noexcept {
    return expects_miracles_;
  }

  [[nodiscard]] std::size_t hosts() const noexcept {
    return hosts_;
  }

  /// A Transfer-Encoding that is not just `chunked`.
  [[nodiscard]] bool odd_encoding() const noexcept {
    return odd_encoding_;
  }

  [[nodiscard]] int minor_version() const noexcept {
    return minor_version_;
  }

protected:
  using field = boost::beast::http::field;
  using verb = boost::beast::http::verb;
  using view = boost::beast::string_view;

  void on_request_impl(verb known, view name, view target, int version,
                       error_code& ec) override;

  void on_response_impl(int, view, int, error_code&) override {
    // nop
  }

  void
  on_field_impl(field known, view name, view value, error_code& ec) override;

  void on_header_impl(error_code&) override {
    head_done_ = true;
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>& length,
                         error_code&) override;

  std::size_t on_body_impl(view bytes, error_code&) override;

  void on_chunk_header_impl(std::uint64_t, view, error_code&) override {
    // nop
  }

  std::size_t
  on_chunk_body_impl(std::uint64_t remain, view bytes, error_code& ec) override;

  void on_finish_impl(error_code&) override {
    // nop
  }

private:
  request& to_;
  std::size_t hosts_ = 0;
  int minor_version_ = 1;
  bool head_done_ = false;
  bool expects_continue_ = false;
  bool expects_miracles_ = false;
  bool odd_encoding_ = false;
};

} // namespace slipway::http
