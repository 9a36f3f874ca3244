// Every target on its seeds, on what is left of them when they are cut anywhere, and on random mutations for some seconds
// (WEIR_FUZZ_SECONDS for each, WEIR_SEED repeats).
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "base/clock.h"
#include "base/random.h"
#include "fuzz/targets.h"

namespace weir::fuzz {
namespace {

constexpr size_t kInputBytesMax = 4'096;

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Words that mean something to one parser or another.
constexpr std::string_view kWords[] = {"\r\n", "\r\n\r\n", "%", "%00", "%2F", "0\r\n\r\n", "ffffffffffffffff", "18446744073709551615", "-1", "bytes=",
                                       "&#x0;", "<![CDATA[", "]]>", "<!--", "&amp;", "chunk-signature=", "chunked", "Content-Length: ", "aws-chunked",
                                       "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", "/../", "//", "\xff\xfe", "=", "&", "?", ";", ",", "*"};

std::string mutate(std::string text, const std::vector<std::string>& seeds, Random& random) {
  const uint64_t rounds = 1 + random.below(8);
  for (uint64_t round = 0; round < rounds; ++round) {
    const size_t at = random.below(text.size() + 1);
    switch (random.below(7)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(random.next());
        break;
      case 1: text.insert(at, 1, static_cast<char>(random.next())); break;
      case 2: text.erase(at, 1 + random.below(8)); break;
      case 3: text.insert(at, kWords[random.below(std::size(kWords))]); break;
      case 4: text.insert(at, text.substr(random.below(text.size() + 1), random.below(64))); break;
      case 5: {
        const std::string& other = seeds[random.below(seeds.size())];
        text = text.substr(0, at) + other.substr(random.below(other.size() + 1));
        break;
      }
      default: text.insert(at, std::string(random.below(600), static_cast<char>(random.next()))); break;
    }
    if (text.size() > kInputBytesMax) text.resize(kInputBytesMax);
  }
  return text;
}

class Fuzz : public ::testing::TestWithParam<size_t> {};

TEST_P(Fuzz, survives_seeds_cut_anywhere_and_mutated) {
  const Target& target = targets()[GetParam()];
  for (const std::string& seed : target.seeds)
    for (size_t size = 0; size <= seed.size(); ++size) target.run(std::string_view(seed).substr(0, size));
  const uint64_t seed = number_from("WEIR_SEED", Random::from_entropy().next());
  RecordProperty("seed", std::to_string(seed));
  std::cout << target.name << " WEIR_SEED=" << seed << std::endl;
  Random random(seed);
  std::vector<std::string> corpus = target.seeds;
  const Deadline end = Deadline::after(std::chrono::seconds(number_from("WEIR_FUZZ_SECONDS", 2)));
  while (!end.expired()) {
    std::string input = mutate(corpus[random.below(corpus.size())], target.seeds, random);
    target.run(input);
    if (random.one_in(50)) corpus.push_back(std::move(input));
    if (corpus.size() > 1'000) corpus = target.seeds;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, ::testing::Range(size_t{0}, targets().size()),
                         [](const auto& info) { return std::string(targets()[info.param].name); });

}  // namespace
}  // namespace weir::fuzz
