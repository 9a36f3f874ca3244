#include "volume/object_readers.h"

#include "volume/object_facts.h"

namespace weir::volume {
namespace {

Result<ObjectReader::Extent> whole(const Object& object, uint32_t number) {
  if (number == 1) return ObjectReader::Extent{0, object.size};
  return fail(ErrorCode::kRange, "the object has no part " + std::to_string(number));
}

}  // namespace

Result<ObjectReader::Extent> BodyReader::part(uint32_t number) { return whole(object_, number); }

Result<ObjectReader::Extent> FileReader::part(uint32_t number) {
  if (object_.parts == 0) return whole(object_, number);
  if (number == 0) return fail(ErrorCode::kRange, "parts begin with number 1");
  TRY_ASSIGN(const auto parts, objects_.parts(version_->inode(), number - 1, 1));
  if (parts.empty() || parts.front().number() != number)
    return fail(ErrorCode::kRange, "the object has no part " + std::to_string(number));
  return Extent{parts.front().offset(), parts.front().size()};
}

Result<std::vector<ObjectPart>> FileReader::parts(uint32_t after, size_t parts_max) {
  TRY_ASSIGN(const auto records, objects_.parts(version_->inode(), after, parts_max));
  std::vector<ObjectPart> parts;
  parts.reserve(records.size());
  for (const auto& record : records) parts.push_back(part_of(record));
  return parts;
}

}  // namespace weir::volume
