#include "fuse/ledger.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"
#include "io/errno.h"

namespace weir::fuse {
namespace {

constexpr uint64_t kMagic = 0x5745'4952'4c45'4447;  // "WEIRLEDG"

}  // namespace

// Zeros are an empty ledger without a connection.
struct Ledger::Layout {
  std::atomic<uint64_t> magic;
  uint32_t version;
  std::atomic<uint32_t> files_end;
  std::atomic<uint32_t> directories_end;
  std::atomic<uint32_t> intents_end;
  std::atomic<uint64_t> handles_made;
  LedgerConnection connection;
  alignas(4096) LedgerIntent intents[kIntentsMax];
  alignas(4096) LedgerFile files[kFilesMax];
  alignas(4096) LedgerDirectory directories[kDirectoriesMax];
};

static_assert(std::is_trivially_destructible_v<LedgerFile> && std::atomic<uint64_t>::is_always_lock_free);

void LedgerDirectory::mark(uint64_t offset, std::string_view cursor) {
  if (offset == 0 || cursor.size() > kCursorBytesMax) return;
  Mark& mark = marks[next_mark++ % marks.size()];
  mark.offset.store(0, std::memory_order_release);
  mark.cursor_bytes = static_cast<uint16_t>(cursor.size());
  cursor.copy(mark.cursor, cursor.size());
  mark.offset.store(offset, std::memory_order_release);
}

Ledger::Ledger(Layout* layout, bool outlives_process)
    : layout_(layout),
      outlives_process_(outlives_process),
      files_(layout->files, layout->files_end, kFilesMax),
      directories_(layout->directories, layout->directories_end, kDirectoriesMax),
      intents_(layout->intents, layout->intents_end, kIntentsMax) {
  files_.sort_out([](const LedgerFile& file) { return file.handle.load() == 0; });
  directories_.sort_out([](const LedgerDirectory& directory) { return directory.handle.load() == 0; });
  intents_.sort_out([this](LedgerIntent& intent) {
    const uint64_t unique = intent.unique.load();
    if (unique == 0) return true;
    inherited_[unique] = {intent.kind, intent.inode, intent.offset, intent.size};
    inherited_slots_.push_back(&intent);
    return false;
  });
}

Ledger::~Ledger() { ::munmap(layout_, sizeof(Layout)); }

Result<std::unique_ptr<Ledger>> Ledger::make() {
  void* const memory = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return fail(io::from_errno(errno, "mmap", "the table of open files"));
  return std::unique_ptr<Ledger>(new Ledger(static_cast<Layout*>(memory), false));
}

Result<std::unique_ptr<Ledger>> Ledger::open(const io::Descriptor& memory) {
  struct stat st {};
  if (::fstat(memory.get(), &st) != 0) return fail(io::from_errno(errno, "stat", memory.get()));
  const bool empty = st.st_size == 0;
  if (empty && ::ftruncate(memory.get(), sizeof(Layout)) != 0) {
    return fail(io::from_errno(errno, "extend", memory.get()));
  }
  const auto other = [] {
    return fail(ErrorCode::kNotSupported, "the open files were written down by a version with another layout");
  };
  if (!empty && static_cast<size_t>(st.st_size) != sizeof(Layout)) return other();
  void* const address = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                               memory.get(), 0);
  if (address == MAP_FAILED) return fail(io::from_errno(errno, "mmap", memory.get()));
  auto* const layout = static_cast<Layout*>(address);
  if (layout->magic.load() == 0) {
    layout->version = kLedgerVersion;
    layout->magic.store(kMagic);
  }
  if (layout->magic.load() != kMagic || layout->version != kLedgerVersion) {
    ::munmap(address, sizeof(Layout));
    return other();
  }
  return std::unique_ptr<Ledger>(new Ledger(layout, true));
}

LedgerConnection& Ledger::connection() { return layout_->connection; }

void Ledger::connect(std::string_view mount_point) {
  disconnect();
  LedgerConnection& connection = layout_->connection;
  connection.passthrough = 0;
  connection.io_uring = 0;
  connection.greeting_bytes = 0;
  connection.backing_id_seen = 0;
  const size_t bytes = std::min(mount_point.size(), LedgerConnection::kPathBytesMax - 1);
  std::memcpy(connection.mount_point, mount_point.data(), bytes);
  connection.mount_point[bytes] = '\0';
  connection.connected.store(1, std::memory_order_release);
}

