// pages/page_map.h -- which pages of a local file are present, with their CRC32C, in memory and in a sidecar file.
//
// The sidecar is a header of 64 bytes and one slot of 8 bytes per page:
//
//   header  magic "WEIRPAGE", version, kind, flags, page size, file size, salt, epoch, mtime, CRC32C of the above
//   slot    CRC32C of the page, then a tag: CRC32C of (salt, page number, CRC), lowest bit set
//
// all little-endian, and from kWrittenAt on a bitmap for each page: which of its blocks of 4 KiB were written here while the
// page was absent. They count until the page is present. A slot proves itself by its tag, so pages become present one 8-byte write at a time, in any
// order, and a torn or lost write only makes a page absent. A slot may reach the device before its page does:
// therefore slots are believed without a look at the bytes only while the header's epoch is the folder's
// (pages/store_dir.h changes it after every stop that may have lost writes); otherwise each page is checked against
// its CRC when it is first used. So filling never waits for the device.
//
// Kinds: a *presence* map belongs to a file fetched from the UFS, pages without a valid slot are absent. A *checksum*
// map belongs to a file that is whole; it describes it only while size and mtime are what they were when it was made.
//
// A file that is written in place while pages are absent keeps its presence map; the file's size in the header is then how
// much of the object still counts. CRCs do not count for it; after a stop that may have lost writes, what is a hole in the
// file though it was not punched is absent again.
//
// Threads: all methods may be called concurrently. Locks: data_mutex_, over changes of the data file, then mutex_, a leaf.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"
#include "io/file.h"
#include "pages/page_store.h"

namespace weir::pages {

class PageMap {
 public:
  static constexpr uint64_t kHeaderBytes = 64;
  static constexpr uint64_t kSlotBytes = 8;
  static constexpr uint64_t kPagesMax = uint64_t{1} << 28;
  static constexpr uint64_t kWrittenAt = kHeaderBytes + kPagesMax * kSlotBytes;
  static constexpr uint64_t kBlockBytes = LocalFile::kBlockBytes;

  // What the pages of an older epoch are checked against: their CRCs, or nothing, when the file may have been written
  // in place since and its bytes are nowhere else.
  enum class Checksums : uint8_t { kRequired, kIgnored };

  // What the sidecar is read against.
  struct Expected {
    uint64_t page_bytes = 0;
    uint64_t epoch = 0;
    uint64_t size_bytes = 0;  // of the data file now
    int64_t mtime_ns = 0;
    Checksums checksums = Checksums::kRequired;
  };

  // A presence map with every page absent, written to the empty `sidecar`.
  static Result<std::unique_ptr<PageMap>> create(io::File sidecar, uint64_t page_bytes, uint64_t file_bytes,
                                                 uint64_t epoch, uint64_t salt);
  // Null when the file is whole and nothing needs a check. kCorrupt: the sidecar is damaged, or the checksums that are
  // required do not describe the file as it is.
  static Result<std::unique_ptr<PageMap>> load(io::File sidecar, const io::File& data, const Expected& expected);
  // Writes a checksum map to the empty `sidecar`.
  static Result<void> write_checksums(const io::File& sidecar, uint64_t page_bytes, const ContentStamp& stamp,
                                      std::span<const uint32_t> page_crcs, uint64_t epoch, uint64_t salt);

  // What a sidecar says of the pages of its data file, which is now as `size_bytes` and `mtime_ns` say.
  struct Recorded {
    bool whole = false;
    bool counts = false;  // the CRCs are those of the data file
    uint64_t bytes = 0;   // that the pages below are of
    std::vector<std::optional<uint32_t>> crcs;  // of each page; of a presence map none for absent ones
  };
  static Result<Recorded> recorded(const io::File& sidecar, uint64_t page_bytes, uint64_t size_bytes, int64_t mtime_ns);

  // Every page is present and none waits for its check. Stays true.
  bool complete() const { return complete_.load(std::memory_order_acquire); }
  bool all_present() const;
  bool present(uint64_t offset, uint64_t size) const;
  LocalFile::ByteRange first_absent(uint64_t offset, uint64_t size) const;

  // Writes the absent ones of these pages to `data` and makes them present; returns the bytes written.
  Result<uint64_t> fill(const io::File& data, uint64_t offset, std::span<const std::byte> bytes);
  Result<io::FileStat> stat(const io::File& data) const;
  Result<void> set_mtime(const io::File& data, int64_t mtime_ns);

  // As LocalFile.
  Result<void> write(const io::File& data, uint64_t offset, std::span<const std::byte> bytes);
  Result<void> truncate(const io::File& data, uint64_t size);
  Result<void> punch_hole(const io::File& data, uint64_t offset, uint64_t size);
  LocalFile::ByteRange missing_for_write(uint64_t offset, uint64_t size) const;

  // Checks those pages of the range that still wait for it. kNotFound: a page is absent. kCorrupt: a page was not
  // what its CRC says and is absent from now on.
  Result<void> check(const io::File& data, uint64_t offset, uint64_t size);
  // The same for every present page.
  Result<void> check_present(const io::File& data);

  // From now on presence counts but CRCs do not: the file is about to be written in place.
  Result<void> void_checksums();

  Result<void> sync() const { return sidecar_.sync_data(); }

  ~PageMap();

 private:
  struct Header;

  PageMap(io::File sidecar, const Header& header);

  uint64_t page_count() const;
  uint64_t page_end(uint64_t page) const;  // first byte after it
  bool is_set(const std::vector<uint64_t>& bits, uint64_t page) const;
  Result<void> write_header();
  Result<void> check_page(const io::File& data, uint64_t page, std::vector<std::byte>& buffer);
  Result<void> drop(uint64_t page);
  Result<void> passed(uint64_t page);
  void settle();
  // Writes the blocks of absent pages that were not written here. data_mutex_ is held.
  Result<void> write_around(const io::File& data, uint64_t offset, std::span<const std::byte> bytes);

  // --- with mutex_ held
  uint64_t blocks_of(uint64_t page) const;
  // Whether the block of `position` is absent and [begin, end) does not cover it.
  bool misses_block(uint64_t position, uint64_t begin, uint64_t end) const;
  // [begin, end) was written: the blocks of the absent page that it covers are written, and all of them make it present.
  Result<void> mark_written(uint64_t page, uint64_t begin, uint64_t end);
  Result<void> make_present(uint64_t page, uint32_t crc);
  Result<void> record_written(uint64_t page, std::span<const uint64_t> blocks);
  size_t words_per_page() const { return (page_bytes_ / kBlockBytes + 63) / 64; }
  Result<void> load_written();
  // Of a file whose writes may have been lost.
  Result<void> distrust_holes(const io::File& data, std::span<const uint32_t> crcs);

  const io::File sidecar_;
  const uint64_t page_bytes_;
  const uint64_t object_bytes_;       // when the map was opened
  std::atomic<uint64_t> file_bytes_;  // of the object that count; beyond them the file stands for itself
  uint64_t epoch_ = 0;  // the folder's; the header's lags while pages wait for their check

  std::atomic<bool> complete_{false};
  mutable std::mutex data_mutex_;
  mutable std::mutex mutex_;
  std::unique_ptr<Header> header_;
  std::vector<uint64_t> present_;    // one bit per page; empty once complete
  std::vector<uint64_t> unchecked_;  // one bit per page; empty when none
  std::vector<uint32_t> crcs_;       // of unchecked pages
  std::map<uint64_t, std::vector<uint64_t>> written_;  // of absent pages: one bit per block
  uint64_t absent_count_ = 0;
  uint64_t unchecked_count_ = 0;
};

}  // namespace weir::pages
