#include "config/load_settings.hpp"

#include "config/keys.hpp"
#include "config/text.hpp"

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <toml++/toml.h>
#include <tuple>
#include <unistd.h>
#include <utility>

namespace slipway::config {

namespace {

namespace fs = std::filesystem;

constexpr auto config_file_max = std::size_t{1} << 20;
constexpr auto environment_name = "environment";
constexpr auto prefix = std::string_view{"SLIPWAY_"};

/// The sections that turn a part of the server on by being there.
bool is_switch(std::string_view section) {
  return section == "alipay" || section == "wechat" || section == "railway"
         || section == "mail" || section == "traces";
}

bool is_plan_name(std::string_view name) {
  return !name.empty() && name.size() <= 32
         && name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
              == std::string_view::npos;
}

constexpr auto plan_name_words = "a plan named with 1 to 32 of A-Z 0-9 _";

/// `plans.PRO.amount`, `http.listen`.
std::string
dotted(std::string_view section, std::string_view plan, std::string_view name) {
  auto result = std::string{section};
  if (!plan.empty())
    result.append(".").append(plan);
  return result.append(".").append(name);
}

std::string dotted(const key& which, std::string_view plan) {
  return dotted(which.section, plan, which.name);
}

/// `SLIPWAY_PLANS_PRO_AMOUNT`, `SLIPWAY_HTTP_LISTEN`.
std::string variable(const key& which, std::string_view plan) {
  auto result = std::string{prefix} + upper_case(which.section) + '_';
  if (!plan.empty())
    result.append(plan).append("_");
  return result + upper_case(which.name);
}

/// The key without `_file`.
std::string_view content_name(const key& which) {
  return which.name.substr(0, which.name.size() - 5);
}

std::vector<std::string> names_in(std::string_view section) {
  auto result = std::vector<std::string>{};
  for (const auto& each : keys())
    if (each.section == section)
      result.emplace_back(each.name);
  return result;
}

// -- shapes
// --------------------------------------------------------------------

enum class shape { text, integer, boolean, list, table };

shape shape_of(kind which) {
  switch (which) {
    case kind::integer:
      return shape::integer;
    case kind::boolean:
      return shape::boolean;
    case kind::credential_keys:
    case kind::platform_keys:
      return shape::list;
    case kind::variables:
      return shape::table;
    default:
      return shape::text;
  }
}

bool is_empty(const raw_value& value) {
  if (const auto* text = std::get_if<std::string>(&value))
    return text->empty();
  if (const auto* list = std::get_if<std::vector<std::string>>(&value))
    return list->empty();
  return false;
}

/// Says what was found where another type was expected. Never shows a text,
/// which could be a secret in the wrong place.
std::string type_words(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::none:
      return "nothing";
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list";
    case toml::node_type::string:
      return "a text";
    case toml::node_type::integer:
      return "an integer";
    case toml::node_type::floating_point:
      return "a floating-point number";
    case toml::node_type::boolean:
      return "true or false";
    case toml::node_type::date:
    case toml::node_type::time:
    case toml::node_type::date_time:
      return "a date or time";
  }
  return "another type";
}

/// The type, and with it the value where that is helpful and harmless.
std::string found_words(const key& which, const toml::node& node) {
  auto result = type_words(node);
  if (is_confidential(which))
    return result;
  if (const auto number = node.value_exact<std::int64_t>())
    return "the integer " + std::to_string(*number);
  if (const auto flag = node.value_exact<bool>())
    return *flag ? "true" : "false";
  const auto text = node.value_exact<std::string_view>();
  const auto scalar = shape_of(which.is) == shape::integer
                      || shape_of(which.is) == shape::boolean;
  if (text && scalar)
    return "the text \"" + one_line(*text, 40) + '"';
  return result;
}

// -- the loader
// ----------------------------------------------------------------

/// A value and all that is needed to check it and to complain about it.
struct given {
  std::optional<raw_value> value; ///< Nothing: it had a wrong type.
  bool is_content = false;        ///< The secret itself, not its file.
  std::string file;
  std::string key;
  std::size_t line = 0;
  fs::path base;
  /// What is wrong with its type. Counts unless another value wins.
  std::vector<mistake> mistakes;
};

enum class condition { absent, good, bad };

class loader {
public:
  loader(const fs::path& file, const environment& env)
    : file_{file}, env_{env} {
    auto error = std::error_code{};
    working_directory_ = fs::current_path(error);
    if (error)
      complain("working directory", "one to start relative paths from",
               error.message());
  }

