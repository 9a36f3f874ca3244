#include "daemon/file_requests.h"

#include <sys/sysmacros.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/api_reply.h"
#include "daemon/fsck_lines.h"
#include "daemon/line_reply.h"
#include "net/encoding.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kBlockBytes = 1 << 20;
constexpr size_t kListMax = 1'000;
constexpr uint32_t kFilePermissions = 0644;
constexpr uint32_t kDirectoryPermissions = 0755;

Result<std::string> path_parameter(const net::ServerRequest& request, std::string_view name = "path") {
  const std::string* given = request.parameter(name);
  if (given == nullptr || !given->starts_with('/'))
    return fail(ErrorCode::kInvalid, "parameter \"" + std::string(name) + "\" must be an absolute path of the volume");
  std::string path = *given;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

Result<int64_t> number_parameter(const net::ServerRequest& request, std::string_view name, int64_t absent, int base) {
  const std::string* text = request.parameter(name);
  if (text == nullptr) return absent;
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number, base);
  if (error != std::errc{} || end != text->data() + text->size() || number < 0)
    return fail(ErrorCode::kInvalid, "parameter \"" + std::string(name) + "\" is no number");
  return number;
}

std::string_view type_name(meta::FileType type) {
  switch (type) {
    case format::REGULAR: return "file";
    case format::DIRECTORY: return "directory";
    case format::SYMLINK: return "symlink";
    case format::FIFO: return "fifo";
    case format::SOCKET: return "socket";
    case format::CHAR_DEVICE: return "character device";
    case format::BLOCK_DEVICE: return "block device";
    default: return "unknown";
  }
}

Json json_of(const volume::FileStatus& status) {
  const meta::Attributes& attributes = status.attributes;
  Json json;
  add_bytes(json, "path", status.path);
  json["type"] = type_name(attributes.type);
  json["state"] = meta::name_of(status.state);
  json["policy"] = meta::name_of(status.policy);
  json["permissions"] = attributes.permissions;
  json["uid"] = attributes.uid;
  json["gid"] = attributes.gid;
  json["links"] = attributes.links;
  if (meta::is_device(attributes.type))
    json["device"] = std::to_string(major(attributes.rdev)) + ":" + std::to_string(minor(attributes.rdev));
  json["size"] = attributes.size;
  json["cached_bytes"] = status.cached_bytes;
  json["inode"] = attributes.inode.value();
  json["atime_ns"] = attributes.atime_ns;
  json["mtime_ns"] = attributes.mtime_ns;
  json["ctime_ns"] = attributes.ctime_ns;
  if (!status.symlink_target.empty()) add_bytes(json, "target", status.symlink_target);
  if (!status.home.empty()) {
    add_bytes(json, "home", status.home);
    json["etag"] = status.etag;
  }
  return json;
}

std::string child_path(const std::string& directory, std::string_view name) {
  return (directory == "/" ? "/" : directory + "/") + std::string(name);
}

Result<void> copy_bytes(volume::OpenFile& from, volume::OpenFile& to) {
  std::vector<std::byte> block(kBlockBytes);
  for (uint64_t offset = 0;;) {
    TRY_ASSIGN(const size_t bytes, from.read(offset, block));
    if (bytes == 0) return {};
    TRY(to.write(offset, std::span(block).first(bytes)));
    offset += bytes;
  }
}

Json json_of(const volume::TreeUsage& usage) {
  return {{"files", usage.files},
          {"directories", usage.directories},
          {"bytes", usage.bytes},
          {"cached_bytes", usage.cached_bytes}};
}

bool flag_parameter(const net::ServerRequest& request, std::string_view name) {
  const std::string* text = request.parameter(name);
  return text != nullptr && *text == "true";
}

// Closes the handle when it goes.
class Closing {
 public:
  explicit Closing(std::unique_ptr<volume::OpenFile> file) : file_(std::move(file)) {}
  ~Closing() {
    if (file_ != nullptr) file_->close();
  }
  Closing(Closing&&) = default;
  volume::OpenFile& operator*() { return *file_; }
  volume::OpenFile* operator->() { return file_.get(); }

 private:
  std::unique_ptr<volume::OpenFile> file_;
};

}  // namespace

Result<FileRequests::Place> FileRequests::place_of(const std::string& path) {
  if (path == "/") return fail(ErrorCode::kInvalid, "the root cannot be made, moved or removed");
  const size_t slash = path.rfind('/');
  const std::string parent = slash == 0 ? "/" : path.substr(0, slash);
  TRY_ASSIGN(const InodeId inode, volume_.resolve(parent));
  return Place{inode, path.substr(slash + 1)};
}

