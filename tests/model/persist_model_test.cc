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
constexpr size_t kNodesMax = 40;

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
    nodes_[volume_.root()] = {.directory = true};
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
    for (const auto& [id, node] : nodes_) {
      if (node.directory) continue;
      EXPECT_EQ(volume_.object(path_of(id)), node.content) << path_of(id);
    }
    EXPECT_TRUE(volume_.conflicts().empty());
  }

 private:
  struct Node {
    bool directory = false;
    InodeId parent{};
    std::string name;
    std::string content;
  };

  std::string path_of(InodeId id) const {
    const Node& node = nodes_.at(id);
    if (id == volume_root()) return "";
    const std::string parent = path_of(node.parent);
    return parent.empty() ? node.name : parent + "/" + node.name;
  }
  InodeId volume_root() const { return const_cast<PersistVolume&>(volume_).root(); }

  template <typename Choose>
  std::optional<InodeId> pick(Choose choose) {
    std::vector<InodeId> chosen;
    for (const auto& [id, node] : nodes_) {
      if (choose(id, node)) chosen.push_back(id);
    }
    if (chosen.empty()) return std::nullopt;
    return chosen[random_.below(chosen.size())];
  }
  std::optional<InodeId> pick_file() {
    return pick([](InodeId, const Node& node) { return !node.directory; });
  }
  InodeId pick_directory() {
    return *pick([](InodeId, const Node& node) { return node.directory; });
  }
  std::optional<InodeId> pick_any() {
    return pick([&](InodeId id, const Node&) { return id != volume_.root(); });
  }
  bool is_empty(InodeId directory) const {
    return std::ranges::none_of(nodes_, [&](const auto& entry) {
      return entry.first != volume_root() && entry.second.parent == directory;
    });
  }
  bool is_below(InodeId id, InodeId ancestor) const {
    for (; id != volume_root(); id = nodes_.at(id).parent) {
      if (id == ancestor) return true;
    }
    return ancestor == volume_root();
  }
  std::optional<InodeId> find(InodeId parent, const std::string& name) {
    return pick([&](InodeId id, const Node& node) {
      return id != volume_.root() && node.parent == parent && node.name == name;
    });
  }
  // Few names, so that keys change hands often.
  std::string some_name() { return std::string(1, static_cast<char>('a' + random_.below(5))); }
  std::string some_content() {
    const size_t size = random_.one_in(4) ? random_.below(5 * PersistVolume::kPartBytes) : random_.below(100);
    return std::string(size, static_cast<char>('A' + random_.below(26))) + std::to_string(++written_);
  }

  void operate() {
    switch (random_.below(10)) {
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
    }
  }

  void create() {
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    if (nodes_.size() >= kNodesMax || find(parent, name)) return;
    const std::string content = some_content();
    nodes_[volume_.create(parent, name, content)] = {false, parent, name, content};
  }
  void make_directory() {
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    if (nodes_.size() >= kNodesMax || find(parent, name)) return;
    nodes_[volume_.make_directory(parent, name)] = {true, parent, name, ""};
  }
  void overwrite() {
    const auto file = pick_file();
    if (!file) return;
    nodes_[*file].content = some_content();
    volume_.overwrite(*file, nodes_[*file].content);
  }
  void rename() {
    const auto moved = pick_any();
    if (!moved) return;
    const InodeId parent = pick_directory();
    const std::string name = some_name();
    const auto replaced = find(parent, name);
    if (is_below(parent, *moved) || replaced == moved) return;
    if (replaced) {
      if (nodes_[*replaced].directory != nodes_[*moved].directory) return;
      if (nodes_[*replaced].directory && !is_empty(*replaced)) return;
    }
    volume_.rename(nodes_[*moved].parent, nodes_[*moved].name, parent, name);
    if (replaced) nodes_.erase(*replaced);
    nodes_[*moved].parent = parent;
    nodes_[*moved].name = name;
  }
  void exchange() {
    const auto first = pick_any();
    const auto second = pick_any();
    if (!first || first == second || is_below(*first, *second) || is_below(*second, *first)) return;
    Node& a = nodes_[*first];
    Node& b = nodes_[*second];
    volume_.rename(a.parent, a.name, b.parent, b.name, meta::RenameMode::kExchange);
    std::swap(a.parent, b.parent);
    std::swap(a.name, b.name);
  }
  void remove() {
    const auto victim = pick_any();
    if (!victim) return;
    const Node node = nodes_[*victim];
    if (node.directory) {
      if (!is_empty(*victim)) return;
      volume_.remove_directory(node.parent, node.name);
    } else {
      volume_.unlink(node.parent, node.name);
    }
    nodes_.erase(*victim);
  }
  void evict() {
    if (const auto file = pick_file()) volume_.evict(*file);
  }

  // H1, H2: whatever was renamed or written since, a persisted file is whole in its home.
  void check_homes() {
    for (const auto& [id, node] : nodes_) {
      if (node.directory) continue;
      EXPECT_EQ(volume_.read_home(id).value_or(node.content), node.content) << path_of(id);
    }
  }

  PersistVolume volume_;
  Random random_;
  std::map<InodeId, Node> nodes_;
  uint64_t written_ = 0;
};

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
