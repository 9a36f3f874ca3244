// daemon/file_requests.h -- the control API's part below /v1/fs: files and directories of the volume, by path.
//
// The path of every request is its parameter `path`: absolute in the namespace, percent-encoded, any bytes. A trailing
// slash is ignored; symlinks are not followed.
// Threads: all methods may be called concurrently.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "net/http_server.h"
#include "volume/volume.h"

namespace weir::daemon {

class FileRequests {
 public:
  FileRequests(volume::Volume& volume, meta::Caller owner) : volume_(volume), owner_(owner) {}

  net::ServerResponse status(net::ServerRequest& request);   // GET
  net::ServerResponse list(net::ServerRequest& request);     // GET ?after=CURSOR&max=N
  net::ServerResponse hidden(net::ServerRequest& request);   // GET
  net::ServerResponse read(net::ServerRequest& request);     // GET: the bytes
  net::ServerResponse write(net::ServerRequest& request);    // PUT ?mode=0644, body: the bytes
  // POST ?to=PATH; ?exact=true: never into a directory; ?attributes=true: as copy_attributes()
  net::ServerResponse copy(net::ServerRequest& request);
  // POST ?to=PATH: owner, permissions, times and extended attributes of PATH become those of `to`, which is there
  net::ServerResponse copy_attributes(net::ServerRequest& request);
  net::ServerResponse make_directory(net::ServerRequest& request);  // POST ?parents=true&mode=0755
  net::ServerResponse make_symlink(net::ServerRequest& request);    // POST ?target=TEXT
  // DELETE: a file, a symlink or an empty directory; ?recursive=true: any directory
  net::ServerResponse remove(net::ServerRequest& request);
  net::ServerResponse rename(net::ServerRequest& request);   // POST ?to=PATH
  net::ServerResponse persist(net::ServerRequest& request);  // POST: put first in the queue; does not wait
  // GET ?cached=true, what all below comes to; as check(): {"progress"}, then {"usage"} or {"error"}.
  net::ServerResponse usage(net::ServerRequest& request);
  // GET ?ufs=true&foreign=true: one JSON object a line, as they come: {"progress"}, {"discrepancy"}; last {"summary"} or {"error"}.
  net::ServerResponse check(net::ServerRequest& request);

 private:
  struct Place {
    InodeId parent{};
    std::string name;
  };
  // Creates or truncates.
  Result<std::unique_ptr<volume::OpenFile>> open_for_write(const std::string& path, uint32_t permissions);
  Result<Place> place_of(const std::string& path);
  // `to`, or the name of `from` in it when it is a directory.
  Result<std::string> target_of(const std::string& from, std::string to);
  Result<bool> is_directory(const std::string& path);
  Result<void> copy_inode_attributes(InodeId from, InodeId to);

  volume::Volume& volume_;
  const meta::Caller owner_;  // of what is made
};

}  // namespace weir::daemon
