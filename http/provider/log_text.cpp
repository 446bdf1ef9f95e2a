#include "http/provider/log_text.hpp"

#include "http/crypto/encoding.hpp"
#include "http/crypto/form.hpp"
#include "http/crypto/text.hpp"
#include "http/provider/view.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <set>

namespace slipway::provider {

namespace {

namespace json = boost::json;

constexpr auto npos = std::string_view::npos;

/// JSON within JSON within JSON, and no further.
constexpr auto nesting_max = 4;

unsigned char byte_at(std::string_view text, std::size_t i) {
  return i < text.size() ? static_cast<unsigned char>(text[i]) : 0;
}

// -- escape sequences
// -------------------------------------------------------------

/// Finds the ends of escape sequences in one text.
class escapes {
public:
  explicit escapes(std::string_view text) : text_{text} {
  }

  /// @param i Behind ESC.
  /// @returns where the sequence is over.
  std::size_t after_escape(std::size_t i) {
    const auto c = byte_at(text_, i);
    switch (c) {
      case '[':
        return after_control(i + 1);
      case ']':
      case 'P':
      case 'X':
      case '^':
      case '_':
        return after_text(i + 1);
      default:
        break;
    }
    // ESC, any number of intermediate bytes, one final byte.
    auto end = i;
    while (byte_at(text_, end) >= 0x20 && byte_at(text_, end) <= 0x2f)
      ++end;
    const auto last = byte_at(text_, end);
    return last >= 0x30 && last <= 0x7e ? end + 1 : end;
  }

  /// @param i Behind CSI.
  std::size_t after_control(std::size_t i) const {
    while (byte_at(text_, i) >= 0x30 && byte_at(text_, i) <= 0x3f)
      ++i;
    while (byte_at(text_, i) >= 0x20 && byte_at(text_, i) <= 0x2f)
      ++i;
    const auto last = byte_at(text_, i);
    return last >= 0x40 && last <= 0x7e ? i + 1 : i;
  }

  /// @param i Behind OSC, DCS, SOS, PM or APC.
  /// @returns `i` when the text does not end within its line: a terminal would
  ///          swallow the rest, but a log is there to be read.
  std::size_t after_text(std::size_t i) {
    // Looked for once a line only, else a hostile one would cost its square.
    if (i < endless_before_)
      return i;
    for (auto at = i; at < text_.size(); ++at) {
      const auto c = byte_at(text_, at);
      if (c == 0x07)
        return at + 1;
      if (c == 0x1b && byte_at(text_, at + 1) == '\\')
        return at + 2;
      if (c == 0xc2 && byte_at(text_, at + 1) == 0x9c)
        return at + 2;
      // The line is over, or another sequence begins.
      if (c == '\n' || c == 0x1b) {
        endless_before_ = at;
        return i;
      }
    }
    endless_before_ = text_.size();
    return i;
  }

private:
  std::string_view text_;
  std::size_t endless_before_ = 0;
};

/// The text as it comes to be, line by line.
class screen {
public:
  explicit screen(std::size_t size) {
    out_.reserve(size);
  }

  void put(std::string_view bytes) {
    if (std::exchange(overwrites_, false))
      out_.resize(line_);
    out_ += bytes;
  }

  void carriage_return() {
    overwrites_ = true;
  }

  void backspace() {
    if (overwrites_)
      return; // The cursor stands at the beginning already.
    auto end = out_.size();
    while (end > line_
           && (static_cast<unsigned char>(out_[end - 1]) & 0xc0) == 0x80)
      --end;
    if (end > line_)
      --end;
    out_.resize(end);
  }

  void line_feed() {
    overwrites_ = false;
    out_ += '\n';
    line_ = out_.size();
  }

