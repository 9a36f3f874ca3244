#include "pages/page_map.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
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

// In the slots of pages that were written here, where their CRC would be. A punched page may be a hole.
constexpr uint32_t kPunchedCrc = 0;
constexpr uint32_t kWrittenCrc = 1;

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
      object_bytes_(header.file_bytes),
      file_bytes_(header.file_bytes),
      epoch_(header.epoch),
      header_(std::make_unique<Header>(header)) {
  static_assert(sizeof(Header) == kHeaderBytes);
  present_.resize((page_count() + 63) / 64);
}

PageMap::~PageMap() = default;

uint64_t PageMap::page_count() const { return pages_of(file_bytes_, page_bytes_); }

uint64_t PageMap::page_end(uint64_t page) const { return std::min((page + 1) * page_bytes_, file_bytes_.load()); }

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

Result<std::unique_ptr<PageMap>> PageMap::load(io::File sidecar, const io::File& data, const Expected& expected) {
  Header header;
  TRY_ASSIGN(const size_t header_size, sidecar.read_at(0, std::as_writable_bytes(std::span(&header, 1))));
  if (header_size != kHeaderBytes || header.magic != kMagic || header.crc != header.computed_crc()) {
    return fail(ErrorCode::kCorrupt, "page map: bad header");
  }
  const bool known = header.version == kVersion && (header.kind == kPresence || header.kind == kWhole);
  if (!known || header.page_bytes != expected.page_bytes || header.file_bytes > kFileBytesMax ||
      pages_of(header.file_bytes, header.page_bytes) > PageMap::kPagesMax) {
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

  // The file was cut off before its map could say so.
  const bool cut = !whole && expected.size_bytes < header.file_bytes;
  if (cut) header.file_bytes = expected.size_bytes;
  std::unique_ptr<PageMap> map(new PageMap(std::move(sidecar), header));
  if (cut) TRY(map->write_header());
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
  if (!whole && checksums_void) {
    TRY(map->load_written());
    if (header.epoch != expected.epoch) {
      std::vector<uint32_t> crcs;
      for (const Slot& slot : slots) crcs.push_back(slot.crc);
      TRY(map->distrust_holes(data, crcs));
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

Result<PageMap::Recorded> PageMap::recorded(const io::File& sidecar, uint64_t page_bytes, uint64_t size_bytes,
                                            int64_t mtime_ns) {
  Header header;
  TRY_ASSIGN(const size_t header_size, sidecar.read_at(0, std::as_writable_bytes(std::span(&header, 1))));
  const bool readable = header_size == kHeaderBytes && header.magic == kMagic && header.crc == header.computed_crc() &&
                        header.version == kVersion && header.page_bytes == page_bytes && header.file_bytes <= kFileBytesMax &&
                        pages_of(header.file_bytes, page_bytes) <= kPagesMax;
  if (!readable) return fail(ErrorCode::kCorrupt, "page map: bad header");
  Recorded recorded{.whole = header.kind == kWhole, .bytes = header.file_bytes};
  const bool changed = header.file_bytes != size_bytes || (recorded.whole && header.mtime_ns != mtime_ns);
  recorded.counts = (header.flags & kFlagChecksumsVoid) == 0 && !changed;
  std::vector<Slot> slots(pages_of(header.file_bytes, page_bytes));
  TRY_ASSIGN(const size_t slot_bytes, sidecar.read_at(kHeaderBytes, std::as_writable_bytes(std::span(slots))));
  recorded.crcs.resize(slots.size());
  for (uint64_t page = 0; page < slot_bytes / kSlotBytes; ++page) {
    const Slot& slot = slots[page];
    if (slot.tag == make_slot(header.salt, page, slot.crc).tag) recorded.crcs[page] = slot.crc;
  }
  return recorded;
}

// Frees what a complete file does not need.
void PageMap::settle() {
  if (unchecked_count_ == 0) {
    unchecked_ = {};
    crcs_ = {};
  }
  if (absent_count_ != 0 || unchecked_count_ != 0) return;
  present_ = {};
  written_ = {};
  complete_.store(true, std::memory_order_release);
}

bool PageMap::all_present() const {
  const std::lock_guard lock(mutex_);
  return absent_count_ == 0;
}

bool PageMap::present(uint64_t offset, uint64_t size) const {
  if (complete() || size == 0) return true;
  const std::lock_guard lock(mutex_);
  if (absent_count_ == 0 || offset >= file_bytes_) return true;
  const uint64_t end = std::min(file_bytes_ - offset, size) + offset;
  for (uint64_t position = offset; position < end;) {
    const uint64_t page = position / page_bytes_;
    if (is_set(present_, page)) {
      position = (page + 1) * page_bytes_;
    } else {
      if (misses_block(position, 0, 0)) return false;
      position = (position / kBlockBytes + 1) * kBlockBytes;
    }
  }
  return true;
}

LocalFile::ByteRange PageMap::first_absent(uint64_t offset, uint64_t size) const {
  if (complete() || size == 0) return {};
  const std::lock_guard lock(mutex_);
  if (absent_count_ == 0 || offset >= file_bytes_) return {};
  const uint64_t end = std::min(file_bytes_ - offset, size) + offset;
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
  const auto page_of = [&](std::span<const std::byte> content, uint64_t page) {
    const uint64_t start = page * page_bytes_;
    return content.subspan(start, std::min(page_bytes_, content.size() - start));
  };
  std::vector<uint32_t> crcs;  // before the lock: a page that turns out to be present is rare
  for (uint64_t page = 0; page < pages_of(bytes.size(), page_bytes_); ++page)
    crcs.push_back(net::crc32c(page_of(bytes, page)));
  const std::lock_guard data_lock(data_mutex_);
  if (offset % page_bytes_ != 0 || end > object_bytes_ || (end % page_bytes_ != 0 && end < file_bytes_)) {
    return fail(ErrorCode::kInvalid, "fill of [" + std::to_string(offset) + ", " + std::to_string(end) +
                                         ") is not whole pages of a file of " + std::to_string(file_bytes_) + " bytes");
  }
  std::optional<int64_t> mtime_ns;  // of what was written here
  {
    const std::lock_guard lock(mutex_);
    if ((header_->flags & kFlagChecksumsVoid) != 0) {
      TRY_ASSIGN(const io::FileStat stat, data.stat());
      mtime_ns = stat.mtime_ns;
    }
  }
  uint64_t written = 0;
  for (uint64_t position = offset; position < end;) {
    const LocalFile::ByteRange run = first_absent(position, end - position);
    if (run.size == 0) break;
    const std::span content = bytes.subspan(run.offset - offset, run.size);
    TRY(write_around(data, run.offset, content));
    if (mtime_ns) TRY(data.set_times(std::nullopt, *mtime_ns));
    written += run.size;
    position = run.offset + run.size;

    const uint64_t first = run.offset / page_bytes_;
    std::vector<Slot> slots(pages_of(run.size, page_bytes_));
    const uint64_t begin = first - offset / page_bytes_;
    for (uint64_t i = 0; i < slots.size(); ++i) {
      const auto page = page_of(content, i);
      const bool cut = page.size() != page_of(bytes, begin + i).size();  // by a truncation meanwhile
      slots[i] = make_slot(header_->salt, first + i, cut ? net::crc32c(page) : crcs[begin + i]);
    }
    const std::lock_guard lock(mutex_);
    TRY(sidecar_.write_at(kHeaderBytes + first * kSlotBytes, std::as_bytes(std::span(slots))));
    for (uint64_t page = first; page < first + slots.size(); ++page) {
      if (absent_count_ == 0 || is_set(present_, page)) continue;
      set(present_, page);
      written_.erase(page);
      --absent_count_;
    }
    settle();
  }
  return written;
}

Result<io::FileStat> PageMap::stat(const io::File& data) const {
  const std::lock_guard data_lock(data_mutex_);
  return data.stat();
}

Result<void> PageMap::set_mtime(const io::File& data, int64_t mtime_ns) {
  const std::lock_guard data_lock(data_mutex_);
  return data.set_times(std::nullopt, mtime_ns);
}

Result<void> PageMap::write_around(const io::File& data, uint64_t offset, std::span<const std::byte> bytes) {
  std::map<uint64_t, std::vector<uint64_t>> written;
  {
    const std::lock_guard lock(mutex_);
    written.insert(written_.lower_bound(offset / page_bytes_),
                   written_.upper_bound((offset + bytes.size() - 1) / page_bytes_));
  }
  if (written.empty()) return data.write_at(offset, bytes);
  const auto is_written = [&](uint64_t position) {
    const auto found = written.find(position / page_bytes_);
    return found != written.end() && is_set(found->second, position % page_bytes_ / kBlockBytes);
  };
  const uint64_t end = offset + bytes.size();
  for (uint64_t position = offset; position < end;) {
    const uint64_t begin = position;
    const bool skip = is_written(position);
    while (position < end && is_written(position) == skip) position += kBlockBytes;
    position = std::min(position, end);
    if (!skip) TRY(data.write_at(begin, bytes.subspan(begin - offset, position - begin)));
  }
  return {};
}

// ---- writing in place

uint64_t PageMap::blocks_of(uint64_t page) const {
  return (page_end(page) - page * page_bytes_ + kBlockBytes - 1) / kBlockBytes;
}

bool PageMap::misses_block(uint64_t position, uint64_t begin, uint64_t end) const {
  if (absent_count_ == 0 || position >= file_bytes_) return false;
  const uint64_t page = position / page_bytes_;
  if (is_set(present_, page)) return false;
  const auto written = written_.find(page);
  if (written != written_.end() && is_set(written->second, position % page_bytes_ / kBlockBytes)) return false;
  const uint64_t block = position / kBlockBytes * kBlockBytes;
  return begin > block || end < std::min(block + kBlockBytes, file_bytes_.load());
}

LocalFile::ByteRange PageMap::missing_for_write(uint64_t offset, uint64_t size) const {
  if (complete() || size == 0) return {};
  const std::lock_guard lock(mutex_);
  if (offset >= file_bytes_) return {};
  const uint64_t end = offset + size;
  for (const uint64_t position : {offset, std::min(end, file_bytes_.load()) - 1}) {
    if (!misses_block(position, offset, end)) continue;
    const uint64_t page = position / page_bytes_;
    return {.offset = page * page_bytes_, .size = page_end(page) - page * page_bytes_};
  }
  return {};
}

Result<void> PageMap::make_present(uint64_t page, uint32_t crc) {
  const Slot slot = make_slot(header_->salt, page, crc);
  TRY(sidecar_.write_at(kHeaderBytes + page * kSlotBytes, std::as_bytes(std::span(&slot, 1))));
  set(present_, page);
  written_.erase(page);
  --absent_count_;
  settle();
  return {};
}

Result<void> PageMap::record_written(uint64_t page, std::span<const uint64_t> blocks) {
  return sidecar_.write_at(kWrittenAt + page * blocks.size_bytes(), std::as_bytes(blocks));
}

Result<void> PageMap::mark_written(uint64_t page, uint64_t begin, uint64_t end) {
  if (absent_count_ == 0 || is_set(present_, page)) return {};
  std::vector<uint64_t> blocks(words_per_page());
  uint64_t count = 0;
  for (uint64_t block = 0; block < blocks_of(page); ++block) {
    if (misses_block(page * page_bytes_ + block * kBlockBytes, begin, end)) continue;
    set(blocks, block);
    ++count;
  }
  if (count == blocks_of(page)) return make_present(page, kWrittenCrc);
  if (count == 0) return {};
  TRY(record_written(page, blocks));
  written_[page] = std::move(blocks);
  return {};
}

Result<void> PageMap::write(const io::File& data, uint64_t offset, std::span<const std::byte> bytes) {
  const std::lock_guard data_lock(data_mutex_);
  if (const auto missing = missing_for_write(offset, bytes.size()); missing.size != 0) {
    return fail(ErrorCode::kNotFound, "a write at " + std::to_string(offset) + " needs the page at " +
                                          std::to_string(missing.offset) + "; fetch it first");
  }
  TRY(data.write_at(offset, bytes));
  const std::lock_guard lock(mutex_);
  const uint64_t end = std::min(offset + bytes.size(), file_bytes_.load());
  for (uint64_t page = offset / page_bytes_; page * page_bytes_ < end; ++page) TRY(mark_written(page, offset, end));
  return {};
}

Result<void> PageMap::truncate(const io::File& data, uint64_t size) {
  const std::lock_guard data_lock(data_mutex_);
  TRY(data.truncate(size));
  const std::lock_guard lock(mutex_);
  if (complete() || size >= file_bytes_) return {};
  const uint64_t pages_before = page_count();
  file_bytes_ = size;
  header_->file_bytes = size;
  TRY(write_header());
  for (uint64_t page = page_count(); page < pages_before; ++page) {
    if (!is_set(present_, page)) --absent_count_;
    set(present_, page);
  }
  written_.erase(written_.lower_bound(page_count()), written_.end());
  settle();
  // Perhaps all that is left of the page that was cut was written.
  return size == 0 ? Result<void>() : mark_written((size - 1) / page_bytes_, 0, 0);
}

Result<void> PageMap::punch_hole(const io::File& data, uint64_t offset, uint64_t size) {
  const std::lock_guard data_lock(data_mutex_);
  TRY_ASSIGN(const io::FileStat stat, data.stat());
  const uint64_t end = std::min(offset + size, stat.size_bytes);
  if (offset >= end) return data.punch_hole(offset, size);
  if (const auto missing = missing_for_write(offset, end - offset); missing.size != 0) {
    return fail(ErrorCode::kNotFound, "a hole at " + std::to_string(offset) + " needs the page at " +
                                          std::to_string(missing.offset) + "; fetch it first");
  }
  for (uint64_t position = offset; position < end;) {
    const auto absent = first_absent(position, end - position);
    const uint64_t next = absent.size == 0 ? end : std::max(absent.offset, position);
    if (next > position) TRY(data.punch_hole(position, next - position));
    position = next;
    if (position == end) break;
    const uint64_t page = position / page_bytes_;
    const uint64_t part_end = std::min(end, (page + 1) * page_bytes_);
    if (position == page * page_bytes_ && part_end >= page_end(page)) {
      TRY(data.punch_hole(position, part_end - position));
      const std::lock_guard lock(mutex_);
      TRY(make_present(page, kPunchedCrc));
    } else {
      // A hole here could not be told from a block whose write was lost.
      const std::vector<std::byte> zeros(part_end - position);
      TRY(data.write_at(position, zeros));
      const std::lock_guard lock(mutex_);
      TRY(mark_written(page, position, part_end));
    }
    position = part_end;
  }
  return {};
}

Result<void> PageMap::load_written() {
  std::vector<uint64_t> bits(page_count() * words_per_page());
  TRY(sidecar_.read_at(kWrittenAt, std::as_writable_bytes(std::span(bits))));
  for (uint64_t page = 0; page < page_count(); ++page) {
    if (is_set(present_, page)) continue;
    const auto blocks = std::span(bits).subspan(page * words_per_page(), words_per_page());
    if (std::ranges::any_of(blocks, [](uint64_t word) { return word != 0; }))
      written_.emplace(page, std::vector<uint64_t>(blocks.begin(), blocks.end()));
  }
  return {};
}

Result<void> PageMap::distrust_holes(const io::File& data, std::span<const uint32_t> crcs) {
  const auto is_hole = [&](uint64_t begin, uint64_t end) -> Result<bool> {
    TRY_ASSIGN(const auto found, data.seek_data(begin));
    return !found || *found >= end;
  };
  for (uint64_t page = 0; page < page_count(); ++page) {
    if (!is_set(present_, page) || crcs[page] == kPunchedCrc) continue;
    TRY_ASSIGN(const bool lost, is_hole(page * page_bytes_, page_end(page)));
    if (!lost) continue;
    TRY(record_written(page, std::vector<uint64_t>(words_per_page())));
    const Slot none{};
    TRY(sidecar_.write_at(kHeaderBytes + page * kSlotBytes, std::as_bytes(std::span(&none, 1))));
    clear(present_, page);
    ++absent_count_;
  }
  for (auto& [page, blocks] : written_) {
    for (uint64_t block = 0; block < blocks_of(page); ++block) {
      const uint64_t begin = page * page_bytes_ + block * kBlockBytes;
      if (!is_set(blocks, block)) continue;
      TRY_ASSIGN(const bool lost, is_hole(begin, begin + kBlockBytes));
      if (lost) clear(blocks, block);
    }
    TRY(record_written(page, blocks));
  }
  return {};
}

// ---- checks

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
