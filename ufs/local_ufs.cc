#include "ufs/local_ufs.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdio>
#include <thread>
#include <tuple>
#include <utility>

#include "base/random.h"
#include "net/checksum.h"
#include "ufs/limits.h"
#include "ufs/local_names.h"
#include "ufs/local_walk.h"

namespace weir::ufs {
namespace {

constexpr mode_t kDirectoryMode = 0777;  // before the umask
constexpr mode_t kFileMode = 0666;
constexpr const char* kAttributes = "user.weir.attributes";  // of a file: serialised Attributes
constexpr const char* kMark = "user.weir.object";            // of a directory: the same, and it is an object
constexpr size_t kAttributesBytesMax = 16 << 10;
constexpr auto kLockPollMax = std::chrono::milliseconds(10);
constexpr auto kLeftoverAge = std::chrono::hours(24);
constexpr int kReadTriesMax = 3;

std::string hidden(std::string_view name) { return std::string(local::kHidden) + '/' + std::string(name); }

std::string random_name() {
  thread_local Random random = Random::from_entropy();
  std::array<char, 33> text;
  std::snprintf(text.data(), text.size(), "%016llx%016llx", static_cast<unsigned long long>(random.next()),
                static_cast<unsigned long long>(random.next()));
  return text.data();
}

// The wall clock, but never the same time twice in one process.
int64_t unique_time_ns() {
  static std::atomic<int64_t> last = 0;
  const int64_t now = unix_ns(system_clock().wall_now());
  int64_t seen = last;
  while (!last.compare_exchange_weak(seen, std::max(now, seen + 1))) {
  }
  return std::max(now, seen + 1);
}

Etag etag_of(const io::FileStat& stat) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), "%llx-%llx-%llx", static_cast<unsigned long long>(stat.mtime_ns),
                static_cast<unsigned long long>(stat.inode), static_cast<unsigned long long>(stat.size_bytes));
  return text.data();
}

ObjectInfo info_of(std::string_view key, const io::FileStat& stat) {
  return {std::string(key), stat.size_bytes, etag_of(stat), from_unix_ns(stat.mtime_ns)};
}

bool is_absence(const Error& error) {
  return error == ErrorCode::kNotFound || error == ErrorCode::kNotDirectory || error == ErrorCode::kNameTooLong ||
         error == ErrorCode::kLoop;
}

// What a file system says, in the words of UnderStore.
Error store_error(Error error) {
  if (error == ErrorCode::kPermission || error == ErrorCode::kReadOnly) {
    return Error(ErrorCode::kDenied, error.to_string() + "; let this user write below the directory");
  }
  if (error == ErrorCode::kNoSpace) {
    return Error(ErrorCode::kUnavailable, error.to_string() + "; free space on the under store's file system");
  }
  return error;
}

// "etag=..\ncontent-type=..\nupload=..\nx-name=value\n": no value has a newline.
std::string serialise(const Etag& etag, const ObjectAttributes& object, std::string_view upload_id) {
  std::string text = "etag=" + etag + '\n';
  if (!object.content_type.empty()) text += "content-type=" + object.content_type + '\n';
  for (const auto& [name, header] : kObjectHeaders) {
    if (!(object.*header).empty()) text += std::string(name) + '=' + object.*header + '\n';
  }
  if (!upload_id.empty()) text += "upload=" + std::string(upload_id) + '\n';
  for (const auto& [name, value] : object.user) text += "x-" + name + '=' + value + '\n';
  return text;
}

struct Serialised {
  Etag etag;
  ObjectAttributes object;
  std::string upload_id;
};

Serialised parse(std::string_view text) {
  Serialised out;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string_view name = line.substr(0, equals);
    const std::string value(line.substr(equals + 1));
    if (name == "etag") out.etag = value;
    if (name == "content-type") out.object.content_type = value;
    for (const auto& [header_name, header] : kObjectHeaders) {
      if (name == header_name) out.object.*header = value;
    }
    if (name == "upload") out.upload_id = value;
    if (name.starts_with("x-")) out.object.user.emplace(name.substr(2), value);
  }
  return out;
}

std::string parent_of(std::string_view name) {
  const size_t slash = name.rfind('/');
  return slash == std::string_view::npos ? "." : std::string(name.substr(0, slash));
}

bool is_upload_id(std::string_view id) {
  return id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// The file `upload` of an upload's directory: the escaped key, then the attributes.
Result<std::string> read_upload(const io::Directory& root, const std::string& directory) {
  TRY_ASSIGN(const io::File file, root.open_file((directory + "/upload").c_str(), {}));
  return file.read_all(kAttributesBytesMax);
}

}  // namespace

