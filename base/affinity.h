// base/affinity.h -- the CPUs that a thread may run on. A new thread inherits those of the one that makes it.
#pragma once

#include <sched.h>

#include <cstdint>

namespace weir {

class Affinity {
 public:
  static Affinity of_this_thread();
  static Affinity only(uint32_t cpu);

  // For the calling thread. Without effect when none of the CPUs is there.
  void apply() const;

 private:
  Affinity() { CPU_ZERO(&cpus_); }

  cpu_set_t cpus_;
};

}  // namespace weir
