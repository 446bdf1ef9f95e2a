#include "http/sandbox/wechat_wire.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"
#include "http/crypto/text.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace slipway::sandbox::wechat {

namespace {

constexpr auto xml_bytes_max = std::size_t{256 * 1024};

constexpr auto cdata_begin = std::string_view{"<![CDATA["};

constexpr auto cdata_end = std::string_view{"]]>"};

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
         || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

/// A cursor over the text.
class reader {
public:
  explicit reader(std::string_view text) : rest_{text} {
  }

  void blanks() {
    while (!rest_.empty() && is_blank(rest_.front()))
      rest_.remove_prefix(1);
  }

  bool take(std::string_view what) {
    if (rest_.substr(0, what.size()) != what)
      return false;
    rest_.remove_prefix(what.size());
    return true;
  }

  /// All up to a mark, which is taken too.
  std::optional<std::string_view> until(std::string_view mark) {
    const auto at = rest_.find(mark);
    if (at == std::string_view::npos)
      return std::nullopt;
    const auto result = rest_.substr(0, at);
    rest_.remove_prefix(at + mark.size());
    return result;
  }

  std::string_view name() {
    auto n = std::size_t{0};
    while (n < rest_.size() && is_name_char(rest_[n]))
      ++n;
    const auto result = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return result;
  }

  /// Text up to the next `<`.
  std::string_view text() {
    const auto n = std::min(rest_.find('<'), rest_.size());
    const auto result = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return result;
  }

