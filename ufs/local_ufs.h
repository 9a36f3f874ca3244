// ufs/local_ufs.h -- an UnderStore that is a directory: every object a plain file under its own path.
//
// Objects appear whole: they are written to a hidden file, made durable and renamed. `dir/` without data is a
// directory that carries a mark; directories without one are not objects, and vanish with their last object. Keys that
// a path cannot hold are kept in the hidden directory (ufs/local_names.h). Symbolic links and special files are not
// objects. An etag is made of a file's modification time, which is set to a time of its own by each write, inode and
// size. So it changes when another program changes the file, and needs no extended attributes. User metadata are one
// extended attribute, or a hidden file where the file system has none, and count only while the etag is the one they
// were set for.
// Threads: as UnderStore; several processes may use one directory. Names change under flock, so conditions hold among
// all that go through LocalUfs. Crash: a write that had not returned is there whole or not at all; leftovers are
// hidden.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "io/directory.h"
#include "io/file.h"
#include "ufs/under_store.h"

namespace weir::ufs {

class LocalUfs final : public UnderStore {
 public:
  // The directory must exist; its hidden directory is made. Errors: kDenied when it is absent or not ours to write,
  // kInvalid when it is not a directory.
  static Result<std::unique_ptr<LocalUfs>> open(const std::string& path);

  std::string uri() const override { return "file://" + path_ + "/"; }
  Result<Capabilities> probe(Deadline deadline) override;
  Result<ObjectHead> head(std::string_view key, Deadline deadline) override;
  Result<size_t> get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                     const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) override;
  Result<Etag> put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                   Deadline deadline) override;
  Result<std::string> create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                       Deadline deadline) override;
  Result<Part> upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                           std::span<const std::byte> body, Deadline deadline) override;
  Result<Part> upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                std::string_view source, const std::optional<Etag>& source_if_match, uint64_t offset,
                                uint64_t size, Deadline deadline) override;
  Result<Etag> complete_multipart(std::string_view key, std::string_view upload_id, const std::vector<Part>& parts,
                                  const Conditions& conditions, Deadline deadline) override;
  Result<void> abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) override;
  Result<std::vector<Part>> list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) override;
  Result<std::vector<UploadInfo>> list_uploads(std::string_view prefix, Deadline deadline) override;
  Result<Etag> copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                    Deadline deadline) override;
  Result<void> erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) override;
  Result<std::vector<Result<void>>> erase_batch(const std::vector<std::string>& keys, Deadline deadline) override;
  Result<ListPage> list(const ListRequest& request, Deadline deadline) override;

 private:
  friend class LocalWalk;

  enum class Place : uint8_t { kPath, kEscaped, kDirectory };
  struct Found {
    Place place = Place::kPath;
    std::string name;  // below root_, without a trailing slash
    ObjectInfo info;
  };
  // What a file says besides its bytes.
  struct Attributes {
    ObjectAttributes object;
    std::string upload_id;  // that made it, or empty
  };
  // A hidden file that is to become an object; gone with this unless it was published.
  struct NewFile;
  // Holds the directory's lock, of this process and among processes.
  struct NameLock;
  struct StoredPart;

  LocalUfs(std::string path, io::Directory root) : path_(std::move(path)), root_(std::move(root)) {}

  Result<void> prepare();
  Result<void> admit(std::string_view key, Deadline deadline) const;

  Result<Found> find(std::string_view key) const;
  Result<Attributes> attributes_of(const Found& found) const;
  Result<void> check(std::string_view key, const Conditions& conditions) const;

  Result<NewFile> new_file() const;
  // Gives the file its time, makes it durable with its attributes, and returns its etag.
  Result<Etag> seal(const NewFile& file, const Attributes& attributes) const;
  // The file becomes the object, in one step, if the conditions hold.
  Result<void> publish(NewFile file, std::string_view key, const Conditions& conditions, Deadline deadline);
  Result<Etag> put_directory(std::string_view key, const PutOptions& options, Deadline deadline);
  Result<void> make_parents(std::string_view name) const;
  Result<void> remove(const Found& found, std::vector<std::string>& changed_directories) const;
  void forget_attributes(const Found& found) const;
  Result<void> sync_parent(std::string_view name) const;

  std::string upload_directory(std::string_view upload_id) const;
  Result<void> check_upload(std::string_view key, std::string_view upload_id) const;
  Result<Part> store_part(NewFile file, std::string_view upload_id, uint32_t number, std::string checksum) const;
  Result<std::vector<StoredPart>> stored_parts(std::string_view upload_id) const;
  void remove_upload(std::string_view upload_id) const;

  const std::string path_;
  const io::Directory root_;
  bool has_xattrs_ = false;  // constant after open()
  io::File lock_file_;
  mutable std::timed_mutex lock_mutex_;  // before flock; nothing but file operations under both
};

}  // namespace weir::ufs