  tl::expected<settings, std::vector<mistake>> run() {
    if (const auto root = parse()) {
      // Both only collect; what counts is known afterwards.
      collect_file(*root);
      collect_environment();
      collect_seeds();
      prepare();
      for (const auto& each : keys())
        apply(each);
      check_together();
    }
    if (mistakes_.empty())
      return std::move(result_);
    sort_mistakes();
    return tl::make_unexpected(std::move(mistakes_));
  }

private:
  // -- mistakes
  // ----------------------------------------------------------------

  void complain(std::string key, std::string expected, std::string found,
                const toml::source_region* at = nullptr) {
    auto& what = mistakes_.emplace_back();
    what.file = file_.string();
    what.key = std::move(key);
    what.expected = std::move(expected);
    what.found = std::move(found);
    if (at != nullptr)
      what.line = at->begin.line;
  }

  void complain_variable(const std::string& name, std::string expected,
                         std::string found) {
    auto& what = mistakes_.emplace_back();
    what.file = environment_name;
    what.key = name;
    what.expected = std::move(expected);
    what.found = std::move(found);
  }

  void complain_given(const given& from, const fault& wrong) {
    auto& what = mistakes_.emplace_back();
    what.file = from.file;
    what.key = from.key;
    what.expected = wrong.expected;
    what.found = wrong.found;
    what.line = from.line;
  }

  /// Complains about a key by where it was given, or else by its section.
  void complain_about(const std::string& id, std::string expected,
                      std::string found) {
    if (const auto at = values_.find(id); at != values_.end()) {
      complain_given(at->second, {std::move(expected), std::move(found)});
      return;
    }
    complain(id, std::move(expected), std::move(found));
    const auto section = section_lines_.find(id.substr(0, id.rfind('.')));
    if (section != section_lines_.end())
      mistakes_.back().line = section->second;
  }

  /// Takes back the complaints from a number on.
  std::vector<mistake> take_back(std::size_t from) {
    const auto begin = mistakes_.begin() + static_cast<std::ptrdiff_t>(from);
    auto result = std::vector<mistake>{begin, mistakes_.end()};
    mistakes_.erase(begin, mistakes_.end());
    return result;
  }

  void sort_mistakes() {
    std::stable_sort(mistakes_.begin(), mistakes_.end(),
                     [](const mistake& x, const mistake& y) {
                       const auto rank = [](const mistake& what) {
                         return std::tuple{what.file == environment_name,
                                           what.line == 0, what.line};
                       };
                       return rank(x) < rank(y);
                     });
  }

  // -- the file
  // ----------------------------------------------------------------

  std::optional<toml::table> parse() {
    auto problem = std::string{};
    const auto text = read_file(file_, config_file_max, problem);
    if (!text) {
      complain("file", "a readable TOML file", problem);
      return std::nullopt;
    }
    base_ = (working_directory_ / file_).parent_path();
    // The parser reports by exceptions; they end here.
    try {
      return toml::parse(*text, file_.string());
    } catch (const toml::parse_error& error) {
      complain("syntax", "valid TOML", syntax_words(error.description()));
      mistakes_.back().line = error.source().begin.line;
      mistakes_.back().column = error.source().begin.column;
    } catch (const std::exception&) {
      complain("syntax", "valid TOML", "something the parser gave up on");
    }
    return std::nullopt;
  }

