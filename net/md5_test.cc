#include "net/md5.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/random.h"
#include "net/encoding.h"

namespace weir::net {
namespace {

std::string content(Random& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random.next());
  return bytes;
}

TEST(Md5Stream, tells_the_digest_of_a_content_of_any_length) {
  Random random(1);
  for (size_t size = 0; size < 260; ++size) {
    const std::string bytes = content(random, size);
    Md5Stream stream;
    stream.add(bytes_of(bytes).first(size / 3));
    stream.add(bytes_of(bytes).subspan(size / 3));
    EXPECT_EQ(hex(stream.finish()), hex(md5(bytes_of(bytes)))) << size;
  }
}

TEST(Md5Stream, tells_the_same_of_contents_that_come_together_in_pieces) {
  Random random(2);
  for (int round = 0; round < 200; ++round) {
    const size_t count = 1 + random.below(Md5Stream::kTogetherMax);
    std::vector<std::string> contents;
    for (size_t i = 0; i < count; ++i) contents.push_back(content(random, random.below(4'000)));
    std::vector<Md5Stream> streams(count);
    std::vector<size_t> taken(count, 0);
    for (bool more = true; more;) {
      std::vector<Md5Stream::Piece> pieces;
      more = false;
      for (size_t i = 0; i < count; ++i) {
        const auto left = bytes_of(contents[i]).subspan(taken[i]);
        const auto piece = left.first(random.below(left.size() + 1));
        pieces.push_back({&streams[i], piece});
        taken[i] += piece.size();
        more |= piece.size() < left.size();
      }
      Md5Stream::add_together(pieces);
    }
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(hex(streams[i].finish()), hex(md5(bytes_of(contents[i])))) << i << " of " << count;
  }
}

}  // namespace
}  // namespace weir::net
