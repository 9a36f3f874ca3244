#include "ufs/open_ufs.h"

#include <charconv>
#include <optional>

#include "ufs/credentials.h"
#include "ufs/local_ufs.h"
#include "ufs/s3_ufs.h"

namespace weir::ufs {
namespace {

Error bad_value(std::string_view name, std::string_view value, std::string_view expected) {
  return Error(ErrorCode::kInvalid, std::string(name) + "=" + std::string(value) + ": expected " +
                                        std::string(expected));
}

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "500ms", "5s", "2min": at least a millisecond, at most a day.
std::optional<Duration> duration(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto count = number(text.substr(0, digits));
  const std::string_view unit = text.substr(digits);
  const uint64_t unit_ms = unit == "ms" ? 1 : unit == "s" ? 1'000 : unit == "min" ? 60'000 : 0;
  if (!count || *count == 0 || unit_ms == 0 || *count > 86'400'000 / unit_ms) return std::nullopt;
  return std::chrono::milliseconds(*count * unit_ms);
}

Result<S3Options> s3_options(std::string_view bucket, std::string_view prefix, const UfsOptions& given) {
  S3Options options;
  CredentialSettings credentials;
  options.bucket = bucket;
  options.prefix = prefix;
  if (!options.prefix.empty() && !options.prefix.ends_with('/')) options.prefix += '/';
  options.http.upload_rate = given.upload_rate;
  for (const auto& [name, value] : given.properties) {
    if (name == "s3.endpoint") {
      options.endpoint = value;
    } else if (name == "s3.region") {
      options.region = value;
    } else if (name == "s3.access.key") {
      credentials.access_key = value;
    } else if (name == "s3.secret.key") {
      credentials.secret_key = value;
    } else if (name == "s3.session.token") {
      credentials.session_token = value;
    } else if (name == "s3.credentials.file") {
      credentials.file = value;
    } else if (name == "s3.credentials.profile") {
      credentials.profile = value;
    } else if (name == "s3.ca.file") {
      options.http.tls_ca_file = value;
    } else if (name == "s3.addressing") {
      if (value == "auto") {
        options.addressing = Addressing::kAuto;
      } else if (value == "path") {
        options.addressing = Addressing::kPath;
      } else if (value == "virtual") {
        options.addressing = Addressing::kVirtual;
      } else {
        return fail(bad_value(name, value, "auto, path or virtual"));
      }
    } else if (name == "s3.tls.verify") {
      if (value != "true" && value != "false") return fail(bad_value(name, value, "true or false"));
      options.http.tls_verify = value == "true" ? net::TlsVerify::kOn : net::TlsVerify::kOff;
    } else if (name == "s3.payload.signing") {
      if (value == "auto") {
        options.payload_signing = PayloadSigning::kAuto;
      } else if (value == "always") {
        options.payload_signing = PayloadSigning::kAlways;
      } else if (value == "never") {
        options.payload_signing = PayloadSigning::kNever;
      } else {
        return fail(bad_value(name, value, "auto, always or never"));
      }
    } else if (name == "s3.connections.max") {
      const auto count = number(value);
      if (!count || *count == 0 || *count > 10'000) return fail(bad_value(name, value, "a number in 1..10000"));
      options.http.connections_max = static_cast<uint32_t>(*count);
    } else if (name == "s3.connect.timeout") {
      const auto time = duration(value);
      if (!time) return fail(bad_value(name, value, "a time such as 500ms, 5s or 1min"));
      options.http.connect_timeout = *time;
    } else if (name == "s3.stall.timeout") {
      const auto time = duration(value);
      if (!time || *time < std::chrono::seconds(1)) return fail(bad_value(name, value, "a time of at least 1s"));
      options.http.stall_timeout = *time;
    } else {
      return fail(ErrorCode::kInvalid, "no such property of an s3:// store: " + name);
    }
  }
  TRY_ASSIGN(options.credentials, find_credentials(credentials));
  return options;
}

}  // namespace

Result<std::unique_ptr<UnderStore>> open_ufs(std::string_view uri, const UfsOptions& options) {
  constexpr std::string_view kS3 = "s3://";
  constexpr std::string_view kFile = "file://";
  if (uri.starts_with(kS3)) {
    const std::string_view rest = uri.substr(kS3.size());
    const size_t slash = rest.find('/');
    const std::string_view prefix = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
    TRY_ASSIGN(S3Options s3, s3_options(rest.substr(0, slash), prefix, options));
    auto store = S3Ufs::create(std::move(s3));
    if (!store) return fail(std::move(store).error().wrap(std::string(uri)));
    return *std::move(store);
  }
  if (uri.starts_with(kFile)) {
    const std::string_view path = uri.substr(kFile.size());
    if (!path.starts_with('/')) {
      return fail(ErrorCode::kInvalid, "the path of a file:// URI must be absolute: write file:///directory, not " +
                                           std::string(uri));
    }
    if (!options.properties.empty()) {
      return fail(ErrorCode::kInvalid, "no such property of a file:// store: " + options.properties.begin()->first);
    }
    auto store = LocalUfs::open(std::string(path));
    if (!store) return fail(std::move(store).error());
    return *std::move(store);
  }
  return fail(ErrorCode::kInvalid, "not the URI of an under store: \"" + std::string(uri) +
                                       "\"; write s3://bucket/prefix or file:///directory");
}

}  // namespace weir::ufs
