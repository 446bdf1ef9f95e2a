#define CAF_SUITE provider.orphans

#include "http/provider/orphans.hpp"

#include <caf/test/unit_test.hpp>

#include <set>

using namespace slipway;
using namespace slipway::provider;
using namespace std::chrono_literals;

using lifecycle::phase;

namespace {

constexpr auto created = timestamp{millis{1'767'600'000'000}};

constexpr auto soon = created + 5min;

constexpr auto much_later = created + 2h;

const auto listed = listed_project{"p-1", "sub-x", subscription_id{7}, created};

record row_in(phase at) {
  auto out = record{};
  out.id = subscription_id{7};
  out.state.deployment.at = at;
  return out;
}

record row_with(phase at, const std::string& project, bool deleted) {
  auto out = row_in(at);
  out.state.instance.seq = 1;
  out.state.instance.project_id = project;
  if (deleted)
    out.state.instance.deleted_at = created;
  return out;
}

template <class F>
void for_all_phases(F f) {
  for (std::uint8_t i = 0; i < lifecycle::phase_count; ++i)
    f(static_cast<phase>(i));
}

/// Where a step may adopt or remove projects by their name.
const auto looking = std::set<phase>{
  phase::queued,      phase::creating_project, phase::cancelling,
  phase::terminating, phase::backing_off,      phase::halting};

} // namespace

CAF_TEST(the name of a subscription that we do not have is never touched) {
  for (auto at : {soon, much_later, much_later + 8760h})
    CAF_CHECK(judge(listed, nullptr, at).is == judgement::report);
}

CAF_TEST(the project of an instance belongs wherever the instance stands) {
  for_all_phases([](phase at) {
    const auto row = row_with(at, "p-1", false);
    CAF_CHECK(judge(listed, &row, much_later).is == judgement::belongs);
  });
}

CAF_TEST(nothing is removed under the hands of a step) {
  for (auto at : looking)
    for (const auto& row :
         {row_in(at), row_with(at, "p-2", false), row_with(at, "p-1", true)})
      CAF_CHECK(judge(listed, &row, much_later).is == judgement::belongs);
}

CAF_TEST(a second project is surplus as soon as the first one is known) {
  for_all_phases([](phase at) {
    if (looking.count(at) != 0)
      return;
    const auto row = row_with(at, "p-2", false);
    CAF_CHECK(judge(listed, &row, soon).is == judgement::remove);
  });
}

CAF_TEST(what was taken away has no project) {
  const auto row = row_with(phase::stopped, "p-1", true);
  CAF_CHECK(judge(listed, &row, soon).is == judgement::remove);
  // The next instance after one that was taken away.
  const auto again = row_with(phase::stopped, "p-0", true);
  CAF_CHECK(judge(listed, &again, soon).is == judgement::remove);
}

CAF_TEST(a failed deployment keeps what a retry could use for an hour) {
  for (auto at : {phase::failed, phase::lapsed}) {
    const auto row = row_in(at);
    CAF_CHECK(judge(listed, &row, soon).is == judgement::belongs);
    CAF_CHECK(judge(listed, &row, created + 59min).is == judgement::belongs);
    CAF_CHECK(judge(listed, &row, created + 1h).is == judgement::remove);
  }
}

CAF_TEST(whatever does not belong has a reason for people) {
  for_all_phases([](phase at) {
    for (const auto& row :
         {row_in(at), row_with(at, "p-2", false), row_with(at, "p-1", true)}) {
      const auto is = judge(listed, &row, much_later);
      CAF_CHECK_EQUAL(is.is == judgement::belongs,
                      std::string_view{is.reason}.empty());
    }
  });
}
