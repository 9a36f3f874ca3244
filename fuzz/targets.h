// fuzz/targets.h -- what takes bytes from strangers, as functions of bytes: for random mutations in the test suite, and for libFuzzer.
//
// A target returns whatever it is given, or a CHECK or a sanitizer ends the process. Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace weir::fuzz {

struct Target {
  std::string_view name;
  void (*run)(std::string_view input);
  std::vector<std::string> seeds;  // inputs that reach far
};

const std::vector<Target>& targets();
// Null when there is none.
const Target* find_target(std::string_view name);

}  // namespace weir::fuzz
