#include "tests/crash/verified_load.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <thread>
#include <utility>

#include "net/digest.h"
#include "net/encoding.h"
#include "tests/crash/crash_volume.h"
#include "volume/objects.h"

namespace weir::testing {
namespace {

constexpr meta::Caller kCaller = CrashVolume::kCaller;
constexpr size_t kPageBytes = 4096;
constexpr size_t kSectorBytes = 512;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// Bytes that nothing else has.
std::string content_of(uint64_t salt, uint64_t version, size_t size) {
  Random random(salt * 1'000'003 + version);
  std::string content;
  while (content.size() < size) {
    const uint64_t word = random.next() | 0x0101010101010101;  // no byte is zero
    content.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  content.resize(size);
  return content;
}

uint64_t salt_of(std::string_view name) { return std::hash<std::string_view>()(name) % 1'000'000; }

// The file as it is; nullopt: its content was reported as lost. Throws for any other failure but absence.
struct Found {
  bool there = false;
  std::optional<std::string> content;
};
Found look(volume::Volume& volume, const std::string& name) {
  const auto entry = volume.resolve("/s3/" + name);
  if (failed_with(entry, ErrorCode::kNotFound)) return {};
  const InodeId inode = must(entry);
  const auto opened = volume.open_file(inode, {.access = volume::Access::kRead});
  if (failed_with(opened, ErrorCode::kCorrupt)) return {.there = true};
  const auto& file = *opened;
  if (!opened.has_value()) throw std::runtime_error(name + ": " + opened.error().to_string());
  std::string content(4 << 20, '\0');
  auto size = file->read(0, std::as_writable_bytes(std::span(content)));
  // Attributes were being written onto the object when all ended: the persister finds out and goes on.
  for (const Deadline deadline = CrashVolume::later(); failed_with(size, ErrorCode::kStale) && !deadline.expired();) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    size = file->read(0, std::as_writable_bytes(std::span(content)));
  }
  file->close();
  if (failed_with(size, ErrorCode::kCorrupt)) return {.there = true};
  content.resize(must(size));
  return {.there = true, .content = std::move(content)};
}

// What all programs know: how many steps were begun, done, synced.
class Steps {
 public:
  void begin() {
    const std::lock_guard lock(mutex_);
    ++mark_.begun;
  }
  void done(bool synced) {
    const std::lock_guard lock(mutex_);
    mark_.done = mark_.begun;
    if (synced) mark_.synced = mark_.begun;
  }
  Program::Mark get() const {
    const std::lock_guard lock(mutex_);
    return mark_;
  }

 private:
  mutable std::mutex mutex_;
  Program::Mark mark_;
};

// ---- whole files

class Replacer : public Program {
 public:
  explicit Replacer(std::string name) : name_(std::move(name)), salt_(salt_of(name_)) { history_.emplace_back(); }

  void set_up(volume::Volume& volume, InodeId directory) override { attach(volume, directory); }
  void attach(volume::Volume& volume, InodeId directory) override {
    volume_ = &volume;
    directory_ = directory;
  }
  Mark mark() const override { return steps_.get(); }
  void forget() override {}
  const std::string& name() const override { return name_; }

  void step(Random& random) override {
    const std::string file = pick(random), other = pick(random);
    switch (random.below(16)) {
      case 0:
      case 1: return write_in_place(file, random, Sync::kNo);
      case 2: return write_in_place(file, random, Sync::kYes);
      case 3:
      case 4: return replace(file, random, Sync::kNo);
      case 5:
      case 6: return replace(file, random, Sync::kYes);
      case 7: return put(file, random, volume::ObjectDurability::kWrite);
      case 8: return put(file, random, volume::ObjectDurability::kSync);
      case 9: return put(file, random, volume::ObjectDurability::kPersist);
      case 10: return put_in_parts(file, random);
      case 11: return remove(file, random.one_in(2) ? Sync::kYes : Sync::kNo);
      case 12: return rename(file, other);
      case 13: return sync(file);
      case 14: return sync_all();
      default: return read(file);
    }
  }

