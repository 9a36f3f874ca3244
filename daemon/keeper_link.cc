#include "daemon/keeper_link.h"

#include <fcntl.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>

#include "base/log.h"
#include "daemon/packets.h"

namespace weir::daemon {
namespace {

// No child of the daemon shall have it.
io::Descriptor own(int fd) {
  if (fd >= 0) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  return io::Descriptor(fd);
}

}  // namespace

Result<std::unique_ptr<KeeperLink>> KeeperLink::inherit() {
  const char* const words = std::getenv(kKeeperVariable);
  if (words == nullptr) return nullptr;
  std::istringstream text(words);
  int protocol = 0, socket = -1, memory = -1, connection = -1;
  std::unique_ptr<KeeperLink> link(new KeeperLink);
  text >> protocol;
  if (protocol != kKeeperProtocol) {
    return fail(ErrorCode::kNotSupported, "the keeper that started this daemon speaks version " + std::to_string(protocol) +
                                              " of its protocol, this is " + std::to_string(kKeeperProtocol) +
                                              "; way out: stop `weir serve` and start it anew");
  }
  text >> socket >> memory >> connection >> link->restarts_ >> std::ws;
  std::getline(text, link->last_end_);
  ::unsetenv(kKeeperVariable);
  link->socket_ = own(socket);
  link->connection_ = own(connection);
  TRY_ASSIGN(link->ledger_, fuse::Ledger::open(own(memory)));
  return link;
}

void KeeperLink::say(KeeperMessage::Kind kind) {
  const std::lock_guard lock(mutex_);
  if (const auto sent = send_packet(socket_.get(), message_of(kind, {}), -1); !sent)
    log_warn("daemon.keeper_gone", {{"error", sent.error()}});
}

Result<io::Descriptor> KeeperLink::ask(KeeperMessage::Kind kind, std::string_view text) {
  if (text.size() >= KeeperMessage::kTextBytesMax) return fail(ErrorCode::kNameTooLong);
  const std::lock_guard lock(mutex_);
  TRY(send_packet(socket_.get(), message_of(kind, text), -1));
  TRY_ASSIGN(Packet answer, receive_packet(socket_.get()));
  if (answer.message.code >= 0) return fail(static_cast<ErrorCode>(answer.message.code), answer.message.text);
  return std::move(answer.descriptor);
}

Result<io::Descriptor> KeeperLink::connect(const std::string& mount_point) {
  return ask(KeeperMessage::Kind::kConnect, mount_point);
}

Result<io::Descriptor> KeeperLink::rings(const fuse::RingShape& shape) {
  return ask(KeeperMessage::Kind::kRings, std::to_string(shape.queues) + ' ' + std::to_string(shape.depth) + ' ' +
                                              std::to_string(shape.payload_bytes));
}

void KeeperLink::disconnect() { say(KeeperMessage::Kind::kDisconnect); }

Result<void> KeeperLink::prepare_upgrade(const std::string& binary) {
  TRY(ask(KeeperMessage::Kind::kUpgrade, binary));
  return {};
}

}  // namespace weir::daemon
