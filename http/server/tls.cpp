#include "http/server/tls.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace slipway::http {

namespace {

/// A long chain has some 20 KiB.
constexpr auto file_bytes_max = std::size_t{1024} * 1024;

constexpr auto day = std::chrono::hours{24};

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
using file_ptr = std::unique_ptr<FILE, deleter<&std::fclose>>;

std::string last_reason() {
  const auto code = ERR_peek_last_error();
  const auto* text = code == 0 ? nullptr : ERR_reason_error_string(code);
  return text == nullptr ? "no reason given" : text;
}

// -- the files ----------------------------------------------------------------

/// What changes when somebody writes to a file or puts another in its place.
struct stamp {
  bool is_there = false;
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  std::int64_t modified = 0; ///< Nanoseconds.
  std::int64_t changed = 0;  ///< The same, of the inode.

  bool operator==(const stamp&) const = default;
};

stamp stamp_of(const std::string& path) {
  struct ::stat found {};
  if (::stat(path.c_str(), &found) != 0)
    return {};
  const auto nanos = [](const timespec& x) {
    return std::int64_t{x.tv_sec} * 1'000'000'000 + x.tv_nsec;
  };
  return {true,          found.st_dev,         found.st_ino,
          found.st_size, nanos(found.st_mtim), nanos(found.st_ctim)};
}

using stamps = std::pair<stamp, stamp>;

/// The content, or what keeps it from being read.
tl::expected<std::string, std::string> read(const std::string& path) {
  struct ::stat found {};
  if (::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode))
    return tl::unexpected{std::string{"something that is no file"}};
  const auto file = file_ptr{std::fopen(path.c_str(), "rbe")};
  if (file == nullptr)
    return tl::unexpected{std::string{std::strerror(errno)}};
  auto result = std::string{};
  auto chunk = std::array<char, 8192>{};
  while (const auto n = std::fread(chunk.data(), 1, chunk.size(), file.get())) {
    result.append(chunk.data(), n);
    if (result.size() > file_bytes_max)
      return tl::unexpected{std::string{"more than 1 MiB"}};
  }
  if (std::ferror(file.get()) != 0)
    return tl::unexpected{std::string{std::strerror(errno)}};
  return result;
}

bio_ptr reader_of(const std::string& text) {
  return bio_ptr{BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))};
}

// -- a certificate with its key -----------------------------------------------

struct identity {
  std::shared_ptr<ssl_ctx_st> context;
  tls_keeper::clock::time_point valid_until;
  std::string subject;
};

using made_identity = tl::expected<identity, tls_fault>;

tl::unexpected<tls_fault>
fault(tls_fault::file of, std::string expected, std::string found) {
  return tl::unexpected{tls_fault{of, std::move(expected), std::move(found)}};
}

/// Nobody sits there to be asked; without this OpenSSL would ask the terminal.
int no_password(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

tl::expected<std::vector<x509_ptr>, tls_fault>
read_chain(const std::string& text) {
  constexpr auto expected
    = "certificates in PEM, the server's own first, then those between it and "
      "its root";
  auto result = std::vector<x509_ptr>{};
  const auto from = reader_of(text);
  for (;;) {
    ERR_clear_error();
    auto next
      = x509_ptr{PEM_read_bio_X509(from.get(), nullptr, nullptr, nullptr)};
    if (next != nullptr) {
      result.push_back(std::move(next));
      continue;
    }
    const auto why = ERR_peek_last_error();
    const auto is_end = ERR_GET_LIB(why) == ERR_LIB_PEM
                        && ERR_GET_REASON(why) == PEM_R_NO_START_LINE;
    if (!is_end)
      return fault(tls_fault::certificate, expected,
                   "a broken one in place " + std::to_string(result.size() + 1)
                     + " (" + last_reason() + ")");
    if (result.empty())
      return fault(tls_fault::certificate, expected, "none");
    return result;
  }
}

tl::expected<pkey_ptr, tls_fault> read_key(const std::string& text) {
  constexpr auto expected = "a private key in PEM without a password";
  ERR_clear_error();
  auto asked = false;
  const auto from = reader_of(text);
  auto key = pkey_ptr{
    PEM_read_bio_PrivateKey(from.get(), nullptr, &no_password, &asked)};
  if (key != nullptr)
    return key;
  const auto none = text.find("PRIVATE KEY-----") == std::string::npos;
  return fault(tls_fault::key, expected,
               asked  ? "one with a password"
               : none ? "none"
                      : "a broken one (" + last_reason() + ")");
}

tls_keeper::clock::time_point end_of(const X509* from) {
  auto parts = std::tm{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(from), &parts) != 1)
    return {};
  return tls_keeper::clock::from_time_t(::timegm(&parts));
}

