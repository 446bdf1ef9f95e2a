#pragma once

#include <string>
#include <string_view>

namespace slipway::app {

/// Judges one recorded message of a payment gateway by what stands beside it:
/// its own clock, keys and order. The way through the codecs, the machine and
/// the replies is the server's, its clock limit for WeChat Pay v3 (300 s)
/// included, whatever limit the file names. Pure; callable from any thread.
///
/// The file is one JSON object:
///   `id`, `gateway` (`alipay`, `wechat-v2`, `wechat-v3`), `kind` (`notify`,
///   `refund-notify`, `response`, `request`, `computation`), `clock` (Unix
///   seconds), `request` and `response` (method, path, status, headers as a
///   list of pairs), `body_base64` (else `body_utf8`), `config` (what the
///   merchant has configured, keys inline), `order` (what the merchant knows:
///   amount, status, refunds asked for).
///
/// @param name what to call the file where it names no id.
/// @param text the file.
/// @returns JSON on one line without its end, members in this order:
///   `{"id","signature","decision","reason","reply":{"status","body"}}`; of
///   what is not answered `reply` is null, of what is not decided `decision`;
///   computations have a member `computed` at the end. For a file of another
///   form `{"id","error"}`, the error saying what was expected.
[[nodiscard]] std::string
verify_message(std::string_view name, std::string_view text);

/// The line for a file that could not even be read.
[[nodiscard]] std::string
verify_unreadable(std::string_view name, std::string_view why);

} // namespace slipway::app
