#pragma once

#include "actors/lifecycle/time.hpp"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace slipway::pg {

/// Bytes that are sent as `bytea`. Refers to them until `params::add` is done.
struct bytea {
  std::string_view bytes;

  bytea() = default;

  explicit bytea(std::string_view from) noexcept : bytes{from} {
  }

  explicit bytea(std::span<const unsigned char> from) noexcept
    : bytes{reinterpret_cast<const char*>(from.data()), from.size()} {
  }

  explicit bytea(std::span<const std::byte> from) noexcept
    : bytes{reinterpret_cast<const char*>(from.data()), from.size()} {
  }
};

/// JSON text that is sent as `jsonb`. Refers to it until `params::add` is done.
struct json {
  std::string_view text;

  json() = default;

  explicit json(std::string_view from) noexcept : text{from} {
  }
};

namespace detail {

/// PostgreSQL counts microseconds from 2000-01-01, C++ from 1970-01-01.
inline constexpr std::int64_t epoch_shift_ms = 946'684'800'000;

/// Microseconds since 2000-01-01. Times beyond the range of 64 bits (290 000
/// years) end up at its ends, which are PostgreSQL's `infinity`.
[[nodiscard]] constexpr std::int64_t to_wire_time(timestamp at) noexcept {
  constexpr std::int64_t limit = INT64_MAX / 1000;
  const std::int64_t ms = at.time_since_epoch().count();
  if (ms > limit)
    return INT64_MAX;
  if (ms < -limit + epoch_shift_ms)
    return INT64_MIN;
  return (ms - epoch_shift_ms) * 1000;
}

/// The reverse; rounds down to milliseconds.
[[nodiscard]] constexpr timestamp from_wire_time(std::int64_t us) noexcept {
  const std::int64_t floor = us / 1000 - (us % 1000 < 0 ? 1 : 0);
  return timestamp{millis{floor + epoch_shift_ms}};
}

template <class T>
[[nodiscard]] constexpr T byte_swapped(T value) noexcept {
  static_assert(std::is_unsigned_v<T>);
  if constexpr (std::endian::native == std::endian::big)
    return value;
  else if constexpr (sizeof(T) == 2)
    return __builtin_bswap16(value);
  else if constexpr (sizeof(T) == 4)
    return __builtin_bswap32(value);
  else
    return __builtin_bswap64(value);
}

template <class T>
void put_number(std::string& to, T value) {
  const auto swapped
    = byte_swapped(static_cast<std::make_unsigned_t<T>>(value));
  char raw[sizeof(T)];
  std::memcpy(raw, &swapped, sizeof(T));
  to.append(raw, sizeof(T));
}

/// Writes a number over what was put where it belongs before it was known.
inline void set_number(std::string& in, std::size_t at, std::int32_t value) {
  const auto swapped = byte_swapped(static_cast<std::uint32_t>(value));
  std::memcpy(in.data() + at, &swapped, sizeof(swapped));
}

/// How a C++ type travels: its type number in the server's catalogue, that of
/// its array, the size of its binary form, and the form itself.
template <class T>
struct wire;

template <class T, std::uint32_t Oid, std::uint32_t ArrayOid>
struct number_wire {
  static constexpr std::uint32_t oid = Oid;
  static constexpr std::uint32_t array_oid = ArrayOid;

  static std::size_t size(T) noexcept {
    return sizeof(T);
  }

  static void put(std::string& to, T value) {
    put_number(to, value);
  }
};

template <>
struct wire<std::int16_t> : number_wire<std::int16_t, 21, 1005> {};

template <>
struct wire<std::int32_t> : number_wire<std::int32_t, 23, 1007> {};

template <>
struct wire<std::int64_t> : number_wire<std::int64_t, 20, 1016> {};

template <>
struct wire<bool> {
  static constexpr std::uint32_t oid = 16;
  static constexpr std::uint32_t array_oid = 1000;

  static std::size_t size(bool) noexcept {
    return 1;
  }

  static void put(std::string& to, bool value) {
    to.push_back(value ? '\1' : '\0');
  }
};

template <>
struct wire<double> {
  static constexpr std::uint32_t oid = 701;
  static constexpr std::uint32_t array_oid = 1022;

  static std::size_t size(double) noexcept {
    return 8;
  }

  static void put(std::string& to, double value) {
    put_number(to, std::bit_cast<std::int64_t>(value));
  }
};

template <>
struct wire<std::string_view> {
  static constexpr std::uint32_t oid = 25;
  static constexpr std::uint32_t array_oid = 1009;

  static std::size_t size(std::string_view value) noexcept {
    return value.size();
  }

