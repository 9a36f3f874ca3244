// testing/metadata_check.h -- the oracle of tests that change metadata: what fsck would say of it. Header only: whoever includes
// it links meta.
#pragma once

#include <string>

#include "meta/check.h"

namespace weir::testing {

// One line for each discrepancy; empty: the metadata agrees with itself.
inline std::string check_metadata(kv::Kv& kv) {
  std::string told;
  meta::Check check(kv);
  std::string cursor;
  for (bool more = true; more;) {
    auto look = check.look_from(cursor, 100);
    if (!look.has_value()) return told + "not readable: " + look.error().to_string();
    for (const auto& finding : look->findings) told += meta::to_string(finding.discrepancy) + '\n';
    more = look->more;
    cursor = std::move(look->cursor);
  }
  return told;
}

}  // namespace weir::testing
