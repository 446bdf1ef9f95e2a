#pragma once

namespace slipway::pg {

/// Prints what the programmer got wrong and aborts. For the assertions that
/// stay on in release builds.
[[noreturn]] [[gnu::format(printf, 1, 2)]] void panic(const char* format, ...);

} // namespace slipway::pg