  static void put(std::string& to, std::string_view value) {
    to.append(value);
  }
};

template <>
struct wire<timestamp> {
  static constexpr std::uint32_t oid = 1184;
  static constexpr std::uint32_t array_oid = 1185;

  static std::size_t size(timestamp) noexcept {
    return 8;
  }

  static void put(std::string& to, timestamp value) {
    put_number(to, to_wire_time(value));
  }
};

template <>
struct wire<bytea> {
  static constexpr std::uint32_t oid = 17;
  static constexpr std::uint32_t array_oid = 1001;

  static std::size_t size(const bytea& value) noexcept {
    return value.bytes.size();
  }

  static void put(std::string& to, const bytea& value) {
    to.append(value.bytes);
  }
};

template <>
struct wire<json> {
  static constexpr std::uint32_t oid = 3802;
  static constexpr std::uint32_t array_oid = 3807;

  static std::size_t size(const json& value) noexcept {
    return value.text.size() + 1;
  }

  static void put(std::string& to, const json& value) {
    to.push_back('\1'); // The version of jsonb's binary form.
    to.append(value.text);
  }
};

template <class T>
struct is_optional : std::false_type {};

template <class T>
struct is_optional<std::optional<T>> : std::true_type {};

template <class T, bool IsText>
struct as_sent {
  using type = T;
};

template <class T>
struct as_sent<T, true> {
  using type = std::string_view;
};

/// Everything that is text is sent as a `string_view`, the rest as itself.
template <class T>
using as_sent_t = typename as_sent<
  std::remove_cvref_t<T>,
  std::is_convertible_v<const std::remove_cvref_t<T>&, std::string_view>>::type;

} // namespace detail

/// One row of `params::add_rows`: its columns, first to last.
class row_writer {
public:
  explicit row_writer(std::string& to) noexcept : to_{to}, start_{to.size()} {
    detail::put_number<std::int32_t>(to_, 0); // How many columns.
  }

  row_writer(const row_writer&) = delete;
  row_writer& operator=(const row_writer&) = delete;

  /// Appends a column: what `params::add` takes.
  template <class T>
  row_writer& add(const T& value) {
    if constexpr (detail::is_optional<T>::value) {
      if (value)
        return add(*value);
      put_head(detail::wire<detail::as_sent_t<typename T::value_type>>::oid,
               -1);
    } else {
      using type = detail::as_sent_t<T>;
      using wire = detail::wire<type>;
      const type& sent = type(value);
      put_head(wire::oid, static_cast<std::int32_t>(wire::size(sent)));
      wire::put(to_, sent);
    }
    return *this;
  }

  /// Says how many columns there are.
  void finish() {
    detail::set_number(to_, start_, columns_);
  }

private:
  void put_head(std::uint32_t oid, std::int32_t size) {
    ++columns_;
    detail::put_number(to_, oid);
    detail::put_number(to_, size);
  }

  std::string& to_;
  std::size_t start_;
  std::int32_t columns_ = 0;
};

/// The parameters of one statement, in binary form, `$1` first. One growing
/// buffer; `clear()` keeps its memory, so that a loop allocates nothing. Every
/// parameter but `add_rows` carries its type, so that the SQL needs no casts.
///
/// Types: `std::int16_t`, `std::int32_t`, `std::int64_t`, `bool`, `double`,
/// text (anything that converts to `std::string_view`; UTF-8 without zero
/// bytes, or the server refuses it), `timestamp` (timestamptz), `bytea`, `json`
/// (jsonb), and `std::optional` of each, where nothing is NULL. Other types do
/// not compile: say which width you mean.
///
/// Thread: any, one at a time.
class params {
public:
  /// Appends one value. The value is copied.
  template <class T>
  params& add(const T& value) {
    if constexpr (detail::is_optional<T>::value) {
      if (!value)
        return add_null<typename T::value_type>();
      return add(*value);
    } else {
      using type = detail::as_sent_t<T>;
      using wire = detail::wire<type>;
      const std::size_t start = begin(wire::oid);
      wire::put(buffer_, type(value));
      end(start);
      return *this;
    }
  }

  /// Appends NULL of the type of T.
  template <class T>
  params& add_null() {
    begin(detail::wire<detail::as_sent_t<T>>::oid);
    offsets_.back() = null_offset;
    return *this;
  }

  /// Appends an array for `unnest` or `= any($n)`.
  /// @param range anything with a size whose elements, after `projection`, are
  ///              of a type that `add` takes; `std::optional` may be NULL.
  /// @param projection what to take of each element, for example
  ///                   `&transition::revision` or a lambda. Called once each.
  template <class Range, class Projection = std::identity>
  params& add_array(const Range& range, Projection projection = {}) {
    using element = std::remove_cvref_t<std::invoke_result_t<
      Projection&, std::ranges::range_reference_t<const Range>>>;
    if constexpr (detail::is_optional<element>::value)
      return put_array<typename element::value_type>(range, projection);
    else
      return put_array<element>(range, projection);
  }