Result<bool> FileRequests::is_directory(const std::string& path) {
  auto inode = volume_.resolve(path);
  if (failed_with(inode, ErrorCode::kNotFound)) return false;
  if (!inode) return fail(std::move(inode).error());
  TRY_ASSIGN(const volume::Entry entry, volume_.get_attributes(*inode));
  return entry.attributes.type == format::DIRECTORY;
}

Result<std::string> FileRequests::target_of(const std::string& from, std::string to) {
  TRY_ASSIGN(const bool into, is_directory(to));
  return into ? child_path(to, from.substr(from.rfind('/') + 1)) : to;
}

Result<std::unique_ptr<volume::OpenFile>> FileRequests::open_for_write(const std::string& path, uint32_t permissions) {
  constexpr volume::OpenOptions kOptions{.access = volume::Access::kWrite, .truncate = true};
  constexpr int kRacesMax = 8;
  TRY_ASSIGN(const Place place, place_of(path));
  for (int race = 0;; ++race) {
    const auto found = volume_.lookup(place.parent, place.name);
    if (found) {
      if (found->attributes.type != format::REGULAR)
        return fail(found->attributes.type == format::DIRECTORY ? ErrorCode::kIsDirectory : ErrorCode::kInvalid,
                    path + " is not a file");
      auto file = volume_.open_file(found->attributes.inode, kOptions);
      if (file || file.error() != ErrorCode::kNotFound || race == kRacesMax) return file;
    } else if (found.error() == ErrorCode::kNotFound) {
      auto created = volume_.create(place.parent, place.name, permissions, owner_, kOptions);
      if (created) return std::move(created->file);
      if (created.error() != ErrorCode::kExists || race == kRacesMax) return fail(std::move(created).error());
    } else {
      return fail(found.error());
    }
  }
}

net::ServerResponse FileRequests::status(net::ServerRequest& request) {
  const auto path = path_parameter(request);
  if (!path) return error_reply(path.error());
  return reply_to(volume_.status(*path), [](const volume::FileStatus& status) { return json_of(status); });
}

net::ServerResponse FileRequests::list(net::ServerRequest& request) {
  const auto build = [&]() -> Result<Json> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    TRY_ASSIGN(const int64_t max, number_parameter(request, "max", kListMax, 10));
    const std::string* after = request.parameter("after");
    TRY_ASSIGN(const InodeId directory, volume_.resolve(path));
    TRY_ASSIGN(const auto listing,
               volume_.read_directory(directory, after == nullptr ? std::string_view{} : std::string_view(*after),
                                      std::min<size_t>(static_cast<size_t>(max), kListMax),
                                      volume::WithAttributes::kNo));
    Json json;
    json["entries"] = Json::array();
    for (const auto& [entry, plus] : listing.entries) {
      const auto status = volume_.status(child_path(path, entry.name));
      if (failed_with(status, ErrorCode::kNotFound)) continue;  // gone meanwhile
      if (!status) return fail(status.error());
      Json item = json_of(*status);
      add_bytes(item, "name", entry.name);
      json["entries"].push_back(std::move(item));
    }
    if (listing.more && !listing.entries.empty())
      json["next_encoded"] = net::uri_encode(listing.entries.back().entry.cursor);
    return json;
  };
  return reply_to(build(), [](const Json& json) { return json; });
}

net::ServerResponse FileRequests::hidden(net::ServerRequest& request) {
  const auto path = path_parameter(request);
  if (!path) return error_reply(path.error());
  return reply_to(volume_.hidden(*path), [](const auto& objects) {
    Json json;
    json["objects"] = Json::array();
    for (const auto& object : objects) {
      Json item;
      add_bytes(item, "key", object.key);
      item["reason"] = object.reason;
      json["objects"].push_back(std::move(item));
    }
    return json;
  });
}

net::ServerResponse FileRequests::read(net::ServerRequest& request) {
  const auto open = [&]() -> Result<std::pair<std::shared_ptr<Closing>, uint64_t>> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    TRY_ASSIGN(const InodeId inode, volume_.resolve(path));
    TRY_ASSIGN(const volume::Entry entry, volume_.get_attributes(inode));
    if (entry.attributes.type != format::REGULAR) return fail(ErrorCode::kInvalid, path + " is not a file");
    TRY_ASSIGN(auto file, volume_.open_file(inode, {.access = volume::Access::kRead}));
    return std::pair(std::make_shared<Closing>(std::move(file)), entry.attributes.size);
  };
  auto opened = open();
  if (!opened) return error_reply(opened.error());
  net::ServerResponse response{.headers = {{"Content-Type", "application/octet-stream"}}};
  response.stream_bytes = opened->second;
  response.stream = [file = opened->first, size = opened->second](net::ResponseBody& body) -> Result<void> {
    std::vector<std::byte> block(kBlockBytes);
    for (uint64_t offset = 0; offset < size;) {
      const size_t want = std::min<uint64_t>(block.size(), size - offset);
      TRY_ASSIGN(const size_t bytes, (*file)->read(offset, std::span(block).first(want)));
      if (bytes == 0) return fail(ErrorCode::kStale, "the file became shorter");
      TRY(body.write(std::span(block).first(bytes)));
      offset += bytes;
    }
    return {};
  };
  return response;
}