  /// Blanks out what the parser quotes from a value, since that may be part of
  /// a secret. Names of keys and single characters stay.
  static std::string syntax_words(std::string_view text) {
    const auto about_keys
      = text.find("cannot redefine") != std::string_view::npos
        || text.find("cannot insert") != std::string_view::npos;
    if (about_keys)
      return one_line(text);
    auto result = std::string{};
    for (;;) {
      const auto open = text.find('\'');
      if (open == std::string_view::npos)
        return one_line(result.append(text));
      const auto close = text.find('\'', open + 1);
      const auto end = std::min(close, text.size());
      const auto inside = text.substr(open + 1, end - open - 1);
      result.append(text.substr(0, open + 1));
      result.append(inside.size() <= 5 ? inside : "…").append("'");
      if (end == text.size())
        return one_line(result);
      text.remove_prefix(end + 1);
    }
  }

  void collect_file(const toml::table& root) {
    for (const auto& [name, node] : root) {
      const auto section = std::string{name.str()};
      const auto& known = sections();
      if (std::find(known.begin(), known.end(), section) == known.end()) {
        complain_stray(section, node);
        continue;
      }
      const auto* table = node.as_table();
      if (table == nullptr) {
        complain(section, "a section, [" + section + ']', type_words(node),
                 &node.source());
        continue;
      }
      section_lines_[section] = node.source().begin.line;
      if (section == "plans")
        collect_plans(*table);
      else
        collect_section(section, {}, *table);
    }
  }

  /// Something at the top that is no section.
  void complain_stray(const std::string& name, const toml::node& node) {
    if (node.is_table()) {
      complain('[' + name + ']', "a known section",
               "an unknown one; the nearest known section is ["
                 + nearest(name, sections()) + ']',
               &node.source());
      return;
    }
    auto found = std::string{"a key outside of any section"};
    for (const auto& each : keys())
      if (each.name == name && each.section != "plans")
        found
          += "; " + name + " is a key of [" + std::string{each.section} + ']';
    complain(name, "keys to stand in a section", found, &node.source());
  }

  void collect_plans(const toml::table& plans) {
    for (const auto& [name, node] : plans) {
      const auto plan = std::string{name.str()};
      const auto* table = node.as_table();
      if (table == nullptr) {
        complain(dotted("plans", {}, plan),
                 "a section for each plan, [plans.NAME]", type_words(node),
                 &node.source());
        continue;
      }
      plans_in_file_ = true;
      section_lines_["plans." + plan] = node.source().begin.line;
      if (is_plan_name(plan))
        plan_names_.insert(plan);
      else
        complain(dotted("plans", {}, plan), plan_name_words, "another name",
                 &node.source());
      // What is in it is looked at all the same.
      collect_section("plans", plan, *table);
    }
  }

  void collect_section(const std::string& section, const std::string& plan,
                       const toml::table& table) {
    present_.insert(section);
    for (const auto& [name, node] : table) {
      const auto* which = find_key(section, name.str());
      if (which == nullptr) {
        complain_unknown(section, plan, std::string{name.str()}, node);
        continue;
      }
      if (!plan.empty() && !is_plan_name(plan))
        continue;
      auto& to = values_[dotted(*which, plan)];
      to.file = file_.string();
      to.key = dotted(*which, plan);
      to.line = node.source().begin.line;
      to.base = base_;
      const auto before = mistakes_.size();
      to.value = read_node(*which, node, to.key);
      to.mistakes = take_back(before);
    }
  }

  void complain_unknown(const std::string& section, const std::string& plan,
                        const std::string& name, const toml::node& node) {
    const auto id = dotted(section, plan, name);
    const auto* file_key = find_key(section, name + "_file");
    if (file_key != nullptr && names_content(*file_key)) {
      complain(
        id,
        std::string{file_key->name}
          + " with the path of a file, or the variable " + std::string{prefix}
          + upper_case(section) + '_' + upper_case(name),
        "the content in the configuration itself (not shown)", &node.source());
      return;
    }
    auto found = "an unknown one; the nearest known key is "
                 + nearest(name, names_in(section));
    for (const auto& each : keys())
      if (each.name == name && each.section != section)
        found += "; " + name + " is a key of [" + std::string{each.section}
                 + (each.section == "plans" ? ".*]" : "]");
    complain(id, "a known key", found, &node.source());
  }