  std::string check(volume::Volume& volume, const Mark& before, const Mark& after, Death death) override {
    std::map<std::string, Found> found;
    for (const std::string& file : files()) found[file] = look(volume, file);
    const std::lock_guard lock(mutex_);
    const uint64_t first = death == Death::kProcess ? before.done : before.synced;
    for (uint64_t step = first; step <= after.begun && step < history_.size(); ++step) {
      if (matches(history_[step], found, before, death)) return {};
    }
    std::string told = name_ + " is as after none of the steps " + std::to_string(first) + " to " +
                       std::to_string(after.begun) + "; there is\n";
    for (const auto& [file, is] : found) told += "  " + file + ": " + describe(is) + "\n";
    told += "and should be, after those steps\n";
    for (uint64_t step = first; step <= after.begun && step < history_.size(); ++step) {
      told += "  step " + std::to_string(step) + " " + history_[step].what + ":";
      for (const auto& [file, version] : history_[step].files) {
        told += " " + file + "=" + std::to_string(version) +
                (versions_[version].synced_step <= before.done ? "" : "(unsynced)");
      }
      told += "\n";
    }
    return told;
  }

 protected:
  enum class Sync : uint8_t { kNo, kYes };
  using Files = std::map<std::string, uint64_t>;  // to version
  struct Step {
    Files files;
    std::string what;
  };
  struct Version {
    size_t size = 0;
    uint64_t synced_step = UINT64_MAX;  // its content was synced by that step
  };

  // All that it ever has.
  virtual std::vector<std::string> files() const {
    std::vector<std::string> all;
    for (const char* suffix : {"a", "b", "c"}) all.push_back(name_ + "." + suffix);
    all.push_back(name_ + ".tmp");
    return all;
  }
  std::string pick(Random& random) const { return files()[random.below(3)]; }
  volume::ObjectName object(const std::string& file) const { return {.bucket = "s3", .key = file}; }

  // A new step, whose outcome is what `change` makes of the files.
  template <typename Change>
  void begin(const std::string& what, const Change& change) {
    {
      const std::lock_guard lock(mutex_);
      Step next = history_.back();
      next.what = what;
      change(next.files);
      history_.push_back(std::move(next));
    }
    steps_.begin();
  }
  uint64_t new_version(Random& random) {
    const size_t size = random.one_in(4) ? random.below(100'000) : 1 + random.below(6'000);
    return add_version(size);
  }
  uint64_t add_version(size_t size) {
    const std::lock_guard lock(mutex_);
    versions_.push_back({.size = size});
    return versions_.size() - 1;
  }
  std::string content(uint64_t version) const { return content_of(salt_, version, versions_[version].size); }
  void content_synced(uint64_t version) {
    const std::lock_guard lock(mutex_);
    versions_[version].synced_step = std::min(versions_[version].synced_step, history_.size() - 1);
  }
  std::optional<uint64_t> current(const std::string& file) const {
    const auto it = history_.back().files.find(file);
    return it == history_.back().files.end() ? std::nullopt : std::optional(it->second);
  }

