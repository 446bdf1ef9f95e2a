#include "benchmarks/load_client.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

namespace slipway::bench {

namespace {

namespace asio = boost::asio;

namespace beast = boost::beast;

namespace http = boost::beast::http;

using tcp = asio::ip::tcp;

using error_code = boost::system::error_code;

using steady = std::chrono::steady_clock;

/// What the connections share: one thread, so no locks.
class run_state {
public:
  run_state(const load_options& options,
            const std::vector<std::string>& requests, const on_answer& judge)
    : options_{options}, requests_{requests}, judge_{judge} {
    report_.latencies.reserve(requests.size());
  }

  /// The next request that nobody has sent yet.
  std::optional<std::size_t> take() {
    if (next_ == requests_.size())
      return std::nullopt;
    return next_++;
  }

  [[nodiscard]] const std::string& text_of(std::size_t request) const {
    return requests_[request];
  }

  /// When a request has to leave: at once without a rate.
  [[nodiscard]] steady::time_point due(std::size_t request) const {
    if (options_.rate <= 0)
      return steady::now();
    return begin_
           + std::chrono::duration_cast<steady::duration>(
             seconds{static_cast<double>(request) / options_.rate});
  }

  void start() {
    begin_ = steady::now();
  }

  void answered(std::size_t request, steady::time_point since, unsigned status,
                std::string_view body) {
    const auto now = steady::now();
    report_.latencies.emplace_back(now - since);
    report_.took = now - begin_;
    ++done_;
    if (!judge_(request, status, body))
      fail("status " + std::to_string(status) + ": "
           + std::string{body.substr(0, 200)});
  }

  void broke(const std::string& why) {
    ++done_;
    fail(why);
  }

  [[nodiscard]] load_report finish() {
    if (done_ < requests_.size()) {
      report_.failed += requests_.size() - done_;
      if (report_.first_failure.empty())
        report_.first_failure = "not answered within the limit";
    }
    std::sort(report_.latencies.begin(), report_.latencies.end());
    return std::move(report_);
  }

private:
  void fail(std::string why) {
    ++report_.failed;
    if (report_.first_failure.empty())
      report_.first_failure = std::move(why);
  }

  const load_options& options_;
  const std::vector<std::string>& requests_;
  const on_answer& judge_;
  load_report report_;
  std::size_t next_ = 0;
  std::size_t done_ = 0;
  steady::time_point begin_;
};

/// One kept-alive connection; sends one request after the other.
class worker {
public:
  worker(asio::io_context& io, run_state& run)
    : run_{run}, socket_{io}, timer_{io} {
  }

  error_code connect(std::uint16_t port) {
    auto failed = error_code{};
    socket_.connect({asio::ip::address_v4::loopback(), port}, failed);
    if (!failed)
      socket_.set_option(tcp::no_delay{true}, failed);
    return failed;
  }

  void next() {
    const auto request = run_.take();
    if (!request)
      return;
    request_ = *request;
    since_ = run_.due(request_);
    if (since_ <= steady::now()) {
      send();
      return;
    }
    timer_.expires_at(since_);
    timer_.async_wait([this](error_code stopped) {
      if (!stopped)
        send();
    });
  }

  void stop() {
    auto ignored = error_code{};
    timer_.cancel();
    socket_.close(ignored);
  }

private:
  void send() {
    asio::async_write(socket_, asio::buffer(run_.text_of(request_)),
                      [this](error_code failed, std::size_t) {
                        if (failed)
                          run_.broke("sending: " + failed.message());
                        else
                          receive();
                      });
  }

  void receive() {
    parser_.emplace();
    http::async_read(
      socket_, buffer_, *parser_, [this](error_code failed, std::size_t) {
        if (failed) {
          if (failed != asio::error::operation_aborted)
            run_.broke("receiving: " + failed.message());
          return;
        }
        const auto& answer = parser_->get();
        run_.answered(request_, since_, answer.result_int(), answer.body());
        next();
      });
  }

  run_state& run_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  beast::flat_buffer buffer_;
  std::optional<http::response_parser<http::string_body>> parser_;
  std::size_t request_ = 0;
  steady::time_point since_;
};

} // namespace

double load_report::per_second() const {
  return took.count() > 0 ? static_cast<double>(latencies.size()) / took.count()
                          : 0;
}

seconds load_report::percentile(double share) const {
  if (latencies.empty())
    return seconds{0};
  const auto rank
    = std::ceil(share * static_cast<double>(latencies.size())) - 1;
  const auto index = static_cast<std::size_t>(std::max(rank, 0.0));
  return latencies[std::min(index, latencies.size() - 1)];
}

std::string make_request(std::string_view method, std::string_view target,
                         std::string_view content_type, std::string_view body,
                         std::string_view bearer) {
  auto out = std::string{method};
  out.append(" ").append(target).append(" HTTP/1.1\r\nHost: 127.0.0.1\r\n");
  if (!bearer.empty())
    out.append("Authorization: Bearer ").append(bearer).append("\r\n");
  if (!body.empty())
    out.append("Content-Type: ")
      .append(content_type)
      .append("\r\nContent-Length: ")
      .append(std::to_string(body.size()))
      .append("\r\n");
  out.append("\r\n").append(body);
  return out;
}

load_report
run_load(const load_options& options, const std::vector<std::string>& requests,
         const on_answer& judge) {
  auto io = asio::io_context{1};
  auto run = run_state{options, requests, judge};
  auto workers = std::vector<std::unique_ptr<worker>>{};
  for (std::size_t i = 0; i < options.connections; ++i) {
    workers.push_back(std::make_unique<worker>(io, run));
    if (const auto failed = workers.back()->connect(options.port)) {
      auto report = load_report{};
      report.failed = requests.size();
      report.first_failure = "connecting: " + failed.message();
      return report;
    }
  }
  run.start();
  for (auto& x : workers)
    x->next();
  io.run_for(
    std::chrono::duration_cast<std::chrono::milliseconds>(options.limit));
  for (auto& x : workers)
    x->stop();
  io.restart();
  io.run_for(std::chrono::seconds{1}); // The handlers of what was cut off.
  return run.finish();
}

} // namespace slipway::bench
