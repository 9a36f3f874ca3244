#include "ufs/credentials.h"

#include <cstdlib>
#include <mutex>

#include "io/file.h"

namespace weir::ufs {
namespace {

constexpr size_t kFileBytesMax = 1 << 20;
constexpr auto kLookAgainAfter = std::chrono::seconds(5);

class FixedCredentials final : public CredentialSource {
 public:
  explicit FixedCredentials(net::Credentials credentials) : credentials_(std::move(credentials)) {}
  Result<net::Credentials> current() override { return credentials_; }
  void refresh() override {}

 private:
  const net::Credentials credentials_;
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

net::Credentials parse_profile(std::string_view text, std::string_view profile) {
  net::Credentials found;
  bool inside = false;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = trimmed(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      inside = line.back() == ']' && trimmed(line.substr(1, line.size() - 2)) == profile;
      continue;
    }
    const size_t equals = line.find('=');
    if (!inside || equals == std::string_view::npos) continue;
    const std::string_view name = trimmed(line.substr(0, equals));
    const std::string_view value = trimmed(line.substr(equals + 1));
    if (name == "aws_access_key_id") found.access_key = value;
    if (name == "aws_secret_access_key") found.secret_key = value;
    if (name == "aws_session_token") found.session_token = value;
  }
  return found;
}

class FileCredentials final : public CredentialSource {
 public:
  FileCredentials(std::string path, std::string profile) : path_(std::move(path)), profile_(std::move(profile)) {}

  Result<net::Credentials> current() override {
    std::scoped_lock lock(mutex_);
    if (const TimePoint now = system_clock().now(); now >= look_again_) {
      look_again_ = now + kLookAgainAfter;
      if (auto loaded = load(); loaded) {
        credentials_ = *std::move(loaded);
      } else if (!credentials_) {
        look_again_ = now;
        return std::unexpected(std::move(loaded).error());
      }
    }
    return *credentials_;
  }

  void refresh() override {
    std::scoped_lock lock(mutex_);
    look_again_ = {};
  }

 private:
  Result<net::Credentials> load() const {
    const auto text = [&]() -> Result<std::string> {
      TRY_ASSIGN(const io::File file, io::File::open(path_, {.follow_symlink = true}));
      return file.read_all(kFileBytesMax);
    }();
    if (!text) {
      return fail(ErrorCode::kDenied,
                  "no credentials: s3.access.key and s3.secret.key are not set, AWS_ACCESS_KEY_ID and "
                  "AWS_SECRET_ACCESS_KEY neither, and the credentials file cannot be read: " +
                      text.error().to_string());
    }
    net::Credentials found = parse_profile(*text, profile_);
    if (found.access_key.empty() || found.secret_key.empty()) {
      return fail(ErrorCode::kDenied, "no credentials: " + path_ + " has no aws_access_key_id and " +
                                          "aws_secret_access_key in profile [" + profile_ + "]");
    }
    return found;
  }

  const std::string path_;
  const std::string profile_;
  std::mutex mutex_;  // held while the file is read; a leaf
  std::optional<net::Credentials> credentials_;
  TimePoint look_again_{};
};

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::shared_ptr<CredentialSource> fixed_credentials(net::Credentials credentials) {
  return std::make_shared<FixedCredentials>(std::move(credentials));
}

std::shared_ptr<CredentialSource> file_credentials(std::string path, std::string profile) {
  return std::make_shared<FileCredentials>(std::move(path), std::move(profile));
}

Result<std::shared_ptr<CredentialSource>> find_credentials(const CredentialSettings& settings,
                                                           const Environment& environment) {
  if (settings.access_key.empty() != settings.secret_key.empty()) {
    return fail(ErrorCode::kInvalid, "s3.access.key and s3.secret.key must be set together");
  }
  if (!settings.access_key.empty()) {
    return fixed_credentials({settings.access_key, settings.secret_key, settings.session_token});
  }
  const bool file_asked_for = !settings.file.empty() || !settings.profile.empty();
  const auto access_key = environment("AWS_ACCESS_KEY_ID");
  const auto secret_key = environment("AWS_SECRET_ACCESS_KEY");
  if (!file_asked_for && access_key.has_value() != secret_key.has_value()) {
    return fail(ErrorCode::kInvalid, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together");
  }
  if (!file_asked_for && access_key) {
    return fixed_credentials({*access_key, *secret_key, environment("AWS_SESSION_TOKEN").value_or("")});
  }
  std::string file = settings.file;
  if (file.empty()) {
    file = environment("AWS_SHARED_CREDENTIALS_FILE").value_or(environment("HOME").value_or("/root") +
                                                               "/.aws/credentials");
  }
  std::string profile = settings.profile;
  if (profile.empty()) profile = environment("AWS_PROFILE").value_or("default");
  return file_credentials(std::move(file), std::move(profile));
}

}  // namespace weir::ufs
