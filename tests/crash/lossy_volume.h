// tests/crash/lossy_volume.h -- a whole volume under load, on a disk that can lose power at any instant.
//
// A death is an image of the disk and of the bucket, which the volume that goes on does not notice; check() opens it and asks the
// programs of the load whether what is there can be.
#pragma once

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "tests/crash/crash_volume.h"
#include "tests/crash/verified_load.h"
#include "tests/crash/volatile_disk.h"

namespace weir::testing {

// From the environment, for long runs and to repeat one.
inline uint64_t number_of(const char* variable, uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

class LossyVolume {
 public:
  enum class Load : uint8_t { kMixed, kTour };
  LossyVolume(uint64_t seed, Load load) : random_(seed) {
    char path[] = "/tmp/weir-power-XXXXXX";
    dir_ = ::mkdtemp(path);
    open_log({.file = dir_ + "/log"});
    std::filesystem::create_directory(dir_ + "/root");
    disk_ = std::make_unique<VolatileDisk>(dir_ + "/root");
    set_boot_id(boot_);
    bucket_ = CrashVolume::make_bucket();
    volume_ = std::make_unique<CrashVolume>(dir_ + "/root", bucket_);
    volume_->open();
    if (load == Load::kTour) {
      programs_.push_back(make_tour("tour", *bucket_, volume_->pages()));
    } else {
      for (int i = 0; i < 2; ++i) programs_.push_back(make_replacer("replaced" + std::to_string(i)));
      programs_.push_back(make_appender("appended"));
      programs_.push_back(make_page_writer("paged"));
    }
    for (const auto& program : programs_) program->set_up(**volume_, volume_->root());
  }
  ~LossyVolume() {
    stop_load();
    for (const auto& program : programs_) program->forget();
    disk_->kill();
    volume_.reset();
    disk_.reset();
    set_boot_id({});
    open_log({});
    if (!keep_) std::filesystem::remove_all(dir_);
  }

  void start_load() {
    stopping_ = false;
    for (const auto& program : programs_) {
      threads_.emplace_back([this, &program = *program, seed = random_.next()] {
        Random random(seed);
        try {
          while (!stopping_) {
            if (pausing_) {
              std::this_thread::sleep_for(std::chrono::milliseconds(1));
              continue;
            }
            program.step(random);
            if (random.one_in(40)) evict();
          }
        } catch (const std::exception& e) {
          failed(program.name() + ": " + e.what());
        }
      });
    }
  }
  void stop_load() {
    stopping_ = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  // As after SIGKILL.
  void restart() {
    stop_load();
    for (const auto& program : programs_) program->forget();
    disk_->kill();
    volume_->drop();
    disk_->revive();
    volume_->open();
    for (const auto& program : programs_) program->attach(**volume_, volume_->root());
  }
  // What is wrong after a clean stop and a death of the machine that was off already; goes on then.
  std::string stop_and_lose_power() {
    stop_load();
    for (const auto& program : programs_) program->forget();
    volume_->stop();
    Left left = die(Loss::kAll, "after a clean stop");
    left.stopped = true;
    const std::string wrong = check(left);
    volume_->open();
    for (const auto& program : programs_) program->attach(**volume_, volume_->root());
    return wrong;
  }

  // What a death leaves, and what the programs know of the time.
  struct Left {
    std::string what;  // for whoever has to find out why
    Loss loss = Loss::kNothing;
    bool stopped = false;  // cleanly: nothing may be lost
    std::string image;
    std::shared_ptr<MemUfs> bucket;
    std::vector<Program::Mark> before, after;
  };
  // Of a death now. Threads: may be called concurrently, also in the middle of an operation.
  Left die(Loss loss, std::string what = {}) {
    const std::lock_guard lock(dying_);
    Left left{.what = std::move(what), .loss = loss, .image = dir_ + "/image" + std::to_string(++images_)};
    for (const auto& program : programs_) left.before.push_back(program->mark());
    disk_->lose_power(left.image, loss, random_, [&] {
      left.bucket = std::make_shared<MemUfs>(*bucket_);
      for (const auto& program : programs_) left.after.push_back(program->mark());
    });
    return left;
  }
  // What is wrong with it; empty: nothing.
  std::string check(const Left& left) {
    const Death death = left.loss == Loss::kNothing || left.stopped ? Death::kProcess : Death::kPower;
    set_boot_id(left.loss == Loss::kNothing ? boot_ : "boot after " + left.image);
    pausing_ = true;  // what is done meanwhile would prove no more
    std::string told;
    try {
      CrashVolume found(left.image, left.bucket, CrashVolume::Time::kLater);
      found.open();
      set_boot_id(boot_);
      const auto look = [&](const std::string& when) {
        for (size_t i = 0; i < programs_.size(); ++i) {
          const std::string wrong = programs_[i]->check(*found, left.before[i], left.after[i], death);
          if (!wrong.empty()) told += when + wrong;
        }
      };
      look("");
      // It goes on.
      const auto created = must(found->create(found.root(), "made after it", 0644, CrashVolume::kCaller,
                                              {.access = volume::Access::kWrite}));
      must(created.file->sync());
      created.file->close();
      if (const auto drained = found->persister().drain(CrashVolume::later()); !drained.has_value()) {
        told += "not persisted: " + drained.error().to_string() + "\n";
      }
      look("once persisted, ");
      told += found.fsck();
    } catch (const std::exception& e) {
      told += std::string("it fails: ") + e.what() + "\n";
    }
    set_boot_id(boot_);
    pausing_ = false;
    if (told.empty()) std::filesystem::remove_all(left.image);
    if (told.empty()) return {};
    return left.what + ", loss " + std::to_string(static_cast<int>(left.loss)) + " in " + left.image + ":\n" + told;
  }

  std::string failures() {
    const std::lock_guard lock(mutex_);
    return failures_;
  }
  VolatileDisk& disk() { return *disk_; }
  Program& program(size_t i) { return *programs_[i]; }
  // For a look at what went wrong.
  void keep() { keep_ = true; }
  Random& random() { return random_; }

 private:
  void evict() {
    for (const LocalFileId id : volume_->pages().files()) volume_->pages().evict(id);
  }
  void failed(const std::string& line) {
    const std::lock_guard lock(mutex_);
    failures_ += line + "\n";
  }

  const std::string boot_ = "boot before";
  Random random_;
  std::string dir_;
  std::unique_ptr<VolatileDisk> disk_;
  std::shared_ptr<MemUfs> bucket_;
  std::unique_ptr<CrashVolume> volume_;
  std::vector<std::unique_ptr<Program>> programs_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> pausing_{false};
  std::mutex dying_;
  std::mutex mutex_;
  std::string failures_;
  int images_ = 0;
  bool keep_ = false;
};

}  // namespace weir::testing
