// volume/object_readers.h -- readers of objects: of a file's content, and of what has no file.
//
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "meta/object_namespace.h"
#include "volume/file_version.h"
#include "volume/objects.h"

namespace weir::volume {

// Of a directory, a symbolic link or a special file; of a small file that is being written, as one instant saw it.
class BodyReader final : public ObjectReader {
 public:
  BodyReader(Object object, std::string body) : object_(std::move(object)), body_(std::move(body)) {}

  const Object& object() const override { return object_; }
  const io::File* local_file() const override { return nullptr; }
  Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) override {
    if (offset >= body_.size()) return 0;
    const size_t size = std::min<uint64_t>(buffer.size(), body_.size() - offset);
    std::memcpy(buffer.data(), body_.data() + offset, size);
    return size;
  }
  Result<Extent> part(uint32_t number) override;
  Result<std::vector<ObjectPart>> parts(uint32_t, size_t) override { return std::vector<ObjectPart>{}; }

 private:
  const Object object_;
  const std::string body_;
};

class FileReader final : public ObjectReader {
 public:
  FileReader(Object object, std::unique_ptr<FileVersion> version, meta::ObjectNamespace& objects)
      : object_(std::move(object)), version_(std::move(version)), objects_(objects) {}

  const Object& object() const override { return object_; }
  const io::File* local_file() const override { return version_->local_file(); }
  Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) override {
    // A file that is being written may be longer than its last commit says.
    if (offset >= object_.size) return 0;
    return version_->read(offset, buffer.first(std::min<uint64_t>(buffer.size(), object_.size - offset)));
  }
  Result<void> verify() override { return version_->verify(); }
  Result<Extent> part(uint32_t number) override;
  Result<std::vector<ObjectPart>> parts(uint32_t after, size_t parts_max) override;

 private:
  const Object object_;
  const std::unique_ptr<FileVersion> version_;
  meta::ObjectNamespace& objects_;
};

}  // namespace weir::volume
