#include "http/api/jwks.hpp"

#include "config/text.hpp"
#include "http/crypto/encoding.hpp"
#include "http/gateway/strict_json.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <unistd.h>

namespace slipway::api {

namespace json = boost::json;

using crypto::signature_kind;

namespace {

constexpr auto file_max = std::size_t{256 * 1024};

/// A token without a key's id is tried with each of its kind.
constexpr auto keys_max = std::size_t{32};

constexpr auto id_max = std::size_t{256};

/// Time stamps of files are no finer than this on some file systems.
constexpr auto stamp_step = millis{2'000};

template <class T>
using or_words = tl::expected<T, std::string>;

/// A text of another's file for a sentence of ours.
std::string in_quotes(std::string_view text) {
  return '"' + config::one_line(text, 80) + '"';
}

/// The bytes of a member in base64url.
or_words<std::string> bytes_of(const json::object& from, const char* name) {
  const auto text = gateway::text_of(from, name);
  if (!text || text->empty())
    return tl::unexpected{std::string{"expected \""} + name
                          + "\" in base64url, found none"};
  auto bytes = crypto::base64url_decode(*text);
  if (!bytes)
    return tl::unexpected{std::string{"expected \""} + name
                          + "\" in base64url without padding, found something "
                            "else"};
  return std::move(*bytes);
}

/// Whether a key is for verifying signatures, as far as it says.
bool is_for_signatures(const json::object& key) {
  const auto use = gateway::text_of(key, "use");
  if (use && *use != "sig")
    return false;
  const auto* operations = key.if_contains("key_ops");
  if (operations == nullptr || !operations->is_array())
    return true;
  const auto& list = operations->get_array();
  return std::any_of(list.begin(), list.end(), [](const json::value& x) {
    return x.is_string() && x.get_string() == "verify";
  });
}

/// The kind that type and curve make; nothing: not ours.
std::optional<signature_kind> kind_of(const json::object& key) {
  const auto type = gateway::text_of(key, "kty").value_or("");
  const auto curve = gateway::text_of(key, "crv").value_or("");
  if (type == "RSA")
    return signature_kind::rs256;
  if (type == "EC" && curve == "P-256")
    return signature_kind::es256;
  if (type == "OKP" && curve == "Ed25519")
    return signature_kind::eddsa;
  return std::nullopt;
}

or_words<crypto::signature_key>
make_key(const json::object& from, signature_kind kind) {
  if (kind == signature_kind::rs256) {
    const auto n = bytes_of(from, "n");
    const auto e = bytes_of(from, "e");
    if (!n || !e)
      return tl::unexpected{!n ? n.error() : e.error()};
    return crypto::signature_key::rsa(*n, *e);
  }
  const auto x = bytes_of(from, "x");
  if (!x)
    return tl::unexpected{x.error()};
  if (kind == signature_kind::eddsa)
    return crypto::signature_key::ed25519(*x);
  const auto y = bytes_of(from, "y");
  if (!y)
    return tl::unexpected{y.error()};
  return crypto::signature_key::p256(*x, *y);
}

/// Nothing: a key that is not for us.
or_words<std::optional<key_set::entry>> read_key(const json::value& from) {
  const auto* key = from.if_object();
  if (key == nullptr)
    return tl::unexpected{std::string{"expected an object, found something "
                                      "else"}};
  const auto type = gateway::text_of(*key, "kty");
  if (!type)
    return tl::unexpected{std::string{"expected \"kty\", found none"}};
  if (*type == "oct")
    return tl::unexpected{
      std::string{"expected public keys only, found a secret one (kty oct): a "
                  "secret belongs into auth.hs256_secret_file"}};
  if (key->contains("d"))
    return tl::unexpected{std::string{"expected public keys only, found a "
                                      "private one (\"d\")"}};
  const auto kind = kind_of(*key);
  const auto algorithm = gateway::text_of(*key, "alg");
  if (!kind || !is_for_signatures(*key)
      || (algorithm && *algorithm != to_string(*kind)))
    return std::nullopt;
  auto id = std::string{};
  if (const auto* given = key->if_contains("kid")) {
    if (!given->is_string() || given->get_string().empty()
        || given->get_string().size() > id_max)
      return tl::unexpected{std::string{"expected \"kid\" as a text of 1 to "
                                        "256 bytes, found something else"}};
    id = std::string{given->get_string()};
  }
  auto made = make_key(*key, *kind);
  if (!made)
    return tl::unexpected{std::move(made.error())};
  return key_set::entry{std::move(id), std::move(*made)};
}

} // namespace

// -- the keys
// --------------------------------------------------------------------------

tl::expected<key_set, std::string> key_set::parse(std::string_view text) {
  const auto root = gateway::parse_object(text);
  if (!root)
    return tl::unexpected{"expected a JSON Web Key Set, found no JSON object: "
                          + config::one_line(root.error())};
  const auto* keys = root->if_contains("keys");
  if (keys == nullptr || !keys->is_array())
    return tl::unexpected{std::string{"expected a JSON Web Key Set with a list "
                                      "\"keys\", found none"}};
  auto out = key_set{};
  auto number = 0;
  for (const auto& each : keys->get_array()) {
    ++number;
    const auto* object = each.if_object();
    const auto id
      = object != nullptr ? gateway::text_of(*object, "kid") : std::nullopt;
    const auto place = "key " + std::to_string(number)
                       + (id ? " (kid " + in_quotes(*id) + ")" : std::string{})
                       + ": ";
    auto made = read_key(each);
    if (!made)
      return tl::unexpected{place + made.error()};
    if (!*made)
      continue;
    auto& entry = **made;
    if (!entry.id.empty() && out.fits(entry.id, entry.key.kind()))
      return tl::unexpected{place
                            + "expected one key of this kid and type, found a "
                              "second one"};
    out.entries_.push_back(std::move(entry));
  }
  if (out.entries_.empty())
    return tl::unexpected{std::string{"expected at least one key for RS256, "
                                      "ES256 or EdDSA (Ed25519), found none"}};
  if (out.entries_.size() > keys_max)
    return tl::unexpected{"expected at most " + std::to_string(keys_max)
                          + " keys, found "
                          + std::to_string(out.entries_.size())};
  return out;
}

bool key_set::knows(std::string_view id) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const entry& x) {
    return x.id == id;
  });
}

