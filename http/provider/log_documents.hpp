#pragma once

#include "http/provider/documents.hpp"

/// The documents that are about logs.
namespace slipway::provider {

inline constexpr auto read_build_logs = operation{"buildLogs",
                                                  R"graphql(
query ReadBuildLogs($id: String!, $limit: Int, $start: DateTime, $end: DateTime) {
  buildLogs(deploymentId: $id, limit: $limit, startDate: $start, endDate: $end) {
    timestamp
    severity
    message
  }
}
)graphql",
                                                  false};

inline constexpr auto read_deploy_logs = operation{"deploymentLogs",
                                                   R"graphql(
query ReadDeployLogs($id: String!, $limit: Int, $start: DateTime, $end: DateTime) {
  deploymentLogs(deploymentId: $id, limit: $limit, startDate: $start, endDate: $end) {
    timestamp
    severity
    message
  }
}
)graphql",
                                                   false};

// The provider's own client always sends a filter with these two, so we do.

inline constexpr auto follow_build_logs = operation{"buildLogs",
                                                    R"graphql(
subscription FollowBuildLogs($id: String!, $limit: Int) {
  buildLogs(deploymentId: $id, filter: "", limit: $limit) {
    timestamp
    severity
    message
  }
}
)graphql",
                                                    false};

inline constexpr auto follow_deploy_logs = operation{"deploymentLogs",
                                                     R"graphql(
subscription FollowDeployLogs($id: String!, $limit: Int) {
  deploymentLogs(deploymentId: $id, filter: "", limit: $limit) {
    timestamp
    severity
    message
  }
}
)graphql",
                                                     false};

} // namespace slipway::provider
