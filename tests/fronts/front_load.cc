#include "tests/fronts/front_load.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "net/digest.h"
#include "net/encoding.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;
using s3::TestClient;
using s3::TestRequest;
using s3::TestResponse;

// Sizes tell contents apart. A small one fits into a page: it is written at once; a large one is read in many pieces.
constexpr size_t kSmallBytes = 40;
constexpr size_t kLargeBytes = 200'000;
constexpr size_t kPageBytes = 4'096;
constexpr Content kTorn = UINT32_MAX;

bool is_large(Content content) { return content % 16 == 0; }
size_t size_of(Content content) { return content == kEmpty ? 0 : content + (is_large(content) ? kLargeBytes : kSmallBytes); }

std::string body_of(Content content) {
  const size_t size = size_of(content);
  char word[16];
  std::snprintf(word, sizeof word, "%08x", content);
  std::string body;
  body.reserve(size + 8);
  while (body.size() < size) body.append(word, 8);
  body.resize(size);
  return body;
}

Content content_of_size(uint64_t size) {
  if (size == 0) return kEmpty;
  const auto content = static_cast<Content>(size - (size >= kLargeBytes ? kLargeBytes : kSmallBytes));
  return size >= kSmallBytes && size_of(content) == size ? content : kTorn;
}

Content content_of(std::string_view body) {
  const Content content = content_of_size(body.size());
  return content != kTorn && body == body_of(content) ? content : kTorn;
}

uint64_t number_in(std::string_view text) {
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

[[noreturn]] void wrong(const std::string& what) { throw std::runtime_error(what); }

}  // namespace

class FrontLoad::Worker {
 public:
  Worker(FrontLoad& load, int thread)
      : load_(load), thread_(thread), random_(load.seed_ * kThreads + thread) { connect(); }

  void step() {
    const int name = static_cast<int>(random_.below(kNames));
    const int other = (name + 1 + static_cast<int>(random_.below(kNames - 1))) % kNames;
    switch (random_.below(26)) {
      case 0: case 1: return put(name);
      case 2: return put_if_absent(name);
      case 3: return put_if_content(name);
      case 4: return erase(name);
      case 5: case 6: return get(name);
      case 7: return head(name);
      case 8: case 9: return list();
      case 10: return move(name, other, StepKind::kMove);
      case 11: return move(name, other, StepKind::kMoveIfAbsent);
      case 12: return copy(name, other);
      case 13: case 14: return replace(name);
      case 15: return create(name);
      case 16: case 17: return read(name);
      case 18: return stat(name);
      case 19: return unlink(name);
      case 20: return overwrite(name);
      case 21: return list_directory();
      case 22: return rename(name, other, StepKind::kRename, 0);
      case 23: return rename(name, other, StepKind::kRenameNoReplace, RENAME_NOREPLACE);
      case 24: return rename(name, other, StepKind::kExchange, RENAME_EXCHANGE);
      default: return link(name, other);
    }
  }

 private:
  // --- S3

  void connect() { client_ = std::make_unique<TestClient>(load_.fronts_.port, load_.fronts_.key); }
  std::string target(int name) const { return "/" + load_.fronts_.bucket + "/" + key(name); }
  std::string key(int name) const { return load_.folder_ + "/" + static_cast<char>('a' + name); }

  TestResponse exchange(TestRequest request) {
    const std::string what = request.method + ' ' + request.target;
    load_.history_.begin(thread_);
    TestResponse response = client_->exchange(request);
    if (response.status > 0) return response;
    // What was written in place while it was read is not sent to its end.
    if (request.method != "GET") wrong(what + ": the connection ended");
    connect();
    return response;
  }
  // Of a write that S3 may refuse because another one came between: then nothing was done.
  void wrote(Step step, const TestResponse& response, const char* what) {
    switch (response.status) {
      case 200: break;
      case 404: step.outcome = Outcome::kAbsent; break;
      case 412: step.outcome = Outcome::kRefused; break;
      case 409: return end({});
      default: wrong(std::string(what) + ": " + std::to_string(response.status) + ' ' + response.body);
    }
    end({.steps = {step}});
  }
  void end(Call call) { load_.history_.end(thread_, std::move(call)); }
  Content new_content() { return ++load_.last_content_; }

