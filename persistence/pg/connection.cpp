#include "persistence/pg/connection.hpp"

#include "persistence/pg/panic.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <libpq-fe.h>
#include <mutex>
#include <poll.h>
#include <thread>
#include <unordered_map>
#include <utility>

namespace slipway::pg {
namespace {

using deadline = std::chrono::steady_clock::time_point;

// The server refuses messages of 1 GB and more.
constexpr std::size_t message_max = 1'000'000'000;

struct conn_deleter {
  void operator()(PGconn* raw) const noexcept {
    // Does not wait for the socket: a socket that takes nothing is just closed.
    PQfinish(raw);
  }
};

using conn_ptr = std::unique_ptr<PGconn, conn_deleter>;

/// Waits until the socket is ready for one of `events`.
/// @returns false when the deadline has passed.
bool wait_for(int socket, short events, deadline until) {
  for (;;) {
    const auto left
      = std::chrono::ceil<millis>(until - std::chrono::steady_clock::now());
    pollfd entry{socket, events, 0};
    const int found = ::poll(
      &entry, 1,
      static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000)));
    if (found > 0)
      return true;
    // Anything but EINTR is left to libpq's own look at the socket.
    if (found < 0 && errno != EINTR)
      return true;
    if (std::chrono::steady_clock::now() >= until)
      return false;
  }
}

std::string first_line(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r'))
    text.remove_suffix(1);
  return std::string{text};
}

std::string field(const PGresult* raw, int code) {
  const char* text = PQresultErrorField(raw, code);
  return text == nullptr ? std::string{} : std::string{text};
}

bool is_fatal(const PGresult* raw) {
  const std::string severity = field(raw, PG_DIAG_SEVERITY_NONLOCALIZED);
  return severity == "FATAL" || severity == "PANIC";
}

// -- the URL
// --------------------------------------------------------------------

struct url_parts {
  std::string host;
  std::string hostaddr;
  std::string options;
  std::vector<std::string> secrets;
};

bool is_number(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return c >= '0' && c <= '9';
  });
}