struct LocalUfs::NewFile {
  const io::Directory* root = nullptr;
  std::string name;  // below root
  io::File file;

  NewFile(const io::Directory& directory, std::string n, io::File f)
      : root(&directory), name(std::move(n)), file(std::move(f)) {}
  NewFile(NewFile&& other) noexcept
      : root(std::exchange(other.root, nullptr)), name(std::move(other.name)), file(std::move(other.file)) {}
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile() {
    if (root != nullptr) (void)root->unlink(name.c_str());
  }

  Result<void> become(const std::string& to) {
    TRY(root->rename(name.c_str(), *root, to.c_str(), io::Replace::kReplace));
    root = nullptr;
    return {};
  }
};

struct LocalUfs::NameLock {
  static Result<NameLock> take(const LocalUfs& store, Deadline deadline) {
    std::unique_lock lock(store.lock_mutex_, std::defer_lock);
    if (deadline.time() == TimePoint::max()) {
      lock.lock();
    } else if (!lock.try_lock_until(deadline.time())) {
      return fail(ErrorCode::kTimedOut, store.uri() + ": other writers held the lock until the deadline");
    }
    for (Duration pause = std::chrono::microseconds(100);; pause = std::min<Duration>(pause * 2, kLockPollMax)) {
      const auto taken = store.lock_file_.try_lock(io::Lock::kExclusive);
      if (taken) return NameLock(store, std::move(lock));
      if (taken.error() != ErrorCode::kBusy) return fail(taken.error());
      if (deadline.expired()) {
        return fail(ErrorCode::kTimedOut, store.uri() + ": another process held the lock until the deadline");
      }
      std::this_thread::sleep_for(pause);
    }
  }
  NameLock(NameLock&& other) noexcept
      : store_(std::exchange(other.store_, nullptr)), lock_(std::move(other.lock_)) {}
  ~NameLock() {
    if (store_ != nullptr) (void)store_->lock_file_.unlock();
  }

 private:
  NameLock(const LocalUfs& store, std::unique_lock<std::timed_mutex> lock) : store_(&store), lock_(std::move(lock)) {}

  const LocalUfs* store_;
  std::unique_lock<std::timed_mutex> lock_;
};

// A part's name is "NUMBER.CRC32C", with "-" for a checksum that is not known.
struct LocalUfs::StoredPart {
  Part part;
  std::string name;
  int64_t mtime_ns = 0;
};

Result<std::unique_ptr<LocalUfs>> LocalUfs::open(const std::string& path) {
  std::string clean = path;
  while (clean.size() > 1 && clean.ends_with('/')) clean.pop_back();
  auto root = io::Directory::open(clean);
  if (failed_with(root, ErrorCode::kNotFound)) {
    return fail(ErrorCode::kDenied, "file://" + clean + ": no such directory; create it or correct the path");
  }
  if (failed_with(root, ErrorCode::kNotDirectory)) {
    return fail(ErrorCode::kInvalid, "file://" + clean + " is not a directory");
  }
  if (!root) return fail(store_error(std::move(root).error()));
  std::unique_ptr<LocalUfs> store(new LocalUfs(std::move(clean), *std::move(root)));
  if (auto prepared = store->prepare(); !prepared) return fail(store_error(std::move(prepared).error()));
  return store;
}

Result<void> LocalUfs::prepare() {
  for (const char* name : {"objects", "uploads", "attributes", "new"}) {
    TRY(root_.make_directories(hidden(name), kDirectoryMode));
  }
  TRY_ASSIGN(lock_file_, root_.open_file(hidden("lock").c_str(), {.access = io::Access::kReadWrite,
                                                                  .create = io::Create::kIfAbsent,
                                                                  .mode = kFileMode}));
  TRY_ASSIGN(const NewFile trial, new_file());
  has_xattrs_ = trial.file.set_xattr(kAttributes, "trial").has_value();

  // What a crashed process left half-written.
  TRY_ASSIGN(const io::Directory leftovers, root_.open_directory(hidden("new").c_str()));
  const int64_t oldest_ns = unix_ns(system_clock().wall_now()) - Duration(kLeftoverAge).count();
  std::vector<std::string> old;
  TRY(leftovers.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    std::string name(entry.name);
    const auto stat = leftovers.stat(name.c_str());
    if (stat && stat->mtime_ns < oldest_ns) old.push_back(std::move(name));
    return io::Visit::kContinue;
  }));
  for (const std::string& name : old) (void)leftovers.unlink(name.c_str());
  return {};
}

