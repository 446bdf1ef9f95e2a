#include "http/sandbox/page.hpp"

#include "http/crypto/text.hpp"

namespace slipway::sandbox {

namespace {

constexpr auto style = std::string_view{R"css(
:root { color-scheme: light dark; --ink: #1d2330; --dim: #687083;
  --paper: #f4f6fa; --card: #fff; --line: #e2e6ee; --accent: #1668dc;
  --good: #157f4f; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf1; --dim: #9aa3b5;
  --paper: #12151c; --card: #1b202a; --line: #2d3442; --accent: #4c93f0;
  --good: #4cc38a; --bad: #f2857d } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "PingFang SC", "Noto Sans CJK SC", sans-serif }
header { padding: .6rem 1rem; border-bottom: 1px solid var(--line);
  background: var(--card); color: var(--dim); font-size: .85rem }
header b { color: var(--ink) }
main { max-width: 60rem; margin: 0 auto; padding: 1rem }
.card { background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; padding: 1.25rem; margin: 0 0 1rem }
.narrow { max-width: 26rem; margin: 1.5rem auto; text-align: center }
h1 { font-size: 1.35rem; margin: .2rem 0 .8rem }
h2 { font-size: 1.05rem; margin: .2rem 0 .6rem }
small, .dim { color: var(--dim); font-weight: normal }
.amount { font-size: 2.4rem; font-weight: 650; margin: .4rem 0 }
.good { color: var(--good) } .bad { color: var(--bad) }
button, .button { display: inline-block; font: inherit; border-radius: 8px;
  padding: .55rem 1rem; border: 1px solid var(--line); background: var(--card);
  color: var(--ink); cursor: pointer; text-decoration: none }
button.main { background: var(--accent); border-color: var(--accent);
  color: #fff; width: 100%; padding: .8rem; font-size: 1.05rem }
.narrow form { margin: .7rem 0 0 } .narrow form button { width: 100% }
form.inline { display: inline }
input, select { font: inherit; padding: .35rem .5rem; border-radius: 6px;
  border: 1px solid var(--line); background: var(--paper); color: inherit;
  width: 9rem }
input[type=checkbox] { width: auto }
.fields { display: grid; gap: .6rem;
  grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)) }
.fields label { display: flex; justify-content: space-between; gap: .5rem;
  align-items: center }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem }
th { text-align: left; color: var(--dim); font-weight: 500 }
th, td { padding: .4rem .6rem .4rem 0; border-top: 1px solid var(--line);
  vertical-align: top }
tr:first-child th { border-top: 0 }
dl { display: grid; grid-template-columns: auto 1fr; gap: .2rem .9rem;
  margin: .8rem 0; text-align: left }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
code { font-size: .9em } a { color: var(--accent) }
button.small, .button.small { padding: .25rem .6rem; font-size: .85rem;
  margin: .1rem 0 }
input.short { width: 5.5rem; padding: .2rem .4rem; font-size: .85rem }
.buttons { margin: .4rem 0 } .line { margin: .3rem 0 }
.tag { border: 1px solid var(--line); border-radius: 99px; font-size: .8rem;
  padding: .05rem .6rem } .tag.good { border-color: var(--good) }
.tag.bad { border-color: var(--bad) }
details { margin: .5rem 0 0 } summary { cursor: pointer }
details table, details .fields { margin: .5rem 0 }
iframe { width: 100%; height: 26rem; border: 1px solid var(--line);
  border-radius: 8px; background: #fff }
)css"};

} // namespace

tl::expected<void, std::string> check_loopback(const listen_options& where) {
  if (where.host == "127.0.0.1" || where.host == "::1"
      || where.host == "localhost")
    return {};
  return tl::unexpected{
    "sandbox: expected a loopback address (127.0.0.1, ::1), "
    "found "
    + where.host};
}

http::server_options server_for(const listen_options& where) {
  http::server_options result;
  result.host = where.host;
  result.port = where.port;
  result.threads = 1;
  result.max_connections = 512;
  result.max_in_flight = 256;
  result.max_body_bytes = 1024 * 1024;
  return result;
}

http::response page(int status, std::string_view title, std::string_view body) {
  http::response result;
  result.status = status;
  result.content_type = "text/html; charset=utf-8";
  result.headers = {
    {"Content-Security-Policy",
     "default-src 'none'; style-src 'self'; frame-src 'self'; "
     "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
  };
  auto& text = result.body;
  text += "<!doctype html><html lang=\"zh-CN\"><head><meta charset=\"utf-8\">"
          "<meta name=\"viewport\" content=\"width=device-width, "
          "initial-scale=1\"><title>";
  text += escape(title);
  text += "</title><link rel=\"stylesheet\" href=\"/style.css\"></head><body>"
          "<header><b>Slipway sandbox</b> · 模拟环境，不涉及真实资金 · "
          "simulated, no real money</header><main>";
  text += body;
  text += "</main></body></html>";
  return result;
}

void add_style(http::router& routes) {
  routes.add(http::method::get, "/style.css", "style", [](auto x) {
    x->answer({200,
               "text/css; charset=utf-8",
               std::string{style},
               {{"Cache-Control", "max-age=300"}}});
  });
}

http::response see_other(std::string where) {
  return {303, "text/plain", "", {{"Location", std::move(where)}}};
}

http::response json(int status, std::string text) {
  return {status, "application/json", std::move(text), {}};
}

std::string to_utf8(std::string_view text) {
  if (crypto::is_utf8(text))
    return std::string{text};
  std::string result;
  while (!text.empty()) {
    auto n = std::size_t{1};
    while (n < 4 && n < text.size() && !crypto::is_utf8(text.substr(0, n)))
      ++n;
    if (crypto::is_utf8(text.substr(0, n))) {
      result += text.substr(0, n);
    } else {
      result += "\xEF\xBF\xBD";
      n = 1;
    }
    text.remove_prefix(n);
  }
  return result;
}

std::string escape(std::string_view text) {
  return crypto::html_escape(to_utf8(text));
}

} // namespace slipway::sandbox
