#include "s3/access_keys.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "net/digest.h"
#include "net/encoding.h"

namespace weir::s3 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFileBytesMax = 16 << 20;
constexpr int kFormat = 1;
constexpr size_t kIdLetters = 20;
constexpr size_t kSecretLetters = 40;

std::string random_text(size_t letters, std::string_view alphabet) {
  std::string text;
  while (text.size() < letters) {
    std::array<std::byte, 64> bytes;
    net::fill_with_secret(bytes);
    for (const std::byte byte : bytes) {
      // Every letter is as likely as every other: a byte beyond the last whole round is drawn again.
      const auto number = std::to_integer<size_t>(byte);
      if (text.size() < letters && number < 256 / alphabet.size() * alphabet.size())
        text += alphabet[number % alphabet.size()];
    }
  }
  return text;
}

std::string new_id() { return "WEIR" + random_text(kIdLetters - 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"); }
std::string new_secret() {
  return random_text(kSecretLetters, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
}

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Result<void> check(const AccessKey& key) {
  if (key.id.size() < 3 || key.id.size() > 128 || !std::ranges::all_of(key.id, is_alphanumeric))
    return fail(ErrorCode::kInvalid, "an access key is 3 to 128 letters and digits");
  const auto printable = [](char c) { return c > 0x20 && c < 0x7f; };
  if (key.secret.size() < 8 || key.secret.size() > 128 || !std::ranges::all_of(key.secret, printable))
    return fail(ErrorCode::kInvalid, "a secret key is 8 to 128 printable characters without spaces");
  if (!key.scope.prefix.empty() && key.scope.bucket.empty())
    return fail(ErrorCode::kInvalid, "a prefix needs the bucket that it is in");
  if (!net::is_utf8(key.scope.bucket) || !net::is_utf8(key.scope.prefix))
    return fail(ErrorCode::kInvalid, "the bucket and the prefix of an access key are UTF-8");
  return {};
}

Json json_of(const AccessKey& key) {
  return {{"id", key.id},
          {"secret", key.secret},
          {"bucket", key.scope.bucket},
          {"prefix", key.scope.prefix},
          {"read_only", key.scope.rights == Rights::kReadOnly},
          {"created_ns", key.created_ns}};
}

}  // namespace

Result<std::unique_ptr<AccessKeys>> AccessKeys::open(io::Directory directory, std::string file_name, const Clock& clock) {
  std::unique_ptr<AccessKeys> keys(new AccessKeys(std::move(directory), std::move(file_name), clock));
  TRY_ASSIGN(const bool exists, keys->directory_.exists(keys->file_name_.c_str()));
  if (exists) {
    TRY(keys->load());
  } else {
    TRY(keys->add({}));
    keys->made_first_key_ = true;
  }
  return keys;
}

Result<void> AccessKeys::load() {
  TRY_ASSIGN(const io::File file, directory_.open_file(file_name_.c_str(), {}));
  TRY_ASSIGN(const io::FileStat stat, file.stat());
  if ((stat.mode & 077) != 0)
    return fail(ErrorCode::kPermission, file_name_ + " holds secrets, and others may use it: set its mode to 0600");
  TRY_ASSIGN(const std::string text, file.read_all(kFileBytesMax));
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto corrupt = [&] { return fail(ErrorCode::kCorrupt, file_name_ + " is no list of access keys"); };
  if (!json.is_object() || !json.contains("keys") || !json["keys"].is_array() || !json.contains("format")) return corrupt();
  if (json["format"] != kFormat)
    return fail(ErrorCode::kNotSupported, file_name_ + " is of a later format: use the version that wrote it, or a newer one");
  for (const Json& item : json["keys"]) {
    const auto text_of = [&](const char* name) {
      return item.is_object() && item.contains(name) && item[name].is_string() ? item[name].get<std::string>() : std::string();
    };
    const auto flag = item.is_object() ? item.find("read_only") : item.end();
    if (!item.is_object() || flag == item.end() || !flag->is_boolean()) return corrupt();
    const auto created = item.find("created_ns");
    AccessKey key{.id = text_of("id"),
                  .secret = text_of("secret"),
                  .scope = {.bucket = text_of("bucket"),
                            .prefix = text_of("prefix"),
                            .rights = flag->get<bool>() ? Rights::kReadOnly : Rights::kReadWrite},
                  .created_ns = created != item.end() && created->is_number_integer() ? created->get<int64_t>() : 0};
    if (!check(key)) return corrupt();
    std::string id = key.id;
    keys_.emplace(std::move(id), std::make_shared<const AccessKey>(std::move(key)));
  }
  return {};
}

Result<void> AccessKeys::store(const Keys& keys) const {
  Json json = {{"format", kFormat}, {"keys", Json::array()}};
  for (const auto& [id, key] : keys) json["keys"].push_back(json_of(*key));
  const std::string text = json.dump(2) + "\n";
  const std::string part = file_name_ + ".new";
  TRY_ASSIGN(const io::File file,
             directory_.open_file(part.c_str(), {.access = io::Access::kWrite, .create = io::Create::kIfAbsent, .mode = 0600, .truncate = true}));
  TRY(file.set_mode(0600));
  TRY(file.write_at(0, text));
  TRY(file.sync());
  TRY(directory_.rename(part.c_str(), directory_, file_name_.c_str(), io::Replace::kReplace));
  return directory_.sync();
}

std::shared_ptr<const AccessKey> AccessKeys::find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(id);
  return found == keys_.end() ? nullptr : found->second;
}

std::vector<AccessKey> AccessKeys::list() const {
  const std::lock_guard lock(mutex_);
  std::vector<AccessKey> all;
  for (const auto& [id, key] : keys_) all.push_back(*key);
  return all;
}

Result<AccessKey> AccessKeys::add(AccessKey key) {
  if (key.id.empty()) key.id = new_id();
  if (key.secret.empty()) key.secret = new_secret();
  key.created_ns = unix_ns(clock_.wall_now());
  TRY(check(key));
  const std::lock_guard change(change_mutex_);
  Keys keys = keys_;
  if (keys.size() >= kAccessKeysMax)
    return fail(ErrorCode::kTooLarge, "there are " + std::to_string(keys.size()) + " access keys already");
  if (!keys.emplace(key.id, std::make_shared<const AccessKey>(key)).second)
    return fail(ErrorCode::kExists, "there is an access key " + key.id + " already");
  TRY(store(keys));
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  return key;
}

Result<void> AccessKeys::remove(std::string_view id) {
  const std::lock_guard change(change_mutex_);
  Keys keys = keys_;
  const auto found = keys.find(id);
  if (found == keys.end()) return fail(ErrorCode::kNotFound, "there is no access key " + std::string(id));
  keys.erase(found);
  TRY(store(keys));
  const std::lock_guard lock(mutex_);
  keys_ = std::move(keys);
  return {};
}

}  // namespace weir::s3
