#include "pages/page_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <numeric>
#include <set>
#include <thread>

#include "base/random.h"
#include "io/directory.h"
#include "io/fault.h"
#include "net/checksum.h"
#include "testing/fault_io.h"

namespace weir::pages {
namespace {

namespace fs = std::filesystem;
using io::Operation;

constexpr uint64_t kPage = 64 << 10;
constexpr uint64_t kMiB = 1 << 20;
constexpr Duration kNoDelay = Duration::zero();

std::string pattern(uint64_t size, uint64_t seed) {
  std::vector<uint64_t> words(size / sizeof(uint64_t) + 1);
  Random random(seed);
  for (uint64_t& word : words) word = random.next();
  return std::string(reinterpret_cast<const char*>(words.data()), size);
}

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// No name goes away while it lives.
class HeldUnlinks final : public io::FaultHook {
 public:
  HeldUnlinks() { io::fault_hook.store(this); }
  ~HeldUnlinks() override {
    release();
    io::fault_hook.store(nullptr);
    while (inside_.load() != 0) std::this_thread::yield();
  }

  void release() {
    held_.store(false);
    held_.notify_all();
  }

  int before(io::Attempt& attempt) override {
    if (attempt.operation != Operation::kUnlink) return 0;
    ++inside_;
    held_.wait(true);
    --inside_;
    return 0;
  }
  void after(const io::Attempt&) override {}

 private:
  std::atomic<bool> held_{true};
  std::atomic<int> inside_{0};
};

class PageStoreTest : public ::testing::Test {
 protected:
  // Where syncs cost nothing, unless the test is about what a disk's file system does.
  virtual std::string parent() const { return fs::is_directory("/dev/shm") ? "/dev/shm" : "/tmp"; }

  void SetUp() override {
    std::string path = parent() + "/weir-pages-XXXXXX";
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    root_ = path;
    options_ = {.dirs = {root_ + "/store"},
                .volume_id = "volume-a",
                .capacity_bytes = 100 * kMiB,
                .pinned_ratio = 0.5,
                .page_bytes = kPage};
    open_store();
  }
  void TearDown() override {
    store_.reset();
    fs::remove_all(root_);
  }

