// What programs may expect of the content of files: plain system calls, with every way of talking to the kernel.
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

constexpr int64_t kMiB = 1 << 20;

class Content : public MountOfBucket {
 protected:
  // One file that lies here, and one that lies in the bucket only, with the same bytes.
  std::vector<std::string> both() {
    {
      const Descriptor file(at("local"), O_CREAT | O_WRONLY);
      EXPECT_EQ(static_cast<ssize_t>(big().size()), ::write(file, big().data(), big().size()));
    }
    return {"local", "old/data"};
  }
  std::string whole(const std::string& name) const {
    const Descriptor file(at(name), O_RDONLY);
    return whole(file);
  }
  static std::string whole(int fd) {
    struct stat st {};
    EXPECT_EQ(0, ::fstat(fd, &st));
    std::string bytes(static_cast<size_t>(st.st_size), '\0');
    size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t part = ::pread(fd, bytes.data() + got, bytes.size() - got, static_cast<off_t>(got));
      if (part <= 0) break;
      got += static_cast<size_t>(part);
    }
    bytes.resize(got);
    return bytes;
  }
  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  static std::unique_ptr<char, Free> aligned(size_t size) {
    return std::unique_ptr<char, Free>(static_cast<char*>(std::aligned_alloc(4096, size)));
  }
};

// Semantics 2.7.
TEST_P(Content, fallocate_reserves_punches_and_zeroes) {
  for (const std::string& name : both()) {
    SCOPED_TRACE(name);
    std::string expected = big();
    const int64_t size = 5 * kMiB;
    const Descriptor file(at(name), O_RDWR);
    ASSERT_WORKS(::fallocate(file, FALLOC_FL_KEEP_SIZE, size, kMiB));
    EXPECT_EQ(size, stat_of(name).st_size);
    ASSERT_WORKS(::fallocate(file, 0, size, 4096));
    expected.resize(5 * kMiB + 4096);
    EXPECT_EQ(size + 4096, stat_of(name).st_size);
    ASSERT_WORKS(::fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB + 100, kMiB));
    expected.replace(kMiB + 100, kMiB, kMiB, '\0');
    ASSERT_WORKS(::fallocate(file, FALLOC_FL_ZERO_RANGE, size, 8192));
    expected.resize(5 * kMiB + 8192);
    ASSERT_WORKS(::fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 3 * kMiB - 1, 2));
    expected.replace(3 * kMiB - 1, 2, 2, '\0');
    EXPECT_TRUE(whole(file) == expected);
    EXPECT_FAILS(EOPNOTSUPP, ::fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    EXPECT_FAILS(EOPNOTSUPP, ::fallocate(file, FALLOC_FL_INSERT_RANGE, 0, 4096));
    EXPECT_FAILS(EINVAL, ::fallocate(file, 0, 0, 0));
    const Descriptor reader(at(name), O_RDONLY);
    EXPECT_FAILS(EBADF, ::fallocate(reader, 0, 0, 4096));
    EXPECT_TRUE(whole(name) == expected);
  }
}

// Semantics 1.8.
TEST_P(Content, fallocate_takes_set_id_bits_from_the_files_of_others) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: needs root";
  put("f", "x");
  ASSERT_WORKS(::chmod(at("f").c_str(), 06777));
  const std::string path = at("f");
  EXPECT_EQ(0, in_child([&] {
    if (::setgid(1234) != 0 || ::setuid(1234) != 0) return 1;
    const int fd = ::open(path.c_str(), O_RDWR);
    return fd >= 0 && ::fallocate(fd, 0, 0, 4096) == 0 ? 0 : 2;
  }));
  EXPECT_EQ(0777u, stat_of("f").st_mode & 07777u);
}

// Semantics 2.8.
TEST_P(Content, seek_finds_data_and_holes) {
  {
    const Descriptor file(at("f"), O_CREAT | O_RDWR);
    ASSERT_WORKS(::ftruncate(file, 3 * kMiB));
    ASSERT_EQ(4, ::pwrite(file, "data", 4, kMiB));
    EXPECT_EQ(kMiB, ::lseek(file, 0, SEEK_DATA));
    EXPECT_EQ(0, ::lseek(file, 0, SEEK_HOLE));
    EXPECT_EQ(kMiB + 4096, ::lseek(file, kMiB, SEEK_HOLE));
    EXPECT_FAILS(ENXIO, ::lseek(file, kMiB + 4096, SEEK_DATA));
    EXPECT_FAILS(ENXIO, ::lseek(file, 3 * kMiB, SEEK_HOLE));
  }
  const Descriptor object(at("old/data"), O_RDWR);
  EXPECT_EQ(7, ::lseek(object, 7, SEEK_DATA));
  EXPECT_EQ(5 * kMiB, ::lseek(object, 7, SEEK_HOLE));
  ASSERT_WORKS(::fallocate(object, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kMiB, kMiB));
  EXPECT_EQ(kMiB, ::lseek(object, 0, SEEK_HOLE));
  EXPECT_EQ(2 * kMiB, ::lseek(object, kMiB, SEEK_DATA));
}