  void put(int name) {
    const Content content = new_content();
    const auto response = exchange({.method = "PUT", .target = target(name), .body = body_of(content)});
    if (response.status != 200) wrong("PUT: " + std::to_string(response.status) + ' ' + response.body);
    wrote({.kind = StepKind::kPut, .name = byte(name), .content = content}, response, "PUT");
  }

  void put_if_absent(int name) {
    const Content content = new_content();
    wrote({.kind = StepKind::kPutIfAbsent, .name = byte(name), .content = content},
          exchange({.method = "PUT", .target = target(name), .headers = {{"If-None-Match", "*"}}, .body = body_of(content)}), "PUT if absent");
  }

  // The same content has the same etag where it is an MD5.
  void put_if_content(int name) {
    const auto there = client_->head(target(name));
    const std::string etag(there.header("etag"));
    if (there.status != 200 || etag.contains('-')) return;
    const Content expected = content_of_size(number_in(there.header("content-length")));
    const Content content = new_content();
    wrote({.kind = StepKind::kPutIfContent, .name = byte(name), .content = content, .expected = expected},
          exchange({.method = "PUT", .target = target(name), .headers = {{"If-Match", etag}}, .body = body_of(content)}), "PUT if match");
  }

  void erase(int name) {
    const auto response = exchange({.method = "DELETE", .target = target(name)});
    if (response.status != 204) wrong("DELETE: " + std::to_string(response.status) + ' ' + response.body);
    end({.steps = {{.kind = StepKind::kErase, .name = byte(name)}}});
  }

  void get(int name) {
    const auto response = exchange({.target = target(name)});
    // Nothing was told.
    if (response.status <= 0 || response.status == 503) return end({});
    got(StepKind::kGet, name, response, content_of(response.body));
    const std::string_view etag = response.header("etag");
    if (response.status == 200 && !etag.contains('-') && etag != '"' + net::hex(net::md5(net::bytes_of(response.body))) + '"')
      wrong("GET: the etag " + std::string(etag) + " is not that of what was sent");
  }

  void head(int name) {
    const auto response = exchange({.method = "HEAD", .target = target(name)});
    got(StepKind::kHead, name, response, content_of_size(number_in(response.header("content-length"))));
  }

  void got(StepKind kind, int name, const TestResponse& response, Content seen) {
    if (response.status != 200 && response.status != 404) wrong("GET or HEAD: " + std::to_string(response.status) + ' ' + response.body);
    Step step{.kind = kind, .name = byte(name)};
    step.outcome = response.status == 200 ? Outcome::kDone : Outcome::kAbsent;
    if (response.status == 200) step.seen = seen;
    end({.steps = {step}});
  }

  void list() {
    const auto response = exchange({.target = "/" + load_.fronts_.bucket + "?list-type=2&prefix=" + load_.folder_ + "/"});
    if (response.status != 200) wrong("LIST: " + std::to_string(response.status) + ' ' + response.body);
    Call call;
    for (int name = 0; name < kNames; ++name) {
      Step step{.kind = StepKind::kHead, .name = byte(name), .outcome = Outcome::kAbsent};
      if (const size_t at = response.body.find("<Key>" + key(name) + "</Key>"); at != std::string::npos) {
        constexpr std::string_view kSize = "<Size>";
        const size_t size = response.body.find(kSize, at);
        step.outcome = Outcome::kDone;
        step.seen = content_of_size(number_in(std::string_view(response.body).substr(size + kSize.size())));
      }
      call.steps.push_back(step);
    }
    end(std::move(call));
  }

  void move(int name, int other, StepKind kind) {
    net::Headers headers{{"x-amz-rename-source", "/" + load_.fronts_.bucket + "/" + key(name)}};
    if (kind == StepKind::kMoveIfAbsent) headers.push_back({"If-None-Match", "*"});
    wrote({.kind = kind, .name = byte(name), .other = byte(other)},
          exchange({.method = "PUT", .target = target(other) + "?renameObject", .headers = std::move(headers)}), "RenameObject");
  }

