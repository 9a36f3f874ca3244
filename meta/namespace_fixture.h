// meta/namespace_fixture.h -- a namespace over a KV store in memory, with one mount point, for tests of metadata.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "kv/mem_kv.h"
#include "kv/run_txn.h"
#include "meta/check.h"
#include "meta/namespace.h"
#include "meta/tables.h"

namespace weir::meta {

inline constexpr Caller kCaller{.uid = 1000, .gid = 100};

class NamespaceFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    reopen();
    const auto mount = names_->add_mount("s3", "mem:///", {});
    ASSERT_TRUE(mount.has_value()) << mount.error().to_string();
    mount_ = MountId(mount->id());
    root_ = InodeId(mount->directory());
    // As after a listing of an empty bucket.
    format::Lower lower;
    lower.set_mount(mount_.value());
    ASSERT_TRUE(names_->set_listed(root_, lower, 1).has_value());
  }

  void reopen() {
    auto names = Namespace::open(kv_, system_clock(), {.sync_interval = Duration(-1)}, "vol1");
    ASSERT_TRUE(names.has_value());
    names_ = *std::move(names);
  }

  InodeId create(InodeId parent, std::string_view name) {
    const auto made = names_->create_file(parent, name, 0644, kCaller, *names_->new_local_file_id());
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return InodeId(made->id());
  }

  void write(InodeId inode, uint64_t size, Urgency urgency = Urgency::kOrdinary) {
    const auto committed =
        names_->commit_content(inode, {.size = size, .mtime_ns = 5, .ctime_ns = 7}, urgency, kWritten);
    EXPECT_TRUE(committed.has_value()) << committed.error().to_string();
    EXPECT_TRUE(names_->end_writes({{.inode = inode}}).has_value());
  }

  Result<Inode> begin_write(InodeId inode) {
    const LocalFileId local(names_->load(inode)->local_file());
    return names_->begin_write(inode, local, {}, local);
  }

  InodeId make_file(InodeId parent, std::string_view name, uint64_t size = 3) {
    const InodeId made = create(parent, name);
    write(made, size);
    return made;
  }

  InodeId make_directory(InodeId parent, std::string_view name) {
    const auto made = names_->make_directory(parent, name, 0755, kCaller);
    EXPECT_TRUE(made.has_value()) << made.error().to_string();
    return InodeId(made->id());
  }

  // What an uploader does, without the bytes.
  PersistOutcome persist(InodeId inode) {
    const auto claim = names_->claim(inode);
    EXPECT_TRUE(claim.has_value()) << claim.error().to_string();
    EXPECT_FALSE(claim->blocked_by.has_value());
    const auto outcome = names_->commit_persisted(inode, object_for(*claim));
    EXPECT_TRUE(outcome.has_value()) << outcome.error().to_string();
    return *outcome;
  }
  PersistedObject object_for(const Claim& claim) {
    return {.mount = claim.mount,
            .key = claim.key,
            .etag = "etag-" + std::to_string(++etags_),
            .size = claim.inode.size(),
            .generation = claim.inode.generation(),
            .attributes_version = claim.inode.attributes_version()};
  }

  std::vector<InodeId> queue() {
    std::vector<InodeId> ids;
    for (const auto queue_class : {format::URGENT, format::ORDINARY}) {
      const auto entries = names_->queued(queue_class, std::numeric_limits<int64_t>::max() - 1, std::nullopt, 1'000);
      for (const auto& entry : *entries) ids.push_back(entry.inode);
    }
    return ids;
  }

  std::vector<std::string> whiteouts() {
    std::vector<std::string> keys;
    const auto items = names_->erases(std::numeric_limits<int64_t>::max() - 1, 1'000);
    for (const auto& item : *items) keys.push_back(item.key);
    return keys;
  }

  std::vector<std::string> list(InodeId directory) {
    std::vector<std::string> names;
    const auto page = names_->read_directory(directory, "", 1'000);
    EXPECT_TRUE(page.has_value());
    for (const auto& entry : page->entries) names.push_back(entry.name);
    return names;
  }

  void run_tree_jobs() {
    const auto jobs = names_->tree_jobs(100);
    for (const InodeId job : *jobs) {
      for (int i = 0; i < 1'000; ++i) {
        const auto step = names_->tree_step(job, 3);
        ASSERT_TRUE(step.has_value()) << step.error().to_string();
        ASSERT_FALSE(step->needs_listing.has_value());
        if (step->done) break;
      }
    }
    EXPECT_TRUE(names_->tree_jobs(100)->empty());
  }

  void set_rules(const std::string& json) {
    auto rules = PathRules::parse(json);
    ASSERT_TRUE(rules.has_value()) << rules.error().to_string();
    names_->set_rules(std::make_shared<const PathRules>(*std::move(rules)));
    ASSERT_TRUE(names_->requeue_transient([] { return false; }).has_value());
  }

  FileState state(InodeId inode) { return state_of(*names_->load(inode)); }

  static constexpr auto kWritten = kv::Durability::kWritten;
  kv::MemKv kv_;
  std::unique_ptr<Namespace> names_;
  MountId mount_{};
  InodeId root_{};
  int etags_ = 0;
};

// What a test leaves agrees with itself.
class NamespaceTest : public NamespaceFixture {
 protected:
  void TearDown() override {
    const auto look = Check(kv_).look_from("", 100'000);
    ASSERT_TRUE(look.has_value()) << look.error().to_string();
    for (const auto& finding : look->findings) ADD_FAILURE() << to_string(finding.discrepancy);
  }
};

}  // namespace weir::meta