  struct Place {
    InodeId directory{};
    std::string name;
  };
  Place place(const std::string& file) {
    const size_t slash = file.find_last_of('/');
    if (slash == std::string::npos) return {directory_, file};
    return {must(volume_->resolve("/s3/" + file.substr(0, slash))), file.substr(slash + 1)};
  }
  InodeId inode(const std::string& file) { return must(volume_->resolve("/s3/" + file)); }
  std::unique_ptr<volume::OpenFile> make(const std::string& file) {
    const Place at = place(file);
    const auto entry = volume_->lookup(at.directory, at.name);
    if (entry.has_value()) {
      return must(volume_->open_file(entry->attributes.inode, {.access = volume::Access::kWrite, .truncate = true}));
    }
    return must(volume_->create(at.directory, at.name, 0644, kCaller, {.access = volume::Access::kWrite})).file;
  }
  // open(O_TRUNC), write, close.
  uint64_t write_file(const std::string& file, Random& random, Sync sync) {
    const uint64_t version = new_version(random);
    const uint64_t empty = add_version(0);
    begin("empty " + file, [&](Files& files) { files[file] = empty; });
    const auto opened = make(file);
    steps_.done(false);
    begin("write " + file, [&](Files& files) { files[file] = version; });
    const std::string bytes = content(version);
    if (!bytes.empty()) must(opened->write(0, bytes_of(bytes)));
    if (sync == Sync::kYes) {
      must(opened->sync());
      content_synced(version);
    }
    must(opened->flush());
    opened->close();
    steps_.done(sync == Sync::kYes);
    return version;
  }
  void write_in_place(const std::string& file, Random& random, Sync sync) { write_file(file, random, sync); }

  // write aside, fsync, rename over.
  void replace(const std::string& file, Random& random, Sync sync) {
    const std::string tmp = name_ + ".tmp";
    const uint64_t version = write_file(tmp, random, Sync::kYes);
    begin("rename " + tmp + " over " + file, [&](Files& files) {
      files.erase(tmp);
      files[file] = version;
    });
    must(volume_->rename(directory_, tmp, directory_, file, meta::RenameMode::kReplace));
    if (sync == Sync::kYes) must(volume_->sync_directory(directory_));
    steps_.done(sync == Sync::kYes);
  }

  void put(const std::string& file, Random& random, volume::ObjectDurability durability, size_t size = 0) {
    const uint64_t version = size == 0 ? new_version(random) : add_version(size);
    begin("put " + file, [&](Files& files) { files[file] = version; });
    const auto writer = must(volume_->objects().put(object(file)));
    const std::string bytes = content(version);
    must(writer->write(bytes_of(bytes)));
    must(writer->commit({.etag = net::hex(net::md5(bytes_of(bytes)))}, {}, durability));
    const bool synced = durability == volume::ObjectDurability::kSync;
    if (durability != volume::ObjectDurability::kWrite) content_synced(version);
    steps_.done(synced);
  }

  void put_in_parts(const std::string& file, Random& random) {
    const size_t part_bytes = 5'000 + random.below(20'000);  // larger uploads have tests of their own
    const uint64_t version = add_version(part_bytes);
    const std::string bytes = content(version);
    const auto durability = random.one_in(2) ? volume::ObjectDurability::kWrite : volume::ObjectDurability::kSync;
    const std::string upload = must(volume_->objects().create_upload(object(file), {}));
    const std::string etag = net::hex(net::md5(bytes_of(bytes)));
    const auto writer = must(volume_->objects().put_part(object(file), upload, 1, bytes.size()));
    must(writer->write(bytes_of(bytes)));
    must(writer->commit(etag, {}, durability));
    begin("complete " + file, [&](Files& files) { files[file] = version; });
    must(volume_->objects().complete_upload(object(file), upload, {.parts = {{.number = 1, .etag = etag}}, .durability = durability}));
    const bool synced = durability == volume::ObjectDurability::kSync;
    if (synced) content_synced(version);
    steps_.done(synced);
  }

  void remove(const std::string& file, Sync sync) {
    if (!current(file)) return;
    begin("remove " + file, [&](Files& files) { files.erase(file); });
    const Place at = place(file);
    must(volume_->unlink(at.directory, at.name));
    if (sync == Sync::kYes) must(volume_->sync_directory(directory_));
    steps_.done(sync == Sync::kYes);
  }

