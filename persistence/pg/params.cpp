#include "persistence/pg/params.hpp"

#include "persistence/pg/panic.hpp"

namespace slipway::pg {

std::optional<std::string_view> params::encoded(std::size_t index) const {
  if (index >= types_.size())
    panic("parameter %zu of %zu", index + 1, types_.size());
  if (offsets_[index] == null_offset)
    return std::nullopt;
  return std::string_view{buffer_}.substr(
    offsets_[index], static_cast<std::size_t>(lengths_[index]));
}

const char* const* params::values() const {
  pointers_.clear();
  for (const std::size_t offset : offsets_)
    pointers_.push_back(offset == null_offset ? nullptr
                                              : buffer_.data() + offset);
  return pointers_.data();
}

const int* params::formats() const {
  if (formats_.size() < types_.size())
    formats_.resize(types_.size(), 1);
  return formats_.data();
}

} // namespace slipway::pg
