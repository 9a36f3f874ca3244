// fuse_floor MOUNT_POINT DIR: what FUSE itself costs. A file system that keeps nothing: metadata in hash maps, one
// backing file for each regular file below DIR, passthrough, io_uring. What another is slower is its own cost.
//
// Serves until it is unmounted or terminated; the tree is gone then. Nodes are never freed, so that their addresses
// serve as node ids. One mutex guards all of them. Hard links, special files and xattrs are missing. Needs root and
// Linux 6.9.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 18)
#include <fuse_lowlevel.h>

namespace {

constexpr double kValidSeconds = 10;  // as long as a Weir mount with its default metadata.sync.interval
constexpr unsigned kFolders = 64;

struct Node {
  struct stat st {};  // of a file that is open: size and times are the backing file's
  Node* parent = nullptr;
  std::unordered_map<std::string, Node*> children;
  std::string target;  // of a symlink
  int fd = -1;         // of the backing file, while it is open
  int backing_id = 0;
  unsigned opens = 0;
};

struct Entry {
  std::string name;
  Node* node;
};
using Listing = std::vector<Entry>;

std::mutex mutex;
std::deque<Node> nodes;
std::string folder;

Node* node_of(fuse_ino_t ino) { return ino == FUSE_ROOT_ID ? &nodes.front() : reinterpret_cast<Node*>(ino); }
fuse_ino_t ino_of(Node* node) { return node == &nodes.front() ? FUSE_ROOT_ID : reinterpret_cast<fuse_ino_t>(node); }

std::string backing_path(const Node& node) {
  return folder + "/" + std::to_string(node.st.st_ino % kFolders) + "/" + std::to_string(node.st.st_ino);
}

timespec now() {
  timespec time{};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return time;
}

void take_over(Node& node) {
  struct stat backing {};
  if (node.fd < 0 || ::fstat(node.fd, &backing) != 0) return;
  node.st.st_size = backing.st_size;
  node.st.st_blocks = backing.st_blocks;
  node.st.st_mtim = backing.st_mtim;
  node.st.st_ctim = backing.st_ctim;
}

void touch(Node& directory) { directory.st.st_mtim = directory.st.st_ctim = now(); }

Node& add(fuse_req_t req, Node& parent, const char* name, mode_t mode) {
  Node& node = nodes.emplace_back();
  node.st.st_ino = nodes.size();
  node.st.st_mode = mode;
  node.st.st_nlink = S_ISDIR(mode) ? 2 : 1;
  node.st.st_uid = fuse_req_ctx(req)->uid;
  node.st.st_gid = fuse_req_ctx(req)->gid;
  node.st.st_blksize = 4096;
  node.st.st_atim = node.st.st_mtim = node.st.st_ctim = now();
  node.parent = &parent;
  parent.children[name] = &node;
  if (S_ISDIR(mode)) ++parent.st.st_nlink;
  touch(parent);
  return node;
}

void drop(Node& parent, const std::string& name, Node& node) {
  parent.children.erase(name);
  touch(parent);
  if (S_ISDIR(node.st.st_mode)) --parent.st.st_nlink;
  if (S_ISREG(node.st.st_mode)) ::unlink(backing_path(node).c_str());
  node.st.st_nlink = 0;
}

fuse_entry_param to_entry(Node* node) {
  take_over(*node);
  fuse_entry_param entry{};
  entry.ino = ino_of(node);
  entry.attr = node->st;
  entry.attr_timeout = entry.entry_timeout = kValidSeconds;
  return entry;
}

void reply(fuse_req_t req, int err) { fuse_reply_err(req, err); }

// Opens the backing file, or counts one more opener. Requires: mutex.
int open_backing(fuse_req_t req, Node& node, int flags, fuse_file_info& info) {
  if (node.opens == 0) {
    node.fd = ::open(backing_path(node).c_str(), O_RDWR | O_CLOEXEC | flags, 0600);
    if (node.fd < 0) return errno;
    node.backing_id = fuse_passthrough_open(req, node.fd);
    if (node.backing_id <= 0) {
      ::close(std::exchange(node.fd, -1));
      return EIO;
    }
  }
  ++node.opens;
  info.backing_id = node.backing_id;
  info.noflush = (info.flags & O_ACCMODE) == O_RDONLY;
  return 0;
}

void close_backing(fuse_req_t req, Node& node) {
  if (--node.opens > 0) return;
  take_over(node);
  fuse_passthrough_close(req, node.backing_id);
  ::close(std::exchange(node.fd, -1));
}

void init(void*, fuse_conn_info* connection) {
  for (const uint64_t wanted : {FUSE_CAP_PASSTHROUGH, FUSE_CAP_OVER_IO_URING, FUSE_CAP_PARALLEL_DIROPS,
                                FUSE_CAP_READDIRPLUS, FUSE_CAP_ATOMIC_O_TRUNC, FUSE_CAP_HANDLE_KILLPRIV_V2,
                                FUSE_CAP_CACHE_SYMLINKS, FUSE_CAP_ASYNC_READ}) {
    fuse_set_feature_flag(connection, wanted);
  }
  fuse_unset_feature_flag(connection, FUSE_CAP_WRITEBACK_CACHE);
  fuse_unset_feature_flag(connection, FUSE_CAP_AUTO_INVAL_DATA);
  connection->no_interrupt = 1;
  connection->max_backing_stack_depth = 1;
  connection->time_gran = 1;
}

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  std::unique_lock lock(mutex);
  const auto& children = node_of(parent)->children;
  const auto found = children.find(name);
  fuse_entry_param entry{};
  entry.entry_timeout = kValidSeconds;
  if (found != children.end()) entry = to_entry(found->second);
  lock.unlock();
  fuse_reply_entry(req, &entry);
}

