// The entry of libFuzzer for the target that the build names. Its seeds are put into the corpus folder that is named last.
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "fuzz/targets.h"

namespace weir::fuzz {
namespace {

const Target& target() {
  static const Target* const found = find_target(WEIR_FUZZ_TARGET);
  CHECK(found != nullptr);
  return *found;
}

void write_seeds(const std::filesystem::path& corpus) {
  size_t number = 0;
  for (const std::string& seed : target().seeds)
    std::ofstream(corpus / ("seed-" + std::to_string(++number)), std::ios::binary) << seed;
}

}  // namespace
}  // namespace weir::fuzz

extern "C" int LLVMFuzzerInitialize(int* argument_count, char*** arguments) {
  const std::filesystem::path last = (*arguments)[*argument_count - 1];
  if (std::filesystem::is_directory(last)) weir::fuzz::write_seeds(last);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  weir::fuzz::target().run({reinterpret_cast<const char*>(data), size});
  return 0;
}
