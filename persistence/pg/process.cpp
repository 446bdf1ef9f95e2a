#include "persistence/pg/process.hpp"

#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

namespace slipway::pg {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class unique_fd {
public:
  explicit unique_fd(int fd = -1) noexcept : fd_{fd} {
  }

  unique_fd(unique_fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {
  }

  unique_fd& operator=(unique_fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }

  ~unique_fd() {
    reset();
  }

  void reset() noexcept {
    if (fd_ >= 0)
      ::close(std::exchange(fd_, -1));
  }

  [[nodiscard]] int get() const noexcept {
    return fd_;
  }

private:
  int fd_;
};

int milliseconds_until(process_deadline until) {
  const auto left
    = std::chrono::ceil<milliseconds>(until - steady_clock::now());
  return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (const std::string& text : texts)
    all.push_back(const_cast<char*>(text.c_str()));
  all.push_back(nullptr);
  return all;
}

/// What the child needs, gathered before the fork: it must not allocate.
struct child_plan {
  char* const* arguments;
  char* const* environment;
  const char* directory;
  bool drop;
  uid_t user;
  gid_t group;
  const gid_t* groups;
  std::size_t group_count;
  int input;
  int output;
  int status;
  int death_signal;
  pid_t parent;
};

[[noreturn]] void give_up(int status, process_step step) noexcept {
  const int message[2] = {static_cast<int>(step), errno};
  // If this fails, the parent sees a child that ended without a word.
  [[maybe_unused]] const auto sent = ::write(status, message, sizeof(message));
  ::_exit(127);
}

/// Between fork and exec: async-signal-safe calls only. The ids are set by
/// system calls, since those of glibc synchronise threads that are not here.
[[noreturn]] void become(const child_plan& plan) noexcept {
  // Out of the way of the numbers they go to.
  const int status = ::fcntl(plan.status, F_DUPFD_CLOEXEC, 10);
  const int output = ::fcntl(plan.output, F_DUPFD_CLOEXEC, 10);
  const int input = ::fcntl(plan.input, F_DUPFD_CLOEXEC, 10);
  if (status < 0 || output < 0 || input < 0)
    give_up(plan.status, process_step::fork);
  if (::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0
      || ::dup3(status, 3, O_CLOEXEC) < 0)
    give_up(status, process_step::fork);
  // Sockets of other libraries are not all close-on-exec.
  if (::syscall(SYS_close_range, 4U, ~0U, 0U) != 0) {
    const long open_max = std::min(::sysconf(_SC_OPEN_MAX), 65'536L);
    for (int fd = 4; fd < open_max; ++fd)
      ::close(fd);
  }
  // Away from the terminal's Ctrl-C, which is for the parent.
  ::setsid();
  if (plan.drop) {
    if (::syscall(SYS_setgroups, plan.group_count, plan.groups) != 0
        || ::syscall(SYS_setresgid, plan.group, plan.group, plan.group) != 0
        || ::syscall(SYS_setresuid, plan.user, plan.user, plan.user) != 0)
      give_up(3, process_step::privileges);
  }
  // After the change of the user, which forgets it.
  if (plan.death_signal != 0) {
    if (::prctl(PR_SET_PDEATHSIG, plan.death_signal) != 0)
      give_up(3, process_step::privileges);
    if (::getppid() != plan.parent) // The parent was faster.
      ::_exit(127);
  }
  if (plan.directory != nullptr && ::chdir(plan.directory) != 0)
    give_up(3, process_step::directory);
  // Not as we are scheduled ourselves.
  const sched_param usual_turns{};
  ::sched_setscheduler(0, SCHED_OTHER, &usual_turns);
  struct sigaction usual {};
  usual.sa_handler = SIG_DFL;
  for (int number = 1; number < NSIG; ++number)
    ::sigaction(number, &usual, nullptr); // Fails for KILL and STOP only.
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(plan.arguments[0], plan.arguments, plan.environment);
  give_up(3, process_step::exec);
}

std::optional<identity> from_entry(const passwd& entry) {
  identity found;
  found.drop = true;
  found.user = entry.pw_uid;
  found.group = entry.pw_gid;
  found.name = entry.pw_name;
  int count = 64;
  found.groups.resize(static_cast<std::size_t>(count));
  if (::getgrouplist(entry.pw_name, entry.pw_gid, found.groups.data(), &count)
      < 0) {
    found.groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(entry.pw_name, entry.pw_gid, found.groups.data(), &count)
        < 0)
      return std::nullopt;
  }
  found.groups.resize(static_cast<std::size_t>(count));
  return found;
}

constexpr std::size_t entry_size = 16'384;

} // namespace

identity own_identity() {
  identity self;
  self.user = ::geteuid();
  self.group = ::getegid();
  self.name = identity_of(self.user, self.group).name;
  const int count = ::getgroups(0, nullptr);
  if (count > 0) {
    self.groups.resize(static_cast<std::size_t>(count));
    const int got = ::getgroups(count, self.groups.data());
    self.groups.resize(static_cast<std::size_t>(std::max(got, 0)));
  }
  return self;
}

std::optional<identity> identity_of(const std::string& name) {
  std::vector<char> buffer(entry_size);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found)
        != 0
      || found == nullptr)
    return std::nullopt;
  return from_entry(entry);
}

