// persist/counters.h -- what was done since start. Threads: every member on its own.
#pragma once

#include <atomic>
#include <cstdint>

namespace weir::persist {

struct Counters {
  std::atomic<uint64_t> persisted_files{0};
  std::atomic<uint64_t> persisted_bytes{0};
  std::atomic<uint64_t> copied_files{0};
  std::atomic<uint64_t> erased_objects{0};
  std::atomic<uint64_t> conflicts{0};
  std::atomic<uint64_t> aborted_uploads{0};
  std::atomic<uint64_t> erased_leftovers{0};
  std::atomic<uint64_t> errors_unavailable{0};
  std::atomic<uint64_t> errors_denied{0};
  std::atomic<uint64_t> errors_other{0};
  std::atomic<uint64_t> changed_while_uploading{0};
};

}  // namespace weir::persist
