// Random operations on a volume that is stopped at failpoints, against what the bucket must then hold.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <thread>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "tests/model/persist_volume.h"

namespace weir::persist {
namespace {

constexpr int kSeeds = 3;
constexpr int kRounds = 8;
constexpr int kOperations = 40;
constexpr size_t kNamesMax = 40;

// Ends the process's story at the n-th failpoint: from then on none is passed.
class Crash {
 public:
  explicit Crash(int64_t after) : left_(after) {
    for (const char* name : {"persist.claimed", "persist.read", "persist.uploaded", "persist.committed", "persist.copied",
                             "persist.moved_away", "persist.parked", "persist.conflict_copied",
                             "persist.objects_erased", "persist.object_erased", "persist.multipart_created",
                             "persist.multipart_recorded", "persist.part_sent", "persist.parts_sent",
                             "persist.tree_step"}) {
      points_.push_back(std::make_unique<ArmedFailpoint>(name, [this]() -> Result<void> {
        if (left_.fetch_sub(1) > 0) return {};
        return fail(ErrorCode::kCancelled, "the process is gone");
      }));
    }
  }

 private:
  std::atomic<int64_t> left_;
  std::vector<std::unique_ptr<ArmedFailpoint>> points_;
};

class Model {
 public:
  explicit Model(uint64_t seed) : random_(seed) {
    volume_.start();
    entries_.push_back({.inode = volume_.root(), .directory = true});
  }

  void round() {
    {
      const Crash crash(static_cast<int64_t>(random_.below(60)));
      for (int i = 0; i < kOperations; ++i) {
        operate();
        if (random_.one_in(8)) check_homes();
        if (random_.one_in(6)) std::this_thread::sleep_for(std::chrono::milliseconds(random_.below(120)));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(random_.below(400)));
      volume_.stop();
    }
    volume_.start();
    check_homes();
    volume_.quiesce();
    check_homes();
    volume_.expect_mirror();
    for (const Entry& entry : entries_) {
      if (entry.directory) continue;
      EXPECT_EQ(volume_.object(path_of(entry)), contents_.at(entry.inode)) << path_of(entry);
    }
    EXPECT_TRUE(volume_.conflicts().empty());
  }

 private:
  // A name; the first one is the root.
  struct Entry {
    InodeId inode{};
    bool directory = false;
    bool special = false;
    InodeId parent{};
    std::string name;
  };

  const Entry& directory_entry(InodeId directory) const {
    return *std::ranges::find_if(entries_, [&](const Entry& entry) { return entry.inode == directory; });
  }
  bool is_root(const Entry& entry) const { return entry.inode == entries_.front().inode; }
  std::string path_of(const Entry& entry) const {
    if (is_root(entry)) return "";
    const std::string parent = path_of(directory_entry(entry.parent));
    return parent.empty() ? entry.name : parent + "/" + entry.name;
  }

  // By index: none if nothing was chosen.
  template <typename Choose>
  std::optional<size_t> pick(Choose choose) {
    std::vector<size_t> chosen;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (choose(entries_[i])) chosen.push_back(i);
    }
    if (chosen.empty()) return std::nullopt;
    return chosen[random_.below(chosen.size())];
  }
  std::optional<size_t> pick_leaf() {
    return pick([](const Entry& entry) { return !entry.directory; });
  }
  std::optional<size_t> pick_file() {
    return pick([](const Entry& entry) { return !entry.directory && !entry.special; });
  }
  InodeId pick_directory() {
    return entries_[*pick([](const Entry& entry) { return entry.directory; })].inode;
  }
  std::optional<size_t> pick_any() {
    return pick([&](const Entry& entry) { return !is_root(entry); });
  }
  bool is_empty(InodeId directory) const {
    return std::ranges::none_of(entries_,
                                [&](const Entry& entry) { return !is_root(entry) && entry.parent == directory; });
  }
  bool is_below(InodeId directory, InodeId ancestor) const {
    for (; directory != volume_root(); directory = directory_entry(directory).parent) {
      if (directory == ancestor) return true;
    }
    return ancestor == volume_root();
  }
  InodeId volume_root() const { return entries_.front().inode; }
  std::optional<size_t> find(InodeId parent, const std::string& name) {
    return pick([&](const Entry& entry) { return !is_root(entry) && entry.parent == parent && entry.name == name; });
  }
  void forget(size_t index) {
    const InodeId inode = entries_[index].inode;
    entries_.erase(entries_.begin() + static_cast<ptrdiff_t>(index));
    if (std::ranges::none_of(entries_, [&](const Entry& entry) { return entry.inode == inode; }))
      contents_.erase(inode);
  }
  // Few names, so that keys change hands often.
  std::string some_name() { return std::string(1, static_cast<char>('a' + random_.below(5))); }
  std::string some_content() {
    const size_t size = random_.one_in(4) ? random_.below(5 * PersistVolume::kPartBytes) : random_.below(100);
    return std::string(size, static_cast<char>('A' + random_.below(26))) + std::to_string(++written_);
  }

  void operate() {
    switch (random_.below(13)) {
      case 0:
      case 1: create(); break;
      case 2: overwrite(); break;
      case 3:
      case 4:
      case 5: rename(); break;
      case 6: exchange(); break;
      case 7: remove(); break;
      case 8: make_directory(); break;
      case 9: evict(); break;
      case 10:
      case 11: link(); break;
      case 12: remove_tree(); break;
    }
  }