std::string subject_of(const X509* from) {
  const auto to = bio_ptr{BIO_new(BIO_s_mem())};
  X509_NAME_print_ex(to.get(), X509_get_subject_name(from), 0,
                     XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
  char* data = nullptr;
  const auto size = BIO_get_mem_data(to.get(), &data);
  auto result
    = size > 0 ? std::string{data, static_cast<std::size_t>(size)} : "";
  return result.empty() ? "a certificate without a subject" : result;
}

/// Takes `http/1.1` of what a client offers. One that offers only others would
/// not understand a word.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* size,
                    const unsigned char* in, unsigned int in_size, void*) {
  static constexpr auto ours
    = std::array<unsigned char, 9>{8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  auto* chosen = static_cast<unsigned char*>(nullptr);
  if (SSL_select_next_proto(&chosen, size, ours.data(),
                            static_cast<unsigned>(ours.size()), in, in_size)
      != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

std::shared_ptr<ssl_ctx_st> make_context() {
  auto made = std::shared_ptr<ssl_ctx_st>{SSL_CTX_new(TLS_server_method()),
                                          [](ssl_ctx_st* x) {
                                            SSL_CTX_free(x);
                                          }};
  auto* x = made.get();
  if (x == nullptr || SSL_CTX_set_min_proto_version(x, TLS1_2_VERSION) != 1
      || SSL_CTX_set_cipher_list(x, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1)
    return nullptr;
  SSL_CTX_set_options(x, SSL_OP_NO_RENEGOTIATION
                           | SSL_OP_NO_COMPRESSION
                           // What a request is ends by itself.
                           | SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_mode(x, SSL_MODE_ENABLE_PARTIAL_WRITE
                        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                        // There may be thousands that say nothing.
                        | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(x, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(x, 1);
  SSL_CTX_set_alpn_select_cb(x, &choose_protocol, nullptr);
  return made;
}

made_identity read_identity(const tls_files& files) {
  const auto chain_text = read(files.certificate);
  if (!chain_text)
    return fault(tls_fault::certificate, "a file that can be read",
                 chain_text.error());
  const auto key_text = read(files.key);
  if (!key_text)
    return fault(tls_fault::key, "a file that can be read", key_text.error());
  const auto chain = read_chain(*chain_text);
  if (!chain)
    return tl::unexpected{chain.error()};
  const auto key = read_key(*key_text);
  if (!key)
    return tl::unexpected{key.error()};
  const auto made = make_context();
  if (made == nullptr)
    return fault(tls_fault::certificate, "an OpenSSL that speaks TLS 1.2",
                 last_reason());
  auto* x = made.get();
  auto* own = chain->front().get();
  ERR_clear_error();
  if (SSL_CTX_use_certificate(x, own) != 1)
    return fault(tls_fault::certificate, "a certificate that TLS can use",
                 last_reason());
  for (auto i = std::size_t{1}; i < chain->size(); ++i)
    if (SSL_CTX_add1_chain_cert(x, (*chain)[i].get()) != 1)
      return fault(tls_fault::certificate, "a certificate that TLS can use",
                   last_reason() + " in place " + std::to_string(i + 1));
  if (X509_check_private_key(own, key->get()) != 1)
    return fault(tls_fault::key,
                 "the private key of the first certificate in "
                   + files.certificate,
                 "another one's");
  if (SSL_CTX_use_PrivateKey(x, key->get()) != 1)
    return fault(tls_fault::key, "a private key that TLS can use",
                 last_reason());
  ERR_clear_error();
  return identity{made, end_of(own), subject_of(own)};
}

std::string date_of(tls_keeper::clock::time_point when) {
  const auto seconds = tls_keeper::clock::to_time_t(when);
  auto parts = std::tm{};
  ::gmtime_r(&seconds, &parts);
  auto text = std::array<char, 16>{};
  const auto n = std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts);
  return {text.data(), n};
}

} // namespace

std::string to_string(const tls_fault& what, const tls_files& files) {
  return (what.of == tls_fault::key ? files.key : files.certificate)
         + ": expected " + what.expected + ", found " + what.found;
}

struct tls_keeper::impl {
  tls_files files;
  mutable std::mutex mutex; ///< Of `now`.
  identity now;

  // Of whoever looks.
  std::mutex looking;
  stamps settled; ///< Of what is in use, or was complained about.
  stamps suspect; ///< Of what did not fit the last time.
  bool is_suspect = false;
  clock::time_point warned_at;

  // The watch.
  std::mutex ending;
  std::condition_variable ended;
  bool is_over = false;
  std::thread watcher;

  void warn_of_expiry(clock::time_point at) {
    if (at < warned_at + day)
      return;
    const auto notice = expiry_notice(now.valid_until, at);
    if (!notice)
      return;
    warned_at = at;
    spdlog::warn("tls: the certificate of {} {}", now.subject, *notice);
  }

  void complain(const tls_fault& why) {
    const auto& file = why.of == tls_fault::key ? files.key : files.certificate;
    spdlog::error("tls: {}: expected {}, found {}; the certificate of {} stays "
                  "in use",
                  file, why.expected, why.found, now.subject);
  }
};

tls_keeper::tls_keeper(std::unique_ptr<impl> state) : impl_{std::move(state)} {
}

tls_keeper::~tls_keeper() {
  {
    const auto lock = std::lock_guard{impl_->ending};
    impl_->is_over = true;
  }
  impl_->ended.notify_all();
  if (impl_->watcher.joinable())
    impl_->watcher.join();
}

tl::expected<std::shared_ptr<tls_keeper>, tls_fault>
tls_keeper::open(tls_files files) {
  auto made = std::make_unique<impl>();
  made->files = std::move(files);
  // Before they are read: a change that comes in between is seen later.
  made->settled
    = {stamp_of(made->files.certificate), stamp_of(made->files.key)};
  auto found = read_identity(made->files);
  if (!found)
    return tl::unexpected{std::move(found.error())};
  made->now = std::move(*found);
  return std::shared_ptr<tls_keeper>{new tls_keeper{std::move(made)}};
}

void tls_keeper::watch(millis every) {
  auto& x = *impl_;
  const auto lock = std::lock_guard{x.ending};
  if (x.watcher.joinable())
    return;
  x.watcher = std::thread{[this, &x, every] {
    auto held = std::unique_lock{x.ending};
    while (!x.is_over) {
      held.unlock();
      look();
      held.lock();
      x.ended.wait_for(held, every, [&x] {
        return x.is_over;
      });
    }
  }};
}

tls_keeper::outcome tls_keeper::look(clock::time_point now) {
  auto& x = *impl_;
  const auto lock = std::lock_guard{x.looking};
  x.warn_of_expiry(now);
  const auto found
    = stamps{stamp_of(x.files.certificate), stamp_of(x.files.key)};
  if (found == x.settled) {
    x.is_suspect = false;
    return outcome::same;
  }
  auto made = read_identity(x.files);
  if (made) {
    x.settled = found;
    x.is_suspect = false;
    x.warned_at = {};
    spdlog::info("tls: the certificate of {}, valid until {}, is in use",
                 made->subject, date_of(made->valid_until));
    const auto held = std::lock_guard{x.mutex};
    x.now = std::move(*made);
    return outcome::taken;
  }
  if (!x.is_suspect || found != x.suspect) {
    x.is_suspect = true;
    x.suspect = found;
    return outcome::waiting;
  }
  x.settled = found;
  x.is_suspect = false;
  x.complain(made.error());
  return outcome::refused;
}

std::shared_ptr<ssl_ctx_st> tls_keeper::current() const {
  const auto lock = std::lock_guard{impl_->mutex};
  return impl_->now.context;
}

tls_keeper::clock::time_point tls_keeper::valid_until() const {
  const auto lock = std::lock_guard{impl_->mutex};
  return impl_->now.valid_until;
}

std::string tls_keeper::subject() const {
  const auto lock = std::lock_guard{impl_->mutex};
  return impl_->now.subject;
}

std::optional<std::string>
expiry_notice(tls_keeper::clock::time_point valid_until,
              tls_keeper::clock::time_point now) {
  if (valid_until <= now)
    return "expired on " + date_of(valid_until);
  if (valid_until - now >= tls_expiry_notice)
    return std::nullopt;
  return "expires on " + date_of(valid_until) + ", in "
         + std::to_string((valid_until - now) / day) + " day(s)";
}

} // namespace slipway::http
