// volume/write_out.h -- starts writing a large file to its device while it is still being filled, so that the sync at its end has
// little left to wait for.
//
// Threads: one at a time.
#pragma once

#include <cstdint>

#include "io/file.h"

namespace weir::volume {

class WriteOut {
 public:
  static constexpr uint64_t kStepBytes = 8 << 20;

  explicit WriteOut(uint64_t begin = 0) : begin_(begin) {}

  // The file is filled up to `end`. What cannot be started is the sync's to tell.
  void filled(const io::File& file, uint64_t end) {
    if (end - begin_ < kStepBytes) return;
    (void)file.start_write_out(begin_, end - begin_);
    begin_ = end;
  }

 private:
  uint64_t begin_;
};

}  // namespace weir::volume