  void rename(const std::string& file, const std::string& other, meta::RenameMode mode = meta::RenameMode::kReplace) {
    const auto version = current(file), replaced = current(other);
    if (!version || file == other) return;
    begin("rename " + file + " to " + other, [&](Files& files) {
      files.erase(file);
      files[other] = *version;
      if (mode == meta::RenameMode::kExchange) files[file] = *replaced;
    });
    const Place from = place(file), to = place(other);
    must(volume_->rename(from.directory, from.name, to.directory, to.name, mode));
    steps_.done(false);
  }

  void sync(const std::string& file) {
    const auto version = current(file);
    if (!version) return;
    begin("sync " + file, [](Files&) {});
    const auto opened = must(volume_->open_file(inode(file), {.access = volume::Access::kRead}));
    must(opened->sync());
    content_synced(*version);
    opened->close();
    steps_.done(true);
  }

  void sync_all() {
    begin("sync all", [](Files&) {});
    must(volume_->sync_all());
    for (const auto& [file, version] : history_.back().files) content_synced(version);
    steps_.done(true);
  }

  void read(const std::string& file) {
    const auto version = current(file);
    const Found found = look(*volume_, file);
    if (found.there != version.has_value()) throw std::runtime_error(file + (version ? " is gone" : " is back"));
    if (!version) return;
    if (!found.content) throw std::runtime_error(file + " was reported as lost while nothing died");
    if (*found.content != content(*version)) throw std::runtime_error(file + " has other bytes than were written");
  }

  volume::Volume* volume_ = nullptr;
  InodeId directory_{};
  Steps steps_;
  std::mutex mutex_;
  std::deque<Step> history_;
  std::deque<Version> versions_;
  const std::string name_;

 private:
  bool matches(const Step& step, const std::map<std::string, Found>& found, const Mark& before, Death death) const {
    return std::ranges::all_of(found, [&](const auto& entry) {
      const auto& [file, is] = entry;
      const auto it = step.files.find(file);
      if (it == step.files.end()) return !is.there;
      if (!is.there) return false;
      const Version& version = versions_[it->second];
      const bool unsynced = death == Death::kPower && version.synced_step > before.done;
      if (!is.content) return unsynced && version.size != 0;
      return *is.content == content(it->second) || (unsynced && was_before(*is.content, step));
    });
  }

  // A content that was there before `step`: of the same file, which may have had another name then.
  bool was_before(const std::string& is, const Step& step) const {
    for (const Step& earlier : history_) {
      if (&earlier == &step) return false;
      for (const auto& [name, version] : earlier.files) {
        if (is == content(version)) return true;
      }
    }
    return false;
  }

  std::string describe(const Found& found) const {
    if (!found.there) return "nothing";
    if (!found.content) return "reported as lost";
    for (uint64_t version = versions_.size(); version-- > 0;) {
      if (*found.content == content(version)) return "version " + std::to_string(version);
    }
    const auto zeros = static_cast<size_t>(std::ranges::count(*found.content, '\0'));
    return "no version: " + std::to_string(found.content->size()) + " bytes, " + std::to_string(zeros) + " zeros";
  }

  const uint64_t salt_;
};

// ---- all kinds of operations, one after the other

class Tour final : public Replacer {
 public:
  Tour(std::string name, MemUfs& bucket, pages::PageStore& pages)
      : Replacer(std::move(name)), bucket_(bucket), pages_(pages) {}

  void set_up(volume::Volume& volume, InodeId directory) override {
    Replacer::set_up(volume, directory);
    must(bucket_.put("found/object", bytes_of("there before"), {}, CrashVolume::later()));
    must(volume.set_rules_document(
        R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK"},
            "pathRules": [{"path": "/s3/through", "policyMode": "WRITE_THROUGH"}]})"));
  }

