// ufs/local_walk.h -- the objects of a LocalUfs in the order of their keys.
//
// A directory sorts as `name/`, so a depth-first walk over sorted names is in byte order of keys; the escaped objects
// are merged in.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ufs/local_ufs.h"

namespace weir::ufs {

class LocalWalk {
 public:
  LocalWalk(const LocalUfs& store, const ListRequest& request);
  Result<ListPage> run();

 private:
  enum class Step : uint8_t { kContinue, kPageFull };

  // Names below `directory` ("" or "a/b/") in key order, directories with a trailing slash.
  Result<std::vector<std::string>> names_in(const std::string& directory) const;
  Result<Step> walk(const std::string& directory);
  Result<void> load_escaped();
  Result<void> load_escaped(const std::string& directory);
  Result<bool> holds_object(const std::string& directory) const;

  // Shows the key if it belongs on this page; escaped keys before it come first.
  Result<Step> visit(const std::string& key);
  Result<Step> show(const std::string& key);
  Step show_common(std::string common);
  // All keys that begin with `text` are before the page's start, or already shown as a common prefix.
  bool passed(std::string_view text) const;
  // Some key that begins with `text` may have the wanted prefix.
  bool meets_prefix(std::string_view text) const;

  const LocalUfs& store_;
  const ListRequest& request_;
  const uint32_t keys_max_;
  std::string after_;           // keys up to here were on the pages before
  std::string shown_prefix_;    // the common prefix that was shown last
  std::vector<std::string> escaped_;
  size_t next_escaped_ = 0;
  ListPage page_;
  std::string last_;  // token of what was shown last
};

}  // namespace weir::ufs