/// Finds what libpq would quote as a host or port although it is part of a
/// password with special characters.
std::optional<std::string> suspicious(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (!url.starts_with("postgres") || scheme == std::string_view::npos)
    return std::nullopt;
  std::string_view authority = url.substr(scheme + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  const char* const advice = "the database URL has another form than "
                             "postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
                             "special characters in the password must be "
                             "written as %XX (@ is %40, / is %2F, : is %3A)";
  if (std::count(authority.begin(), authority.end(), '@') > 1)
    return advice;
  if (const std::size_t at = authority.find('@'); at != std::string_view::npos)
    authority.remove_prefix(at + 1);
  while (!authority.empty()) {
    const std::size_t comma = authority.find(',');
    std::string_view host = authority.substr(0, comma);
    authority.remove_prefix(comma == std::string_view::npos ? authority.size()
                                                            : comma + 1);
    if (const std::size_t bracket = host.rfind(']');
        bracket != std::string_view::npos)
      host.remove_prefix(bracket + 1);
    if (const std::size_t colon = host.rfind(':');
        colon != std::string_view::npos && !is_number(host.substr(colon + 1)))
      return advice;
  }
  return std::nullopt;
}

tl::expected<url_parts, error> parse_url(const std::string& url) {
  if (auto advice = suspicious(url))
    return tl::unexpected(error{error_kind::other, {}, std::move(*advice), {}});
  // Its message quotes the URL, and with it the password.
  char* ignored = nullptr;
  PQconninfoOption* all = PQconninfoParse(url.c_str(), &ignored);
  PQfreemem(ignored);
  if (all == nullptr)
    return tl::unexpected(
      error{error_kind::other,
            {},
            "the database URL cannot be read; expected postgresql://"
            "USER:PASSWORD@HOST:PORT/DATABASE or libpq's KEY=VALUE form",
            {}});
  url_parts parts;
  for (const PQconninfoOption* one = all; one->keyword != nullptr; ++one) {
    if (one->val == nullptr)
      continue;
    const std::string_view key{one->keyword};
    if (key == "host")
      parts.host = one->val;
    else if (key == "hostaddr")
      parts.hostaddr = one->val;
    else if (key == "options")
      parts.options = one->val;
    else if (key == "password" || key == "sslpassword")
      parts.secrets.emplace_back(one->val);
  }
  PQconninfoFree(all);
  return parts;
}

// -- connecting
// -----------------------------------------------------------------

using keywords = std::vector<std::pair<std::string, std::string>>;

std::string seconds(millis length) {
  return std::to_string(std::max<std::int64_t>(
    1, std::chrono::ceil<std::chrono::seconds>(length).count()));
}

keywords
connect_keywords(const connection_options& options, const url_parts& parts) {
  // libpq takes the last one of a key, and the URL's in the place of dbname:
  // what stands before it can be overridden by the URL.
  std::string session = parts.options;
  if (!session.empty())
    session += ' ';
  session
    += "-c statement_timeout="
       + std::to_string(options.statement_timeout.count())
       + " -c lock_timeout=" + std::to_string(options.lock_timeout.count())
       + " -c TimeZone=UTC -c max_parallel_workers_per_gather=0 -c jit=off";
  if (options.plans_for_all)
    session += " -c plan_cache_mode=force_generic_plan";
  return {
    {"application_name", options.application_name},
    {"keepalives", "1"},
    {"keepalives_idle", seconds(options.keepalive_idle)},
    {"keepalives_interval", seconds(options.keepalive_interval)},
    {"keepalives_count", std::to_string(options.keepalive_count)},
    {"tcp_user_timeout", std::to_string(options.tcp_user_timeout.count())},
    {"dbname", options.url},
    {"client_encoding", "UTF8"},
    {"options", session},
  };
}

/// Takes the SQLSTATE out of a verbose message of a failed login, which is the
/// only place where libpq shows it: `FATAL:  57P03: the database system …`.
std::string take_sqlstate(std::string& message) {
  std::string found;
  std::size_t from = 0;
  while ((from = message.find(":  ", from)) != std::string::npos) {
    const std::size_t start = from + 3;
    from = start;
    if (message.size() < start + 7 || message.compare(start + 5, 2, ": ") != 0)
      continue;
    const std::string code = message.substr(start, 5);
    if (!std::all_of(code.begin(), code.end(), [](char c) {
          return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
        }))
      continue;
    message.erase(start, 7);
    found = code;
  }
  return found;
}

/// One line without the server's source locations.
std::string in_one_line(std::string_view message) {
  std::string line;
  while (!message.empty()) {
    const std::size_t end = message.find('\n');
    std::string_view part = message.substr(0, end);
    message.remove_prefix(end == std::string_view::npos ? message.size()
                                                        : end + 1);
    const std::size_t text = part.find_first_not_of(" \t");
    if (text == std::string_view::npos || part.starts_with("LOCATION:"))
      continue;
    if (!line.empty())
      line += "; ";
    line += part.substr(text);
  }
  return line;
}

struct dialled {
  conn_ptr conn;
  error failure;
};

error late_connect() {
  return {error_kind::connection_lost,
          {},
          "the database did not accept the connection in time",
          {}};
}

error connect_failure(PGconn* raw) {
  std::string message = PQerrorMessage(raw);
  error failure;
  failure.sqlstate = take_sqlstate(message);
  failure.message = "cannot connect to the database: " + in_one_line(message);
  failure.kind = failure.sqlstate.empty() ? error_kind::connection_lost
                                          : kind_of(failure.sqlstate);
  return failure;
}

dialled dial(const keywords& with, deadline until) {
  std::vector<const char*> names;
  std::vector<const char*> values;
  for (const auto& [name, value] : with) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  conn_ptr conn{PQconnectStartParams(names.data(), values.data(), 1)};
  if (!conn)
    return {nullptr,
            {error_kind::other, {}, "out of memory while connecting", {}}};
  PQsetErrorVerbosity(conn.get(), PQERRORS_VERBOSE);
  PostgresPollingStatusType wanted = PGRES_POLLING_WRITING;
  if (PQstatus(conn.get()) == CONNECTION_BAD)
    wanted = PGRES_POLLING_FAILED;
  for (;;) {
    switch (wanted) {
      case PGRES_POLLING_OK:
        return {std::move(conn), {}};
      case PGRES_POLLING_FAILED:
        return {nullptr, connect_failure(conn.get())};
      case PGRES_POLLING_READING:
      case PGRES_POLLING_WRITING:
        if (!wait_for(PQsocket(conn.get()),
                      wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                      until))
          return {nullptr, late_connect()};
        break;
      case PGRES_POLLING_ACTIVE: // Not used by libpq any more.
        break;
    }
    wanted = PQconnectPoll(conn.get());
  }
}

/// Looking up a name blocks without a limit of ours, so it happens in a thread
/// that can be left behind; the resolver's own limits end it.
dialled dial_aside(keywords with, deadline until) {
  struct attempt {
    std::mutex guard;
    std::condition_variable done_changed;
    bool done = false;
    bool abandoned = false;
    dialled outcome;
  };
  auto shared = std::make_shared<attempt>();
  std::thread helper{[shared, with = std::move(with), until] {
    dialled outcome = dial(with, until);
    const std::lock_guard lock{shared->guard};
    if (shared->abandoned)
      return;
    shared->outcome = std::move(outcome);
    shared->done = true;
    shared->done_changed.notify_one();
  }};
  std::unique_lock lock{shared->guard};
  // dial() keeps the deadline by itself unless it hangs in the lookup.
  const bool done
    = shared->done_changed.wait_until(lock, until + millis{20}, [&] {
        return shared->done;
      });
  if (!done) {
    shared->abandoned = true;
    lock.unlock();
    helper.detach();
    return {nullptr, late_connect()};
  }
  dialled outcome = std::move(shared->outcome);
  lock.unlock();
  helper.join();
  return outcome;
}

bool needs_lookup(const url_parts& parts) {
  if (!parts.hostaddr.empty() || parts.host.empty())
    return false;
  std::string_view hosts = parts.host;
  while (!hosts.empty()) {
    const std::size_t comma = hosts.find(',');
    const std::string_view host = hosts.substr(0, comma);
    hosts.remove_prefix(comma == std::string_view::npos ? hosts.size()
                                                        : comma + 1);
    const bool socket = host.starts_with('/') || host.starts_with('@');
    const bool numeric
      = host.find(':') != std::string_view::npos
        || host.find_first_not_of("0123456789.") == std::string_view::npos;
    if (!socket && !numeric)
      return true;
  }
  return false;
}

} // namespace