net::ServerResponse FileRequests::write(net::ServerRequest& request) {
  const auto write_all = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    TRY_ASSIGN(const int64_t permissions, number_parameter(request, "mode", kFilePermissions, 8));
    TRY_ASSIGN(auto opened, open_for_write(path, static_cast<uint32_t>(permissions) & 07777));
    Closing file(std::move(opened));
    std::vector<std::byte> block(kBlockBytes);
    for (uint64_t offset = 0;;) {
      TRY_ASSIGN(const size_t bytes, request.body.read(block));
      if (bytes == 0) break;
      TRY(file->write(offset, std::span(block).first(bytes)));
      offset += bytes;
    }
    return file->flush();
  };
  return reply_to(write_all());
}

net::ServerResponse FileRequests::copy(net::ServerRequest& request) {
  const auto copy_file = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string from, path_parameter(request));
    TRY_ASSIGN(std::string to, path_parameter(request, "to"));
    TRY_ASSIGN(const std::string target, flag_parameter(request, "exact") ? to : target_of(from, std::move(to)));
    TRY_ASSIGN(const InodeId inode, volume_.resolve(from));
    TRY_ASSIGN(const volume::Entry entry, volume_.get_attributes(inode));
    if (entry.attributes.type != format::REGULAR) return fail(ErrorCode::kInvalid, from + " is not a file");
    const auto same = volume_.resolve(target);
    if (same && *same == inode) return fail(ErrorCode::kInvalid, from + " and " + target + " are the same file");
    TRY_ASSIGN(auto source_file, volume_.open_file(inode, {.access = volume::Access::kRead}));
    Closing source(std::move(source_file));
    TRY_ASSIGN(auto target_file, open_for_write(target, entry.attributes.permissions));
    Closing destination(std::move(target_file));
    TRY(copy_bytes(*source, *destination));
    TRY(destination->flush());
    return flag_parameter(request, "attributes") ? copy_inode_attributes(inode, destination->inode()) : Result<void>();
  };
  return reply_to(copy_file());
}

Result<void> FileRequests::copy_inode_attributes(InodeId from, InodeId to) {
  constexpr std::string_view kOwn = "user.weir.";
  TRY_ASSIGN(const auto names, volume_.list_xattrs(from));
  for (const std::string& name : names) {
    if (name.starts_with(kOwn)) continue;
    const auto value = volume_.get_xattr(from, name);
    if (failed_with(value, ErrorCode::kNoAttribute)) continue;  // removed meanwhile
    TRY(value);
    TRY(volume_.set_xattr(to, name, *value, meta::Namespace::XattrMode::kSet));
  }
  TRY_ASSIGN(const volume::Entry entry, volume_.get_attributes(from));
  meta::AttributeChange change{.permissions = {},
                               .uid = entry.attributes.uid,
                               .gid = entry.attributes.gid,
                               .atime_ns = entry.attributes.atime_ns,
                               .mtime_ns = entry.attributes.mtime_ns};
  if (entry.attributes.type != format::SYMLINK) change.permissions = entry.attributes.permissions;
  TRY(volume_.set_attributes(to, change, std::nullopt));
  return {};
}

net::ServerResponse FileRequests::copy_attributes(net::ServerRequest& request) {
  const auto copy = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string from, path_parameter(request));
    TRY_ASSIGN(const std::string to, path_parameter(request, "to"));
    TRY_ASSIGN(const InodeId source, volume_.resolve(from));
    TRY_ASSIGN(const InodeId target, volume_.resolve(to));
    return copy_inode_attributes(source, target);
  };
  return reply_to(copy());
}