Result<void> LocalUfs::admit(std::string_view key, Deadline deadline) const {
  TRY(check_key("", key, kLongKeyBytesMax));
  if (deadline.expired()) return fail(ErrorCode::kTimedOut, uri() + std::string(key) + ": the deadline has passed");
  return {};
}

Result<Capabilities> LocalUfs::probe(Deadline deadline) {
  TRY(admit("probe", deadline));
  auto trial = new_file();
  if (trial) {
    if (auto sealed = seal(*trial, {}); !sealed) return fail(store_error(std::move(sealed).error()));
  } else {
    return fail(store_error(std::move(trial).error()));
  }
  return Capabilities{.conditional_put = true, .conditional_copy = true, .multipart_copy = true};
}

Result<LocalUfs::Found> LocalUfs::find(std::string_view key) const {
  const auto stat_of = [&](const std::string& name) -> Result<std::optional<io::FileStat>> {
    auto stat = root_.stat(name.c_str());
    if (stat) return *stat;
    if (is_absence(stat.error())) return std::nullopt;
    return fail(store_error(std::move(stat).error()));
  };
  std::string escaped = hidden("objects/" + local::escape(key));
  TRY_ASSIGN(auto stat, stat_of(escaped));
  if (stat && stat->type() == io::FileType::kRegular) {
    return Found{Place::kEscaped, std::move(escaped), info_of(key, *stat)};
  }
  const auto absent = [&] { return fail(ErrorCode::kNotFound, uri() + ": no object " + std::string(key)); };
  if (!local::is_path(key)) return absent();
  std::string name(key);
  const bool directory = name.ends_with('/');
  if (directory) name.pop_back();
  TRY_ASSIGN(stat, stat_of(name));
  if (!stat) return absent();
  if (!directory && stat->type() == io::FileType::kRegular) {
    return Found{Place::kPath, std::move(name), info_of(key, *stat)};
  }
  if (directory && stat->type() == io::FileType::kDirectory && has_xattrs_) {
    const auto opened = root_.open_file(name.c_str(), {});
    if (!opened) return absent();
    const auto mark = opened->get_xattr(kMark);
    if (failed_with(mark, ErrorCode::kNoAttribute)) return absent();
    if (!mark) return fail(store_error(mark.error()));
    // Its children change a directory's time; the mark has the time of the put.
    Etag etag = parse(*mark).etag;
    int64_t time_ns = 0;
    std::from_chars(etag.data(), etag.data() + etag.size(), time_ns, 16);
    return Found{Place::kDirectory, std::move(name), {std::string(key), 0, std::move(etag), from_unix_ns(time_ns)}};
  }
  return absent();
}

Result<LocalUfs::Attributes> LocalUfs::attributes_of(const Found& found) const {
  const auto text = [&]() -> Result<std::string> {
    if (!has_xattrs_) {
      TRY_ASSIGN(const io::File file, root_.open_file(hidden("attributes/" + found.info.etag).c_str(), {}));
      return file.read_all(kAttributesBytesMax);
    }
    TRY_ASSIGN(const io::File file, root_.open_file(found.name.c_str(), {}));
    return file.get_xattr(found.place == Place::kDirectory ? kMark : kAttributes);
  }();
  if (!text) {
    if (text.error() == ErrorCode::kNoAttribute || is_absence(text.error())) return Attributes{};
    return fail(store_error(text.error()));
  }
  Serialised stored = parse(*text);
  if (stored.etag != found.info.etag) return Attributes{};  // of bytes that another program has changed since
  return Attributes{std::move(stored.object), std::move(stored.upload_id)};
}

Result<void> LocalUfs::check(std::string_view key, const Conditions& conditions) const {
  TRY(check_conditions(conditions));
  if (!conditions.if_match && !conditions.if_none_match) return {};
  const auto found = find(key);
  if (!found && found.error() != ErrorCode::kNotFound) return fail(found.error());
  if (conditions.if_none_match && found) {
    return fail(ErrorCode::kPrecondition, uri() + std::string(key) + " exists");
  }
  if (conditions.if_match && (!found || found->info.etag != *conditions.if_match)) {
    return fail(ErrorCode::kPrecondition, uri() + std::string(key) + " is not " + *conditions.if_match + " any more");
  }
  return {};
}

Result<ObjectHead> LocalUfs::head(std::string_view key, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY_ASSIGN(Found found, find(key));
  TRY_ASSIGN(Attributes attributes, attributes_of(found));
  return ObjectHead{std::move(found.info), std::move(attributes.object)};
}

