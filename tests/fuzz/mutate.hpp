#pragma once

#include "http/crypto/form.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>

extern "C" std::size_t
LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

/// Changes by field instead of by byte: a message keeps its form, and so gets
/// to the checks behind it.
namespace slipway::fuzz {

/// What a forger would try on one field.
inline void mutate_fields(crypto::form_fields& fields, unsigned int seed) {
  std::minstd_rand random{seed};
  auto below = [&random](std::size_t end) {
    return end == 0 ? 0 : random() % end;
  };
  if (fields.empty())
    return;
  const auto at = below(fields.size());
  auto& [name, value] = fields[at];
  switch (random() % 8) {
    case 0: // without it
      fields.erase(fields.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      value.clear();
      break;
    case 2: // cut short
      value.resize(below(value.size()));
      break;
    case 3:
      value.erase(0, below(value.size()));
      break;
    case 4: // one character is another
      if (!value.empty())
        value[below(value.size())] = static_cast<char>(' ' + random() % 95);
      break;
    case 5: // one more
      value.insert(value.begin()
                     + static_cast<std::ptrdiff_t>(below(value.size() + 1)),
                   static_cast<char>('0' + random() % 10));
      break;
    case 6: // what stands in another
      value = fields[below(fields.size())].second;
      break;
    case 7:
      name = fields[below(fields.size())].first;
      break;
  }
}

/// Half of the time by field, where the text has fields; else by byte.
/// @param decode text to fields (or nothing).
/// @param encode the way back.
template <class Decode, class Encode>
std::size_t mutate(std::uint8_t* data, std::size_t size, std::size_t max_size,
                   unsigned int seed, Decode decode, Encode encode) {
  if (seed % 2 == 0)
    if (auto fields
        = decode(std::string_view{reinterpret_cast<const char*>(data), size})) {
      mutate_fields(*fields, seed / 2 + 1);
      const std::string text = encode(*fields);
      if (text.size() <= max_size) {
        std::memcpy(data, text.data(), text.size());
        return text.size();
      }
    }
  return LLVMFuzzerMutate(data, size, max_size);
}

} // namespace slipway::fuzz
