#pragma once

#include "persistence/embedded.hpp"
#include "persistence/migrate.hpp"
#include "persistence/pg/connection.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace slipway::test {

/// A private PostgreSQL cluster for one test process, in a temporary directory
/// that is removed at the end. Writes without fsync: tests kill processes, not
/// the machine. A failure of the fixture itself prints why and ends the
/// process.
///
/// Thread: the main one; the cluster ends with the thread that started it.
class postgres_fixture {
public:
  /// The one of this process, started on first use, stopped at exit.
  static postgres_fixture& shared();

  postgres_fixture();
  postgres_fixture(const postgres_fixture&) = delete;
  postgres_fixture& operator=(const postgres_fixture&) = delete;
  ~postgres_fixture();

  /// Makes an empty database.
  /// @returns what libpq needs to connect to it.
  std::string database();

  /// Makes a database that has been migrated, from a template of that schema.
  std::string database(const std::vector<migration>& migrations);

  /// A connection for tests. Waits for a server that recovers.
  static pg::connection connect(const std::string& url);

  /// Shuts the cluster down and starts it again; both keep the databases.
  void stop();
  void start();

  /// Kills the server with SIGKILL and waits for its end. `start` recovers.
  void kill9();

  [[nodiscard]] embedded_cluster& cluster() {
    return *cluster_;
  }

  [[nodiscard]] const std::string& dir() const noexcept {
    return dir_;
  }

private:
  void make(const std::string& name, const std::string& from);

  std::string dir_;
  std::unique_ptr<embedded_cluster> cluster_;
  int databases_ = 0;
  std::map<std::string, std::string> templates_; // By checksums.
};

} // namespace slipway::test
