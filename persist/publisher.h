// persist/publisher.h -- puts an object under a claimed key without costing anybody else's.
//
// The owner table says that the key is ours; what lies there is the bucket's affair. So every write is conditional on what is
// known to be there. Where that is not known, or turns out to be wrong, a head tells:
//   - nothing: the write goes on the condition that it stays so;
//   - the claimed generation itself, from an upload whose outcome was lost: nothing is left to write;
//   - something that carries a token of this volume and is no inode's home: a leftover of ours, to be replaced;
//   - anything else is a conflict: the bucket's version is kept beside it as `NAME.conflict-<etag8>` and then replaced.
//
// Threads: all methods may be called concurrently, but one at a time for one key (see KeyLocks).
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "meta/namespace.h"
#include "persist/call_deadlines.h"
#include "ufs/under_store.h"

namespace weir::persist {

class Publisher {
 public:
  // `conflict`: told after a foreign object was kept as `kept_as` (a name) beside the inode.
  Publisher(meta::Namespace& names, const CallDeadlines& deadlines,
            std::function<void(InodeId, const std::string& kept_as)> conflict)
      : names_(names), deadlines_(deadlines), conflict_(std::move(conflict)) {}

  struct Published {
    ufs::Etag etag;
    uint64_t attributes_version = 0;  // that the object carries; 0: unknown
    bool written = true;              // false: it was there already
  };
  // kPrecondition: the condition did not hold, `write` changed nothing.
  using Write = std::function<Result<ufs::Etag>(const ufs::Conditions&)>;

  // `attributes`: what an object of the claimed generation carries that needs no other. Errors: of `write`, of the
  // store; kBusy when the object there changes faster than we look.
  Result<Published> publish(const meta::Claim& claim, const ufs::ObjectAttributes& attributes, ufs::UnderStore& store,
                            uint64_t size, const Write& write);

 private:
  static constexpr int kTries = 4;

  struct Standing {
    ufs::Conditions conditions;
    std::optional<Published> published;
  };
  Result<Standing> expected(const meta::Claim& claim, const ufs::ObjectAttributes& attributes, ufs::UnderStore& store,
                            uint64_t size);
  Result<Standing> inspect(const meta::Claim& claim, const ufs::ObjectAttributes& attributes, ufs::UnderStore& store,
                           uint64_t size);
  // kPrecondition: it changed meanwhile.
  Result<void> keep_foreign(const meta::Claim& claim, ufs::UnderStore& store, const ufs::ObjectHead& head);

  meta::Namespace& names_;
  const CallDeadlines& deadlines_;
  const std::function<void(InodeId, const std::string&)> conflict_;
};

// `NAME.conflict-<first 8 characters of the etag>`, NAME cut so that it fits.
std::string conflict_name(std::string_view name, std::string_view etag);

}  // namespace weir::persist
