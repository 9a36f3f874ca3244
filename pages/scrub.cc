// Reading local files to find what has rotted.
#include <algorithm>
#include <optional>
#include <utility>

#include "net/checksum.h"
#include "pages/disk_page_store.h"
#include "pages/page_map.h"

namespace weir::pages {

Result<PageStore::Scrubbed> DiskPageStore::scrub(LocalFileId id, const std::function<bool(uint64_t bytes)>& pace) {
  const auto gone = [&] { return fail(ErrorCode::kNotFound, "no local file " + std::to_string(id.value())); };
  struct Opened {
    io::File data;
    std::optional<io::File> sidecar;
  };
  const auto open = [&]() -> Result<Opened> {
    Shard& shard = index_.shard_of(id);
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr || node->second.distrusted) return gone();
    TRY_ASSIGN(io::File data, dir_of(*node).open_file(id, node->second.origin));
    Opened opened{.data = std::move(data), .sidecar = std::nullopt};
    if (node->second.has_map) {
      TRY_ASSIGN(opened.sidecar, dir_of(*node).open_map(id));
    }
    return opened;
  };
  const auto read_recorded = [&](const Opened& opened, const io::FileStat& stat) -> Result<std::optional<PageMap::Recorded>> {
    if (!opened.sidecar) return std::optional<PageMap::Recorded>{};
    TRY_ASSIGN(auto recorded, PageMap::recorded(*opened.sidecar, options_.page_bytes, stat.size_bytes, stat.mtime_ns));
    return std::optional(std::move(recorded));
  };

  TRY_ASSIGN(const Opened opened, open());
  TRY_ASSIGN(const io::FileStat before, opened.data.stat());
  TRY_ASSIGN(const auto recorded, read_recorded(opened, before));
  Scrubbed scrubbed;
  std::vector<std::byte> page(std::min(options_.page_bytes, std::max<uint64_t>(before.size_bytes, 1)));
  for (uint64_t number = 0, offset = 0; offset < before.size_bytes; ++number, offset += options_.page_bytes) {
    const size_t size = std::min<uint64_t>(page.size(), before.size_bytes - offset);
    const std::optional<uint32_t> crc = recorded && number < recorded->crcs.size() ? recorded->crcs[number] : std::nullopt;
    if (recorded && recorded->counts && !recorded->whole && !crc) continue;  // absent
    if (!pace(size)) return fail(ErrorCode::kCancelled, "stopped");
    const std::span bytes(page.data(), size);
    TRY_ASSIGN(const size_t read, opened.data.read_at(offset, bytes));
    scrubbed.bytes += read;
    const uint32_t found = net::crc32c(bytes.first(read));
    if (!recorded || (recorded->whole && !recorded->counts)) scrubbed.page_crcs.push_back(found);
    if (!recorded || !recorded->counts || !crc) continue;
    scrubbed.verified_bytes += read;
    if (found != *crc) ++scrubbed.rotten_pages;
  }

  // Of a file that was written, replaced or given up meanwhile nothing can be said. Filling absent pages changes its times, too.
  const auto again = open();
  if (failed_with(again, ErrorCode::kNotFound)) return gone();
  if (!again) return fail(again.error());
  TRY_ASSIGN(const io::FileStat after, again->data.stat());
  const bool touched = after.size_bytes != before.size_bytes || after.mtime_ns != before.mtime_ns || after.ctime_ns != before.ctime_ns;
  if (touched) scrubbed.page_crcs.clear();
  if (scrubbed.rotten_pages == 0) return scrubbed;
  TRY_ASSIGN(const auto now, read_recorded(*again, after));
  const bool counts = now && now->counts && now->whole == recorded->whole && now->crcs.size() == recorded->crcs.size();
  if (!counts || (recorded->whole && touched)) scrubbed.rotten_pages = 0;
  return scrubbed;
}

}  // namespace weir::pages
