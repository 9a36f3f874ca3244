// persist/uploader.h -- brings the local content of one inode into the bucket: one put, or parts in parallel.
//
// What is published is one committed state of the file (P1). A file that is not open for write cannot change before a new
// generation is committed, so an unchanged generation after the reading proves the bytes. Of a file that is open,
// two equal stamps of the local file around the reading prove them, and the stamp says that they are committed.
//
// A multipart upload is recorded in the inode's progress before its first part, so that it goes on after a restart for
// as long as key, generation, attributes and stamp are the same; which parts are there, the store knows. Memory: a worker
// holds one small file (at most part_bytes), a thread of the pool one part; parts grow beyond part_bytes only for files
// of more than part_bytes x ufs::kPartsMax.
//
// A part that holds what the same part of the home's object holds is copied inside the store. Which parts these are the
// digests tell that were recorded when the home was written: nothing else knows where a local file was written to.
//
// Threads: all methods may be called concurrently, but one at a time for one inode.
// Crash: at any instant there is the old object or the new one under the key; a recorded upload is resumed or aborted.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "persist/activity.h"
#include "persist/call_deadlines.h"
#include "persist/publisher.h"
#include "persist/task_pool.h"
#include "ufs/under_store.h"

namespace weir::persist {

// Size of the parts of a file: `part_bytes`, unless ufs::kPartsMax of them do not suffice.
uint64_t part_bytes_for(uint64_t file_bytes, uint64_t part_bytes);

class Uploader {
 public:
  struct Options {
    uint64_t part_bytes;
    uint32_t parts_in_flight;  // of one object
  };

  Uploader(meta::Namespace& names, pages::PageStore& pages, Publisher& publisher, TaskPool& pool,
           const CallDeadlines& deadlines, const Options& options)
      : names_(names), pages_(pages), publisher_(publisher), pool_(pool), deadlines_(deadlines), options_(options) {}

  struct Uploaded {
    Publisher::Published published;
    uint64_t size = 0;
    std::optional<meta::PartDigests> part_digests;  // of an object that was sent in parts
  };

  // What has no local file: directories, symbolic links, special files.
  Result<Uploaded> upload_record(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                 ufs::UnderStore& store);

  // A regular file. Errors, besides the store's: kBusy (it is being changed; a commit will follow or has), kNotFound (no
  // complete local file), kIo (the local file is not what was committed; that is reported to the namespace),
  // kCancelled (stopping).
  Result<Uploaded> upload_file(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                               ufs::UnderStore& store, Activity::Attempt& attempt);

  // Gives up the upload that `progress` speaks of, if any, as far as the store can be reached.
  void abandon(const format::Progress& progress, ufs::UnderStore& store);

 private:
  class Proof;
  struct Multipart;

  Result<Uploaded> upload_whole(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                ufs::UnderStore& store, pages::LocalFile& file, const Proof& proof,
                                Activity::Attempt& attempt);
  Result<Uploaded> upload_parts(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                ufs::UnderStore& store, pages::LocalFile& file, const Proof& proof,
                                Activity::Attempt& attempt);
  // Finds the recorded upload with the parts it has, or begins one.
  Result<void> open_multipart(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                              ufs::UnderStore& store, const Proof& proof, Multipart& upload);
  Result<void> send_missing_parts(const meta::Claim& claim, ufs::UnderStore& store, pages::LocalFile& file,
                                  const Proof& proof, Multipart& upload, Activity::Attempt& attempt);
  // Copies the part from the home; nothing when that cannot be done, and its bytes are to be sent.
  Result<std::optional<ufs::Part>> copy_part(const meta::Claim& claim, ufs::UnderStore& store, Multipart& upload,
                                             uint32_t number);
  Result<void> read_local(const meta::Claim& claim, pages::LocalFile& file, uint64_t offset,
                          std::span<std::byte> buffer);
  // The store knows nothing of the recorded upload: the next attempt begins another.
  Error forget_upload(const meta::Claim& claim, const std::string& upload_id);
  // The local file's bytes are not what they should be.
  Error report_rot(const meta::Claim& claim, const Error& error);
  void record_checksums(pages::LocalFile& file, const Proof& proof, std::span<const uint32_t> page_crcs);

  meta::Namespace& names_;
  pages::PageStore& pages_;
  Publisher& publisher_;
  TaskPool& pool_;
  const CallDeadlines& deadlines_;
  const Options options_;
};

}  // namespace weir::persist
