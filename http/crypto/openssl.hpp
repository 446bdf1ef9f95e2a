#pragma once

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

/// INTERNAL: owning handles over OpenSSL, for the .cpp files of this folder.
namespace slipway::crypto::openssl {

template <auto Free>
struct deleter {
  template <class T>
  void operator()(T* handle) const noexcept {
    Free(handle);
  }
};

using bio_ptr = std::unique_ptr<BIO, deleter<&BIO_free_all>>;
using pkey_ptr = std::unique_ptr<EVP_PKEY, deleter<&EVP_PKEY_free>>;
using pkey_ctx_ptr = std::unique_ptr<EVP_PKEY_CTX, deleter<&EVP_PKEY_CTX_free>>;
using md_ctx_ptr = std::unique_ptr<EVP_MD_CTX, deleter<&EVP_MD_CTX_free>>;
using md_ptr = std::unique_ptr<EVP_MD, deleter<&EVP_MD_free>>;
using x509_ptr = std::unique_ptr<X509, deleter<&X509_free>>;

/// Empties OpenSSL's error queue of this thread on the way out: what one call
/// leaves behind must not confuse the next one.
struct error_guard {
  error_guard() noexcept {
    ERR_clear_error();
  }

  ~error_guard() {
    ERR_clear_error();
  }

  error_guard(const error_guard&) = delete;
  error_guard& operator=(const error_guard&) = delete;
};

/// A memory BIO that reads the text, which must outlive it.
inline bio_ptr reader_of(std::string_view text) {
  return bio_ptr{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

/// What has been written into a memory BIO.
inline std::string content_of(BIO* bio) {
  char* data = nullptr;
  auto size = BIO_get_mem_data(bio, &data);
  if (data == nullptr || size <= 0)
    return {};
  return std::string{data, static_cast<std::size_t>(size)};
}

/// OpenSSL's own word on what went wrong last in this thread.
inline std::string last_error() {
  auto code = ERR_peek_last_error();
  if (code == 0)
    return "no reason given";
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "error " + std::to_string(code);
}

} // namespace slipway::crypto::openssl
