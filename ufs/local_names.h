// ufs/local_names.h -- which file below a LocalUfs's directory holds which key.
//
// A key that is a clean relative path is that path. Everything that is not an object under its own path lives in the
// hidden directory `.weir-ufs`:
//   objects/<escaped key>    objects whose key cannot be a path here: `//`, `.`, `..`, components over 255 bytes, data
//                            under a trailing slash, and `a` beside `a/b`, whichever came second
//   uploads/<id>/            unfinished multipart uploads
//   attributes/<etag>        attributes, on file systems without extended attributes
//   new/<random>             files being written
//   lock                     flock()ed while a name changes its object
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace weir::ufs::local {

inline constexpr std::string_view kHidden = ".weir-ufs";

// Whether the key, less one trailing slash, is the path of a file or directory of its own.
bool is_path(std::string_view key);

// Letters, digits, '-' and '_' stay, other bytes become %XX; cut into components of 200 bytes, of which those that go
// on end in '~'. Distinct keys have distinct names, and no name is a directory of another.
std::string escape(std::string_view key);
// Of a name that escape() made; nothing for other names.
std::optional<std::string> unescape(std::string_view name);

}  // namespace weir::ufs::local
