#include "pages/store_dir.h"

#include <linux/magic.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "net/checksum.h"

namespace weir::pages {
namespace {

constexpr uint64_t kFormat = 1;
constexpr mode_t kDirectoryMode = 0700;
constexpr size_t kTextBytesMax = 4096;
constexpr unsigned kShards = 256;
constexpr size_t kIdDigits = 16;
constexpr const char* kSuperblock = "weir-page-store";
constexpr const char* kLock = "lock";
constexpr const char* kState = "state";
constexpr const char* kFiles = "files";
constexpr const char* kQuarantine = "quarantine";
constexpr const char* kTemporary = "weir-page-store.new";
constexpr std::string_view kCopySuffix = ".copy";
constexpr std::string_view kMapSuffix = ".pages";

// "ab/00000000000000ab.pages" on the stack.
class FileName {
 public:
  FileName(LocalFileId id, std::string_view suffix) {
    char* out = buffer_.data();
    out = put_hex(out, (id.value() >> 8) % kShards, 2);
    *out++ = '/';
    out = put_hex(out, id.value(), kIdDigits);
    std::ranges::copy(suffix, out);
  }
  FileName(LocalFileId id, Origin origin) : FileName(id, origin == Origin::kFetched ? kCopySuffix : "") {}

  const char* with_shard() const { return buffer_.data(); }
  const char* without_shard() const { return buffer_.data() + 3; }

 private:
  static char* put_hex(char* out, uint64_t value, size_t digits) {
    for (size_t i = digits; i-- > 0; value >>= 4) out[i] = "0123456789abcdef"[value & 15];
    return out + digits;
  }

