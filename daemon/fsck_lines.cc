#include "daemon/fsck_lines.h"

#include <nlohmann/json.hpp>

#include "daemon/api_reply.h"
#include "meta/check.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const volume::FsckSummary& summary) {
  return {{"inodes", summary.inodes},
          {"names", summary.names},
          {"local_files", summary.local_files},
          {"objects", summary.objects},
          {"in_flight", summary.in_flight},
          {"unlisted_objects", summary.unlisted_objects},
          {"hidden_objects", summary.hidden_objects},
          {"discrepancies", summary.discrepancies},
          {"repaired", summary.repaired}};
}

Json json_of(const meta::Discrepancy& discrepancy) {
  Json json;
  json["kind"] = discrepancy.kind;
  if (!discrepancy.path.empty()) add_bytes(json, "path", discrepancy.path);
  if (discrepancy.inode != InodeId{}) json["inode"] = discrepancy.inode.value();
  if (!discrepancy.key.empty()) add_bytes(json, "key", discrepancy.key);
  add_bytes(json, "expected", discrepancy.expected);
  add_bytes(json, "found", discrepancy.found);
  if (!discrepancy.remedy.empty()) json["remedy"] = discrepancy.remedy;
  if (discrepancy.repaired) json["repaired"] = true;
  return json;
}

}  // namespace

Result<void> report_fsck(LineReply& lines,
                         const std::function<Result<volume::FsckSummary>(const volume::FsckListener&)>& run) {
  const auto summary = run({.discrepancy = [&](const meta::Discrepancy& found) { (void)lines.put("discrepancy", json_of(found)); },
                            .progress = [&](const volume::FsckSummary& so_far) {
                              return lines.progress([&] { return json_of(so_far); });
                            }});
  return summary ? lines.put("summary", json_of(*summary)) : lines.put("error", json_of(summary.error()));
}

}  // namespace weir::daemon