Result<size_t> LocalUfs::get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                             const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) {
  TRY(admit(key, deadline));
  for (int attempt = 0; attempt < kReadTriesMax; ++attempt) {
    TRY_ASSIGN(const Found found, find(key));
    if (if_match && found.info.etag != *if_match) {
      return fail(ErrorCode::kPrecondition, uri() + std::string(key) + " is not " + *if_match + " any more");
    }
    if (info != nullptr) *info = found.info;
    if (found.place == Place::kDirectory || offset >= found.info.size_bytes || buffer.empty()) return 0;
    auto file = root_.open_file(found.name.c_str(), {});
    if (!file) {
      if (is_absence(file.error())) continue;
      return fail(store_error(std::move(file).error()));
    }
    const auto wanted = buffer.first(std::min<uint64_t>(buffer.size(), found.info.size_bytes - offset));
    auto bytes = file->read_at(offset, wanted);
    if (!bytes) return fail(store_error(std::move(bytes).error()));
    // The file read is the one found, and nobody wrote into it meanwhile.
    const auto stat = file->stat();
    if (!stat) return fail(store_error(stat.error()));
    if (etag_of(*stat) == found.info.etag && *bytes == wanted.size()) return *bytes;
  }
  return fail(ErrorCode::kUnavailable, uri() + std::string(key) + ": the file keeps changing while it is read");
}

Result<LocalUfs::NewFile> LocalUfs::new_file() const {
  std::string name = hidden("new/" + random_name());
  auto file = root_.open_file(name.c_str(), {.access = io::Access::kReadWrite,
                                             .create = io::Create::kExclusive,
                                             .mode = kFileMode});
  if (!file) return fail(store_error(std::move(file).error()));
  return NewFile(root_, std::move(name), *std::move(file));
}

Result<Etag> LocalUfs::seal(const NewFile& file, const Attributes& attributes) const {
  TRY(file.file.set_times(std::nullopt, unique_time_ns()));
  TRY_ASSIGN(const io::FileStat stat, file.file.stat());
  Etag etag = etag_of(stat);
  const bool worth_storing = !says(attributes.object, {}) || !attributes.object.content_type.empty() ||
                             !attributes.upload_id.empty();
  if (worth_storing) {
    const std::string text = serialise(etag, attributes.object, attributes.upload_id);
    if (has_xattrs_) {
      TRY(file.file.set_xattr(kAttributes, text));
    } else {
      TRY_ASSIGN(const io::File beside,
                 root_.open_file(hidden("attributes/" + etag).c_str(),
                                 {.access = io::Access::kWrite, .create = io::Create::kIfAbsent, .mode = kFileMode,
                                  .truncate = true}));
      TRY(beside.write_at(0, text));
      TRY(beside.sync());
      TRY(sync_parent(hidden("attributes/" + etag)));
    }
  }
  TRY(file.file.sync());
  return etag;
}

Result<void> LocalUfs::sync_parent(std::string_view name) const {
  TRY_ASSIGN(const io::Directory parent, root_.open_directory(parent_of(name).c_str()));
  return parent.sync();
}

Result<void> LocalUfs::make_parents(std::string_view name) const {
  const std::string parent = parent_of(name);
  TRY_ASSIGN(const bool there, root_.exists(parent.c_str()));
  if (there) return {};
  TRY(root_.make_directories(parent, kDirectoryMode));
  for (std::string made = parent; made != "."; made = parent_of(made)) TRY(sync_parent(made));
  return {};
}

Result<void> LocalUfs::publish(NewFile file, std::string_view key, const Conditions& conditions, Deadline deadline) {
  std::string name;
  {
    TRY_ASSIGN(const NameLock lock, NameLock::take(*this, deadline));
    TRY(check(key, conditions));
    const auto before = find(key);
    if (!before && before.error() != ErrorCode::kNotFound) return fail(before.error());
    bool published = false;
    if (local::is_path(key) && !key.ends_with('/') && !(before && before->place == Place::kEscaped)) {
      name = key;
      // A name in the way of this path: an object that is a file where we need a directory, or the reverse.
      auto renamed = make_parents(name);
      if (renamed) renamed = file.become(name);
      published = renamed.has_value();
      const bool in_the_way =
          !published && (renamed.error() == ErrorCode::kNotDirectory || renamed.error() == ErrorCode::kIsDirectory ||
                         renamed.error() == ErrorCode::kExists || renamed.error() == ErrorCode::kNotEmpty ||
                         renamed.error() == ErrorCode::kNameTooLong || renamed.error() == ErrorCode::kLoop);
      if (!published && !in_the_way) return fail(store_error(std::move(renamed).error()));
    }
    if (!published) {
      name = hidden("objects/" + local::escape(key));
      TRY(make_parents(name));
      TRY(file.become(name));
      // It hides a directory object of this key, which goes.
      if (before && before->place == Place::kDirectory) {
        std::vector<std::string> changed;
        TRY(remove(*before, changed));
      }
    }
    if (before) forget_attributes(*before);
  }
  if (auto synced = sync_parent(name); !synced) {
    return fail(ErrorCode::kMayHaveHappened, synced.error().to_string());
  }
  return {};
}