void forget(fuse_req_t req, fuse_ino_t, uint64_t) { fuse_reply_none(req); }
void forget_multi(fuse_req_t req, size_t, fuse_forget_data*) { fuse_reply_none(req); }

void get_attributes(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  std::unique_lock lock(mutex);
  const fuse_entry_param entry = to_entry(node_of(ino));
  lock.unlock();
  fuse_reply_attr(req, &entry.attr, kValidSeconds);
}

void set_attributes(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int which, fuse_file_info*) {
  std::unique_lock lock(mutex);
  Node& node = *node_of(ino);
  take_over(node);
  if (which & FUSE_SET_ATTR_MODE) node.st.st_mode = (node.st.st_mode & S_IFMT) | (wanted->st_mode & 07777);
  if (which & FUSE_SET_ATTR_UID) node.st.st_uid = wanted->st_uid;
  if (which & FUSE_SET_ATTR_GID) node.st.st_gid = wanted->st_gid;
  if (which & FUSE_SET_ATTR_SIZE) {
    const int failed = node.fd >= 0 ? ::ftruncate(node.fd, wanted->st_size)
                                    : ::truncate(backing_path(node).c_str(), wanted->st_size);
    if (failed != 0) return reply(req, errno);
    node.st.st_size = wanted->st_size;
    node.st.st_mtim = now();
  }
  if (which & FUSE_SET_ATTR_ATIME) node.st.st_atim = wanted->st_atim;
  if (which & FUSE_SET_ATTR_ATIME_NOW) node.st.st_atim = now();
  if (which & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) {
    node.st.st_mtim = which & FUSE_SET_ATTR_MTIME ? wanted->st_mtim : now();
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, node.st.st_mtim};
    if (node.fd >= 0 && ::futimens(node.fd, times) != 0) return reply(req, errno);
  }
  node.st.st_ctim = now();
  const struct stat st = node.st;
  lock.unlock();
  fuse_reply_attr(req, &st, kValidSeconds);
}

void read_symlink(fuse_req_t req, fuse_ino_t ino) {
  const std::lock_guard lock(mutex);
  fuse_reply_readlink(req, node_of(ino)->target.c_str());
}

