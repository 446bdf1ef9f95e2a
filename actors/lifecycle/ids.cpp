#include "actors/lifecycle/ids.hpp"

#include <array>
#include <random>

namespace slipway {

namespace {

constexpr std::string_view alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

static_assert(alphabet.size() == 32);

constexpr size_t id_digits = 13;

constexpr size_t seq_digits = 3;

/// 2024-01-01T00:00:00Z in milliseconds since 1970.
constexpr std::int64_t first_millisecond = 1'704'067'200'000;

constexpr std::array<std::int8_t, 256> make_values() {
  auto values = std::array<std::int8_t, 256>{};
  for (auto& value : values)
    value = -1;
  for (size_t i = 0; i < alphabet.size(); ++i)
    values[static_cast<unsigned char>(alphabet[i])]
      = static_cast<std::int8_t>(i);
  return values;
}

constexpr auto values = make_values();

void append(std::string& out, std::uint64_t value, size_t digits) {
  for (auto i = digits; i-- > 0;)
    out += alphabet[(value >> (5 * i)) & 31];
}

std::optional<std::uint64_t> parse(std::string_view text) {
  auto value = std::uint64_t{0};
  for (auto c : text) {
    const auto digit = values[static_cast<unsigned char>(c)];
    if (digit < 0)
      return std::nullopt;
    value = value << 5 | static_cast<std::uint64_t>(digit);
  }
  return value;
}

std::string format(std::string_view prefix, subscription_id id) {
  auto out = std::string{prefix};
  out.reserve(prefix.size() + id_digits + seq_digits);
  append(out, raw(id), id_digits);
  return out;
}

/// Takes `prefix` and an id off the front of `text`.
std::optional<subscription_id>
take_id(std::string_view& text, std::string_view prefix) {
  if (text.size() < prefix.size() + id_digits || !text.starts_with(prefix))
    return std::nullopt;
  const auto digits = text.substr(prefix.size(), id_digits);
  // 13 digits hold 65 bits, an id has 63: anything larger is no id of ours.
  if (digits.front() > '7')
    return std::nullopt;
  const auto value = parse(digits);
  if (!value)
    return std::nullopt;
  text.remove_prefix(prefix.size() + id_digits);
  return subscription_id{*value};
}

struct numbered {
  subscription_id id;
  std::uint32_t seq;
};

std::optional<numbered>
parse_numbered(std::string_view text, std::string_view prefix) {
  const auto id = take_id(text, prefix);
  if (!id || text.size() != seq_digits)
    return std::nullopt;
  const auto seq = parse(text);
  if (!seq || *seq == 0)
    return std::nullopt;
  return numbered{*id, static_cast<std::uint32_t>(*seq)};
}

} // namespace

std::uint64_t system_entropy::next() noexcept {
  thread_local auto engine = [] {
    auto device = std::random_device{};
    auto seed = std::seed_seq{device(), device(), device(), device()};
    return std::mt19937_64{seed};
  }();
  return engine();
}

subscription_id make_subscription_id(timestamp at, std::uint64_t random) {
  const auto since = at.time_since_epoch().count() - first_millisecond;
  const auto time = static_cast<std::uint64_t>(since) & ((1ull << 41) - 1);
  return subscription_id{time << 22 | (random & ((1ull << 22) - 1))};
}

std::string to_text(subscription_id id) {
  return format("sub_", id);
}

std::optional<subscription_id> parse_subscription_id(std::string_view text) {
  const auto id = take_id(text, "sub_");
  if (!text.empty())
    return std::nullopt;
  return id;
}

std::string to_text(order_ref ref) {
  auto out = format("sw", ref.subscription);
  append(out, ref.seq, seq_digits);
  return out;
}

std::optional<order_ref> parse_order_ref(std::string_view text) {
  if (const auto x = parse_numbered(text, "sw"))
    return order_ref{x->id, x->seq};
  return std::nullopt;
}

std::string to_text(instance_ref ref) {
  auto out = format("ins_", ref.subscription);
  append(out, ref.seq, seq_digits);
  return out;
}

std::optional<instance_ref> parse_instance_ref(std::string_view text) {
  if (const auto x = parse_numbered(text, "ins_"))
    return instance_ref{x->id, x->seq};
  return std::nullopt;
}

std::string project_name(subscription_id id) {
  return format("sub-", id);
}

std::optional<subscription_id> parse_project_name(std::string_view text) {
  const auto id = take_id(text, "sub-");
  if (!text.empty())
    return std::nullopt;
  return id;
}

} // namespace slipway
