// s3/access_keys.h -- who may use the S3 endpoint, and for what.
//
// SigV4 needs the secret itself, so the keys are in one file that its owner alone can read (mode 0600). Secrets are never logged.
// Threads: all methods may be called concurrently. Crash: a change is there as a whole, and survives power loss, once its call
// returned.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/directory.h"

namespace weir::s3 {

inline constexpr size_t kAccessKeysMax = 10'000;

enum class Rights : uint8_t { kReadOnly, kReadWrite };

// What of the namespace a key may use. Empty: all.
struct Scope {
  std::string bucket;
  std::string prefix;  // of keys; only with a bucket
  Rights rights = Rights::kReadWrite;

  bool operator==(const Scope&) const = default;
};

struct AccessKey {
  std::string id;      // 3 to 128 letters and digits
  std::string secret;  // 8 to 128 printable characters
  Scope scope;
  int64_t created_ns = 0;
};

class AccessKeys {
 public:
  // Reads `file_name` in the directory. The first time, makes a key that may do everything: see made_first_key().
  // Errors: kCorrupt when the file is no list of keys, kPermission when others may read it.
  static Result<std::unique_ptr<AccessKeys>> open(io::Directory directory, std::string file_name, const Clock& clock);

  // Null when there is none. What it points to stays as it is when the key is removed.
  std::shared_ptr<const AccessKey> find(std::string_view id) const;
  // By id.
  std::vector<AccessKey> list() const;

  // An empty id or secret is made. kExists, kInvalid, kTooLarge beyond kAccessKeysMax.
  Result<AccessKey> add(AccessKey key);
  Result<void> remove(std::string_view id);  // kNotFound

  bool made_first_key() const { return made_first_key_; }

 private:
  using Keys = std::map<std::string, std::shared_ptr<const AccessKey>, std::less<>>;

  AccessKeys(io::Directory directory, std::string file_name, const Clock& clock)
      : directory_(std::move(directory)), file_name_(std::move(file_name)), clock_(clock) {}
  Result<void> load();
  Result<void> store(const Keys& keys) const;

  const io::Directory directory_;
  const std::string file_name_;
  const Clock& clock_;
  bool made_first_key_ = false;

  std::mutex change_mutex_;     // one change at a time; before mutex_
  mutable std::mutex mutex_;    // a leaf
  Keys keys_;
};

}  // namespace weir::s3
