#pragma once

#include <optional>
#include <string>
#include <string_view>

/// What the programs share that speak HTTP by hand, so that they take as little
/// as possible of the machine on which others are measured.
namespace slipway::bench {

/// Throws std::runtime_error with what `errno` says.
[[noreturn]] void give_up(const std::string& what);

/// User and system time of this process, in seconds.
[[nodiscard]] double cpu_seconds();

/// Finds `name`, in lower case and with its colon, among the header lines of
/// `head`, which begins with the line before them.
[[nodiscard]] std::optional<std::string_view>
header(std::string_view head, std::string_view name);

} // namespace slipway::bench
