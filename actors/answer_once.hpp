#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <utility>

namespace slipway {

/// A continuation that is called exactly once: by whoever holds it, or with
/// `dropped` when the last copy goes. An actor that ends drops what is in its
/// mailbox, and nobody shall wait for that. Copies stand for one another.
///
/// Thread: called on whichever thread answers or drops.
template <class Answer>
class answer_once {
public:
  using function = std::function<void(Answer)>;

  answer_once() = default;

  answer_once(function fn, Answer dropped)
    : state_{std::make_shared<state>(std::move(fn), std::move(dropped))} {
  }

  void operator()(Answer what) const {
    if (state_)
      state_->answer(std::move(what));
  }

  [[nodiscard]] explicit operator bool() const noexcept {
    return state_ != nullptr;
  }

private:
  struct state {
    state(function f, Answer otherwise)
      : fn{std::move(f)}, dropped{std::move(otherwise)} {
    }

    state(const state&) = delete;

    state& operator=(const state&) = delete;

    ~state() {
      answer(std::move(dropped));
    }

    void answer(Answer what) {
      if (!answered.exchange(true) && fn)
        fn(std::move(what));
    }

    function fn;
    Answer dropped;
    std::atomic<bool> answered{false};
  };

  std::shared_ptr<state> state_;
};

} // namespace slipway
