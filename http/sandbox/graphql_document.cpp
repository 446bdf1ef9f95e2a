#include "http/sandbox/graphql_document.hpp"

#include <algorithm>
#include <charconv>

namespace slipway::sandbox::graphql {

namespace {

enum class token_kind : std::uint8_t {
  end,
  mark,
  name,
  integer,
  real,
  text,
  bad,
};

struct token {
  token_kind kind = token_kind::end;
  std::string text;
  location at;
};

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

void append_utf8(std::string& to, unsigned code) {
  if (code < 0x80) {
    to += static_cast<char>(code);
  } else if (code < 0x800) {
    to += static_cast<char>(0xC0U | (code >> 6U));
    to += static_cast<char>(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    to += static_cast<char>(0xE0U | (code >> 12U));
    to += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
    to += static_cast<char>(0x80U | (code & 0x3FU));
  } else {
    to += static_cast<char>(0xF0U | (code >> 18U));
    to += static_cast<char>(0x80U | ((code >> 12U) & 0x3FU));
    to += static_cast<char>(0x80U | ((code >> 6U) & 0x3FU));
    to += static_cast<char>(0x80U | (code & 0x3FU));
  }
}

/// Cuts a text into tokens.
class lexer {
public:
  explicit lexer(std::string_view text) : text_{text} {
  }

  token next() {
    skip_blanks();
    token result;
    result.at = {line_, at_ - line_start_ + 1};
    if (at_ >= text_.size())
      return result;
    const auto c = text_[at_];
    if (is_name_start(c)) {
      result.kind = token_kind::name;
      while (at_ < text_.size()
             && (is_name_start(text_[at_]) || is_digit(text_[at_])))
        result.text += text_[at_++];
      return result;
    }
    if (is_digit(c) || c == '-')
      return number(std::move(result));
    if (c == '"')
      return text_.substr(at_, 3) == "\"\"\"" ? block(std::move(result))
                                              : string(std::move(result));
    if (text_.substr(at_, 3) == "...") {
      at_ += 3;
      result.kind = token_kind::mark;
      result.text = "...";
      return result;
    }
    constexpr auto marks = std::string_view{"!$&():=@[]{|}"};
    result.kind = marks.find(c) == std::string_view::npos ? token_kind::bad
                                                          : token_kind::mark;
    result.text = c;
    ++at_;
    return result;
  }

private:
  void skip_blanks() {
    while (at_ < text_.size()) {
      const auto c = text_[at_];
      if (c == '\n') {
        ++at_;
        ++line_;
        line_start_ = at_;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == ',') {
        ++at_;
      } else if (text_.substr(at_, 3) == "\xEF\xBB\xBF") {
        at_ += 3;
      } else if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else {
        return;
      }
    }
  }

  token number(token result) {
    const auto take_digits = [&] {
      auto n = 0;
      while (at_ < text_.size() && is_digit(text_[at_])) {
        result.text += text_[at_++];
        ++n;
      }
      return n;
    };
    result.kind = token_kind::integer;
    if (text_[at_] == '-')
      result.text += text_[at_++];
    if (take_digits() == 0)
      result.kind = token_kind::bad;
    if (at_ < text_.size() && text_[at_] == '.') {
      result.kind = token_kind::real;
      result.text += text_[at_++];
      if (take_digits() == 0)
        result.kind = token_kind::bad;
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      result.kind = token_kind::real;
      result.text += text_[at_++];
      if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+'))
        result.text += text_[at_++];
      if (take_digits() == 0)
        result.kind = token_kind::bad;
    }
    if (at_ < text_.size() && is_name_start(text_[at_]))
      result.kind = token_kind::bad;
    return result;
  }

  token string(token result) {
    ++at_;
    while (at_ < text_.size() && text_[at_] != '"') {
      const auto c = text_[at_];
      if (c == '\n' || static_cast<unsigned char>(c) < 0x20) {
        result.kind = token_kind::bad;
        return result;
      }
      if (c != '\\') {
        result.text += c;
        ++at_;
        continue;
      }
      if (!escape(result.text)) {
        result.kind = token_kind::bad;
        return result;
      }
    }
    result.kind = at_ < text_.size() ? token_kind::text : token_kind::bad;
    ++at_;
    return result;
  }

  bool escape(std::string& to) {
    if (at_ + 1 >= text_.size())
      return false;
    const auto c = text_[at_ + 1];
    at_ += 2;
    constexpr auto from = std::string_view{"\"\\/bfnrt"};
    constexpr auto into = std::string_view{"\"\\/\b\f\n\r\t"};
    if (const auto i = from.find(c); i != std::string_view::npos) {
      to += into[i];
      return true;
    }
    auto code = 0U;
    if (c != 'u' || !hex(code))
      return false;
    if (code >= 0xD800 && code < 0xDC00) {
      auto low = 0U;
      if (text_.substr(at_, 2) != "\\u")
        return false;
      at_ += 2;
      if (!hex(low) || low < 0xDC00 || low > 0xDFFF)
        return false;
      code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
    }
    append_utf8(to, code);
    return true;
  }

  bool hex(unsigned& code) {
    const auto digits = text_.substr(at_, 4);
    const auto* end = digits.data() + digits.size();
    const auto read = std::from_chars(digits.data(), end, code, 16);
    at_ += 4;
    return digits.size() == 4 && read.ec == std::errc{} && read.ptr == end;
  }

  /// Block strings are taken as they stand, without the removal of a common
  /// indentation: Railway's API has no field where it would show.
  token block(token result) {
    const auto end = text_.find("\"\"\"", at_ + 3);
    if (end == std::string_view::npos) {
      result.kind = token_kind::bad;
      at_ = text_.size();
      return result;
    }
    result.kind = token_kind::text;
    result.text = text_.substr(at_ + 3, end - at_ - 3);
    for (auto i = at_; i < end; ++i)
      if (text_[i] == '\n') {
        ++line_;
        line_start_ = i + 1;
      }
    at_ = end + 3;
    return result;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t line_ = 1;
  std::size_t line_start_ = 0;
};

/// Recursive descent. The first problem ends it: `failed_` is set, and
/// everything returns as it can.
class parser {
public:
  parser(std::string_view text, std::size_t depth_max)
    : lexer_{text}, depth_max_{depth_max} {
    now_ = lexer_.next();
  }

  tl::expected<document, problem> read_document() {
    document result;
    if (now_.kind == token_kind::end)
      fail("Syntax Error: Unexpected <EOF>.");
    while (!failed_ && now_.kind != token_kind::end)
      read_definition(result);
    if (failed_)
      return tl::unexpected{*failed_};
    return result;
  }

  tl::expected<std::vector<type_def>, problem> read_types() {
    std::vector<type_def> result;
    while (!failed_ && now_.kind != token_kind::end)
      result.push_back(read_type_def());
    if (failed_)
      return tl::unexpected{*failed_};
    return result;
  }

private:
  // -- tokens -----------------------------------------------------------------

  void fail(std::string message) {
    if (!failed_)
      failed_ = problem{std::move(message), now_.at, "GRAPHQL_PARSE_FAILED"};
  }

  void fail_here() {
    fail(now_.kind == token_kind::end
           ? std::string{"Syntax Error: Unexpected <EOF>."}
           : "Syntax Error: Unexpected \"" + now_.text + "\".");
  }

  void advance() {
    now_ = lexer_.next();
  }

  [[nodiscard]] bool is_mark(std::string_view text) const {
    return now_.kind == token_kind::mark && now_.text == text;
  }

  [[nodiscard]] bool is_word(std::string_view text) const {
    return now_.kind == token_kind::name && now_.text == text;
  }

  bool skip(std::string_view mark) {
    if (failed_ || !is_mark(mark))
      return false;
    advance();
    return true;
  }

  void expect(std::string_view mark) {
    if (!skip(mark))
      fail_here();
  }

  std::string name() {
    if (failed_ || now_.kind != token_kind::name) {
      fail_here();
      return "";
    }
    auto result = std::move(now_.text);
    advance();
    return result;
  }

  /// `open` item+ `close`
  template <class Item>
  void many(std::string_view open, std::string_view close, Item item) {
    expect(open);
    do {
      if (failed_)
        return;
      item();
    } while (!failed_ && !is_mark(close));
    expect(close);
  }

  // -- both kinds of text -----------------------------------------------------

  type_ref read_type() {
    type_ref result;
    if (++depth_ > depth_max_)
      fail("Syntax Error: The document is nested too deeply.");
    if (skip("[")) {
      result.item = std::make_shared<const type_ref>(read_type());
      expect("]");
    } else {
      result.name = name();
    }
    --depth_;
    result.non_null = skip("!");
    return result;
  }

  literal read_literal(bool constant) {
    literal result;
    result.at = now_.at;
    if (failed_)
      return result;
    if (++depth_ > depth_max_) {
      fail("Syntax Error: The document is nested too deeply.");
      return result;
    }
    const auto plain = [&](value_kind kind) {
      result.kind = kind;
      result.text = std::move(now_.text);
      advance();
    };
    switch (now_.kind) {
      case token_kind::integer:
        plain(value_kind::integer);
        break;
      case token_kind::real:
        plain(value_kind::real);
        break;
      case token_kind::text:
        plain(value_kind::text);
        break;
      case token_kind::name:
        plain(is_word("true") || is_word("false") ? value_kind::boolean
              : is_word("null")                   ? value_kind::null
                                                  : value_kind::enumerator);
        break;
      case token_kind::mark:
        read_compound(result, constant);
        break;
      case token_kind::bad:
      case token_kind::end:
        fail_here();
    }
    --depth_;
    return result;
  }

  void read_compound(literal& result, bool constant) {
    if (!constant && skip("$")) {
      result.kind = value_kind::variable;
      result.text = name();
    } else if (skip("[")) {
      result.kind = value_kind::list;
      while (!failed_ && !is_mark("]"))
        result.items.push_back(read_literal(constant));
      expect("]");
    } else if (skip("{")) {
      result.kind = value_kind::object;
      while (!failed_ && !is_mark("}")) {
        auto key = name();
        expect(":");
        result.members.emplace_back(std::move(key), read_literal(constant));
      }
      expect("}");
    } else {
      fail_here();
    }
  }

  std::vector<argument> read_arguments(bool constant) {
    std::vector<argument> result;
    if (!is_mark("("))
      return result;
    many("(", ")", [&] {
      argument one;
      one.at = now_.at;
      one.name = name();
      expect(":");
      one.value = read_literal(constant);
      result.push_back(std::move(one));
    });
    return result;
  }

  std::vector<directive> read_directives(bool constant) {
    std::vector<directive> result;
    while (!failed_ && is_mark("@")) {
      directive one;
      one.at = now_.at;
      advance();
      one.name = name();
      one.arguments = read_arguments(constant);
      result.push_back(std::move(one));
    }
    return result;
  }

  // -- documents --------------------------------------------------------------

  void read_definition(document& to) {
    const auto at = now_.at;
    if (is_mark("{")) {
      operation result;
      result.at = at;
      result.selections = read_selections();
      to.operations.push_back(std::move(result));
    } else if (is_word("query") || is_word("mutation")
               || is_word("subscription")) {
      operation result;
      result.at = at;
      if (is_word("mutation"))
        result.kind = operation_kind::mutation;
      else if (is_word("subscription"))
        result.kind = operation_kind::subscription;
      advance();
      if (now_.kind == token_kind::name)
        result.name = name();
      if (is_mark("("))
        many("(", ")", [&] {
          result.variables.push_back(read_variable());
        });
      result.directives = read_directives(false);
      result.selections = read_selections();
      to.operations.push_back(std::move(result));
    } else if (is_word("fragment")) {
      fragment result;
      result.at = at;
      advance();
      result.name = name();
      if (result.name == "on" || !is_word("on"))
        fail_here();
      advance();
      result.condition = name();
      read_directives(false);
      result.selections = read_selections();
      to.fragments.push_back(std::move(result));
    } else {
      fail_here();
    }
  }

  variable_def read_variable() {
    variable_def result;
    result.at = now_.at;
    expect("$");
    result.name = name();
    expect(":");
    result.type = read_type();
    if (skip("="))
      result.fallback = read_literal(true);
    read_directives(true);
    return result;
  }

  std::vector<selection> read_selections() {
    std::vector<selection> result;
    if (++depth_ > depth_max_)
      fail("Syntax Error: The document is nested too deeply.");
    many("{", "}", [&] {
      result.push_back(read_selection());
    });
    --depth_;
    return result;
  }

  selection read_selection() {
    selection result;
    result.at = now_.at;
    if (skip("...")) {
      if (now_.kind == token_kind::name && !is_word("on")) {
        result.kind = selection_kind::spread;
        result.name = name();
        result.directives = read_directives(false);
        return result;
      }
      result.kind = selection_kind::inline_fragment;
      if (is_word("on")) {
        advance();
        result.condition = name();
      }
      result.directives = read_directives(false);
      result.children = read_selections();
      return result;
    }
    result.name = name();
    if (skip(":")) {
      result.alias = std::move(result.name);
      result.name = name();
    }
    result.arguments = read_arguments(false);
    result.directives = read_directives(false);
    if (is_mark("{"))
      result.children = read_selections();
    return result;
  }

  // -- type definitions -------------------------------------------------------

  type_def read_type_def() {
    type_def result;
    const auto keyword = name();
    result.name = name();
    if (keyword == "scalar") {
      result.kind = type_kind::scalar;
    } else if (keyword == "enum") {
      result.kind = type_kind::enumeration;
      many("{", "}", [&] {
        result.values.push_back(name());
      });
    } else if (keyword == "input") {
      result.kind = type_kind::input;
      many("{", "}", [&] {
        result.inputs.push_back(read_input_def());
      });
    } else if (keyword == "type" || keyword == "interface") {
      result.kind
        = keyword == "type" ? type_kind::object : type_kind::interface;
      if (is_word("implements")) {
        advance();
        do
          result.interfaces.push_back(name());
        while (skip("&"));
      }
      many("{", "}", [&] {
        result.fields.push_back(read_field_def());
      });
    } else {
      fail_here();
    }
    return result;
  }

  field_def read_field_def() {
    field_def result;
    result.name = name();
    if (is_mark("("))
      many("(", ")", [&] {
        result.arguments.push_back(read_input_def());
      });
    expect(":");
    result.type = read_type();
    read_directives(true);
    return result;
  }

  input_def read_input_def() {
    input_def result;
    result.name = name();
    expect(":");
    result.type = read_type();
    if (skip("=")) {
      result.has_default = true;
      result.fallback = to_json(read_literal(true));
    }
    read_directives(true);
    return result;
  }

  lexer lexer_;
  token now_;
  std::size_t depth_ = 0;
  std::size_t depth_max_;
  std::optional<problem> failed_;
};

} // namespace

const fragment* document::find(std::string_view name) const noexcept {
  for (const auto& x : fragments)
    if (x.name == name)
      return &x;
  return nullptr;
}

std::string_view root_type(operation_kind kind) noexcept {
  switch (kind) {
    case operation_kind::query:
      return "Query";
    case operation_kind::mutation:
      return "Mutation";
    case operation_kind::subscription:
      return "Subscription";
  }
  return "Query";
}

tl::expected<document, problem>
parse_document(std::string_view text, std::size_t depth_max) {
  return parser{text, depth_max}.read_document();
}

tl::expected<std::vector<type_def>, problem>
parse_types(std::string_view text) {
  return parser{text, 32}.read_types();
}

boost::json::value to_json(const literal& value) {
  switch (value.kind) {
    case value_kind::integer: {
      auto n = std::int64_t{0};
      const auto* end = value.text.data() + value.text.size();
      if (std::from_chars(value.text.data(), end, n).ec == std::errc{})
        return n;
      return std::strtod(value.text.c_str(), nullptr);
    }
    case value_kind::real:
      return std::strtod(value.text.c_str(), nullptr);
    case value_kind::boolean:
      return value.text == "true";
    case value_kind::text:
    case value_kind::enumerator:
      return boost::json::value(value.text);
    case value_kind::list: {
      boost::json::array result;
      for (const auto& x : value.items)
        result.push_back(to_json(x));
      return result;
    }
    case value_kind::object: {
      boost::json::object result;
      for (const auto& [key, x] : value.members)
        result[key] = to_json(x);
      return result;
    }
    case value_kind::null:
    case value_kind::variable:
      break;
  }
  return nullptr;
}

} // namespace slipway::sandbox::graphql
