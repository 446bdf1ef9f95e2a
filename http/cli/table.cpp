#include "http/cli/table.hpp"

#include "http/cli/safe_text.hpp"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <utility>

namespace slipway::cli {

namespace {

constexpr auto gap = std::size_t{2};

/// Takes columns from the widest of those that may shrink, until all fits or
/// none can give any more.
void shrink(std::vector<std::size_t>& widths,
            const std::vector<const column*>& columns, std::size_t room) {
  const auto needed = [&] {
    return std::accumulate(widths.begin(), widths.end(),
                           gap * (widths.size() - 1));
  };
  while (needed() > room) {
    auto widest = widths.size();
    for (std::size_t i = 0; i < widths.size(); ++i) {
      const auto least
        = std::max(columns[i]->least, width_of(columns[i]->title));
      if (columns[i]->least > 0 && widths[i] > least
          && (widest == widths.size() || widths[i] > widths[widest]))
        widest = i;
    }
    if (widest == widths.size())
      return;
    --widths[widest];
  }
}

void pad(std::string& to, std::size_t columns) {
  to.append(columns, ' ');
}

} // namespace

table::table(std::vector<column> columns) : columns_{std::move(columns)} {
}

void table::add(std::vector<cell> row) {
  assert(row.size() == columns_.size());
  for (auto& x : row)
    x.text = printable(x.text);
  rows_.push_back(std::move(row));
}

std::string table::render(const look& how) const {
  auto shown = std::vector<std::size_t>{};
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const auto silent
      = std::all_of(rows_.begin(), rows_.end(), [i](const auto& row) {
          return row[i].text.empty();
        });
    if (how.width == 0 || !columns_[i].extra || !silent)
      shown.push_back(i);
  }
  auto widths = std::vector<std::size_t>{};
  auto needed = std::size_t{0};
  for (;;) {
    auto columns = std::vector<const column*>{};
    widths.clear();
    for (const auto i : shown) {
      columns.push_back(&columns_[i]);
      auto width = width_of(columns_[i].title);
      for (const auto& row : rows_)
        width = std::max(width, width_of(row[i].text));
      widths.push_back(width);
    }
    if (how.width == 0 || widths.empty())
      break;
    shrink(widths, columns, how.width);
    needed = std::accumulate(widths.begin(), widths.end(),
                             gap * (widths.size() - 1));
    if (needed <= how.width)
      break;
    const auto last
      = std::find_if(shown.rbegin(), shown.rend(), [this](std::size_t i) {
          return columns_[i].extra;
        });
    if (last == shown.rend())
      break;
    shown.erase(std::next(last).base());
  }
  auto out = std::string{};
  const auto write = [&](auto&& text_of, auto&& colour_of) {
    auto line = std::string{};
    for (std::size_t n = 0; n < shown.size(); ++n) {
      const auto& is = columns_[shown[n]];
      const auto text = fit(text_of(shown[n]), widths[n], how.ellipsis());
      const auto rest = widths[n] - std::min(widths[n], width_of(text));
      if (n > 0)
        pad(line, gap);
      if (is.right)
        pad(line, rest);
      line += painted(how, colour_of(shown[n]), text);
      if (!is.right && n + 1 < shown.size())
        pad(line, rest);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line;
    out += '\n';
  };
  write(
    [&](std::size_t i) {
      return std::string_view{columns_[i].title};
    },
    [](std::size_t) {
      return paint::strong;
    });
  for (const auto& row : rows_)
    write(
      [&](std::size_t i) {
        return std::string_view{row[i].text};
      },
      [&](std::size_t i) {
        return row[i].colour;
      });
  return out;
}

void sheet::add(std::string name, std::string value, paint colour) {
  if (!value.empty())
    lines_.push_back({std::move(name), printable_lines(value), colour});
}

std::string sheet::render(const look& how) const {
  auto widest = std::size_t{0};
  for (const auto& x : lines_)
    widest = std::max(widest, width_of(x.name));
  auto out = std::string{};
  for (const auto& x : lines_) {
    auto head = x.name;
    pad(head, widest - width_of(x.name) + gap);
    auto rest = std::string_view{x.value};
    while (!rest.empty()) {
      const auto end = std::min(rest.find('\n'), rest.size());
      out += painted(how, paint::strong, head);
      out += painted(how, x.colour, rest.substr(0, end));
      out += '\n';
      rest.remove_prefix(std::min(end + 1, rest.size()));
      head.assign(widest + gap, ' ');
    }
  }
  return out;
}

} // namespace slipway::cli
