// The command line: what to do, and the exit code that tells how it went.

#include "http/app/command_line.hpp"

int main(int argc, char** argv) {
#ifdef SLIPWAY_FAULTS
  constexpr auto faults = true;
#else
  constexpr auto faults = false;
#endif
  return slipway::app::command_line{SLIPWAY_VERSION}.run(argc, argv, faults);
}
