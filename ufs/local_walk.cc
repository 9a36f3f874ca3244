#include "ufs/local_walk.h"

#include <algorithm>

#include "ufs/local_names.h"

namespace weir::ufs {
namespace {

constexpr int kEscapedDepthMax = 64;  // components of the longest escaped key

// A token is one of these and the key or common prefix that was shown last.
constexpr char kAfterKey = 'k';
constexpr char kAfterPrefix = 'p';

}  // namespace

LocalWalk::LocalWalk(const LocalUfs& store, const ListRequest& request)
    : store_(store), request_(request), keys_max_(std::clamp<uint32_t>(request.keys_max, 1, 1'000)) {
  if (!request.token.empty()) {
    after_ = request.token.substr(1);
    if (request.token[0] == kAfterPrefix) shown_prefix_ = after_;
  } else {
    after_ = request.start_after;
  }
}

bool LocalWalk::meets_prefix(std::string_view text) const {
  return text.starts_with(request_.prefix) || std::string_view(request_.prefix).starts_with(text);
}

bool LocalWalk::passed(std::string_view text) const {
  if (!shown_prefix_.empty() && text.starts_with(shown_prefix_)) return true;
  return text <= after_ && !std::string_view(after_).starts_with(text);
}

Result<std::vector<std::string>> LocalWalk::names_in(const std::string& directory) const {
  std::vector<std::string> names;
  const std::string path = directory.empty() ? std::string(".") : directory;
  const auto opened = store_.root_.open_directory(path.c_str());
  if (failed_with(opened, ErrorCode::kNotFound) || failed_with(opened, ErrorCode::kNotDirectory)) return names;
  if (!opened) return fail(opened.error());
  TRY(opened->list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    if (directory.empty() && entry.name == local::kHidden) return io::Visit::kContinue;
    io::FileType type = entry.type;
    std::string name(entry.name);
    if (type == io::FileType::kOther) {  // also what file systems say that do not know
      const auto stat = opened->stat(name.c_str());
      if (stat) type = stat->type();
    }
    if (type == io::FileType::kDirectory) name += '/';
    if (type != io::FileType::kDirectory && type != io::FileType::kRegular) return io::Visit::kContinue;
    if (directory.size() + name.size() > kLongKeyBytesMax || !meets_prefix(directory + name))
      return io::Visit::kContinue;
    names.push_back(std::move(name));
    return io::Visit::kContinue;
  }));
  std::ranges::sort(names);
  return names;
}

Result<void> LocalWalk::load_escaped() {
  TRY(load_escaped(""));
  std::ranges::sort(escaped_);
  return {};
}

Result<void> LocalWalk::load_escaped(const std::string& directory) {
  if (std::ranges::count(directory, '/') > kEscapedDepthMax) return {};
  const auto opened = store_.root_.open_directory((std::string(local::kHidden) + "/objects/" + directory).c_str());
  if (failed_with(opened, ErrorCode::kNotFound)) return {};
  if (!opened) return fail(opened.error());
  std::vector<std::string> below;
  TRY(opened->list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    const std::string name = directory + std::string(entry.name);
    if (entry.name.ends_with('~')) {
      below.push_back(name + '/');
    } else if (auto key = local::unescape(name); key && key->starts_with(request_.prefix)) {
      escaped_.push_back(*std::move(key));
    }
    return io::Visit::kContinue;
  }));
  for (const std::string& name : below) TRY(load_escaped(name));
  return {};
}

Result<bool> LocalWalk::holds_object(const std::string& directory) const {
  if (store_.find(directory)) return true;
  TRY_ASSIGN(const std::vector<std::string> names, names_in(directory));
  // A file settles it; directories are looked into only when there is none.
  if (std::ranges::any_of(names, [](const std::string& name) { return !name.ends_with('/'); })) return true;
  for (const std::string& name : names) {
    TRY_ASSIGN(const bool holds, holds_object(directory + name));
    if (holds) return true;
  }
  return false;
}

Result<LocalWalk::Step> LocalWalk::show(const std::string& key) {
  if (!key.starts_with(request_.prefix) || key <= after_ || passed(key)) return Step::kContinue;
  const size_t end =
      request_.delimiter.empty() ? std::string::npos : key.find(request_.delimiter, request_.prefix.size());
  if (end == std::string::npos) {
    const auto found = store_.find(key);
    if (failed_with(found, ErrorCode::kNotFound)) return Step::kContinue;  // gone meanwhile, or an unmarked directory
    if (!found) return fail(found.error());
    if (page_.objects.size() + page_.prefixes.size() == keys_max_) {
      page_.token = last_;
      return Step::kPageFull;
    }
    page_.objects.push_back(found->info);
    last_ = kAfterKey + key;
    return Step::kContinue;
  }
  if (key.ends_with('/') && !store_.find(key)) return Step::kContinue;
  return show_common(key.substr(0, end + request_.delimiter.size()));
}

LocalWalk::Step LocalWalk::show_common(std::string common) {
  if (page_.objects.size() + page_.prefixes.size() == keys_max_) {
    page_.token = last_;
    return Step::kPageFull;
  }
  last_ = kAfterPrefix + common;
  shown_prefix_ = common;
  page_.prefixes.push_back(std::move(common));
  return Step::kContinue;
}

Result<LocalWalk::Step> LocalWalk::visit(const std::string& key) {
  while (next_escaped_ < escaped_.size() && escaped_[next_escaped_] <= key) {
    const std::string& escaped = escaped_[next_escaped_++];
    if (escaped == key) continue;  // find() tells which of the two it is
    TRY_ASSIGN(const Step step, show(escaped));
    if (step == Step::kPageFull) return step;
  }
  return show(key);
}

Result<LocalWalk::Step> LocalWalk::walk(const std::string& directory) {
  TRY_ASSIGN(const std::vector<std::string> names, names_in(directory));
  for (const std::string& name : names) {
    const std::string key = directory + name;
    if (passed(key)) continue;
    TRY_ASSIGN(Step step, visit(key));
    if (step == Step::kPageFull) return step;
    if (!name.ends_with('/') || passed(key)) continue;
    // Below the first delimiter only the existence of an object matters.
    if (request_.delimiter == "/" && key.size() > request_.prefix.size() && key.starts_with(request_.prefix) &&
        !after_.starts_with(key)) {
      TRY_ASSIGN(const bool holds, holds_object(key));
      if (holds && show_common(key) == Step::kPageFull) return Step::kPageFull;
      continue;
    }
    TRY_ASSIGN(step, walk(key));
    if (step == Step::kPageFull) return step;
  }
  return Step::kContinue;
}

Result<ListPage> LocalWalk::run() {
  TRY(load_escaped());
  // The walk begins at the deepest directory that the prefix names.
  const size_t slash = request_.prefix.rfind('/');
  std::string start = slash == std::string::npos ? "" : request_.prefix.substr(0, slash + 1);
  Step step = Step::kContinue;
  if (start.empty() || local::is_path(start)) {
    if (!start.empty()) {
      TRY_ASSIGN(step, visit(start));
    }
    if (step == Step::kContinue) {
      TRY_ASSIGN(step, walk(start));
    }
  }
  while (step == Step::kContinue && next_escaped_ < escaped_.size()) {
    TRY_ASSIGN(step, show(escaped_[next_escaped_++]));
  }
  return std::move(page_);
}

}  // namespace weir::ufs
