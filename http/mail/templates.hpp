#pragma once

#include "actors/lifecycle/time.hpp"

#include <tl/expected.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

/// What people are told: facts put into the words of templates.
namespace slipway::mail {

/// The languages there are templates for.
enum class language : std::uint8_t { zh_cn, en };

inline constexpr auto languages = std::array{language::zh_cn, language::en};

/// `zh…` and the empty locale are Chinese, everything else is English.
[[nodiscard]] language language_of(std::string_view locale) noexcept;

/// The tag of a language: `zh-CN`, `en`.
[[nodiscard]] std::string_view to_tag(language value) noexcept;

enum class notice_kind : std::uint8_t {
  deployment_success,
  deployment_failed,
  payment_received,
  refund_completed,
  deployment_cancelled,
  instance_terminated,
  instance_down,
  instance_recovered,
  instance_changed,
  deployment_started,
};

/// Whether it only tells how things are going: people may turn mails of these
/// kinds off. Money, and what no longer runs, is always told.
[[nodiscard]] bool is_progress(notice_kind kind) noexcept;

/// What a notice speaks about. Plain text, nothing escaped.
struct notice_facts {
  notice_kind kind = notice_kind::deployment_success;
  std::string subscription_id;
  std::string instance_name;
  std::string public_url; ///< May be empty.
  std::string duration;   ///< In words, such as `1m 40s`. May be empty.
  /// Why a deployment failed or an instance is down; what has changed:
  /// `sleeping`, `degraded` or `redeployed`.
  std::string error;
  std::string plan_title;
  std::string amount;   ///< `99.00`
  std::string currency; ///< `CNY`
  std::string order_id;
};

/// What the in-app list shows.
struct words {
  std::string title;
  std::string message;
};

/// One notice, for the in-app list and for mail.
struct notice {
  std::string title;
  std::string message;
  std::string mail_subject; ///< One line of bounded length.
  std::string mail_text;
  std::string mail_html;
};

/// The templates of a kind: `instance_changed` has one for each change. The
/// names are those of the files.
struct template_kind {
  std::string_view name; ///< `deployment_success`
  notice_kind kind = notice_kind::deployment_success;
  std::string_view change; ///< `sleeping` …, or empty.
};

[[nodiscard]] const std::vector<template_kind>& template_kinds();

/// By its name, in any case of letters; null where there is none.
[[nodiscard]] const template_kind* find_template(std::string_view name);

/// Facts to try a template with.
[[nodiscard]] notice_facts sample_facts(const template_kind& of);

/// All templates, ready to be used. Immutable: callable from any thread.
class template_set {
public:
  /// The built-in ones, and in their places the files of the same names in a
  /// directory. Blocks.
  /// @param directory Empty: the built-in ones only.
  /// @returns one line for each mistake, with file, line and what was expected.
  [[nodiscard]] static tl::expected<std::shared_ptr<const template_set>,
                                    std::vector<std::string>>
  load(const std::string& directory);

  ~template_set();

  template_set(const template_set&) = delete;
  template_set& operator=(const template_set&) = delete;

  /// Puts facts into words in the language of the locale. Pure; everything from
  /// outside is escaped in the HTML, and only http and https URLs are links.
  [[nodiscard]] notice
  render(const notice_facts& facts, std::string_view locale) const;

  /// The words for the in-app list alone.
  [[nodiscard]] words
  render_words(const notice_facts& facts, std::string_view locale) const;

  /// Whether a file has taken the place of this built-in one.
  /// @param file `deployment_success.en.txt`
  [[nodiscard]] bool is_replaced(std::string_view file) const;

  /// How many files have.
  [[nodiscard]] std::size_t replaced() const noexcept;

private:
  struct impl;

  explicit template_set(std::unique_ptr<impl> what);

  std::unique_ptr<const impl> impl_;
};

using template_set_ptr = std::shared_ptr<const template_set>;

/// The built-in templates.
[[nodiscard]] const template_set_ptr& builtin_templates();

/// `builtin_templates()->render`.
[[nodiscard]] notice
render_notice(const notice_facts& facts, std::string_view locale);

/// The templates of a directory, read again when one of its files changes. What
/// cannot be read then is logged, and the last good ones stay. Callable from
/// any thread; looks at the directory on a thread of its own.
class template_store {
public:
  /// @param directory Empty: the built-in ones, for ever.
  /// @param look_every How often to look; 0: only by `look`.
  /// @returns one line for each mistake in the directory.
  [[nodiscard]] static tl::expected<std::shared_ptr<template_store>,
                                    std::vector<std::string>>
  open(std::string directory, millis look_every = millis{1'000});

  ~template_store();

  template_store(const template_store&) = delete;
  template_store& operator=(const template_store&) = delete;

  /// The last good ones. Never null.
  [[nodiscard]] template_set_ptr current() const;

  /// What is wrong with the files as they are now; `current` is older then.
  [[nodiscard]] std::vector<std::string> faults() const;

  /// Looks whether something has changed, and reads it. Blocks.
  void look();

private:
  template_store() = default;

  std::string directory_;
  mutable std::mutex mutex_;
  template_set_ptr current_;
  std::vector<std::string> faults_;
  std::mutex looking_;
  std::string seen_; ///< What the files looked like when they were read.
  std::jthread watcher_;
};

} // namespace slipway::mail