// -- the state of a connection
// --------------------------------------------------

struct connection::impl {
  struct prepared {
    const char* sql;
    std::vector<Oid> types;
  };

  enum class readiness { ready, late };

  conn_ptr conn;
  millis statement_timeout{};
  millis lock_timeout{};
  millis grace{};
  std::unordered_map<std::string_view, prepared> statements;
  // The server has announced the end of an idle connection.
  bool doomed = false;

  static void on_notice(void* self, const PGresult* raw) {
    if (is_fatal(raw))
      static_cast<impl*>(self)->doomed = true;
    spdlog::debug("postgres says: {}", field(raw, PG_DIAG_MESSAGE_PRIMARY));
  }

  [[nodiscard]] deadline call_deadline() const {
    return std::chrono::steady_clock::now() + statement_timeout + grace;
  }

  [[nodiscard]] bool idle() const {
    return PQtransactionStatus(conn.get()) == PQTRANS_IDLE;
  }

  void drop() {
    conn.reset();
    statements.clear();
  }

  /// Gives the connection up.
  tl::unexpected<error>
  lose(bool in_doubt, std::string sqlstate, std::string message) {
    drop();
    error_kind kind = error_kind::connection_lost;
    if (in_doubt)
      kind = error_kind::in_doubt;
    else if (kind_of(sqlstate) == error_kind::unavailable)
      kind = error_kind::unavailable;
    return tl::unexpected(
      error{kind, std::move(sqlstate), std::move(message), {}});
  }

