#include "http/server/exchange.hpp"

#include "http/server/upgrade.hpp"

#include <utility>

namespace slipway::http {

namespace {

class call_sink final : public reply_sink {
public:
  explicit call_sink(std::function<void(response)> done)
    : done_{std::move(done)} {
  }

  void reply(std::uint64_t, response&& what, permit&&) override {
    done_(std::move(what));
  }

  std::shared_ptr<stream>
  open_stream(std::uint64_t, response&&, permit&&) override {
    done_(error_response(503, "unavailable", "Streams need a socket.", ""));
    return nullptr;
  }

  void hand_over(std::uint64_t, std::shared_ptr<upgraded>, permit&&) override {
    done_(error_response(503, "unavailable", "Upgrades need a socket.", ""));
  }

private:
  std::function<void(response)> done_;
};

} // namespace

stream::~stream() {
  // nop
}

reply_sink::~reply_sink() {
  // nop
}

upgraded::~upgraded() {
  // nop
}

exchange::exchange(std::shared_ptr<const request> in,
                   std::shared_ptr<reply_sink> sink, std::uint64_t number,
                   permit held)
  : in_{std::move(in)}, sink_{std::move(sink)}, number_{number}, held_{
                                                                   std::move(
                                                                     held)} {
}

exchange::~exchange() {
  if (answered_.load(std::memory_order_acquire))
    return;
  auto sorry = error_response(503, "unavailable",
                              "The request could not be worked on. "
                              "Please try again.",
                              in_->id);
  sorry.headers.emplace_back("Retry-After", "1");
  answer(std::move(sorry));
}

void exchange::answer(response what) {
  if (answered_.exchange(true, std::memory_order_acq_rel))
    return;
  sink_->reply(number_, std::move(what), std::move(held_));
}

void exchange::fail(int status, std::string_view error,
                    std::string_view message) {
  answer(error_response(status, error, message, in_->id));
}

std::shared_ptr<stream> exchange::start_stream(response head) {
  if (answered_.exchange(true, std::memory_order_acq_rel))
    return nullptr;
  return sink_->open_stream(number_, std::move(head), std::move(held_));
}

void exchange::upgrade(std::shared_ptr<upgraded> to) {
  if (!answered_.exchange(true, std::memory_order_acq_rel))
    sink_->hand_over(number_, std::move(to), std::move(held_));
}

std::shared_ptr<exchange>
make_exchange(request in, std::function<void(response)> done) {
  return std::make_shared<exchange>(
    std::make_shared<const request>(std::move(in)),
    std::make_shared<call_sink>(std::move(done)), 1U, permit{});
}

} // namespace slipway::http
