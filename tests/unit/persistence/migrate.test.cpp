#define CAF_SUITE persistence_migrate

#include "persistence/migrate.hpp"

#include <caf/test/unit_test.hpp>

using namespace slipway;

CAF_TEST(migrations are numbered without gaps) {
  CAF_CHECK(!check_migrations({}));
  CAF_CHECK(!check_migrations({{1, "a", "SELECT 1"}}));
  CAF_CHECK(!check_migrations({{1, "a", "SELECT 1"}, {2, "b", "SELECT 2"}}));
}

CAF_TEST(a gap a repeat and an empty step are named) {
  const auto first_missing = check_migrations({{2, "b", "SELECT 2"}});
  CAF_REQUIRE(first_missing);
  CAF_CHECK_EQUAL(*first_missing, "migration 1 is missing before 2 (b)");
  const auto gap
    = check_migrations({{1, "a", "SELECT 1"}, {3, "c", "SELECT 3"}});
  CAF_REQUIRE(gap);
  CAF_CHECK_EQUAL(*gap, "migration 2 is missing before 3 (c)");
  const auto twice
    = check_migrations({{1, "a", "SELECT 1"}, {1, "b", "SELECT 1"}});
  CAF_REQUIRE(twice);
  CAF_CHECK_EQUAL(*twice, "migration 1 (b) is there twice or out of order");
  CAF_CHECK(check_migrations({{0, "a", "SELECT 1"}}));
  const auto empty = check_migrations({{1, "a", " \n\t"}});
  CAF_REQUIRE(empty);
  CAF_CHECK_EQUAL(*empty, "migration 1 (a) is empty");
}

CAF_TEST(the checksum is that of the SQL alone) {
  // echo -n abc | sha256sum
  CAF_CHECK_EQUAL(
    checksum_of({1, "a", "abc"}),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CAF_CHECK_EQUAL(checksum_of({2, "b", "abc"}), checksum_of({1, "a", "abc"}));
  CAF_CHECK_NOT_EQUAL(checksum_of({1, "a", "abd"}),
                      checksum_of({1, "a", "abc"}));
}
