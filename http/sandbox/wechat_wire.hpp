#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <map>
#include <optional>
#include <string>
#include <string_view>

/// INTERNAL: How the simulated WeChat Pay writes and reads: XML, signatures of
/// v2, encryption. Of its own, since the product's codec is to be tried on it.
namespace slipway::sandbox::wechat {

/// A flat XML document: names and texts. Byte order of the names.
using fields = std::map<std::string, std::string>;

/// The value; empty where there is none.
[[nodiscard]] std::string get(const fields& from, const std::string& name);

/// Reads `<xml>` with flat children, text or CDATA.
/// @returns a sentence on anything else: a DOCTYPE, an element inside a child,
///          a name that occurs twice, something behind the end.
[[nodiscard]] tl::expected<fields, std::string> read_xml(std::string_view text);

/// Writes the fields in their order, texts in CDATA, numbers bare.
[[nodiscard]] std::string
write_xml(const fields& from, std::string_view root = "xml");

enum class v2_sign_type : std::uint8_t { md5, hmac_sha256 };

/// `MD5`, `HMAC-SHA256`.
[[nodiscard]] std::string_view to_string(v2_sign_type type) noexcept;

/// The sign of v2 over all that is not empty, but `sign`. Upper-case hex.
[[nodiscard]] std::string
sign_v2(const fields& over, v2_sign_type type, std::string_view api_v2_key);

/// AES-256-GCM, the tag at the end, as base64.
/// @param key 32 bytes.
/// @param nonce 12 bytes.
[[nodiscard]] tl::expected<std::string, std::string>
encrypt_gcm(std::string_view key, std::string_view nonce,
            std::string_view associated_data, std::string_view plain);

/// `req_info` of v2: AES-256-ECB under the MD5 of the key in hex, PKCS#7, as
/// base64.
[[nodiscard]] tl::expected<std::string, std::string>
encrypt_req_info(std::string_view api_v2_key, std::string_view plain);

/// `2026-11-23T16:00:00+08:00`.
[[nodiscard]] std::string beijing_rfc3339(timestamp at);

/// `20261123160000`, Beijing time.
[[nodiscard]] std::string beijing_digits(timestamp at);

/// Reads `beijing_digits`.
[[nodiscard]] std::optional<timestamp>
parse_beijing_digits(std::string_view text);

} // namespace slipway::sandbox::wechat
