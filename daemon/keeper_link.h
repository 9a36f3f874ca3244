// daemon/keeper_link.h -- the keeper, as its daemon sees it.
//
// Threads: all methods may be called concurrently. A dead keeper takes the daemon with it (PR_SET_PDEATHSIG).
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "daemon/keeper_protocol.h"
#include "fuse/keeper.h"
#include "io/descriptor.h"

namespace weir::daemon {

class KeeperLink final : public fuse::Keeper {
 public:
  // Null when no keeper started this process. kNotSupported: a keeper of another version. Requires: called once, before other
  // threads are there.
  static Result<std::unique_ptr<KeeperLink>> inherit();

  Result<io::Descriptor> connect(const std::string& mount_point) override;
  void disconnect() override;
  Result<io::Descriptor> rings(const fuse::RingShape& shape) override;
  fuse::Ledger& ledger() override { return *ledger_; }

  // The connection that a predecessor served; once. Not valid: there is none.
  io::Descriptor take_connection() { return std::move(connection_); }
  bool has_connection() const { return connection_.valid(); }

  void say_serving() { say(KeeperMessage::Kind::kServing); }
  void say_stopping() { say(KeeperMessage::Kind::kStopping); }
  // The next daemon is to be this binary. kNotFound, kPermission.
  Result<void> prepare_upgrade(const std::string& binary);

  // How often the keeper started a daemon before this one, and how the last one ended ("" for the first).
  uint64_t restarts() const { return restarts_; }
  const std::string& last_end() const { return last_end_; }

 private:
  KeeperLink() = default;
  void say(KeeperMessage::Kind kind);
  Result<io::Descriptor> ask(KeeperMessage::Kind kind, std::string_view text);

  std::mutex mutex_;  // one question at a time
  io::Descriptor socket_;
  io::Descriptor connection_;
  std::unique_ptr<fuse::Ledger> ledger_;
  uint64_t restarts_ = 0;
  std::string last_end_;
};

}  // namespace weir::daemon
