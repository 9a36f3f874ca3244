#include "daemon/packets.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/errno.h"

namespace weir::daemon {

KeeperMessage message_of(KeeperMessage::Kind kind, std::string_view text) {
  KeeperMessage message{.kind = kind};
  text.copy(message.text, std::min(text.size(), KeeperMessage::kTextBytesMax - 1));
  return message;
}

Result<void> send_packet(int socket, const KeeperMessage& message, int descriptor) {
  iovec part{.iov_base = const_cast<KeeperMessage*>(&message), .iov_len = sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr packet{};
  packet.msg_iov = &part;
  packet.msg_iovlen = 1;
  if (descriptor >= 0) {
    packet.msg_control = control;
    packet.msg_controllen = sizeof control;
    cmsghdr* const header = CMSG_FIRSTHDR(&packet);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &packet, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return fail(io::from_errno(errno, "sendmsg", socket));
  return {};
}

Result<Packet> receive_packet(int socket) {
  Packet packet;
  iovec part{.iov_base = &packet.message, .iov_len = sizeof packet.message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return fail(ErrorCode::kWouldWait);
  if (got < 0) return fail(io::from_errno(errno, "recvmsg", socket));
  if (got != sizeof packet.message) return fail(ErrorCode::kUnavailable, "the other side is gone");
  packet.message.text[KeeperMessage::kTextBytesMax - 1] = '\0';
  if (cmsghdr* const control_header = CMSG_FIRSTHDR(&header);
      control_header != nullptr && control_header->cmsg_type == SCM_RIGHTS) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(control_header), sizeof descriptor);
    packet.descriptor = io::Descriptor(descriptor);
  }
  return packet;
}

}  // namespace weir::daemon