bool key_set::fits(std::string_view id, signature_kind kind) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const entry& x) {
    return x.key.kind() == kind && (id.empty() || x.id == id);
  });
}

bool key_set::verify(std::string_view id, signature_kind kind,
                     std::string_view message,
                     std::string_view signature) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const entry& x) {
    return x.key.kind() == kind && (id.empty() || x.id == id)
           && x.key.verify(message, signature);
  });
}

std::string key_set::describe() const {
  auto out = std::to_string(entries_.size())
             + (entries_.size() == 1 ? " key: " : " keys: ");
  for (const auto& x : entries_) {
    if (&x != &entries_.front())
      out += ", ";
    out += to_string(x.key.kind());
    if (!x.id.empty())
      out += ' ' + in_quotes(x.id);
  }
  return out;
}

// -- the file
// --------------------------------------------------------------------------

namespace {

struct closer {
  int fd;

  ~closer() {
    if (fd >= 0)
      ::close(fd);
  }
};

std::int64_t count(timestamp at) {
  return at.time_since_epoch().count();
}

std::string system_words() {
  return std::strerror(errno);
}

/// All of a file, as long as it is a small one.
or_words<std::string> read_all(int fd) {
  auto out = std::string{};
  char part[16 * 1024];
  for (;;) {
    const auto got = ::read(fd, part, sizeof(part));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      return tl::unexpected{"expected a readable file, found: "
                            + system_words()};
    if (got == 0)
      return out;
    out.append(part, static_cast<std::size_t>(got));
    if (out.size() > file_max)
      return tl::unexpected{std::string{"expected at most 256 KiB, found "
                                        "more"}};
  }
}

} // namespace

void key_file::look(timestamp now) const {
  due_at_ = count(now + interval);
  const auto complain = [this](const std::string& what) {
    if (keys_.load() != nullptr)
      spdlog::error("auth.jwks_file: {}: {}; the keys that were read before "
                    "stay in use",
                    path_, what);
    else
      content_ = what;
  };
  // A pipe in its place must not hold anybody up.
  const auto file
    = closer{::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat meta = {};
  if (file.fd < 0 || ::fstat(file.fd, &meta) != 0 || !S_ISREG(meta.st_mode)) {
    const auto why
      = file.fd < 0 ? system_words() : std::string{"something that is no file"};
    // Said once, until there is a file again.
    if (std::exchange(seen_, mark{}) != mark{} || keys_.load() == nullptr)
      complain("expected a readable file, found: " + why);
    return;
  }
  auto now_there = mark{};
  now_there.device = static_cast<std::uint64_t>(meta.st_dev);
  now_there.inode = static_cast<std::uint64_t>(meta.st_ino);
  now_there.size = static_cast<std::int64_t>(meta.st_size);
  now_there.changed_ns
    = static_cast<std::int64_t>(meta.st_mtim.tv_sec) * 1'000'000'000
      + meta.st_mtim.tv_nsec;
  if (now_there == seen_ && !fresh_)
    return;
  const auto changed_again = now_there != seen_;
  seen_ = now_there;
  fresh_ = now_there.changed_ns / 1'000'000 + stamp_step.count() >= count(now);
  auto text = read_all(file.fd);
  if (!text) {
    if (changed_again)
      complain(text.error());
    return;
  }
  if (keys_.load() != nullptr && *text == content_)
    return;
  auto made = key_set::parse(*text);
  const auto first = keys_.load() == nullptr;
  if (!made) {
    complain(made.error());
    if (!first)
      content_ = std::move(*text);
    return;
  }
  content_ = std::move(*text);
  if (!first)
    spdlog::info("auth.jwks_file: {}: read anew, {}", path_, made->describe());
  keys_ = std::make_shared<const key_set>(std::move(*made));
}

tl::expected<std::unique_ptr<key_file>, std::string>
key_file::open(std::string path, timestamp now) {
  auto out = std::unique_ptr<key_file>{new key_file{std::move(path)}};
  const auto guard = std::lock_guard{out->mutex_};
  out->look(now);
  if (out->keys_.load() == nullptr)
    return tl::unexpected{out->path_ + ": " + out->content_};
  return out;
}

key_file::keys_ptr key_file::keys(timestamp now) const {
  const auto due = due_at_.load(std::memory_order_relaxed);
  // A clock that went back must not put the next look off.
  if (count(now) >= due || due - count(now) > interval.count()) {
    // Nobody waits for somebody else's look.
    if (const auto guard = std::unique_lock{mutex_, std::try_to_lock};
        guard.owns_lock() && due == due_at_.load())
      look(now);
  }
  return keys_.load();
}

key_file::keys_ptr key_file::look_again(timestamp now) const {
  const auto guard = std::lock_guard{mutex_};
  const auto next = forced_at_.load();
  if (count(now) >= next || next - count(now) > forced_interval.count()) {
    forced_at_ = count(now + forced_interval);
    look(now);
  }
  return keys_.load();
}

} // namespace slipway::api
