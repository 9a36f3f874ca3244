// ufs/credentials.h -- where S3 credentials come from: properties, else the environment, else the shared credentials
// file.
//
// Names of variables and the file's format: AWS SDKs and Tools reference guide, "Shared config and credentials files".
// Threads: all methods may be called concurrently.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "net/sigv4.h"

namespace weir::ufs {

class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  // Cheap. kDenied: there are none; the message says where they were looked for.
  virtual Result<net::Credentials> current() = 0;
  // The store refused what current() gave: look again now, past any cache.
  virtual void refresh() = 0;
};

std::shared_ptr<CredentialSource> fixed_credentials(net::Credentials credentials);

// One profile of a shared credentials file, read again when the file changes. While a changed file cannot be read or
// lacks the profile, the last good credentials stay.
std::shared_ptr<CredentialSource> file_credentials(std::string path, std::string profile);

struct CredentialSettings {
  std::string access_key;
  std::string secret_key;
  std::string session_token;
  std::string file;     // empty: AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials
  std::string profile;  // empty: AWS_PROFILE, else "default"
};

using Environment = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_environment(const char* name);

// Settings win over the environment, the environment over the file; the file's absence shows in current() only.
// Errors: kInvalid for an access key without its secret key, or the reverse.
Result<std::shared_ptr<CredentialSource>> find_credentials(const CredentialSettings& settings,
                                                           const Environment& environment = process_environment);

}  // namespace weir::ufs
