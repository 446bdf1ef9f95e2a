#include "persistence/pg/result.hpp"

#include "persistence/pg/panic.hpp"
#include "persistence/pg/params.hpp"

#include <bit>
#include <charconv>
#include <cstring>
#include <libpq-fe.h>

namespace slipway::pg {
namespace {

// Type numbers of the server's catalogue beside those in params.hpp.
constexpr Oid json_oid = 114;
constexpr Oid timestamp_oid = 1114;

struct cell {
  const char* data;
  std::size_t size;
  Oid type;
};

cell read(const pg_result* raw, int row, int column, const char* getter) {
  if (raw == nullptr || row < 0 || row >= PQntuples(raw) || column < 0
      || column >= PQnfields(raw))
    panic("result.%s(%d, %d): there are %d rows and %d columns", getter, row,
          column, raw == nullptr ? 0 : PQntuples(raw),
          raw == nullptr ? 0 : PQnfields(raw));
  if (PQgetisnull(raw, row, column) != 0)
    panic("result.%s(%d, %d): column \"%s\" is NULL", getter, row, column,
          PQfname(raw, column));
  if (PQfformat(raw, column) != 1)
    panic("result.%s(%d, %d): the result is not in binary form", getter, row,
          column);
  return {PQgetvalue(raw, row, column),
          static_cast<std::size_t>(PQgetlength(raw, row, column)),
          PQftype(raw, column)};
}

[[noreturn]] void
wrong_type(const pg_result* raw, int row, int column, const char* getter) {
  panic("result.%s(%d, %d): column \"%s\" has type %u and %d bytes", getter,
        row, column, PQfname(raw, column), PQftype(raw, column),
        PQgetlength(raw, row, column));
}

template <class T>
T number(const pg_result* raw, int row, int column, const char* getter,
         Oid type, Oid other_type) {
  const cell from = read(raw, row, column, getter);
  if ((from.type != type && from.type != other_type) || from.size != sizeof(T))
    wrong_type(raw, row, column, getter);
  T value;
  std::memcpy(&value, from.data, sizeof(T));
  return detail::byte_swapped(value);
}

template <class T>
T integer(const pg_result* raw, int row, int column, const char* getter) {
  constexpr Oid type = detail::wire<T>::oid;
  return static_cast<T>(
    number<std::make_unsigned_t<T>>(raw, row, column, getter, type, type));
}

} // namespace

void result::deleter::operator()(pg_result* raw) const noexcept {
  PQclear(raw);
}

int result::rows() const noexcept {
  return raw_ ? PQntuples(raw_.get()) : 0;
}

int result::columns() const noexcept {
  return raw_ ? PQnfields(raw_.get()) : 0;
}

std::int64_t result::affected() const noexcept {
  if (!raw_)
    return 0;
  const std::string_view text{PQcmdTuples(raw_.get())};
  std::int64_t count = 0;
  std::from_chars(text.data(), text.data() + text.size(), count);
  return count;
}

bool result::is_null(int row, int column) const {
  const pg_result* raw = raw_.get();
  if (raw == nullptr || row < 0 || row >= PQntuples(raw) || column < 0
      || column >= PQnfields(raw))
    panic("result.is_null(%d, %d): there are %d rows and %d columns", row,
          column, rows(), columns());
  return PQgetisnull(raw, row, column) != 0;
}

std::int16_t result::int16(int row, int column) const {
  return integer<std::int16_t>(raw_.get(), row, column, "int16");
}

std::int32_t result::int32(int row, int column) const {
  return integer<std::int32_t>(raw_.get(), row, column, "int32");
}

std::int64_t result::int64(int row, int column) const {
  return integer<std::int64_t>(raw_.get(), row, column, "int64");
}

bool result::boolean(int row, int column) const {
  const cell from = read(raw_.get(), row, column, "boolean");
  if (from.type != detail::wire<bool>::oid || from.size != 1)
    wrong_type(raw_.get(), row, column, "boolean");
  return *from.data != 0;
}

double result::float8(int row, int column) const {
  constexpr Oid type = detail::wire<double>::oid;
  return std::bit_cast<double>(
    number<std::uint64_t>(raw_.get(), row, column, "float8", type, type));
}

std::string_view result::text(int row, int column) const {
  const cell from = read(raw_.get(), row, column, "text");
  switch (from.type) {
    case detail::wire<std::int16_t>::oid:
    case detail::wire<std::int32_t>::oid:
    case detail::wire<std::int64_t>::oid:
    case detail::wire<bool>::oid:
    case detail::wire<double>::oid:
    case detail::wire<timestamp>::oid:
    case detail::wire<bytea>::oid:
    case detail::wire<json>::oid:
    case timestamp_oid:
      wrong_type(raw_.get(), row, column, "text");
    default: // Enums have numbers of their own.
      return {from.data, from.size};
  }
}

timestamp result::time(int row, int column) const {
  return detail::from_wire_time(static_cast<std::int64_t>(
    number<std::uint64_t>(raw_.get(), row, column, "time",
                          detail::wire<timestamp>::oid, timestamp_oid)));
}

std::string_view result::bytes(int row, int column) const {
  const cell from = read(raw_.get(), row, column, "bytes");
  if (from.type != detail::wire<bytea>::oid)
    wrong_type(raw_.get(), row, column, "bytes");
  return {from.data, from.size};
}

std::string_view result::json_text(int row, int column) const {
  const cell from = read(raw_.get(), row, column, "json_text");
  if (from.type == json_oid)
    return {from.data, from.size};
  if (from.type != detail::wire<json>::oid || from.size < 1
      || *from.data != '\1')
    wrong_type(raw_.get(), row, column, "json_text");
  return {from.data + 1, from.size - 1};
}

std::optional<std::int16_t> result::opt_int16(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return int16(row, column);
}

std::optional<std::int32_t> result::opt_int32(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return int32(row, column);
}

std::optional<std::int64_t> result::opt_int64(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return int64(row, column);
}

std::optional<bool> result::opt_boolean(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return boolean(row, column);
}

std::optional<double> result::opt_float8(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return float8(row, column);
}

std::optional<std::string_view> result::opt_text(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return text(row, column);
}

std::optional<timestamp> result::opt_time(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return time(row, column);
}

std::optional<std::string_view> result::opt_bytes(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return bytes(row, column);
}

std::optional<std::string_view>
result::opt_json_text(int row, int column) const {
  if (is_null(row, column))
    return std::nullopt;
  return json_text(row, column);
}

} // namespace slipway::pg