  tl::unexpected<error> lose_late(bool in_doubt) {
    return lose(in_doubt, {},
                "the database did not answer within "
                  + to_words(statement_timeout + grace));
  }

  static tl::unexpected<error> refuse(std::string message) {
    return tl::unexpected(error{error_kind::other, {}, std::move(message), {}});
  }

  /// Reads what the server has sent unasked, such as its farewell.
  bool still_there() {
    if (!conn || doomed || PQstatus(conn.get()) != CONNECTION_OK)
      return false;
    pollfd entry{PQsocket(conn.get()), POLLIN, 0};
    if (::poll(&entry, 1, 0) > 0) {
      if (PQconsumeInput(conn.get()) == 0)
        return false;
      // Parses, and thereby calls on_notice().
      static_cast<void>(PQisBusy(conn.get()));
    }
    return !doomed;
  }

  tl::expected<void, error> check_there() {
    if (still_there())
      return {};
    return lose(false, {}, "the connection to the database is gone");
  }

  /// Sends what is queued and reads until PQgetResult does not block.
  readiness await(deadline until) {
    for (;;) {
      const bool unsent = PQflush(conn.get()) == 1;
      if (PQisBusy(conn.get()) == 0)
        return readiness::ready;
      const int socket = PQsocket(conn.get());
      if (socket < 0) // Broken; PQgetResult says how.
        return readiness::ready;
      const short events = unsent ? POLLIN | POLLOUT : POLLIN;
      if (!wait_for(socket, events, until))
        return readiness::late;
      if (PQconsumeInput(conn.get()) == 0)
        return readiness::ready;
    }
  }

  struct failure {
    error what;
    bool fatal;
  };

  static failure describe(const PGresult* raw) {
    failure found;
    found.fatal = is_fatal(raw);
    found.what.sqlstate = field(raw, PG_DIAG_SQLSTATE);
    found.what.kind = kind_of(found.what.sqlstate);
    found.what.constraint = field(raw, PG_DIAG_CONSTRAINT_NAME);
    // The detail is left out: it quotes the values of rows.
    found.what.message = field(raw, PG_DIAG_MESSAGE_PRIMARY);
    if (found.what.message.empty())
      found.what.message = first_line(PQresultErrorMessage(raw));
    return found;
  }

  /// The first failure of a call decides, and whether the connection is left.
  tl::expected<void, error>
  judge(const std::optional<failure>& first, bool in_doubt) {
    const bool lost = PQstatus(conn.get()) != CONNECTION_OK || doomed;
    if (first && !first->fatal && !first->what.sqlstate.empty()) {
      // The server said no, so nothing was applied, whatever came after.
      if (lost)
        drop();
      return tl::unexpected(first->what);
    }
    if (lost || (first && first->fatal))
      return lose(in_doubt, first ? first->what.sqlstate : std::string{},
                  first ? first->what.message
                        : "the connection to the database broke");
    if (first)
      return tl::unexpected(first->what);
    return {};
  }

  /// Waits for all results of what was sent.
  /// @returns the last one. A write is durable when it is there.
  tl::expected<result, error> collect(bool in_doubt, deadline until) {
    result last;
    std::optional<failure> first;
    for (;;) {
      if (await(until) == readiness::late)
        return lose_late(in_doubt);
      PGresult* raw = PQgetResult(conn.get());
      if (raw == nullptr)
        break;
      result next{raw};
      switch (PQresultStatus(raw)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
        case PGRES_EMPTY_QUERY:
          last = std::move(next);
          break;
        case PGRES_COPY_IN:
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
          return lose(in_doubt, {}, "COPY is not supported here");
        default:
          if (!first)
            first = describe(raw);
      }
    }
    if (auto verdict = judge(first, in_doubt); !verdict)
      return tl::unexpected(std::move(verdict.error()));
    return last;
  }

