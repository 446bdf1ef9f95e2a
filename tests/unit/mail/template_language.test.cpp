#define CAF_SUITE mail.template_language

#include "http/mail/template_language.hpp"

#include <caf/test/unit_test.hpp>

#include <string>

using namespace slipway::mail;

namespace {

known_names names() {
  auto out = known_names{};
  out.plain = {"name", "other"};
  out.markup = {"content"};
  out.addresses = {"link"};
  out.codes = {"id"};
  return out;
}

const auto given = values{
  {"name", "<b> & \"x\" {{other}}"},
  {"link", "https://a.example/?a=1&b=2"},
  {"id", "0123"},
  {"content", "<p>is HTML</p>"},
};

std::string as(output kind, std::string_view source, const values& with) {
  const auto made = compiled_template::parse(source, kind, names());
  if (!made)
    CAF_FAIL(made.error().line << ": " << made.error().what);
  return made->render(with);
}

std::string text(std::string_view source, const values& with = given) {
  return as(output::text, source, with);
}

std::string html(std::string_view source, const values& with = given) {
  return as(output::html, source, with);
}

/// The line and the words of a refusal.
std::string refusal(output kind, std::string_view source) {
  const auto made = compiled_template::parse(source, kind, names());
  return made ? ""
              : std::to_string(made.error().line) + ": " + made.error().what;
}

bool says(const std::string& what, std::string_view part) {
  if (what.find(part) != what.npos)
    return true;
  CAF_MESSAGE("said instead: " << what);
  return false;
}

} // namespace

CAF_TEST(values are escaped for where they go and never read again) {
  CAF_CHECK_EQUAL(text("a {{name}} {{ id }}\n"),
                  "a <b> & \"x\" {{other}} 0123\n");
  CAF_CHECK_EQUAL(html("<p title=\"{{name}}\">{{name}}</p>"),
                  "<p title=\"&lt;b&gt; &amp; &quot;x&quot; {{other}}\">"
                  "&lt;b&gt; &amp; &quot;x&quot; {{other}}</p>");
  CAF_CHECK_EQUAL(html("<div>{{{content}}}</div>"),
                  "<div><p>is HTML</p></div>");
  CAF_CHECK_EQUAL(text("{{content}}"), "<p>is HTML</p>");
  CAF_CHECK_EQUAL(text("none: {{other}}."), "none: .");
  CAF_CHECK_EQUAL(text(""), "");
}

CAF_TEST(sections stay where there is something) {
  constexpr auto source = "{{#name}}yes{{/name}}{{^name}}no{{/name}}";
  CAF_CHECK_EQUAL(text(source), "yes");
  CAF_CHECK_EQUAL(text(source, {}), "no");
  CAF_CHECK_EQUAL(text("{{#name}}{{#id}}both{{/id}}{{^id}}one{{/id}}{{/name}}"),
                  "both");
  CAF_CHECK_EQUAL(text("{{! a word\nto the reader }}x"), "x");
}

CAF_TEST(a line with nothing but a section leaves with it) {
  constexpr auto source = "first\n"
                          "{{#name}}\n"
                          "second\n"
                          "  {{/name}}  \n"
                          "{{! not\nfor mails }}\n"
                          "third\n";
  CAF_CHECK_EQUAL(text(source), "first\nsecond\nthird\n");
  CAF_CHECK_EQUAL(text(source, {}), "first\nthird\n");
  // With anything else on it, it stays.
  CAF_CHECK_EQUAL(text("a\n{{#name}} b\n{{/name}}\nc"), "a\n b\nc");
  CAF_CHECK_EQUAL(text("a {{#name}}\nb{{/name}}"), "a \nb");
  CAF_CHECK_EQUAL(text("a\n{{#name}}{{/name}}\nb"), "a\n\nb");
  CAF_CHECK_EQUAL(text("{{#name}}\nx{{/name}}"), "x");
  // Values alone on a line are no sections.
  CAF_CHECK_EQUAL(text("{{id}}\nx"), "0123\nx");
}