  // One stage, the next one.
  static constexpr uint64_t kStages = 10;
  void step(Random& random) override {
    switch (stage_++ % kStages) {
      case 0:  // plain files, small and in parts, with attributes that need an object of their own
        write_file("plain", random, Sync::kYes);
        put("small", random, volume::ObjectDurability::kSync, 5'000);
        put("large", random, volume::ObjectDurability::kSync, 120'000);
        must(volume_->set_xattr(inode("plain"), "user.large", std::string(5'000, 'x'), meta::Namespace::XattrMode::kSet));
        put("through", random, volume::ObjectDurability::kPersist);
        write_file("through", random, Sync::kNo);
        return drain();
      case 1:  // the object of another file is in the way
        rename("plain", "aside");
        write_file("plain", random, Sync::kYes);
        return drain();
      case 2:
        rename("plain", "aside", meta::RenameMode::kExchange);
        return drain();
      case 3:  // a directory and what is below it
        make_directory("tree");
        write_file("tree/one", random, Sync::kYes);
        write_file("tree/two", random, Sync::kNo);
        drain();
        begin("rename the tree", [&](Files& files) {
          for (const char* file : {"one", "two"}) {
            files[std::string("moved/") + file] = files[std::string("tree/") + file];
            files.erase(std::string("tree/") + file);
          }
        });
        must(volume_->rename(directory_, "tree", directory_, "moved", meta::RenameMode::kReplace));
        steps_.done(false);
        return drain();
      case 4:
        begin("remove the tree", [&](Files& files) {
          files.erase("moved/one");
          files.erase("moved/two");
        });
        must(volume_->remove_tree(directory_, "moved"));
        steps_.done(false);
        // One that nobody ever looked into.
        if (volume_->lookup(directory_, "found").has_value()) must(volume_->remove_tree(directory_, "found"));
        return drain();
      case 5: {  // what is open outlives its name, also where its object has to make room
        evict();
        const auto opened = must(volume_->open_file(inode("large"), {.access = volume::Access::kRead}));
        remove("large", Sync::kNo);
        drain();
        std::string start(10, '\0');
        must(opened->read(0, std::as_writable_bytes(std::span(start))));
        opened->close();
        return drain();
      }
      case 6: {  // changed by others and here
        const std::string other = "by others";
        must(bucket_.put("aside", bytes_of(other), {}, CrashVolume::later()));
        write_file("aside", random, Sync::kYes);
        return drain();
      }
      case 7:
        put_in_parts("parts", random);
        sync_all();
        return drain();
      case 8:  // copied inside the store, then renamed, as objects
        put("small", random, volume::ObjectDurability::kSync, 5'000);
        drain();
        evict();
        begin("copy", [&](Files& files) { files["copied"] = files["small"]; });
        must(volume_->objects().copy(object("small"), object("copied"), {}));
        steps_.done(false);
        drain();
        begin("rename the copy", [&](Files& files) {
          files["renamed"] = files["copied"];
          files.erase("copied");
        });
        must(volume_->objects().rename(object("copied"), object("renamed").key, {}, {}));
        steps_.done(false);
        return drain();
      default:
        remove("plain", Sync::kYes);
        drain();
        evict();
        read("aside");
        return;
    }
  }

 private:
  std::vector<std::string> files() const override {
    return {"plain", "small", "large", "through", "aside", "tree/one", "tree/two", "moved/one", "moved/two", "parts", "copied", "renamed"};
  }
  void make_directory(const std::string& name) {
    if (!volume_->lookup(directory_, name).has_value()) must(volume_->make_directory(directory_, name, 0755, kCaller));
  }
  void drain() { must(volume_->persister().drain(CrashVolume::later())); }
  void evict() {
    for (const LocalFileId id : pages_.files()) pages_.evict(id);
  }

  MemUfs& bucket_;
  pages::PageStore& pages_;
  uint64_t stage_ = 0;
};

// ---- a file that grows

class Appender final : public Program {
 public:
  explicit Appender(std::string name) : name_(std::move(name)), salt_(salt_of(name_)) {}

  void set_up(volume::Volume& volume, InodeId directory) override { attach(volume, directory); }
  void attach(volume::Volume& volume, InodeId directory) override {
    volume_ = &volume;
    directory_ = directory;
  }
  Mark mark() const override {
    const std::lock_guard lock(mutex_);
    return mark_;
  }
  void forget() override { file_.reset(); }
  const std::string& name() const override { return name_; }

  // Steps are bytes here.
  void step(Random& random) override {
    if (!file_) {
      const auto entry = volume_->lookup(directory_, name_);
      file_ = entry.has_value()
                  ? must(volume_->open_file(entry->attributes.inode, {.access = volume::Access::kReadWrite}))
                  : must(volume_->create(directory_, name_, 0644, kCaller, {.access = volume::Access::kReadWrite})).file;
    }
    const size_t size = 1 + random.below(3'000);
    if (mark_.done + size > kBytesMax) return;
    const std::string bytes = stream(mark_.done + size).substr(mark_.done);
    {
      const std::lock_guard lock(mutex_);
      mark_.begun += size;
    }
    must(file_->append(bytes_of(bytes)));
    bool synced = false;
    switch (random.below(10)) {
      case 0:
      case 1:
        must(file_->sync());
        synced = true;
        break;
      case 2:
        must(file_->flush());
        file_->close();
        file_.reset();
        break;
      default: break;
    }
    const std::lock_guard lock(mutex_);
    mark_.done = mark_.begun;
    if (synced) mark_.synced = mark_.done;
  }

  std::string check(volume::Volume& volume, const Mark& before, const Mark& after, Death death) override {
    const uint64_t first = death == Death::kProcess ? before.done : before.synced;
    const Found found = look(volume, name_);
    if (!found.there) return first == 0 ? "" : name_ + " is gone; " + std::to_string(first) + " bytes must be there\n";
    if (!found.content) {
      if (death == Death::kPower && before.synced == 0) return {};
      return name_ + " was reported as lost; " + std::to_string(first) + " bytes must be there\n";
    }
    const std::string& is = *found.content;
    const std::string expected = stream(after.begun);
    if (is.size() >= first && is.size() <= after.begun && expected.starts_with(is)) return {};
    const auto [wrong, unused] = std::ranges::mismatch(is, expected);
    return name_ + " has " + std::to_string(is.size()) + " bytes, wrong from " + std::to_string(wrong - is.begin()) +
           " on; " + std::to_string(first) + " to " + std::to_string(after.begun) + " must be there, " +
           std::to_string(std::ranges::count(is, '\0')) + " are zeros\n";
  }

 private:
  static constexpr uint64_t kBytesMax = 2 << 20;

  std::string stream(uint64_t size) const { return content_of(salt_, 0, size); }

  const std::string name_;
  const uint64_t salt_;
  volume::Volume* volume_ = nullptr;
  InodeId directory_{};
  std::unique_ptr<volume::OpenFile> file_;
  mutable std::mutex mutex_;
  Mark mark_;
};

// ---- a file that is changed in place

class PageWriter final : public Program {
 public:
  explicit PageWriter(std::string name) : name_(std::move(name)), salt_(salt_of(name_) << 32) {}

  void set_up(volume::Volume& volume, InodeId directory) override {
    volume_ = &volume;
    directory_ = directory;
    const auto created = must(volume.create(directory, name_, 0644, kCaller, {.access = volume::Access::kReadWrite}));
    for (size_t page = 0; page < kPages; ++page) must(created.file->write(page * kPageBytes, bytes_of(page_of(page, 0))));
    must(created.file->sync());
    must(created.file->flush());
    created.file->close();
    inode_ = created.entry.attributes.inode;
    const std::lock_guard lock(mutex_);
    marks_.emplace_back();
  }
  void attach(volume::Volume& volume, InodeId directory) override {
    volume_ = &volume;
    directory_ = directory;
  }
  // The index of a copy of all pages' marks.
  Mark mark() const override {
    const std::lock_guard lock(mutex_);
    if (marks_.empty()) return {};
    marks_.push_back(marks_.back());
    return {.begun = marks_.size() - 2};
  }
  void forget() override { file_.reset(); }
  const std::string& name() const override { return name_; }

  void step(Random& random) override {
    if (!file_) file_ = must(volume_->open_file(inode_, {.access = volume::Access::kReadWrite}));
    const size_t page = random.below(kPages);
    uint64_t number = 0;
    {
      const std::lock_guard lock(mutex_);
      number = ++marks_.back()[page].begun;
    }
    must(file_->write(page * kPageBytes, bytes_of(page_of(page, number))));
    {
      const std::lock_guard lock(mutex_);
      marks_.back()[page].done = number;
    }
    if (random.one_in(8)) {
      must(file_->sync());
      const std::lock_guard lock(mutex_);
      for (Mark& each : marks_.back()) each.synced = each.done;
    }
    if (random.one_in(8)) {
      must(file_->flush());
      file_->close();
      file_.reset();
    }
  }

  std::string check(volume::Volume& volume, const Mark& before_index, const Mark& after_index, Death death) override {
    const Found found = look(volume, name_);
    if (!found.there) return name_ + " is gone\n";
    if (!found.content) return name_ + " was reported as lost\n";
    const std::string& is = *found.content;
    if (is.size() != kPages * kPageBytes) return name_ + " has " + std::to_string(is.size()) + " bytes\n";
    const std::lock_guard lock(mutex_);
    const auto& before = marks_[before_index.begun];
    const auto& after = marks_[after_index.begun];
    std::string told;
    for (size_t page = 0; page < kPages; ++page) {
      const uint64_t first = death == Death::kProcess ? before[page].done : before[page].synced;
      for (size_t sector = 0; sector < kPageBytes / kSectorBytes; ++sector) {
        const size_t at = page * kPageBytes + sector * kSectorBytes;
        uint64_t number = 0;
        std::memcpy(&number, is.data() + at, sizeof number);
        number -= salt_ + page * kNumbers;
        const bool known = number >= first && number <= after[page].begun;
        if (known && page_of(page, number).substr(0, kSectorBytes) == is.substr(at, kSectorBytes)) continue;
        told += name_ + ": sector " + std::to_string(sector) + " of page " + std::to_string(page) + " is of write " +
                std::to_string(number) + ", may be of " + std::to_string(first) + " to " +
                std::to_string(after[page].begun) + "\n";
        break;
      }
    }
    return told;
  }

 private:
  static constexpr size_t kPages = 24;
  static constexpr uint64_t kNumbers = 1 << 24;
  using Marks = std::array<Mark, kPages>;

  // Each sector says of which write it is.
  std::string page_of(size_t page, uint64_t number) const {
    const uint64_t word = salt_ + page * kNumbers + number;
    std::string bytes;
    while (bytes.size() < kPageBytes) bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
    return bytes;
  }

  const std::string name_;
  const uint64_t salt_;
  volume::Volume* volume_ = nullptr;
  InodeId directory_{};
  InodeId inode_{};
  std::unique_ptr<volume::OpenFile> file_;
  mutable std::mutex mutex_;
  mutable std::deque<Marks> marks_;  // the last one is the present
};

}  // namespace

std::unique_ptr<Program> make_replacer(std::string name) { return std::make_unique<Replacer>(std::move(name)); }
std::unique_ptr<Program> make_tour(std::string name, MemUfs& bucket, pages::PageStore& pages) {
  return std::make_unique<Tour>(std::move(name), bucket, pages);
}
std::unique_ptr<Program> make_appender(std::string name) { return std::make_unique<Appender>(std::move(name)); }
std::unique_ptr<Program> make_page_writer(std::string name) { return std::make_unique<PageWriter>(std::move(name)); }

}  // namespace weir::testing
