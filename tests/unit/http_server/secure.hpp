#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>

/// Certificates made on the spot, and a client that speaks TLS as it is told.
namespace secure {

namespace fs = std::filesystem;

template <auto Free>
struct deleter {
  template <class T>
  void operator()(T* x) const noexcept {
    Free(x);
  }
};

using bio_ptr = std::unique_ptr<BIO, deleter<&BIO_free_all>>;
using pkey_ptr = std::unique_ptr<EVP_PKEY, deleter<&EVP_PKEY_free>>;
using x509_ptr = std::unique_ptr<X509, deleter<&X509_free>>;
using ctx_ptr = std::unique_ptr<SSL_CTX, deleter<&SSL_CTX_free>>;
using ssl_ptr = std::unique_ptr<SSL, deleter<&SSL_free>>;

inline std::string text_of(BIO* bio) {
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

/// A certificate that signs itself, and its key.
struct pair {
  std::string certificate;
  std::string key;
};

/// @param days How long it is valid, from now on; negative ones are over.
inline pair make_pair(const std::string& name, long days = 90,
                      const std::string& password = "") {
  auto key = pkey_ptr{EVP_EC_gen("P-256")};
  auto made = x509_ptr{X509_new()};
  X509_set_version(made.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(made.get()), -200L * 86'400);
  X509_gmtime_adj(X509_getm_notAfter(made.get()), days * 86'400 + 60);
  X509_set_pubkey(made.get(), key.get());
  auto* subject = X509_get_subject_name(made.get());
  X509_NAME_add_entry_by_txt(
    subject, "CN", MBSTRING_UTF8,
    reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made.get(), subject);
  X509_sign(made.get(), key.get(), EVP_sha256());
  pair result;
  const auto a = bio_ptr{BIO_new(BIO_s_mem())};
  PEM_write_bio_X509(a.get(), made.get());
  result.certificate = text_of(a.get());
  const auto b = bio_ptr{BIO_new(BIO_s_mem())};
  PEM_write_bio_PrivateKey(
    b.get(), key.get(), password.empty() ? nullptr : EVP_aes_256_cbc(),
    reinterpret_cast<const unsigned char*>(password.data()),
    static_cast<int>(password.size()), nullptr, nullptr);
  result.key = text_of(b.get());
  return result;
}

/// A directory of its own that goes with it.
struct directory {
  fs::path path;

  directory() {
    auto name = (fs::temp_directory_path() / "slipway-tls-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr)
      throw std::runtime_error("mkdtemp failed");
    path = name;
  }

  directory(const directory&) = delete;
  directory& operator=(const directory&) = delete;

  ~directory() {
    auto error = std::error_code{};
    fs::remove_all(path, error);
  }

  [[nodiscard]] std::string file(const std::string& name) const {
    return (path / name).string();
  }

  /// In place of what is there, at once.
  void put(const std::string& name, const std::string& content) const {
    std::ofstream{path / (name + ".new"), std::ios::binary} << content;
    fs::rename(path / (name + ".new"), path / name);
  }
};

/// What a client offers.
struct offer {
  int min_version = TLS1_2_VERSION;
  int max_version = TLS1_3_VERSION;
  std::string protocol; ///< ALPN; none when empty.
  std::string ciphers;  ///< Up to TLS 1.2; OpenSSL's own when empty.
  SSL_SESSION* session = nullptr;
};

/// Blocks, for 5 s at most.
class client {
public:
  explicit client(std::uint16_t port, const offer& what = {})
    : context_{SSL_CTX_new(TLS_client_method())} {
    std::signal(SIGPIPE, SIG_IGN);
    auto* x = context_.get();
    // Old versions are refused by the server, not by us.
    SSL_CTX_set_security_level(x, 0);
    SSL_CTX_set_min_proto_version(x, what.min_version);
    SSL_CTX_set_max_proto_version(x, what.max_version);
    if (!what.ciphers.empty())
      SSL_CTX_set_cipher_list(x, what.ciphers.c_str());
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto patience = timeval{5, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    auto where = sockaddr_in{};
    where.sin_family = AF_INET;
    where.sin_port = htons(port);
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&where), sizeof(where))
        != 0)
      return;
    ssl_.reset(SSL_new(x));
    SSL_set_fd(ssl_.get(), fd_);
    if (!what.protocol.empty()) {
      const auto list = std::string(1, static_cast<char>(what.protocol.size()))
                        + what.protocol;
      SSL_set_alpn_protos(ssl_.get(),
                          reinterpret_cast<const unsigned char*>(list.data()),
                          static_cast<unsigned>(list.size()));
    }
    if (what.session != nullptr)
      SSL_set_session(ssl_.get(), what.session);
    is_secure_ = SSL_connect(ssl_.get()) == 1;
    if (!is_secure_)
      why_ = ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
  }

  client(const client&) = delete;
  client& operator=(const client&) = delete;

  ~client() {
    ssl_.reset();
    ::close(fd_);
  }

  [[nodiscard]] bool is_secure() const {
    return is_secure_;
  }

  /// OpenSSL's reason for a handshake that failed.
  [[nodiscard]] int why() const {
    return why_;
  }

  [[nodiscard]] SSL* ssl() const {
    return ssl_.get();
  }

  [[nodiscard]] std::string version() const {
    return SSL_get_version(ssl_.get());
  }

  [[nodiscard]] std::string protocol() const {
    const unsigned char* data = nullptr;
    auto size = 0U;
    SSL_get0_alpn_selected(ssl_.get(), &data, &size);
    return {reinterpret_cast<const char*>(data), size};
  }

  /// The name of the certificate that was shown.
  [[nodiscard]] std::string shown() const {
    const auto from = x509_ptr{SSL_get1_peer_certificate(ssl_.get())};
    char name[64] = {};
    if (from != nullptr)
      X509_NAME_get_text_by_NID(X509_get_subject_name(from.get()),
                                NID_commonName, name, sizeof(name));
    return name;
  }

  bool send(std::string_view bytes) {
    return SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
           == static_cast<int>(bytes.size());
  }

  /// Bytes up to and with `mark`; empty when the end comes first.
  std::string until(std::string_view mark) {
    for (;;) {
      if (const auto at = buffer_.find(mark); at != std::string::npos) {
        auto result = buffer_.substr(0, at + mark.size());
        buffer_.erase(0, at + mark.size());
        return result;
      }
      if (!receive())
        return "";
    }
  }

  std::string take(std::size_t n) {
    while (buffer_.size() < n)
      if (!receive())
        return "";
    auto result = buffer_.substr(0, n);
    buffer_.erase(0, n);
    return result;
  }

  /// The body of the next answer, whose head goes to `head`.
  std::string next(std::string& head) {
    head = until("\r\n\r\n");
    const auto at = head.find("Content-Length: ");
    return at == std::string::npos
             ? ""
             : take(std::strtoul(head.c_str() + at + 16, nullptr, 10));
  }

  std::string get(const std::string& path) {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
    auto head = std::string{};
    return next(head);
  }

  /// Whether the server ends the conversation in good order.
  bool ends_well() {
    while (receive())
      buffer_.clear();
    return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
  }

private:
  bool receive() {
    char bytes[16384];
    const auto n = SSL_read(ssl_.get(), bytes, sizeof(bytes));
    if (n <= 0)
      return false;
    buffer_.append(bytes, static_cast<std::size_t>(n));
    return true;
  }

  ctx_ptr context_;
  ssl_ptr ssl_;
  int fd_ = -1;
  int why_ = 0;
  bool is_secure_ = false;
  std::string buffer_;
};

} // namespace secure