  /// Takes a value out of TOML, or complains about its type.
  std::optional<raw_value>
  read_node(const key& which, const toml::node& node, const std::string& id) {
    const auto wrong = [&]() -> std::optional<raw_value> {
      complain(id, expectation(which), found_words(which, node),
               &node.source());
      return std::nullopt;
    };
    switch (shape_of(which.is)) {
      case shape::text:
        if (const auto text = node.value_exact<std::string>())
          return *text;
        return wrong();
      case shape::integer:
        if (const auto number = node.value_exact<std::int64_t>())
          return *number;
        return wrong();
      case shape::boolean:
        if (const auto flag = node.value_exact<bool>())
          return *flag;
        return wrong();
      case shape::list: {
        const auto* array = node.as_array();
        if (array == nullptr)
          return wrong();
        auto list = std::vector<std::string>{};
        auto good = true;
        for (const auto& entry : *array) {
          if (const auto text = entry.value_exact<std::string>()) {
            list.push_back(*text);
            continue;
          }
          good = false;
          complain(id, expectation(which), type_words(entry) + " in the list",
                   &entry.source());
        }
        if (!good)
          return std::nullopt;
        return list;
      }
      case shape::table: {
        const auto* table = node.as_table();
        if (table == nullptr)
          return wrong();
        auto texts = std::map<std::string, std::string>{};
        auto good = true;
        for (const auto& [name, entry] : *table) {
          if (const auto text = entry.value_exact<std::string>()) {
            texts.emplace(name.str(), *text);
            continue;
          }
          good = false;
          complain(id + '.' + std::string{name.str()}, "a text",
                   type_words(entry), &entry.source());
        }
        if (!good)
          return std::nullopt;
        return texts;
      }
    }
    return wrong();
  }

  // -- the environment
  // ---------------------------------------------------------

  void collect_environment() {
    // Plans of the file are known by now, those of variables are not: a
    // variable can name a plan of its own.
    for (const auto& [name, text] : env_) {
      if (name.compare(0, prefix.size(), prefix) != 0)
        continue;
      const auto rest = name.substr(prefix.size());
      for (const auto& section : sections()) {
        const auto start = upper_case(section) + '_';
        if (rest.size() > start.size()
            && rest.compare(0, start.size(), start) == 0)
          collect_variable(section, rest.substr(start.size()), name, text);
      }
    }
  }

  void collect_variable(const std::string& section, const std::string& rest,
                        const std::string& name, const std::string& text) {
    for (const auto& each : keys()) {
      if (each.section != section)
        continue;
      if (section == "plans") {
        const auto end = '_' + upper_case(each.name);
        if (rest.size() > end.size()
            && rest.compare(rest.size() - end.size(), end.size(), end) == 0) {
          collect_plan_variable(each, rest.substr(0, rest.size() - end.size()),
                                name, text);
          return;
        }
      } else if (rest == upper_case(each.name)) {
        take_variable(each, {}, name, text, false);
        return;
      } else if (names_content(each)
                 && rest == upper_case(content_name(each))) {
        take_variable(each, {}, name, text, true);
        return;
      }
    }
    complain_variable(name, "a known key",
                      "an unknown one; the nearest known variable is "
                        + nearest_variable(section, rest, name));
  }

  void collect_plan_variable(const key& which, const std::string& plan,
                             const std::string& name, const std::string& text) {
    if (!is_plan_name(plan)) {
      complain_variable(name, plan_name_words, "another name");
      return;
    }
    if (!text.empty())
      plan_names_.insert(plan);
    take_variable(which, plan, name, text, false);
  }

