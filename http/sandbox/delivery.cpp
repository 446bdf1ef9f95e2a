#include "http/sandbox/delivery.hpp"

#include "http/client/outbound.hpp"
#include "http/sandbox/timer.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <mutex>

namespace slipway::sandbox {

void delivery_plans::set(const std::string& order, delivery_plan plan) {
  if (single_.insert_or_assign(order, plan).second)
    order_.push_back(order);
  while (order_.size() > orders_max_) {
    single_.erase(order_.front());
    order_.pop_front();
  }
}

const delivery_plan& delivery_plans::of(const std::string& order) const {
  const auto i = single_.find(order);
  return i == single_.end() ? all_ : i->second;
}

bool is_web(std::string_view url) {
  return url.rfind("http://", 0) == 0 || url.rfind("https://", 0) == 0;
}

void remember(std::deque<delivery>& all, delivery one) {
  all.push_back(std::move(one));
  if (all.size() > deliveries_kept)
    all.pop_front();
}

struct courier::impl : std::enable_shared_from_this<impl> {
  impl(std::vector<millis> ladder_in, millis timeout_in, const clock& time_in,
       client::outbound& out_in, recorder record_in)
    : ladder{std::move(ladder_in)}, timeout{timeout_in}, time{time_in},
      out{out_in}, record{std::move(record_in)} {
  }

  using parcel = std::shared_ptr<const callback>;

  /// Everything that is sent or recorded goes by here, so that no lock of a
  /// caller is held meanwhile.
  void later(millis delay, const std::string& order_no,
             std::function<void(impl&)> what) {
    const auto armed = clockwork.after(
      delay, [weak = weak_from_this(), what = std::move(what)] {
        if (auto self = weak.lock())
          what(*self);
      });
    if (!armed)
      spdlog::warn("sandbox: a callback of {} is given up", order_no);
  }

  void post(callback given, const delivery_plan& plan) {
    if (!is_web(given.url))
      return;
    const auto what = std::make_shared<const callback>(std::move(given));
    if (plan.lose) {
      later(millis{0}, what->order_no, [what](impl& self) {
        delivery entry;
        entry.at = self.time.now();
        entry.id = what->id;
        entry.event = what->event;
        entry.lost = true;
        self.record(what->order_no, std::move(entry));
      });
      return;
    }
    if (plan.refund_first && !what->is_refund) {
      const auto lock = std::lock_guard{mutex};
      auto& waiting = held[what->order_no];
      if (waiting.size() < held_max)
        waiting.emplace_back(what, plan);
      return;
    }
    const auto copies = std::clamp(plan.copies, std::size_t{1}, copies_max);
    later(plan.delay, what->order_no, [what, copies, plan](impl& self) {
      if (plan.probe)
        self.send(what, 1, true, [copies](impl& then, const parcel& same) {
          then.deliver(same, 1, copies);
        });
      else
        self.deliver(what, 1, copies);
    });
  }

  /// What has waited for a refund of this order.
  void release(const std::string& order_no) {
    auto freed = std::vector<std::pair<parcel, delivery_plan>>{};
    {
      const auto lock = std::lock_guard{mutex};
      const auto i = held.find(order_no);
      if (i == held.end())
        return;
      freed = std::move(i->second);
      held.erase(i);
    }
    for (auto& [what, plan] : freed) {
      plan.refund_first = false;
      post(callback{*what}, plan);
    }
  }

  /// The first of the copies is the one that is repeated.
  void deliver(const parcel& what, std::size_t attempt, std::size_t copies) {
    auto extra = std::vector<callback::message>{};
    for (auto i = std::size_t{1}; i < copies; ++i)
      extra.push_back(what->write(time.now(), false));
    send(what, attempt, false, nullptr);
    for (auto& each : extra)
      send_message(what, std::move(each), attempt, false, nullptr, false);
  }

  using next_step = std::function<void(impl&, const parcel&)>;

  void
  send(const parcel& what, std::size_t attempt, bool probe, next_step next) {
    send_message(what, what->write(time.now(), probe), attempt, probe,
                 std::move(next), !probe);
  }

  /// @param next Runs once there is an outcome.
  /// @param repeat Whether it comes again when it is not understood.
  void
  send_message(const parcel& what, callback::message message,
               std::size_t attempt, bool probe, next_step next, bool repeat) {
    client::http_request request;
    request.method = "POST";
    request.url = what->url;
    request.headers = std::move(message.headers);
    request.body = std::move(message.body);
    request.timeout = timeout;
    request.connect_timeout = timeout;
    delivery entry;
    entry.at = time.now();
    entry.id = what->id;
    entry.event = what->event;
    entry.attempt = attempt;
    entry.probe = probe;
    out.send(
      std::move(request), [weak = weak_from_this(), what,
                           entry = std::move(entry), next = std::move(next),
                           repeat](const client::http_outcome& how) mutable {
        auto self = weak.lock();
        if (self == nullptr)
          return;
        if (const auto* answer = how.response()) {
          entry.answer = answer->status;
          entry.body = answer->body.substr(0, body_kept);
          entry.understood = what->is_understood(answer->status, answer->body);
        } else {
          entry.body = how.failure()->message;
        }
        self->came_back(what, std::move(entry), std::move(next), repeat);
      });
  }

  void
  came_back(const parcel& what, delivery entry, next_step next, bool repeat) {
    const auto attempt = entry.attempt;
    const auto again = repeat && !entry.understood && attempt <= ladder.size();
    // On the own thread: a refusal comes while `send` has not returned yet.
    later(millis{0}, what->order_no,
          [what, entry = std::move(entry), next = std::move(next),
           attempt](impl& self) {
            self.record(what->order_no, entry);
            if (next)
              next(self, what);
            if (what->is_refund && attempt == 1 && !entry.probe)
              self.release(what->order_no);
          });
    if (again)
      later(ladder[attempt - 1], what->order_no, [what, attempt](impl& self) {
        self.deliver(what, attempt + 1, 1);
      });
  }

  static constexpr auto body_kept = std::size_t{200};
  static constexpr auto held_max = std::size_t{16};

  std::vector<millis> ladder;
  millis timeout;
  const clock& time;
  client::outbound& out;
  recorder record;
  std::mutex mutex;
  std::map<std::string, std::vector<std::pair<parcel, delivery_plan>>> held;
  timer clockwork{20'000};
};

courier::courier(std::vector<millis> ladder, millis timeout, const clock& time,
                 client::outbound& out, recorder record)
  : impl_{std::make_shared<impl>(std::move(ladder), timeout, time, out,
                                 std::move(record))} {
}

courier::~courier() {
  stop();
}

void courier::post(callback what, const delivery_plan& plan) {
  impl_->post(std::move(what), plan);
}

void courier::after(millis delay, std::function<void()> what) {
  if (!impl_->clockwork.after(delay, std::move(what)))
    spdlog::warn("sandbox: too much waits, something is left out");
}

void courier::stop() {
  impl_->clockwork.stop();
}

} // namespace slipway::sandbox