  std::array<char, 32> buffer_{};
};

struct ParsedName {
  LocalFileId id;
  std::string_view suffix;
};

std::optional<uint64_t> parse_number(std::string_view text, int base) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<ParsedName> parse_name(std::string_view name) {
  if (name.size() < kIdDigits) return std::nullopt;
  const auto id = parse_number(name.substr(0, kIdDigits), 16);
  const std::string_view suffix = name.substr(kIdDigits);
  if (!id.has_value() || (!suffix.empty() && suffix != kCopySuffix && suffix != kMapSuffix)) return std::nullopt;
  return ParsedName{LocalFileId(*id), suffix};
}

std::string hex(uint64_t value) {
  char text[2 * sizeof value + 1];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

// The value of "key=value\n" in a text of such lines.
std::optional<std::string_view> find_line(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(key) && line.substr(key.size()).starts_with('=')) return line.substr(key.size() + 1);
  }
  return std::nullopt;
}

std::string with_crc(std::string text) {
  const uint32_t crc = net::crc32c(std::as_bytes(std::span(text)));
  return text + "crc32c=" + hex(crc) + "\n";
}

bool crc_matches(std::string_view text) {
  const size_t line = text.rfind("crc32c=");
  if (line == std::string_view::npos) return false;
  const auto expected = find_line(text.substr(line), "crc32c");
  return expected.has_value() &&
         parse_number(*expected, 16) == uint64_t{net::crc32c(std::as_bytes(std::span(text.substr(0, line))))};
}

Result<std::string> read_text(const io::Directory& directory, const char* name) {
  TRY_ASSIGN(const io::File file, directory.open_file(name, {}));
  return file.read_all(kTextBytesMax);
}

std::string boot_id() {
  const auto file = io::File::open("/proc/sys/kernel/random/boot_id", {});
  if (!file.has_value()) return {};
  std::array<std::byte, 64> text;
  const auto size = file->read_at(0, text);
  if (!size.has_value()) return {};
  std::string id(reinterpret_cast<const char*>(text.data()), *size);
  while (id.ends_with('\n')) id.pop_back();
  return id;
}

// Linux 6.13 gave these file systems multigrain timestamps (Documentation/filesystems/multigrain-ts.rst).
bool has_fine_timestamps(int64_t file_system) {
  constexpr int64_t kXfsMagic = 0x58465342;
  if (file_system != EXT4_SUPER_MAGIC && file_system != kXfsMagic && file_system != BTRFS_SUPER_MAGIC &&
      file_system != TMPFS_MAGIC) {
    return false;
  }
  utsname kernel;
  int major = 0;
  int minor = 0;
  if (::uname(&kernel) != 0 || std::sscanf(kernel.release, "%d.%d", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 13);
}

Result<void> allow_missing(Result<void> result) {
  if (failed_with(result, ErrorCode::kNotFound)) return {};
  return result;
}

}  // namespace

Result<std::unique_ptr<StoreDir>> StoreDir::open(const std::string& path, std::string_view volume_id) {
  auto root = io::Directory::make(path, kDirectoryMode);
  if (!root.has_value()) return fail(std::move(root).error().wrap("page store folder " + path));
  std::unique_ptr<StoreDir> dir(new StoreDir(path, *std::move(root)));
  TRY(dir->lock());
  dir->epoch_ = Random::from_entropy().next();
  TRY(dir->check_superblock(volume_id));
  TRY_ASSIGN(dir->files_, dir->root_.open_directory(kFiles));
  TRY_ASSIGN(dir->quarantine_, dir->root_.open_directory(kQuarantine));
  TRY(dir->load_state());
  TRY_ASSIGN(const int64_t file_system, dir->root_.file_system_type());
  dir->fine_timestamps_ = has_fine_timestamps(file_system);
  TRY_ASSIGN(const io::DeviceSpace space, dir->space());
  dir->set_room_bytes(space.free_bytes);
  return dir;
}

Result<void> StoreDir::lock() {
  const io::OpenOptions options{.access = io::Access::kReadWrite, .create = io::Create::kIfAbsent};
  auto file = root_.open_file(kLock, options);
  if (!file.has_value()) return fail(std::move(file).error().wrap("page store folder " + path_));
  lock_ = *std::move(file);
  if (const auto locked = lock_.try_lock(io::Lock::kExclusive); !locked.has_value()) {
    if (locked.error().code() != ErrorCode::kBusy) return locked;
    const auto pid = lock_.read_all(kTextBytesMax);
    return fail(ErrorCode::kBusy, "page store folder " + path_ + " is used by process " + pid.value_or("?") +
                                      "; stop it or give this one another folder");
  }
  // The pid only helps whoever is refused; a full device must not keep the store from starting.
  if (lock_.truncate(0).has_value()) static_cast<void>(lock_.write_at(0, std::to_string(::getpid())));
  return {};
}

Result<void> StoreDir::check_superblock(std::string_view volume_id) {
  const auto text = read_text(root_, kSuperblock);
  if (failed_with(text, ErrorCode::kNotFound)) return format(volume_id);
  if (!text.has_value()) return std::unexpected(text.error());
  const std::string where = "page store folder " + path_;
  const uint64_t version = parse_number(find_line(*text, "format").value_or(""), 10).value_or(0);
  if (version > kFormat) {
    return fail(ErrorCode::kInvalid, where + " has format " + std::to_string(version) + ", this program knows " +
                                         std::to_string(kFormat) + "; use a newer version of Weir");
  }
  const auto volume = find_line(*text, "volume");
  if (version != kFormat || !volume.has_value() || !crc_matches(*text)) {
    return fail(ErrorCode::kInvalid, where + ": file " + kSuperblock + " is damaged; restore it, or remove the whole "
                                         "folder if none of its files is needed");
  }
  if (*volume != volume_id) {
    return fail(ErrorCode::kInvalid, where + " belongs to volume " + std::string(*volume) + ", not to " +
                                         std::string(volume_id) + "; give this volume another folder");
  }
  return {};
}

// A folder without superblock is either new, or its formatting was cut off, or it is somebody else's.
Result<void> StoreDir::refuse_foreign_files() const {
  return root_.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    constexpr std::array<std::string_view, 5> kOwn = {kLock, kFiles, kQuarantine, kTemporary, "lost+found"};
    bool foreign = std::ranges::find(kOwn, entry.name) == kOwn.end();
    if (entry.name == kFiles) {
      TRY_ASSIGN(const io::Directory files, root_.open_directory(kFiles));
      TRY(files.list([&](const io::DirectoryEntry& shard) -> Result<io::Visit> {
        TRY_ASSIGN(const io::Directory directory, files.open_directory(std::string(shard.name).c_str()));
        TRY(directory.list([&](const io::DirectoryEntry&) -> Result<io::Visit> {
          foreign = true;
          return io::Visit::kStop;
        }));
        return foreign ? io::Visit::kStop : io::Visit::kContinue;
      }));
    }
    if (!foreign) return io::Visit::kContinue;
    return fail(ErrorCode::kInvalid, "page store folder " + path_ + " is not empty (" + std::string(entry.name) +
                                         ") and has no file " + kSuperblock + "; give an empty folder");
  });
}

