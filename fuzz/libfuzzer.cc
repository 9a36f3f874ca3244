// The entry of libFuzzer for the target that the build names.
#include <cstdint>

#include "base/check.h"
#include "fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const weir::fuzz::Target* const target = weir::fuzz::find_target(WEIR_FUZZ_TARGET);
  CHECK(target != nullptr);
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
