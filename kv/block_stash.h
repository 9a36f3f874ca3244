// kv/block_stash.h -- keeps blocks of one size at hand for objects that come and go by the thousand and are larger than
// what malloc keeps for a thread.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace weir::kv {

// The calling thread's own. A block may be given back on another thread than the one it was taken on.
template <size_t kBytes>
class BlockStash {
 public:
  static constexpr size_t kKept = 8;

  static void* take() {
    BlockStash& stash = of_this_thread();
    return stash.count_ != 0 ? stash.blocks_[--stash.count_] : ::operator new(kBytes);
  }
  static void give_back(void* block) {
    BlockStash& stash = of_this_thread();
    if (stash.count_ < stash.room_) {
      stash.blocks_[stash.count_++] = block;
    } else {
      ::operator delete(block);
    }
  }

  ~BlockStash() {
    while (count_ != 0) ::operator delete(blocks_[--count_]);
    room_ = 0;  // for objects that live longer than the thread's other ones
  }

 private:
  static BlockStash& of_this_thread() {
    static thread_local BlockStash stash;
    return stash;
  }

  std::array<void*, kKept> blocks_{};
  size_t count_ = 0;
  size_t room_ = kKept;
};

}  // namespace weir::kv