// Semantics 2.8.
TEST_P(Content, a_sparse_file_takes_the_blocks_of_its_data) {
  {
    const Descriptor file(at("f"), O_CREAT | O_RDWR);
    ASSERT_EQ(4, ::pwrite(file, "data", 4, 64 * kMiB));
    struct stat st {};
    ASSERT_WORKS(::fstat(file, &st));
    EXPECT_LT(st.st_blocks, 2048);
  }
  EXPECT_LT(stat_of("f").st_blocks, 2048);
  EXPECT_EQ(5 * 2048, stat_of("old/data").st_blocks);
}

TEST_P(Content, copy_file_range_copies_within_the_mount) {
  put("from", std::string(100'000, 'a') + "tail");
  const Descriptor from(at("from"), O_RDONLY);
  const Descriptor object(at("old/data"), O_RDONLY);
  const Descriptor to(at("to"), O_CREAT | O_RDWR);
  off_t in = 99'999, out = 10;
  ASSERT_EQ(5, ::copy_file_range(from, &in, to, &out, 1'000, 0)) << strerror(errno);
  in = 4 * kMiB;
  size_t copied = 0;
  while (copied < kMiB) {
    const ssize_t part = ::copy_file_range(object, &in, to, &out, kMiB - copied, 0);
    ASSERT_GT(part, 0) << strerror(errno);
    copied += static_cast<size_t>(part);
  }
  EXPECT_TRUE(whole(to) == std::string(10, '\0') + "atail" + big().substr(4 * kMiB));
}

// Semantics 2.6.
TEST_P(Content, every_append_of_every_process_lands_whole_at_the_end) {
  constexpr int kProcesses = 4, kRecords = 100, kBytes = 300;
  for (const std::string name : {"log", "top"}) {
    SCOPED_TRACE(name);
    const size_t before = name == "top" ? 3 : 0;
    const std::string path = at(name);
    std::vector<std::thread> waiting;
    std::atomic<int> failed = 0;
    for (int p = 0; p < kProcesses; ++p) {
      waiting.emplace_back([&, p] {
        failed += in_child([&] {
          const int flags = O_CREAT | O_RDWR | (p % 2 == 0 ? O_APPEND : 0);
          const int fd = ::open(path.c_str(), flags, 0644);
          char record[kBytes];
          std::memset(record, 'a' + p, sizeof record);
          record[kBytes - 1] = '\n';
          const iovec part{record, sizeof record};
          for (int i = 0; i < kRecords; ++i) {
            const ssize_t done = p % 2 == 0 ? ::write(fd, record, sizeof record)
                                            : ::pwritev2(fd, &part, 1, 0, RWF_APPEND);
            if (done != kBytes) return 1;
          }
          return ::close(fd) == 0 ? 0 : 2;
        });
      });
    }
    for (std::thread& thread : waiting) thread.join();
    EXPECT_EQ(0, failed);
    const std::string log = whole(name);
    ASSERT_EQ(before + kProcesses * kRecords * kBytes, log.size());
    for (size_t at = before; at < log.size(); at += kBytes) {
      EXPECT_EQ(log.substr(at, kBytes), std::string(kBytes - 1, log[at]) + '\n');
    }
  }
}

TEST_P(Content, a_mapping_of_an_appending_descriptor_writes_in_place) {
  for (const std::string& name : both()) {
    SCOPED_TRACE(name);
    {
      const Descriptor file(at(name), O_RDWR | O_APPEND);
      auto* memory = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
      ASSERT_NE(MAP_FAILED, memory) << strerror(errno);
      memory[5000] = 'Z';
      ASSERT_WORKS(::msync(memory, 8192, MS_SYNC));
      ASSERT_EQ(3, ::write(file, "end", 3));
      ASSERT_WORKS(::munmap(memory, 8192));
    }
    std::string expected = big() + "end";
    expected[5000] = 'Z';
    EXPECT_TRUE(whole(name) == expected);
  }
}

// Semantics 2.6.
TEST_P(Content, appending_begins_and_ends_with_the_flag_of_the_descriptor) {
  if (mounted_->server().features().passthrough) GTEST_SKIP() << "SKIPPED: the kernel's backing file keeps the flag";
  for (const std::string name : {"f", "top"}) {
    if (name == "f") put("f", "top");
    const Descriptor file(at(name), O_RDWR | O_APPEND);
    ASSERT_EQ(1, ::write(file, "1", 1));
    ASSERT_WORKS(::fcntl(file, F_SETFL, 0));
    ASSERT_EQ(1, ::pwrite(file, "T", 1, 0));
    ASSERT_WORKS(::fcntl(file, F_SETFL, O_APPEND));
    ASSERT_WORKS(::lseek(file, 0, SEEK_SET));
    ASSERT_EQ(1, ::write(file, "2", 1));
    EXPECT_EQ("Top12", get(name));
  }
}

// Semantics 2.9.
TEST_P(Content, direct_io_reads_and_writes) {
  const auto buffer = aligned(8192);
  for (const std::string& name : both()) {
    SCOPED_TRACE(name);
    std::string expected = big();
    const Descriptor direct(at(name), O_RDWR | O_DIRECT);
    const Descriptor buffered(at(name), O_RDWR);
    ASSERT_EQ(8192, ::pread(direct, buffer.get(), 8192, 4096)) << strerror(errno);
    EXPECT_EQ(0, std::memcmp(buffer.get(), expected.data() + 4096, 8192));
    std::memset(buffer.get(), 'D', 8192);
    ASSERT_EQ(8192, ::pwrite(direct, buffer.get(), 8192, kMiB)) << strerror(errno);
    expected.replace(kMiB, 8192, 8192, 'D');
    char bytes[4] = {};
    ASSERT_EQ(4, ::pread(buffered, bytes, 4, kMiB));
    EXPECT_EQ(0, std::memcmp(bytes, "DDDD", 4));
    ASSERT_EQ(4, ::pwrite(buffered, "buff", 4, kMiB + 4096));
    expected.replace(kMiB + 4096, 4, "buff");
    ASSERT_EQ(4096, ::pread(direct, buffer.get(), 4096, kMiB + 4096)) << strerror(errno);
    EXPECT_EQ(0, std::memcmp(buffer.get(), "buffD", 5));
    EXPECT_TRUE(whole(name) == expected);
  }
}

// Semantics 2.9.
TEST_P(Content, a_shared_mapping_and_reads_and_writes_see_each_other) {
  for (const std::string& name : both()) {
    SCOPED_TRACE(name);
    const Descriptor file(at(name), O_RDWR);
    auto* memory = static_cast<char*>(::mmap(nullptr, 2 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ASSERT_NE(MAP_FAILED, memory) << strerror(errno);
    EXPECT_EQ(0, std::memcmp(memory, big().data(), 2 * kMiB));
    memory[kMiB] = 'M';
    char byte = 0;
    ASSERT_EQ(1, ::pread(file, &byte, 1, kMiB));
    EXPECT_EQ('M', byte);
    ASSERT_EQ(1, ::pwrite(file, "W", 1, kMiB + 1));
    EXPECT_EQ('W', memory[kMiB + 1]);
    const std::string path = at(name);
    EXPECT_EQ(0, in_child([&] {
      const int fd = ::open(path.c_str(), O_RDWR);
      auto* other = static_cast<char*>(::mmap(nullptr, 2 * kMiB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
      if (other == MAP_FAILED || other[kMiB] != 'M') return 1;
      other[kMiB + 2] = 'C';
      return 0;
    }));
    EXPECT_EQ('C', memory[kMiB + 2]);
    ASSERT_WORKS(::munmap(memory, 2 * kMiB));
    EXPECT_EQ("MWC", whole(name).substr(kMiB, 3));
  }
}

TEST_P(Content, a_file_opened_for_reading_can_be_emptied_by_its_opening) {
  for (const std::string& name : both()) {
    SCOPED_TRACE(name);
    const Descriptor file(at(name), O_RDONLY | O_TRUNC);
    EXPECT_EQ(0, stat_of(name).st_size);
    EXPECT_EQ("", whole(file));
    EXPECT_EQ("", whole(name));
  }
}

// Semantics 2.10.
TEST_P(Content, a_name_that_is_renamed_over_is_always_there) {
  put("name", "0");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      put("next", "1");
      EXPECT_EQ(0, ::rename(at("next").c_str(), at("name").c_str()));
    }
  });
  for (int i = 0; i < 1'000; ++i) {
    struct stat st {};
    EXPECT_TRUE(::stat(at("name").c_str(), &st) == 0 || errno == ESTALE) << strerror(errno);
    EXPECT_TRUE(::access(at("name").c_str(), R_OK) == 0 || errno == ESTALE) << strerror(errno);
    const int fd = ::open(at("name").c_str(), O_RDONLY);
    // Replaced twice while it was opened: the kernel looks a second time, not a third.
    EXPECT_TRUE(fd >= 0 || errno == ESTALE) << strerror(errno);
    if (fd >= 0) ::close(fd);
  }
  stop = true;
  writer.join();
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Content, kEveryWay, name_of_param);

}  // namespace
}  // namespace weir::testing
