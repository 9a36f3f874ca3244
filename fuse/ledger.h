// fuse/ledger.h -- what a successor of this process must know to go on serving the kernel's connection: which handles are
// open, how far directories were read, and what requests in flight were about to do.
//
// It is memory that outlives the process (a memfd that somebody else holds, too), or plain memory where nobody would. What is
// in it is written before the kernel is told: a process that dies between any two stores leaves each entry whole or absent. An
// entry's `handle` or `unique` is stored last when it is made and first when it goes.
// The layout carries a version. It is read by successors on the same machine alone.
//
// Threads: all methods may be called concurrently; an entry's fields belong to the request that made it, or to whoever holds
// the handle. Locks: a table's mutex is a leaf.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "io/descriptor.h"

namespace weir::fuse {

inline constexpr uint32_t kLedgerVersion = 3;

// An open file. `here` is what the process that serves now keeps for it.
struct LedgerFile {
  std::atomic<uint64_t> handle;  // the kernel's name of it; 0: free
  uint64_t opening;              // the request whose reply may not have reached the kernel; 0: it has
  uint64_t inode;
  uint64_t local_file;           // of IoPath::kLocalFile; 0: paged
  int32_t backing_id;            // in the kernel; 0: through the daemon
  uint8_t access;                // volume::Access
  bool backing_counted;
  bool writes_pass_by;           // writable, through the kernel
  bool set_id_bits;              // when it was opened
  void* here;
};

// An open directory, and the places in it that the kernel may ask for next.
struct LedgerDirectory {
  static constexpr size_t kCursorBytesMax = 300;
  struct Mark {
    std::atomic<uint64_t> offset;  // 0: none
    uint16_t cursor_bytes;
    char cursor[kCursorBytesMax];
  };

  // Entries up to `offset` were read; reading goes on behind `cursor`.
  void mark(uint64_t offset, std::string_view cursor);

  std::atomic<uint64_t> handle;
  uint64_t opening;
  uint64_t inode;
  void* here;
  uint32_t next_mark;
  std::array<Mark, 4> marks;  // more than one: a reply that did not reach the kernel is asked for again
};

// What a request is about to do, so that the same request, sent again, can be told whether it did.
struct LedgerIntent {
  enum class Kind : uint32_t {
    kMake,      // inode: of what is made
    kExchange,  // inode: that the old name led to before
    kAppend,    // inode, offset, size: of the bytes
  };

  std::atomic<uint64_t> unique;  // the request; 0: free
  Kind kind;
  uint64_t inode;
  uint64_t offset;
  uint64_t size;
};

// The connection, as it was agreed upon with the kernel.
struct LedgerConnection {
  static constexpr size_t kGreetingBytesMax = 512;
  static constexpr size_t kPathBytesMax = 4096;

  std::atomic<uint32_t> connected;    // 0: there is none, and nothing else here counts
  uint32_t passthrough;
  std::atomic<uint32_t> io_uring;     // the kernel was told that there will be rings
  std::atomic<uint32_t> greeting_bytes;  // 0: the kernel has not said anything yet
  char greeting[kGreetingBytesMax];   // its FUSE_INIT
  char mount_point[kPathBytesMax];
  std::atomic<int32_t> backing_id_seen;  // one of the latest
};

// Slots that are taken and given back.
template <typename Slot>
class LedgerTable {
 public:
  LedgerTable(Slot* slots, std::atomic<uint32_t>& end, uint32_t size) : slots_(slots), end_(end), size_(size) {}

  // Null when all are taken.
  Slot* take() {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      Slot* const slot = &slots_[free_.back()];
      free_.pop_back();
      return slot;
    }
    const uint32_t index = end_.load(std::memory_order_relaxed);
    if (index == size_) return nullptr;
    end_.store(index + 1, std::memory_order_release);
    return &slots_[index];
  }
  void give_back(Slot* slot) {
    const std::lock_guard lock(mutex_);
    free_.push_back(static_cast<uint32_t>(slot - slots_));
  }
  // Visits all slots that were ever taken; those for which it says so are free. Requires: called once, before take().
  template <typename IsFree>
  void sort_out(const IsFree& is_free) {
    const std::lock_guard lock(mutex_);
    for (uint32_t i = end_.load(); i-- > 0;) {
      if (is_free(slots_[i])) free_.push_back(i);
    }
  }
  Slot* at(uint32_t index) { return &slots_[index]; }
  uint32_t index_of(const Slot* slot) const { return static_cast<uint32_t>(slot - slots_); }
  std::span<Slot> used() { return {slots_, end_.load(std::memory_order_acquire)}; }