  void copy(int name, int other) {
    const auto response = exchange({.method = "PUT", .target = target(other), .headers = {{"x-amz-copy-source", target(name)}}});
    if (response.status == 503) return end({});  // it was written faster than it could be read
    const Step from{.kind = StepKind::kCopyFrom, .name = byte(name)};
    if (response.status != 200) return wrote(from, response, "CopyObject");
    end({.order = Order::kInOrder, .steps = {from, {.kind = StepKind::kCopyTo, .name = byte(other)}}});
  }

  // --- POSIX

  static uint8_t byte(int name) { return static_cast<uint8_t>(name); }
  std::string path(int name) const { return (load_.fronts_.mount / key(name)).string(); }

  // -1 with errno where the error is one of those that the outcome tells.
  template <typename Call>
  int posix(const char* what, std::initializer_list<int> expected, const Call& call) {
    load_.history_.begin(thread_);
    const int result = call();
    if (result < 0 && std::find(expected.begin(), expected.end(), errno) == expected.end()) wrong(std::string(what) + ": " + std::strerror(errno));
    return result;
  }
  void end_posix(Step step, int result) {
    if (result < 0) step.outcome = errno == EEXIST ? Outcome::kRefused : Outcome::kAbsent;
    end({.steps = {step}});
  }

  void write(int fd, std::string_view body) {
    while (!body.empty()) {
      const ssize_t written = ::write(fd, body.data(), body.size());
      if (written <= 0) wrong(std::string("write: ") + std::strerror(errno));
      body.remove_prefix(static_cast<size_t>(written));
    }
  }

