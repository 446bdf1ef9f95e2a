#pragma once

#include "actors/lifecycle/time.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

struct pg_result; // libpq's PGresult.

namespace slipway::pg {

/// The rows of one statement, in binary form. Views returned by the getters
/// live as long as the result.
///
/// Rows and columns count from 0. A row or column that does not exist, a NULL
/// read by a getter without `opt_`, and a column of another type than the
/// getter's are mistakes of the programmer: the process prints them and aborts,
/// in release builds too.
///
/// Thread: any, one at a time.
class result {
public:
  result() = default;

  /// Takes over a PGresult.
  explicit result(pg_result* raw) noexcept : raw_{raw} {
  }

  /// How many rows came back.
  [[nodiscard]] int rows() const noexcept;

  /// How many columns a row has.
  [[nodiscard]] int columns() const noexcept;

  [[nodiscard]] bool empty() const noexcept {
    return rows() == 0;
  }

  /// How many rows an INSERT, UPDATE, DELETE or MERGE touched; for SELECT the
  /// number of rows.
  [[nodiscard]] std::int64_t affected() const noexcept;

  [[nodiscard]] bool is_null(int row, int column) const;

  [[nodiscard]] std::int16_t int16(int row, int column) const;
  [[nodiscard]] std::int32_t int32(int row, int column) const;
  [[nodiscard]] std::int64_t int64(int row, int column) const;
  [[nodiscard]] bool boolean(int row, int column) const;
  [[nodiscard]] double float8(int row, int column) const;
  /// text, varchar, char, name and enums.
  [[nodiscard]] std::string_view text(int row, int column) const;
  /// timestamptz and timestamp, rounded down to milliseconds.
  [[nodiscard]] timestamp time(int row, int column) const;
  /// bytea.
  [[nodiscard]] std::string_view bytes(int row, int column) const;
  /// The text of json and jsonb.
  [[nodiscard]] std::string_view json_text(int row, int column) const;

  [[nodiscard]] std::optional<std::int16_t>
  opt_int16(int row, int column) const;
  [[nodiscard]] std::optional<std::int32_t>
  opt_int32(int row, int column) const;
  [[nodiscard]] std::optional<std::int64_t>
  opt_int64(int row, int column) const;
  [[nodiscard]] std::optional<bool> opt_boolean(int row, int column) const;
  [[nodiscard]] std::optional<double> opt_float8(int row, int column) const;
  [[nodiscard]] std::optional<std::string_view>
  opt_text(int row, int column) const;
  [[nodiscard]] std::optional<timestamp> opt_time(int row, int column) const;
  [[nodiscard]] std::optional<std::string_view>
  opt_bytes(int row, int column) const;
  [[nodiscard]] std::optional<std::string_view>
  opt_json_text(int row, int column) const;

private:
  struct deleter {
    void operator()(pg_result* raw) const noexcept;
  };

  std::unique_ptr<pg_result, deleter> raw_;
};

} // namespace slipway::pg
