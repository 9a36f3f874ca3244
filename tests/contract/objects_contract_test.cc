// The contract of volume::Objects, on the objects of a volume and on the double.
#include "tests/contract/objects_contract.h"

#include "testing/mem_objects.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

class VolumeObjects {
 public:
  VolumeObjects() { volume_.start(); }
  // What a test leaves is sound.
  ~VolumeObjects() {
    volume_.drain();
    EXPECT_EQ(volume_.fsck(), "");
  }
  Objects& objects() { return volume_->objects(); }

 private:
  testing::MemoryVolume volume_;
};

class DoubleObjects {
 public:
  Objects& objects() { return objects_; }

 private:
  testing::MemObjects objects_;
};

}  // namespace

using ObjectsImplementations = ::testing::Types<VolumeObjects, DoubleObjects>;
INSTANTIATE_TYPED_TEST_SUITE_P(Objects, ObjectsContract, ObjectsImplementations);

}  // namespace weir::volume
