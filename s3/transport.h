// s3/transport.h -- the bytes of one connection, plain or through TLS. Nothing here waits: what would says so.
//
// Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"
#include "io/file.h"

namespace weir::s3 {

class Transport {
 public:
  enum class State : uint8_t { kMoved, kWantRead, kWantWrite, kEnd };  // kEnd: closed by the client, or broken
  struct Step {
    State state = State::kEnd;
    size_t bytes = 0;  // with kMoved: at least 1
  };
  enum class More : uint8_t { kNo, kYes };  // kYes: what follows at once may travel in the same packet

  virtual ~Transport() = default;
  // kMoved when it is done. To be called before all else.
  virtual Step handshake() = 0;
  virtual Step read(std::span<std::byte> buffer) = 0;
  virtual Step write(std::span<const std::byte> bytes, More more) = 0;
  // Whether send_file() works, without copying through this process.
  virtual bool sends_files() const = 0;
  virtual Result<Step> send_file(const io::File& file, uint64_t offset, uint64_t size) = 0;
  // Tells the client that nothing more comes.
  virtual void finish() = 0;
};

// The descriptor is a socket that does not block; it belongs to the caller.
std::unique_ptr<Transport> plain_transport(int socket);

// A certificate with its chain and its key, for any number of connections.
class TlsContext {
 public:
  // PEM files. kInvalid: what is wrong with which file.
  static Result<std::shared_ptr<TlsContext>> load(const std::string& certificate_file, const std::string& key_file);
  virtual ~TlsContext() = default;
  virtual std::unique_ptr<Transport> accept(int socket) = 0;
};

}  // namespace weir::s3
