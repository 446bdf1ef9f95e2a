#pragma once

#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"
#include "http/gateway/protocol.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

/// What has to hold for every input, however strange.
namespace slipway::fuzz {

/// Ends the process, which libFuzzer takes for a finding, unless it holds.
inline void require(bool holds, const char* what) {
  if (holds)
    return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

inline bool has_duplicate(const crypto::form_fields& fields) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : fields)
    names.emplace_back(name);
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) != names.end();
}

/// `a=1&b=2`: the fields but those named, sorted. What signs are made over.
inline std::string joined(crypto::form_fields fields, bool empty_ones,
                          std::initializer_list<std::string_view> without) {
  std::erase_if(fields, [&](const auto& field) {
    return (field.second.empty() && !empty_ones)
           || std::find(without.begin(), without.end(), field.first)
                != without.end();
  });
  std::sort(fields.begin(), fields.end());
  std::string result;
  for (const auto& [name, value] : fields)
    result += (result.empty() ? "" : "&") + name + '=' + value;
  return result;
}

/// A number or name that goes into the database and onto pages.
inline bool is_presentable(std::string_view text) {
  return text.size() <= 256 && crypto::is_utf8(text)
         && !crypto::has_control(text);
}

/// What holds for every reading of every protocol.
inline void check(const gateway::reading& x) {
  using gateway::meaning;
  if (x.refused) {
    require(!x.refused->sentence.empty(), "a refusal says why");
    require(x.refused->sentence.size() < 2000, "and is brief about it");
    require(crypto::is_utf8(x.refused->sentence), "and speaks UTF-8");
    return;
  }
  require(is_authentic(x), "nothing is taken that is not authentic");
  const auto& what = x.what;
  for (const auto* text : {&what.event_id, &what.order_id, &what.transaction_id,
                           &what.refund_id, &what.currency, &what.word})
    require(is_presentable(*text), "what is taken can be stored and shown");
  if (what.is == meaning::nothing)
    return;
  require(!what.order_id.empty(), "news are about an order");
  require(what.amount >= 0 && what.amount <= amount_max_minor,
          "an amount is within the limits");
  if (what.is == meaning::payment || what.is == meaning::refund)
    require(!what.transaction_id.empty(), "money has a transaction");
  if (what.is == meaning::payment)
    require(what.currency == "CNY", "a payment is in yuan");
  if (what.is == meaning::refund)
    require(what.refund_amount.value_or(0) > 0
              || what.refunded_total.value_or(0) > 0,
            "a refund says how much");
}

} // namespace slipway::fuzz
