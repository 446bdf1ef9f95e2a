#include "persistence/embedded.hpp"

#include "persistence/pg/connection.hpp"
#include "persistence/pg/process.hpp"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <locale.h>
#include <optional>
#include <poll.h>
#include <signal.h>
#include <sstream>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace slipway {
namespace {

namespace fs = std::filesystem;
using pg::identity;
using std::chrono::steady_clock;
using deadline = pg::process_deadline;

constexpr int oldest_major = 14;
constexpr const char* role = "slipway";
constexpr const char* database = "slipway";
constexpr const char* port = "5432";
constexpr const char* socket_name = "/.s.PGSQL.5432";
constexpr const char* far_socket_prefix = "/tmp/slipway-pg-";
// Including the zero byte at the end.
constexpr std::size_t socket_path_max = 107;
constexpr std::uintmax_t log_max = 16U << 20U;
// How often a condition without an event is looked at.
constexpr int glance_ms = 20;
// A predecessor's server that is told to stop says so within this; one that
// does not is alive and is adopted.
constexpr std::chrono::seconds adopt_after{3};
// Processes that outlive their postmaster notice and end. These do not.
constexpr std::chrono::seconds quit_leftovers_after{5};
constexpr std::chrono::seconds kill_leftovers_after{10};
constexpr std::chrono::seconds hard_stop_wait{5};

using failure = tl::unexpected<std::string>;

std::string reason(int code) {
  return std::generic_category().message(code);
}

std::string octal(mode_t mode) {
  return fmt::format("{:04o}", mode & 07777U);
}

std::string user_name(uid_t user) {
  return pg::identity_of(user, 0).name;
}

std::optional<std::string> read_text(const fs::path& path) {
  std::ifstream file{path, std::ios::binary};
  if (!file)
    return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

template <class T>
std::optional<T> to_number(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t'))
    text.remove_prefix(1);
  T value{};
  const auto [end, code]
    = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end == text.data())
    return std::nullopt;
  return value;
}

void glance() {
  ::poll(nullptr, 0, glance_ms);
}

class file_handle {
public:
  explicit file_handle(int fd = -1) noexcept : fd_{fd} {
  }

  file_handle(file_handle&& other) noexcept
    : fd_{std::exchange(other.fd_, -1)} {
  }