 private:
  Slot* const slots_;
  std::atomic<uint32_t>& end_;
  const uint32_t size_;
  std::mutex mutex_;
  std::vector<uint32_t> free_;
};

class Ledger {
 public:
  static constexpr uint32_t kFilesMax = 1 << 20;
  static constexpr uint32_t kDirectoriesMax = 1 << 16;
  static constexpr uint32_t kIntentsMax = 1 << 12;

  // Of this process alone.
  static Result<std::unique_ptr<Ledger>> make();
  // In `memory`, an empty memfd or one that a predecessor wrote. kNotSupported: that was one with another layout.
  static Result<std::unique_ptr<Ledger>> open(const io::Descriptor& memory);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Whether anybody could come after this process.
  bool outlives_process() const { return outlives_process_; }

  LedgerConnection& connection();
  // Begins anew, with nothing open.
  void connect(std::string_view mount_point);
  void disconnect();

  // An entry for `what`, with a handle; kBusy when too many are open. `opening` is the request that opens.
  Result<LedgerFile*> add_file(uint64_t opening, uint64_t inode, uint64_t local_file, uint8_t access);
  Result<LedgerDirectory*> add_directory(uint64_t opening, uint64_t inode);
  LedgerFile& file(uint64_t handle) { return *files_.at(index_of(handle)); }
  LedgerDirectory& directory(uint64_t handle) { return *directories_.at(index_of(handle)); }
  // Null when the handle is not open (any more).
  LedgerFile* find_file(uint64_t handle);
  LedgerDirectory* find_directory(uint64_t handle);
  void remove(LedgerFile& file);
  void remove(LedgerDirectory& directory);

  // Those with a handle.
  std::vector<LedgerFile*> files();
  std::vector<LedgerDirectory*> directories();

  LedgerIntent* take_intent() { return intents_.take(); }
  void give_back(LedgerIntent* intent);
  // What predecessors left; theirs until forget_inherited().
  struct InheritedIntent {
    LedgerIntent::Kind kind{};
    uint64_t inode = 0;
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  const InheritedIntent* inherited(uint64_t unique) const;
  const std::unordered_map<uint64_t, InheritedIntent>& all_inherited() const { return inherited_; }
  // No request of a predecessor's time comes any more.
  void forget_inherited();

 private:
  struct Layout;

  Ledger(Layout* layout, bool outlives_process);
  static uint32_t index_of(uint64_t handle) { return static_cast<uint32_t>(handle) - 1; }
  template <typename Slot>
  uint64_t new_handle(LedgerTable<Slot>& table, const Slot* slot);

  Layout* const layout_;
  const bool outlives_process_;
  LedgerTable<LedgerFile> files_;
  LedgerTable<LedgerDirectory> directories_;
  LedgerTable<LedgerIntent> intents_;
  std::unordered_map<uint64_t, InheritedIntent> inherited_;
  std::vector<LedgerIntent*> inherited_slots_;
};

// The request that the calling thread serves.
class Origin {
 public:
  // The kernel marks a request that it sends again, because the one who had it died.
  static constexpr uint64_t kSentAgain = uint64_t{1} << 63;
  enum class Thread : uint8_t { kMayWait, kOfRing };

  // `unique` as it came. Serves one request; what it noted is forgotten with it.
  Origin(Ledger& ledger, LedgerIntent* slot, uint64_t unique, Thread thread = Thread::kMayWait);
  ~Origin();
  Origin(const Origin&) = delete;
  Origin& operator=(const Origin&) = delete;

  static Origin* current() { return current_; }

  uint64_t unique() const { return unique_; }
  bool sent_again() const { return sent_again_; }
  // Others wait for the thread.
  bool of_ring() const { return thread_ == Thread::kOfRing; }
  // What the request noted when it came first.
  const Ledger::InheritedIntent* before() const { return sent_again_ ? ledger_.inherited(unique_) : nullptr; }
  void note(LedgerIntent::Kind kind, uint64_t inode, uint64_t offset = 0, uint64_t size = 0);

 private:
  static thread_local Origin* current_;

  Ledger& ledger_;
  LedgerIntent* const slot_;
  const uint64_t unique_;
  const bool sent_again_;
  const Thread thread_;
};

}  // namespace weir::fuse