  std::string take() {
    return std::move(out_);
  }

private:
  std::string out_;
  std::size_t line_ = 0; ///< Where the present line begins.
  bool overwrites_ = false;
};

// -- forms of a secret
// ---------------------------------------------------------------

/// As programs write it that keep to ASCII: `\u00e9`.
std::string ascii_json_escape(std::string_view text) {
  auto out = std::string{};
  const auto unit = [&out](unsigned code) {
    char digits[8];
    std::snprintf(digits, sizeof(digits), "\\u%04x", code & 0xffff);
    out += digits;
  };
  const auto escaped = crypto::json_escape(text);
  for (std::size_t i = 0; i < escaped.size();) {
    const auto c = byte_at(escaped, i);
    if (c < 0x80) {
      out += static_cast<char>(c);
      ++i;
      continue;
    }
    const auto length = c >= 0xf0 ? 4U : c >= 0xe0 ? 3U : 2U;
    auto code = c & (0x7fU >> length);
    for (auto k = 1U; k < length; ++k)
      code = code << 6U | (byte_at(escaped, i + k) & 0x3fU);
    if (code >= 0x10000) {
      unit(0xd800 + ((code - 0x10000) >> 10U));
      unit(0xdc00 + ((code - 0x10000) & 0x3ffU));
    } else {
      unit(code);
    }
    i += length;
  }
  return out;
}

std::string
replaced(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos;
       at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
  return text;
}

std::string lower_escapes(std::string text) {
  for (std::size_t i = 0; i + 2 < text.size(); ++i)
    if (text[i] == '%') {
      text[i + 1] = static_cast<char>(std::tolower(text[i + 1]));
      text[i + 2] = static_cast<char>(std::tolower(text[i + 2]));
    }
  return text;
}

/// What JavaScript's encodeURIComponent leaves as it is.
std::string as_component(std::string text) {
  for (const auto& [from, to] :
       {std::pair{"%21", "!"}, std::pair{"%27", "'"}, std::pair{"%28", "("},
        std::pair{"%29", ")"}, std::pair{"%2A", "*"}})
    text = replaced(std::move(text), from, to);
  return text;
}

std::string url_alphabet(std::string text) {
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  return text;
}

/// The characters of base64 that only depend on the secret, when `offset` bytes
/// of something else go before it in its group of three.
std::string inner_base64(std::string_view secret, std::size_t offset) {
  const auto bytes = std::string(offset, '\0') + std::string{secret};
  const auto whole = bytes.size() * 8 / 6;
  const auto first = (offset * 8 + 5) / 6;
  return crypto::base64_encode(bytes).substr(first, whole - first);
}

std::string trimmed(const std::string& text) {
  const auto begin = text.find_first_not_of(" \n");
  if (begin == std::string::npos)
    return {};
  return text.substr(begin, text.find_last_not_of(" \n") - begin + 1);
}

std::string without_padding(std::string text) {
  while (!text.empty() && text.back() == '=')
    text.pop_back();
  return text;
}

/// All the ways in which a secret is written.
void spell(const std::string& secret, std::set<std::string>& into) {
  into.insert(secret);
  const auto escaped = crypto::json_escape(secret);
  into.insert(escaped);
  into.insert(replaced(escaped, "/", "\\/"));
  const auto ascii = ascii_json_escape(secret);
  into.insert(ascii);
  // JSON that was logged as a text within JSON.
  into.insert(crypto::json_escape(escaped));
  into.insert(crypto::json_escape(ascii));
  const auto percent = crypto::percent_encode(secret);
  const auto component = as_component(percent);
  const auto form = crypto::encode_form({{"", secret}}).substr(1);
  for (const auto* x : {&percent, &component, &form}) {
    into.insert(*x);
    into.insert(lower_escapes(*x));
  }
  const auto whole = without_padding(crypto::base64_encode(secret));
  into.insert(whole);
  into.insert(url_alphabet(whole));
  for (auto offset = std::size_t{0}; offset < 3; ++offset) {
    const auto inner = inner_base64(secret, offset);
    into.insert(inner);
    into.insert(url_alphabet(inner));
  }
}

void collect_texts(const json::value& from, int depth,
                   std::vector<std::string>& into) {
  if (from.is_object()) {
    for (const auto& x : from.get_object())
      collect_texts(x.value(), depth, into);
  } else if (from.is_array()) {
    for (const auto& x : from.get_array())
      collect_texts(x, depth, into);
  } else if (from.is_string()) {
    const auto text
      = std::string_view{from.get_string().data(), from.get_string().size()};
    into.emplace_back(text);
    const auto begin = text.find_first_not_of(" \t\r\n");
    if (depth >= nesting_max || begin == npos
        || (text[begin] != '{' && text[begin] != '['))
      return;
    auto error = boost::system::error_code{};
    const auto inner = json::parse(json::string_view{text.data(), text.size()},
                                   error, {}, deep_enough());
    if (!error)
      collect_texts(inner, depth + 1, into);
  }
}

std::uint32_t head_of(const char* bytes) {
  auto out = std::uint32_t{0};
  std::memcpy(&out, bytes, sizeof(out));
  return out;
}

std::size_t pair_of(std::string_view text, std::size_t i) {
  return static_cast<std::size_t>(byte_at(text, i)) << 8U
         | byte_at(text, i + 1);
}

} // namespace

// -- time
// -------------------------------------------------------------------------

std::optional<nanos> parse_nanos(std::string_view text) {
  const auto whole = parse_rfc3339(text);
  // Beyond, nanoseconds do not fit into 64 bits.
  constexpr auto last = timestamp{millis{9'200'000'000'000}};
  if (!whole || *whole < timestamp{} || *whole > last)
    return std::nullopt;
  auto out = to_nanos(*whole);
  const auto point = text.find('.');
  if (point == npos)
    return out;
  auto unit = nanos_per_ms / 10;
  for (auto i = point + 4; i < text.size() && unit > 0; ++i, unit /= 10) {
    if (std::isdigit(byte_at(text, i)) == 0)
      break;
    out += (text[i] - '0') * unit;
  }
  return out;
}

std::string nanos_to_text(nanos at) {
  const auto rest = at % nanos_per_ms;
  auto out = to_rfc3339(timestamp{millis{at / nanos_per_ms}});
  if (rest == 0)
    return out;
  char digits[16];
  if (rest % 1'000 == 0)
    std::snprintf(digits, sizeof(digits), "%03dZ",
                  static_cast<int>(rest / 1'000));
  else
    std::snprintf(digits, sizeof(digits), "%06dZ", static_cast<int>(rest));
  out.pop_back();
  return out + digits;
}

// -- cleaning
// ---------------------------------------------------------------------

std::string clean_log_text(std::string_view raw) {
  const auto text = crypto::to_valid_utf8(raw);
  auto out = screen{text.size()};
  auto skip = escapes{text};
  for (std::size_t i = 0; i < text.size();) {
    const auto c = byte_at(text, i);
    if (c >= 0x20 && c < 0x7f) {
      auto end = i + 1;
      while (byte_at(text, end) >= 0x20 && byte_at(text, end) < 0x7f)
        ++end;
      out.put(std::string_view{text}.substr(i, end - i));
      i = end;
      continue;
    }
    if (c < 0x80) {
      ++i;
      switch (c) {
        case 0x1b:
          i = skip.after_escape(i);
          break;
        case '\r':
          if (byte_at(text, i) != '\n')
            out.carriage_return();
          break;
        case '\n':
        case '\v':
        case '\f':
          out.line_feed();
          break;
        case '\b':
          out.backspace();
          break;
        case '\t':
          out.put("    ");
          break;
        default:
          break; // Rings, shifts, NUL and DEL.
      }
      continue;
    }
    const auto length = c >= 0xf0 ? 4U : c >= 0xe0 ? 3U : 2U;
    const auto point = std::string_view{text}.substr(i, length);
    i += length;
    if (c == 0xc2 && byte_at(point, 1) < 0xa0) {
      switch (byte_at(point, 1)) {
        case 0x9b:
          i = skip.after_control(i);
          break;
        case 0x90:
        case 0x98:
        case 0x9d:
        case 0x9e:
        case 0x9f:
          i = skip.after_text(i);
          break;
        case 0x85:
          out.line_feed();
          break;
        default:
          break;
      }
      continue;
    }
    if (point == "\u2028" || point == "\u2029") {
      out.line_feed();
      continue;
    }
    // Embeddings, overrides and isolates show text in another order than it
    // has, and a byte order mark splits words without being seen.
    const auto turns = (point >= "\u202a" && point <= "\u202e")
                       || (point >= "\u2066" && point <= "\u2069")
                       || point == "\ufeff";
    if (!turns)
      out.put(point);
  }
  return out.take();
}

std::vector<std::string> split_log_text(std::string_view text) {
  constexpr auto mark = std::string_view{"…"};
  auto out = std::vector<std::string>{};
  while (true) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    while (!line.empty() && line.back() == ' ')
      line.remove_suffix(1);
    if (line.size() > log_line_bytes_max) {
      auto size = log_line_bytes_max - mark.size();
      while ((byte_at(line, size) & 0xc0) == 0x80)
        --size;
      out.emplace_back(line.substr(0, size)).append(mark);
    } else {
      out.emplace_back(line);
    }
    if (end == npos)
      break;
    text.remove_prefix(end + 1);
    if (out.size() == log_message_lines_max) {
      if (text.find_first_not_of(" \n") != npos)
        out.back() = mark;
      break;
    }
  }
  while (out.size() > 1 && out.back().empty())
    out.pop_back();
  return out;
}

std::string_view log_level(std::string_view severity) noexcept {
  struct known {
    std::string_view name;
    std::string_view level;
  };
  constexpr auto names = std::array<known, 14>{{
    {"trace", "debug"},
    {"debug", "debug"},
    {"verbose", "debug"},
    {"warn", "warn"},
    {"warning", "warn"},
    {"err", "error"},
    {"error", "error"},
    {"severe", "error"},
    {"fatal", "error"},
    {"panic", "error"},
    {"crit", "error"},
    {"critical", "error"},
    {"alert", "error"},
    {"emergency", "error"},
  }};
  for (const auto& x : names)
    if (std::equal(x.name.begin(), x.name.end(), severity.begin(),
                   severity.end(), [](char a, unsigned char b) {
                     return a == std::tolower(b);
                   }))
      return x.level;
  return "info";
}

// -- secrets
// ------------------------------------------------------------------------

void collect_secrets(std::string_view credential,
                     std::vector<std::string>& into) {
  into.emplace_back(credential);
  auto error = boost::system::error_code{};
  const auto value
    = json::parse(json::string_view{credential.data(), credential.size()},
                  error, {}, deep_enough());
  if (error)
    return;
  if (value.is_object() || value.is_array())
    into.push_back(json::serialize(value));
  collect_texts(value, 0, into);
}

redactor::redactor(const std::vector<std::string>& secrets) {
  auto all = std::set<std::string>{};
  const auto take = [&all](const std::string& secret, std::size_t bytes_min) {
    if (secret.size() >= bytes_min)
      spell(secret, all);
  };
  for (const auto& secret : secrets) {
    take(secret, secret_bytes_min);
    // The text that is searched has been cleaned.
    const auto seen = clean_log_text(secret);
    take(seen, secret_bytes_min);
    take(trimmed(seen), secret_bytes_min);
    if (seen.find('\n') == std::string::npos)
      continue;
    // Programs print a key of many lines as many lines.
    for (std::size_t from = 0; from < seen.size();) {
      const auto end = std::min(seen.find('\n', from), seen.size());
      take(seen.substr(from, end - from), part_bytes_min);
      from = end + 1;
    }
  }
  patterns_.reserve(all.size());
  for (const auto& x : all)
    if (x.size() >= secret_bytes_min)
      patterns_.push_back(x);
  std::stable_sort(patterns_.begin(), patterns_.end(),
                   [](const std::string& a, const std::string& b) {
                     return a.size() > b.size();
                   });
  for (std::size_t i = 0; i < patterns_.size(); ++i) {
    by_head_[head_of(patterns_[i].data())].push_back(
      static_cast<std::uint32_t>(i));
    heads_.set(pair_of(patterns_[i], 0));
  }
}

std::size_t redactor::match_at(std::string_view text, std::size_t where) const {
  if (!heads_.test(pair_of(text, where)))
    return 0;
  const auto found = by_head_.find(head_of(text.data() + where));
  if (found == by_head_.end())
    return 0;
  for (const auto i : found->second)
    if (text.substr(where, patterns_[i].size()) == patterns_[i])
      return patterns_[i].size();
  return 0;
}

std::string redactor::apply(std::string_view text) const {
  auto out = std::string{};
  out.reserve(text.size());
  auto copied = std::size_t{0};
  auto hidden = std::size_t{0}; // The end of the secret that is being skipped.
  const auto show = [&](std::size_t until) {
    if (until > copied)
      out += text.substr(copied, until - copied);
  };
  for (std::size_t i = 0; i + secret_bytes_min <= text.size(); ++i) {
    const auto size = match_at(text, i);
    if (size == 0)
      continue;
    if (i > hidden || hidden == 0) {
      show(i);
      out += "***";
    }
    // Of overlapping ones, the union: not a byte of any of them is left.
    hidden = std::max(hidden, i + size);
    copied = hidden;
  }
  show(text.size());
  return out;
}

std::vector<std::string>
make_log_lines(std::string_view raw, const redactor& secrets) {
  return split_log_text(secrets.apply(clean_log_text(raw)));
}

} // namespace slipway::provider