  file_handle& operator=(file_handle&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  ~file_handle() {
    if (fd_ >= 0)
      ::close(fd_);
  }

  [[nodiscard]] int get() const noexcept {
    return fd_;
  }

private:
  int fd_;
};

// -- who may enter a directory
// ---------------------------------------------------

bool may_enter(const struct stat& entry, const identity& who) {
  if (who.user == 0)
    return true;
  if (entry.st_uid == who.user)
    return (entry.st_mode & S_IXUSR) != 0;
  const bool member
    = entry.st_gid == who.group
      || std::find(who.groups.begin(), who.groups.end(), entry.st_gid)
           != who.groups.end();
  return (entry.st_mode & (member ? S_IXGRP : S_IXOTH)) != 0;
}

/// Names the first component of `dir` that `who` cannot enter.
std::string blame_component(const fs::path& dir, const identity& who) {
  fs::path prefix;
  for (const fs::path& part : dir) {
    prefix /= part;
    struct stat entry {};
    if (::stat(prefix.c_str(), &entry) != 0)
      return fmt::format("{}: {}", prefix.string(), reason(errno));
    if (!may_enter(entry, who))
      return fmt::format("it cannot enter {} (mode {}, owner {})",
                         prefix.string(), octal(entry.st_mode),
                         user_name(entry.st_uid));
  }
  return fmt::format("it cannot enter {}", dir.string());
}

std::string
describe_start(const pg::process_failure& what, const std::string& program,
               const fs::path& dir, const identity& who) {
  switch (what.step) {
    case pg::process_step::fork:
      break;
    case pg::process_step::privileges:
      return fmt::format("cannot become the user {}, as whom PostgreSQL runs "
                         "because this server is root: {}",
                         who.name, reason(what.code));
    case pg::process_step::directory:
      if (who.drop)
        return fmt::format(
          "PostgreSQL runs as the user {} because this server is root, and {}; "
          "choose a directory that user can reach, for example one below "
          "/var/lib",
          who.name, blame_component(dir, who));
      return fmt::format("cannot enter {}: {}", dir.string(),
                         reason(what.code));
    case pg::process_step::exec:
      return fmt::format("cannot run {} as the user {}: {}", program, who.name,
                         reason(what.code));
  }
  return fmt::format("cannot start {}: {}", program, reason(what.code));
}

// -- the programs
// ----------------------------------------------------------------

struct programs {
  std::string folder;
  int major = 0;
};

bool has_programs(const fs::path& folder) {
  return ::access((folder / "initdb").c_str(), X_OK) == 0
         && ::access((folder / "postgres").c_str(), X_OK) == 0;
}

/// From `postgres (PostgreSQL) 15.20 (Debian …)`.
std::optional<int> major_of(const std::string& folder, deadline until) {
  const auto text = pg::output_of({folder + "/postgres", "-V"}, until);
  if (!text)
    return std::nullopt;
  constexpr std::string_view mark = "(PostgreSQL) ";
  const std::size_t at = text->find(mark);
  if (at == std::string::npos)
    return std::nullopt;
  return to_number<int>(std::string_view{*text}.substr(at + mark.size()));
}

std::vector<std::string> program_folders(deadline until) {
  std::vector<std::string> folders;
  const auto add = [&](const fs::path& folder) {
    std::string text = folder.string();
    if (has_programs(folder)
        && std::find(folders.begin(), folders.end(), text) == folders.end())
      folders.push_back(std::move(text));
  };
  std::vector<std::string> path;
  if (const char* all = std::getenv("PATH")) {
    std::istringstream parts{all};
    for (std::string part; std::getline(parts, part, ':');)
      if (part.starts_with('/'))
        path.push_back(part);
  }
  for (const std::string& folder : path) {
    const std::string config = folder + "/pg_config";
    if (::access(config.c_str(), X_OK) != 0)
      continue;
    if (auto text = pg::output_of({config, "--bindir"}, until))
      add(text->substr(0, text->find('\n')));
    break;
  }
  std::vector<std::pair<int, fs::path>> installed;
  std::error_code ignored;
  for (const auto& entry :
       fs::directory_iterator{"/usr/lib/postgresql", ignored})
    if (auto major = to_number<int>(entry.path().filename().string()))
      installed.emplace_back(*major, entry.path() / "bin");
  std::sort(installed.rbegin(), installed.rend());
  for (const auto& [major, folder] : installed)
    add(folder);
  for (const std::string& folder : path)
    add(folder);
  return folders;
}

/// @param wanted the version the data was made with, if there is data.
tl::expected<programs, std::string>
find_programs(std::optional<int> wanted, const fs::path& data, deadline until) {
  std::string found;
  for (const std::string& folder : program_folders(until)) {
    const auto major = major_of(folder, until);
    if (!major)
      continue;
    if (wanted ? *major == *wanted : *major >= oldest_major)
      return programs{folder, *major};
    found
      += fmt::format("{}{} in {}", found.empty() ? "" : ", ", *major, folder);
  }
  if (found.empty())
    found = "none";
  if (wanted)
    return failure(fmt::format(
      "the data in {} belongs to PostgreSQL {}, whose programs initdb and "
      "postgres are not installed (found: {})",
      data.string(), *wanted, found));
  return failure(fmt::format(
    "PostgreSQL {} or newer is not installed: looked for the programs initdb "
    "and postgres in the folder that pg_config names, in "
    "/usr/lib/postgresql/*/bin and in PATH (found: {}); on Debian: apt-get "
    "install postgresql",
    oldest_major, found));
}

std::vector<std::string> child_environment() {
  return {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"};
}

// -- what a predecessor left
// ----------------------------------------------------

struct pid_file {
  pid_t pid = 0;
  std::string socket_dir;
  std::string status;
};

std::optional<pid_file> read_pid_file(const fs::path& data) {
  const auto text = read_text(data / "postmaster.pid");
  if (!text)
    return std::nullopt;
  std::istringstream lines{*text};
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);)
    all.push_back(line);
  pid_file found;
  if (all.empty())
    return std::nullopt;
  const auto pid = to_number<pid_t>(all[0]);
  if (!pid || *pid <= 0)
    return std::nullopt;
  found.pid = *pid;
  if (all.size() > 4)
    found.socket_dir = all[4];
  if (all.size() > 7)
    found.status = all[7].substr(0, all[7].find(' '));
  return found;
}

/// Whether the process is a `postgres` or `initdb` that works in the directory.
bool serves(pid_t pid, const struct stat& data, const std::string& data_path) {
  const std::string proc = "/proc/" + std::to_string(pid);
  const auto name = read_text(proc + "/comm");
  if (!name || (*name != "postgres\n" && *name != "initdb\n"))
    return false;
  struct stat folder {};
  if (::stat((proc + "/cwd").c_str(), &folder) == 0)
    return folder.st_dev == data.st_dev && folder.st_ino == data.st_ino;
  if (errno != EACCES && errno != EPERM)
    return false;
  // Root without CAP_SYS_PTRACE, in a container, sees the arguments only.
  const auto arguments = read_text(proc + "/cmdline");
  return arguments && arguments->find(data_path) != std::string::npos;
}

std::vector<pid_t> serving_processes(const fs::path& data) {
  std::vector<pid_t> found;
  struct stat entry {};
  if (::stat(data.c_str(), &entry) != 0)
    return found;
  std::error_code code;
  for (fs::directory_iterator all{"/proc", code}, end; !code && all != end;
       all.increment(code)) {
    const std::string name = all->path().filename().string();
    const auto pid = to_number<pid_t>(name);
    if (pid && serves(*pid, entry, data.string()))
      found.push_back(*pid);
  }
  return found;
}

// -- libpq's keyword strings
// -----------------------------------------------------

std::string keyword_value(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'' || c == '\\')
      result += '\\';
    result += c;
  }
  result += '\'';
  return result;
}