identity identity_of(uid_t user, gid_t group) {
  std::vector<char> buffer(entry_size);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(user, &entry, buffer.data(), buffer.size(), &found) == 0
      && found != nullptr) {
    if (auto complete = from_entry(entry))
      return *complete;
  }
  return {true, user, group, {group}, "number " + std::to_string(user)};
}

tl::expected<pid_t, process_failure>
start_process(const process_options& options) {
  const auto failed = [](process_step step) {
    return tl::unexpected(process_failure{step, errno});
  };
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return failed(process_step::fork);
  const unique_fd status_read{ends[0]};
  unique_fd status_write{ends[1]};
  const unique_fd null{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (null.get() < 0)
    return failed(process_step::fork);
  const std::vector<char*> arguments = pointers(options.arguments);
  const std::vector<char*> environment = pointers(options.environment);
  const child_plan plan{
    arguments.data(),
    environment.data(),
    options.directory.empty() ? nullptr : options.directory.c_str(),
    options.as.drop,
    options.as.user,
    options.as.group,
    options.as.groups.data(),
    options.as.groups.size(),
    null.get(),
    options.output < 0 ? null.get() : options.output,
    status_write.get(),
    options.death_signal,
    ::getpid(),
  };
  // None of our handlers may run in the child.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0)
    become(plan);
  const int fork_errno = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    errno = fork_errno;
    return failed(process_step::fork);
  }
  status_write.reset();
  // Ends with the exec, which closes the other side, or with a message.
  int message[2];
  ssize_t got = 0;
  do {
    got = ::read(status_read.get(), message, sizeof(message));
  } while (got < 0 && errno == EINTR);
  if (got == 0)
    return pid;
  const int read_errno = errno;
  int ignored = 0;
  while (::waitpid(pid, &ignored, 0) < 0 && errno == EINTR) {
  }
  if (got == sizeof(message))
    return tl::unexpected(
      process_failure{static_cast<process_step>(message[0]), message[1]});
  errno = read_errno;
  return failed(process_step::fork);
}

bool wait_for_end(pid_t pid, process_deadline until) {
  const unique_fd handle{static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U))};
  if (handle.get() < 0 && errno == ESRCH)
    return true;
  for (;;) {
    // Without a handle (an old kernel, a sandbox), look every 10 ms.
    pollfd entry{handle.get(), POLLIN, 0};
    const int left = milliseconds_until(until);
    const int wait = handle.get() >= 0 ? left : std::min(left, 10);
    if (::poll(&entry, 1, wait) > 0)
      return true;
    if (handle.get() < 0) {
      siginfo_t info{};
      const bool child = ::waitid(P_PID, static_cast<id_t>(pid), &info,
                                  WEXITED | WNOHANG | WNOWAIT)
                         == 0;
      if (child ? info.si_pid == pid : (::kill(pid, 0) != 0 && errno == ESRCH))
        return true;
    }
    if (steady_clock::now() >= until)
      return false;
  }
}

std::optional<int> reap(pid_t pid) {
  int status = 0;
  pid_t got = 0;
  do {
    got = ::waitpid(pid, &status, WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got == 0)
    return std::nullopt;
  // No such child: somebody ignores SIGCHLD, and the kernel has reaped it.
  return got == pid ? status : 0;
}

std::string describe_status(int status) {
  if (WIFSIGNALED(status))
    return "signal " + std::to_string(WTERMSIG(status));
  return "exit status " + std::to_string(WEXITSTATUS(status));
}

std::optional<std::string>
output_of(std::vector<std::string> arguments, process_deadline until) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return std::nullopt;
  const unique_fd reader{ends[0]};
  unique_fd writer{ends[1]};
  process_options options;
  options.arguments = std::move(arguments);
  options.environment = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"};
  options.as = own_identity();
  options.output = writer.get();
  options.death_signal = SIGKILL;
  const auto pid = start_process(options);
  writer.reset();
  if (!pid)
    return std::nullopt;
  std::string text;
  bool complete = false;
  for (;;) {
    pollfd entry{reader.get(), POLLIN, 0};
    const int found = ::poll(&entry, 1, milliseconds_until(until));
    if (found == 0 || (found < 0 && errno != EINTR))
      break;
    std::array<char, 4096> part;
    const ssize_t got = ::read(reader.get(), part.data(), part.size());
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0) {
      complete = got == 0;
      break;
    }
    text.append(part.data(), static_cast<std::size_t>(got));
    if (text.size() > 65'536)
      break;
  }
  if (!complete || !wait_for_end(*pid, until))
    ::kill(*pid, SIGKILL);
  int status = 0;
  while (::waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!complete || status != 0)
    return std::nullopt;
  return text;
}

} // namespace slipway::pg
