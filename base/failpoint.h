// base/failpoint.h -- named places between two durable steps where a test can stop the process's story.
//
// A failpoint that is not armed costs one relaxed load. Armed by tests only.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weir {

namespace failpoint_detail {
extern std::atomic<int> armed_count;
Result<void> hit(std::string_view name);
}  // namespace failpoint_detail

// Runs the armed action of `name`, if any; its error is what the caller returns.
inline Result<void> failpoint(std::string_view name) {
  if (failpoint_detail::armed_count.load(std::memory_order_relaxed) == 0) [[likely]] return {};
  return failpoint_detail::hit(name);
}

// Arms `name` while it lives. Threads: construct and destroy while no other thread arms.
class ArmedFailpoint {
 public:
  using Action = std::function<Result<void>()>;
  ArmedFailpoint(std::string name, Action action);
  ~ArmedFailpoint();
  ArmedFailpoint(const ArmedFailpoint&) = delete;
  ArmedFailpoint& operator=(const ArmedFailpoint&) = delete;

 private:
  std::string name_;
};

}  // namespace weir