void make_directory(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  std::unique_lock lock(mutex);
  if (node_of(parent)->children.contains(name)) return reply(req, EEXIST);
  const fuse_entry_param entry = to_entry(&add(req, *node_of(parent), name, S_IFDIR | (mode & 07777)));
  lock.unlock();
  fuse_reply_entry(req, &entry);
}

void make_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  std::unique_lock lock(mutex);
  if (node_of(parent)->children.contains(name)) return reply(req, EEXIST);
  Node& node = add(req, *node_of(parent), name, S_IFLNK | 0777);
  node.target = target;
  node.st.st_size = static_cast<off_t>(node.target.size());
  const fuse_entry_param entry = to_entry(&node);
  lock.unlock();
  fuse_reply_entry(req, &entry);
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  std::unique_lock lock(mutex);
  const auto found = node_of(parent)->children.find(name);
  if (found == node_of(parent)->children.end()) return reply(req, ENOENT);
  Node& node = *found->second;
  drop(*node_of(parent), name, node);
  lock.unlock();
  reply(req, 0);
}

void remove_directory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  std::unique_lock lock(mutex);
  const auto found = node_of(parent)->children.find(name);
  if (found == node_of(parent)->children.end()) return reply(req, ENOENT);
  if (!found->second->children.empty()) return reply(req, ENOTEMPTY);
  drop(*node_of(parent), name, *found->second);
  lock.unlock();
  reply(req, 0);
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) {
  std::unique_lock lock(mutex);
  Node& from = *node_of(parent);
  Node& to = *node_of(new_parent);
  const auto found = from.children.find(name);
  if (found == from.children.end()) return reply(req, ENOENT);
  Node* const moved = found->second;
  if (const auto replaced = to.children.find(new_name); replaced != to.children.end()) {
    if (flags & RENAME_NOREPLACE) return reply(req, EEXIST);
    if (flags & RENAME_EXCHANGE) return reply(req, EINVAL);
    if (replaced->second == moved) return reply(req, 0);
    if (!replaced->second->children.empty()) return reply(req, ENOTEMPTY);
    drop(to, new_name, *replaced->second);
  }
  from.children.erase(name);
  to.children[new_name] = moved;
  moved->parent = &to;
  if (S_ISDIR(moved->st.st_mode)) {
    --from.st.st_nlink;
    ++to.st.st_nlink;
  }
  touch(from);
  touch(to);
  lock.unlock();
  reply(req, 0);
}

void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info) {
  std::unique_lock lock(mutex);
  if (node_of(parent)->children.contains(name)) return reply(req, EEXIST);
  Node& node = add(req, *node_of(parent), name, S_IFREG | (mode & 07777));
  if (const int err = open_backing(req, node, O_CREAT | O_EXCL, *info)) {
    drop(*node_of(parent), name, node);
    return reply(req, err);
  }
  const fuse_entry_param entry = to_entry(&node);
  lock.unlock();
  fuse_reply_create(req, &entry, info);
}

void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  std::unique_lock lock(mutex);
  Node& node = *node_of(ino);
  int err = open_backing(req, node, 0, *info);
  if (err == 0 && (info->flags & O_TRUNC) && ::ftruncate(node.fd, 0) != 0) {
    err = errno;
    close_backing(req, node);
  }
  lock.unlock();
  if (err != 0) return reply(req, err);
  fuse_reply_open(req, info);
}

void flush(fuse_req_t req, fuse_ino_t, fuse_file_info*) { reply(req, 0); }

void sync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info*) {
  const int fd = node_of(ino)->fd;  // stays: the caller has it open
  reply(req, (data_only ? ::fdatasync(fd) : ::fsync(fd)) == 0 ? 0 : errno);
}

void release(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  {
    const std::lock_guard lock(mutex);
    close_backing(req, *node_of(ino));
  }
  reply(req, 0);
}

void open_directory(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  auto* const listing = new Listing;
  {
    const std::lock_guard lock(mutex);
    Node* const directory = node_of(ino);
    listing->push_back({".", directory});
    listing->push_back({"..", directory->parent});
    for (const auto& [name, node] : directory->children) listing->push_back({name, node});
  }
  info->fh = reinterpret_cast<uint64_t>(listing);
  fuse_reply_open(req, info);
}

