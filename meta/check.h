// meta/check.h -- whether the metadata agrees with itself: each row against the rows it speaks of.
//
// A look reads one snapshot, so what one transaction changes is never seen in parts, and a volume in use gives no reason for
// a discrepancy. Nothing is changed; a finding carries what would repair it. Rows of tables that this build does not know are passed over.
//
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "kv/kv.h"
#include "meta/remedy.h"
#include "meta/types.h"

namespace weir::meta {

struct Discrepancy {
  std::string_view kind;  // a word of docs/operations.md, "Is the volume sound?"
  std::string path;       // in the namespace; empty: none is known
  InodeId inode{};        // 0: it is about none
  std::string key;        // of the object; empty: it is about none
  std::string expected;
  std::string found;
  std::string remedy;     // what repairing it does, or did; empty: nobody but a person can decide
  bool repaired = false;

  bool operator==(const Discrepancy&) const = default;
};

// One line.
std::string to_string(const Discrepancy& discrepancy);

class Check {
 public:
  explicit Check(kv::Kv& kv) : kv_(kv) {}

  // A row that disagrees: its key, to look at it again.
  struct Finding {
    std::string row;
    Discrepancy discrepancy;
    Remedy remedy;
  };
  // An inode that a look came across, with what it takes to judge its content.
  struct SeenInode {
    Inode inode;  // or a further name, completed with what its inode has
    bool open_for_write = false;
    bool detached = false;  // no path leads to it any more
  };
  struct Look {
    std::vector<Finding> findings;
    std::vector<SeenInode> inodes;
    uint64_t names = 0;
    std::string cursor;  // look_from(cursor) goes on
    bool more = false;
  };

  // The rows behind `cursor` (empty: from the first one), at most `rows_max`.
  Result<Look> look_from(std::string_view cursor, size_t rows_max);
  // The rows of these keys; those that are gone agree with everything.
  Result<Look> look_at(std::span<const std::string> rows);
  // The row as one transaction sees it, to change it there: what was read takes part in its conflicts.
  static Result<Look> look_at(kv::Txn& txn, const std::string& row);

 private:
  kv::Kv& kv_;
};

}  // namespace weir::meta
