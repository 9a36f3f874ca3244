#include "tests/model/mount_model.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "tests/programs/mirror.h"

namespace weir::testing {
namespace {

constexpr int kThreads = 3;
constexpr int kBatch = 150;  // operations of a thread between two comparisons of the trees
constexpr ptrdiff_t kShownMax = 40;
constexpr auto kQuietPatience = std::chrono::seconds(60);
constexpr auto kShrinkPatience = std::chrono::seconds(120);
constexpr auto kShrinkQuietPatience = std::chrono::seconds(15);

// What both file systems must agree on.
Tree comparable(Tree tree) {
  for (auto& [path, entry] : tree) entry.mtime_ns = comparable_time_ns(entry.mtime_ns);
  return tree;
}

std::vector<Operation> without(const std::vector<Operation>& history, size_t from, size_t count) {
  std::vector<Operation> rest = history;
  const auto first = rest.begin() + static_cast<ptrdiff_t>(from);
  rest.erase(first, first + static_cast<ptrdiff_t>(std::min(count, history.size() - from)));
  return rest;
}

}  // namespace

MountModel::Pair::Pair(const std::filesystem::path& mounted, const std::filesystem::path& local, std::string prefix)
    : mounted_root(mounted), local_root(local), prefix(std::move(prefix)), mounted(mounted), local(local) {
  EXPECT_TRUE(std::filesystem::create_directory(mounted_root));
  EXPECT_TRUE(std::filesystem::create_directory(local_root));
}

std::string MountModel::Pair::step(const Operation& operation) {
  const std::string expected = local.execute(operation);
  const std::string actual = mounted.execute(operation);
  if (actual == expected) return {};
  return text_of(operation) + "\n  expected " + expected + "\n  but was  " + actual + "\n";
}

std::string MountModel::Pair::compare() const {
  return differences(comparable(read_tree(local_root)), comparable(read_tree(mounted_root)));
}

bool MountModel::start() {
  quiet_patience_ = kQuietPatience;
  bucket_ = TestBucket::make(mode_.under, daemon_.home() / "bucket");
  if (!bucket_) return false;
  std::filesystem::create_directory(daemon_.home() / "local");
  daemon_.set("fuse.mount.point", daemon_.mount_point());
  daemon_.set("fuse.passthrough", mode_.passthrough);
  daemon_.set("fuse.io_uring", mode_.io_uring);
  daemon_.set("async.persist.deadline", "5s");
  daemon_.set("metadata.sync.interval", "300ms");  // so that listings meet changes
  EXPECT_TRUE(daemon_.start()) << daemon_.log();
  if (!daemon_.running()) return false;
  const Ended added = daemon_.weir(bucket_->add_command());
  EXPECT_EQ(added.exit_code, 0) << added.err;
  const Ended ruled = daemon_.script(R"(EDITOR='cp /dev/stdin' weir pathconfig edit <<< )"
                                     R"('{"apiVersion":"v1.0","defaultRule":{"policyMode":")" +
                                     mode_.policy + R"("},"pathRules":[]}')");
  EXPECT_EQ(ruled.exit_code, 0) << ruled.err;
  return added.exit_code == 0 && ruled.exit_code == 0;
}

std::unique_ptr<MountModel::Pair> MountModel::make_pair() {
  const std::string name = "pair" + std::to_string(pairs_made_++);
  return std::make_unique<Pair>(daemon_.mount_point() / "s3" / name, daemon_.home() / "local" / name, name + "/");
}

std::string MountModel::await_mirror(Pair& pair) {
  pair.mounted.close_all();
  pair.local.close_all();
  const std::string found = mirror_differences(daemon_, *bucket_, pair.prefix, read_tree(pair.mounted_root),
                                               Deadline::after(quiet_patience_));
  return found.empty() ? "" : "the bucket is no mirror:\n" + found;
}

void MountModel::restart() {
  daemon_.kill();
  EXPECT_TRUE(daemon_.start()) << daemon_.log();
}

std::string MountModel::step(Pair& pair, const Operation& operation) {
  const std::string& name = operation.at(0);
  if (name == "quiet") return await_mirror(pair);
  if (name == "compare") return pair.compare();
  if (name != "restart") return pair.step(operation);
  pair.mounted.close_all();
  pair.local.close_all();
  restart();
  return pair.compare();
}

