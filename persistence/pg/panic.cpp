#include "persistence/pg/panic.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace slipway::pg {

void panic(const char* format, ...) {
  std::fputs("slipway: programmer's mistake: ", stderr);
  std::va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  std::fputc('\n', stderr);
  std::fflush(stderr);
  std::abort();
}

} // namespace slipway::pg
