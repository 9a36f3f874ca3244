// daemon/packets.h -- a KeeperMessage over a socket, with or without a descriptor.
#pragma once

#include <string_view>

#include "base/result.h"
#include "daemon/keeper_protocol.h"
#include "io/descriptor.h"

namespace weir::daemon {

struct Packet {
  KeeperMessage message;
  io::Descriptor descriptor;  // may be none
};

Result<void> send_packet(int socket, const KeeperMessage& message, int descriptor);
// kUnavailable: the other side is gone; kWouldWait: nothing has come (of a socket that does not wait).
Result<Packet> receive_packet(int socket);

KeeperMessage message_of(KeeperMessage::Kind kind, std::string_view text);

}  // namespace weir::daemon
