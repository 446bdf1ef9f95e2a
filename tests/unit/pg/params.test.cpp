#define CAF_SUITE pg_params

#include "persistence/pg/params.hpp"

#include <caf/test/unit_test.hpp>

#include <array>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace slipway;
using namespace slipway::pg;
using namespace std::string_literals;

namespace {

std::string encoded(const params& from, std::size_t index = 0) {
  const auto bytes = from.encoded(index);
  return bytes ? std::string{*bytes} : "NULL"s;
}

std::string hex(const std::string& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char c : bytes) {
    text += digits[c >> 4U];
    text += digits[c & 15U];
  }
  return text;
}

template <class T>
std::string hex_of(const T& value) {
  params one;
  one.add(value);
  return hex(encoded(one));
}

template <class T>
std::string hex_of_array(const std::vector<T>& values) {
  params one;
  one.add_array(values);
  return hex(encoded(one));
}

timestamp at(std::int64_t ms) {
  return timestamp{millis{ms}};
}

} // namespace

CAF_TEST(numbers travel in network order) {
  CAF_CHECK_EQUAL(hex_of(std::int16_t{-2}), "fffe");
  CAF_CHECK_EQUAL(hex_of(std::int32_t{0x01020304}), "01020304");
  CAF_CHECK_EQUAL(hex_of(std::int64_t{-1}), "ffffffffffffffff");
  CAF_CHECK_EQUAL(hex_of(std::int64_t{0x0102030405060708}), "0102030405060708");
  CAF_CHECK_EQUAL(hex_of(1.0), "3ff0000000000000");
  CAF_CHECK_EQUAL(hex_of(true), "01");
  CAF_CHECK_EQUAL(hex_of(false), "00");
}

CAF_TEST(text and bytes travel as they are and jsonb with its version) {
  CAF_CHECK_EQUAL(hex_of("hi"), "6869");
  CAF_CHECK_EQUAL(hex_of("hi"s), "6869");
  CAF_CHECK_EQUAL(hex_of(std::string_view{"hi"}), "6869");
  CAF_CHECK_EQUAL(hex_of(""), "");
  CAF_CHECK_EQUAL(hex_of(bytea{"\0\xff"s}), "00ff");
  CAF_CHECK_EQUAL(hex_of(bytea{std::array<unsigned char, 2>{1, 2}}), "0102");
  CAF_CHECK_EQUAL(hex_of(json{"{}"}), "017b7d");
}

