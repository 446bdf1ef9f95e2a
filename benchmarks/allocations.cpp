#include "benchmarks/allocations.hpp"

#include <cstdlib>
#include <new>

namespace {

std::uint64_t count = 0;

} // namespace

std::uint64_t slipway::bench::allocations() noexcept {
  return count;
}

void* operator new(std::size_t size) {
  ++count;
  if (auto* out = std::malloc(size == 0 ? 1 : size))
    return out;
  throw std::bad_alloc{};
}

void operator delete(void* what) noexcept {
  std::free(what);
}

void operator delete(void* what, std::size_t) noexcept {
  std::free(what);
}
