#include "s3/transport.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/check.h"

namespace weir::s3 {
namespace {

using State = Transport::State;
using Step = Transport::Step;

constexpr uint64_t kFilePieceBytesMax = 8 << 20;  // between two looks at the time

Step step_of(ssize_t result, State blocked) {
  if (result > 0) return {State::kMoved, static_cast<size_t>(result)};
  if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {blocked};
  return {State::kEnd};
}

template <typename CallSocket>
ssize_t uninterrupted(CallSocket call) {
  ssize_t result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(int socket) : socket_(socket) {}

  Step handshake() override { return {State::kMoved, 1}; }

  Step read(std::span<std::byte> buffer) override {
    return step_of(uninterrupted([&] { return ::recv(socket_, buffer.data(), buffer.size(), 0); }), State::kWantRead);
  }

  Step write(std::span<const std::byte> bytes, More more) override {
    const int flags = MSG_NOSIGNAL | (more == More::kYes ? MSG_MORE : 0);
    return step_of(uninterrupted([&] { return ::send(socket_, bytes.data(), bytes.size(), flags); }), State::kWantWrite);
  }

  bool sends_files() const override { return true; }

  Result<Step> send_file(const io::File& file, uint64_t offset, uint64_t size) override {
    const auto sent = file.send_to(socket_, offset, std::min(size, kFilePieceBytesMax));
    if (sent && *sent > 0) return Step{State::kMoved, static_cast<size_t>(*sent)};
    if (sent) return fail(ErrorCode::kIo, "the local file ended early");
    if (sent.error() == ErrorCode::kBusy) return Step{State::kWantWrite};
    return fail(sent.error());
  }

  void finish() override { ::shutdown(socket_, SHUT_WR); }

 private:
  const int socket_;
};

std::string tls_error() {
  char text[256] = "unknown error";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return text;
}

class TlsTransport final : public Transport {
 public:
  TlsTransport(SSL_CTX* context, int socket) : socket_(socket), ssl_(SSL_new(context)) {
    CHECK(ssl_ != nullptr);
    SSL_set_fd(ssl_, socket);
    SSL_set_accept_state(ssl_);
  }
  ~TlsTransport() override { SSL_free(ssl_); }
  TlsTransport(const TlsTransport&) = delete;
  TlsTransport& operator=(const TlsTransport&) = delete;

  Step handshake() override {
    ERR_clear_error();
    const int result = SSL_do_handshake(ssl_);
    // With keys in the kernel sendfile(2) is as good as without TLS.
    if (result == 1) kernel_sends_ = BIO_get_ktls_send(SSL_get_wbio(ssl_));
    return step_of(result, 1);
  }

  Step read(std::span<std::byte> buffer) override {
    ERR_clear_error();
    size_t bytes = 0;
    const int result = SSL_read_ex(ssl_, buffer.data(), buffer.size(), &bytes);
    return step_of(result, bytes);
  }

  Step write(std::span<const std::byte> bytes, More) override {
    ERR_clear_error();
    size_t written = 0;
    const int result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &written);
    return step_of(result, written);
  }

  bool sends_files() const override { return kernel_sends_; }

  Result<Step> send_file(const io::File& file, uint64_t offset, uint64_t size) override {
    ERR_clear_error();
    const ossl_ssize_t sent = SSL_sendfile(ssl_, file.fd(), static_cast<off_t>(offset),
                                           static_cast<size_t>(std::min(size, kFilePieceBytesMax)), 0);
    return step_of(sent > 0 ? 1 : static_cast<int>(sent), sent > 0 ? static_cast<size_t>(sent) : 0);
  }

  void finish() override {
    ERR_clear_error();
    if (SSL_is_init_finished(ssl_)) SSL_shutdown(ssl_);
    ERR_clear_error();
    ::shutdown(socket_, SHUT_WR);
  }

 private:
  Step step_of(int result, size_t bytes) const {
    if (result > 0) return {State::kMoved, bytes};
    const int error = SSL_get_error(ssl_, result);
    if (error == SSL_ERROR_WANT_READ) return {State::kWantRead};
    if (error == SSL_ERROR_WANT_WRITE) return {State::kWantWrite};
    return {State::kEnd};
  }

  const int socket_;
  SSL* const ssl_;
  bool kernel_sends_ = false;
};

// Takes http/1.1 from what the client offers.
int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* in, unsigned in_size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  const int result = SSL_select_next_proto(&chosen, out_size, kOurs, sizeof kOurs - 1, in, in_size);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

class OpenSslContext final : public TlsContext {
 public:
  OpenSslContext() : context_(SSL_CTX_new(TLS_server_method())) { CHECK(context_ != nullptr); }
  ~OpenSslContext() override { SSL_CTX_free(context_); }
  OpenSslContext(const OpenSslContext&) = delete;
  OpenSslContext& operator=(const OpenSslContext&) = delete;

  Result<void> load_files(const std::string& certificate_file, const std::string& key_file) {
    SSL_CTX_set_min_proto_version(context_, TLS1_2_VERSION);
    SSL_CTX_set_options(context_, SSL_OP_ENABLE_KTLS | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_mode(context_, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_alpn_select_cb(context_, choose_protocol, nullptr);
    ERR_clear_error();
    if (SSL_CTX_use_certificate_chain_file(context_, certificate_file.c_str()) != 1)
      return fail(ErrorCode::kInvalid, certificate_file + " is no certificate in PEM form: " + tls_error());
    if (SSL_CTX_use_PrivateKey_file(context_, key_file.c_str(), SSL_FILETYPE_PEM) != 1)
      return fail(ErrorCode::kInvalid, key_file + " is no private key in PEM form: " + tls_error());
    if (SSL_CTX_check_private_key(context_) != 1)
      return fail(ErrorCode::kInvalid, key_file + " is not the key of the certificate " + certificate_file);
    return {};
  }

  std::unique_ptr<Transport> accept(int socket) override { return std::make_unique<TlsTransport>(context_, socket); }

 private:
  SSL_CTX* const context_;
};

}  // namespace

std::unique_ptr<Transport> plain_transport(int socket) { return std::make_unique<PlainTransport>(socket); }

Result<std::shared_ptr<TlsContext>> TlsContext::load(const std::string& certificate_file, const std::string& key_file) {
  auto context = std::make_shared<OpenSslContext>();
  TRY(context->load_files(certificate_file, key_file));
  return context;
}

}  // namespace weir::s3
