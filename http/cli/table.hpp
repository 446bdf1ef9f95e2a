#pragma once

#include "http/cli/look.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace slipway::cli {

struct cell {
  std::string text; ///< Any text; made safe when it is written.
  paint colour = paint::none;
};

struct column {
  std::string title;
  /// Where room is short it may shrink to so many columns; 0: never.
  std::size_t least = 0;
  /// Where room is still short it is left out, the last of these first. Left
  /// out as well where it has nothing to say.
  bool extra = false;
  bool right = false; ///< For numbers.
};

/// Rows for people, one line each, in the width of their terminal. Without a
/// width nothing is cut or left out.
class table {
public:
  explicit table(std::vector<column> columns);

  /// @pre as many cells as columns.
  void add(std::vector<cell> row);

  [[nodiscard]] bool empty() const noexcept {
    return rows_.empty();
  }

  /// A line of titles, then a line for each row.
  [[nodiscard]] std::string render(const look& how) const;

private:
  std::vector<column> columns_;
  std::vector<std::vector<cell>> rows_;
};

/// Names and values below each other, for one thing. Long values go on in lines
/// of their own; those without a value are left out.
class sheet {
public:
  void add(std::string name, std::string value, paint colour = paint::none);

  [[nodiscard]] std::string render(const look& how) const;

private:
  struct line {
    std::string name;
    std::string value;
    paint colour;
  };

  std::vector<line> lines_;
};

} // namespace slipway::cli