Result<void> StoreDir::format(std::string_view volume_id) {
  TRY(refuse_foreign_files());
  for (const char* const name : {kFiles, kQuarantine}) TRY(root_.make_directories(name, kDirectoryMode));
  TRY_ASSIGN(const io::Directory files, root_.open_directory(kFiles));
  // ext4 takes a new file's inode from the block group of its directory, searched from the start; without a journal it
  // passes over all that were freed there in the last minute, one by one. Spread, each group sees few of either.
  files.spread_subdirectories();
  for (unsigned shard = 0; shard < kShards; ++shard) {
    TRY(files.make_directories(hex(shard).substr(kIdDigits - 2), kDirectoryMode));
  }
  TRY(files.sync());
  TRY(replace_text(kSuperblock, with_crc("format=" + std::to_string(kFormat) + "\nvolume=" + std::string(volume_id) +
                                         "\nfolder=" + hex(Random::from_entropy().next()) + "\n")));
  establish_trust();  // there is no file
  return {};
}

Result<void> StoreDir::replace_text(const char* name, std::string_view text) const {
  const io::OpenOptions options{
      .access = io::Access::kWrite, .create = io::Create::kIfAbsent, .truncate = true};
  TRY_ASSIGN(const io::File file, root_.open_file(kTemporary, options));
  TRY(file.write_at(0, text));
  TRY(file.sync());
  TRY(root_.rename(kTemporary, root_, name, io::Replace::kReplace));
  return root_.sync();
}

Result<void> StoreDir::load_state() {
  if (trusted_) return {};  // just formatted
  const auto text = read_text(root_, kState);
  if (!text.has_value() && text.error().code() != ErrorCode::kNotFound) return std::unexpected(text.error());
  if (text.has_value() && crc_matches(*text)) {
    const std::string boot = boot_id();
    const bool same_boot = !boot.empty() && find_line(*text, "boot") == boot;
    const auto epoch = parse_number(find_line(*text, "epoch").value_or(""), 16);
    if (epoch.has_value() && (same_boot || find_line(*text, "stopped") == "yes")) {
      epoch_ = *epoch;
      trusted_ = true;
    }
  }
  if (trusted_) {
    const auto put = put_state(Use::kRunning);
    if (put.has_value()) return {};
    // A full device must not keep the store from starting.
    log_warn("pages.no_state", {{"folder", path_}, {"error", put.error()}});
  }
  return erase_state();
}

Result<void> StoreDir::put_state(Use use) const {
  return replace_text(kState, with_crc("epoch=" + hex(epoch_) + "\nboot=" + boot_id() +
                                       "\nstopped=" + (use == Use::kStopped ? "yes" : "no") + "\n"));
}

Result<void> StoreDir::erase_state() const {
  TRY(allow_missing(root_.unlink(kState)));
  return root_.sync();
}

void StoreDir::establish_trust() {
  if (trusted_) return;
  if (const auto put = put_state(Use::kRunning); !put.has_value()) {
    log_warn("pages.no_state", {{"folder", path_}, {"error", put.error()}});
  }
  trusted_ = true;
}

Result<void> StoreDir::stop() {
  if (!trusted_) return {};
  if (auto synced = root_.sync_file_system(); !synced.has_value()) {
    static_cast<void>(erase_state());  // bytes may be lost although the machine runs on
    return synced;
  }
  return put_state(Use::kStopped);
}

