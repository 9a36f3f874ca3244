// kv/key_ranges.h -- the keys and ranges one transaction has read, or claims to have written.
//
// Append-only; the bytes lie in one buffer, so adding a key seldom allocates. It comes from the resource given, which
// must outlive the object. Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

namespace weir::kv {

class KeyRanges {
 public:
  // [begin, end), or just `begin`. Views live until the next add.
  struct Range {
    std::string_view begin;
    std::string_view end;
    bool single;  // `end` is unused
  };

  explicit KeyRanges(std::pmr::memory_resource* memory = std::pmr::get_default_resource())
      : bytes_(memory), entries_(memory) {}

  void add_key(std::string_view key);
  // Empty when begin >= end: then nothing is added.
  void add_range(std::string_view begin, std::string_view end);

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  size_t bytes() const { return bytes_.size(); }
  Range operator[](size_t i) const;

 private:
  void add(std::string_view begin, std::string_view end, uint32_t end_bytes);

  static constexpr uint32_t kSingle = UINT32_MAX;
  // Of most transactions, taken at the first key.
  static constexpr size_t kBytesAtFirst = 512;
  static constexpr size_t kEntriesAtFirst = 16;

  struct Entry {
    size_t offset;
    uint32_t begin_bytes;
    uint32_t end_bytes;  // kSingle: one key
  };

  std::pmr::string bytes_;
  std::pmr::vector<Entry> entries_;
};

}  // namespace weir::kv