  tl::unexpected<error> send_failure(bool in_doubt) {
    // Also when libpq refused: half a message may be in its buffer.
    std::string reason = first_line(PQerrorMessage(conn.get()));
    return lose(in_doubt, {}, "sending to the database failed: " + reason);
  }

  tl::expected<result, error>
  query(const char* sql, bool in_doubt, deadline until) {
    if (auto there = check_there(); !there)
      return tl::unexpected(std::move(there.error()));
    if (PQsendQuery(conn.get(), sql) == 0)
      return send_failure(in_doubt);
    return collect(in_doubt, until);
  }

  /// Whether the statement is prepared already.
  [[nodiscard]] bool knows(const statement& what, const params& with) const {
    const auto found = statements.find(what.name);
    if (found == statements.end())
      return false;
    if (found->second.sql != what.sql
        && std::strcmp(found->second.sql, what.sql) != 0)
      panic("two statements are named %s", what.name);
    check_types(what, found->second, with);
    return true;
  }

  static void
  check_types(const statement& what, const prepared& was, const params& with) {
    if (was.types.size() != with.size()
        || !std::equal(was.types.begin(), was.types.end(), with.types()))
      panic("statement %s was prepared with other parameter types", what.name);
  }

  void remember(const statement& what, const params& with) {
    statements.insert_or_assign(
      what.name,
      prepared{what.sql,
               std::vector<Oid>(with.types(), with.types() + with.size())});
  }

  int send_prepare(const statement& what, const params& with) {
    return PQsendPrepare(conn.get(), what.name, what.sql,
                         static_cast<int>(with.size()), with.types());
  }

  int send_execute(const statement& what, const params& with) {
    return PQsendQueryPrepared(conn.get(), what.name,
                               static_cast<int>(with.size()), with.values(),
                               with.lengths(), with.formats(), 1);
  }

  tl::expected<result, error>
  execute_once(const statement& what, const params& with) {
    const deadline until = call_deadline();
    if (auto there = check_there(); !there)
      return tl::unexpected(std::move(there.error()));
    // Inside of a transaction nothing lasts before COMMIT is sent.
    const bool in_doubt = what.writes && idle();
    if (!knows(what, with)) {
      if (send_prepare(what, with) == 0)
        return send_failure(false);
      if (auto done = collect(false, until); !done)
        return done;
      remember(what, with);
    }
    if (send_execute(what, with) == 0)
      return send_failure(in_doubt);
    return collect(in_doubt, until);
  }

  struct pipeline_outcome {
    std::vector<result> results;
    /// The command that failed first, when the server blamed one.
    std::optional<std::size_t> failed;
    std::optional<error> failure;
  };

  pipeline_outcome pipeline_once(std::span<const command> commands,
                                 const std::function<void()>& meanwhile);
};

