#include "http/provider/log_cursor.hpp"

#include "http/crypto/digest.hpp"
#include "http/crypto/encoding.hpp"

#include <algorithm>
#include <vector>

namespace slipway::provider {

namespace {

/// The first byte. Cursors of another form are other cursors.
constexpr auto version = char{1};

/// Enough to tell our own from typing errors and from other people's. It is no
/// secret: whoever forges a cursor reads their own log from another line.
constexpr auto seal_bytes = std::size_t{6};

std::string seal_of(std::string_view content, subscription_id of) {
  return crypto::sha256("slipway log cursor\n" + std::to_string(raw(of)) + "\n"
                        + std::string{content})
    .substr(0, seal_bytes);
}

void put(std::uint64_t x, std::string& to) {
  while (x >= 0x80) {
    to += static_cast<char>(x | 0x80U);
    x >>= 7U;
  }
  to += static_cast<char>(x);
}

/// Takes numbers from the front of a text.
class taker {
public:
  explicit taker(std::string_view from) : left_{from} {
  }

  std::uint64_t take() {
    auto out = std::uint64_t{0};
    for (auto shift = 0U; shift < 64; shift += 7) {
      if (left_.empty())
        break;
      const auto c = static_cast<unsigned char>(left_.front());
      left_.remove_prefix(1);
      out |= static_cast<std::uint64_t>(c & 0x7fU) << shift;
      if ((c & 0x80U) == 0)
        return out;
    }
    ok_ = false;
    return 0;
  }

  /// Whether everything was there, and nothing is left.
  [[nodiscard]] bool done() const {
    return ok_ && left_.empty();
  }

private:
  std::string_view left_;
  bool ok_ = true;
};

} // namespace

std::uint32_t log_lane_id(std::string_view deployment_id, log_source source) {
  const auto digest = crypto::sha256(std::to_string(static_cast<int>(source))
                                     + "|" + std::string{deployment_id});
  auto out = std::uint32_t{0};
  for (std::size_t i = 0; i < 4; ++i)
    out = out << 8U | static_cast<unsigned char>(digest[i]);
  return out;
}

std::string encode_log_cursor(const log_cursor& from, subscription_id of) {
  using lane = std::pair<std::uint32_t, log_place>;
  auto lanes = std::vector<lane>{from.lanes.begin(), from.lanes.end()};
  if (lanes.size() > log_cursor_lanes_max) {
    std::stable_sort(lanes.begin(), lanes.end(),
                     [](const lane& a, const lane& b) {
                       return a.second > b.second;
                     });
    lanes.resize(log_cursor_lanes_max);
  }
  auto content = std::string{version};
  put(static_cast<std::uint64_t>(from.event), content);
  put(from.told, content);
  put(lanes.size(), content);
  for (const auto& [id, place] : lanes) {
    put(id, content);
    put(static_cast<std::uint64_t>(place.at), content);
    put(place.count, content);
  }
  return crypto::base64url_encode(content + seal_of(content, of));
}

std::optional<log_cursor>
decode_log_cursor(std::string_view text, subscription_id of) {
  if (text.size() > 4'096)
    return std::nullopt;
  const auto bytes = crypto::base64url_decode(text);
  if (!bytes || bytes->size() <= seal_bytes || bytes->front() != version)
    return std::nullopt;
  const auto content
    = std::string_view{*bytes}.substr(0, bytes->size() - seal_bytes);
  if (std::string_view{*bytes}.substr(content.size()) != seal_of(content, of))
    return std::nullopt;
  auto from = taker{content.substr(1)};
  auto out = log_cursor{};
  out.event = static_cast<std::int64_t>(from.take());
  const auto told = from.take();
  const auto lanes = from.take();
  if (out.event < 0 || told > 0xff || lanes > log_cursor_lanes_max)
    return std::nullopt;
  out.told = static_cast<std::uint8_t>(told);
  for (auto i = std::uint64_t{0}; i < lanes; ++i) {
    const auto id = from.take();
    const auto at = static_cast<nanos>(from.take());
    const auto count = from.take();
    if (id > 0xffff'ffff || at < 0 || count > 0xffff'ffff)
      return std::nullopt;
    out.lanes[static_cast<std::uint32_t>(id)]
      = {at, static_cast<std::uint32_t>(count)};
  }
  if (!from.done())
    return std::nullopt;
  return out;
}

} // namespace slipway::provider
