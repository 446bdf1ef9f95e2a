#include "http/telemetry/otlp.hpp"

#include "actors/observe/text.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <charconv>

namespace slipway::telemetry {

namespace {

namespace json = boost::json;

/// A name is cut off there, as everybody who reads spans does sooner or later.
constexpr auto text_bytes_max = std::size_t{1024};

constexpr auto status_error = 2;

class writer {
public:
  explicit writer(std::string& to) : to_{to} {
  }

  /// One more value in the list or object at hand.
  void next() {
    if (!std::exchange(first_, false))
      to_ += ',';
  }

  void open(char bracket) {
    to_ += bracket;
    first_ = true;
  }

  void close(char bracket) {
    to_ += bracket;
    first_ = false;
  }

  void key(std::string_view name) {
    next();
    to_ += '"';
    to_ += name;
    to_ += "\":";
  }

  void text(std::string_view content) {
    to_ += '"';
    observe::append_escaped(to_, content.substr(0, text_bytes_max));
    to_ += '"';
  }

  void member(std::string_view name, std::string_view content) {
    key(name);
    text(content);
  }

  void number(std::string_view name, int value) {
    key(name);
    to_ += std::to_string(value);
  }

  /// 64 bits go as text: a number of JavaScript does not hold them.
  void wide(std::string_view name, std::uint64_t value) {
    member(name, std::to_string(value));
  }

private:
  std::string& to_;
  bool first_ = true;
};

void write_attribute(writer& to, std::string_view name,
                     const std::variant<std::string, std::int64_t>& value) {
  to.next();
  to.open('{');
  to.member("key", name);
  to.key("value");
  to.open('{');
  if (const auto* text = std::get_if<std::string>(&value))
    to.member("stringValue", *text);
  else
    to.member("intValue", std::to_string(std::get<std::int64_t>(value)));
  to.close('}');
  to.close('}');
}

void write_span(writer& to, const trace::span_data& x) {
  to.next();
  to.open('{');
  to.member("traceId", trace::to_text(x.where.trace));
  to.member("spanId", trace::span_to_text(x.where.span));
  if (x.parent != 0)
    to.member("parentSpanId", trace::span_to_text(x.parent));
  if (!x.where.state.empty())
    to.member("traceState", x.where.state);
  to.number("flags", x.where.sampled ? 1 : 0);
  to.member("name", x.name);
  to.number("kind", static_cast<int>(x.is));
  to.wide("startTimeUnixNano", x.began);
  to.wide("endTimeUnixNano", x.ended);
  if (!x.attributes.empty()) {
    to.key("attributes");
    to.open('[');
    for (const auto& a : x.attributes)
      write_attribute(to, a.key, a.value);
    to.close(']');
  }
  if (!x.links.empty()) {
    to.key("links");
    to.open('[');
    for (const auto& l : x.links) {
      to.next();
      to.open('{');
      to.member("traceId", trace::to_text(l.trace));
      to.member("spanId", trace::span_to_text(l.span));
      to.close('}');
    }
    to.close(']');
  }
  to.key("status");
  to.open('{');
  if (!x.failure.empty()) {
    to.number("code", status_error);
    to.member("message", x.failure);
  }
  to.close('}');
  to.close('}');
}

} // namespace

std::string
to_otlp_json(const resource& of, const std::vector<trace::span_data>& spans) {
  auto out = std::string{};
  out.reserve(512 + spans.size() * 512);
  auto to = writer{out};
  to.open('{');
  to.key("resourceSpans");
  to.open('[');
  to.next();
  to.open('{');
  to.key("resource");
  to.open('{');
  to.key("attributes");
  to.open('[');
  write_attribute(to, "service.name", of.service_name);
  if (!of.service_version.empty())
    write_attribute(to, "service.version", of.service_version);
  if (!of.instance_id.empty())
    write_attribute(to, "service.instance.id", of.instance_id);
  to.close(']');
  to.close('}');
  to.key("scopeSpans");
  to.open('[');
  to.next();
  to.open('{');
  to.key("scope");
  to.open('{');
  to.member("name", "slipway");
  to.close('}');
  to.key("spans");
  to.open('[');
  for (const auto& x : spans)
    write_span(to, x);
  to.close(']');
  to.close('}');
  to.close(']');
  to.close('}');
  to.close(']');
  to.close('}');
  return out;
}

std::optional<std::uint64_t> read_rejected(std::string_view answer) {
  auto ec = boost::system::error_code{};
  const auto parsed = json::parse(answer, ec);
  if (ec || !parsed.is_object())
    return std::nullopt;
  const auto* partial = parsed.as_object().if_contains("partialSuccess");
  if (partial == nullptr || !partial->is_object())
    return std::nullopt;
  const auto* count = partial->as_object().if_contains("rejectedSpans");
  if (count == nullptr)
    return std::nullopt;
  if (const auto* text = count->if_string()) {
    auto value = std::uint64_t{0};
    const auto* end = text->data() + text->size();
    if (const auto [stop, why] = std::from_chars(text->data(), end, value);
        why != std::errc{} || stop != end)
      return std::nullopt;
    return value;
  }
  if (const auto* whole = count->if_int64(); whole != nullptr && *whole >= 0)
    return static_cast<std::uint64_t>(*whole);
  if (const auto* whole = count->if_uint64())
    return *whole;
  return std::nullopt;
}

} // namespace slipway::telemetry