Result<Etag> LocalUfs::put_directory(std::string_view key, const PutOptions& options, Deadline deadline) {
  const std::string name(key.substr(0, key.size() - 1));
  TRY_ASSIGN(const NameLock lock, NameLock::take(*this, deadline));
  TRY(check(key, options.conditions));
  const auto before = find(key);
  if (before && before->place == Place::kEscaped) return fail(ErrorCode::kExists);
  TRY(make_parents(name));
  if (auto made = root_.make_directory(name.c_str(), kDirectoryMode); !made && made.error() != ErrorCode::kExists) {
    return fail(std::move(made).error());
  }
  TRY_ASSIGN(const io::File directory, root_.open_file(name.c_str(), {}));
  TRY_ASSIGN(const io::FileStat stat, directory.stat());
  if (stat.type() != io::FileType::kDirectory) return fail(ErrorCode::kNotDirectory);
  io::FileStat identity = stat;
  identity.mtime_ns = unique_time_ns();
  identity.size_bytes = 0;
  Etag etag = etag_of(identity);
  TRY(directory.set_xattr(kMark, serialise(etag, options.attributes, "")));
  TRY(directory.sync());
  TRY(sync_parent(name));
  return etag;
}

Result<Etag> LocalUfs::put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                           Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_attributes(options.attributes));
  TRY(check_conditions(options.conditions));
  TRY(check_body(body.size()));
  if (body.empty() && key.ends_with('/') && has_xattrs_ && local::is_path(key)) {
    auto etag = put_directory(key, options, deadline);
    // With another object in the way it is kept as a hidden file.
    if (etag || (etag.error() != ErrorCode::kExists && !is_absence(etag.error()))) return etag;
  }
  TRY_ASSIGN(NewFile file, new_file());
  if (auto written = file.file.write_at(0, body); !written) return fail(store_error(std::move(written).error()));
  auto etag = seal(file, {options.attributes, ""});
  if (!etag) return fail(store_error(std::move(etag).error()));
  TRY(publish(std::move(file), key, options.conditions, deadline));
  return etag;
}

void LocalUfs::forget_attributes(const Found& found) const {
  if (!has_xattrs_) (void)root_.unlink(hidden("attributes/" + found.info.etag).c_str());
}

Result<void> LocalUfs::remove(const Found& found, std::vector<std::string>& changed_directories) const {
  if (found.place == Place::kDirectory) {
    TRY_ASSIGN(const io::File directory, root_.open_file(found.name.c_str(), {}));
    TRY(directory.remove_xattr(kMark));
    TRY(directory.sync());
  } else {
    TRY(root_.unlink(found.name.c_str()));
  }
  forget_attributes(found);
  // Directories that are not objects vanish with their last object.
  std::string name = found.place == Place::kDirectory ? found.name : parent_of(found.name);
  for (; name != "." && name != hidden("objects"); name = parent_of(name)) {
    if (found.place != Place::kEscaped && find(name + '/')) break;
    if (!root_.remove_directory(name.c_str())) break;
  }
  changed_directories.push_back(std::move(name));
  return {};
}

Result<void> LocalUfs::erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) {
  TRY(admit(key, deadline));
  std::vector<std::string> changed;
  {
    TRY_ASSIGN(const NameLock lock, NameLock::take(*this, deadline));
    const auto found = find(key);
    if (failed_with(found, ErrorCode::kNotFound)) return {};
    if (!found) return fail(found.error());
    TRY(check(key, {.if_match = if_match}));
    if (auto removed = remove(*found, changed); !removed) return fail(store_error(std::move(removed).error()));
  }
  for (const std::string& directory : changed) {
    // Gone since means removed by somebody who syncs what is above.
    const auto opened = root_.open_directory(directory.c_str());
    if (!opened) continue;
    if (auto synced = opened->sync(); !synced) {
      return fail(ErrorCode::kMayHaveHappened, synced.error().to_string());
    }
  }
  return {};
}

