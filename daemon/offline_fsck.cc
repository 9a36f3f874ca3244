#include "daemon/offline_fsck.h"

#include <memory>

#include "base/clock.h"
#include "daemon/fsck_lines.h"
#include "daemon/instance_lock.h"
#include "daemon/volume_parts.h"
#include "io/directory.h"
#include "kv/rocks_kv.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "ufs/mount_table.h"
#include "volume/mounts.h"

namespace weir::daemon {

Result<void> fsck_offline(const Properties& properties, const volume::FsckOptions& options,
                          const std::function<void(std::string_view line)>& line) {
  const std::string dir = properties.text("volume.dir");
  if (!io::Directory::open(dir + "/kv")) return fail(ErrorCode::kNotFound, "there is no volume in " + dir + " (property volume.dir)");
  TRY_ASSIGN(const auto lock, InstanceLock::take(dir));
  TRY_ASSIGN(const auto kv, kv::RocksKv::open(kv_options(properties)));
  TRY_ASSIGN(const auto names, meta::Namespace::open(*kv, system_clock(), namespace_options(properties), {}));
  TRY_ASSIGN(const auto pages, pages::open_page_store(page_store_options(properties, names->volume_id())));
  const volume::VolumeOptions volume = volume_options(properties);
  ufs::MountTable stores;
  volume::Mounts mounts(*names, stores, volume);
  TRY(mounts.open());
  LineReply lines([&](std::string_view text) -> Result<void> {
    line(text);
    return {};
  });
  volume::FsckOptions plain = options;
  while (plain.path.size() > 1 && plain.path.ends_with('/')) plain.path.pop_back();
  plain.ufs_timeout = volume.ufs_timeout;
  plain.second_look_after = Duration::zero();  // nothing moves
  TRY(report_fsck(lines, [&](const volume::FsckListener& listener) {
    return volume::run_fsck(*names, *pages, stores, plain, listener);
  }));
  return kv->sync();
}

}  // namespace weir::daemon