  void create() {
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    if (entries_.size() >= kNamesMax || find(parent, name)) return;
    const bool special = random_.one_in(8);
    const std::string content = special ? "" : some_content();
    const InodeId inode = special ? volume_.make_node(parent, name, format::FIFO, 0)
                                  : volume_.create(parent, name, content);
    entries_.push_back({inode, false, special, parent, name});
    contents_[inode] = content;
  }
  void link() {
    const auto leaf = pick_leaf();
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    if (!leaf || entries_.size() >= kNamesMax || find(parent, name)) return;
    Entry entry = entries_[*leaf];
    volume_.link(entry.inode, parent, name);
    entry.parent = parent;
    entry.name = name;
    entries_.push_back(entry);
  }
  void make_directory() {
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    if (entries_.size() >= kNamesMax || find(parent, name)) return;
    entries_.push_back({volume_.make_directory(parent, name), true, false, parent, name});
  }
  void overwrite() {
    const auto file = pick_file();
    if (!file) return;
    const InodeId inode = entries_[*file].inode;
    contents_[inode] = some_content();
    volume_.overwrite(inode, contents_[inode]);
  }
  void rename() {
    const auto moved = pick_any();
    if (!moved) return;
    const Entry entry = entries_[*moved];
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    const auto replaced = find(parent, name);
    if ((entry.directory && is_below(parent, entry.inode)) || replaced == moved) return;
    if (replaced) {
      const Entry& target = entries_[*replaced];
      if (target.directory != entry.directory) return;
      if (target.directory && !is_empty(target.inode)) return;
    }
    const bool same = replaced && entries_[*replaced].inode == entry.inode;
    volume_.rename(entry.parent, entry.name, parent, name);
    if (same) return;
    entries_[*moved].parent = parent;
    entries_[*moved].name = name;
    if (replaced) forget(*replaced);
  }
  void exchange() {
    const auto first = pick_any();
    const auto second = pick_any();
    if (!first || first == second) return;
    Entry& a = entries_[*first];
    Entry& b = entries_[*second];
    if ((b.directory && is_below(a.parent, b.inode)) || (a.directory && is_below(b.parent, a.inode))) return;
    volume_.rename(a.parent, a.name, b.parent, b.name, meta::RenameMode::kExchange);
    std::swap(a.parent, b.parent);
    std::swap(a.name, b.name);
  }
  void remove() {
    const auto victim = pick_any();
    if (!victim) return;
    const Entry entry = entries_[*victim];
    if (entry.directory) {
      if (!is_empty(entry.inode)) return;
      volume_.remove_directory(entry.parent, entry.name);
    } else {
      volume_.unlink(entry.parent, entry.name);
    }
    forget(*victim);
  }
  void remove_tree() {
    const auto picked = pick([&](const Entry& entry) { return entry.directory && !is_root(entry); });
    volume_.step_removals(random_.below(3));
    if (!picked || random_.one_in(2)) return;
    const Entry top = entries_[*picked];
    volume_.remove_tree(top.parent, top.name);
    std::vector<Entry> left;
    for (const Entry& entry : entries_) {
      const bool below = entry.inode == top.inode || (!is_root(entry) && is_below(entry.parent, top.inode));
      if (!below) left.push_back(entry);
    }
    entries_ = std::move(left);
    std::erase_if(contents_, [&](const auto& content) {
      return std::ranges::none_of(entries_, [&](const Entry& entry) { return entry.inode == content.first; });
    });
  }
  void evict() {
    if (const auto file = pick_file()) volume_.evict(entries_[*file].inode);
  }

  // H1, H2: whatever was renamed or written since, a persisted file is whole in its home.
  void check_homes() {
    for (const auto& [inode, content] : contents_) {
      EXPECT_EQ(volume_.read_home(inode).value_or(content), content) << inode.value();
      const auto names = std::ranges::count_if(entries_, [&](const Entry& entry) { return entry.inode == inode; });
      // Names in removed trees count until their turn comes.
      const auto links = volume_.names().load(inode)->links();
      EXPECT_TRUE(links == names || (links > names && volume_.removing())) << inode.value() << " has " << links << " links";
    }
    volume_.expect_sound();
  }

  PersistVolume volume_;
  Random random_;
  std::vector<Entry> entries_;
  std::map<InodeId, std::string> contents_;  // of all that is no directory
  uint64_t written_ = 0;
};

// Semantics 4.7.
TEST(PersistModel, a_quiet_bucket_mirrors_the_namespace_whatever_happened_before) {
  set_log_level(LogLevel::kError);
  const char* fixed = std::getenv("WEIR_SEED");
  Random seeds = Random::from_entropy();
  for (int i = 0; i < (fixed ? 1 : kSeeds); ++i) {
    const uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : seeds.next();
    SCOPED_TRACE("WEIR_SEED=" + std::to_string(seed));
    Model model(seed);
    for (int round = 0; round < kRounds && !::testing::Test::HasFailure(); ++round) model.round();
  }
}

}  // namespace
}  // namespace weir::persist
