#include "http/sandbox/smtp_server.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>

#include <set>
#include <string_view>
#include <thread>

namespace slipway::sandbox {

namespace asio = boost::asio;

using boost::system::error_code;
using tcp = asio::ip::tcp;

namespace {

constexpr auto line_max = std::size_t{64} * 1024;

constexpr auto recipients_max = std::size_t{100};

/// Between two attempts to accept when the system refuses.
constexpr auto accept_pause = millis{50};

std::string upper(std::string_view text) {
  auto result = std::string{text};
  for (auto& c : result)
    if (c >= 'a' && c <= 'z')
      c = static_cast<char>(c - 'a' + 'A');
  return result;
}

/// `a@b` of `<a@b> SIZE=12`; nothing when there are no brackets.
bool take_path(std::string_view text, std::string& to) {
  while (!text.empty() && text.front() == ' ')
    text.remove_prefix(1);
  const auto close = text.find('>');
  if (text.empty() || text.front() != '<' || close == std::string_view::npos)
    return false;
  to = text.substr(1, close - 1);
  return true;
}

} // namespace

struct smtp_server::impl : std::enable_shared_from_this<impl> {
  class session;

  impl(smtp_server_options given, smtp_receiver take)
    : options{std::move(given)}, receive{std::move(take)},
      guard{context.get_executor()}, acceptor{context}, pause{context} {
  }

  tl::expected<void, std::string> start() {
    auto ec = error_code{};
    const auto host
      = options.host == "localhost" ? std::string{"127.0.0.1"} : options.host;
    const auto address = asio::ip::make_address(host, ec);
    if (ec)
      return tl::unexpected{"cannot listen on '" + options.host
                            + "': an IP address or localhost is expected"};
    const auto where = tcp::endpoint{address, options.port};
    acceptor.open(where.protocol(), ec);
    if (!ec)
      acceptor.set_option(asio::socket_base::reuse_address{true}, ec);
    if (!ec)
      acceptor.bind(where, ec);
    if (!ec)
      acceptor.listen(asio::socket_base::max_listen_connections, ec);
    if (ec)
      return tl::unexpected{"cannot listen on " + host + ":"
                            + std::to_string(options.port)
                            + " for mail: " + ec.message()};
    port = acceptor.local_endpoint(ec).port();
    accept();
    thread = std::thread{[this] {
      context.run();
    }};
    return {};
  }

  void accept();

  void stop();

