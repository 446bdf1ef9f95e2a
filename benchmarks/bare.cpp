// The least that any server does for a notification: Beast reads the request,
// the signature is checked by the same code as in Slipway, and `success` goes
// back. Nothing is stored. What Slipway stays below this is what durability and
// the machine cost it.

#include "config/settings.hpp"
#include "http/gateway/intake.hpp"

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

namespace asio = boost::asio;

namespace http = boost::beast::http;

using namespace slipway;

using error_code = boost::system::error_code;

using tcp = asio::ip::tcp;

constexpr auto good
  = std::string_view{"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                     "Content-Length: 7\r\n\r\nsuccess"};

constexpr auto bad
  = std::string_view{"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n"
                     "Content-Length: 7\r\n\r\nfailure"};

class session : public std::enable_shared_from_this<session> {
public:
  session(tcp::socket socket, const gateway::accounts& accounts)
    : socket_{std::move(socket)}, accounts_{accounts} {
  }

  void read() {
    parser_.emplace();
    http::async_read(
      socket_, buffer_, *parser_,
      [self = shared_from_this()](error_code failed, std::size_t) {
        if (!failed)
          self->answer();
      });
  }

private:
  void answer() {
    const auto& in = parser_->get();
    auto message = gateway::inbound{};
    message.body = in.body();
    const auto fine
      = in.method() == http::verb::get // Somebody waits for us to be there.
        || !gateway::read(accounts_, message).refused;
    const auto text = fine ? good : bad;
    asio::async_write(
      socket_, asio::buffer(text.data(), text.size()),
      [self = shared_from_this()](error_code failed, std::size_t) {
        if (!failed)
          self->read();
      });
  }

  tcp::socket socket_;
  const gateway::accounts& accounts_;
  boost::beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
};

/// Takes the connections, and hands each thread as many as the others.
class listener {
public:
  listener(std::uint16_t port, std::size_t threads,
           const gateway::accounts& accounts)
    : accounts_{accounts} {
    for (std::size_t i = 0; i < threads; ++i)
      contexts_.push_back(std::make_unique<asio::io_context>(1));
    acceptor_.emplace(*contexts_.front(),
                      tcp::endpoint{asio::ip::address_v4::loopback(), port});
  }

  void run() {
    auto stop = asio::signal_set{*contexts_.front(), SIGTERM, SIGINT};
    stop.async_wait([this](error_code, int) {
      for (auto& x : contexts_)
        x->stop();
    });
    accept();
    auto guards = std::vector<
      asio::executor_work_guard<asio::io_context::executor_type>>{};
    auto threads = std::vector<std::thread>{};
    for (std::size_t i = 0; i < contexts_.size(); ++i) {
      guards.emplace_back(contexts_[i]->get_executor());
      if (i > 0)
        threads.emplace_back([&context = *contexts_[i]] {
          context.run();
        });
    }
    contexts_.front()->run();
    for (auto& x : threads)
      x.join();
  }

private:
  void accept() {
    auto& home = *contexts_[next_++ % contexts_.size()];
    acceptor_->async_accept(
      home, [this](error_code failed, tcp::socket socket) {
        if (!failed) {
          socket.set_option(tcp::no_delay{true}, failed);
          std::make_shared<session>(std::move(socket), accounts_)->read();
        }
        accept();
      });
  }

  const gateway::accounts& accounts_;
  std::vector<std::unique_ptr<asio::io_context>> contexts_;
  std::optional<tcp::acceptor> acceptor_;
  std::size_t next_ = 0;
};

std::string read_file(const std::string& path) {
  auto in = std::ifstream{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

} // namespace

int main(int argc, char** argv) {
  auto port = std::uint16_t{0};
  auto threads = std::size_t{std::max(1u, std::thread::hardware_concurrency())};
  auto alipay = config::alipay_settings{};
  auto app_key = std::string{};
  auto alipay_key = std::string{};
  auto cli = CLI::App{"Checks notifications, and nothing else", "slipway_bare"};
  cli.add_option("--port", port, "On 127.0.0.1")->required();
  cli.add_option("--threads", threads, "The cores otherwise");
  cli.add_option("--app-id", alipay.app_id)->required();
  cli.add_option("--seller-id", alipay.seller_id)->required();
  cli.add_option("--app-key", app_key)->required()->check(CLI::ExistingFile);
  cli.add_option("--alipay-key", alipay_key)
    ->required()
    ->check(CLI::ExistingFile);
  CLI11_PARSE(cli, argc, argv);
  alipay.app_private_key = config::secret{read_file(app_key)};
  alipay.alipay_public_key = read_file(alipay_key);
  auto account = gateway::alipay::make(alipay);
  if (!account) {
    std::fprintf(stderr, "slipway_bare: %s\n", account.error().c_str());
    return 1;
  }
  auto accounts = gateway::accounts{};
  accounts.ali = std::make_shared<const gateway::alipay>(std::move(*account));
  try {
    listener{port, std::max<std::size_t>(threads, 1), accounts}.run();
  } catch (const std::exception& why) {
    std::fprintf(stderr, "slipway_bare: %s\n", why.what());
    return 1;
  }
  return 0;
}
