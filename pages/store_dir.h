// pages/store_dir.h -- one folder of a page store on one device.
//
//   weir-page-store      text: format, volume, folder id, CRC; written once, last of formatting
//   lock                 flock of the process that uses the folder; holds its pid
//   state                text: epoch, boot of the machine, whether the last user has stopped cleanly
//   files/ab/ID          a whole file written here; ID is 16 hex digits, ab its second lowest byte
//   files/ab/ID.copy     a file fetched from the UFS, with its pages in ID.pages
//   files/ab/ID.pages    see pages/page_map.h
//   quarantine/          files taken out of service, under the same names
//
// The epoch is a random number that stays the same for as long as nothing that was written can have been lost unseen.
// A start keeps it, and trusts the folder, when
// - the last user ran during the present boot of the machine, however it ended: a completed write(2) is in the page
//   cache, which outlives the process, and whatever vouches for bytes is written after them. (Not covered, as while the
//   user lives: a device that loses what it was given.)
// - or the last user stopped cleanly, which ends with a sync of the whole file system.
// Else a new epoch is drawn, and the folder is not trusted before its files were sorted out: see establish_trust(). A
// state that is lost costs trust, never bytes. "Stopped cleanly" is off the device before a user writes anything.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/directory.h"
#include "io/file.h"
#include "pages/page_store.h"

namespace weir::pages {

enum class Origin : uint8_t { kLocal, kFetched };

class StoreDir {
 public:
  // Formats an empty folder. Errors: as open_page_store().
  static Result<std::unique_ptr<StoreDir>> open(const std::string& path, std::string_view volume_id);

  const std::string& path() const { return path_; }
  uint64_t epoch() const { return epoch_; }
  // Whether every byte found at the start is what was written there.
  bool trusted() const { return trusted_; }
  // The kernel gives every change that follows a stat a ctime of its own.
  bool fine_timestamps() const { return fine_timestamps_; }

  struct Found {
    LocalFileId id;
    Origin origin = Origin::kLocal;
    bool has_map = false;
  };
  // Visits all files; reads names only. Removes page maps whose file is gone.
  Result<void> scan(const std::function<void(const Found&)>& visitor) const;

  // kExists. Not durable before the file's own sync: the journalling file systems commit a new name with its file.
  Result<io::File> create(LocalFileId id, Origin origin) const;
  Result<io::File> open_file(LocalFileId id, Origin origin) const;
  Result<io::FileStat> stat(LocalFileId id, Origin origin) const;
  Result<io::File> create_map(LocalFileId id) const;  // empties an old one
  Result<io::File> open_map(LocalFileId id) const;
  // Succeed when there is nothing to remove.
  Result<void> remove(LocalFileId id, Origin origin) const;
  Result<void> remove_map(LocalFileId id) const;
  // The other name, same bytes.
  Result<void> change_origin(LocalFileId id, Origin from) const;
  // Makes the names of the file's directory durable.
  Result<void> sync_names(LocalFileId id) const;
  Result<void> quarantine(LocalFileId id, Origin origin) const;
  Result<uint64_t> quarantined_bytes() const;

  Result<io::DeviceSpace> space() const { return root_.space(); }
  Result<void> sync_file_system() const { return root_.sync_file_system(); }
  Result<uint64_t> device() const;

  // A device that failed takes no new files.
  bool in_service() const { return in_service_.load(std::memory_order_relaxed); }
  void take_out_of_service(const Error& reason);

  // Free bytes on the device as last refreshed.
  uint64_t room_bytes() const { return room_bytes_.load(std::memory_order_relaxed); }
  void set_room_bytes(uint64_t bytes) { room_bytes_.store(bytes, std::memory_order_relaxed); }

  // No file is left whose bytes nobody vouches for: from now on the epoch is kept.
  // Crash: before return, the next start trusts nothing again.
  void establish_trust();
  // Ensures: everything written to the file system is on the device, and the next start trusts the folder if this one
  // did. Requires: no file of the folder is open. Errors: kIo, kNoSpace: after another boot it will not.
  Result<void> stop();

 private:
  StoreDir(std::string path, io::Directory root) : path_(std::move(path)), root_(std::move(root)) {}

  Result<void> lock();
  // The file has its new text, or its old one after a crash. Durable on return.
  Result<void> replace_text(const char* name, std::string_view text) const;
  Result<void> check_superblock(std::string_view volume_id);
  Result<void> format(std::string_view volume_id);
  Result<void> refuse_foreign_files() const;
  enum class Use : uint8_t { kRunning, kStopped };
  Result<void> load_state();
  Result<void> put_state(Use use) const;
  Result<void> erase_state() const;

  std::string path_;
  io::Directory root_;
  io::Directory files_;
  io::Directory quarantine_;
  io::File lock_;
  uint64_t epoch_ = 0;
  bool trusted_ = false;
  bool fine_timestamps_ = false;
  std::atomic<bool> in_service_{true};
  std::atomic<uint64_t> room_bytes_{0};
};

}  // namespace weir::pages