CAF_TEST(times count microseconds from the year 2000) {
  CAF_CHECK_EQUAL(hex_of(at(946'684'800'000)), "0000000000000000");
  CAF_CHECK_EQUAL(hex_of(at(946'684'800'001)), "00000000000003e8");
  CAF_CHECK_EQUAL(hex_of(at(946'684'799'999)), "fffffffffffffc18");
  // Beyond the range: infinity, not an overflow.
  CAF_CHECK_EQUAL(hex_of(at(std::numeric_limits<std::int64_t>::max())),
                  "7fffffffffffffff");
  CAF_CHECK_EQUAL(hex_of(at(std::numeric_limits<std::int64_t>::min())),
                  "8000000000000000");
}

CAF_TEST(times are rounded down on the way back) {
  using detail::from_wire_time;
  CAF_CHECK(from_wire_time(0) == at(946'684'800'000));
  CAF_CHECK(from_wire_time(999) == at(946'684'800'000));
  CAF_CHECK(from_wire_time(-1) == at(946'684'799'999));
  CAF_CHECK(from_wire_time(-1000) == at(946'684'799'999));
  CAF_CHECK(from_wire_time(-1001) == at(946'684'799'998));
  for (const std::int64_t ms : {0LL, 1LL, -1LL, 1'795'420'800'123LL})
    CAF_CHECK(from_wire_time(detail::to_wire_time(at(ms))) == at(ms));
}

CAF_TEST(every parameter carries its type) {
  params all;
  all.add(std::int16_t{1}).add(std::int32_t{1}).add(std::int64_t{1});
  all.add(true).add(1.0).add("x").add(at(0)).add(bytea{"x"}).add(json{"1"});
  const std::vector<std::uint32_t> expected{21, 23,   20, 16,  701,
                                            25, 1184, 17, 3802};
  CAF_REQUIRE_EQUAL(all.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i)
    CAF_CHECK_EQUAL(all.types()[i], expected[i]);
  params arrays;
  arrays.add_array(std::vector<std::int16_t>{})
    .add_array(std::vector<std::int32_t>{})
    .add_array(std::vector<std::int64_t>{})
    .add_array(std::vector<bool>{})
    .add_array(std::vector<double>{})
    .add_array(std::vector<std::string>{})
    .add_array(std::vector<timestamp>{})
    .add_array(std::vector<bytea>{})
    .add_array(std::vector<json>{});
  const std::vector<std::uint32_t> array_types{1005, 1007, 1016, 1000, 1022,
                                               1009, 1185, 1001, 3807};
  for (std::size_t i = 0; i < array_types.size(); ++i)
    CAF_CHECK_EQUAL(arrays.types()[i], array_types[i]);
}

CAF_TEST(an optional without value is a typed NULL) {
  params all;
  all.add(std::optional<std::int64_t>{}).add(std::optional<std::string>{"x"});
  all.add_null<json>();
  CAF_CHECK(!all.encoded(0));
  CAF_CHECK_EQUAL(encoded(all, 1), "x");
  CAF_CHECK(!all.encoded(2));
  CAF_CHECK_EQUAL(all.types()[0], 20U);
  CAF_CHECK_EQUAL(all.types()[1], 25U);
  CAF_CHECK_EQUAL(all.types()[2], 3802U);
  CAF_CHECK(all.values()[0] == nullptr);
  CAF_CHECK(all.values()[1] != nullptr);
}

CAF_TEST(an array has a header and sizes) {
  CAF_CHECK_EQUAL(hex_of_array(std::vector<std::int32_t>{1, -1}),
                  "00000001"         // dimensions
                  "00000000"         // no NULLs
                  "00000017"         // int4
                  "0000000200000001" // two, counted from 1
                  "0000000400000001"
                  "00000004ffffffff");
  CAF_CHECK_EQUAL(hex_of_array(std::vector<std::string>{"ab", ""}),
                  "00000001"
                  "00000000"
                  "00000019"
                  "0000000200000001"
                  "000000026162"
                  "00000000");
  CAF_CHECK_EQUAL(hex_of_array(std::vector<bool>{true, false}),
                  "00000001"
                  "00000000"
                  "00000010"
                  "0000000200000001"
                  "0000000101"
                  "0000000100");
  CAF_CHECK_EQUAL(hex_of_array(std::vector<json>{json{"1"}}), "00000001"
                                                              "00000000"
                                                              "00000eda"
                                                              "0000000100000001"
                                                              "000000020131");
}

CAF_TEST(a row carries the type and the size of each column) {
  struct item {
    std::int64_t id;
    std::optional<std::string> name;
  };
  params one;
  one.add_rows(0x4001, std::vector<item>{{1, "ab"}, {2, std::nullopt}},
               [](row_writer& row, const item& x) {
                 row.add(x.id).add(x.name).add(true);
               });
  CAF_CHECK_EQUAL(one.types()[0], 0U); // The statement casts it.
  CAF_CHECK_EQUAL(hex(encoded(one)), "00000001"
                                     "00000000"
                                     "00004001"
                                     "0000000200000001"
                                     "00000027" // 39 bytes
                                     "00000003" // columns
                                     "00000014000000080000000000000001"
                                     "00000019000000026162"
                                     "000000100000000101"
                                     "00000025"
                                     "00000003"
                                     "00000014000000080000000000000002"
                                     "00000019ffffffff" // NULL
                                     "000000100000000101");
}

CAF_TEST(no rows are an empty array) {
  params one;
  one.add_rows(0x4001, std::vector<int>{}, [](row_writer&, int) {
    CAF_FAIL("there is no row");
  });
  CAF_CHECK_EQUAL(hex(encoded(one)), "00000000"
                                     "00000000"
                                     "00004001");
}

CAF_TEST(an empty array has no dimension) {
  CAF_CHECK_EQUAL(hex_of_array(std::vector<std::int64_t>{}), "00000000"
                                                             "00000000"
                                                             "00000014");
}

CAF_TEST(an array with NULLs says so) {
  CAF_CHECK_EQUAL(hex_of_array(std::vector<std::optional<std::int16_t>>{
                    std::int16_t{7}, std::nullopt}),
                  "00000001"
                  "00000001" // has NULLs
                  "00000015"
                  "0000000200000001"
                  "000000020007"
                  "ffffffff");
  CAF_CHECK_EQUAL(hex_of_array(std::vector<std::optional<std::string>>{"x"}),
                  "00000001"
                  "00000000" // could have, has none
                  "00000019"
                  "0000000100000001"
                  "0000000178");
}

CAF_TEST(an array takes what the projection makes of each element) {
  struct item {
    std::int64_t id;
    std::string name;
    std::optional<std::string> note;
  };
  const std::vector<item> items{{1, "a", std::nullopt}, {2, "b", "n"}};
  params projected;
  projected.add_array(items, &item::id)
    .add_array(items, &item::name)
    .add_array(items, &item::note)
    .add_array(items,
               [](const item& one) {
                 return json{one.name};
               })
    .add_array(items,
               [](const item& one) {
                 return one.name + "!";
               })
    .add_array(items, [](const item& one) -> std::optional<std::string_view> {
      if (one.id == 1)
        return std::nullopt;
      return one.name;
    });
  params plain;
  plain.add_array(std::vector<std::int64_t>{1, 2})
    .add_array(std::vector<std::string>{"a", "b"})
    .add_array(std::vector<std::optional<std::string>>{std::nullopt, "n"})
    .add_array(std::vector<json>{json{"a"}, json{"b"}})
    .add_array(std::vector<std::string>{"a!", "b!"})
    .add_array(std::vector<std::optional<std::string>>{std::nullopt, "b"});
  CAF_REQUIRE_EQUAL(projected.size(), plain.size());
  for (std::size_t i = 0; i < plain.size(); ++i) {
    CAF_CHECK_EQUAL(hex(encoded(projected, i)), hex(encoded(plain, i)));
    CAF_CHECK_EQUAL(projected.types()[i], plain.types()[i]);
  }
}

CAF_TEST(values lie one after the other and survive growth) {
  params many;
  std::vector<std::string> texts;
  for (int i = 0; i < 1'000; ++i)
    texts.push_back(std::string(static_cast<std::size_t>(i % 50), 'x')
                    + std::to_string(i));
  for (const std::string& text : texts)
    many.add(text);
  const char* const* values = many.values();
  bool same = true;
  for (std::size_t i = 0; i < texts.size(); ++i)
    same
      = same
        && std::string(values[i], static_cast<std::size_t>(many.lengths()[i]))
             == texts[i]
        && many.formats()[i] == 1;
  CAF_CHECK(same);
}

CAF_TEST(clear forgets the values and keeps working) {
  params used;
  used.add("first").add_array(std::vector<std::int32_t>{1, 2, 3});
  CAF_CHECK_EQUAL(used.size(), 2U);
  used.clear();
  CAF_CHECK_EQUAL(used.size(), 0U);
  CAF_CHECK_EQUAL(used.byte_size(), 0U);
  used.add(std::int32_t{5});
  CAF_CHECK_EQUAL(hex(encoded(used)), "00000005");
  const params copy = used;
  CAF_CHECK_EQUAL(hex(std::string(copy.values()[0], 4)), "00000005");
}
