#include "actors/observe/tracer.hpp"

#include <algorithm>

namespace slipway::trace {

namespace {

/// A bijection that leaves no likeness (splitmix64).
constexpr std::uint64_t mixed(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
  return x ^ (x >> 31U);
}

constexpr std::uint64_t not_zero(std::uint64_t x) noexcept {
  return x == 0 ? 1 : x;
}

} // namespace

// -- span
// ------------------------------------------------------------------------

span::span(span_sink& to, std::function<std::uint64_t()> now, span_data data)
  : to_{&to}, now_{std::move(now)}, data_{std::make_unique<span_data>(
                                      std::move(data))} {
}

span& span::operator=(span&& other) noexcept {
  if (this != &other) {
    end();
    to_ = other.to_;
    now_ = std::move(other.now_);
    data_ = std::move(other.data_);
  }
  return *this;
}

context span::where() const {
  return data_ ? data_->where : context{};
}

void span::set(std::string_view key, std::string value) {
  if (data_)
    data_->attributes.push_back({key, std::move(value)});
}

void span::set(std::string_view key, std::int64_t value) {
  if (data_)
    data_->attributes.push_back({key, value});
}

void span::add_link(link to) {
  if (data_)
    data_->links.push_back(to);
}

void span::fail(std::string why) {
  if (data_)
    data_->failure = std::move(why);
}

void span::end() noexcept {
  if (!data_)
    return;
  data_->ended = std::max(now_(), data_->began);
  to_->take(std::move(*data_));
  data_.reset();
}

// -- tracer
// ----------------------------------------------------------------------

tracer::tracer(tracer_options options) : options_{std::move(options)} {
}

trace_id tracer::new_trace() {
  return {options_.random->next(), not_zero(options_.random->next())};
}

std::uint64_t tracer::new_span() {
  return not_zero(options_.random->next());
}

tracer::entry tracer::enter(std::optional<std::string_view> parent,
                            const std::vector<std::string_view>& state) {
  auto out = entry{};
  if (parent)
    if (auto given = parse_traceparent(*parent)) {
      out.parent = given->span;
      out.where = std::move(*given);
      out.where.span = new_span();
      out.where.state = read_tracestate(state);
      return out;
    }
  out.where.trace = new_trace();
  out.where.span = new_span();
  out.where.sampled
    = options_.random->next() % 1'000 < options_.sample_per_mille;
  return out;
}

span tracer::make(context where, std::uint64_t parent, std::string name,
                  span_kind is, std::optional<std::uint64_t> began) {
  auto data = span_data{};
  data.where = std::move(where);
  data.parent = parent;
  data.name = std::move(name);
  data.is = is;
  data.began = began ? *began : options_.now();
  return {*options_.sink, options_.now, std::move(data)};
}

span tracer::begin(const context& around, std::string name, span_kind is,
                   std::optional<std::uint64_t> began) {
  if (!around)
    return {};
  auto where = around;
  where.span = new_span();
  return make(std::move(where), around.span, std::move(name), is, began);
}

span tracer::begin(const entry& request, std::string name,
                   std::uint64_t began) {
  if (!request.where)
    return {};
  return make(request.where, request.parent, std::move(name), span_kind::server,
              began);
}

span tracer::begin_alone(std::string name, std::optional<std::uint64_t> began) {
  if (options_.random->next() % 1'000 >= options_.sample_per_mille)
    return {};
  return make({new_trace(), new_span(), true, {}}, 0, std::move(name),
              span_kind::internal, began);
}

context tracer::journey(subscription_id id) {
  const auto guard = std::lock_guard{mutex_};
  const auto found = by_id_.find(raw(id));
  if (found == by_id_.end())
    return {};
  const auto at = found->second;
  if (at->rests_since != 0
      && options_.now() > at->rests_since + options_.linger) {
    line_.erase(at);
    by_id_.erase(found);
    return {};
  }
  line_.splice(line_.begin(), line_, at);
  return at->where;
}

void tracer::set_journey(subscription_id id, const context& where) {
  const auto guard = std::lock_guard{mutex_};
  if (const auto found = by_id_.find(raw(id)); found != by_id_.end()) {
    found->second->where = where;
    found->second->rests_since = 0;
    line_.splice(line_.begin(), line_, found->second);
    return;
  }
  if (by_id_.size() >= options_.journeys_max) {
    by_id_.erase(line_.back().id);
    line_.pop_back();
  }
  line_.push_front({raw(id), where, 0});
  by_id_.emplace(raw(id), line_.begin());
}

void tracer::rest(subscription_id id) {
  const auto guard = std::lock_guard{mutex_};
  if (const auto found = by_id_.find(raw(id)); found != by_id_.end())
    if (found->second->rests_since == 0)
      found->second->rests_since = options_.now();
}

void tracer::note_at_anchor(subscription_id id, const context& where,
                            bool first) {
  const auto anchor = anchor_of(id);
  auto own = context{anchor.trace, first ? anchor.span : new_span(), true, {}};
  auto x = make(std::move(own), first ? 0 : anchor.span, "subscription",
                span_kind::internal, std::nullopt);
  x.set("slipway.subscription_id", to_text(id));
  x.add_link({where.trace, where.span});
}

link tracer::anchor_of(subscription_id id) noexcept {
  const auto first = mixed(raw(id));
  const auto second = mixed(first);
  return {{first, not_zero(second)}, not_zero(mixed(second))};
}

} // namespace slipway::trace
