#include "base/affinity.h"

namespace weir {

Affinity Affinity::of_this_thread() {
  Affinity affinity;
  (void)::sched_getaffinity(0, sizeof affinity.cpus_, &affinity.cpus_);
  return affinity;
}

Affinity Affinity::only(uint32_t cpu) {
  Affinity affinity;
  CPU_SET(cpu, &affinity.cpus_);
  return affinity;
}

void Affinity::apply() const { (void)::sched_setaffinity(0, sizeof cpus_, &cpus_); }

}  // namespace weir
