#pragma once

#include "actors/observe/trace.hpp"

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace slipway::trace {

/// Whose side of a conversation a span is; OTLP's numbers.
enum class span_kind : std::uint8_t {
  internal = 1,
  server = 2,
  client = 3,
};

struct attribute {
  std::string_view key; ///< A literal.
  std::variant<std::string, std::int64_t> value;
};

/// Another span, perhaps of another trace, that one has to do with.
struct link {
  trace_id trace;
  std::uint64_t span = 0;
};

/// A span that is over.
struct span_data {
  context where; ///< Its own id, and the state that came with the trace.
  std::uint64_t parent = 0; ///< 0: the first of its trace.
  std::string name;
  span_kind is = span_kind::internal;
  std::uint64_t began = 0; ///< Nanoseconds since 1970.
  std::uint64_t ended = 0;
  std::vector<attribute> attributes;
  std::vector<link> links;
  /// Why it failed, as one of our own words: never text from outside. Empty: it
  /// did not.
  std::string failure;
};

/// Takes what is over. Called from any thread; must neither block nor throw.
class span_sink {
public:
  virtual ~span_sink() = default;

  virtual void take(span_data what) noexcept = 0;
};

/// Something that is under way. A default one records nothing and costs
/// nothing. Ends once: by `end`, or when it goes. Belongs to one thread at a
/// time.
class span {
public:
  span() = default;

  /// INTERNAL: Made by the tracer.
  span(span_sink& to, std::function<std::uint64_t()> now, span_data data);

  span(span&& other) noexcept = default;

  span& operator=(span&& other) noexcept;

  ~span() {
    end();
  }

  /// Whether it records anything.
  explicit operator bool() const noexcept {
    return data_ != nullptr;
  }

  /// Where its own parts belong.
  [[nodiscard]] context where() const;

  void set(std::string_view key, std::string value);

  void set(std::string_view key, std::int64_t value);

  void add_link(link to);

  /// @param why A word of ours.
  void fail(std::string why);

  void end() noexcept;

private:
  span_sink* to_ = nullptr;
  std::function<std::uint64_t()> now_;
  std::unique_ptr<span_data> data_;
};

/// What a tracer works with.
struct tracer_options {
  /// Of 1000 traces that begin here so many are recorded.
  std::uint32_t sample_per_mille = 1'000;
  /// Where ids and choices come from.
  entropy* random = nullptr;
  /// Nanoseconds since 1970; never goes back.
  std::function<std::uint64_t()> now;
  span_sink* sink = nullptr;
  /// Subscriptions whose trace is remembered; the one that was looked at
  /// longest ago is forgotten for one more.
  std::size_t journeys_max = 16'384;
  /// For how long a trace is gone on with once nothing is under way any more.
  std::uint64_t linger = 300'000'000'000;
};

/// Makes spans, and remembers which trace each subscription's work belongs to,
/// so that it can be gone on with by whoever acts next: the traces' memory is
/// this server's, and ends with it. Thread: any. Outlives its spans.
class tracer {
public:
  explicit tracer(tracer_options options);

  /// A request that has come in: where its own span will be.
  struct entry {
    context where;
    std::uint64_t parent = 0;
  };

  /// Takes a request into its caller's trace, or begins one.
  /// @param parent The `traceparent`, if there is just one.
  /// @param state The lines of `tracestate`.
  [[nodiscard]] entry enter(std::optional<std::string_view> parent,
                            const std::vector<std::string_view>& state);

  /// Begins a part of `around`. Records nothing when that is not sampled.
  [[nodiscard]] span
  begin(const context& around, std::string name, span_kind is,
        std::optional<std::uint64_t> began = std::nullopt);

  /// The span of a request that has been answered.
  [[nodiscard]] span
  begin(const entry& request, std::string name, std::uint64_t began);

  /// Begins a trace of its own, if the dice say so.
  [[nodiscard]] span
  begin_alone(std::string name, std::optional<std::uint64_t> began = {});

  [[nodiscard]] std::uint64_t now() const {
    return options_.now();
  }

  // -- subscriptions ----------------------------------------------------------

  /// Where this subscription's work belongs; nothing when that is not known, or
  /// has been over for a while.
  [[nodiscard]] context journey(subscription_id id);

  /// From here on its work belongs to `where`.
  void set_journey(subscription_id id, const context& where);

  /// Nothing is under way for it any more.
  void rest(subscription_id id);

  /// The place that all traces of a subscription are linked with. It follows
  /// from the id alone, so that it is known after a restart as well.
  [[nodiscard]] static link anchor_of(subscription_id id) noexcept;

  /// Writes down at that place that there is one more trace of its.
  /// @param first Whether it is the one that the purchase began.
  void note_at_anchor(subscription_id id, const context& where, bool first);

private:
  struct known {
    std::uint64_t id = 0;
    context where;
    std::uint64_t rests_since = 0; ///< 0: it does not.
  };

  using line = std::list<known>;

  [[nodiscard]] trace_id new_trace();
  [[nodiscard]] std::uint64_t new_span();
  [[nodiscard]] span make(context where, std::uint64_t parent, std::string name,
                          span_kind is, std::optional<std::uint64_t> began);

  tracer_options options_;
  std::mutex mutex_;
  line line_; ///< The one looked at last is first.
  std::unordered_map<std::uint64_t, line::iterator> by_id_;
};

} // namespace slipway::trace
