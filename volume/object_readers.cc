#include "volume/object_readers.h"

namespace weir::volume {
namespace {

Result<ObjectReader::Extent> whole(const Object& object, uint32_t number) {
  if (number == 1) return ObjectReader::Extent{0, object.size};
  return fail(ErrorCode::kRange, "the object has no part " + std::to_string(number));
}

}  // namespace

Result<ObjectReader::Extent> BodyReader::part(uint32_t number) { return whole(object_, number); }

Result<ObjectReader::Extent> FileReader::part(uint32_t number) { return whole(object_, number); }

Result<std::vector<ObjectPart>> FileReader::parts(uint32_t, size_t) { return std::vector<ObjectPart>{}; }

}  // namespace weir::volume