CAF_TEST(mistakes are told with their line and what was expected) {
  const auto no = [](std::string_view source) {
    return refusal(output::text, source);
  };
  CAF_CHECK_EQUAL(
    no("\n\n{{nmae}}"),
    "3: unknown name \"nmae\"; expected one of content, id, link, "
    "name, other");
  CAF_CHECK(says(no("a\n{{#nmae}}x{{/nmae}}"), "2: unknown name \"nmae\""));
  CAF_CHECK(says(no("{{}}"), "1: a tag without a name"));
  CAF_CHECK(says(no("{{# }}"), "1: a tag without a name"));
  CAF_CHECK(
    says(no("a\nb {{name"), "2: a tag begins with {{ and does not end"));
  CAF_CHECK(says(no("{{name\n}}"), "goes over the end of its line"));
  CAF_CHECK(says(no("{{#name}}\n\nx"), "1: the section of name does not end; "
                                       "expected {{/name}}"));
  CAF_CHECK(says(no("x\n{{/name}}"), "2: {{/name}} ends what has not begun"));
  CAF_CHECK(says(no("{{#name}}\n{{#id}}\n{{/name}}"),
                 "3: {{/name}} ends the section of line 2; expected {{/id}}"));
  CAF_CHECK(says(no("{{{name}}}"), "would not be escaped; expected {{name}}"));
  CAF_CHECK(says(no("{{{content}}}"), "would not be escaped"));
  for (const auto* other : {"{{> name}}", "{{=<% %>=}}", "{{& name}}"})
    CAF_CHECK(says(no(other), "is not part of the language"));
  // Lines are counted over what leaves, too.
  CAF_CHECK(says(no("{{#name}}\n{{! a\nb }}\n{{/name}}\n{{x}}"), "5: unknown"));
  auto deep = std::string{};
  for (auto i = 0; i < 9; ++i)
    deep += "{{#name}}";
  CAF_CHECK(says(no(deep), "nested too deep"));
  auto many = std::string{};
  for (auto i = 0; i < 5'000; ++i)
    many += "{{name}}";
  CAF_CHECK(says(no(many), "too many tags"));
}

CAF_TEST(in HTML a value only stands where escaping makes it harmless) {
  const auto no = [](std::string_view source) {
    return refusal(output::html, source);
  };
  for (const auto* bad :
       {"<{{name}}>", "</{{name}}>", "<a {{name}}>", "<a {{name}}=\"x\">",
        "<a title={{name}}>", "<a title= {{name}} >", "<!-- {{name}} -->",
        "<!{{name}}>", "<script>{{name}}</script>",
        "<SCRIPT>\"{{name}}\"</SCRIPT>", "<style>{{name}}</style>",
        "<script>{{#name}}x{{/name}}</script>"})
    CAF_CHECK(!no(bad).empty());
  CAF_CHECK(says(no("<a style=\"{{name}}\">"), "in the attribute \"style\""));
  CAF_CHECK(says(no("<a ONCLICK='{{name}}'>"), "in the attribute \"onclick\""));
  CAF_CHECK(says(no("<a href=\"{{name}}\">"),
                 "need not be a web address; expected {{link}} at the start of "
                 "href"));
  CAF_CHECK(says(no("<img SRC = '  {{name}}'>"), "at the start of src"));
  CAF_CHECK(says(no("<a href=\"https://x/{{name}}\">"),
                 "cannot be part of an address; expected {{id}}"));
  // A start that need not be there is none.
  CAF_CHECK(
    !no("<a href=\"{{#name}}https://x/{{/name}}{{id}}\">x</a>").empty());
  CAF_CHECK(says(no("{{content}}"), "is HTML already; expected {{{content}}}"));
  CAF_CHECK(says(no("<p title=\"{{{content}}}\">"), "expected it in text"));
  CAF_CHECK(says(no("{{#name}}<a title=\"{{/name}}x\">"),
                 "begins and ends in different parts of a tag"));
  CAF_CHECK(says(no("<p"), "the HTML ends within a tag"));
  CAF_CHECK(says(no("<script>"), "the HTML ends within a tag"));
}

CAF_TEST(in HTML the usual places are fine) {
  CAF_CHECK_EQUAL(html("<a href=\"{{link}}\">{{link}}</a>"),
                  "<a href=\"https://a.example/?a=1&amp;b=2\">"
                  "https://a.example/?a=1&amp;b=2</a>");
  CAF_CHECK_EQUAL(html("<a href='https://x.example/{{id}}?i={{id}}'>y</a>"),
                  "<a href='https://x.example/0123?i=0123'>y</a>");
  CAF_CHECK_EQUAL(html("<!DOCTYPE html>\n<!-- a > b --><html>{{id}}"),
                  "<!DOCTYPE html>\n<!-- a > b --><html>0123");
  CAF_CHECK_EQUAL(html("<br/>{{id}}<img alt=''/>{{id}}"),
                  "<br/>0123<img alt=''/>0123");
  CAF_CHECK_EQUAL(html("<style>a > b { c: d }</style>{{id}}"),
                  "<style>a > b { c: d }</style>0123");
  CAF_CHECK_EQUAL(html("<p style=\"color:{{#name}}red{{/name}}\">{{id}}</p>"),
                  "<p style=\"color:red\">0123</p>");
  CAF_CHECK_EQUAL(html("1 < 2 {{id}}"), "1 < 2 0123");
  CAF_CHECK_EQUAL(html("<input disabled value=x>{{id}}"),
                  "<input disabled value=x>0123");
}
