#include "daemon/s3_endpoint.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/log.h"

namespace weir::daemon {
namespace {

constexpr std::string_view kKeysFile = "s3.keys";

volume::ObjectDurability durability_of(std::string_view text) {
  if (text == "write") return volume::ObjectDurability::kWrite;
  return text == "persist" ? volume::ObjectDurability::kPersist : volume::ObjectDurability::kSync;
}

s3::AuthMode auth_of(std::string_view text) {
  if (text == "anonymous") return s3::AuthMode::kAnonymous;
  return text == "any" ? s3::AuthMode::kAny : s3::AuthMode::kKeys;
}

std::vector<std::string> domains_of(std::string_view text) {
  std::vector<std::string> domains;
  while (!text.empty()) {
    const std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    std::string domain;
    for (const char c : item)
      if (c != ' ') domain += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    if (!domain.empty()) domains.push_back(std::move(domain));
  }
  return domains;
}

uint32_t permissions_of(std::string_view text) {
  uint32_t permissions = 0;
  std::from_chars(text.data(), text.data() + text.size(), permissions, 8);
  return permissions;
}

uint32_t count_of(const Properties& properties, std::string_view name) {
  return static_cast<uint32_t>(std::min<uint64_t>(properties.integer(name), UINT32_MAX));
}

s3::ServerOptions server_options(const Properties& properties) {
  s3::ServerOptions options;
  options.address = properties.text("s3.server.address");
  options.port = static_cast<uint16_t>(properties.integer("s3.port"));
  options.tls_port = static_cast<uint16_t>(properties.integer("s3.tls.port"));
  options.tls_certificate = properties.text("s3.server.tls.certificate");
  options.tls_key = properties.text("s3.server.tls.key");
  options.threads = std::max(1u, count_of(properties, "s3.server.threads"));
  options.connections_max = std::max(1u, count_of(properties, "s3.server.connections.max"));
  options.idle_timeout = properties.duration("s3.server.idle.timeout");
  options.stall_timeout = properties.duration("s3.server.stall.timeout");
  options.access_log = properties.text("s3.server.access.log");
  options.access_log_bytes_max = properties.size_bytes("s3.server.access.log.size.max");
  options.front.region = properties.text("s3.server.region");
  options.front.domains = domains_of(properties.text("s3.server.domains"));
  options.front.put_durability = durability_of(properties.text("s3.put.durability"));
  options.front.auth = auth_of(properties.text("s3.server.auth"));
  return options;
}

// To somebody who looks on, never into a file.
void show_first_key(const s3::AccessKey& key) {
  log_info("s3.first_key_made", {{"access_key", key.id}, {"secret", "see `weir s3 key list --secrets`"}});
  if (::isatty(STDERR_FILENO) != 1) return;
  std::fprintf(stderr,
               "The S3 endpoint has its first access key:\n\n  AWS_ACCESS_KEY_ID=%s\n  AWS_SECRET_ACCESS_KEY=%s\n\n"
               "This is shown once; `weir s3 key list --secrets` shows it to root.\n",
               key.id.c_str(), key.secret.c_str());
}

}  // namespace

volume::ObjectsOptions objects_options(const Properties& properties) {
  return {.uid = count_of(properties, "s3.server.uid"),
          .gid = count_of(properties, "s3.server.gid"),
          .file_permissions = permissions_of(properties.text("s3.server.file.permissions")),
          .directory_permissions = permissions_of(properties.text("s3.server.directory.permissions")),
          .bucket_root = properties.text("s3.server.bucket.root"),
          .upload_abandoned_after = properties.duration("s3.server.upload.abandoned.after")};
}

Result<std::unique_ptr<S3Endpoint>> S3Endpoint::start(const Properties& properties, volume::Volume& volume, const Clock& clock) {
  std::unique_ptr<S3Endpoint> endpoint(new S3Endpoint());
  const s3::ServerOptions options = server_options(properties);
  if (options.tls_certificate.empty() != options.tls_key.empty()) {
    return fail(ErrorCode::kInvalid, "properties s3.server.tls.certificate and s3.server.tls.key: TLS needs both");
  }
  TRY_ASSIGN(io::Directory directory, io::Directory::open(properties.text("volume.dir")));
  TRY_ASSIGN(endpoint->keys_, s3::AccessKeys::open(std::move(directory), std::string(kKeysFile), clock));
  if (endpoint->keys_->made_first_key()) show_first_key(endpoint->keys_->list().front());
  auto server = s3::Server::start(options, volume.objects(), *endpoint->keys_, clock);
  if (!server) {
    return fail(std::move(server).error().wrap(
        "the S3 endpoint (properties s3.server.address, s3.port, s3.tls.port, s3.server.auth; s3.enabled: false does without)"));
  }
  endpoint->server_ = *std::move(server);
  endpoint->host_ = options.address.contains(':') ? '[' + options.address + ']' : options.address;
  log_info("s3.listening", {{"http", endpoint->url()}, {"https", endpoint->tls_url()}, {"auth", properties.text("s3.server.auth")}});
  return endpoint;
}

std::string S3Endpoint::url() const { return "http://" + host_ + ':' + std::to_string(server_->port()); }

std::string S3Endpoint::tls_url() const {
  return server_->tls_port() == 0 ? std::string() : "https://" + host_ + ':' + std::to_string(server_->tls_port());
}

}  // namespace weir::daemon