  /// Appends an array of rows for `unnest($n::that_type[])`. Cheaper for the
  /// server than an array for each column, by 6 µs for each of them and
  /// statement. The cast is needed: the number of the array's own type is left
  /// to the server.
  /// @param type the number of a row type (CREATE TYPE … AS) in this database
  /// @param write called with a `row_writer` and each item; adds every column,
  ///              of the very type that it has there, or the server refuses
  template <class Range, class Write>
  params& add_rows(std::uint32_t type, const Range& range, Write write) {
    const std::size_t start = begin(0);
    const auto count = static_cast<std::int32_t>(std::ranges::size(range));
    put_array_head(count, type);
    for (const auto& item : range) {
      const auto at = buffer_.size();
      detail::put_number<std::int32_t>(buffer_, 0); // How many bytes.
      auto row = row_writer{buffer_};
      write(row, item);
      row.finish();
      detail::set_number(
        buffer_, at,
        static_cast<std::int32_t>(buffer_.size() - at - sizeof(std::int32_t)));
    }
    end(start);
    return *this;
  }

  /// Forgets the parameters, keeps the memory.
  void clear() noexcept {
    buffer_.clear();
    types_.clear();
    offsets_.clear();
    lengths_.clear();
  }

  /// How many parameters there are.
  [[nodiscard]] std::size_t size() const noexcept {
    return types_.size();
  }

  /// How many bytes their values take.
  [[nodiscard]] std::size_t byte_size() const noexcept {
    return buffer_.size();
  }

  /// The binary form of one parameter, nothing for NULL.
  [[nodiscard]] std::optional<std::string_view>
  encoded(std::size_t index) const;

  /// The type numbers in the form of libpq.
  [[nodiscard]] const std::uint32_t* types() const noexcept {
    return types_.data();
  }

  /// The values in the form of libpq. Valid until the next change.
  [[nodiscard]] const char* const* values() const;

  /// The sizes in the form of libpq.
  [[nodiscard]] const int* lengths() const noexcept {
    return lengths_.data();
  }

  /// The formats in the form of libpq: all binary.
  [[nodiscard]] const int* formats() const;

private:
  static constexpr std::size_t null_offset = SIZE_MAX;

  std::size_t begin(std::uint32_t oid) {
    types_.push_back(oid);
    offsets_.push_back(buffer_.size());
    lengths_.push_back(0);
    return buffer_.size();
  }

  void end(std::size_t start) {
    // More than 1 GB is refused before sending, see `connection`.
    lengths_.back() = static_cast<int>(buffer_.size() - start);
  }

  void put_array_head(std::int32_t count, std::uint32_t element) {
    detail::put_number<std::int32_t>(buffer_, count == 0 ? 0 : 1); // dimensions
    detail::put_number<std::int32_t>(buffer_, 0);                  // has NULLs
    detail::put_number<std::uint32_t>(buffer_, element);
    if (count == 0)
      return;
    detail::put_number<std::int32_t>(buffer_, count);
    detail::put_number<std::int32_t>(buffer_, 1); // first index
  }

  template <class T, class Range, class Projection>
  params& put_array(const Range& range, Projection& projection) {
    using type = detail::as_sent_t<T>;
    using wire = detail::wire<type>;
    const std::size_t start = begin(wire::array_oid);
    const auto count = static_cast<std::int32_t>(std::ranges::size(range));
    put_array_head(count, wire::oid);
    if (count != 0) {
      bool nulls = false;
      for (auto&& item : range) {
        auto&& value = std::invoke(projection, item);
        if constexpr (detail::is_optional<
                        std::remove_cvref_t<decltype(value)>>::value) {
          if (value)
            put_element<type>(*value);
          else {
            nulls = true;
            detail::put_number<std::int32_t>(buffer_, -1);
          }
        } else {
          put_element<type>(value);
        }
      }
      if (nulls)
        buffer_[start + 7] = '\1';
    }
    end(start);
    return *this;
  }

  template <class Type, class Value>
  void put_element(const Value& value) {
    using wire = detail::wire<Type>;
    const Type& sent = Type(value);
    detail::put_number(buffer_, static_cast<std::int32_t>(wire::size(sent)));
    wire::put(buffer_, sent);
  }

  std::string buffer_;
  std::vector<std::uint32_t> types_;
  std::vector<std::size_t> offsets_;
  std::vector<int> lengths_;
  // Made on demand; the buffer may move until the last parameter is there.
  mutable std::vector<const char*> pointers_;
  mutable std::vector<int> formats_;
};

} // namespace slipway::pg