std::string make_url(const std::string& socket_dir, std::string_view name) {
  return fmt::format("host={} port={} user={} dbname={}",
                     keyword_value(socket_dir), port, role,
                     keyword_value(name));
}

pg::connection_options connect_options(std::string url, millis timeout) {
  pg::connection_options options;
  options.url = std::move(url);
  options.application_name = "slipway-embedded";
  options.connect_timeout = timeout;
  options.statement_timeout = millis{60'000};
  return options;
}

} // namespace

// -- the cluster
// ------------------------------------------------------------------

struct embedded_cluster::impl {
  embedded_options options;
  fs::path dir;
  fs::path data;
  file_handle lock;
  identity who;
  std::string socket_dir;
  bool far_socket = false;
  std::string url;
  pid_t pid = 0;
  // Ours to reap; a server that was adopted is not.
  bool child = false;

  ~impl() {
    if (auto stopped = stop(); !stopped)
      spdlog::warn("{}", stopped.error());
  }

  tl::expected<void, std::string> start() {
    const deadline until = steady_clock::now() + options.start_timeout;
    if (auto made = make_dir(); !made)
      return made;
    if (auto locked = take_lock(until); !locked)
      return locked;
    if (auto chosen = choose_identity(); !chosen)
      return chosen;
    if (auto waited = wait_for_predecessor(until); !waited)
      return waited;
    if (pid == 0) {
      if (auto started = start_server(until); !started)
        return started;
    }
    url = make_url(socket_dir, database);
    if (auto made = make_database(until); !made) {
      const bool stopped = stop().has_value();
      return failure(made.error()
                     + (stopped ? "" : " (and it could not be stopped)"));
    }
    return {};
  }

  // -- the directory
  // --------------------------------------------------------------

  tl::expected<void, std::string> make_dir() {
    if (options.dir.empty())
      return failure("the directory of the embedded database is not set");
    std::error_code code;
    fs::path path = fs::absolute(options.dir, code);
    if (code)
      return failure(fmt::format("{}: {}", options.dir, code.message()));
    if (!path.has_filename()) // A slash at the end.
      path = path.parent_path();
    fs::create_directories(path.parent_path(), code);
    if (code)
      return failure(fmt::format("cannot create {}: {}",
                                 path.parent_path().string(), code.message()));
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
      return failure(
        fmt::format("cannot create {}: {}", path.string(), reason(errno)));
    dir = fs::canonical(path, code);
    if (code)
      return failure(fmt::format("{}: {}", path.string(), code.message()));
    if (!fs::is_directory(dir, code))
      return failure(fmt::format("{} is not a directory", dir.string()));
    data = dir / "pg";
    return {};
  }

