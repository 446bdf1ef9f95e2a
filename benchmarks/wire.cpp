#include "benchmarks/wire.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace slipway::bench {

void give_up(const std::string& what) {
  throw std::runtime_error{what + ": " + std::strerror(errno)};
}

double cpu_seconds() {
  auto used = rusage{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto of = [](const timeval& x) {
    return static_cast<double>(x.tv_sec) + static_cast<double>(x.tv_usec) / 1e6;
  };
  return of(used.ru_utime) + of(used.ru_stime);
}

std::optional<std::string_view>
header(std::string_view head, std::string_view name) {
  const auto same = [](char wanted, char c) {
    return wanted == (c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c);
  };
  for (auto at = head.find("\r\n"); at != std::string_view::npos;
       at = head.find("\r\n", at)) {
    at += 2;
    const auto line = head.substr(at);
    if (line.size() < name.size()
        || !std::equal(name.begin(), name.end(), line.begin(), same))
      continue;
    auto value = line.substr(name.size(), line.find("\r\n") - name.size());
    value.remove_prefix(std::min(value.size(), value.find_first_not_of(" \t")));
    return value;
  }
  return std::nullopt;
}

} // namespace slipway::bench