std::string MountModel::run_batch(std::vector<std::unique_ptr<Pair>>& pairs,
                                  std::vector<OperationGenerator>& generators, Pair*& culprit) {
  std::vector<std::string> found(pairs.size());
  {
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < pairs.size(); ++i) {
      threads.emplace_back([&, i] {
        for (int count = 0; count < kBatch && found[i].empty(); ++count) {
          pairs[i]->history.push_back(generators[i].next());
          found[i] = pairs[i]->step(pairs[i]->history.back());
        }
      });
    }
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (found[i].empty()) continue;
    culprit = pairs[i].get();
    return found[i];
  }
  return between(pairs, {"compare"}, culprit);
}

// `barrier` for all pairs at once.
std::string MountModel::between(std::vector<std::unique_ptr<Pair>>& pairs, const Operation& barrier, Pair*& culprit) {
  const bool restarts = barrier.at(0) == "restart";
  // The queue is everybody's: a file that another pair left open in the middle of a change stays in it.
  const bool closes = restarts || barrier.at(0) == "quiet";
  for (const auto& pair : pairs) {
    pair->history.push_back(barrier);
    if (!closes) continue;
    pair->mounted.close_all();
    pair->local.close_all();
  }
  if (restarts) restart();
  for (const auto& pair : pairs) {
    culprit = pair.get();
    std::string found = restarts ? pair->compare() : step(*pair, barrier);
    if (!found.empty()) return found;
  }
  return {};
}

std::string MountModel::run_random(uint64_t seed, Duration how_long) {
  Random random(seed);
  std::vector<std::unique_ptr<Pair>> pairs;
  std::vector<OperationGenerator> generators;
  for (int i = 0; i < kThreads; ++i) {
    pairs.push_back(make_pair());
    generators.emplace_back(random.next(), GeneratorOptions{.direct = mode_.direct});
  }
  Pair* culprit = nullptr;
  std::string found;
  for (const Deadline end = Deadline::after(how_long); found.empty() && !end.expired();) {
    found = run_batch(pairs, generators, culprit);
    if (found.empty() && mode_.kills) found = between(pairs, {"restart"}, culprit);
    if (found.empty() && random.one_in(5)) found = between(pairs, {"quiet"}, culprit);
  }
  if (found.empty()) found = between(pairs, {"quiet"}, culprit);
  if (found.empty()) found = between(pairs, {"compare"}, culprit);
  if (found.empty()) return {};
  for (const auto& pair : pairs) pair->mounted.close_all();
  return explain(*culprit, found);
}

// In a fresh folder; what differs.
std::string MountModel::try_history(const std::vector<Operation>& history) {
  const auto pair = make_pair();
  std::string found;
  for (const Operation& operation : history) {
    found = step(*pair, operation);
    if (!found.empty()) break;
  }
  if (found.empty()) found = pair->compare();
  pair->mounted.close_all();
  std::error_code ignored;
  std::filesystem::remove_all(pair->mounted_root, ignored);
  std::filesystem::remove_all(pair->local_root, ignored);
  return found;
}

std::string MountModel::replay(const std::vector<Operation>& history) {
  const std::string found = try_history(history);
  return found.empty() ? "" : "mode " + mode_.name + ": " + found;
}

// Takes away ever smaller runs of operations as long as a difference is left.
std::string MountModel::explain(const Pair& culprit, const std::string& difference) {
  const std::string head = "mode " + mode_.name + ", operation " + std::to_string(culprit.history.size()) + ": " +
                           difference;
  std::vector<Operation> shortest = culprit.history;
  quiet_patience_ = kShrinkQuietPatience;
  std::string left = try_history(shortest);
  if (left.empty()) {
    const auto last = shortest.end() - std::min<ptrdiff_t>(kShownMax, std::ssize(shortest));
    return head + "not seen again when one thread alone repeats its history, the last of which was\n" +
           text_of(std::vector<Operation>(last, shortest.end()));
  }
  const Deadline deadline = Deadline::after(kShrinkPatience);
  for (size_t run = shortest.size() / 2; run > 0; run /= 2) {
    for (size_t from = 0; from < shortest.size() && !deadline.expired();) {
      const auto candidate = without(shortest, from, run);
      std::string found = try_history(candidate);
      if (found.empty()) {
        from += run;
      } else {
        shortest = candidate;
        left = std::move(found);
      }
    }
  }
  return head + "--- the shortest history that shows a difference, to be kept in tests/model/regressions/NAME.ops\n" +
         text_of(shortest) + "--- with it: " + left;
}

}  // namespace weir::testing