void Ledger::disconnect() {
  layout_->connection.connected.store(0, std::memory_order_release);
  for (LedgerFile* file : files()) remove(*file);
  for (LedgerDirectory* directory : directories()) remove(*directory);
  forget_inherited();
}

// ---- handles

// The index, and a number that makes it another handle than the last one of that index.
template <typename Slot>
uint64_t Ledger::new_handle(LedgerTable<Slot>& table, const Slot* slot) {
  const uint64_t number = layout_->handles_made.fetch_add(1, std::memory_order_relaxed) + 1;
  return number << 32 | (table.index_of(slot) + 1);
}

Result<LedgerFile*> Ledger::add_file(uint64_t opening, uint64_t inode, uint64_t local_file, uint8_t access) {
  LedgerFile* const file = files_.take();
  if (file == nullptr) return fail(ErrorCode::kBusy, std::to_string(kFilesMax) + " files are open");
  file->opening = opening;
  file->inode = inode;
  file->local_file = local_file;
  file->backing_id = 0;
  file->access = access;
  file->backing_counted = file->writes_pass_by = file->set_id_bits = false;
  file->here = nullptr;
  file->handle.store(new_handle(files_, file), std::memory_order_release);
  return file;
}

Result<LedgerDirectory*> Ledger::add_directory(uint64_t opening, uint64_t inode) {
  LedgerDirectory* const directory = directories_.take();
  if (directory == nullptr) return fail(ErrorCode::kBusy, std::to_string(kDirectoriesMax) + " directories are open");
  directory->opening = opening;
  directory->inode = inode;
  directory->here = nullptr;
  directory->next_mark = 0;
  for (LedgerDirectory::Mark& mark : directory->marks) mark.offset.store(0, std::memory_order_relaxed);
  directory->handle.store(new_handle(directories_, directory), std::memory_order_release);
  return directory;
}

LedgerFile* Ledger::find_file(uint64_t handle) {
  LedgerFile& file = this->file(handle);
  return file.handle.load(std::memory_order_acquire) == handle ? &file : nullptr;
}

LedgerDirectory* Ledger::find_directory(uint64_t handle) {
  LedgerDirectory& directory = this->directory(handle);
  return directory.handle.load(std::memory_order_acquire) == handle ? &directory : nullptr;
}

void Ledger::remove(LedgerFile& file) {
  file.handle.store(0, std::memory_order_release);
  files_.give_back(&file);
}

void Ledger::remove(LedgerDirectory& directory) {
  directory.handle.store(0, std::memory_order_release);
  directories_.give_back(&directory);
}

std::vector<LedgerFile*> Ledger::files() {
  std::vector<LedgerFile*> open;
  for (LedgerFile& file : files_.used()) {
    if (file.handle.load(std::memory_order_acquire) != 0) open.push_back(&file);
  }
  return open;
}

std::vector<LedgerDirectory*> Ledger::directories() {
  std::vector<LedgerDirectory*> open;
  for (LedgerDirectory& directory : directories_.used()) {
    if (directory.handle.load(std::memory_order_acquire) != 0) open.push_back(&directory);
  }
  return open;
}

// ---- requests in flight

void Ledger::give_back(LedgerIntent* intent) {
  intent->unique.store(0, std::memory_order_release);
  intents_.give_back(intent);
}

const Ledger::InheritedIntent* Ledger::inherited(uint64_t unique) const {
  const auto found = inherited_.find(unique);
  return found == inherited_.end() ? nullptr : &found->second;
}

void Ledger::forget_inherited() {
  for (LedgerIntent* intent : inherited_slots_) give_back(intent);
  inherited_slots_.clear();
  inherited_.clear();
}

thread_local Origin* Origin::current_ = nullptr;

Origin::Origin(Ledger& ledger, LedgerIntent* slot, uint64_t unique, Thread thread)
    : ledger_(ledger),
      slot_(slot),
      unique_(unique & ~kSentAgain),
      sent_again_((unique & kSentAgain) != 0),
      thread_(thread) {
  current_ = this;
}

Origin::~Origin() {
  if (slot_->unique.load(std::memory_order_relaxed) != 0) slot_->unique.store(0, std::memory_order_release);
  current_ = nullptr;
}

void Origin::note(LedgerIntent::Kind kind, uint64_t inode, uint64_t offset, uint64_t size) {
  CHECK(slot_->unique.load(std::memory_order_relaxed) == 0);
  slot_->kind = kind;
  slot_->inode = inode;
  slot_->offset = offset;
  slot_->size = size;
  slot_->unique.store(unique_, std::memory_order_release);
}

}  // namespace weir::fuse