  void replace(int name) {
    const Content content = new_content();
    const std::string made = (load_.fronts_.mount / (load_.folder_ + "-private") / std::to_string(thread_)).string();
    const int fd = ::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) wrong("open of a file of one's own: " + std::string(std::strerror(errno)));
    write(fd, body_of(content));
    ::close(fd);
    posix("rename over", {}, [&] { return ::rename(made.c_str(), path(name).c_str()); });
    end({.steps = {{.kind = StepKind::kReplace, .name = byte(name), .content = content}}});
  }

  void create(int name) {
    const InPlace alone(load_);
    const int fd = posix("create", {EEXIST}, [&] { return ::open(path(name).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644); });
    end_posix({.kind = StepKind::kCreate, .name = byte(name)}, fd);
    if (fd < 0) return;
    write_and_close(fd);
  }

  void overwrite(int name) {
    const InPlace alone(load_);
    const int fd = posix("open to write", {ESTALE}, [&] { return ::open(path(name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); });
    // It was replaced twice while the kernel opened it.
    if (fd < 0) return end({});
    end({.order = Order::kInOrder, .steps = {{.kind = StepKind::kOpenToWrite, .name = byte(name)}, {.kind = StepKind::kCut}}});
    write_and_close(fd);
  }

  void write_and_close(int fd) {
    // In a page, so that it is there or not.
    Content content = new_content();
    while (is_large(content)) content = new_content();
    if (size_of(content) > kPageBytes) wrong("the round is too long: contents do not fit into a page any more");
    const std::string body = body_of(content);
    load_.history_.begin(thread_);
    write(fd, body);
    end({.steps = {{.kind = StepKind::kWrite, .content = content}}});
    posix("close", {}, [&] { return ::close(fd); });
    end({.steps = {{.kind = StepKind::kClose}}});
  }

  void read(int name) {
    const int fd = posix("open", {ENOENT, ESTALE}, [&] { return ::open(path(name).c_str(), O_RDONLY | O_CLOEXEC); });
    // It was replaced twice while the kernel opened it.
    if (fd < 0 && errno == ESTALE) return end({});
    end_posix({.kind = StepKind::kOpen, .name = byte(name)}, fd);
    if (fd < 0) return;
    std::string body;
    char buffer[65'536];
    ssize_t got;
    load_.history_.begin(thread_);
    const uint64_t steps = load_.in_place_steps_;
    while ((got = ::read(fd, buffer, sizeof buffer)) > 0) body.append(buffer, static_cast<size_t>(got));
    if (got < 0) wrong(std::string("read: ") + std::strerror(errno));
    const Content seen = content_of(body);
    // POSIX reads are not one step beside a write.
    const bool beside_a_write = steps % 2 != 0 || load_.in_place_steps_ != steps;
    end(seen == kTorn && beside_a_write ? Call{.steps = {{.kind = StepKind::kForget}}} : Call{.steps = {{.kind = StepKind::kRead, .seen = seen}}});
    ::close(fd);
  }

  void stat(int name) {
    struct stat st{};
    const int result = posix("stat", {ENOENT, ESTALE}, [&] { return ::stat(path(name).c_str(), &st); });
    // It was replaced twice while the kernel looked.
    if (result < 0 && errno == ESTALE) return end({});
    const Step found{.kind = StepKind::kOpen, .name = byte(name)};
    if (result < 0) return end_posix(found, result);
    end({.order = Order::kInOrder, .steps = {found, {.kind = StepKind::kRead, .seen = content_of_size(static_cast<uint64_t>(st.st_size))}}});
  }

  void unlink(int name) {
    const int result = posix("unlink", {ENOENT}, [&] { return ::unlink(path(name).c_str()); });
    end_posix({.kind = StepKind::kUnlink, .name = byte(name)}, result);
  }

  void rename(int name, int other, StepKind kind, unsigned flags) {
    const int result = posix("rename", {ENOENT, EEXIST}, [&] {
      return ::renameat2(AT_FDCWD, path(name).c_str(), AT_FDCWD, path(other).c_str(), flags);
    });
    end_posix({.kind = kind, .name = byte(name), .other = byte(other)}, result);
  }

  void link(int name, int other) {
    const int result = posix("link", {ENOENT, EEXIST}, [&] { return ::link(path(name).c_str(), path(other).c_str()); });
    // Also of a name that was there all the time, when it was replaced between its lookup and the link: as on any file system.
    if (result < 0 && errno == ENOENT) return end({});
    const Outcome outcome = result < 0 ? Outcome::kRefused : Outcome::kDone;
    end({.order = Order::kInOrder,
         .steps = {{.kind = StepKind::kLinkFrom, .name = byte(name)}, {.kind = StepKind::kLinkTo, .name = byte(other), .outcome = outcome}}});
  }

  // What is renamed meanwhile may be seen twice or not at all: each name by itself.
  void list_directory() {
    load_.history_.begin(thread_);
    DIR* const directory = ::opendir((load_.fronts_.mount / load_.folder_).c_str());
    if (directory == nullptr) wrong(std::string("opendir: ") + std::strerror(errno));
    std::set<std::string> found;
    errno = 0;
    while (const dirent* entry = ::readdir(directory)) found.insert(entry->d_name);
    const int error = errno;
    ::closedir(directory);
    if (error != 0) wrong(std::string("readdir: ") + std::strerror(error));
    Call call{.order = Order::kAny};
    for (int name = 0; name < kNames; ++name) {
      const bool there = found.contains(std::string(1, static_cast<char>('a' + name)));
      call.steps.push_back({.kind = StepKind::kListed, .name = byte(name), .outcome = there ? Outcome::kDone : Outcome::kAbsent});
    }
    end(std::move(call));
  }

  class InPlace {
   public:
    explicit InPlace(FrontLoad& load) : load_(load), lock_(load.in_place_) { ++load_.in_place_steps_; }
    ~InPlace() { ++load_.in_place_steps_; }

   private:
    FrontLoad& load_;
    const std::lock_guard<std::mutex> lock_;
  };

  FrontLoad& load_;
  const int thread_;
  Random random_;
  std::unique_ptr<TestClient> client_;
};

FrontLoad::FrontLoad(Fronts fronts, const std::string& folder, uint64_t seed)
    : fronts_(std::move(fronts)), folder_(folder), seed_(seed) {
  fs::create_directory(fronts_.mount / folder_);
  fs::create_directory(fronts_.mount / (folder_ + "-private"));
}

void FrontLoad::failed(const std::string& line) {
  const std::lock_guard lock(mutex_);
  failures_ += line + '\n';
  stopping_ = true;
}

std::string FrontLoad::run(Duration how_long) {
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread, end = Deadline::after(how_long)] {
      try {
        Worker worker(*this, thread);
        while (!stopping_ && !end.expired()) worker.step();
      } catch (const std::exception& e) {
        failed("thread " + std::to_string(thread) + ": " + e.what());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures_.empty() ? history_.check() : failures_;
}

}  // namespace weir::testing
