// tests/semantics/tree.h -- what a directory tree shows through plain system calls, for comparing one with another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

namespace weir::testing {

enum class DirectoryTimes : uint8_t { kCompared, kIgnored };

// By path below `root`: type, mode, owner, mtime, size, content, link target, extended attributes, as one line of text.
// What cannot be read says so, with the errno.
std::map<std::string, std::string> tree_of(const std::filesystem::path& root,
                                           DirectoryTimes times = DirectoryTimes::kCompared);

}  // namespace weir::testing