Result<std::vector<Result<void>>> LocalUfs::erase_batch(const std::vector<std::string>& keys, Deadline deadline) {
  if (keys.size() > kEraseBatchMax) return fail(ErrorCode::kInvalid, "more than 1000 keys in one batch");
  std::vector<Result<void>> results;
  std::vector<std::string> changed;
  {
    TRY_ASSIGN(const NameLock lock, NameLock::take(*this, deadline));
    for (const std::string& key : keys) {
      results.push_back([&]() -> Result<void> {
        TRY(admit(key, deadline));
        const auto found = find(key);
        if (failed_with(found, ErrorCode::kNotFound)) return {};
        if (!found) return fail(found.error());
        auto removed = remove(*found, changed);
        if (!removed) return fail(store_error(std::move(removed).error()));
        return {};
      }());
    }
  }
  std::ranges::sort(changed);
  const auto repeated = std::ranges::unique(changed);
  changed.erase(repeated.begin(), repeated.end());
  for (const std::string& directory : changed) {
    const auto opened = root_.open_directory(directory.c_str());
    if (!opened) continue;
    if (auto synced = opened->sync(); !synced) {
      return fail(ErrorCode::kMayHaveHappened, synced.error().to_string());
    }
  }
  return results;
}

Result<ListPage> LocalUfs::list(const ListRequest& request, Deadline deadline) {
  TRY(admit("list", deadline));
  if (!request.token.empty() && request.token[0] != 'k' && request.token[0] != 'p') {
    return fail(ErrorCode::kInvalid, uri() + ": not a token of a listing here");
  }
  return LocalWalk(*this, request).run();
}

Result<Etag> LocalUfs::copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                            Deadline deadline) {
  TRY(admit(source, deadline));
  TRY(check_key("", destination, kLongKeyBytesMax));
  TRY(check_conditions(options.conditions));
  if (options.attributes) TRY(check_attributes(*options.attributes));
  if (source == destination && !options.attributes) {
    return fail(ErrorCode::kInvalid, uri() + ": a copy of an object onto itself must change its attributes");
  }
  for (int attempt = 0; attempt < kReadTriesMax; ++attempt) {
    TRY_ASSIGN(const Found found, find(source));
    TRY(check(source, {.if_match = options.source_if_match}));
    TRY_ASSIGN(Attributes attributes, attributes_of(found));
    if (options.attributes) attributes.object = *options.attributes;
    attributes.upload_id.clear();
    if (found.place == Place::kDirectory) {
      return put(destination, {}, {attributes.object, options.conditions}, deadline);
    }
    TRY_ASSIGN(NewFile file, new_file());
    auto from = root_.open_file(found.name.c_str(), {});
    if (!from) {
      if (is_absence(from.error())) continue;
      return fail(store_error(std::move(from).error()));
    }
    if (!file.file.clone(*from)) {
      auto copied = file.file.copy_range(*from, 0, 0, found.info.size_bytes);
      if (!copied) return fail(store_error(std::move(copied).error()));
    }
    TRY_ASSIGN(const io::FileStat stat, from->stat());
    if (etag_of(stat) != found.info.etag) continue;  // another object now, or changed by another program
    auto etag = seal(file, attributes);
    if (!etag) return fail(store_error(std::move(etag).error()));
    TRY(publish(std::move(file), destination, options.conditions, deadline));
    return etag;
  }
  return fail(ErrorCode::kUnavailable, uri() + std::string(source) + ": the file keeps changing while it is copied");
}

std::string LocalUfs::upload_directory(std::string_view upload_id) const {
  return hidden("uploads/" + std::string(upload_id));
}

Result<void> LocalUfs::check_upload(std::string_view key, std::string_view upload_id) const {
  if (is_upload_id(upload_id)) {
    const auto text = read_upload(root_, upload_directory(upload_id));
    if (text && text->starts_with(local::escape(key) + '\n')) return {};
    if (!text && !is_absence(text.error())) return fail(store_error(text.error()));
  }
  return fail(ErrorCode::kNotFound, uri() + ": no upload " + std::string(upload_id) + " of " + std::string(key));
}

Result<std::string> LocalUfs::create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                               Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_attributes(attributes));
  std::string id = random_name();
  const std::string directory = upload_directory(id);
  const auto create = [&]() -> Result<void> {
    TRY_ASSIGN(NewFile file, new_file());
    TRY(file.file.write_at(0, local::escape(key) + '\n' + serialise("", attributes, "")));
    TRY(file.file.sync());
    TRY(root_.make_directory(directory.c_str(), kDirectoryMode));
    TRY(file.become(directory + "/upload"));
    TRY(sync_parent(directory + "/upload"));
    return sync_parent(directory);
  };
  if (auto created = create(); !created) return fail(store_error(std::move(created).error()));
  return id;
}

