#include "fuse/ring_memory.h"

#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "io/errno.h"

namespace weir::fuse {
namespace {

constexpr uint64_t kRingMagic = 0x5745'4952'5249'4e47;  // "WEIRRING"
constexpr size_t kRingPageBytes = 4096;

size_t in_whole_pages(size_t bytes) { return (bytes + kRingPageBytes - 1) / kRingPageBytes * kRingPageBytes; }

}  // namespace

struct RingMemory::Head {
  std::atomic<uint64_t> magic;
  uint32_t version;
  RingShape shape;
};

size_t RingMemory::bytes_of(const RingShape& shape) {
  return kRingPageBytes + in_whole_pages(shape.queues * sizeof(RingQueue)) +
         size_t{shape.queues} * shape.depth * (sizeof(RingSlot) + shape.payload_bytes);
}

RingMemory::RingMemory(io::Descriptor descriptor, char* address, size_t bytes, const RingShape& shape)
    : descriptor_(std::move(descriptor)),
      address_(address),
      bytes_(bytes),
      shape_(shape),
      queues_(reinterpret_cast<RingQueue*>(address + kRingPageBytes)),
      slots_(address + kRingPageBytes + in_whole_pages(shape.queues * sizeof(RingQueue))) {}

RingMemory::~RingMemory() { ::munmap(address_, bytes_); }

Result<std::unique_ptr<RingMemory>> RingMemory::make(const RingShape& shape) {
  io::Descriptor memory(::memfd_create("weir-rings", MFD_CLOEXEC));
  if (!memory.valid()) return fail(io::from_errno(errno, "create", "memory for rings"));
  const size_t bytes = bytes_of(shape);
  if (::ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0)
    return fail(io::from_errno(errno, "extend", "memory for rings"));
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory.get(), 0);
  if (address == MAP_FAILED) return fail(io::from_errno(errno, "mmap", "memory for rings"));
  Head& head = *static_cast<Head*>(address);
  head.version = kRingMemoryVersion;
  head.shape = shape;
  head.magic.store(kRingMagic);
  return std::unique_ptr<RingMemory>(
      new RingMemory(std::move(memory), static_cast<char*>(address), bytes, shape));
}

Result<std::unique_ptr<RingMemory>> RingMemory::open(io::Descriptor memory) {
  const auto other = [] { return fail(ErrorCode::kNotSupported, "the rings' memory has another layout"); };
  struct stat st {};
  if (::fstat(memory.get(), &st) != 0) return fail(io::from_errno(errno, "stat", memory.get()));
  const auto bytes = static_cast<size_t>(st.st_size);
  if (bytes < kRingPageBytes) return other();
  void* const address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory.get(), 0);
  if (address == MAP_FAILED) return fail(io::from_errno(errno, "mmap", memory.get()));
  const Head& head = *static_cast<const Head*>(address);
  if (head.magic.load() != kRingMagic || head.version != kRingMemoryVersion || bytes_of(head.shape) != bytes) {
    ::munmap(address, bytes);
    return other();
  }
  return std::unique_ptr<RingMemory>(
      new RingMemory(std::move(memory), static_cast<char*>(address), bytes, head.shape));
}

void wake(std::atomic<uint32_t>& word, int count) {
  (void)::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

void wait_for_change(std::atomic<uint32_t>& word, uint32_t value) {
  (void)::syscall(SYS_futex, &word, FUTEX_WAIT, value, nullptr, nullptr, 0);
}

}  // namespace weir::fuse
