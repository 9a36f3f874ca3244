#include "pages/page_map.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "net/checksum.h"

namespace weir::pages {
namespace {

static_assert(std::endian::native == std::endian::little, "the sidecar is read and written in place");

constexpr uint64_t kMagic = 0x4547'4150'5249'4557;  // "WEIRPAGE"
constexpr uint32_t kVersion = 1;
constexpr uint16_t kPresence = 1;
constexpr uint16_t kWhole = 2;
constexpr uint16_t kFlagChecksumsVoid = 1;
constexpr uint64_t kFileBytesMax = uint64_t{1} << 50;
constexpr uint64_t kPagesMax = uint64_t{1} << 28;

struct Slot {
  uint32_t crc = 0;
  uint32_t tag = 0;
};
static_assert(sizeof(Slot) == PageMap::kSlotBytes);

Slot make_slot(uint64_t salt, uint64_t page, uint32_t crc) {
  const struct {
    uint64_t salt;
    uint64_t page;
    uint64_t crc;
  } input{salt, page, crc};
  return {.crc = crc, .tag = net::crc32c(std::as_bytes(std::span(&input, 1))) | 1};
}

uint64_t pages_of(uint64_t bytes, uint64_t page_bytes) { return (bytes + page_bytes - 1) / page_bytes; }

void set(std::vector<uint64_t>& bits, uint64_t page) { bits[page / 64] |= uint64_t{1} << (page % 64); }
void clear(std::vector<uint64_t>& bits, uint64_t page) { bits[page / 64] &= ~(uint64_t{1} << (page % 64)); }

}  // namespace

struct PageMap::Header {
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  uint16_t kind = kPresence;
  uint16_t flags = 0;
  uint64_t page_bytes = 0;
  uint64_t file_bytes = 0;
  uint64_t salt = 0;
  uint64_t epoch = 0;
  int64_t mtime_ns = 0;
  uint32_t reserved = 0;
  uint32_t crc = 0;