  Result<void> try_open_store() {
    store_.reset();
    TRY_ASSIGN(store_, open_page_store(options_));
    return {};
  }
  // On a device of 16 MiB that the test unmounts from where the result says; empty: it may not be mounted.
  std::string open_store_on_small_device() {
    const std::string mount_point = root_ + "/device";
    fs::create_directory(mount_point);
    if (::mount("weir-test", mount_point.c_str(), "tmpfs", 0, "size=16m") != 0) return {};
    options_.dirs = {mount_point + "/store"};
    options_.capacity_bytes = 1 << 30;
    open_store();
    return mount_point;
  }
  void open_store() {
    const auto opened = try_open_store();
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  }
  static std::string read_text(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // The state file as another boot of the machine would have left it.
  static std::string of_another_boot(const std::string& state) {
    std::string text = state.substr(0, state.find("crc32c="));
    const size_t boot = text.find("boot=") + 5;
    text.replace(boot, text.find('\n', boot) - boot, "another");
    char crc[32];
    std::snprintf(crc, sizeof crc, "crc32c=%016x\n", net::crc32c(bytes_of(text)));
    return text + crc;
  }
  void boot_again() {
    const fs::path state = options_.dirs[0] + "/state";
    const std::string text = of_another_boot(read_text(state));
    std::ofstream(state) << text;
  }
  // The state file is the one that the running store had.
  void reopen_after_power_loss() {
    std::vector<std::string> states;
    for (const std::string& dir : options_.dirs) states.push_back(read_text(dir + "/state"));
    store_.reset();
    for (size_t i = 0; i < states.size(); ++i) {
      const fs::path path = options_.dirs[i] + "/state";
      if (states[i].empty()) {
        fs::remove(path);
      } else {
        std::ofstream(path) << of_another_boot(states[i]);
      }
    }
    open_store();
  }
  void recover(std::initializer_list<uint64_t> ids, Pin pin) {
    for (const uint64_t id : ids) store_->recover(LocalFileId(id), pin);
    ASSERT_TRUE(store_->finish_recovery().has_value());
  }

  void write(const LocalFile& file, std::string_view bytes, uint64_t offset = 0) {
    ASSERT_TRUE(file.file().write_at(offset, bytes).has_value());
  }
  std::shared_ptr<LocalFile> make(uint64_t id, uint64_t size = 0) {
    auto file = store_->create(LocalFileId(id));
    EXPECT_TRUE(file.has_value());
    write(**file, pattern(size, id));
    return *file;
  }
  // A closed evictable file.
  void make_clean(uint64_t id, uint64_t size) {
    make(id, size);
    store_->set_pin(LocalFileId(id), Pin::kEvictable);
  }
  std::shared_ptr<LocalFile> make_fetched(uint64_t id, uint64_t size) {
    auto file = store_->create_partial(LocalFileId(id), size);
    EXPECT_TRUE(file.has_value());
    EXPECT_TRUE((*file)->fill(0, bytes_of(pattern(size, id))).has_value());
    return *file;
  }
  std::string read(LocalFile& file) {
    std::string bytes(file.file().stat()->size_bytes, '\0');
    const auto count = file.read(0, std::as_writable_bytes(std::span(bytes)));
    return count.has_value() ? bytes.substr(0, *count) : count.error().to_string();
  }
  std::shared_ptr<LocalFile> open(uint64_t id) {
    auto file = store_->open(LocalFileId(id));
    EXPECT_TRUE(file.has_value()) << file.error().to_string();
    return file.value_or(nullptr);
  }
  bool absent(uint64_t id) { return failed_with(store_->open(LocalFileId(id)), ErrorCode::kNotFound); }

  // The files that are there once no removed one is on its way any more.
  std::vector<fs::path> files_on_quiet_disk() const {
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (store_->usage().leaving_files != 0 && !deadline.expired())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(store_->usage().leaving_files, 0u);
    EXPECT_EQ(store_->usage().leaving_bytes, 0u);
    return files_on_disk();
  }
  std::vector<fs::path> files_on_disk() const {
    std::vector<fs::path> files;
    for (const std::string& dir : options_.dirs) {
      for (const auto& entry : fs::recursive_directory_iterator(dir + "/files")) {
        if (entry.is_regular_file()) files.push_back(entry.path());
      }
    }
    return files;
  }
  fs::path path_of(uint64_t id, const std::string& suffix = "") const {
    char name[32];
    std::snprintf(name, sizeof name, "%02llx/%016llx", static_cast<unsigned long long>(id >> 8 & 255),
                  static_cast<unsigned long long>(id));
    return options_.dirs[0] + "/files/" + name + suffix;
  }
  static void flip_byte(const fs::path& path, uint64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
    ASSERT_TRUE(file.good());
  }
  Result<void> record_checksums(const LocalFile& file, std::string_view bytes) {
    std::vector<uint32_t> crcs;
    for (size_t i = 0; i < bytes.size(); i += kPage) crcs.push_back(net::crc32c(bytes_of(bytes.substr(i, kPage))));
    TRY_ASSIGN(const ContentStamp stamp, store_->stamp(file));
    return store_->record_checksums(file, stamp, crcs);
  }

  std::string root_;
  PageStoreOptions options_;
  std::unique_ptr<PageStore> store_;
};

class PageStoreOnDisk : public PageStoreTest {
 protected:
  std::string parent() const override { return "/tmp"; }
};

// ---- files

TEST_F(PageStoreTest, a_created_file_is_empty_complete_and_pinned) {
  const auto file = store_->create(LocalFileId(7));
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ((*file)->id(), LocalFileId(7));
  EXPECT_TRUE((*file)->complete());
  EXPECT_TRUE((*file)->present(0, kMiB));
  EXPECT_EQ(store_->stat(LocalFileId(7))->size_bytes, 0u);
  EXPECT_EQ(store_->usage().pinned_files, 1u);
  EXPECT_EQ(store_->usage().files, 1u);
  EXPECT_TRUE(failed_with(store_->create(LocalFileId(7)), ErrorCode::kExists));
  EXPECT_TRUE(failed_with(store_->create_partial(LocalFileId(7), 1), ErrorCode::kExists));
}

TEST_F(PageStoreTest, handles_of_a_file_share_one_descriptor) {
  const auto first = make(1, 10);
  const auto second = open(1);
  EXPECT_EQ(first->file().fd(), second->file().fd());
  EXPECT_EQ(read(*second), pattern(10, 1));
}

TEST_F(PageStoreTest, a_removed_file_is_gone_at_once_but_handles_keep_reading) {
  const auto file = make(1, kMiB);
  store_->account(LocalFileId(1));
  store_->remove(LocalFileId(1));
  EXPECT_TRUE(absent(1));
  EXPECT_EQ(store_->usage().files, 0u);
  EXPECT_EQ(store_->usage().pinned_bytes, 0u);
  EXPECT_TRUE(files_on_quiet_disk().empty());
  EXPECT_EQ(read(*file), pattern(kMiB, 1));
  store_->remove(LocalFileId(1));
}

TEST_F(PageStoreTest, a_removed_open_file_counts_until_its_last_handle_goes) {
  auto file = make(1, kMiB);
  store_->account(LocalFileId(1));
  store_->remove(LocalFileId(1));
  EXPECT_GE(store_->usage().used_bytes, kMiB);
  file.reset();
  EXPECT_EQ(store_->usage().used_bytes, 0u);
}

TEST_F(PageStoreTest, an_id_can_be_made_again_while_handles_of_the_removed_file_live) {
  const auto old = make_fetched(1, kPage);
  store_->remove(LocalFileId(1));
  const auto again = store_->create_partial(LocalFileId(1), kPage);
  ASSERT_TRUE(again.has_value());
  EXPECT_FALSE((*again)->complete());
  EXPECT_EQ(read(*old), pattern(kPage, 1));
}

TEST_F(PageStoreTest, removing_a_file_waits_for_no_device) {
  for (uint64_t id = 1; id <= 20; ++id) make(id, kPage);
  for (uint64_t id = 1; id <= 20; ++id) store_->account(LocalFileId(id));
  HeldUnlinks held;
  for (uint64_t id = 1; id <= 20; ++id) store_->remove(LocalFileId(id));
  EXPECT_EQ(store_->usage().files, 0u);
  EXPECT_EQ(store_->usage().used_bytes, 0u);
  EXPECT_EQ(store_->usage().pinned_bytes, 0u);
  EXPECT_GE(store_->usage().leaving_bytes, 20 * kPage);
  EXPECT_TRUE(absent(1));
  EXPECT_EQ(files_on_disk().size(), 20u);
  held.release();
  EXPECT_TRUE(files_on_quiet_disk().empty());
}

TEST_F(PageStoreTest, the_last_handle_of_a_removed_file_hands_its_space_to_be_freed_behind) {
  auto file = make(1, kMiB);
  store_->account(LocalFileId(1));
  store_->remove(LocalFileId(1));
  EXPECT_TRUE(files_on_quiet_disk().empty());
  file.reset();
  EXPECT_EQ(store_->usage().used_bytes, 0u);
  EXPECT_TRUE(files_on_quiet_disk().empty());
}

TEST_F(PageStoreTest, space_on_its_way_is_waited_for_before_anything_is_evicted_or_refused) {
  options_.pinned_ratio = 1.0;
  options_.capacity_bytes = 20 * kMiB;
  open_store();
  make_clean(1, kMiB);
  make(2, 16 * kMiB);
  store_->account(LocalFileId(2));
  HeldUnlinks held;
  store_->remove(LocalFileId(2));
  auto admitted = std::async(std::launch::async, [&] { return store_->admit(16 * kMiB, kNoDelay); });
  EXPECT_EQ(admitted.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  held.release();
  const auto result = admitted.get();
  EXPECT_TRUE(result.has_value()) << result.error().to_string();
  EXPECT_FALSE(absent(1));
}

TEST_F(PageStoreTest, an_id_made_again_keeps_its_file_while_the_removed_one_is_on_its_way) {
  make_fetched(1, kPage);
  make(2, 2 * kPage);
  HeldUnlinks held;
  store_->remove(LocalFileId(1));
  store_->remove(LocalFileId(2));
  auto again = std::async(std::launch::async, [&] {
    make_fetched(1, kPage);
    make(2, kPage);
  });
  EXPECT_EQ(again.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  held.release();
  again.get();
  EXPECT_EQ(files_on_quiet_disk().size(), 3u);  // one has a map
  EXPECT_EQ(read(*open(1)), pattern(kPage, 1));
  EXPECT_EQ(read(*open(2)), pattern(kPage, 2));
}

TEST_F(PageStoreTest, a_device_without_room_is_freed_within_the_call) {
  const std::string mount_point = open_store_on_small_device();
  if (mount_point.empty()) GTEST_SKIP() << "SKIPPED: may not mount a tmpfs";
  make(1, 10 * kMiB);
  store_->account(LocalFileId(1));
  store_->remove(LocalFileId(1));  // more than a quarter of any room there can be
  EXPECT_TRUE(files_on_disk().empty());
  EXPECT_EQ(store_->usage().leaving_bytes, 0u);
  store_.reset();
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
}

TEST_F(PageStoreTest, a_stop_frees_what_is_on_its_way) {
  for (uint64_t id = 1; id <= 500; ++id) make(id, 4096);
  for (uint64_t id = 1; id <= 500; ++id) store_->remove(LocalFileId(id));
  store_.reset();
  EXPECT_TRUE(files_on_disk().empty());
}

TEST_F(PageStoreTest, quarantine_keeps_the_bytes_and_counts_them) {
  make(1, kMiB);
  ASSERT_TRUE(store_->quarantine(LocalFileId(1)).has_value());
  EXPECT_TRUE(absent(1));
  EXPECT_TRUE(failed_with(store_->quarantine(LocalFileId(1)), ErrorCode::kNotFound));
  EXPECT_EQ(fs::file_size(options_.dirs[0] + "/quarantine/0000000000000001"), kMiB);
  EXPECT_GE(store_->usage().quarantined_bytes, kMiB);
  EXPECT_EQ(store_->usage().pinned_bytes, 0u);
  open_store();
  EXPECT_GE(store_->usage().quarantined_bytes, kMiB);
  EXPECT_GE(store_->usage().used_bytes, kMiB);
}

// ---- partial files

TEST_F(PageStoreTest, pages_become_present_as_they_are_filled) {
  const uint64_t size = 4 * kPage + 100;
  const std::string bytes = pattern(size, 1);
  const auto file = *store_->create_partial(LocalFileId(1), size);
  EXPECT_EQ(file->file().stat()->size_bytes, size);
  EXPECT_FALSE(file->complete());
  EXPECT_EQ(file->first_absent(0, size), (LocalFile::ByteRange{0, size}));
  EXPECT_EQ(file->first_absent(kPage + 1, 1), (LocalFile::ByteRange{kPage, kPage}));
  EXPECT_TRUE(file->present(size, kMiB)) << "bytes beyond the object's size count as present";

  ASSERT_TRUE(file->fill(kPage, bytes_of(bytes).subspan(kPage, kPage)).has_value());
  EXPECT_TRUE(file->present(kPage, kPage));
  EXPECT_FALSE(file->present(kPage - 1, 2));
  EXPECT_EQ(file->first_absent(0, size), (LocalFile::ByteRange{0, kPage}));
  EXPECT_EQ(file->first_absent(kPage, size - kPage), (LocalFile::ByteRange{2 * kPage, size - 2 * kPage}));

  std::string part(10, '\0');
  EXPECT_EQ(*file->read(kPage + 5, std::as_writable_bytes(std::span(part))), 10u);
  EXPECT_EQ(part, bytes.substr(kPage + 5, 10));
  EXPECT_TRUE(failed_with(file->read(0, std::as_writable_bytes(std::span(part))), ErrorCode::kNotFound));

  ASSERT_TRUE(file->fill(0, bytes_of(bytes)).has_value());
  EXPECT_TRUE(file->complete());
  EXPECT_EQ(file->first_absent(0, size).size, 0u);
  EXPECT_EQ(read(*file), bytes);
}

TEST_F(PageStoreTest, a_fill_must_be_whole_pages_of_the_object) {
  const auto file = *store_->create_partial(LocalFileId(1), 2 * kPage + 1);
  const std::string bytes = pattern(3 * kPage, 1);
  EXPECT_TRUE(failed_with(file->fill(1, bytes_of(bytes).first(kPage)), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(file->fill(0, bytes_of(bytes).first(kPage - 1)), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(file->fill(0, bytes_of(bytes)), ErrorCode::kInvalid));
  EXPECT_TRUE(file->fill(2 * kPage, bytes_of(bytes).first(1)).has_value());
}

TEST_F(PageStoreTest, a_fill_leaves_present_pages_alone) {
  const auto file = *store_->create_partial(LocalFileId(1), 3 * kPage);
  ASSERT_TRUE(file->fill(kPage, bytes_of(pattern(kPage, 9))).has_value());
  const std::string other = pattern(3 * kPage, 1);
  ASSERT_TRUE(file->fill(0, bytes_of(other)).has_value());
  EXPECT_EQ(read(*file), other.substr(0, kPage) + pattern(kPage, 9) + other.substr(2 * kPage));
}

TEST_F(PageStoreTest, an_empty_object_is_complete_at_once) {
  EXPECT_TRUE((*store_->create_partial(LocalFileId(1), 0))->complete());
}

TEST_F(PageStoreTest, a_fill_that_fails_leaves_the_page_absent) {
  const auto file = *store_->create_partial(LocalFileId(1), kPage);
  testing::FaultIo faults(root_);
  faults.fail(Operation::kWrite, EIO, 1, 1);  // the slot, after the page
  EXPECT_TRUE(failed_with(file->fill(0, bytes_of(pattern(kPage, 1))), ErrorCode::kIo));
  EXPECT_FALSE(file->present(0, 1));
  EXPECT_TRUE(file->fill(0, bytes_of(pattern(kPage, 1))).has_value());
  EXPECT_TRUE(file->complete());
}

// ---- restart

TEST_F(PageStoreTest, present_pages_survive_a_clean_restart_unchecked) {
  {
    const auto file = *store_->create_partial(LocalFileId(1), 3 * kPage);
    ASSERT_TRUE(file->fill(kPage, bytes_of(pattern(kPage, 5))).has_value());
  }
  make_fetched(2, 2 * kPage);
  open_store();
  EXPECT_EQ(open(1)->first_absent(0, 3 * kPage), (LocalFile::ByteRange{0, kPage}));
  EXPECT_TRUE(open(1)->present(kPage, kPage));
  EXPECT_TRUE(open(2)->complete());
  EXPECT_EQ(read(*open(2)), pattern(2 * kPage, 2));
}

TEST_F(PageStoreTest, after_a_crash_pages_are_checked_once_and_then_complete) {
  make_fetched(1, 3 * kPage);
  reopen_after_power_loss();
  recover({1}, Pin::kEvictable);
  auto file = open(1);
  EXPECT_FALSE(file->complete()) << "not for the kernel before it is checked";
  EXPECT_TRUE(file->present(0, 3 * kPage));
  EXPECT_EQ(read(*file), pattern(3 * kPage, 1));
  EXPECT_TRUE(file->complete());
  file.reset();
  open_store();
  recover({1}, Pin::kEvictable);
  EXPECT_TRUE(open(1)->complete()) << "the passed check is remembered";
}

TEST_F(PageStoreTest, a_check_still_due_at_a_clean_stop_stays_due) {
  make_fetched(1, kPage);
  reopen_after_power_loss();
  recover({1}, Pin::kEvictable);
  open_store();
  recover({1}, Pin::kEvictable);
  EXPECT_FALSE(open(1)->complete());
  EXPECT_TRUE(open(1)->verify().has_value());
  EXPECT_TRUE(open(1)->complete());
}

TEST_F(PageStoreTest, a_flipped_byte_after_a_crash_is_never_served_and_its_page_is_fetched_again) {
  const std::string bytes = pattern(3 * kPage, 1);
  make_fetched(1, 3 * kPage);
  flip_byte(path_of(1, ".copy"), kPage + 17);
  reopen_after_power_loss();
  store_->recover(LocalFileId(1), Pin::kEvictable);
  auto file = open(1);
  std::string part(kPage, '\0');
  EXPECT_TRUE(file->read(0, std::as_writable_bytes(std::span(part))).has_value());
  EXPECT_TRUE(failed_with(file->read(kPage, std::as_writable_bytes(std::span(part))), ErrorCode::kCorrupt));
  EXPECT_EQ(store_->usage().corrupt_pages, 1u);
  EXPECT_EQ(file->first_absent(0, 3 * kPage), (LocalFile::ByteRange{kPage, kPage}));
  EXPECT_TRUE(failed_with(file->read(kPage, std::as_writable_bytes(std::span(part))), ErrorCode::kNotFound));

  file.reset();
  open_store();
  store_->recover(LocalFileId(1), Pin::kEvictable);
  file = open(1);
  EXPECT_EQ(file->first_absent(0, 3 * kPage), (LocalFile::ByteRange{kPage, kPage})) << "and stays absent";
  ASSERT_TRUE(file->fill(kPage, bytes_of(bytes).subspan(kPage, kPage)).has_value());
  EXPECT_EQ(read(*file), bytes);
  EXPECT_TRUE(file->complete());
}

// Semantics 2.4, below the mount.
TEST_F(PageStoreOnDisk, a_page_whose_bytes_were_lost_with_the_power_is_absent) {
  options_.dirs = {root_ + "/other"};
  open_store();
  {
    auto faults = std::make_unique<testing::FaultIo>(options_.dirs[0]);
    const auto file = *store_->create_partial(LocalFileId(1), 2 * kPage);
    ASSERT_TRUE(file->sync().has_value());
    ASSERT_TRUE(file->file().sync_data().has_value());
    faults->track_unsynced();
    ASSERT_TRUE(file->fill(0, bytes_of(pattern(2 * kPage, 1))).has_value());
    // The page map reaches the device, the page does not.
    const auto map = io::File::open(path_of(1, ".pages").string(), {});
    ASSERT_TRUE(map->sync_data().has_value());
    faults->drop_unsynced();
  }
  reopen_after_power_loss();
  store_->recover(LocalFileId(1), Pin::kEvictable);
  const auto file = open(1);
  EXPECT_TRUE(failed_with(file->verify(), ErrorCode::kCorrupt));
  EXPECT_FALSE(file->present(0, kPage));
}

TEST_F(PageStoreTest, torn_slots_and_headers_only_make_pages_absent) {
  make_fetched(1, 3 * kPage);
  make_fetched(2, kPage);
  flip_byte(path_of(1, ".pages"), 64 + 8 + 2);
  flip_byte(path_of(2, ".pages"), 20);
  open_store();
  for (const uint64_t id : {1, 2}) store_->recover(LocalFileId(id), Pin::kEvictable);
  EXPECT_EQ(open(1)->first_absent(0, 3 * kPage), (LocalFile::ByteRange{kPage, kPage}));
  EXPECT_TRUE(absent(2));
  EXPECT_FALSE(fs::exists(path_of(2, ".copy")));
}

TEST_F(PageStoreTest, a_fetched_file_without_its_map_is_worth_nothing) {
  make_fetched(1, kPage);
  fs::remove(path_of(1, ".pages"));
  open_store();
  store_->recover(LocalFileId(1), Pin::kEvictable);
  EXPECT_TRUE(absent(1));
}

TEST_F(PageStoreTest, a_pinned_file_without_its_map_goes_to_quarantine) {
  {
    const auto file = *store_->create_partial(LocalFileId(1), 2 * kPage);
    ASSERT_TRUE(file->fill(0, bytes_of(pattern(kPage, 1))).has_value());
    store_->set_pin(LocalFileId(1), Pin::kPinned);
  }
  fs::remove(path_of(1, ".pages"));
  open_store();
  store_->recover(LocalFileId(1), Pin::kPinned);
  EXPECT_TRUE(failed_with(store_->open(LocalFileId(1)), ErrorCode::kCorrupt));
  EXPECT_TRUE(fs::exists(options_.dirs[0] + "/quarantine/0000000000000001.copy"));
}

TEST_F(PageStoreTest, a_fetched_file_written_in_place_is_not_checked_against_its_old_pages) {
  for (const bool open_while_pinned : {true, false}) {
    const uint64_t id = open_while_pinned ? 1 : 2;
    auto file = make_fetched(id, 2 * kPage);
    if (!open_while_pinned) file.reset();
    store_->set_pin(LocalFileId(id), Pin::kPinned);
    file = open(id);
    write(*file, "changed", 10);
    file.reset();
    EXPECT_TRUE(fs::exists(path_of(id))) << "it is a whole file of its own now";
    EXPECT_FALSE(fs::exists(path_of(id, ".pages")));
  }
  reopen_after_power_loss();
  for (const uint64_t id : {1, 2}) {
    store_->recover(LocalFileId(id), Pin::kPinned);
    EXPECT_TRUE(open(id)->complete());
    EXPECT_EQ(read(*open(id)).substr(10, 7), "changed");
  }
}

TEST_F(PageStoreTest, a_partial_file_written_in_place_keeps_its_pages_and_grows_whole) {
  const std::string bytes = pattern(2 * kPage, 1);
  {
    const auto file = *store_->create_partial(LocalFileId(1), 2 * kPage);
    ASSERT_TRUE(file->fill(0, bytes_of(bytes).first(kPage)).has_value());
    store_->set_pin(LocalFileId(1), Pin::kPinned);
    write(*file, "changed", 10);
    ASSERT_TRUE(file->sync().has_value());
  }
  reopen_after_power_loss();
  store_->recover(LocalFileId(1), Pin::kPinned);
  const auto file = open(1);
  EXPECT_EQ(file->first_absent(0, 2 * kPage), (LocalFile::ByteRange{kPage, kPage}));
  ASSERT_TRUE(file->fill(kPage, bytes_of(bytes).subspan(kPage)).has_value());
  EXPECT_TRUE(file->complete());
  EXPECT_TRUE(fs::exists(path_of(1)));
  EXPECT_EQ(read(*file), bytes.substr(0, 10) + "changed" + bytes.substr(17));
}

// ---- writing in place while pages are absent

class PartialFile : public PageStoreTest {
 protected:
  static constexpr uint64_t kBlock = LocalFile::kBlockBytes;

  void SetUp() override {
    PageStoreTest::SetUp();
    object_ = pattern(kSize, 7);
    ASSERT_TRUE(store_->create_partial(LocalFileId(1), kSize).has_value());
    store_->set_pin(LocalFileId(1), Pin::kPinned);
    file_ = open(1);
  }
  void TearDown() override {
    file_.reset();
    PageStoreTest::TearDown();
  }
  void reopen() {
    file_.reset();
    open_store();
    recover({1}, Pin::kPinned);
    file_ = open(1);
  }
  void reopen_without_power() {
    file_.reset();
    reopen_after_power_loss();
    recover({1}, Pin::kPinned);
    file_ = open(1);
  }
  void write(uint64_t offset, std::string_view bytes) {
    const auto written = file_->write(offset, bytes_of(bytes));
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
  }
  // What a fetcher does, page by page, with the object as it was.
  void fetch(uint64_t offset = 0, uint64_t size = kSize) {
    for (;;) {
      const auto absent = file_->first_absent(offset, size);
      if (absent.size == 0) return;
      const uint64_t page_end = std::min((absent.offset / kPage + 1) * kPage, absent.offset + absent.size);
      const auto page = bytes_of(object_).subspan(absent.offset, page_end - absent.offset);
      const auto filled = file_->fill(absent.offset, page);
      ASSERT_TRUE(filled.has_value()) << filled.error().to_string();
    }
  }
  std::string expected(uint64_t offset, std::string_view bytes) const {
    std::string content = object_;
    return content.replace(offset, bytes.size(), bytes);
  }

  static constexpr uint64_t kSize = 3 * kPage + 100;
  std::string object_;
  std::shared_ptr<LocalFile> file_;
};

TEST_F(PartialFile, blocks_written_whole_need_no_page_and_are_kept_by_a_fetch) {
  const std::string bytes(2 * kBlock, 'w');
  write(kPage + kBlock, bytes);
  EXPECT_TRUE(file_->present(kPage + kBlock, 2 * kBlock));
  EXPECT_FALSE(file_->present(kPage, 1));
  EXPECT_FALSE(file_->present(kPage + 3 * kBlock - 1, 2));
  std::string back(100, '\0');
  ASSERT_TRUE(file_->read(kPage + kBlock, std::as_writable_bytes(std::span(back))).has_value());
  EXPECT_EQ(back, std::string(100, 'w'));
  EXPECT_EQ(file_->first_absent(0, kSize), (LocalFile::ByteRange{0, kSize}));
  fetch();
  EXPECT_TRUE(file_->complete());
  EXPECT_EQ(read(*file_), expected(kPage + kBlock, bytes));
  EXPECT_TRUE(fs::exists(path_of(1)));
  EXPECT_FALSE(fs::exists(path_of(1, ".pages")));
}

TEST_F(PartialFile, written_blocks_are_remembered_by_a_restart_and_a_power_loss_after_a_sync) {
  write(kPage + kBlock, std::string(kBlock, 'w'));
  reopen();
  EXPECT_TRUE(file_->present(kPage + kBlock, kBlock));
  write(kPage + 3 * kBlock, std::string(kBlock, 'x'));
  ASSERT_TRUE(file_->sync().has_value());
  reopen_without_power();
  fetch();
  EXPECT_EQ(read(*file_), std::string(object_)
                              .replace(kPage + kBlock, kBlock, kBlock, 'w')
                              .replace(kPage + 3 * kBlock, kBlock, kBlock, 'x'));
}

TEST_F(PartialFile, a_change_in_part_of_a_block_names_the_page_that_it_needs) {
  EXPECT_TRUE(failed_with(file_->write(kPage + 10, bytes_of("w")), ErrorCode::kNotFound));
  EXPECT_EQ(file_->missing_for_write(kPage + 10, 1), (LocalFile::ByteRange{kPage, kPage}));
  EXPECT_EQ(file_->missing_for_write(kPage, kPage + 10), (LocalFile::ByteRange{2 * kPage, kPage}));
  EXPECT_EQ(file_->missing_for_write(kPage, kPage).size, 0u);
  EXPECT_TRUE(failed_with(file_->punch_hole(10, kPage), ErrorCode::kNotFound));
  fetch(kPage, 1);
  write(kPage + 10, "w");
  fetch();
  EXPECT_EQ(read(*file_), expected(kPage + 10, "w"));
}

TEST_F(PartialFile, pages_overwritten_whole_or_block_by_block_are_present) {
  write(kBlock, std::string(2 * kPage, 'w'));
  EXPECT_TRUE(file_->present(kPage, kPage));
  EXPECT_EQ(file_->first_absent(0, 3 * kPage), (LocalFile::ByteRange{0, kPage}));
  for (uint64_t block = 1; block < kPage / kBlock; ++block) write(2 * kPage + block * kBlock, std::string(kBlock, 'x'));
  write(0, std::string(kBlock, 'y'));
  EXPECT_EQ(file_->first_absent(0, kSize), (LocalFile::ByteRange{3 * kPage, 100}));
  write(3 * kPage, std::string(100, 'z'));  // all that the object has of its last block
  EXPECT_TRUE(file_->complete());
  EXPECT_EQ(read(*file_), std::string(kBlock, 'y') + std::string(2 * kPage, 'w') + std::string(kPage - kBlock, 'x') +
                              std::string(100, 'z'));
}

TEST_F(PartialFile, appended_bytes_need_nothing_and_are_kept) {
  write(kSize, "end");
  write(kSize + kPage, "later");
  fetch();
  EXPECT_EQ(read(*file_), object_ + "end" + std::string(kPage - 3, '\0') + "later");
}

TEST_F(PartialFile, what_was_cut_off_is_zeros_when_the_file_grows_again) {
  ASSERT_TRUE(file_->truncate(kPage + 10).has_value());
  ASSERT_TRUE(file_->truncate(3 * kPage).has_value());
  EXPECT_EQ(file_->first_absent(0, kSize), (LocalFile::ByteRange{0, kPage + 10}));
  EXPECT_TRUE(file_->present(2 * kPage, kPage));
  // The page was on its way before the cut.
  ASSERT_TRUE(file_->fill(kPage, bytes_of(object_).subspan(kPage, kPage)).has_value());
  reopen();
  fetch();
  EXPECT_EQ(read(*file_), object_.substr(0, kPage + 10) + std::string(2 * kPage - 10, '\0'));
}

TEST_F(PartialFile, a_cut_that_its_map_does_not_know_of_counts) {
  file_.reset();
  store_.reset();
  fs::resize_file(path_of(1, ".copy"), kPage + 10);
  reopen();
  ASSERT_TRUE(file_->truncate(2 * kPage).has_value());
  fetch();
  EXPECT_EQ(read(*file_), object_.substr(0, kPage + 10) + std::string(kPage - 10, '\0'));
}

TEST_F(PartialFile, cutting_to_nothing_makes_it_complete) {
  ASSERT_TRUE(file_->truncate(0).has_value());
  EXPECT_TRUE(file_->complete());
}

TEST_F(PartialFile, cutting_to_what_was_written_of_a_page_makes_the_page_present) {
  write(kPage, std::string(2 * kBlock, 'w'));
  ASSERT_TRUE(file_->truncate(kPage + kBlock).has_value());
  EXPECT_EQ(file_->first_absent(0, kSize), (LocalFile::ByteRange{0, kPage}));
}

TEST_F(PartialFile, punched_ranges_read_as_zeros_whatever_is_fetched) {
  ASSERT_TRUE(file_->punch_hole(kBlock, 2 * kPage).has_value());
  EXPECT_TRUE(file_->present(kBlock, 2 * kPage));
  ASSERT_TRUE(file_->punch_hole(10 * kPage, kPage).has_value());
  ASSERT_TRUE(file_->sync().has_value());
  reopen_without_power();
  EXPECT_TRUE(file_->present(kBlock, 2 * kPage));
  fetch();
  EXPECT_EQ(read(*file_), expected(kBlock, std::string(2 * kPage, '\0')));
  EXPECT_EQ(*file_->file().seek_hole(0), kPage);
}

TEST_F(PartialFile, fetching_leaves_the_mtime_of_the_last_change) {
  write(0, std::string(kBlock, 'w'));
  const int64_t mtime_ns = file_->file().stat()->mtime_ns;
  std::this_thread::sleep_for(std::chrono::milliseconds(30));
  fetch();
  EXPECT_EQ(file_->file().stat()->mtime_ns, mtime_ns);
}

TEST_F(PartialFile, the_mtime_that_is_seen_or_set_while_pages_come_is_that_of_the_last_change) {
  write(0, std::string(kBlock, 'w'));
  int64_t mtime_ns = file_->stat()->mtime_ns;
  std::atomic<bool> fetched = false;
  std::thread fetcher([&] {
    for (uint64_t offset = 0; offset < kSize; offset += kPage) fetch(offset, std::min(kPage, kSize - offset));
    fetched = true;
  });
  while (!fetched) {
    EXPECT_EQ(file_->stat()->mtime_ns, mtime_ns);
    mtime_ns += 1'000'000'000;
    EXPECT_TRUE(file_->set_mtime(mtime_ns).has_value());
  }
  fetcher.join();
  EXPECT_EQ(file_->stat()->mtime_ns, mtime_ns);
}

TEST_F(PartialFile, writes_and_fetches_at_once_lose_nothing) {
  std::vector<std::thread> threads;
  threads.emplace_back([&] { fetch(); });
  threads.emplace_back([&] { fetch(kPage, 2 * kPage); });
  for (uint64_t offset = 0; offset + kBlock <= kSize; offset += 2 * kBlock) write(offset, std::string(kBlock, 'w'));
  for (std::thread& thread : threads) thread.join();
  std::string content = object_;
  for (uint64_t offset = 0; offset + kBlock <= kSize; offset += 2 * kBlock) content.replace(offset, kBlock, kBlock, 'w');
  EXPECT_EQ(read(*file_), content);
}

class PartialFileOnDisk : public PartialFile {
 protected:
  std::string parent() const override { return "/tmp"; }
};

TEST_F(PartialFileOnDisk, a_write_that_was_lost_with_the_power_leaves_the_object_s_bytes) {
  ASSERT_TRUE(file_->sync().has_value());
  {
    auto faults = std::make_unique<testing::FaultIo>(options_.dirs[0]);
    faults->track_unsynced();
    write(0, std::string(kPage, 'w'));
    write(kPage + kBlock, std::string(kBlock, 'x'));
    // The page map reaches the device, the data does not.
    const auto map = io::File::open(path_of(1, ".pages").string(), {});
    ASSERT_TRUE(map->sync_data().has_value());
    faults->drop_unsynced();
  }
  // FaultIo puts zeros where nothing was; the file system leaves holes.
  const auto data = io::File::open(path_of(1, ".copy").string(), {.access = io::Access::kReadWrite});
  ASSERT_TRUE(data->punch_hole(0, kSize).has_value());
  reopen_without_power();
  EXPECT_FALSE(file_->present(0, 1));
  EXPECT_FALSE(file_->present(kPage + kBlock, 1));
  fetch();
  EXPECT_EQ(read(*file_), object_);
}

// ---- recovery

TEST_F(PageStoreTest, recovery_removes_what_the_metadata_does_not_know) {
  make(1, 10);
  make(2, 10);
  make_fetched(3, kPage);
  make_fetched(4, kPage);
  open_store();
  const auto made_since = make(5, 10);
  store_->recover(LocalFileId(1), Pin::kPinned);
  store_->recover(LocalFileId(3), Pin::kEvictable);
  store_->recover(LocalFileId(99), Pin::kPinned);
  EXPECT_EQ(*store_->finish_recovery(), 2u);
  EXPECT_EQ(files_on_disk().size(), 4u);  // 1, 3 with its map, 5
  EXPECT_TRUE(absent(2));
  EXPECT_TRUE(absent(4));
  EXPECT_EQ(store_->usage().files, 3u);
  EXPECT_EQ(store_->usage().pinned_files, 2u);
}

TEST_F(PageStoreTest, a_map_without_its_file_is_removed) {
  make_fetched(1, kPage);
  fs::remove(path_of(1, ".copy"));
  open_store();
  EXPECT_TRUE(files_on_disk().empty());
}

TEST_F(PageStoreTest, recovered_files_are_accounted_in_the_background) {
  for (uint64_t id = 1; id <= 20; ++id) make(id, kMiB);
  open_store();
  for (uint64_t id = 1; id <= 20; ++id) {
    store_->recover(LocalFileId(id), id <= 10 ? Pin::kPinned : Pin::kEvictable);
  }
  ASSERT_TRUE(store_->finish_recovery().has_value());
  while (store_->usage().used_bytes < 20 * kMiB) std::this_thread::yield();
  EXPECT_GE(store_->usage().pinned_bytes, 10 * kMiB);
  EXPECT_LT(store_->usage().pinned_bytes, 11 * kMiB);
}

TEST_F(PageStoreTest, nothing_old_is_evicted_before_the_metadata_named_it) {
  make_clean(1, kMiB);
  open_store();
  EXPECT_FALSE(store_->evict(LocalFileId(1)));
  store_->recover(LocalFileId(1), Pin::kEvictable);
  EXPECT_TRUE(store_->evict(LocalFileId(1)));
}

// ---- folders

TEST_F(PageStoreTest, a_folder_in_use_is_refused_and_says_by_whom) {
  const auto second = open_page_store(options_);
  ASSERT_TRUE(failed_with(second, ErrorCode::kBusy));
  EXPECT_NE(second.error().to_string().find(std::to_string(::getpid())), std::string::npos);
}

TEST_F(PageStoreTest, a_folder_of_another_volume_is_refused) {
  options_.volume_id = "volume-b";
  const auto opened = try_open_store();
  ASSERT_TRUE(failed_with(opened, ErrorCode::kInvalid));
  EXPECT_NE(opened.error().to_string().find("volume-a"), std::string::npos);
}

TEST_F(PageStoreTest, a_later_format_and_a_damaged_superblock_are_refused) {
  const std::string path = options_.dirs[0] + "/weir-page-store";
  store_.reset();
  std::ofstream(path, std::ios::app) << "x";
  flip_byte(path, 20);
  EXPECT_TRUE(failed_with(try_open_store(), ErrorCode::kInvalid));
  std::ofstream(path) << "format=2\nvolume=volume-a\n";
  const auto opened = try_open_store();
  ASSERT_TRUE(failed_with(opened, ErrorCode::kInvalid));
  EXPECT_NE(opened.error().to_string().find("newer"), std::string::npos);
}

TEST_F(PageStoreTest, a_folder_with_something_else_in_it_is_refused) {
  options_.dirs = {root_ + "/photos"};
  fs::create_directory(options_.dirs[0]);
  std::ofstream(options_.dirs[0] + "/cat.jpg") << "meow";
  EXPECT_TRUE(failed_with(try_open_store(), ErrorCode::kInvalid));
}

TEST_F(PageStoreTest, a_store_that_lost_its_superblock_is_not_formatted_over) {
  make(1, 10);
  store_.reset();
  fs::remove(options_.dirs[0] + "/weir-page-store");
  EXPECT_TRUE(failed_with(try_open_store(), ErrorCode::kInvalid));
  EXPECT_EQ(files_on_disk().size(), 1u);
}

TEST_F(PageStoreTest, an_interrupted_formatting_is_taken_up_again) {
  options_.dirs = {root_ + "/fresh"};
  store_.reset();
  {
    testing::FaultIo faults(root_);
    faults.fail(Operation::kRename, EIO, 1);
    EXPECT_TRUE(failed_with(try_open_store(), ErrorCode::kIo));
  }
  EXPECT_TRUE(try_open_store().has_value());
}

TEST_F(PageStoreTest, a_folder_that_fails_takes_no_new_files) {
  options_.dirs = {root_ + "/a", root_ + "/b"};
  open_store();
  for (uint64_t id = 1; id <= 100; ++id) make(id);
  const auto in = [&](const char* dir) {
    return std::ranges::count_if(files_on_disk(), [&](const auto& p) { return p.string().starts_with(root_ + dir); });
  };
  const auto in_a = in("/a");
  EXPECT_GT(in_a, 10);
  EXPECT_GT(in("/b"), 10);
  {
    testing::FaultIo faults(root_ + "/a");
    faults.fail(Operation::kCreate, EROFS);
    for (uint64_t id = 101; id <= 150; ++id) make(id);
  }
  EXPECT_EQ(store_->usage().dirs_out_of_service, 1u);
  EXPECT_EQ(in("/a"), in_a);
  EXPECT_EQ(files_on_disk().size(), 150u);
}

TEST_F(PageStoreTest, files_are_found_in_every_folder_again) {
  options_.dirs = {root_ + "/a", root_ + "/b"};
  open_store();
  for (uint64_t id = 1; id <= 50; ++id) make(id, 10);
  open_store();
  for (uint64_t id = 1; id <= 50; ++id) EXPECT_EQ(read(*open(id)), pattern(10, id));
}

TEST_F(PageStoreOnDisk, on_ext4_new_inodes_are_not_searched_for_in_one_place) {
  const auto files = io::Directory::open(options_.dirs[0] + "/files");
  constexpr int64_t kExt4Magic = 0xef53;
  if (*files->file_system_type() != kExt4Magic) GTEST_SKIP() << "SKIPPED: /tmp is not on ext4";
  // Orlov's allocator gives a directory of the same parent a block group of its own only below a top directory.
  std::set<uint64_t> inodes;
  for (const auto& entry : fs::directory_iterator(options_.dirs[0] + "/files")) {
    inodes.insert(files->stat(entry.path().filename().c_str())->inode);
  }
  ASSERT_EQ(inodes.size(), 256u);
  uint64_t neighbours = 0;
  for (const uint64_t inode : inodes) neighbours += inodes.contains(inode + 1) ? 1 : 0;
  EXPECT_LT(neighbours, 128u);
}

// ---- eviction and limits

TEST_F(PageStoreTest, eviction_takes_the_least_recently_used_and_tells) {
  std::mutex mutex;
  std::vector<uint64_t> evicted;
  store_->set_eviction_listener([&](LocalFileId id) {
    store_->usage();
    const std::lock_guard lock(mutex);
    evicted.push_back(id.value());
  });
  for (uint64_t id = 1; id <= 9; ++id) make_clean(id, 10 * kMiB);
  open(1);
  open(3);
  ASSERT_TRUE(store_->admit(35 * kMiB, kNoDelay).has_value());
  const std::lock_guard lock(mutex);
  EXPECT_EQ(evicted, (std::vector<uint64_t>{2, 4, 5}));
  EXPECT_EQ(store_->usage().evicted_files, 3u);
  EXPECT_GE(store_->usage().evicted_bytes, 30 * kMiB);
  EXPECT_TRUE(absent(2));
  EXPECT_FALSE(fs::exists(path_of(2)));
}

TEST_F(PageStoreTest, pinned_and_open_files_are_never_evicted) {
  for (uint64_t id = 1; id <= 4; ++id) make(id, 10 * kMiB);
  for (uint64_t id = 5; id <= 7; ++id) make_clean(id, 10 * kMiB);
  const auto held = open(5);
  store_->set_pin(LocalFileId(6), Pin::kPinned);
  EXPECT_FALSE(store_->evict(LocalFileId(1)));
  EXPECT_FALSE(store_->evict(LocalFileId(5)));
  EXPECT_FALSE(store_->evict(LocalFileId(100)));
  const auto file = store_->create_partial(LocalFileId(10), 60 * kMiB);
  ASSERT_TRUE(file.has_value());
  const std::string bytes = pattern(45 * kMiB, 1);
  EXPECT_TRUE(failed_with((*file)->fill(0, bytes_of(bytes)), ErrorCode::kNoSpace));
  EXPECT_TRUE(absent(7)) << "the only one that may go";
  for (const uint64_t id : {1, 2, 3, 4, 5, 6}) EXPECT_NE(open(id), nullptr);
}

TEST_F(PageStoreTest, what_can_never_fit_evicts_nothing) {
  make_clean(1, 10 * kMiB);
  const auto file = *store_->create_partial(LocalFileId(2), 200 * kMiB);
  EXPECT_TRUE(failed_with(file->fill(0, bytes_of(pattern(101 * kMiB / kPage * kPage, 1))), ErrorCode::kNoSpace));
  EXPECT_FALSE(absent(1));
}

TEST_F(PageStoreTest, files_are_evicted_in_the_background_before_the_store_is_full) {
  for (uint64_t id = 1; id <= 97; ++id) make_clean(id, kMiB);
  // Down to 90% whenever it is above 95%, also while files are still being made.
  while (store_->usage().used_bytes > 95 * kMiB) std::this_thread::yield();
  EXPECT_GE(store_->usage().used_bytes, 88 * kMiB);
  EXPECT_TRUE(absent(1));
  EXPECT_FALSE(absent(97));
}

TEST_F(PageStoreTest, the_pinned_limit_refuses_writes_and_files_until_something_is_freed) {
  for (uint64_t id = 1; id <= 5; ++id) make(id, 10 * kMiB);
  EXPECT_TRUE(failed_with(store_->admit(1, kNoDelay), ErrorCode::kNoSpace));
  EXPECT_TRUE(failed_with(store_->create(LocalFileId(6)), ErrorCode::kNoSpace));
  EXPECT_FALSE(store_->passthrough_writes_allowed());
  store_->remove(LocalFileId(1));
  store_->set_pin(LocalFileId(2), Pin::kEvictable);
  EXPECT_TRUE(store_->admit(1, kNoDelay).has_value());
  EXPECT_TRUE(store_->create(LocalFileId(6)).has_value());
  EXPECT_TRUE(store_->passthrough_writes_allowed());
}

TEST_F(PageStoreTest, admitted_bytes_count_until_they_are_seen_in_the_file_or_not_written) {
  ASSERT_TRUE(store_->admit(50 * kMiB, kNoDelay).has_value());
  // Nothing was written: looking at the files finds the room again.
  EXPECT_TRUE(store_->admit(50 * kMiB, kNoDelay).has_value());
  EXPECT_TRUE(failed_with(store_->admit(50 * kMiB + 1, kNoDelay), ErrorCode::kNoSpace));
}

TEST_F(PageStoreOnDisk, bytes_the_kernel_writes_are_seen_without_being_told) {
  const auto file = make(1);
  write(*file, pattern(20 * kMiB, 1));
  while (store_->usage().pinned_bytes < 20 * kMiB) std::this_thread::yield();
  store_->account(LocalFileId(1));
  EXPECT_EQ(store_->usage().pinned_bytes, store_->stat(LocalFileId(1))->allocated_bytes);
}

TEST_F(PageStoreOnDisk, a_sparse_file_counts_only_its_blocks) {
  const auto file = make(1);
  ASSERT_TRUE(file->file().truncate(1000 * kMiB).has_value());
  store_->account(LocalFileId(1));
  EXPECT_EQ(store_->usage().used_bytes, 0u);
}

TEST_F(PageStoreTest, above_the_soft_mark_a_writer_waits_until_there_is_room_again) {
  const auto file = make(1, 45 * kMiB);
  store_->account(LocalFileId(1));
  EXPECT_FALSE(store_->passthrough_writes_allowed());
  auto admitted = std::async(std::launch::async, [&] { return store_->admit(1, std::chrono::hours(10)); });
  EXPECT_EQ(admitted.wait_for(std::chrono::milliseconds(200)), std::future_status::timeout);
  store_->set_pin(LocalFileId(1), Pin::kEvictable);
  EXPECT_TRUE(admitted.get().has_value());
}

TEST_F(PageStoreTest, the_wait_above_the_soft_mark_ends_by_itself) {
  const auto file = make(1, 45 * kMiB);
  store_->account(LocalFileId(1));
  EXPECT_TRUE(store_->admit(1, std::chrono::milliseconds(1)).has_value());
}

TEST_F(PageStoreTest, a_full_device_evicts_and_then_fails_the_call_but_removes) {
  make_clean(1, kMiB);
  auto file = *store_->create_partial(LocalFileId(2), 4 * kPage);
  testing::FaultIo faults(root_);
  faults.fill_up_after(0);
  EXPECT_TRUE(failed_with(store_->create(LocalFileId(3)), ErrorCode::kNoSpace));
  EXPECT_TRUE(failed_with(file->fill(0, bytes_of(pattern(kPage, 1))), ErrorCode::kNoSpace));
  EXPECT_TRUE(absent(1));
  EXPECT_FALSE(file->present(0, 1));
  store_->remove(LocalFileId(2));
  EXPECT_TRUE(files_on_quiet_disk().empty());
  // Its threads end before the faults do.
  file.reset();
  store_.reset();
}

TEST_F(PageStoreTest, a_small_device_fills_empties_and_fills_again) {
  const std::string mount_point = open_store_on_small_device();
  if (mount_point.empty()) GTEST_SKIP() << "SKIPPED: may not mount a tmpfs";
  for (int round = 0; round < 3; ++round) {
    const uint64_t first = 1000 * static_cast<uint64_t>(round) + 1;
    uint64_t id = first;
    Result<void> written;
    while (written.has_value()) {
      const auto file = store_->create(LocalFileId(id++));
      if (!file.has_value()) break;
      written = (*file)->file().write_at(0, pattern(kMiB, id));
    }
    EXPECT_TRUE(failed_with(written, ErrorCode::kNoSpace));
    EXPECT_GE(id - first, 12u);
    // Pinned bytes fill the device: a fetch fails, a write fails, nothing is lost, unlink works.
    const auto fetched = store_->create_partial(LocalFileId(first + 500), 2 * kMiB);
    if (fetched.has_value()) {
      EXPECT_TRUE(failed_with((*fetched)->fill(0, bytes_of(pattern(2 * kMiB, 1))), ErrorCode::kNoSpace));
    }
    for (uint64_t clean = first; clean < id; ++clean) store_->set_pin(LocalFileId(clean), Pin::kEvictable);
    // Clean files make room for a fetch on a device fuller than its nominal capacity.
    const auto again = store_->create_partial(LocalFileId(first + 501), 2 * kMiB);
    ASSERT_TRUE(again.has_value());
    EXPECT_TRUE((*again)->fill(0, bytes_of(pattern(2 * kMiB, 1))).has_value());
    for (uint64_t gone = first; gone < first + 502; ++gone) store_->remove(LocalFileId(gone));
    EXPECT_TRUE(files_on_quiet_disk().empty());
  }
  store_.reset();
  EXPECT_EQ(::umount(mount_point.c_str()), 0);
}

// ---- content

TEST_F(PageStoreOnDisk, equal_stamps_mean_unchanged_content) {
  const auto file = make(1, 3 * kPage);
  const ContentStamp first = *store_->stamp(*file);
  EXPECT_EQ(*store_->stamp(*file), first);
  EXPECT_EQ(first.size_bytes, 3 * kPage);
  for (int i = 0; i < 20; ++i) {
    const ContentStamp before = *store_->stamp(*file);
    write(*file, "x", 5);
    EXPECT_NE(*store_->stamp(*file), before) << "the same byte again, within one tick";
  }
}

TEST_F(PageStoreOnDisk, a_store_through_a_shared_mapping_between_two_stamps_is_noticed) {
  const auto file = make(1, 3 * kPage);
  void* const memory = ::mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file->file().fd(), 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const bytes = static_cast<volatile char*>(memory);
  for (int i = 0; i < 20; ++i) {
    bytes[kPage] = static_cast<char>(i);  // the page is mapped writable now
    const ContentStamp before = *store_->stamp(*file);
    bytes[kPage] = static_cast<char>(i + 1);
    EXPECT_NE(*store_->stamp(*file), before);
  }
  ::munmap(memory, 3 * kPage);
}

TEST_F(PageStoreOnDisk, bytes_between_equal_stamps_are_one_state_under_a_busy_writer) {
  const auto file = make(1);
  write(*file, std::string(8 * kPage, 'a'));
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    const auto own = io::File::open(path_of(1).string(), {.access = io::Access::kWrite});
    for (int i = 0; !stop; ++i) {
      ASSERT_TRUE(own->write_at(0, std::string(8 * kPage, static_cast<char>('a' + i % 26))).has_value());
      if (i % 8 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  int proven = 0;
  for (int i = 0; i < 60 && proven < 20; ++i) {
    const auto before = store_->stamp(*file);
    const std::string bytes = read(*file);
    const auto after = store_->stamp(*file);
    if (!before.has_value() || !after.has_value() || *before != *after) continue;
    ++proven;
    ASSERT_EQ(std::ranges::count(bytes, bytes[0]), static_cast<ptrdiff_t>(bytes.size()));
  }
  stop = true;
  writer.join();
}

TEST_F(PageStoreOnDisk, recorded_checksums_are_checked_after_a_crash) {
  const std::string bytes = pattern(2 * kPage + 9, 1);
  for (const uint64_t id : {1, 2}) {
    const auto file = make(id);
    write(*file, bytes);
    ASSERT_TRUE(record_checksums(*file, bytes).has_value());
    store_->set_pin(LocalFileId(id), Pin::kEvictable);
  }
  open_store();
  EXPECT_TRUE(open(1)->complete());
  const auto mtime = fs::last_write_time(path_of(2));
  flip_byte(path_of(2), 3);
  fs::last_write_time(path_of(2), mtime);
  reopen_after_power_loss();
  for (const uint64_t id : {1, 2}) store_->recover(LocalFileId(id), Pin::kEvictable);
  EXPECT_FALSE(open(1)->complete());
  EXPECT_EQ(read(*open(1)), bytes);
  EXPECT_TRUE(open(1)->complete());
  EXPECT_TRUE(failed_with(open(2)->verify(), ErrorCode::kCorrupt));
  EXPECT_EQ(open(2)->first_absent(0, bytes.size()), (LocalFile::ByteRange{0, kPage}));
  EXPECT_TRUE(open(2)->verify().has_value());
  ASSERT_TRUE(open(2)->fill(0, bytes_of(bytes).first(kPage)).has_value());
  EXPECT_EQ(read(*open(2)), bytes);
}

TEST_F(PageStoreOnDisk, recorded_checksums_do_not_count_once_the_file_was_written) {
  const std::string bytes = pattern(2 * kPage, 1);
  {
    const auto file = make(1);
    write(*file, bytes);
    ASSERT_TRUE(record_checksums(*file, bytes).has_value());
    write(*file, "changed");
  }
  reopen_after_power_loss();
  recover({1}, Pin::kPinned);
  EXPECT_TRUE(open(1)->complete());
  EXPECT_EQ(read(*open(1)).substr(0, 7), "changed");
}

// Semantics 2.4, 2.5, below the mount.
TEST_F(PageStoreOnDisk, after_a_power_loss_clean_files_without_checksums_of_their_own_are_dropped) {
  const std::string small = pattern(kPage, 1);
  const std::string large = pattern(kPage + 1, 2);
  for (const uint64_t id : {1, 2}) {
    const auto file = make(id);
    write(*file, small);
    ASSERT_TRUE(record_checksums(*file, small).has_value());
  }
  for (const uint64_t id : {3, 4, 5, 6}) {
    const auto file = make(id);
    write(*file, large);
    if (id != 3) {
      ASSERT_TRUE(record_checksums(*file, large).has_value());
    }
    if (id == 4) write(*file, "changed");
    if (id == 5) fs::resize_file(path_of(5, ".pages"), 0);  // it never reached the device
  }
  reopen_after_power_loss();
  for (const uint64_t id : {1, 3, 4, 5, 6}) store_->recover(LocalFileId(id), Pin::kEvictable);
  store_->recover(LocalFileId(2), Pin::kPinned);
  EXPECT_TRUE(absent(1));
  EXPECT_EQ(*store_->finish_recovery(), 0u) << "none of them is garbage";
  for (const uint64_t id : {1, 3, 4, 5}) {
    EXPECT_TRUE(absent(id)) << id;
    EXPECT_FALSE(fs::exists(path_of(id))) << id;
  }
  EXPECT_EQ(read(*open(2)), small) << "nowhere else";
  EXPECT_TRUE(open(2)->complete());
  EXPECT_FALSE(open(6)->complete());
  EXPECT_EQ(read(*open(6)), large);
  EXPECT_TRUE(store_->create_partial(LocalFileId(1), kPage).has_value()) << "to be fetched again";
}

TEST_F(PageStoreTest, a_power_loss_is_not_forgotten_by_a_start_that_was_cut_short) {
  make_clean(1, 10);
  reopen_after_power_loss();
  open_store();  // recovery was not finished
  recover({1}, Pin::kEvictable);
  EXPECT_TRUE(absent(1));
  make_clean(2, 10);
  open_store();
  recover({2}, Pin::kEvictable);
  EXPECT_FALSE(absent(2)) << "all is known again";
}

TEST_F(PageStoreTest, a_lost_or_torn_state_counts_as_a_power_loss) {
  for (const uint64_t id : {1, 2}) {
    make_clean(id, 10);
    store_.reset();
    const std::string state = options_.dirs[0] + "/state";
    if (id == 1) fs::remove(state);
    if (id == 2) flip_byte(state, 8);
    open_store();
    recover({id}, Pin::kEvictable);
    EXPECT_TRUE(absent(id));
  }
}

TEST_F(PageStoreTest, a_clean_stop_is_trusted_after_another_boot) {
  make_clean(1, 10);
  make_fetched(2, 2 * kPage);
  store_.reset();
  boot_again();
  open_store();
  recover({1, 2}, Pin::kEvictable);
  EXPECT_EQ(read(*open(1)), pattern(10, 1));
  EXPECT_TRUE(open(2)->complete());
  // From the first moment of its use on the folder is one that was not stopped.
  reopen_after_power_loss();
  recover({1, 2}, Pin::kEvictable);
  EXPECT_TRUE(absent(1));
  EXPECT_FALSE(open(2)->complete());
}

TEST_F(PageStoreTest, a_stop_that_could_not_sync_is_not_a_clean_one) {
  for (const uint64_t id : {1, 2}) {
    make_clean(id, 10);
    {
      testing::FaultIo faults(root_);
      faults.fail(id == 1 ? Operation::kSyncFileSystem : Operation::kRename, EIO);
      store_.reset();
    }
    if (id == 2) boot_again();
    open_store();
    recover({id}, Pin::kEvictable);
    EXPECT_TRUE(absent(id));
  }
}

TEST_F(PageStoreTest, a_killed_process_loses_nothing) {
  store_.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    open_store();
    make_clean(1, 10);
    make_clean(2, 3 * kPage);
    const auto file = *store_->create_partial(LocalFileId(3), 3 * kPage);
    (void)file->fill(kPage, bytes_of(pattern(kPage, 5)));
    ::kill(::getpid(), SIGKILL);
  }
  ASSERT_GT(child, 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  open_store();
  recover({1, 2, 3}, Pin::kEvictable);
  EXPECT_EQ(read(*open(1)), pattern(10, 1));
  EXPECT_EQ(read(*open(2)), pattern(3 * kPage, 2));
  EXPECT_TRUE(open(2)->complete());
  EXPECT_EQ(open(3)->first_absent(0, 3 * kPage), (LocalFile::ByteRange{0, kPage}));
  std::string page(kPage, '\0');
  flip_byte(path_of(3, ".copy"), kPage);
  EXPECT_TRUE(open(3)->read(kPage, std::as_writable_bytes(std::span(page))).has_value()) << "unchecked";
}

TEST_F(PageStoreTest, a_full_device_does_not_keep_the_store_from_starting) {
  make_clean(1, 10);
  store_.reset();
  testing::FaultIo faults(root_);
  faults.fail(Operation::kWrite, ENOSPC);
  open_store();
  faults.heal();
  recover({1}, Pin::kEvictable);
  EXPECT_EQ(read(*open(1)), pattern(10, 1));
  reopen_after_power_loss();
  recover({1}, Pin::kEvictable);
  EXPECT_TRUE(absent(1));
}

TEST_F(PageStoreOnDisk, a_file_of_one_page_gets_no_sidecar_and_loses_that_of_its_larger_past) {
  const std::string large = pattern(2 * kPage, 1);
  const auto file = make(1);
  write(*file, large);
  ASSERT_TRUE(record_checksums(*file, large).has_value());
  EXPECT_TRUE(fs::exists(path_of(1, ".pages")));
  ASSERT_TRUE(file->file().truncate(kPage).has_value());
  ASSERT_TRUE(record_checksums(*file, large.substr(0, kPage)).has_value());
  EXPECT_EQ(files_on_disk(), std::vector<fs::path>{path_of(1)});
}

TEST_F(PageStoreTest, pages_written_over_are_not_believed_after_a_power_loss_once_they_are_clean) {
  for (const uint64_t id : {1, 2}) {
    const auto file = *store_->create_partial(LocalFileId(id), 2 * kPage);
    ASSERT_TRUE(file->fill(0, bytes_of(pattern(kPage, id))).has_value());
    store_->set_pin(LocalFileId(id), Pin::kPinned);
    store_->set_pin(LocalFileId(id), Pin::kEvictable);
  }
  reopen_after_power_loss();
  store_->recover(LocalFileId(1), Pin::kEvictable);
  recover({2}, Pin::kPinned);
  EXPECT_TRUE(absent(1));
  EXPECT_TRUE(open(2)->present(0, kPage));
}

TEST_F(PageStoreOnDisk, checksums_must_be_one_for_each_page) {
  const auto file = make(1, 2 * kPage);
  const std::vector<uint32_t> one(1);
  EXPECT_TRUE(failed_with(store_->record_checksums(*file, *store_->stamp(*file), one), ErrorCode::kInvalid));
}

// ---- threads

TEST_F(PageStoreOnDisk, threads_create_open_remove_and_evict_at_once) {
  constexpr int kThreads = 6;
  constexpr int kSteps = 800;
  options_.dirs = {root_ + "/a", root_ + "/b"};
  options_.capacity_bytes = 4 * kMiB;
  open_store();
  std::atomic<uint64_t> next{1};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(static_cast<uint64_t>(t) + 1);
      for (int step = 0; step < kSteps; ++step) {
        const LocalFileId id(1 + random.below(next.load()));
        switch (random.below(8)) {
          case 0: {
            const LocalFileId made(next.fetch_add(1));
            if (const auto file = store_->create(made); file.has_value()) {
              const std::string bytes = pattern(random.below(20'000), made.value());
              if (store_->admit(bytes.size(), kNoDelay).has_value()) (void)(*file)->file().write_at(0, bytes);
            }
            break;
          }
          case 1: {
            const auto file = store_->create_partial(id, 2 * kPage);
            if (file.has_value()) (void)(*file)->fill(kPage, bytes_of(pattern(kPage, id.value() + 1)));
            break;
          }
          case 2: store_->remove(id); break;
          case 3: store_->set_pin(id, random.one_in(4) ? Pin::kPinned : Pin::kEvictable); break;
          case 4: store_->evict(id); break;
          case 5: store_->account(id); break;
          default:
            if (const auto file = store_->open(id); file.has_value() && (*file)->present(kPage, kPage)) {
              std::string bytes(kPage, '\0');
              const auto count = (*file)->read(kPage, std::as_writable_bytes(std::span(bytes)));
              // A page that is present holds its file's bytes, never another's.
              if (count.has_value() && *count == kPage) {
                EXPECT_EQ(bytes, pattern(kPage, id.value() + 1));
              }
            }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Pinned, nothing is evicted behind the counting below.
  for (uint64_t id = 1; id <= next; ++id) store_->set_pin(LocalFileId(id), Pin::kPinned);
  uint64_t known = 0;
  uint64_t allocated = 0;
  for (uint64_t id = 1; id <= next; ++id) {
    const auto st = store_->stat(LocalFileId(id));
    if (!st.has_value()) continue;
    ++known;
    allocated += st->allocated_bytes;
  }
  const auto on_disk = std::ranges::count_if(files_on_quiet_disk(), [](const auto& p) { return p.extension() != ".pages"; });
  EXPECT_EQ(static_cast<uint64_t>(on_disk), known);
  EXPECT_EQ(store_->usage().files, known);
  EXPECT_EQ(store_->usage().pinned_files, known);
  EXPECT_EQ(store_->usage().used_bytes, allocated);
  EXPECT_EQ(store_->usage().pinned_bytes, allocated);
  for (uint64_t id = 1; id <= next; ++id) store_->remove(LocalFileId(id));
  EXPECT_EQ(store_->usage().used_bytes, 0u);
  EXPECT_EQ(store_->usage().pinned_files, 0u);
  EXPECT_TRUE(files_on_quiet_disk().empty());
}

}  // namespace
}  // namespace weir::pages