connection::impl::pipeline_outcome
connection::impl::pipeline_once(std::span<const command> commands,
                                const std::function<void()>& meanwhile) {
  pipeline_outcome outcome;
  const auto fail = [&outcome](error&& what) {
    outcome.failure = std::move(what);
    return std::move(outcome);
  };
  const deadline until = call_deadline();
  if (auto there = check_there(); !there)
    return fail(std::move(there.error()));
  const bool in_doubt
    = idle()
      && std::any_of(commands.begin(), commands.end(), [](const command& one) {
           return one.what->writes;
         });
  struct step {
    std::size_t index;
    bool prepares;
  };
  std::vector<step> steps;
  std::unordered_map<std::string_view, prepared> coming;
  if (PQenterPipelineMode(conn.get()) == 0)
    return fail(send_failure(false).value());
  for (std::size_t index = 0; index < commands.size(); ++index) {
    const statement& what = *commands[index].what;
    const params& with = *commands[index].with;
    if (!knows(what, with)) {
      if (const auto found = coming.find(what.name); found != coming.end()) {
        check_types(what, found->second, with);
      } else {
        if (send_prepare(what, with) == 0)
          return fail(send_failure(false).value());
        coming.emplace(
          what.name,
          prepared{what.sql,
                   std::vector<Oid>(with.types(), with.types() + with.size())});
        steps.push_back({index, true});
      }
    }
    if (send_execute(what, with) == 0)
      return fail(send_failure(false).value());
    steps.push_back({index, false});
  }
  // Only from here on can anything become durable.
  if (PQpipelineSync(conn.get()) == 0)
    return fail(send_failure(in_doubt).value());
  // What does not fit is sent, and a failure told of, while we wait.
  static_cast<void>(PQflush(conn.get()));
  if (meanwhile)
    meanwhile();
  outcome.results.resize(commands.size());
  std::optional<failure> first;
  const auto take = [&](const PGresult* raw, std::optional<std::size_t> index) {
    if (!first) {
      first = describe(raw);
      outcome.failed = index;
    }
  };
  for (const step& one : steps) {
    // A result, then the null pointer that ends it.
    for (;;) {
      if (await(until) == readiness::late)
        return fail(lose_late(in_doubt).value());
      PGresult* raw = PQgetResult(conn.get());
      if (raw == nullptr)
        break;
      result next{raw};
      switch (PQresultStatus(raw)) {
        case PGRES_COMMAND_OK:
        case PGRES_TUPLES_OK:
          if (one.prepares)
            remember(*commands[one.index].what, *commands[one.index].with);
          else
            outcome.results[one.index] = std::move(next);
          break;
        case PGRES_PIPELINE_ABORTED:
          break;
        case PGRES_COPY_IN:
        case PGRES_COPY_OUT:
        case PGRES_COPY_BOTH:
          return fail(lose(in_doubt, {}, "COPY is not supported here").value());
        default:
          take(raw, one.index);
      }
    }
    if (PQstatus(conn.get()) != CONNECTION_OK)
      break;
  }
  // The commit happens at the sync and may fail there: deferred constraints.
  for (bool synced = false; !synced && PQstatus(conn.get()) == CONNECTION_OK;) {
    if (await(until) == readiness::late)
      return fail(lose_late(in_doubt).value());
    PGresult* raw = PQgetResult(conn.get());
    if (raw == nullptr)
      continue;
    const result next{raw};
    if (PQresultStatus(raw) == PGRES_PIPELINE_SYNC)
      synced = true;
    else if (PQresultStatus(raw) != PGRES_PIPELINE_ABORTED)
      take(raw, std::nullopt);
  }
  if (auto verdict = judge(first, in_doubt); !verdict)
    outcome.failure = std::move(verdict.error());
  if (conn && PQexitPipelineMode(conn.get()) == 0)
    return fail(send_failure(in_doubt).value());
  return outcome;
}

// -- the public side
// ------------------------------------------------------------

connection::connection(std::unique_ptr<impl> state) noexcept
  : impl_{std::move(state)} {
}

connection::connection(connection&&) noexcept = default;
connection& connection::operator=(connection&&) noexcept = default;
connection::~connection() = default;

tl::expected<connection, error>
connection::open(const connection_options& options) {
  const deadline until
    = std::chrono::steady_clock::now() + options.connect_timeout;
  if (options.statement_timeout <= millis::zero())
    return impl::refuse("the statement timeout must be more than zero");
  auto parts = parse_url(options.url);
  if (!parts)
    return tl::unexpected(std::move(parts.error()));
  keywords with = connect_keywords(options, *parts);
  dialled line = needs_lookup(*parts) ? dial_aside(std::move(with), until)
                                      : dial(with, until);
  if (!line.conn) {
    for (const std::string& secret : parts->secrets) {
      if (secret.size() < 4)
        continue;
      std::string& text = line.failure.message;
      for (std::size_t at = 0;
           (at = text.find(secret, at)) != std::string::npos; at += 8)
        text.replace(at, secret.size(), "<secret>");
    }
    return tl::unexpected(std::move(line.failure));
  }
  if (PQsetnonblocking(line.conn.get(), 1) != 0)
    return impl::refuse("the connection cannot be made non-blocking");
  auto state = std::make_unique<impl>();
  state->conn = std::move(line.conn);
  state->statement_timeout = options.statement_timeout;
  state->lock_timeout = options.lock_timeout;
  state->grace = options.grace;
  PQsetNoticeReceiver(state->conn.get(), &impl::on_notice, state.get());
  return connection{std::move(state)};
}