  void take_variable(const key& which, const std::string& plan,
                     const std::string& name, const std::string& text,
                     bool is_content) {
    if (names_content(which) && !text.empty()
        && !content_or_file_.insert(dotted(which, plan)).second) {
      const auto stem = std::string{prefix} + upper_case(which.section) + '_'
                        + upper_case(content_name(which));
      complain_variable(name, "one of " + stem + " and " + stem + "_FILE",
                        "both");
      return;
    }
    auto from = given{};
    from.file = environment_name;
    from.key = name;
    from.base = working_directory_;
    from.is_content = is_content;
    const auto before = mistakes_.size();
    from.value = read_text(which, text, name);
    from.mistakes = take_back(before);
    // An empty x must not hide x_file, nor the other way round.
    const auto id = dotted(which, plan);
    const auto at = values_.find(id);
    if (text.empty() && at != values_.end()
        && at->second.file == environment_name)
      return;
    if (!text.empty())
      present_.insert(std::string{which.section});
    values_[id] = std::move(from);
  }

  /// Takes a value out of a variable, or complains about its form.
  std::optional<raw_value> read_text(const key& which, const std::string& text,
                                     const std::string& name) {
    if (text.empty())
      return text;
    switch (shape_of(which.is)) {
      case shape::text:
        return text;
      case shape::integer:
        if (const auto number = parse_integer(text))
          return *number;
        complain_variable(name, expectation(which),
                          '"' + one_line(text, 40) + '"');
        return std::nullopt;
      case shape::boolean:
        if (text == "true" || text == "false")
          return text == "true";
        complain_variable(name, expectation(which),
                          '"' + one_line(text, 40) + '"');
        return std::nullopt;
      case shape::list:
        return split(text, ',');
      case shape::table: {
        auto texts = std::map<std::string, std::string>{};
        for (const auto& entry : split(text, ',')) {
          const auto equals = entry.find('=');
          if (equals == std::string::npos) {
            complain_variable(name, "NAME=text, with commas between several",
                              "an entry of another form (not shown)");
            return std::nullopt;
          }
          texts[entry.substr(0, equals)] = entry.substr(equals + 1);
        }
        return texts;
      }
    }
    return std::nullopt;
  }

  [[nodiscard]] std::string
  nearest_variable(const std::string& section, const std::string& rest,
                   const std::string& name) const {
    const auto start = std::string{prefix} + upper_case(section) + '_';
    auto candidates = std::vector<std::string>{};
    auto plan = std::string{};
    if (section == "plans") {
      plan = rest.substr(0, rest.find('_'));
      for (const auto& known : plan_names_)
        if (known.size() > plan.size()
            && rest.compare(0, known.size() + 1, known + '_') == 0)
          plan = known;
      plan += '_';
    }
    for (const auto& each : keys()) {
      if (each.section != section)
        continue;
      candidates.push_back(start + plan + upper_case(each.name));
      if (names_content(each))
        candidates.push_back(start + upper_case(content_name(each)));
    }
    return nearest(name, candidates);
  }

  /// The variables of the seed deployment stand behind everything else.
  void collect_seeds() {
    seed("database", "url", "DATABASE_URL");
    // These don't make the section present; without it they are ignored.
    seed("railway", "template_project_id", "RAILWAY_TEMPLATE_PROJECT_ID");
    seed("railway", "template_service_id", "RAILWAY_TEMPLATE_SERVICE_ID");
  }

  void seed(std::string_view section, std::string_view name,
            const std::string& from) {
    const auto text = env_.find(from);
    if (text == env_.end() || text->second.empty())
      return;
    auto& to = values_[dotted(section, {}, name)];
    if (!to.file.empty() && (!to.value || !is_empty(*to.value)))
      return;
    to = given{};
    to.value = text->second;
    to.file = environment_name;
    to.key = from;
    to.base = working_directory_;
  }

  // -- putting it together
  // -----------------------------------------------------

  void prepare() {
    const auto defaults = default_plans();
    if (!plans_in_file_)
      result_.plans = defaults;
    for (const auto& name : plan_names_) {
      const auto same = defaults.find(name);
      auto& plan = result_.plans[name];
      plan = same != defaults.end() ? same->second : plan_settings{};
      if (plan.title.empty())
        plan.title = name;
    }
    if (present_.count("alipay") != 0)
      result_.alipay.emplace();
    if (present_.count("wechat") != 0)
      result_.wechat.emplace();
    if (present_.count("railway") != 0)
      result_.railway.emplace();
    if (present_.count("mail") != 0)
      result_.mail.emplace();
    if (present_.count("traces") != 0)
      result_.traces.emplace();
  }

