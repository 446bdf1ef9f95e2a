#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

namespace slipway {

/// Where an actor is to be found. Actors that fail are started again and are
/// other actors then; whoever sends reads the slot each time. Copies share the
/// place. Between a failure and the new start the slot still holds the dead
/// one: what is sent there is dropped, and everything that somebody waits for
/// answers when it is dropped.
///
/// Thread: any. Reading costs a reference count.
template <class Handle>
class actor_slot {
public:
  actor_slot() : cell_{std::make_shared<cell>()} {
  }

  actor_slot(Handle x) : actor_slot{} {
    set(std::move(x));
  }

  actor_slot& operator=(Handle x) {
    set(std::move(x));
    return *this;
  }

  actor_slot& operator=(std::nullptr_t) {
    set(Handle{});
    return *this;
  }

  /// Puts another actor in place.
  void set(Handle x) {
    auto guard = lock{cell_->busy};
    std::swap(cell_->handle, x);
    // The old one is let go of outside of the lock.
    guard.release();
  }

  /// The actor that is there now. Null where this part is switched off.
  [[nodiscard]] Handle operator()() const {
    auto guard = lock{cell_->busy};
    return cell_->handle;
  }

  /// Whether there is such a part at all.
  [[nodiscard]] explicit operator bool() const {
    auto guard = lock{cell_->busy};
    return static_cast<bool>(cell_->handle);
  }

private:
  struct cell {
    std::atomic_flag busy;
    Handle handle;
  };

  /// Held for the copy of a pointer only, hence no mutex.
  class lock {
  public:
    explicit lock(std::atomic_flag& flag) : flag_{&flag} {
      while (flag_->test_and_set(std::memory_order_acquire))
        ; // nop
    }

    lock(const lock&) = delete;

    lock& operator=(const lock&) = delete;

    ~lock() {
      release();
    }

    void release() {
      if (auto* flag = std::exchange(flag_, nullptr))
        flag->clear(std::memory_order_release);
    }

  private:
    std::atomic_flag* flag_;
  };

  std::shared_ptr<cell> cell_;
};

} // namespace slipway