Result<void> StoreDir::scan(const std::function<void(const Found&)>& visitor) const {
  std::vector<Found> found;
  std::vector<LocalFileId> maps;
  for (unsigned shard = 0; shard < kShards; ++shard) {
    found.clear();
    maps.clear();
    TRY_ASSIGN(const io::Directory directory, files_.open_directory(hex(shard).substr(kIdDigits - 2).c_str()));
    TRY(directory.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
      const auto name = parse_name(entry.name);
      if (!name.has_value()) {
        log_warn("pages.foreign_file", {{"folder", path_}, {"name", entry.name}});
      } else if (name->suffix == kMapSuffix) {
        maps.push_back(name->id);
      } else {
        found.push_back({.id = name->id, .origin = name->suffix.empty() ? Origin::kLocal : Origin::kFetched});
      }
      return io::Visit::kContinue;
    }));
    std::ranges::sort(maps);
    std::vector<LocalFileId> owned;
    for (Found& file : found) {
      file.has_map = std::ranges::binary_search(maps, file.id);
      if (file.has_map) owned.push_back(file.id);
      visitor(file);
    }
    std::ranges::sort(owned);
    for (const LocalFileId id : maps) {
      if (!std::ranges::binary_search(owned, id)) TRY(remove_map(id));
    }
  }
  return {};
}

Result<io::File> StoreDir::create(LocalFileId id, Origin origin) const {
  return files_.open_file(FileName(id, origin).with_shard(),
                          {.access = io::Access::kReadWrite, .create = io::Create::kExclusive});
}

Result<io::File> StoreDir::open_file(LocalFileId id, Origin origin) const {
  return files_.open_file(FileName(id, origin).with_shard(), {.access = io::Access::kReadWrite});
}

Result<io::FileStat> StoreDir::stat(LocalFileId id, Origin origin) const {
  return files_.stat(FileName(id, origin).with_shard());
}

Result<io::File> StoreDir::create_map(LocalFileId id) const {
  return files_.open_file(FileName(id, kMapSuffix).with_shard(),
                          {.access = io::Access::kReadWrite, .create = io::Create::kIfAbsent, .truncate = true});
}

Result<io::File> StoreDir::open_map(LocalFileId id) const {
  return files_.open_file(FileName(id, kMapSuffix).with_shard(), {.access = io::Access::kReadWrite});
}

Result<void> StoreDir::remove(LocalFileId id, Origin origin) const {
  return allow_missing(files_.unlink(FileName(id, origin).with_shard()));
}

Result<void> StoreDir::remove_map(LocalFileId id) const {
  return allow_missing(files_.unlink(FileName(id, kMapSuffix).with_shard()));
}

Result<void> StoreDir::change_origin(LocalFileId id, Origin from) const {
  const Origin to = from == Origin::kLocal ? Origin::kFetched : Origin::kLocal;
  return files_.rename(FileName(id, from).with_shard(), files_, FileName(id, to).with_shard(), io::Replace::kReplace);
}

Result<void> StoreDir::sync_names(LocalFileId id) const {
  TRY_ASSIGN(const io::Directory directory,
             files_.open_directory(hex((id.value() >> 8) % kShards).substr(kIdDigits - 2).c_str()));
  return directory.sync();
}

Result<void> StoreDir::quarantine(LocalFileId id, Origin origin) const {
  const FileName name(id, origin);
  TRY(files_.rename(name.with_shard(), quarantine_, name.without_shard(), io::Replace::kReplace));
  const FileName map(id, kMapSuffix);
  return allow_missing(
      files_.rename(map.with_shard(), quarantine_, map.without_shard(), io::Replace::kReplace));
}

Result<uint64_t> StoreDir::quarantined_bytes() const {
  uint64_t bytes = 0;
  TRY(quarantine_.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    TRY_ASSIGN(const io::FileStat st, quarantine_.stat(std::string(entry.name).c_str()));
    bytes += st.allocated_bytes;
    return io::Visit::kContinue;
  }));
  return bytes;
}

Result<uint64_t> StoreDir::device() const {
  TRY_ASSIGN(const io::FileStat st, root_.stat("."));
  return st.device;
}

void StoreDir::take_out_of_service(const Error& reason) {
  if (in_service_.exchange(false)) log_error("pages.folder_out_of_service", {{"folder", path_}, {"error", reason}});
}

}  // namespace weir::pages
