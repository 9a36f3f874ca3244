// daemon/keeper_protocol.h -- what a keeper and its daemon say to each other, over a socket pair of packets.
//
// A daemon is started with kKeeperVariable in its environment: the version of this protocol, the numbers of the descriptors of
// the socket, the ledger's memory and the connection (-1: none), how often the keeper has started a daemon before, and why the last
// one ended. A daemon of another version refuses to start; the keeper then goes back to the binary that served before.
#pragma once

#include <signal.h>

#include <cstddef>
#include <cstdint>

namespace weir::daemon {

inline constexpr int kKeeperProtocol = 2;
inline constexpr const char* kKeeperVariable = "WEIR_KEEPER";
// Exit code of a daemon that wants a successor.
inline constexpr int kExitHandOver = 79;
// By which it is told that it is to have one.
inline constexpr int kHandOverSignal = SIGUSR2;

struct KeeperMessage {
  enum class Kind : uint32_t {
    // from the daemon; answered with kDone
    kConnect,     // text: the directory to mount on; the answer brings the connection
    kRings,       // text: how many queues, their depth, the bytes of a payload; the answer brings the rings' memory
    kUpgrade,     // text: the binary that the next daemon is to be
    // from the daemon; not answered
    kDisconnect,  // the mount is gone
    kServing,     // the start went well
    kStopping,    // the end is wanted
    // from the keeper
    kDone,        // code: an ErrorCode, and text its context; -1: it went well
  };
  static constexpr size_t kTextBytesMax = 4096;

  Kind kind{};
  int32_t code = -1;
  char text[kTextBytesMax] = "";  // ends with NUL
};

}  // namespace weir::daemon
