#include "http/mail/bounce.hpp"

#include "actors/lifecycle/ids.hpp"
#include "http/crypto/text.hpp"
#include "http/mail/mailer.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace slipway::mail {

namespace {

constexpr auto levels_max = 4;

constexpr auto parts_max = std::size_t{16};

constexpr auto recipients_max = std::size_t{20};

constexpr auto fields_max = std::size_t{200};

constexpr auto value_max = std::size_t{1'000};

constexpr auto reason_max = std::size_t{300};

auto failed(std::string sentence) {
  return tl::make_unexpected(std::move(sentence));
}

std::string lower(std::string_view text) {
  auto out = std::string{text};
  for (auto& c : out)
    if (c >= 'A' && c <= 'Z')
      c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trimmed(std::string_view text) noexcept {
  constexpr auto blank = std::string_view{" \t\r\n"};
  const auto from = text.find_first_not_of(blank);
  if (from == text.npos)
    return {};
  return text.substr(from, text.find_last_not_of(blank) - from + 1);
}

/// One line of valid UTF-8, not too long.
std::string one_line(std::string_view text, std::size_t size_max) {
  auto out = crypto::to_valid_utf8(text.substr(0, size_max));
  for (auto& c : out)
    if (crypto::has_control({&c, 1}))
      c = ' ';
  return out;
}

/// Names in small letters, values unfolded and cut.
using fields = std::vector<std::pair<std::string, std::string>>;

/// Cuts one block of fields off, up to a blank line.
fields take_fields(std::string_view& text) {
  auto out = fields{};
  while (!text.empty()) {
    const auto end = text.find('\n');
    auto line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r'))
      line.remove_suffix(1);
    if (trimmed(line).empty())
      break;
    if (line.front() == ' ' || line.front() == '\t') {
      if (!out.empty() && out.back().second.size() < value_max)
        out.back().second += ' ' + std::string{trimmed(line)};
      continue;
    }
    const auto colon = line.find(':');
    if (colon == line.npos || out.size() == fields_max)
      continue;
    out.emplace_back(lower(trimmed(line.substr(0, colon))),
                     trimmed(line.substr(colon + 1)).substr(0, value_max));
  }
  return out;
}

std::string_view value_of(const fields& from, std::string_view name) noexcept {
  for (const auto& [key, value] : from)
    if (key == name)
      return value;
  return {};
}

std::string essence_of(std::string_view type) {
  return lower(trimmed(type.substr(0, type.find(';'))));
}

/// `boundary` of `multipart/report; boundary="x y"`.
std::string boundary_of(std::string_view type) {
  auto rest = type;
  for (;;) {
    const auto semicolon = rest.find(';');
    if (semicolon == rest.npos)
      return {};
    rest = trimmed(rest.substr(semicolon + 1));
    const auto equals = rest.find('=');
    if (equals == rest.npos)
      return {};
    const auto is_it = lower(trimmed(rest.substr(0, equals))) == "boundary";
    rest = trimmed(rest.substr(equals + 1));
    auto value = std::string_view{};
    if (rest.starts_with('"')) {
      const auto close = rest.find('"', 1);
      if (close == rest.npos)
        return {};
      value = rest.substr(1, close - 1);
      rest = rest.substr(close + 1);
    } else {
      value = trimmed(rest.substr(0, rest.find(';')));
    }
    if (is_it)
      return std::string{value};
  }
}

/// The parts between the lines that start with the boundary.
std::vector<std::string_view>
split(std::string_view body, const std::string& boundary) {
  auto out = std::vector<std::string_view>{};
  const auto mark = "--" + boundary;
  auto from = body.npos;
  for (std::size_t at = 0; at < body.size();) {
    const auto end = std::min(body.find('\n', at), body.size());
    if (body.compare(at, mark.size(), mark) == 0) {
      if (from != body.npos)
        out.push_back(body.substr(from, at - from));
      if (body.compare(at + mark.size(), 2, "--") == 0
          || out.size() == parts_max)
        return out;
      from = end + 1;
    }
    at = end + 1;
  }
  if (from < body.size())
    out.push_back(body.substr(from));
  return out;
}

/// `user@example.com` of `rfc822; <user@example.com>`; empty where it is none.
std::string address_of(std::string_view value) {
  const auto semicolon = value.find(';');
  auto text
    = trimmed(semicolon == value.npos ? value : value.substr(semicolon + 1));
  if (text.starts_with('<') && text.ends_with('>'))
    text = text.substr(1, text.size() - 2);
  auto address = bare_address(text);
  return address ? std::move(*address) : std::string{};
}

/// The inside of angle brackets, where there are any.
std::string message_id_of(std::string_view value) {
  auto text = trimmed(value);
  const auto open = text.find('<');
  if (open != text.npos) {
    text = text.substr(open + 1);
    text = text.substr(0, text.find('>'));
  }
  return one_line(text, 250);
}

struct found {
  std::vector<returned_mail> recipients;
  std::string message_id;
  bool has_status = false;
};

/// The fields of the whole message, and then a block for each recipient.
void read_status(std::string_view body, found& to) {
  to.has_status = true;
  // Some begin with blank lines.
  while (body.starts_with('\r') || body.starts_with('\n'))
    body.remove_prefix(1);
  while (!body.empty() && to.recipients.size() < recipients_max) {
    const auto block = take_fields(body);
    for (const auto* name : {"original-message-id", "x-original-message-id"})
      if (const auto id = value_of(block, name);
          !id.empty() && to.message_id.empty())
        to.message_id = message_id_of(id);
    const auto action = lower(value_of(block, "action"));
    if (action.empty())
      continue;
    auto one = returned_mail{};
    // To whom we wrote, rather than where it was passed on to.
    one.recipient = address_of(value_of(block, "original-recipient"));
    if (one.recipient.empty())
      one.recipient = address_of(value_of(block, "final-recipient"));
    one.action = one_line(action.substr(0, action.find_first_of(" \t(")), 20);
    one.failed = one.action == "failed";
    const auto status = trimmed(value_of(block, "status"));
    one.permanent = one.failed && status.starts_with("5.");
    const auto why = trimmed(value_of(block, "diagnostic-code"));
    auto reason = std::string{status};
    if (!why.empty())
      reason += (reason.empty() ? "" : ": ") + std::string{why};
    one.reason = one_line(reason, reason_max);
    to.recipients.push_back(std::move(one));
  }
}

void read_part(std::string_view type, std::string_view body, int level,
               found& to) {
  const auto essence = essence_of(type);
  if (essence == "message/delivery-status"
      || essence == "message/global-delivery-status") {
    read_status(body, to);
  } else if (essence.starts_with("multipart/")) {
    const auto boundary = boundary_of(type);
    if (boundary.empty() || level == levels_max)
      return;
    for (auto part : split(body, boundary)) {
      const auto headers = take_fields(part);
      const auto inner = value_of(headers, "content-type");
      // The mail that came back, or its head.
      const auto kind = essence_of(inner);
      if (level > 0
          && (kind == "message/rfc822" || kind == "message/global"
              || kind == "text/rfc822-headers"
              || kind == "message/global-headers")) {
        const auto original = take_fields(part);
        if (const auto id = value_of(original, "message-id");
            !id.empty() && to.message_id.empty())
          to.message_id = message_id_of(id);
        continue;
      }
      read_part(inner, part, level + 1, to);
    }
  } else if (essence == "message/rfc822" && level < levels_max) {
    const auto headers = take_fields(body);
    read_part(value_of(headers, "content-type"), body, level + 1, to);
  }
}

} // namespace

bool is_report_type(std::string_view content_type) {
  const auto essence = essence_of(content_type);
  return essence == "message/delivery-status"
         || essence == "message/global-delivery-status"
         || essence == "message/rfc822" || essence == "multipart/report";
}

tl::expected<std::vector<returned_mail>, std::string>
read_delivery_status(std::string_view content_type, std::string_view body) {
  if (!is_report_type(content_type))
    return failed("expected a body of type message/delivery-status, "
                  "multipart/report or message/rfc822");
  if (essence_of(content_type) == "multipart/report"
      && boundary_of(content_type).empty())
    return failed("expected a boundary in the type multipart/report");
  auto all = found{};
  // A report that comes without its mail's head is in the same place.
  const auto level = essence_of(content_type) == "multipart/report" ? 1 : 0;
  read_part(content_type, body, level, all);
  if (!all.has_status)
    return failed("there is no delivery status in it; expected a part of type "
                  "message/delivery-status (RFC 3464)");
  if (all.recipients.empty())
    return failed("the delivery status names no recipient; expected a block of "
                  "fields with Final-Recipient, Action and Status (RFC 3464)");
  for (auto& x : all.recipients)
    x.message_id = all.message_id;
  return std::move(all.recipients);
}

std::optional<query::mail_ref> parse_message_id(std::string_view text) {
  text = trimmed(text);
  if (text.starts_with('<') && text.ends_with('>'))
    text = text.substr(1, text.size() - 2);
  const auto local = text.substr(0, text.find('@'));
  const auto first = local.find('.');
  const auto second = local.find('.', first == local.npos ? first : first + 1);
  if (second == local.npos || local.size() == text.size())
    return std::nullopt;
  const auto number
    = [](std::string_view digits) -> std::optional<std::uint64_t> {
    auto out = std::uint64_t{0};
    const auto* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, out);
    if (error != std::errc{} || stop != end)
      return std::nullopt;
    return out;
  };
  const auto id = parse_subscription_id(local.substr(0, first));
  const auto revision = number(local.substr(first + 1, second - first - 1));
  const auto kind = number(local.substr(second + 1));
  constexpr auto revision_max = std::uint64_t{1} << 62;
  if (!id || !revision || *revision > revision_max || !kind
      || *kind >= notice_kind_count)
    return std::nullopt;
  return query::mail_ref{*id, *revision,
                         static_cast<slipway::notice_kind>(*kind)};
}

} // namespace slipway::mail
