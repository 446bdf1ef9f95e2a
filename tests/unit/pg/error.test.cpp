#define CAF_SUITE pg_error

#include "persistence/pg/error.hpp"

#include <caf/test/unit_test.hpp>

#include <set>
#include <string>
#include <utility>
#include <vector>

using namespace slipway::pg;

CAF_TEST(every SQLSTATE we act on has its kind) {
  const std::vector<std::pair<std::string, error_kind>> table{
    {"23505", error_kind::unique_violation},
    {"23514", error_kind::check_violation},
    {"23503", error_kind::foreign_key_violation},
    {"40001", error_kind::serialization},
    {"40P01", error_kind::serialization},
    {"40003", error_kind::in_doubt},
    {"57014", error_kind::timeout},
    {"55P03", error_kind::timeout},
    {"57P01", error_kind::unavailable},
    {"57P02", error_kind::unavailable},
    {"57P03", error_kind::unavailable},
    {"57P04", error_kind::unavailable},
    {"57P05", error_kind::unavailable},
    {"25006", error_kind::unavailable},
    {"53000", error_kind::unavailable},
    {"53100", error_kind::unavailable},
    {"53300", error_kind::unavailable},
    {"08006", error_kind::connection_lost},
    {"08003", error_kind::connection_lost},
  };
  for (const auto& [sqlstate, kind] : table)
    CAF_CHECK_EQUAL(to_string(kind_of(sqlstate)), to_string(kind));
}

CAF_TEST(everything else is other) {
  for (const std::string sqlstate :
       {"",      "0",     "53",    "5",      "57P0",   "57P06", "57P00",
        "57000", "23502", "23000", "40000",  "42601",  "42P01", "XX000",
        "28P01", "26000", "25P02", "235055", "57P011", "08"})
    CAF_CHECK_EQUAL(to_string(kind_of(sqlstate)), to_string(error_kind::other));
}

CAF_TEST(every kind has a name of its own) {
  std::set<std::string_view> names;
  for (int kind = 0; kind <= 8; ++kind)
    names.insert(to_string(static_cast<error_kind>(kind)));
  CAF_CHECK_EQUAL(names.size(), 9U);
  CAF_CHECK_EQUAL(names.count("unknown"), 0U);
}

CAF_TEST(an error can be read) {
  CAF_CHECK_EQUAL(
    to_string(error{error_kind::unique_violation, "23505", "twice", "key"}),
    "unique_violation (SQLSTATE 23505): twice");
  CAF_CHECK_EQUAL(to_string(error{error_kind::connection_lost, {}, "gone", {}}),
                  "connection_lost: gone");
}