net::ServerResponse FileRequests::make_directory(net::ServerRequest& request) {
  const auto make = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    const bool with_parents = flag_parameter(request, "parents");
    TRY_ASSIGN(const int64_t mode, number_parameter(request, "mode", kDirectoryPermissions, 8));
    if (with_parents) {
      // Those above, outermost first; what is there already is what is wanted.
      for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
        const std::string above = path.substr(0, slash);
        if (volume_.resolve(above)) continue;
        TRY_ASSIGN(const Place place, place_of(above));
        auto made = volume_.make_directory(place.parent, place.name, kDirectoryPermissions, owner_);
        if (!made && made.error() != ErrorCode::kExists) return fail(std::move(made).error().wrap(above));
      }
    }
    TRY_ASSIGN(const Place place, place_of(path));
    auto made = volume_.make_directory(place.parent, place.name, static_cast<uint32_t>(mode) & 07777, owner_);
    if (made) return {};
    if (with_parents && made.error() == ErrorCode::kExists && is_directory(path).value_or(false)) return {};
    return fail(std::move(made).error().wrap(path));
  };
  return reply_to(make());
}

net::ServerResponse FileRequests::make_symlink(net::ServerRequest& request) {
  const auto make = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    const std::string* target = request.parameter("target");
    if (target == nullptr) return fail(ErrorCode::kInvalid, "parameter \"target\" is missing");
    TRY_ASSIGN(const Place place, place_of(path));
    auto made = volume_.make_symlink(place.parent, place.name, *target, owner_);
    if (!made) return fail(std::move(made).error().wrap(path));
    return {};
  };
  return reply_to(make());
}

net::ServerResponse FileRequests::remove(net::ServerRequest& request) {
  const auto remove_entry = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string path, path_parameter(request));
    TRY_ASSIGN(const Place place, place_of(path));
    auto entry = volume_.lookup(place.parent, place.name);
    if (!entry) return fail(std::move(entry).error().wrap(path));
    const bool directory = entry->attributes.type == format::DIRECTORY;
    auto removed = !directory                           ? volume_.unlink(place.parent, place.name)
                   : flag_parameter(request, "recursive") ? volume_.remove_tree(place.parent, place.name)
                                                          : volume_.remove_directory(place.parent, place.name);
    if (!removed) return fail(std::move(removed).error().wrap(path));
    return {};
  };
  return reply_to(remove_entry());
}

net::ServerResponse FileRequests::rename(net::ServerRequest& request) {
  const auto move = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string from, path_parameter(request));
    TRY_ASSIGN(std::string to, path_parameter(request, "to"));
    TRY_ASSIGN(const std::string target, target_of(from, std::move(to)));
    TRY_ASSIGN(const Place old_place, place_of(from));
    TRY_ASSIGN(const Place new_place, place_of(target));
    auto renamed = volume_.rename(old_place.parent, old_place.name, new_place.parent, new_place.name,
                                  meta::RenameMode::kReplace);
    if (!renamed) return fail(std::move(renamed).error().wrap(from + " to " + target));
    return {};
  };
  return reply_to(move());
}

net::ServerResponse FileRequests::persist(net::ServerRequest& request) {
  const auto path = path_parameter(request);
  if (!path) return error_reply(path.error());
  return reply_to(volume_.persist_now(*path));
}

net::ServerResponse FileRequests::usage(net::ServerRequest& request) {
  const auto path = path_parameter(request);
  if (!path) return error_reply(path.error());
  if (const auto there = volume_.resolve(*path); !there) return error_reply(there.error());
  const auto cached = flag_parameter(request, "cached") ? volume::CachedBytes::kCounted : volume::CachedBytes::kIgnored;
  return line_reply([this, path = *path, cached](LineReply& lines) {
    const auto usage = volume_.tree_usage(path, cached, [&](const volume::TreeUsage& so_far) {
      return lines.progress([&] { return json_of(so_far); });
    });
    return usage ? lines.put("usage", json_of(*usage)) : lines.put("error", json_of(usage.error()));
  });
}

net::ServerResponse FileRequests::check(net::ServerRequest& request) {
  const auto path = path_parameter(request);
  if (!path) return error_reply(path.error());
  if (const auto there = volume_.resolve(*path); !there) return error_reply(there.error());
  const bool dry_run = flag_parameter(request, "dry_run");
  volume::FsckOptions options{.path = *path,
                              .ufs = flag_parameter(request, "ufs"),
                              .foreign_objects = flag_parameter(request, "foreign"),
                              .repair = dry_run                                ? volume::FsckRepair::kDryRun
                                        : request.method == net::Method::kPost ? volume::FsckRepair::kYes
                                                                               : volume::FsckRepair::kNo};
  return line_reply([this, options](LineReply& lines) {
    return report_fsck(lines, [&](const volume::FsckListener& listener) { return volume_.fsck(options, listener); });
  });
}

}  // namespace weir::daemon
