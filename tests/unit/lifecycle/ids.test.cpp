#define CAF_SUITE lifecycle.ids

#include "actors/lifecycle/ids.hpp"

#include "actors/lifecycle/money.hpp"

#include <caf/test/unit_test.hpp>

#include <limits>
#include <random>
#include <set>

using namespace slipway;

namespace {

timestamp at(std::int64_t ms) {
  return timestamp{millis{ms}};
}

} // namespace

CAF_TEST(names come back as the ids they stand for) {
  auto random = std::mt19937_64{4};
  for (auto i = 0; i < 20'000; ++i) {
    const auto id = subscription_id{random() >> 1};
    const auto seq = 1 + static_cast<std::uint32_t>(random() % order_seq_max);
    CAF_REQUIRE(parse_subscription_id(to_text(id)) == id);
    CAF_REQUIRE(
      (parse_order_ref(to_text(order_ref{id, seq})) == order_ref{id, seq}));
    CAF_REQUIRE((parse_instance_ref(to_text(instance_ref{id, seq}))
                 == instance_ref{id, seq}));
  }
  for (auto raw_id : {std::uint64_t{0}, std::uint64_t{1},
                      std::uint64_t{std::numeric_limits<std::int64_t>::max()}})
    CAF_CHECK(parse_subscription_id(to_text(subscription_id{raw_id}))
              == subscription_id{raw_id});
}

CAF_TEST(names fit where they go) {
  const auto id = make_subscription_id(at(1'767'600'000'000), 12345);
  CAF_CHECK_EQUAL(to_text(id).size(), 17u);
  CAF_CHECK_EQUAL(to_text(order_ref{id, 1}).size(), 18u);
  CAF_CHECK_EQUAL(to_text(instance_ref{id, 1}).size(), 20u);
  CAF_CHECK_EQUAL(project_name(id).size(), 17u);
  CAF_CHECK(project_name(id).starts_with("sub-"));
  for (auto c : to_text(order_ref{id, order_seq_max}))
    CAF_CHECK((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'));
}

CAF_TEST(ids sort by time and fit a signed column) {
  auto last = std::uint64_t{0};
  for (auto year = 0; year < 60; ++year) {
    const auto id = make_subscription_id(
      at(1'704'067'200'000 + year * 31'536'000'000), ~std::uint64_t{0});
    CAF_CHECK(raw(id) > last);
    CAF_CHECK(raw(id) <= std::numeric_limits<std::int64_t>::max());
    last = raw(id);
  }
  auto seen = std::set<std::uint64_t>{};
  auto random = system_entropy{};
  for (auto i = 0; i < 1'000; ++i)
    seen.insert(
      raw(make_subscription_id(at(1'767'600'000'000), random.next())));
  CAF_CHECK(seen.size() > 990);
}

CAF_TEST(hostile names are refused) {
  const auto good = to_text(subscription_id{42});
  CAF_REQUIRE(parse_subscription_id(good));
  for (auto i = 0u; i < good.size(); ++i)
    CAF_CHECK(!parse_subscription_id(good.substr(0, i)));
  const auto with = [&](size_t where, char c) {
    auto out = good;
    out[where] = c;
    return out;
  };
  // Letters outside of the alphabet, upper case, blanks, and all other bytes.
  for (auto c : {'i', 'l', 'o', 'u', 'A', ' ', '-', '_', '\0', '\xff', '\x80'})
    for (size_t i = 4; i < good.size(); ++i)
      CAF_CHECK(!parse_subscription_id(with(i, c)));
  for (size_t i = 0; i < 4; ++i)
    CAF_CHECK(!parse_subscription_id(with(i, 'x')));
  CAF_CHECK(!parse_subscription_id(good + "0"));
  CAF_CHECK(!parse_subscription_id(" " + good));
  CAF_CHECK(!parse_subscription_id(good + std::string(1, '\0')));
  CAF_CHECK(!parse_subscription_id(std::string(100'000, '0')));
  // More bits than an id has.
  CAF_CHECK(!parse_subscription_id("sub_8000000000000"));
  CAF_CHECK(!parse_subscription_id("sub_zzzzzzzzzzzzz"));
  CAF_CHECK(parse_subscription_id("sub_7zzzzzzzzzzzz"));
  // Names of one kind are none of another.
  CAF_CHECK(!parse_order_ref(good));
  CAF_CHECK(!parse_order_ref(to_text(instance_ref{subscription_id{42}, 1})));
  CAF_CHECK(!parse_instance_ref(to_text(order_ref{subscription_id{42}, 1})));
  CAF_CHECK(!parse_subscription_id(to_text(order_ref{subscription_id{42}, 1})));
  // Orders count from one.
  CAF_CHECK(!parse_order_ref(to_text(order_ref{subscription_id{42}, 0})));
}

CAF_TEST(no two texts name the same subscription) {
  auto random = std::mt19937_64{5};
  const auto alphabet = std::string{
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVW"};
  for (auto i = 0; i < 50'000; ++i) {
    auto text = std::string{"sub_"};
    for (auto k = 0; k < 13; ++k)
      text += alphabet[random() % alphabet.size()];
    if (const auto id = parse_subscription_id(text))
      CAF_REQUIRE_EQUAL(to_text(*id), text);
  }
}

CAF_TEST(amounts are read exactly or not at all) {
  CAF_CHECK_EQUAL(parse_amount("99").value_or(-1), 9'900);
  CAF_CHECK_EQUAL(parse_amount("99.9").value_or(-1), 9'990);
  CAF_CHECK_EQUAL(parse_amount("99.00").value_or(-1), 9'900);
  CAF_CHECK_EQUAL(parse_amount("0.01").value_or(-1), 1);
  CAF_CHECK_EQUAL(parse_amount("0").value_or(-1), 0);
  CAF_CHECK_EQUAL(parse_amount("100000000.00").value_or(-1), amount_max_minor);
  for (auto text : {"", ".", "99.", ".5", "-1", "+1", " 1", "1 ", "1,000",
                    "1e3", "0x10", "1.234", "1.2.3", "99.0x", "100000000.01",
                    "999999999999999999999", "1\n", "٣", "NaN"})
    CAF_CHECK(!parse_amount(text));
}

CAF_TEST(amounts are written with two digits) {
  CAF_CHECK_EQUAL(format_amount(0), "0.00");
  CAF_CHECK_EQUAL(format_amount(5), "0.05");
  CAF_CHECK_EQUAL(format_amount(9'900), "99.00");
  CAF_CHECK_EQUAL(format_amount(-9'901), "-99.01");
  CAF_CHECK_EQUAL(format_amount(std::numeric_limits<minor_units>::min()),
                  "-92233720368547758.08");
  auto random = std::mt19937_64{6};
  for (auto i = 0; i < 20'000; ++i) {
    const auto amount = static_cast<minor_units>(
      random() % static_cast<std::uint64_t>(amount_max_minor + 1));
    CAF_REQUIRE_EQUAL(parse_amount(format_amount(amount)).value_or(-1), amount);
  }
}
