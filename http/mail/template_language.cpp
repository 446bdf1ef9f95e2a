#include "http/mail/template_language.hpp"

#include "http/crypto/text.hpp"

#include <algorithm>
#include <optional>

namespace slipway::mail {

namespace {

constexpr auto nesting_max = std::size_t{8};

constexpr auto nodes_max = std::size_t{4'000};

/// For faults: what was found, cut and harmless.
std::string shown(std::string_view text) {
  constexpr auto shown_max = std::size_t{40};
  return crypto::json_quote(text.substr(0, shown_max));
}

std::string_view trimmed(std::string_view text) noexcept {
  const auto from = text.find_first_not_of(" \t");
  if (from == text.npos)
    return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

bool is_among(const std::vector<std::string_view>& all,
              std::string_view name) noexcept {
  return std::find(all.begin(), all.end(), name) != all.end();
}

std::string listed(const known_names& names) {
  auto all = std::vector<std::string_view>{};
  for (const auto* some :
       {&names.plain, &names.addresses, &names.codes, &names.markup})
    all.insert(all.end(), some->begin(), some->end());
  std::sort(all.begin(), all.end());
  auto out = std::string{};
  for (const auto x : all)
    out += (out.empty() ? "" : ", ") + std::string{x};
  return out;
}

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_letter(char c) noexcept {
  return lower(c) >= 'a' && lower(c) <= 'z';
}

bool is_blank(char c) noexcept {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

// -- where in HTML one is
// --------------------------------------------------------
//
// As much of a tokenizer as it takes to know what a value would be read as.

struct place {
  enum class mode : std::uint8_t {
    text,
    tag_name,
    tag,        // Between attributes.
    attribute,  // In an attribute's name.
    after_name, // Behind it: blanks, or the =.
    before_value,
    unquoted,
    quoted,
    comment,
    declaration,
    raw, // In <script> and <style>.
  };

  mode at = mode::text;
  char quote = '"';
  bool value_empty = true;
  std::string tag;
  std::string name; // The attribute's.
  std::string tail; // The last few characters, to find ends.

  bool operator==(const place& x) const {
    return at == x.at && tag == x.tag
           && (at != mode::quoted || (quote == x.quote && name == x.name));
  }
};

bool ends_with_lower(const std::string& text, const std::string& end) {
  return text.size() >= end.size()
         && std::equal(end.begin(), end.end(),
                       text.end() - static_cast<std::ptrdiff_t>(end.size()));
}

void leave_tag(place& here) {
  const auto raw = here.tag == "script" || here.tag == "style";
  here.at = raw ? place::mode::raw : place::mode::text;
  if (!raw)
    here.tag.clear();
  here.tail.clear();
}

void step(place& here, char c) {
  using mode = place::mode;
  constexpr auto tail_max = std::size_t{16};
  here.tail += lower(c);
  if (here.tail.size() > tail_max)
    here.tail.erase(0, 1);
  switch (here.at) {
    case mode::text:
      if (ends_with_lower(here.tail, "<!--")) {
        here.at = mode::comment;
        here.tail.clear();
      } else if (here.tail.size() >= 2
                 && here.tail[here.tail.size() - 2] == '<') {
        if (is_letter(c) || c == '/') {
          here.at = mode::tag_name;
          here.tag.clear();
          if (c != '/')
            here.tag += lower(c);
        } else if (c == '?') {
          here.at = mode::declaration;
        }
      } else if (here.tail.size() >= 3
                 && here.tail.compare(here.tail.size() - 3, 2, "<!") == 0
                 && c != '-') {
        here.at = mode::declaration;
      }
      return;
    case mode::tag_name:
      if (c == '>')
        leave_tag(here);
      else if (is_blank(c) || c == '/')
        here.at = mode::tag;
      else
        here.tag += lower(c);
      return;
    case mode::tag:
      if (c == '>') {
        leave_tag(here);
      } else if (!is_blank(c) && c != '/') {
        here.at = mode::attribute;
        here.name.assign(1, lower(c));
      }
      return;
    case mode::attribute:
      if (c == '>')
        leave_tag(here);
      else if (c == '=')
        here.at = mode::before_value;
      else if (is_blank(c))
        here.at = mode::after_name;
      else if (c == '/')
        here.at = mode::tag;
      else
        here.name += lower(c);
      return;
    case mode::after_name:
      if (c == '>') {
        leave_tag(here);
      } else if (c == '=') {
        here.at = mode::before_value;
      } else if (!is_blank(c)) {
        here.at = mode::attribute;
        here.name.assign(1, lower(c));
      }
      return;
    case mode::before_value:
      if (c == '"' || c == '\'') {
        here.at = mode::quoted;
        here.quote = c;
        here.value_empty = true;
      } else if (c == '>') {
        leave_tag(here);
      } else if (!is_blank(c)) {
        here.at = mode::unquoted;
      }
      return;
    case mode::unquoted:
      if (c == '>')
        leave_tag(here);
      else if (is_blank(c))
        here.at = mode::tag;
      return;
    case mode::quoted:
      if (c == here.quote)
        here.at = mode::tag;
      else if (!is_blank(c))
        here.value_empty = false;
      return;
    case mode::comment:
      if (ends_with_lower(here.tail, "-->")) {
        here.at = mode::text;
        here.tail.clear();
      }
      return;
    case mode::declaration:
      if (c == '>') {
        here.at = mode::text;
        here.tail.clear();
      }
      return;
    case mode::raw:
      if (ends_with_lower(here.tail, "</" + here.tag)) {
        here.at = mode::tag_name;
        here.tag.clear();
      }
      return;
  }
}

bool takes_address(std::string_view attribute) noexcept {
  for (const auto* x :
       {"href", "src", "action", "formaction", "background", "poster", "cite",
        "data", "srcset", "longdesc", "usemap", "xlink:href", "ping"})
    if (attribute == x)
      return true;
  return false;
}

/// Why no tag of ours may stand here; nothing where one may.
std::optional<std::string> misplaced(const place& here) {
  using mode = place::mode;
  if (here.at != mode::text && here.at != mode::quoted)
    return "stands within an HTML tag, a comment, a script or a style; "
           "expected "
           "it in text or in a quoted attribute";
  // What comes next would decide what this begins.
  for (const auto* begun : {"<", "<!", "<!-"})
    if (here.at == mode::text && ends_with_lower(here.tail, begun))
      return "stands right behind a <; expected &lt; there";
  return std::nullopt;
}

/// Why a value may not stand here; nothing where it may.
/// @pre Any tag may.
std::optional<std::string>
objection(const place& here, std::string_view name, const known_names& names) {
  if (here.at == place::mode::text)
    return std::nullopt;
  if (here.name == "style" || here.name.starts_with("on")
      || here.name == "srcdoc")
    return "{{" + std::string{name} + "}} stands in the attribute "
           + shown(here.name) + "; expected it in text or in another attribute";
  if (!takes_address(here.name))
    return std::nullopt;
  if (here.value_empty ? is_among(names.addresses, name)
                       : is_among(names.codes, name))
    return std::nullopt;
  if (here.value_empty)
    return "{{" + std::string{name} + "}} need not be a web address; expected "
           + (names.addresses.empty()
                ? std::string{"the address itself"}
                : "{{" + std::string{names.addresses.front()} + "}}")
           + " at the start of " + here.name;
  return "{{" + std::string{name} + "}} cannot be part of an address; expected "
         + (names.codes.empty()
              ? std::string{"the address itself"}
              : "{{" + std::string{names.codes.front()} + "}}")
         + " or nothing in " + here.name;
}

} // namespace

const std::string&
value_of(const values& given, std::string_view name) noexcept {
  static const auto none = std::string{};
  for (const auto& [key, value] : given)
    if (key == name)
      return value;
  return none;
}

bool known_names::contains(std::string_view name) const noexcept {
  return is_among(plain, name) || is_among(markup, name)
         || is_among(addresses, name) || is_among(codes, name);
}

tl::expected<compiled_template, template_fault>
compiled_template::parse(std::string_view source, output kind,
                         const known_names& names, std::size_t first_line) {
  struct open_section {
    std::size_t node = 0;
    std::size_t line = 0;
    place where;
  };
  auto out = compiled_template{};
  out.kind_ = kind;
  auto open = std::vector<open_section>{};
  auto here = place{};
  auto pos = std::size_t{0};
  auto line = first_line;
  const auto fault = [](std::size_t at, std::string what) {
    return tl::unexpected{template_fault{at, std::move(what)}};
  };
  const auto add_literal = [&](std::string_view text) {
    if (text.empty())
      return;
    if (kind == output::html)
      for (const auto c : text)
        step(here, c);
    out.nodes_.push_back({op::literal, std::string{text}, 0});
  };
  for (;;) {
    const auto begin = source.find("{{", pos);
    const auto before = source.substr(pos, begin - pos);
    line += static_cast<std::size_t>(
      std::count(before.begin(), before.end(), '\n'));
    if (begin == source.npos) {
      add_literal(before);
      break;
    }
    if (out.nodes_.size() > nodes_max)
      return fault(line, "too many tags; expected at most "
                           + std::to_string(nodes_max));
    const auto raw = source.compare(begin, 3, "{{{") == 0;
    const auto close = std::string_view{raw ? "}}}" : "}}"};
    const auto from = begin + (raw ? 3 : 2);
    const auto end = source.find(close, from);
    if (end == source.npos)
      return fault(line, "a tag begins with {{ and does not end; expected "
                           + std::string{close});
    auto name = source.substr(from, end - from);
    auto behind = end + close.size();
    const auto sign = raw || name.empty() ? '\0' : name.front();
    const auto is_comment = sign == '!';
    const auto is_section = sign == '#' || sign == '^' || sign == '/';
    const auto lines_in_tag
      = static_cast<std::size_t>(std::count(name.begin(), name.end(), '\n'));
    if (lines_in_tag > 0 && !is_comment)
      return fault(line, "a tag goes over the end of its line; expected "
                           + std::string{close} + " on the same one");
    auto text = before;
    if (is_comment || is_section) {
      // A line of their own leaves with them.
      auto start = begin;
      while (start > pos
             && (source[start - 1] == ' ' || source[start - 1] == '\t'))
        --start;
      auto stop = behind;
      while (stop < source.size()
             && (source[stop] == ' ' || source[stop] == '\t'))
        ++stop;
      const auto alone_before
        = start == 0 || (start > 0 && source[start - 1] == '\n');
      if (alone_before && (stop == source.size() || source[stop] == '\n')) {
        text = source.substr(pos, start - pos);
        behind = std::min(stop + 1, source.size());
      }
    }
    add_literal(text);
    const auto tag_line = line;
    line += lines_in_tag;
    if (behind > end + close.size() && source[behind - 1] == '\n')
      ++line;
    pos = behind;
    if (is_comment)
      continue;
    if (is_section)
      name.remove_prefix(1);
    name = trimmed(name);
    if (sign == '>' || sign == '=' || sign == '&')
      return fault(tag_line, "{{" + std::string(1, sign)
                               + " is not part of the language; expected "
                                 "{{name}}, {{#name}}, {{^name}}, {{/name}} or "
                                 "{{! … }}");
    if (name.empty())
      return fault(tag_line,
                   "a tag without a name; expected one of " + listed(names));
    if (!names.contains(name))
      return fault(tag_line, "unknown name " + shown(name)
                               + "; expected one of " + listed(names));
    if (kind == output::html)
      if (auto why = misplaced(here))
        return fault(tag_line, "the tag of " + std::string{name} + ' ' + *why);
    if (sign == '/') {
      if (open.empty())
        return fault(tag_line, "{{/" + std::string{name}
                                 + "}} ends what has not begun; expected {{#"
                                 + std::string{name} + "}} before it");
      const auto& last = open.back();
      if (out.nodes_[last.node].text != name)
        return fault(tag_line, "{{/" + std::string{name}
                                 + "}} ends the section of line "
                                 + std::to_string(last.line) + "; expected {{/"
                                 + out.nodes_[last.node].text + "}}");
      if (kind == output::html && !(here == last.where))
        return fault(tag_line, "the section of line "
                                 + std::to_string(last.line)
                                 + " begins and ends in different parts of a "
                                   "tag; expected whole tags in it");
      // Whether anything stands before is not certain any more.
      here.value_empty = last.where.value_empty;
      out.nodes_[last.node].end = out.nodes_.size();
      open.pop_back();
    } else if (is_section) {
      if (open.size() == nesting_max)
        return fault(tag_line, "sections are nested too deep; expected at most "
                                 + std::to_string(nesting_max));
      open.push_back({out.nodes_.size(), tag_line, here});
      out.nodes_.push_back(
        {sign == '#' ? op::if_there : op::if_not, std::string{name}, 0});
    } else {
      const auto markup = is_among(names.markup, name);
      if (raw && !(markup && kind == output::html))
        return fault(tag_line, "{{{" + std::string{name}
                                 + "}}} would not be escaped; expected {{"
                                 + std::string{name} + "}}");
      if (markup && kind == output::html && !raw)
        return fault(tag_line, "{{" + std::string{name}
                                 + "}} is HTML already; expected {{{"
                                 + std::string{name} + "}}}");
      if (kind == output::html) {
        if (raw && here.at != place::mode::text)
          return fault(tag_line, "{{{" + std::string{name}
                                   + "}}} stands in a tag; expected it in "
                                     "text");
        if (auto why = objection(here, name, names))
          return fault(tag_line, std::move(*why));
        here.value_empty = false;
        here.tail.clear();
      }
      out.nodes_.push_back(
        {raw ? op::markup : op::value, std::string{name}, 0});
    }
  }
  if (!open.empty())
    return fault(open.back().line,
                 "the section of " + out.nodes_[open.back().node].text
                   + " does not end; expected {{/"
                   + out.nodes_[open.back().node].text + "}}");
  if (kind == output::html && here.at != place::mode::text)
    return fault(line, "the HTML ends within a tag, a comment, a script or a "
                       "style; expected its end");
  return out;
}

std::string compiled_template::render(const values& given) const {
  auto out = std::string{};
  for (std::size_t i = 0; i < nodes_.size();) {
    const auto& x = nodes_[i];
    ++i;
    switch (x.is) {
      case op::literal:
        out += x.text;
        break;
      case op::markup:
        out += value_of(given, x.text);
        break;
      case op::value:
        out += kind_ == output::html
                 ? crypto::html_escape(value_of(given, x.text))
                 : value_of(given, x.text);
        break;
      case op::if_there:
        if (value_of(given, x.text).empty())
          i = x.end;
        break;
      case op::if_not:
        if (!value_of(given, x.text).empty())
          i = x.end;
        break;
    }
  }
  return out;
}

} // namespace slipway::mail
