#pragma once

#include <string_view>
#include <vector>

namespace slipway {

/// A file that is part of the program (cmake/EmbedFiles.cmake).
struct embedded_file {
  std::string_view name;   ///< Relative to its folder, with `/`.
  std::string_view digest; ///< Changes with the content; hexadecimal.
  std::string_view content;
};

} // namespace slipway
