#include "http/cli/event_reader.hpp"

#include <utility>

namespace slipway::cli {

namespace {

constexpr auto size_max = std::size_t{1024 * 1024};

} // namespace

std::vector<server_event> event_reader::take(std::string_view piece) {
  auto out = std::vector<server_event>{};
  for (const auto c : piece) {
    if (std::exchange(after_return_, false) && c == '\n')
      continue;
    if (c == '\n' || c == '\r') {
      after_return_ = c == '\r';
      read_line(std::exchange(line_, {}), out);
      continue;
    }
    if (line_.size() + data_.size() >= size_max) {
      overflowed_ = true;
      break;
    }
    line_ += c;
  }
  return out;
}

void event_reader::restart() {
  line_.clear();
  name_.clear();
  data_.clear();
  has_data_ = false;
  after_return_ = false;
  overflowed_ = false;
}

void event_reader::read_line(std::string_view line,
                             std::vector<server_event>& out) {
  if (line.empty()) {
    if (has_data_)
      out.push_back({id_, name_.empty() ? "message" : name_, data_});
    name_.clear();
    data_.clear();
    has_data_ = false;
    return;
  }
  const auto colon = line.find(':');
  const auto field = line.substr(0, colon);
  auto value = colon == std::string_view::npos ? std::string_view{}
                                               : line.substr(colon + 1);
  if (value.starts_with(' '))
    value.remove_prefix(1);
  if (field == "data") {
    if (has_data_)
      data_ += '\n';
    data_ += value;
    has_data_ = true;
  } else if (field == "event") {
    name_ = value;
  } else if (field == "id") {
    id_ = value;
  }
}

} // namespace slipway::cli