Result<std::vector<LocalUfs::StoredPart>> LocalUfs::stored_parts(std::string_view upload_id) const {
  const std::string directory = upload_directory(upload_id);
  TRY_ASSIGN(const io::Directory opened, root_.open_directory(directory.c_str()));
  std::vector<StoredPart> parts;
  TRY(opened.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    const std::string name(entry.name);
    uint32_t number = 0;
    const auto [end, code] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (code != std::errc{} || *end != '.') return io::Visit::kContinue;
    const auto stat = opened.stat(name.c_str());
    if (!stat) return io::Visit::kContinue;
    const std::string checksum(end + 1);
    std::string text;
    if (uint32_t crc = 0; checksum != "-") {
      std::from_chars(checksum.data(), checksum.data() + checksum.size(), crc, 16);
      text = net::checksum_text(crc);
    }
    parts.push_back({{number, etag_of(*stat), stat->size_bytes, std::move(text)}, directory + '/' + name,
                     stat->mtime_ns});
    return io::Visit::kContinue;
  }));
  // A crash may leave a replaced part beside the new one; the newest counts.
  std::ranges::sort(parts, [](const StoredPart& a, const StoredPart& b) {
    return a.part.number != b.part.number ? a.part.number < b.part.number : a.mtime_ns > b.mtime_ns;
  });
  return parts;
}

Result<Part> LocalUfs::store_part(NewFile file, std::string_view upload_id, uint32_t number,
                                  std::string checksum) const {
  TRY(file.file.set_times(std::nullopt, unique_time_ns()));
  TRY(file.file.sync());
  TRY_ASSIGN(const io::FileStat stat, file.file.stat());
  const std::string name = upload_directory(upload_id) + '/' + std::to_string(number) + '.' + checksum;
  TRY(file.become(name));
  TRY(sync_parent(name));
  TRY_ASSIGN(const std::vector<StoredPart> parts, stored_parts(upload_id));
  Part stored{number, etag_of(stat), stat.size_bytes, ""};
  for (const StoredPart& other : parts) {
    if (other.part.number != number) continue;
    if (other.name == name) stored.checksum = other.part.checksum;
    if (other.name != name && other.mtime_ns < stat.mtime_ns) (void)root_.unlink(other.name.c_str());
  }
  return stored;
}

Result<Part> LocalUfs::upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                                   std::span<const std::byte> body, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_part_number(number));
  TRY(check_body(body.size()));
  TRY(check_upload(key, upload_id));
  std::array<char, 16> crc;
  std::snprintf(crc.data(), crc.size(), "%08x", net::crc32c(body));
  TRY_ASSIGN(NewFile file, new_file());
  if (auto written = file.file.write_at(0, body); !written) return fail(store_error(std::move(written).error()));
  auto part = store_part(std::move(file), upload_id, number, crc.data());
  if (!part) return fail(store_error(std::move(part).error()));
  return part;
}

Result<Part> LocalUfs::upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                        std::string_view source, const std::optional<Etag>& source_if_match,
                                        uint64_t offset, uint64_t size, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_key("", source, kLongKeyBytesMax));
  TRY(check_part_number(number));
  TRY(check_body(size));
  TRY(check_upload(key, upload_id));
  TRY_ASSIGN(const Found found, find(source));
  TRY(check(source, {.if_match = source_if_match}));
  if (size == 0 || found.place == Place::kDirectory || offset > found.info.size_bytes ||
      size > found.info.size_bytes - offset) {
    return fail(ErrorCode::kInvalid, uri() + ": the copied range is not inside " + std::string(source));
  }
  TRY_ASSIGN(NewFile file, new_file());
  auto part = [&]() -> Result<Part> {
    TRY_ASSIGN(const io::File from, root_.open_file(found.name.c_str(), {}));
    TRY_ASSIGN(const uint64_t copied, file.file.copy_range(from, offset, 0, size));
    TRY_ASSIGN(const io::FileStat stat, from.stat());
    if (copied != size || etag_of(stat) != found.info.etag) {
      return fail(source_if_match ? ErrorCode::kPrecondition : ErrorCode::kUnavailable,
                  uri() + std::string(source) + " changed while it was copied");
    }
    return store_part(std::move(file), upload_id, number, "-");
  }();
  if (!part) return fail(store_error(std::move(part).error()));
  return part;
}