  void apply(const key& which) {
    if (is_switch(which.section)
        && present_.count(std::string{which.section}) == 0)
      return;
    if (which.section != "plans") {
      apply(which, {});
      return;
    }
    for (const auto& entry : result_.plans)
      apply(which, entry.first);
  }

  void apply(const key& which, const std::string& plan) {
    const auto id = dotted(which, plan);
    auto& state = conditions_[id];
    const auto at = values_.find(id);
    const auto here = at != values_.end();
    if (here && !at->second.value) {
      state = condition::bad;
      mistakes_.insert(mistakes_.end(), at->second.mistakes.begin(),
                       at->second.mistakes.end());
      return;
    }
    if (!here || is_empty(*at->second.value)) {
      const auto built_in = !plan.empty() && default_plans().count(plan) != 0;
      if (!which.required || built_in)
        return;
      state = condition::bad;
      complain_about(id,
                     expectation(which) + " (this key is required; "
                       + variable(which, plan) + " can give it as well)",
                     here ? "an empty one" : "none");
      return;
    }
    const auto& from = at->second;
    const auto to = which.at(result_, plan);
    const auto faults
      = from.is_content
          ? store_content(which, std::get<std::string>(*from.value), to)
          : store(which, *from.value, from.base, to);
    for (const auto& wrong : faults)
      complain_given(from, wrong);
    state = faults.empty() ? condition::good : condition::bad;
  }

  // -- what has to fit together
  // ------------------------------------------------

  [[nodiscard]] bool is(const char* id, condition what) const {
    const auto at = conditions_.find(id);
    return (at == conditions_.end() ? condition::absent : at->second) == what;
  }

  /// Given, be it right or wrong.
  [[nodiscard]] bool has(const char* id) const {
    return !is(id, condition::absent);
  }

  void require(const char* id, const char* because) {
    if (has(id))
      return;
    const auto name = std::string_view{id};
    const auto dot = name.find('.');
    const auto* which = find_key(name.substr(0, dot), name.substr(dot + 1));
    complain_about(id, expectation(*which) + " (" + because + ')', "none");
  }

  void check_tls() {
    const auto cert = has("http.tls_cert_file");
    if (cert != has("http.tls_key_file"))
      complain_about(cert ? "http.tls_key_file" : "http.tls_cert_file",
                     "both tls_cert_file and tls_key_file", "one of them");
    if (result_.http.admin_tls && !cert)
      complain_about("http.admin_tls", "tls_cert_file with it", "none");
  }

  void check_together() {
    check_listeners();
    check_tls();
    if (!has("auth.hs256_secret_file") && !has("auth.jwks_file"))
      complain_about("auth.hs256_secret_file",
                     "hs256_secret_file, jwks_file or both", "neither");
    if (!is("deployment.backoff_initial", condition::bad)
        && !is("deployment.backoff_max", condition::bad)
        && result_.deployment.backoff_max
             < result_.deployment.backoff_initial) {
      const auto* blamed = has("deployment.backoff_max")
                             ? "deployment.backoff_max"
                             : "deployment.backoff_initial";
      complain_about(blamed, "backoff_max to be at least backoff_initial",
                     format_duration(result_.deployment.backoff_max) + " and "
                       + format_duration(result_.deployment.backoff_initial));
    }
    if (result_.alipay)
      check_alipay();
    if (result_.wechat)
      check_wechat();
    if (result_.railway)
      check_railway();
    if (result_.mail)
      check_mail();
  }

  void check_listeners() {
    const auto& one = result_.http.listen;
    const auto& other = result_.http.admin_listen;
    if (is("http.listen", condition::bad)
        || is("http.admin_listen", condition::bad) || one.port == 0
        || one.port != other.port || one.host != other.host)
      return;
    const auto* blamed
      = has("http.admin_listen") ? "http.admin_listen" : "http.listen";
    complain_about(blamed, "listen and admin_listen to be different",
                   format_endpoint(one) + " for both");
  }

