#pragma once

#include "actors/record.hpp"

#include <cstdint>
#include <string>

/// What a project with a name of ours is to us. Pure.
namespace slipway::provider {

/// A project as the provider lists it.
struct listed_project {
  std::string id;
  std::string name;
  subscription_id subscription{}; ///< That its name stands for.
  timestamp created_at{};
};

struct judgement {
  enum kind : std::uint8_t {
    belongs, ///< It is an instance of ours, or is about to be one.
    report,  ///< It should not be there, and a person has to look.
    remove,  ///< It should not be there, and is provably ours.
  } is
    = belongs;
  const char* reason = ""; ///< For people; empty when it belongs.
};

/// Judges a project.
/// @param row What is stored of its subscription; null when we have none of
///            that id: another installation may have, so that it is never
///            removed.
/// @param now The age of a project decides where a retry could still use it.
[[nodiscard]] judgement
judge(const listed_project& what, const record* row, timestamp now);

} // namespace slipway::provider