  tl::expected<void, std::string> take_lock(deadline until) {
    const fs::path path = dir / "lock";
    file_handle file{
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (file.get() < 0)
      return failure(
        fmt::format("cannot open {}: {}", path.string(), reason(errno)));
    while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK)
        return failure(
          fmt::format("cannot lock {}: {}", path.string(), reason(errno)));
      const auto now = steady_clock::now();
      const auto holder = written_in(file);
      if (!holder || !pg::wait_for_end(*holder, now))
        return failure(fmt::format(
          "the embedded database in {} is in use by another Slipway{}; stop "
          "that one or choose another directory",
          dir.string(),
          holder ? fmt::format(" (process {})", *holder) : std::string{}));
      // That one was killed while it started a program: its child holds the
      // lock until it is that program.
      if (now >= until)
        return failure(fmt::format(
          "a process that the Slipway {} started before it was killed still "
          "holds {}; waited {}",
          *holder, path.string(), to_words(options.start_timeout)));
      glance();
    }
    const std::string text = std::to_string(::getpid()) + '\n';
    if (::ftruncate(file.get(), 0) != 0
        || ::pwrite(file.get(), text.data(), text.size(), 0)
             != static_cast<ssize_t>(text.size()))
      return failure(
        fmt::format("cannot write {}: {}", path.string(), reason(errno)));
    lock = std::move(file);
    return {};
  }

  /// The process that says in the file that it holds the lock.
  static std::optional<pid_t> written_in(const file_handle& file) {
    std::array<char, 32> text{};
    const ssize_t got = ::pread(file.get(), text.data(), text.size() - 1, 0);
    return to_number<pid_t>(std::string_view{
      text.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))});
  }

  tl::expected<void, std::string> choose_identity() {
    who = pg::own_identity();
    struct stat of_dir {};
    struct stat of_data {};
    if (::stat(dir.c_str(), &of_dir) != 0)
      return failure(fmt::format("{}: {}", dir.string(), reason(errno)));
    const bool has_data = ::stat(data.c_str(), &of_data) == 0;
    if (who.user != 0) {
      if (has_data && of_data.st_uid != who.user)
        return failure(fmt::format(
          "{} belongs to the user {}, and this server runs as {}; run it as "
          "that user or as root, or choose another directory",
          data.string(), user_name(of_data.st_uid), who.name));
      return {};
    }
    if (has_data && of_data.st_uid != 0) {
      who = pg::identity_of(of_data.st_uid, of_data.st_gid);
    } else if (of_dir.st_uid != 0) {
      who = pg::identity_of(of_dir.st_uid, of_dir.st_gid);
    } else if (auto postgres = pg::identity_of("postgres")) {
      who = *postgres;
    } else if (auto nobody = pg::identity_of("nobody")) {
      who = *nobody;
    } else {
      return failure("PostgreSQL does not run as root, and there is neither a "
                     "user postgres nor nobody");
    }
    if (of_dir.st_uid == 0 && !may_enter(of_dir, who)) {
      // The directory stays ours; that user only passes through.
      if (::chown(dir.c_str(), 0, who.group) != 0
          || ::chmod(dir.c_str(), (of_dir.st_mode & 07777U) | S_IXGRP) != 0)
        return failure(fmt::format("cannot let the user {} enter {}: {}",
                                   who.name, dir.string(), reason(errno)));
    }
    // Should that user start the server without root one day.
    if (::fchown(lock.get(), who.user, who.group) != 0)
      return failure(fmt::format("cannot give {} to the user {}: {}",
                                 (dir / "lock").string(), who.name,
                                 reason(errno)));
    if (has_data && of_data.st_uid == 0)
      return give_away(data);
    return {};
  }

  /// Hands a tree that root has put here, a restored backup, to the user.
  [[nodiscard]] tl::expected<void, std::string>
  give_away(const fs::path& tree) const {
    const auto give = [this](const fs::path& path) {
      return ::lchown(path.c_str(), who.user, who.group) == 0;
    };
    bool good = give(tree);
    std::error_code code;
    for (fs::recursive_directory_iterator all{tree, code}, end;
         good && !code && all != end; all.increment(code))
      good = give(all->path());
    if (good && !code)
      return {};
    return failure(fmt::format("cannot give {} to the user {}: {}",
                               tree.string(), who.name,
                               code ? code.message() : reason(errno)));
  }

  // -- the predecessor
  // ------------------------------------------------------------

  /// Waits until nothing of an earlier server is left, or adopts it.
  tl::expected<void, std::string> wait_for_predecessor(deadline until) {
    const auto begun = steady_clock::now();
    bool quit_sent = false;
    bool kill_sent = false;
    for (;;) {
      const std::vector<pid_t> left = serving_processes(data);
      if (left.empty())
        return {};
      const auto file = read_pid_file(data);
      const bool master_lives
        = file && std::find(left.begin(), left.end(), file->pid) != left.end();
      const auto waited = steady_clock::now() - begun;
      if (master_lives) {
        if (waited > adopt_after && file->status == "ready"
            && !file->socket_dir.empty() && answers(file->socket_dir, until)) {
          spdlog::info("the PostgreSQL of an earlier server still runs in {} "
                       "(process {}) and is taken over",
                       data.string(), file->pid);
          pid = file->pid;
          child = false;
          socket_dir = file->socket_dir;
          return {};
        }
      } else if (waited > kill_leftovers_after && !kill_sent) {
        kill_sent = true;
        signal_all(left, SIGKILL);
      } else if (waited > quit_leftovers_after && !quit_sent) {
        quit_sent = true;
        signal_all(left, SIGQUIT);
      }
      if (steady_clock::now() >= until)
        return failure(fmt::format(
          "the PostgreSQL of an earlier server (process {}) still uses {}, "
          "neither ends nor answers; waited {}",
          left.front(), data.string(), to_words(options.start_timeout)));
      glance();
    }
  }

  static void signal_all(const std::vector<pid_t>& all, int number) {
    for (const pid_t one : all)
      ::kill(one, number); // One that is gone is what we want.
  }

  [[nodiscard]] bool answers(const std::string& socket, deadline until) const {
    const auto left
      = std::chrono::duration_cast<millis>(until - steady_clock::now());
    return pg::connection::open(
             connect_options(make_url(socket, "postgres"),
                             std::clamp(left, millis{1}, millis{1'000})))
      .has_value();
  }

  // -- start
  // ----------------------------------------------------------------------

  tl::expected<void, std::string> start_server(deadline until) {
    remove_half_made(until);
    std::error_code code;
    if (fs::is_directory(data, code) && fs::is_empty(data, code))
      fs::remove(data, code);
    std::optional<int> wanted;
    if (fs::exists(data, code)) {
      const auto version = read_text(data / "PG_VERSION");
      wanted = version ? to_number<int>(*version) : std::nullopt;
      if (!wanted)
        return failure(fmt::format(
          "{} exists but holds no PostgreSQL data (no readable PG_VERSION)",
          data.string()));
    }
    auto with = find_programs(wanted, data, until);
    if (!with)
      return failure(with.error());
    auto log = open_log();
    if (!log)
      return failure(log.error());
    if (!wanted) {
      if (auto made = init_data(*with, log->get(), until); !made)
        return made;
    }
    if (auto made = make_socket_dir(); !made)
      return made;
    for (;;) {
      auto outcome = start_once(*with, log->get(), until);
      if (outcome)
        return {};
      // Processes of a killed server that we could not see.
      const bool occupied
        = outcome.error().find("still in use") != std::string::npos;
      if (!occupied || steady_clock::now() >= until)
        return outcome;
      glance();
    }
  }

  /// What a start that was killed left behind.
  void remove_half_made(deadline until) const {
    std::vector<fs::path> found;
    std::error_code code;
    for (fs::directory_iterator all{dir, code}, end; !code && all != end;
         all.increment(code))
      if (all->path().filename().string().starts_with("pg.new-"))
        found.push_back(all->path());
    for (const fs::path& one : found) {
      // Its initdb was told to end when the server was killed.
      const auto patience
        = std::min(until, steady_clock::now() + quit_leftovers_after);
      for (auto left = serving_processes(one); !left.empty();
           left = serving_processes(one)) {
        if (steady_clock::now() >= patience)
          signal_all(left, SIGKILL);
        if (steady_clock::now() >= until)
          break;
        glance();
      }
      std::error_code removal;
      fs::remove_all(one, removal);
      if (removal) // In nobody's way; the next start tries again.
        spdlog::warn("cannot remove {}: {}", one.string(), removal.message());
    }
  }

  [[nodiscard]] tl::expected<file_handle, std::string> open_log() const {
    const fs::path path = dir / "postgres.log";
    std::error_code code;
    if (const auto size = fs::file_size(path, code); !code && size > log_max)
      fs::rename(path, dir / "postgres.log.1", code);
    file_handle file{
      ::open(path.c_str(),
             O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600)};
    if (file.get() < 0)
      return failure(
        fmt::format("cannot open {}: {}", path.string(), reason(errno)));
    if (who.drop && ::fchown(file.get(), who.user, who.group) != 0)
      return failure(fmt::format("cannot give {} to the user {}: {}",
                                 path.string(), who.name, reason(errno)));
    return file;
  }

  static off_t log_size(int log) {
    struct stat entry {};
    return ::fstat(log, &entry) == 0 ? entry.st_size : 0;
  }

  /// The complaints in the log since `from`, in one line.
  [[nodiscard]] std::string log_since(off_t from) const {
    std::ifstream file{dir / "postgres.log", std::ios::binary};
    file.seekg(from);
    std::string found;
    std::string last;
    for (std::string line; std::getline(file, line);) {
      if (!line.empty())
        last = line;
      for (const std::string_view mark :
           {"FATAL:", "PANIC:", "HINT:", "error:"}) {
        const std::size_t at = line.find(mark);
        if (at == std::string::npos)
          continue;
        if (found.size() < 600)
          found += (found.empty() ? "" : "; ") + line.substr(at);
        break;
      }
    }
    if (found.empty())
      found = last.empty() ? "it said nothing" : last;
    return found;
  }

  tl::expected<void, std::string>
  init_data(const programs& with, int log, deadline until) {
    std::string fresh = (dir / "pg.new-XXXXXX").string();
    if (::mkdtemp(fresh.data()) == nullptr)
      return failure(fmt::format("cannot create a directory in {}: {}",
                                 dir.string(), reason(errno)));
    auto made = run_initdb(with, fresh, log, until);
    if (made) {
      // All or nothing: a killed start leaves no half-made cluster behind.
      if (::rename(fresh.c_str(), data.c_str()) != 0)
        made = failure(fmt::format("cannot rename {} to {}: {}", fresh,
                                   data.string(), reason(errno)));
    }
    if (!made) {
      std::error_code ignored; // The next start removes what is left.
      fs::remove_all(fresh, ignored);
      return made;
    }
    const file_handle folder{
      ::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (folder.get() < 0 || ::fsync(folder.get()) != 0)
      return failure(
        fmt::format("cannot sync {}: {}", dir.string(), reason(errno)));
    return {};
  }

  tl::expected<void, std::string>
  run_initdb(const programs& with, const std::string& fresh, int log,
             deadline until) {
    if (who.drop && ::chown(fresh.c_str(), who.user, who.group) != 0)
      return failure(fmt::format("cannot give {} to the user {}: {}", fresh,
                                 who.name, reason(errno)));
    // Sorting by code point everywhere, letters beyond ASCII where possible.
    bool unicode = false;
    if (locale_t found = ::newlocale(LC_ALL_MASK, "C.UTF-8", nullptr)) {
      unicode = true;
      ::freelocale(found);
    }
    spdlog::info("creating an embedded PostgreSQL {} cluster in {}", with.major,
                 data.string());
    pg::process_options options;
    options.arguments = {with.folder + "/initdb",
                         "--pgdata=" + fresh,
                         std::string{"--username="} + role,
                         "--encoding=UTF8",
                         unicode ? "--locale=C.UTF-8" : "--no-locale",
                         "--auth=trust",
                         "--no-instructions"};
    options.environment = child_environment();
    options.directory = fresh;
    options.as = who;
    options.output = log;
    options.death_signal = SIGINT;
    const off_t from = log_size(log);
    const auto started = pg::start_process(options);
    if (!started)
      return failure(
        describe_start(started.error(), options.arguments[0], dir, who));
    const bool ended = pg::wait_for_end(*started, until);
    if (!ended) {
      // With its own children: it leads a session.
      ::kill(-*started, SIGKILL);
      if (!pg::wait_for_end(*started, steady_clock::now() + hard_stop_wait))
        return failure("initdb hangs and cannot be killed");
    }
    const auto status = pg::reap(*started);
    if (!ended)
      return failure(fmt::format("initdb did not end within {}",
                                 to_words(this->options.start_timeout)));
    if (!status || *status != 0)
      return failure(fmt::format("initdb failed ({}): {}",
                                 pg::describe_status(status.value_or(0)),
                                 log_since(from)));
    return {};
  }

  tl::expected<void, std::string> make_socket_dir() {
    const fs::path near = dir / "run";
    remove_far_socket(near);
    const std::string near_text = near.string();
    // libpq takes a comma for the end of a host.
    far_socket = near_text.size() + std::strlen(socket_name) > socket_path_max
                 || near_text.find(',') != std::string::npos;
    if (!far_socket) {
      socket_dir = near_text;
      if (::mkdir(near.c_str(), 0700) != 0 && errno != EEXIST)
        return failure(
          fmt::format("cannot create {}: {}", near_text, reason(errno)));
    } else {
      socket_dir = std::string{far_socket_prefix} + "XXXXXX";
      if (::mkdtemp(socket_dir.data()) == nullptr)
        return failure(
          fmt::format("cannot create {}: {}", socket_dir, reason(errno)));
      if (::symlink(socket_dir.c_str(), near.c_str()) != 0)
        return failure(
          fmt::format("cannot create {}: {}", near_text, reason(errno)));
    }
    if (::lchown(socket_dir.c_str(), who.user, who.group) != 0
        || ::chmod(socket_dir.c_str(), 0700) != 0)
      return failure(fmt::format("cannot give {} to the user {}: {}",
                                 socket_dir, who.name, reason(errno)));
    return {};
  }

  /// `run` is a link to the socket directory when that lies in /tmp.
  static void remove_far_socket(const fs::path& near) {
    std::error_code code;
    if (!fs::is_symlink(near, code))
      return;
    const fs::path target = fs::read_symlink(near, code);
    const std::string text = target.string();
    if (text.starts_with(far_socket_prefix)
        && text.find('/', std::strlen(far_socket_prefix)) == std::string::npos
        && fs::is_directory(fs::symlink_status(target, code))) {
      ::unlink((text + socket_name).c_str());
      ::unlink((text + socket_name + ".lock").c_str());
      ::rmdir(text.c_str()); // Stays if it holds anything else.
    }
    fs::remove(near, code);
  }

  /// The environment of the server.
  [[nodiscard]] std::vector<std::string> server_environment() const {
    std::vector<std::string> all = child_environment();
    // The number of a dead server may be that of some other process by now,
    // which PostgreSQL would take for the server. We know better; it passes
    // over the process that this variable names.
    if (const auto file = read_pid_file(data))
      all.push_back("PG_GRANDPARENT_PID=" + std::to_string(file->pid));
    return all;
  }

  tl::expected<void, std::string>
  start_once(const programs& with, int log, deadline until) {
    pg::process_options options;
    std::string socket_list = "\""; // Commas and blanks would end an entry.
    for (const char c : socket_dir)
      socket_list += c == '"' ? std::string{"\"\""} : std::string{c};
    socket_list += '"';
    options.arguments = {with.folder + "/postgres",
                         "-D",
                         data.string(),
                         "-p",
                         port,
                         "-c",
                         "listen_addresses=",
                         "-c",
                         "unix_socket_directories=" + socket_list,
                         "-c",
                         "unix_socket_permissions=0700",
                         "-c",
                         "logging_collector=off",
                         "-c",
                         "log_destination=stderr",
                         "-c",
                         "lc_messages=C"};
    for (const auto& [name, value] : this->options.settings) {
      options.arguments.emplace_back("-c");
      options.arguments.push_back(fmt::format("{}={}", name, value));
    }
    options.environment = server_environment();
    options.directory = data.string();
    options.as = who;
    options.output = log;
    options.death_signal = SIGINT; // A fast shutdown.
    const off_t from = log_size(log);
    const auto started = pg::start_process(options);
    if (!started)
      return failure(
        describe_start(started.error(), options.arguments[0], dir, who));
    pid = *started;
    child = true;
    return wait_until_ready(from, until);
  }

  tl::expected<void, std::string>
  wait_until_ready(off_t log_from, deadline until) {
    for (;;) {
      if (const auto status = pg::reap(pid)) {
        pid = 0;
        return failure(fmt::format("PostgreSQL did not start ({}): {}",
                                   pg::describe_status(*status),
                                   log_since(log_from)));
      }
      const auto now = steady_clock::now();
      if (now >= until)
        break;
      auto attempt = pg::connection::open(
        connect_options(make_url(socket_dir, "postgres"),
                        std::clamp(std::chrono::ceil<millis>(until - now),
                                   millis{1}, millis{2'000})));
      if (attempt)
        return {};
      if (attempt.error().kind == pg::error_kind::other) {
        const std::string message = attempt.error().message;
        const bool stopped = stop().has_value();
        return failure(fmt::format(
          "the embedded PostgreSQL in {} refuses us{}: "
          "{}",
          data.string(), stopped ? "" : " and cannot be stopped", message));
      }
      // Not yet. An end of the process ends the pause as well.
      static_cast<void>(
        pg::wait_for_end(pid, std::min(until, now + millis{glance_ms})));
    }
    const bool stopped = stop().has_value();
    return failure(
      fmt::format("PostgreSQL did not accept connections within {}{}; see {}",
                  to_words(options.start_timeout),
                  stopped ? "" : " and did not stop cleanly",
                  (dir / "postgres.log").string()));
  }

  tl::expected<void, std::string> make_database(deadline until) {
    const auto left = std::chrono::ceil<millis>(until - steady_clock::now());
    auto db = pg::connection::open(connect_options(
      make_url(socket_dir, "postgres"), std::max(left, millis{1'000})));
    const auto failed = [](const pg::error& what) {
      return failure("cannot create the database slipway: "
                     + pg::to_string(what));
    };
    if (!db)
      return failed(db.error());
    static constexpr pg::statement exists{
      "database_exists",
      "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", false};
    pg::params name;
    name.add(database);
    auto found = db->execute(exists, name);
    if (!found)
      return failed(found.error());
    if (found->boolean(0, 0))
      return {};
    if (auto made = db->script(std::string{"CREATE DATABASE "} + database);
        !made)
      return failed(made.error());
    return {};
  }

  // -- stop
  // -----------------------------------------------------------------------

  [[nodiscard]] bool running() {
    if (pid == 0)
      return false;
    if (child) {
      if (const auto status = pg::reap(pid)) {
        spdlog::error("the embedded PostgreSQL has ended by itself ({}); see "
                      "{}",
                      pg::describe_status(*status),
                      (dir / "postgres.log").string());
        pid = 0;
      }
    } else if (::kill(pid, 0) != 0 && errno == ESRCH) {
      pid = 0;
    }
    return pid != 0;
  }

  tl::expected<void, std::string> stop() {
    if (!running())
      return {};
    const auto begun = steady_clock::now();
    struct stage {
      int number;
      millis wait;
    };
    const std::array stages{stage{SIGINT, options.stop_timeout},
                            stage{SIGQUIT, hard_stop_wait},
                            stage{SIGKILL, hard_stop_wait}};
    int used = 0;
    bool ended = false;
    for (const stage& one : stages) {
      used = one.number;
      ::kill(pid, one.number);
      ended = pg::wait_for_end(pid, steady_clock::now() + one.wait);
      if (ended)
        break;
    }
    const auto took
      = std::chrono::duration_cast<millis>(steady_clock::now() - begun);
    if (!ended)
      return failure(fmt::format("the embedded PostgreSQL (process {}) does "
                                 "not end, not even by SIGKILL",
                                 pid));
    int status = 0;
    if (child)
      status = pg::reap(pid).value_or(0);
    pid = 0;
    if (far_socket)
      remove_far_socket(dir / "run");
    if (used != SIGINT)
      return failure(fmt::format(
        "the embedded PostgreSQL did not shut down within {} and was stopped "
        "by {} after {}; it will recover at the next start",
        to_words(options.stop_timeout), used == SIGQUIT ? "SIGQUIT" : "SIGKILL",
        to_words(took)));
    if (status != 0)
      return failure(
        fmt::format("the embedded PostgreSQL did not shut down cleanly ({})",
                    pg::describe_status(status)));
    return {};
  }
};

embedded_cluster::embedded_cluster(std::unique_ptr<impl> state) noexcept
  : impl_{std::move(state)} {
}

embedded_cluster::~embedded_cluster() = default;

tl::expected<std::unique_ptr<embedded_cluster>, std::string>
embedded_cluster::start(embedded_options options) {
  auto state = std::make_unique<impl>();
  state->options = std::move(options);
  if (auto started = state->start(); !started)
    return failure(std::move(started.error()));
  return std::unique_ptr<embedded_cluster>{
    new embedded_cluster{std::move(state)}};
}

const std::string& embedded_cluster::url() const noexcept {
  return impl_->url;
}

std::string embedded_cluster::url_of(std::string_view name) const {
  return make_url(impl_->socket_dir, name);
}

tl::expected<void, std::string> embedded_cluster::stop() {
  return impl_->stop();
}

bool embedded_cluster::running() {
  return impl_->running();
}

pid_t embedded_cluster::pid() const noexcept {
  return impl_->pid;
}

} // namespace slipway