  uint32_t computed_crc() const {
    return net::crc32c(std::as_bytes(std::span(this, 1)).first(kHeaderBytes - sizeof crc));
  }
};

PageMap::PageMap(io::File sidecar, const Header& header)
    : sidecar_(std::move(sidecar)),
      page_bytes_(header.page_bytes),
      file_bytes_(header.file_bytes),
      epoch_(header.epoch),
      header_(std::make_unique<Header>(header)) {
  static_assert(sizeof(Header) == kHeaderBytes);
  present_.resize((page_count() + 63) / 64);
}

PageMap::~PageMap() = default;

uint64_t PageMap::page_count() const { return pages_of(file_bytes_, page_bytes_); }

uint64_t PageMap::page_end(uint64_t page) const { return std::min((page + 1) * page_bytes_, file_bytes_); }

bool PageMap::is_set(const std::vector<uint64_t>& bits, uint64_t page) const {
  return !bits.empty() && (bits[page / 64] >> (page % 64) & 1) != 0;
}

Result<void> PageMap::write_header() {
  header_->crc = header_->computed_crc();
  return sidecar_.write_at(0, std::as_bytes(std::span(header_.get(), 1)));
}

Result<std::unique_ptr<PageMap>> PageMap::create(io::File sidecar, uint64_t page_bytes, uint64_t file_bytes,
                                                 uint64_t epoch, uint64_t salt) {
  const Header header{.page_bytes = page_bytes, .file_bytes = file_bytes, .salt = salt, .epoch = epoch};
  std::unique_ptr<PageMap> map(new PageMap(std::move(sidecar), header));
  map->absent_count_ = map->page_count();
  TRY(map->write_header());
  map->settle();
  return map;
}

Result<void> PageMap::write_checksums(const io::File& sidecar, uint64_t page_bytes, const ContentStamp& stamp,
                                      std::span<const uint32_t> page_crcs, uint64_t epoch, uint64_t salt) {
  if (page_crcs.size() != pages_of(stamp.size_bytes, page_bytes)) {
    return fail(ErrorCode::kInvalid, "checksums of " + std::to_string(page_crcs.size()) + " pages for a file of " +
                                         std::to_string(stamp.size_bytes) + " bytes");
  }
  Header header{.kind = kWhole,
                .page_bytes = page_bytes,
                .file_bytes = stamp.size_bytes,
                .salt = salt,
                .epoch = epoch,
                .mtime_ns = stamp.mtime_ns};
  header.crc = header.computed_crc();
  std::vector<std::byte> bytes(kHeaderBytes + page_crcs.size() * kSlotBytes);
  std::memcpy(bytes.data(), &header, kHeaderBytes);
  for (size_t page = 0; page < page_crcs.size(); ++page) {
    const Slot slot = make_slot(salt, page, page_crcs[page]);
    std::memcpy(bytes.data() + kHeaderBytes + page * kSlotBytes, &slot, kSlotBytes);
  }
  return sidecar.write_at(0, bytes);
}

Result<std::unique_ptr<PageMap>> PageMap::load(io::File sidecar, const Expected& expected) {
  Header header;
  TRY_ASSIGN(const size_t header_size, sidecar.read_at(0, std::as_writable_bytes(std::span(&header, 1))));
  if (header_size != kHeaderBytes || header.magic != kMagic || header.crc != header.computed_crc()) {
    return fail(ErrorCode::kCorrupt, "page map: bad header");
  }
  const bool known = header.version == kVersion && (header.kind == kPresence || header.kind == kWhole);
  if (!known || header.page_bytes != expected.page_bytes || header.file_bytes > kFileBytesMax ||
      pages_of(header.file_bytes, header.page_bytes) > kPagesMax) {
    return fail(ErrorCode::kCorrupt, "page map: another version, page size or an impossible file size");
  }
  const bool whole = header.kind == kWhole;
  const bool changed = header.file_bytes != expected.size_bytes || header.mtime_ns != expected.mtime_ns;
  const bool ignored = expected.checksums == Checksums::kIgnored;
  const bool checksums_void = (header.flags & kFlagChecksumsVoid) != 0 || (whole && changed);
  const bool trusted = header.epoch == expected.epoch || ignored;
  if (!trusted && checksums_void) {
    return fail(ErrorCode::kCorrupt, "page map: bytes may have been lost and its checksums are not theirs");
  }
  if (whole && trusted) return nullptr;

  std::unique_ptr<PageMap> map(new PageMap(std::move(sidecar), header));
  map->epoch_ = expected.epoch;
  const uint64_t count = map->page_count();
  std::vector<Slot> slots(count);
  TRY_ASSIGN(const size_t slot_bytes,
             map->sidecar_.read_at(kHeaderBytes, std::as_writable_bytes(std::span(slots))));
  std::fill(slots.begin() + static_cast<ptrdiff_t>(slot_bytes / kSlotBytes), slots.end(), Slot{});
  if (!trusted) {
    map->unchecked_.resize(map->present_.size());
    map->crcs_.resize(count);
  }
  for (uint64_t page = 0; page < count; ++page) {
    const bool valid = slots[page].tag == make_slot(header.salt, page, slots[page].crc).tag;
    if (!valid && !whole) {
      ++map->absent_count_;
      continue;
    }
    set(map->present_, page);
    if (valid && !trusted) {
      set(map->unchecked_, page);
      map->crcs_[page] = slots[page].crc;
      ++map->unchecked_count_;
    }
  }
  if (map->unchecked_count_ == 0 && header.epoch != expected.epoch) {
    map->header_->epoch = expected.epoch;
    // Checksums passed over now must not be held against the file later.
    if (ignored) map->header_->flags |= kFlagChecksumsVoid;
    TRY(map->write_header());
  }
  map->settle();
  return map;
}

// Frees what a complete file does not need.
void PageMap::settle() {
  if (unchecked_count_ == 0) {
    unchecked_ = {};
    crcs_ = {};
  }
  if (absent_count_ != 0 || unchecked_count_ != 0) return;
  present_ = {};
  complete_.store(true, std::memory_order_release);
}

bool PageMap::all_present() const {
  const std::lock_guard lock(mutex_);
  return absent_count_ == 0;
}

bool PageMap::present(uint64_t offset, uint64_t size) const { return first_absent(offset, size).size == 0; }

LocalFile::ByteRange PageMap::first_absent(uint64_t offset, uint64_t size) const {
  if (complete() || offset >= file_bytes_ || size == 0) return {};
  const uint64_t end = std::min(file_bytes_ - offset, size) + offset;
  const std::lock_guard lock(mutex_);
  if (absent_count_ == 0) return {};
  uint64_t page = offset / page_bytes_;
  const uint64_t last = (end - 1) / page_bytes_;
  while (page <= last && is_set(present_, page)) ++page;
  if (page > last) return {};
  const uint64_t first = page;
  while (page < last && !is_set(present_, page + 1)) ++page;
  return {.offset = first * page_bytes_, .size = page_end(page) - first * page_bytes_};
}

Result<uint64_t> PageMap::fill(const io::File& data, uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t end = offset + bytes.size();
  if (offset % page_bytes_ != 0 || end > file_bytes_ || (end % page_bytes_ != 0 && end != file_bytes_)) {
    return fail(ErrorCode::kInvalid, "fill of [" + std::to_string(offset) + ", " + std::to_string(end) +
                                         ") is not whole pages of a file of " + std::to_string(file_bytes_) + " bytes");
  }
  uint64_t written = 0;
  for (uint64_t position = offset; position < end;) {
    const LocalFile::ByteRange run = first_absent(position, end - position);
    if (run.size == 0) break;
    const std::span content = bytes.subspan(run.offset - offset, run.size);
    TRY(data.write_at(run.offset, content));
    written += run.size;
    position = run.offset + run.size;

    const uint64_t first = run.offset / page_bytes_;
    std::vector<Slot> slots(pages_of(run.size, page_bytes_));
    for (uint64_t i = 0; i < slots.size(); ++i) {
      const uint64_t start = i * page_bytes_;
      const uint32_t crc = net::crc32c(content.subspan(start, std::min(page_bytes_, run.size - start)));
      slots[i] = make_slot(header_->salt, first + i, crc);
    }
    const std::lock_guard lock(mutex_);
    TRY(sidecar_.write_at(kHeaderBytes + first * kSlotBytes, std::as_bytes(std::span(slots))));
    for (uint64_t page = first; page < first + slots.size(); ++page) {
      if (absent_count_ == 0 || is_set(present_, page)) continue;
      set(present_, page);
      --absent_count_;
    }
    settle();
  }
  return written;
}

Result<void> PageMap::drop(uint64_t page) {
  clear(present_, page);
  clear(unchecked_, page);
  ++absent_count_;
  --unchecked_count_;
  settle();
  const Slot none{};
  TRY(sidecar_.write_at(kHeaderBytes + page * kSlotBytes, std::as_bytes(std::span(&none, 1))));
  if (header_->kind == kPresence) return {};
  header_->kind = kPresence;
  return write_header();
}

Result<void> PageMap::passed(uint64_t page) {
  clear(unchecked_, page);
  --unchecked_count_;
  if (unchecked_count_ == 0) {
    header_->epoch = epoch_;
    TRY(write_header());
  }
  settle();
  return {};
}

Result<void> PageMap::check(const io::File& data, uint64_t offset, uint64_t size) {
  if (complete() || offset >= file_bytes_ || size == 0) return {};
  if (!present(offset, size)) {
    return fail(ErrorCode::kNotFound, "a page of [" + std::to_string(offset) + ", +" + std::to_string(size) +
                                          ") is absent; fetch it first");
  }
  const uint64_t end = std::min(file_bytes_ - offset, size) + offset;
  std::vector<std::byte> buffer;
  for (uint64_t page = offset / page_bytes_; page * page_bytes_ < end; ++page) TRY(check_page(data, page, buffer));
  return {};
}

Result<void> PageMap::check_present(const io::File& data) {
  std::vector<std::byte> buffer;
  for (uint64_t page = 0; page < page_count(); ++page) {
    if (complete()) break;
    TRY(check_page(data, page, buffer));
  }
  return {};
}

Result<void> PageMap::check_page(const io::File& data, uint64_t page, std::vector<std::byte>& buffer) {
  uint32_t expected = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!is_set(unchecked_, page)) return {};
    expected = crcs_[page];
  }
  const uint64_t start = page * page_bytes_;
  buffer.resize(page_end(page) - start);
  TRY_ASSIGN(const size_t count, data.read_at(start, buffer));
  const bool good = count == buffer.size() && net::crc32c(buffer) == expected;
  const std::lock_guard lock(mutex_);
  if (!is_set(unchecked_, page)) return {};  // another reader was faster
  if (good) return passed(page);
  TRY(drop(page));
  return fail(ErrorCode::kCorrupt, "page " + std::to_string(page) + ": bytes do not match their CRC32C");
}

Result<void> PageMap::void_checksums() {
  const std::lock_guard lock(mutex_);
  unchecked_count_ = 0;
  header_->flags |= kFlagChecksumsVoid;
  settle();
  return write_header();
}

}  // namespace weir::pages
