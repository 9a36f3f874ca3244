#include "daemon/upkeep_requests.h"

#include <nlohmann/json.hpp>
#include <string>

#include "daemon/api_reply.h"
#include "daemon/line_reply.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const volume::ScrubSummary& summary) {
  return {{"started_ns", summary.started_ns},
          {"files", summary.files},
          {"bytes", summary.bytes},
          {"verified_bytes", summary.verified_bytes},
          {"skipped_files", summary.skipped_files},
          {"dropped_files", summary.dropped_files},
          {"quarantined_files", summary.quarantined_files},
          {"unreadable_files", summary.unreadable_files}};
}

Json json_of(const volume::ScrubFinding& finding) {
  Json json;
  add_bytes(json, "path", finding.path);
  json["inode"] = finding.inode.value();
  json["local_file"] = finding.local_file.value();
  json["verdict"] = volume::name_of(finding.verdict);
  json["reason"] = finding.reason;
  return json;
}

}  // namespace

net::ServerResponse UpkeepRequests::last_scrub(net::ServerRequest&) {
  return reply_to(volume_.last_scrub(), [this](const auto& last) {
    Json json;
    json["running"] = volume_.statistics().scrub.running;
    if (last) json["last"] = json_of(*last);
    return json;
  });
}

net::ServerResponse UpkeepRequests::scrub(net::ServerRequest& request) {
  const std::string* restart = request.parameter("restart");
  const auto from = restart != nullptr && *restart == "true" ? volume::Scrub::From::kStart : volume::Scrub::From::kLastStop;
  return line_reply([this, from](LineReply& lines) -> Result<void> {
    const auto summary = volume_.scrub(
        from, {.finding = [&](const volume::ScrubFinding& finding) { (void)lines.put("finding", json_of(finding)); },
               .progress = [&](const volume::ScrubSummary& so_far) {
                 return lines.progress([&] {
                   Json json = json_of(so_far);
                   json["of_bytes"] = volume_.statistics().pages.used_bytes;
                   return json;
                 });
               }});
    return summary ? lines.put("summary", json_of(*summary)) : lines.put("error", json_of(summary.error()));
  });
}

}  // namespace weir::daemon
