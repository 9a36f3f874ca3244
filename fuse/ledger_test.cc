#include "fuse/ledger.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

namespace weir::fuse {
namespace {

class LedgerTest : public ::testing::Test {
 protected:
  LedgerTest() : memory_(::memfd_create("ledger", MFD_CLOEXEC)) { reopen(); }

  // As a successor.
  void reopen() {
    ledger_.reset();
    auto opened = Ledger::open(memory_);
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    ledger_ = *std::move(opened);
  }
  LedgerFile* add(uint64_t inode) { return ledger_->add_file(7, inode, 0, 1).value(); }

  io::Descriptor memory_;
  std::unique_ptr<Ledger> ledger_;
};

TEST_F(LedgerTest, open_files_are_there_for_a_successor) {
  ledger_->connect("/mnt");
  LedgerFile* const first = add(11);
  LedgerFile* const second = add(12);
  second->backing_id = 5;
  const uint64_t handle = second->handle;
  ledger_->remove(*first);
  reopen();
  EXPECT_TRUE(ledger_->outlives_process());
  EXPECT_STREQ(ledger_->connection().mount_point, "/mnt");
  ASSERT_EQ(ledger_->files().size(), 1u);
  const LedgerFile& found = *ledger_->files()[0];
  EXPECT_EQ(found.handle, handle);
  EXPECT_EQ(found.inode, 12u);
  EXPECT_EQ(found.backing_id, 5);
  EXPECT_EQ(found.access, 1);
  EXPECT_EQ(found.opening, 7u);
}

TEST_F(LedgerTest, a_handle_that_was_closed_is_not_another_one_later) {
  LedgerFile* const first = add(11);
  const uint64_t handle = first->handle;
  ledger_->remove(*first);
  LedgerFile* const second = add(12);
  EXPECT_EQ(second, first);
  EXPECT_EQ(ledger_->find_file(handle), nullptr);
  EXPECT_EQ(ledger_->find_file(second->handle), second);
  reopen();
  EXPECT_EQ(ledger_->find_file(handle), nullptr);
}

TEST_F(LedgerTest, a_new_connection_begins_with_nothing_open) {
  add(11);
  ASSERT_TRUE(ledger_->add_directory(1, 12).has_value());
  ledger_->connect("/mnt");
  EXPECT_TRUE(ledger_->files().empty());
  EXPECT_TRUE(ledger_->directories().empty());
}

TEST_F(LedgerTest, the_last_places_of_a_directory_are_kept) {
  LedgerDirectory* const directory = ledger_->add_directory(1, 12).value();
  for (uint64_t offset = 1; offset <= 6; ++offset) directory->mark(offset, "cursor" + std::to_string(offset));
  directory->mark(7, std::string(LedgerDirectory::kCursorBytesMax + 1, 'x'));
  reopen();
  std::string places;
  for (const auto& mark : ledger_->directories().at(0)->marks)
    places += std::to_string(mark.offset) + "=" + std::string(mark.cursor, mark.cursor_bytes) + " ";
  EXPECT_EQ(places, "5=cursor5 6=cursor6 3=cursor3 4=cursor4 ");
}

TEST_F(LedgerTest, a_request_sent_again_finds_what_it_noted) {
  LedgerIntent* const slot = ledger_->take_intent();
  {
    const Origin done(*ledger_, slot, 40);
    Origin::current()->note(LedgerIntent::Kind::kMake, 400);
  }
  static Origin* const died_with_the_process = new Origin(*ledger_, slot, 42);
  died_with_the_process->note(LedgerIntent::Kind::kAppend, 9, 100, 10);
  reopen();
  LedgerIntent* const other = ledger_->take_intent();
  EXPECT_NE(other - slot, 0);
  {
    const Origin again(*ledger_, other, 42 | Origin::kSentAgain);
    EXPECT_TRUE(again.sent_again());
    EXPECT_EQ(again.unique(), 42u);
    ASSERT_NE(again.before(), nullptr);
    EXPECT_EQ(again.before()->inode, 9u);
    EXPECT_EQ(again.before()->offset, 100u);
    EXPECT_EQ(again.before()->size, 10u);
  }
  {
    const Origin finished(*ledger_, other, 40 | Origin::kSentAgain);
    EXPECT_EQ(finished.before(), nullptr);
    const Origin another(*ledger_, other, 42);
    EXPECT_EQ(another.before(), nullptr);
  }
  // It stays for the next successor until nobody can ask any more.
  reopen();
  EXPECT_NE(ledger_->inherited(42), nullptr);
  ledger_->forget_inherited();
  reopen();
  EXPECT_EQ(ledger_->inherited(42), nullptr);
}

TEST_F(LedgerTest, another_layout_is_refused) {
  const uint32_t other = kLedgerVersion + 1;
  ASSERT_EQ(::pwrite(memory_.get(), &other, sizeof other, 8), static_cast<ssize_t>(sizeof other));
  EXPECT_TRUE(failed_with(Ledger::open(memory_), ErrorCode::kNotSupported));
  ASSERT_EQ(::ftruncate(memory_.get(), 4096), 0);
  EXPECT_TRUE(failed_with(Ledger::open(memory_), ErrorCode::kNotSupported));
}

TEST(Ledger, of_one_process_hands_out_handles_too) {
  const auto ledger = Ledger::make().value();
  EXPECT_FALSE(ledger->outlives_process());
  LedgerFile* const file = ledger->add_file(0, 1, 0, 0).value();
  EXPECT_EQ(&ledger->file(file->handle), file);
}

}  // namespace
}  // namespace weir::fuse