void LocalUfs::remove_upload(std::string_view upload_id) const {
  const std::string directory = upload_directory(upload_id);
  // Without this file the upload is gone, whatever else is left.
  (void)root_.unlink((directory + "/upload").c_str());
  if (const auto parts = stored_parts(upload_id)) {
    for (const StoredPart& stored : *parts) (void)root_.unlink(stored.name.c_str());
  }
  (void)root_.remove_directory(directory.c_str());
}

Result<Etag> LocalUfs::complete_multipart(std::string_view key, std::string_view upload_id,
                                          const std::vector<Part>& parts, const Conditions& conditions,
                                          Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_conditions(conditions));
  if (auto before = find(key)) {
    TRY_ASSIGN(const Attributes attributes, attributes_of(*before));
    if (!attributes.upload_id.empty() && attributes.upload_id == upload_id) {
      remove_upload(upload_id);
      return before->info.etag;
    }
  }
  TRY(check_upload(key, upload_id));
  TRY(check_parts(parts, 0));
  auto built = [&]() -> Result<std::pair<NewFile, Etag>> {
    TRY_ASSIGN(const std::vector<StoredPart> stored, stored_parts(upload_id));
    TRY_ASSIGN(NewFile file, new_file());
    uint64_t offset = 0;
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto found = std::ranges::find(stored, parts[i].number, [](const StoredPart& s) { return s.part.number; });
      if (found == stored.end() || found->part.etag != parts[i].etag ||
          (!parts[i].checksum.empty() && found->part.checksum != parts[i].checksum)) {
        return fail(ErrorCode::kInvalid, uri() + ": part " + std::to_string(parts[i].number) + " was not uploaded so");
      }
      if (i + 1 < parts.size() && found->part.size_bytes < kPartBytesMin) {
        return fail(ErrorCode::kInvalid, uri() + ": part " + std::to_string(parts[i].number) + " is under 5 MiB");
      }
      TRY_ASSIGN(const io::File from, root_.open_file(found->name.c_str(), {}));
      TRY_ASSIGN(const uint64_t copied, file.file.copy_range(from, 0, offset, found->part.size_bytes));
      if (copied != found->part.size_bytes) {
        return fail(ErrorCode::kUnavailable, uri() + ": a part changed while the upload was completed");
      }
      offset += copied;
    }
    TRY_ASSIGN(const std::string text, read_upload(root_, upload_directory(upload_id)));
    TRY_ASSIGN(Etag etag, seal(file, {parse(text).object, std::string(upload_id)}));
    return std::pair(std::move(file), std::move(etag));
  }();
  if (!built) return fail(store_error(std::move(built).error()));
  TRY(publish(std::move(built->first), key, conditions, deadline));
  remove_upload(upload_id);
  return std::move(built->second);
}

Result<void> LocalUfs::abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(admit(key, deadline));
  const auto there = check_upload(key, upload_id);
  if (failed_with(there, ErrorCode::kNotFound)) return {};
  TRY(there);
  remove_upload(upload_id);
  return {};
}

Result<std::vector<Part>> LocalUfs::list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_upload(key, upload_id));
  const auto stored = stored_parts(upload_id);
  if (!stored) return fail(store_error(stored.error()));
  std::vector<Part> parts;
  for (const StoredPart& s : *stored) {
    if (parts.empty() || parts.back().number != s.part.number) parts.push_back(s.part);
  }
  return parts;
}

Result<std::vector<UploadInfo>> LocalUfs::list_uploads(std::string_view prefix, Deadline deadline) {
  TRY(admit("uploads", deadline));
  std::vector<UploadInfo> uploads;
  TRY_ASSIGN(const io::Directory all, root_.open_directory(hidden("uploads").c_str()));
  TRY(all.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    const std::string id(entry.name);
    if (!is_upload_id(id)) return io::Visit::kContinue;
    const auto text = read_upload(root_, upload_directory(id));
    const auto stat = root_.stat((upload_directory(id) + "/upload").c_str());
    if (!text || !stat) return io::Visit::kContinue;
    const auto key = local::unescape(text->substr(0, text->find('\n')));
    if (key && key->starts_with(prefix)) uploads.push_back({*key, id, from_unix_ns(stat->mtime_ns)});
    return io::Visit::kContinue;
  }));
  std::ranges::sort(uploads, {}, [](const UploadInfo& u) { return std::tie(u.key, u.upload_id); });
  return uploads;
}

}  // namespace weir::ufs
