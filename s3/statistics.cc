#include "s3/statistics.h"

#include <algorithm>

namespace weir::s3 {

void Statistics::record(Operation operation, int status, Duration took, uint64_t bytes_in, uint64_t bytes_out) {
  Cell& cell = cells_[static_cast<size_t>(operation)];
  cell.latency.record(took);
  cell.by_status[static_cast<size_t>(std::clamp(status, kStatusMin, kStatusMax) - kStatusMin)].fetch_add(1, std::memory_order_relaxed);
  bytes_in_.fetch_add(bytes_in, std::memory_order_relaxed);
  bytes_out_.fetch_add(bytes_out, std::memory_order_relaxed);
}

uint64_t Statistics::requests(Operation operation, int status) const {
  return cells_[static_cast<size_t>(operation)].by_status[static_cast<size_t>(status - kStatusMin)].load(std::memory_order_relaxed);
}

}  // namespace weir::s3
