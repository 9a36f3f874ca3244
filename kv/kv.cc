#include "kv/kv.h"

#include "base/check.h"

namespace weir::kv {

std::string encode_counter(int64_t value) {
  std::string bytes(sizeof(uint64_t), '\0');
  uint64_t rest = static_cast<uint64_t>(value);
  for (char& byte : bytes) {
    byte = static_cast<char>(rest & 0xff);
    rest >>= 8;
  }
  return bytes;
}

Result<int64_t> decode_counter(std::string_view bytes) {
  if (bytes.size() != sizeof(uint64_t)) {
    return fail(ErrorCode::kCorrupt, "a counter of " + std::to_string(bytes.size()) + " bytes instead of 8");
  }
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return static_cast<int64_t>(value);
}

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xff') end.pop_back();
  CHECK(!end.empty());
  end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

std::string key_after(std::string_view key) {
  std::string after;
  after.reserve(key.size() + 1);
  after.append(key);
  after.push_back('\0');
  return after;
}

}  // namespace weir::kv