template <bool kWithAttributes>
void list(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  const auto& listing = *reinterpret_cast<const Listing*>(info->fh);
  std::vector<char> buffer(size);
  size_t used = 0;
  std::unique_lock lock(mutex);
  for (auto i = static_cast<size_t>(offset); i < listing.size(); ++i) {
    fuse_entry_param entry = to_entry(listing[i].node);
    if (i < 2) entry.ino = 0;  // the kernel counts no lookup for "." and ".."
    const char* const name = listing[i].name.c_str();
    char* const at = buffer.data() + used;
    const auto next = static_cast<off_t>(i + 1);
    const size_t needed = kWithAttributes ? fuse_add_direntry_plus(req, at, size - used, name, &entry, next)
                                          : fuse_add_direntry(req, at, size - used, name, &entry.attr, next);
    if (needed > size - used) break;
    used += needed;
  }
  lock.unlock();
  fuse_reply_buf(req, buffer.data(), used);
}

void release_directory(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
  delete reinterpret_cast<Listing*>(info->fh);
  reply(req, 0);
}

void stat_fs(fuse_req_t req, fuse_ino_t) {
  struct statvfs st {};
  if (::statvfs(folder.c_str(), &st) != 0) return reply(req, errno);
  fuse_reply_statfs(req, &st);
}

constexpr fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.forget = forget;
  ops.forget_multi = forget_multi;
  ops.getattr = get_attributes;
  ops.setattr = set_attributes;
  ops.readlink = read_symlink;
  ops.mkdir = make_directory;
  ops.symlink = make_symlink;
  ops.unlink = unlink;
  ops.rmdir = remove_directory;
  ops.rename = rename;
  ops.create = create;
  ops.open = open;
  ops.flush = flush;
  ops.fsync = sync;
  ops.release = release;
  ops.opendir = open_directory;
  ops.readdir = list<false>;
  ops.readdirplus = list<true>;
  ops.releasedir = release_directory;
  ops.statfs = stat_fs;
  return ops;
}

int serve(const char* mount_point) {
  const char* words[] = {"fuse_floor", "-o", "fsname=fuse_floor,default_permissions,allow_other,io_uring"};
  fuse_args arguments = FUSE_ARGS_INIT(3, const_cast<char**>(words));
  constexpr fuse_lowlevel_ops kOperations = operations();
  fuse_session* const session = fuse_session_new(&arguments, &kOperations, sizeof kOperations, nullptr);
  fuse_opt_free_args(&arguments);
  if (session == nullptr) return 1;
  if (fuse_set_signal_handlers(session) != 0 || fuse_session_mount(session, mount_point) != 0) return 1;
  fuse_loop_config* const config = fuse_loop_cfg_create();
  fuse_loop_cfg_set_clone_fd(config, 1);
  const int result = fuse_session_loop_mt(session, config);
  fuse_loop_cfg_destroy(config);
  fuse_session_unmount(session);
  fuse_remove_signal_handlers(session);
  fuse_session_destroy(session);
  return result < 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || argv[1][0] == '-') {
    std::fprintf(stderr, "usage: fuse_floor MOUNT_POINT DIR\n");
    return 2;
  }
  folder = argv[2];
  std::error_code failed;
  for (unsigned i = 0; i < kFolders && !failed; ++i) {
    std::filesystem::create_directories(folder + "/" + std::to_string(i), failed);
  }
  if (failed) {
    std::fprintf(stderr, "fuse_floor: %s: %s\n", folder.c_str(), failed.message().c_str());
    return 1;
  }
  Node& root = nodes.emplace_back();
  root.st.st_ino = 1;
  root.st.st_mode = S_IFDIR | 0755;
  root.st.st_nlink = 2;
  root.st.st_atim = root.st.st_mtim = root.st.st_ctim = now();
  root.parent = &root;
  return serve(argv[1]);
}
