#include "fuse/directory_handle.h"

#include <gtest/gtest.h>

#include <map>

namespace weir::fuse {
namespace {

// A directory whose cursor is the name.
class Names {
 public:
  explicit Names(int count) {
    for (int i = 0; i < count; ++i) add(i);
  }
  static std::string name(int i) { return "f" + std::to_string(100'000 + i); }
  void add(int i) { names_[name(i)] = InodeId{static_cast<uint64_t>(i) + 10}; }
  void remove(int i) { names_.erase(name(i)); }

  DirectoryHandle::Source source() {
    return [this](std::string_view after, size_t entries_max) -> Result<volume::Volume::DirectoryListing> {
      ++calls;
      volume::Volume::DirectoryListing listing;
      auto at = names_.upper_bound(std::string(after));
      for (; at != names_.end() && listing.entries.size() < entries_max; ++at) {
        volume::DirectoryEntryPlus entry;
        entry.entry = {.name = at->first, .inode = at->second, .type = format::REGULAR, .cursor = at->first};
        listing.entries.push_back(entry);
      }
      listing.more = at != names_.end();
      return listing;
    };
  }

  int calls = 0;

 private:
  std::map<std::string, InodeId> names_;
};

struct Seen {
  std::vector<std::string> names;
  uint64_t next = 0;  // behind the last
};

// At most `room` entries from `offset` on.
Seen read(DirectoryHandle& handle, Names& names, uint64_t offset, size_t room, size_t entries_max = 100) {
  Seen seen{.names = {}, .next = offset};
  const auto done = handle.read(offset, entries_max, names.source(), [&](const auto& entry, uint64_t next) {
    if (seen.names.size() == room) return DirectoryHandle::Take::kNoRoom;
    seen.names.push_back(entry.entry.name);
    seen.next = next;
    return DirectoryHandle::Take::kTaken;
  });
  EXPECT_TRUE(done.has_value());
  return seen;
}

std::vector<std::string> read_all(DirectoryHandle& handle, Names& names, uint64_t offset, size_t room) {
  std::vector<std::string> all;
  for (;;) {
    const Seen seen = read(handle, names, offset, room);
    if (seen.names.empty()) return all;
    all.insert(all.end(), seen.names.begin(), seen.names.end());
    offset = seen.next;
  }
}

TEST(DirectoryHandle, gives_every_entry_once_whatever_fits_a_reply) {
  for (const size_t room : {1u, 7u, 99u, 100u, 101u, 5000u}) {
    Names names(1000);
    DirectoryHandle handle;
    const auto all = read_all(handle, names, 0, room);
    ASSERT_EQ(1000u, all.size()) << room;
    EXPECT_EQ(Names::name(999), all.back());
  }
}

TEST(DirectoryHandle, goes_back_exactly_though_earlier_entries_were_removed) {
  Names names(2000);
  DirectoryHandle handle;
  read_all(handle, names, 0, 50);
  for (int i = 0; i < 1500; i += 2) names.remove(i);
  EXPECT_EQ(Names::name(1700), read(handle, names, 1700, 1).names[0]);
  EXPECT_EQ(Names::name(1501), read(handle, names, 1500, 2).names[1]);
}

TEST(DirectoryHandle, goes_on_behind_an_entry_that_was_removed) {
  Names names(10);
  DirectoryHandle handle;
  const Seen first = read(handle, names, 0, 5);
  for (int i = 0; i < 6; ++i) names.remove(i);
  EXPECT_EQ(Names::name(6), read(handle, names, first.next, 1).names[0]);
}

TEST(DirectoryHandle, goes_back_beyond_what_it_kept) {
  const int count = static_cast<int>(DirectoryHandle::kCursorsKept) * 3;
  Names names(count);
  DirectoryHandle handle;
  read_all(handle, names, 0, 1000);
  for (const int offset : {1, 255, 256, 257, 5000, count - 1}) {
    EXPECT_EQ(Names::name(offset), read(handle, names, static_cast<uint64_t>(offset), 1).names[0]);
    EXPECT_EQ(static_cast<size_t>(count - offset), read_all(handle, names, static_cast<uint64_t>(offset), 1000).size());
  }
}

TEST(DirectoryHandle, starts_anew_at_offset_zero) {
  Names names(10);
  DirectoryHandle handle;
  read_all(handle, names, 0, 100);
  names.remove(0);
  names.add(20);
  const auto all = read_all(handle, names, 0, 100);
  EXPECT_EQ(10u, all.size());
  EXPECT_EQ(Names::name(1), all.front());
  EXPECT_EQ(Names::name(20), all.back());
}

TEST(DirectoryHandle, finds_an_offset_that_another_handle_gave_out) {
  Names names(3000);
  DirectoryHandle handle;
  EXPECT_EQ(Names::name(2500), read(handle, names, 2500, 1).names[0]);
  EXPECT_LE(names.calls, 3);
  EXPECT_TRUE(read(handle, names, 10'000, 1).names.empty());
}

TEST(DirectoryHandle, returns_the_error_of_the_source) {
  DirectoryHandle handle;
  const auto failed = handle.read(
      0, 10, [](std::string_view, size_t) { return Result<volume::Volume::DirectoryListing>(fail(ErrorCode::kIo)); },
      [](const auto&, uint64_t) { return DirectoryHandle::Take::kTaken; });
  EXPECT_TRUE(failed_with(failed, ErrorCode::kIo));
}

TEST(DirectoryHandle, another_handle_goes_on_where_one_was) {
  Names names(1000);
  DirectoryHandle first;
  const Seen before = read(first, names, 0, 700, 1000);
  DirectoryHandle second({{400, Names::name(399)}, {before.next, before.names.back()}});
  names.remove(5);  // an entry before the place shifts what is counted, not what is remembered
  const Seen after = read(second, names, before.next, 10);
  EXPECT_EQ(after.names.front(), Names::name(700));
  EXPECT_EQ(after.next, before.next + 10);
  DirectoryHandle third({{400, Names::name(399)}, {before.next, before.names.back()}});
  EXPECT_EQ(read(third, names, 400, 1).names.front(), Names::name(400));
}

}  // namespace
}  // namespace weir::fuse