  [[nodiscard]] bool at_end() const noexcept {
    return rest_.empty();
  }

private:
  std::string_view rest_;
};

/// Replaces the five entities that every XML reader knows.
std::optional<std::string> unescape(std::string_view text) {
  static constexpr std::pair<std::string_view, char> known[]
    = {{"&amp;", '&'},
       {"&lt;", '<'},
       {"&gt;", '>'},
       {"&quot;", '"'},
       {"&apos;", '\''}};
  std::string result;
  while (!text.empty()) {
    if (text.front() != '&') {
      result += text.front();
      text.remove_prefix(1);
      continue;
    }
    const auto i
      = std::find_if(std::begin(known), std::end(known), [&](const auto& x) {
          return text.substr(0, x.first.size()) == x.first;
        });
    if (i == std::end(known))
      return std::nullopt;
    result += i->second;
    text.remove_prefix(i->first.size());
  }
  return result;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 16
         && text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::string upper(std::string text) {
  for (auto& c : text)
    if (c >= 'a' && c <= 'z')
      c = static_cast<char>(c - 'a' + 'A');
  return text;
}

struct free_cipher {
  void operator()(EVP_CIPHER_CTX* cipher) const noexcept {
    EVP_CIPHER_CTX_free(cipher);
  }
};

using cipher_ptr = std::unique_ptr<EVP_CIPHER_CTX, free_cipher>;

unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

/// Runs a cipher that has been set up over a text.
std::optional<std::string> run(EVP_CIPHER_CTX* cipher, std::string_view text) {
  constexpr auto block = std::size_t{16};
  auto result = std::string(text.size() + block, '\0');
  auto length = 0;
  auto rest = 0;
  if (EVP_EncryptUpdate(cipher, bytes_of(result), &length, bytes_of(text),
                        static_cast<int>(text.size()))
        != 1
      || EVP_EncryptFinal_ex(cipher, bytes_of(result) + length, &rest) != 1)
    return std::nullopt;
  result.resize(static_cast<std::size_t>(length + rest));
  return result;
}

} // namespace

std::string get(const fields& from, const std::string& name) {
  const auto i = from.find(name);
  return i == from.end() ? std::string{} : i->second;
}

tl::expected<fields, std::string> read_xml(std::string_view text) {
  if (text.size() > xml_bytes_max)
    return failed("more than 256 KiB");
  auto in = reader{text};
  in.blanks();
  if (in.take("<?xml")) {
    if (!in.until("?>"))
      return failed("an XML declaration without an end");
    in.blanks();
  }
  if (!in.take("<xml>"))
    return failed("expected <xml> as the root");
  fields result;
  for (;;) {
    in.blanks();
    if (in.take("</xml>"))
      break;
    if (!in.take("<"))
      return failed("text outside of an element");
    const auto name = std::string{in.name()};
    if (name.empty())
      return failed("expected an element");
    std::string value;
    if (!in.take("/>")) {
      if (!in.take(">"))
        return failed("expected <" + name + "> without attributes");
      const auto before = in.text();
      const auto plain = unescape(before);
      if (!plain)
        return failed("an unknown entity in " + name);
      if (in.take(cdata_begin)) {
        const auto inner = in.until(cdata_end);
        if (!inner || !std::all_of(before.begin(), before.end(), is_blank))
          return failed("a broken CDATA section in " + name);
        value = *inner;
        in.blanks();
      } else {
        value = *plain;
      }
      if (!in.take("</" + name + ">"))
        return failed("expected nothing but text in " + name);
    }
    if (!result.emplace(name, std::move(value)).second)
      return failed(name + " occurs twice");
  }
  in.blanks();
  if (!in.at_end())
    return failed("something behind </xml>");
  return result;
}

std::string write_xml(const fields& from, std::string_view root) {
  auto result = "<" + std::string{root} + ">";
  for (const auto& [name, value] : from) {
    result += "<" + name + ">";
    if (is_number(value)) {
      result += value;
    } else if (value.find(cdata_end) != std::string::npos) {
      result += crypto::html_escape(value);
    } else {
      result += cdata_begin;
      result += value;
      result += cdata_end;
    }
    result += "</" + name + ">";
  }
  return result + "</" + std::string{root} + ">";
}

std::string_view to_string(v2_sign_type type) noexcept {
  return type == v2_sign_type::md5 ? "MD5" : "HMAC-SHA256";
}

std::string
sign_v2(const fields& over, v2_sign_type type, std::string_view api_v2_key) {
  std::string text;
  for (const auto& [name, value] : over)
    if (name != "sign" && !value.empty())
      text += name + "=" + value + "&";
  text += "key=";
  text += api_v2_key;
  const auto raw = type == v2_sign_type::md5
                     ? crypto::md5(text)
                     : crypto::hmac_sha256(api_v2_key, text);
  return upper(crypto::hex_encode(raw));
}

tl::expected<std::string, std::string>
encrypt_gcm(std::string_view key, std::string_view nonce,
            std::string_view associated_data, std::string_view plain) {
  constexpr auto key_bytes = std::size_t{32};
  constexpr auto nonce_bytes = std::size_t{12};
  constexpr auto tag_bytes = std::size_t{16};
  if (key.size() != key_bytes || nonce.size() != nonce_bytes)
    return failed("AES-256-GCM takes a key of 32 and a nonce of 12 bytes");
  const auto cipher = cipher_ptr{EVP_CIPHER_CTX_new()};
  auto length = 0;
  if (!cipher
      || EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr,
                            bytes_of(key), bytes_of(nonce))
           != 1
      || EVP_EncryptUpdate(cipher.get(), nullptr, &length,
                           bytes_of(associated_data),
                           static_cast<int>(associated_data.size()))
           != 1)
    return failed("OpenSSL refuses AES-256-GCM");
  auto result = run(cipher.get(), plain);
  auto tag = std::string(tag_bytes, '\0');
  if (!result
      || EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG,
                             static_cast<int>(tag_bytes), tag.data())
           != 1)
    return failed("OpenSSL refuses AES-256-GCM");
  return crypto::base64_encode(*result + tag);
}

tl::expected<std::string, std::string>
encrypt_req_info(std::string_view api_v2_key, std::string_view plain) {
  const auto key = crypto::hex_encode(crypto::md5(api_v2_key));
  const auto cipher = cipher_ptr{EVP_CIPHER_CTX_new()};
  if (!cipher
      || EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_ecb(), nullptr,
                            bytes_of(std::string_view{key}), nullptr)
           != 1)
    return failed("OpenSSL refuses AES-256-ECB");
  const auto result = run(cipher.get(), plain);
  if (!result)
    return failed("OpenSSL refuses AES-256-ECB");
  return crypto::base64_encode(*result);
}

std::string beijing_rfc3339(timestamp at) {
  auto result = to_beijing(at);
  result[10] = 'T';
  return result + "+08:00";
}

std::string beijing_digits(timestamp at) {
  std::string result;
  for (const auto c : to_beijing(at))
    if (c >= '0' && c <= '9')
      result += c;
  return result;
}

std::optional<timestamp> parse_beijing_digits(std::string_view text) {
  if (text.size() != 14
      || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  const auto part = [&](std::size_t at, std::size_t count) {
    return std::string{text.substr(at, count)};
  };
  return parse_beijing(part(0, 4) + "-" + part(4, 2) + "-" + part(6, 2) + " "
                       + part(8, 2) + ":" + part(10, 2) + ":" + part(12, 2));
}

} // namespace slipway::sandbox::wechat
