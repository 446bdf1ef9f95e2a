#include "http/client/curl_stream.hpp"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <stdexcept>

namespace slipway::client {

namespace {

struct slist_free {
  void operator()(curl_slist* list) const noexcept {
    curl_slist_free_all(list);
  }
};

struct easy_free {
  void operator()(CURL* handle) const noexcept {
    curl_easy_cleanup(handle);
  }
};

using slist_ptr = std::unique_ptr<curl_slist, slist_free>;

void append(slist_ptr& list, const std::string& line) {
  auto* longer = curl_slist_append(list.get(), line.c_str());
  if (longer == nullptr)
    throw std::bad_alloc{};
  static_cast<void>(list.release());
  list.reset(longer);
}

/// What curl's callbacks share.
struct reading {
  CURL* handle = nullptr;
  const stream_request* what = nullptr;
  const std::function<bool(std::string_view)>* take = nullptr;
  const std::function<bool()>* go_on = nullptr;
  stream_end end;
};

std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
  auto& self = *static_cast<reading*>(user);
  auto status = 0L;
  curl_easy_getinfo(self.handle, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    auto& body = self.end.body;
    body.append(data, std::min(size, self.what->max_error_bytes - body.size()));
    return size;
  }
  if ((*self.take)({data, size}))
    return size;
  self.end.stopped = true;
  return CURL_WRITEFUNC_ERROR;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& self = *static_cast<reading*>(user);
  if ((*self.go_on)())
    return 0;
  self.end.stopped = true;
  return 1;
}

template <class T>
void set(CURL* handle, CURLoption option, T value) {
  const auto code = curl_easy_setopt(handle, option, value);
  if (code != CURLE_OK)
    throw std::runtime_error{"libcurl lacks an option: "
                             + std::string{curl_easy_strerror(code)}};
}

bool is_loopback(const std::string& url) {
  const auto start = url.find("://");
  const auto host
    = std::string_view{url}.substr(start == std::string::npos ? 0 : start + 3);
  return host.starts_with("127.") || host.starts_with("[::1]")
         || host.starts_with("localhost:") || host.starts_with("localhost/");
}

} // namespace

stream_end read_stream(const stream_request& what,
                       const std::function<bool(std::string_view)>& take,
                       const std::function<bool()>& go_on) {
  static const auto started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK)
    throw std::runtime_error{"libcurl can't be started: "
                             + std::string{curl_easy_strerror(started)}};
  const auto owned = std::unique_ptr<CURL, easy_free>{curl_easy_init()};
  if (!owned)
    throw std::bad_alloc{};
  auto* handle = owned.get();
  auto self = reading{handle, &what, &take, &go_on, {}};
  auto headers = slist_ptr{};
  for (const auto& [name, value] : what.headers)
    append(headers, name + ": " + value);
  auto connect_to = slist_ptr{};
  auto message = std::array<char, CURL_ERROR_SIZE>{};
  set(handle, CURLOPT_NOSIGNAL, 1L);
  set(handle, CURLOPT_URL, what.url.c_str());
  set(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  set(handle, CURLOPT_FOLLOWLOCATION, 0L);
  set(handle, CURLOPT_CONNECTTIMEOUT_MS,
      static_cast<long>(what.connect_timeout.count()));
  set(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(handle, CURLOPT_LOW_SPEED_TIME,
      static_cast<long>(std::max<millis::rep>(
        1, std::chrono::ceil<std::chrono::seconds>(what.silence_max).count())));
  set(handle, CURLOPT_TCP_KEEPALIVE, 1L);
  set(handle, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  if (!what.ca_file.empty())
    set(handle, CURLOPT_CAINFO, what.ca_file.c_str());
  if (!what.connect_to.empty()) {
    append(connect_to, "::" + what.connect_to);
    set(handle, CURLOPT_CONNECT_TO, connect_to.get());
  }
  if (!what.connect_to.empty() || is_loopback(what.url))
    set(handle, CURLOPT_PROXY, "");
  set(handle, CURLOPT_HTTPHEADER, headers.get());
  set(handle, CURLOPT_ERRORBUFFER, message.data());
  set(handle, CURLOPT_WRITEFUNCTION, &on_body);
  set(handle, CURLOPT_WRITEDATA, &self);
  set(handle, CURLOPT_NOPROGRESS, 0L);
  set(handle, CURLOPT_XFERINFOFUNCTION, &on_progress);
  set(handle, CURLOPT_XFERINFODATA, &self);
  const auto code = curl_easy_perform(handle);
  auto status = 0L;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  self.end.status = static_cast<int>(status);
  if (code != CURLE_OK && !self.end.stopped)
    self.end.failure
      = message[0] != '\0' ? message.data() : curl_easy_strerror(code);
  return std::move(self.end);
}

} // namespace slipway::client