tl::expected<result, error>
connection::execute(const statement& what, const params& with) {
  if (with.byte_size() > message_max)
    return impl::refuse("the parameters are larger than 1 GB");
  auto done = impl_->execute_once(what, with);
  if (!done && done.error().sqlstate == "26000" && alive()) {
    // The server has forgotten the statement (DISCARD ALL, a pooler). It was
    // not run, so that it can be tried again unless a transaction died of it.
    impl_->statements.erase(what.name);
    if (impl_->idle())
      done = impl_->execute_once(what, with);
  }
  return done;
}

tl::expected<std::vector<result>, error>
connection::pipeline(std::span<const command> commands,
                     const std::function<void()>& meanwhile) {
  std::size_t size = 0;
  for (const command& one : commands)
    size += one.with->byte_size();
  if (size > message_max)
    return impl::refuse("the parameters are larger than 1 GB");
  if (commands.empty())
    return std::vector<result>{};
  auto outcome = impl_->pipeline_once(commands, meanwhile);
  // Each round makes one more statement known again.
  for (std::size_t round = 0; round < commands.size(); ++round) {
    if (!outcome.failure || outcome.failure->sqlstate != "26000"
        || !outcome.failed || !alive())
      break;
    impl_->statements.erase(commands[*outcome.failed].what->name);
    if (!impl_->idle())
      break;
    outcome = impl_->pipeline_once(commands, meanwhile);
  }
  if (outcome.failure)
    return tl::unexpected(std::move(*outcome.failure));
  return std::move(outcome.results);
}

tl::expected<void, error> connection::script(const std::string& sql) {
  return impl_->query(sql.c_str(), true, impl_->call_deadline())
    .map([](auto&&) {});
}

tl::expected<void, error> connection::begin() {
  return impl_->query("BEGIN", false, impl_->call_deadline()).map([](auto&&) {
  });
}

tl::expected<void, error> connection::commit() {
  const bool failed
    = impl_->conn && PQtransactionStatus(impl_->conn.get()) == PQTRANS_INERROR;
  auto done = impl_->query("COMMIT", !failed, impl_->call_deadline());
  if (!done)
    return tl::unexpected(std::move(done.error()));
  if (failed)
    return tl::unexpected(
      error{error_kind::other,
            "25P02",
            "the transaction had failed before and was rolled back",
            {}});
  return {};
}

tl::expected<void, error> connection::rollback() {
  return impl_->query("ROLLBACK", false, impl_->call_deadline())
    .map([](auto&&) {});
}

tl::expected<void, error>
connection::set_timeouts(millis statement_timeout, millis lock_timeout) {
  if (statement_timeout <= millis::zero())
    return impl::refuse("the statement timeout must be more than zero");
  const std::string sql
    = "SET statement_timeout = " + std::to_string(statement_timeout.count())
      + "; SET lock_timeout = " + std::to_string(lock_timeout.count());
  auto done = impl_->query(sql.c_str(), false, impl_->call_deadline());
  if (!done)
    return tl::unexpected(std::move(done.error()));
  impl_->statement_timeout = statement_timeout;
  impl_->lock_timeout = lock_timeout;
  return {};
}

millis connection::statement_timeout() const noexcept {
  return impl_->statement_timeout;
}

millis connection::lock_timeout() const noexcept {
  return impl_->lock_timeout;
}

bool connection::alive() noexcept {
  return impl_ && impl_->still_there();
}

bool connection::in_transaction() const noexcept {
  if (!impl_ || !impl_->conn)
    return false;
  const auto status = PQtransactionStatus(impl_->conn.get());
  return status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

int connection::backend_pid() const noexcept {
  return impl_ && impl_->conn ? PQbackendPID(impl_->conn.get()) : 0;
}

} // namespace slipway::pg