  void check_alipay() {
    const auto* cert = "alipay.alipay_cert_file";
    const auto* app = "alipay.app_cert_file";
    const auto* root = "alipay.root_cert_file";
    if (has(cert) || has(app) || has(root)) {
      const auto* because = "certificate mode needs all three certificates";
      require(cert, because);
      require(app, because);
      require(root, because);
    } else if (!has("alipay.alipay_public_key_file")) {
      complain_about("alipay.alipay_public_key_file",
                     "alipay_public_key_file, or all of alipay_cert_file, "
                     "app_cert_file and root_cert_file",
                     "none");
    }
  }

  void check_wechat() {
    if (!has("wechat.api_v3_key_file")) {
      if (!has("wechat.api_v2_key_file"))
        complain_about("wechat.api_v3_key_file",
                       "api_v3_key_file, api_v2_key_file or both", "neither");
      return;
    }
    const auto* because = "api_v3_key_file needs it";
    require("wechat.merchant_serial", because);
    require("wechat.merchant_private_key_file", because);
  }

  void check_railway() {
    if (result_.railway && result_.railway->register_webhook) {
      const auto* because = "railway.register_webhook needs it";
      require("http.public_url", because);
      require("railway.workspace_id", because);
      require("railway.webhook_secret_file", because);
    }
    const auto* project = "railway.template_project_id";
    const auto* service = "railway.template_service_id";
    if (has("railway.template_code") || has("railway.template_id")
        || (has(project) && has(service)))
      return;
    if (has(project))
      require(service, "template_project_id needs it");
    else if (has(service))
      require(project, "template_service_id needs it");
    else
      complain_about("railway.template_code",
                     "template_code, template_id, or template_project_id and "
                     "template_service_id",
                     "none");
  }

  void check_mail() {
    if (has("mail.username"))
      require("mail.password_file", "username needs it");
    if (has("mail.password_file"))
      require("mail.username", "password_file needs it");
  }

  // -- member variables
  // --------------------------------------------------------

  fs::path file_;
  const environment& env_;
  fs::path working_directory_;
  /// The directory of the file.
  fs::path base_;
  settings result_;
  std::vector<mistake> mistakes_;
  /// By `section.key` or `plans.PLAN.key`. The environment replaces the file.
  std::map<std::string, given> values_;
  std::map<std::string, condition> conditions_;
  /// By `section` or `plans.PLAN`.
  std::map<std::string, std::size_t> section_lines_;
  std::set<std::string> present_;
  std::set<std::string> plan_names_;
  /// Keys that the environment gives, by their content or their file.
  std::set<std::string> content_or_file_;
  bool plans_in_file_ = false;
};

} // namespace

std::map<std::string, plan_settings> default_plans() {
  auto result = std::map<std::string, plan_settings>{};
  const auto add = [&](const char* name, const char* title, minor_units amount,
                       std::int32_t priority) {
    auto& plan = result[name];
    plan.title = title;
    plan.amount_minor = amount;
    plan.priority = priority;
  };
  add("BASIC", "基础版", 29'00, 0);
  add("PRO", "专业版", 99'00, 1);
  add("ENTERPRISE", "企业版", 299'00, 2);
  return result;
}

std::string mistake::to_string() const {
  auto result = one_line(file, 4'096);
  if (line != 0)
    result += ':' + std::to_string(line);
  if (line != 0 && column != 0)
    result += ':' + std::to_string(column);
  result += ": " + one_line(key) + ": expected " + one_line(expected, 1'000);
  if (!found.empty())
    result += ", found " + one_line(found, 5'000);
  return result;
}

environment process_environment() {
  auto result = environment{};
  for (auto** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const auto text = std::string_view{*entry};
    const auto equals = text.find('=');
    if (equals != std::string_view::npos && equals > 0)
      result.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return result;
}

tl::expected<settings, std::vector<mistake>>
load_settings(const fs::path& file, const environment& env) {
  return loader{file, env}.run();
}

} // namespace slipway::config
