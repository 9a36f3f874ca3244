// fuse/kernel_interface.h -- what passes between kernel and server beside libfuse, after Linux's include/uapi/linux/fuse.h
// (7.42), in whose internal structures libfuse's headers take no part.
#pragma once

#include <cstddef>
#include <cstdint>

namespace weir::fuse::kernel {

struct InHeader {
  uint32_t bytes;  // of the message, with this header
  uint32_t opcode;
  uint64_t unique;
  uint64_t node;
  uint32_t uid, gid, pid;
  uint16_t extension_bytes;
  uint16_t padding;
};
static_assert(sizeof(InHeader) == 40);

struct OutHeader {
  uint32_t bytes;
  int32_t error;
  uint64_t unique;  // 0: a notice
};
static_assert(sizeof(OutHeader) == 16);

inline constexpr uint32_t kForget = 2;
inline constexpr uint32_t kGreeting = 26;    // FUSE_INIT
inline constexpr uint32_t kBatchForget = 42;
inline constexpr int32_t kNotifyResend = 7;  // FUSE_NOTIFY_RESEND

// In the body of the greeting's answer (struct fuse_init_out).
inline constexpr size_t kAnswerFlags2At = 32;
inline constexpr uint32_t kFlags2OverIoUring = uint32_t{1} << (41 - 32);  // FUSE_OVER_IO_URING

// Where a ring's request lies, and then its reply (struct fuse_uring_req_header).
struct RingHeader {
  char in_out[128];  // InHeader, then OutHeader
  char operation[128];  // the request's first argument, unless it is a name
  uint64_t flags;
  uint64_t commit_id;
  uint32_t payload_bytes;
  uint32_t padding;
  uint64_t reserved;
};
static_assert(sizeof(RingHeader) == 288);

// Commands to the ring, and what they carry (struct fuse_uring_cmd_req).
inline constexpr uint32_t kRegister = 1;        // FUSE_IO_URING_CMD_REGISTER
inline constexpr uint32_t kCommitAndFetch = 2;  // FUSE_IO_URING_CMD_COMMIT_AND_FETCH
struct RingCommand {
  uint64_t flags;
  uint64_t commit_id;
  uint16_t queue;
  uint8_t padding[6];
};
static_assert(sizeof(RingCommand) == 24);

}  // namespace weir::fuse::kernel