  smtp_server_options options;
  smtp_receiver receive;
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  std::set<session*> sessions;
  std::uint16_t port = 0;
  std::thread thread;
};

/// One client. One line at a time.
class smtp_server::impl::session
  : public std::enable_shared_from_this<session> {
public:
  session(std::shared_ptr<impl> home, tcp::socket socket)
    : home_{std::move(home)}, socket_{std::move(socket)}, timer_{
                                                            home_->context} {
    home_->sessions.insert(this);
  }

  ~session() {
    home_->sessions.erase(this);
  }

  void start() {
    if (home_->sessions.size() > home_->options.sessions_max) {
      closing_ = true;
      say("421 Too many connections");
      return;
    }
    say("220 sandbox.slipway.localhost ESMTP");
  }

  void close() {
    auto ec = error_code{};
    socket_.close(ec);
    timer_.cancel();
  }

private:
  enum class mode { command, data, auth_user, auth_password, auth_plain };

  void arm() {
    timer_.expires_after(home_->options.idle_timeout);
    timer_.async_wait([weak = weak_from_this()](const error_code& ec) {
      if (ec)
        return;
      if (auto self = weak.lock())
        self->close();
    });
  }

  void say(std::string line) {
    out_ = std::move(line) + "\r\n";
    arm();
    asio::async_write(
      socket_, asio::buffer(out_),
      [self = shared_from_this()](const error_code& ec, std::size_t) {
        if (ec || self->closing_)
          self->close();
        else
          self->listen();
      });
  }

  void listen() {
    arm();
    asio::async_read_until(
      socket_, asio::dynamic_buffer(in_, line_max), "\r\n",
      [self = shared_from_this()](const error_code& ec, std::size_t n) {
        self->heard(ec, n);
      });
  }

  void heard(const error_code& ec, std::size_t n) {
    if (ec == asio::error::not_found) {
      closing_ = true;
      say("500 Line too long");
      return;
    }
    if (ec) {
      close();
      return;
    }
    const auto line = in_.substr(0, n - 2);
    in_.erase(0, n);
    switch (mode_) {
      case mode::command:
        command(line);
        break;
      case mode::data:
        data(line);
        break;
      case mode::auth_user:
        mode_ = mode::auth_password;
        say("334 UGFzc3dvcmQ6");
        break;
      case mode::auth_password:
      case mode::auth_plain:
        mode_ = mode::command;
        say(line == "*" ? "501 Cancelled" : "235 Welcome");
        break;
    }
  }

  void command(const std::string& line) {
    const auto verb = upper(line.substr(0, line.find(' ')));
    const auto rest = line.size() > verb.size()
                        ? std::string_view{line}.substr(verb.size() + 1)
                        : std::string_view{};
    if (verb == "EHLO") {
      reset();
      greeted_ = true;
      say("250-sandbox.slipway.localhost\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
          "250-SMTPUTF8\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE "
          + std::to_string(home_->options.mail_bytes_max));
    } else if (verb == "HELO") {
      reset();
      greeted_ = true;
      say("250 sandbox.slipway.localhost");
    } else if (verb == "AUTH") {
      authenticate(upper(rest));
    } else if (verb == "MAIL") {
      mail(rest);
    } else if (verb == "RCPT") {
      recipient(rest);
    } else if (verb == "DATA") {
      if (envelope_.to.empty()) {
        say("503 Who is it for?");
      } else {
        mode_ = mode::data;
        too_large_ = false;
        say("354 End with a dot on a line of its own");
      }
    } else if (verb == "RSET") {
      reset();
      say("250 Ok");
    } else if (verb == "NOOP") {
      say("250 Ok");
    } else if (verb == "QUIT") {
      closing_ = true;
      say("221 Bye");
    } else {
      say("502 Not implemented");
    }
  }

  void authenticate(const std::string& how) {
    if (how == "LOGIN") {
      mode_ = mode::auth_user;
      say("334 VXNlcm5hbWU6");
    } else if (how.rfind("LOGIN ", 0) == 0) {
      mode_ = mode::auth_password;
      say("334 UGFzc3dvcmQ6");
    } else if (how == "PLAIN") {
      mode_ = mode::auth_plain;
      say("334 ");
    } else if (how.rfind("PLAIN ", 0) == 0) {
      say("235 Welcome");
    } else {
      say("504 Unknown mechanism");
    }
  }

  void mail(std::string_view rest) {
    if (!greeted_) {
      say("503 Say EHLO first");
      return;
    }
    if (has_sender_) {
      say("503 There is a sender already");
      return;
    }
    std::string path;
    if (upper(rest.substr(0, 5)) != "FROM:"
        || !take_path(rest.substr(5), path)) {
      say("501 MAIL FROM:<address> is expected");
      return;
    }
    const auto parameters = upper(rest);
    if (const auto at = parameters.find(" SIZE="); at != std::string::npos) {
      auto size = std::size_t{0};
      for (auto i = at + 6; i < parameters.size() && parameters[i] >= '0'
                            && parameters[i] <= '9' && size < 1'000'000'000;
           ++i)
        size = size * 10 + static_cast<std::size_t>(parameters[i] - '0');
      if (size > home_->options.mail_bytes_max) {
        say("552 Too large");
        return;
      }
    }
    envelope_.from = std::move(path);
    has_sender_ = true;
    say("250 Ok");
  }

  void recipient(std::string_view rest) {
    std::string path;
    if (!has_sender_)
      say("503 Who is it from?");
    else if (upper(rest.substr(0, 3)) != "TO:"
             || !take_path(rest.substr(3), path) || path.empty())
      say("501 RCPT TO:<address> is expected");
    else if (envelope_.to.size() >= recipients_max)
      say("452 Too many recipients");
    else {
      envelope_.to.push_back(std::move(path));
      say("250 Ok");
    }
  }

  void data(std::string_view line) {
    if (line == ".") {
      mode_ = mode::command;
      auto answer = too_large_ ? std::string{"552 Too large"}
                               : home_->receive(std::move(envelope_));
      reset();
      say(std::move(answer));
      return;
    }
    if (!line.empty() && line.front() == '.')
      line.remove_prefix(1);
    if (envelope_.data.size() + line.size() + 2
        > home_->options.mail_bytes_max) {
      too_large_ = true;
      envelope_.data.clear();
    }
    if (!too_large_) {
      envelope_.data += line;
      envelope_.data += "\r\n";
    }
    listen();
  }

  void reset() {
    envelope_ = {};
    has_sender_ = false;
    too_large_ = false;
  }

  std::shared_ptr<impl> home_;
  tcp::socket socket_;
  asio::steady_timer timer_;
  std::string in_;
  std::string out_;
  mode mode_ = mode::command;
  smtp_envelope envelope_;
  bool greeted_ = false;
  bool has_sender_ = false;
  bool too_large_ = false;
  bool closing_ = false;
};

void smtp_server::impl::accept() {
  acceptor.async_accept(
    [self = shared_from_this()](const error_code& ec, tcp::socket socket) {
      if (!self->acceptor.is_open())
        return;
      if (!ec) {
        std::make_shared<session>(self, std::move(socket))->start();
        self->accept();
        return;
      }
      self->pause.expires_after(accept_pause);
      self->pause.async_wait([self](const error_code& waited) {
        if (!waited && self->acceptor.is_open())
          self->accept();
      });
    });
}

void smtp_server::impl::stop() {
  if (!thread.joinable())
    return;
  asio::post(context, [this] {
    auto ec = error_code{};
    acceptor.close(ec);
    pause.cancel();
    for (auto* each : sessions)
      each->close();
  });
  guard.reset();
  thread.join();
}

smtp_server::smtp_server(smtp_server_options options, smtp_receiver receive)
  : impl_{std::make_shared<impl>(std::move(options), std::move(receive))} {
}

smtp_server::~smtp_server() {
  stop();
}

tl::expected<void, std::string> smtp_server::start() {
  return impl_->start();
}

void smtp_server::stop() {
  impl_->stop();
}

std::uint16_t smtp_server::port() const noexcept {
  return impl_->port;
}

} // namespace slipway::sandbox
