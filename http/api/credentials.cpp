#include "actors/observe/log.hpp"
#include "http/api/context.hpp"
#include "http/api/problem.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace slipway::api {

namespace json = boost::json;

using namespace lifecycle;

namespace {

/// Rows of one transaction.
constexpr auto page_rows = std::size_t{200};

/// Where nothing of a page can be opened, a step goes on with the next one, so
/// that whoever asks again and again sees that it moves; up to so many.
constexpr auto pages_max = 10;

/// Failures named in an answer; the others are in the log.
constexpr auto failures_max = std::size_t{200};

/// One step, and the only one for as long as it lives.
class step {
public:
  /// @returns null when another one is under way.
  static std::shared_ptr<step> begin(const context_ptr& ctx) {
    auto& whole = *ctx->rotation;
    const auto guard = std::lock_guard{whole.mutex};
    if (std::exchange(whole.under_way, true))
      return nullptr;
    return std::shared_ptr<step>{new step{ctx, whole.after, whole.failed}};
  }

  step(const step&) = delete;
  step& operator=(const step&) = delete;

  ~step() {
    const auto guard = std::lock_guard{ctx_->rotation->mutex};
    ctx_->rotation->under_way = false;
  }

  [[nodiscard]] query::list_stale_credentials next_page() {
    ++pages_;
    auto out = query::list_stale_credentials{};
    out.key_id = ctx_->keys->sealing_id();
    out.after = after_;
    out.limit = page_rows;
    return out;
  }

  /// Seals anew what can be opened.
  query::replace_credentials
  seal(const query::list_stale_credentials::found& in) {
    auto out = query::replace_credentials{};
    left_ = std::max(in.remaining - static_cast<std::int64_t>(in.rows.size()),
                     std::int64_t{0});
    for (const auto& row : in.rows) {
      const auto& from = row.what;
      after_ = {from.key_id, row.subscription, from.channel_type};
      const auto purpose = to_text(row.subscription) + "/" + from.channel_type;
      const auto text
        = ctx_->keys->open({from.key_id, from.nonce, from.ciphertext}, purpose);
      if (!text) {
        note_failure(row, text.error());
        continue;
      }
      auto to = ctx_->keys->seal(*text, purpose);
      out.rows.push_back({row.subscription,
                          from,
                          {from.channel_type, std::move(to.key_id),
                           std::move(to.nonce), std::move(to.ciphertext)}});
    }
    return out;
  }

  [[nodiscard]] bool goes_on() const {
    return left_ > 0 && pages_ < pages_max;
  }

  /// Tells what was done, and where the next step goes on.
  json::object finish(std::int64_t rotated) {
    auto& whole = *ctx_->rotation;
    const auto guard = std::lock_guard{whole.mutex};
    whole.after = after_;
    whole.failed = failed_;
    if (left_ == 0) {
      // The next one begins from the front: keys may have been added for those
      // that could not be opened.
      whole.after = {};
      whole.failed = 0;
    }
    spdlog::info("credentials: {} sealed with the key {}, {} remaining, {} "
                 "failed so far",
                 rotated, ctx_->keys->sealing_id(), left_, failed_);
    return {{"rotated", rotated},
            {"remaining", left_},
            {"keyId", ctx_->keys->sealing_id()},
            {"failed", failed_},
            {"failures", std::move(failures_)}};
  }

private:
  step(context_ptr ctx, query::list_stale_credentials::place after,
       std::int64_t failed)
    : ctx_{std::move(ctx)}, after_{std::move(after)}, failed_{failed} {
  }

  void note_failure(const query::list_stale_credentials::row& row,
                    const std::string& why) {
    const auto id = to_text(row.subscription);
    log::about{row.subscription}.error(
      "credentials: {} of subscription {} cannot be given a new key: {}",
      row.what.channel_type, id, why);
    ++failed_;
    if (failures_.size() < failures_max)
      failures_.push_back(json::object{{"subscriptionId", id},
                                       {"channelType", row.what.channel_type},
                                       {"keyId", row.what.key_id},
                                       {"reason", why}});
  }

  context_ptr ctx_;
  query::list_stale_credentials::place after_;
  std::int64_t failed_; ///< On this way through the table.
  std::int64_t left_ = 0;
  int pages_ = 0;
  json::array failures_;
};

void go_on(const context_ptr& ctx, const exchange_ptr& x,
           const std::shared_ptr<step>& now);

void replace(const context_ptr& ctx, const exchange_ptr& x,
             const std::shared_ptr<step>& now,
             query::replace_credentials changes) {
  if (changes.rows.empty() && now->goes_on()) {
    go_on(ctx, x, now);
    return;
  }
  if (changes.rows.empty()) {
    succeed(*x, now->finish(0));
    return;
  }
  ctx->ask(std::move(changes),
           [x, now](job<query::replace_credentials>::reply done) {
             if (done)
               succeed(*x, now->finish(*done));
             else
               fail(*x, problem_of(done.error()));
           });
}

void go_on(const context_ptr& ctx, const exchange_ptr& x,
           const std::shared_ptr<step>& now) {
  ctx->ask(now->next_page(),
           [ctx, x, now](job<query::list_stale_credentials>::reply found) {
             if (found)
               replace(ctx, x, now, now->seal(*found));
             else
               fail(*x, problem_of(found.error()));
           });
}

/// Gives the next few credentials the first key.
void rotate(const context_ptr& ctx, exchange_ptr x, const principal&) {
  if (!x->in().body.empty()) {
    auto body = body_reader{x};
    static_cast<void>(body.text("reason", 500));
    if (!body)
      return;
  }
  const auto now = step::begin(ctx);
  if (!now) {
    x->fail(409, "rotation_under_way",
            "Another step of the rotation is under way, please try again");
    return;
  }
  go_on(ctx, x, now);
}

} // namespace

void add_credential_routes(http::router& to, const context_ptr& ctx) {
  add_route(to, ctx, http::method::post, "/api/ops/credentials/rotate",
            "ops_rotate_credentials", rotate);
}

} // namespace slipway::api
