// fuse/ring_owner.h -- the rings of FUSE over io_uring: takes requests from the kernel into memory and hands replies back.
//
// The kernel counts the requests of a ring as its owner's, and gives them to nobody else. So the owner is who outlives the server,
// and does nothing but this: one thread for each CPU, bound to it, that moves no data, takes no lock, and allocates nothing once
// it runs (its process may fork). The kernel's caller, this thread and the server's are then on one CPU, and none has to be woken
// on another.
//
// If the owner dies the connection dies with it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "fuse/ring_memory.h"

namespace weir::fuse {

class RingOwner {
 public:
  // Of the connection `device`, on which the kernel's greeting was answered with rings. `shape.queues` is number_of_queues().
  // kNotSupported: the kernel refuses; requests come over the device then.
  static Result<std::unique_ptr<RingOwner>> start(int device, const RingShape& shape);
  // Whatever has no reply is answered with an error.
  ~RingOwner();
  RingOwner(const RingOwner&) = delete;
  RingOwner& operator=(const RingOwner&) = delete;

  const io::Descriptor& memory() const;

 private:
  class Ring;
  struct State;
  explicit RingOwner(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

uint32_t number_of_queues();
// Empty when this process may make rings.
std::string io_uring_obstacle();

}  // namespace weir::fuse
