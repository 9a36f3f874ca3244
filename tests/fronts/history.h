// tests/fronts/history.h -- calls of several threads on a few names, and whether one order of them explains all that they saw.
//
// A call takes effect at one instant between its begin and its end (linearizability); those of several steps at one instant for
// each step. The checker keeps every state that the calls seen so far allow, as a set; a call ends well if some of those states
// explains its outcome. So it neither guesses nor gives up: what it refuses, no order explains.
//
// The model: a name leads to a file or to nothing. A file has its content as the mount shows it, and as it was last committed, by a
// close or by a GET, which is what S3 tells. Content is a number, 0 for none; no two writes write the same one.
//
// The mount's kernel caches names, and learns of a change before that is answered. So until the end of the call the mount may still
// look names up as they led before, while the change is there; what it changes itself goes by what is there, but a name that it
// moves may show until then what it remembered under the old one.
//
// Threads: record from any, each its own calls; check() when they have ended.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace weir::testing {

using Content = uint32_t;
inline constexpr Content kEmpty = 0;

// What a call does, at one instant.
enum class StepKind : uint8_t {
  // S3. A file that was never closed is not there.
  kPut,            // a new file with `content`
  kPutIfAbsent,    // the same; kRefused where the name leads to any file
  kPutIfContent,   // the same; kRefused unless the name leads to `expected`
  kErase,          // kDone also where there is nothing
  kGet,            // commits what is open for writing
  kHead,           // of what was cut and not written yet may tell that
  kMove,           // `name` to `other`, over what is there; kAbsent
  kMoveIfAbsent,   // kRefused where `other` leads to any file
  kCopyFrom,       // remembers what `name` leads to; kAbsent
  kCopyTo,         // a new file with what is remembered
  // POSIX.
  kReplace,        // a new file with `content`, renamed over the name
  kCreate,         // a new, empty file, open; kRefused where the name leads to any
  kOpenToWrite,    // what the name leads to; a new file where there is none
  kCut,            // what is open is empty
  kWrite,          // `content` into what is open
  kClose,
  kOpen,           // for reading; kAbsent
  kRead,           // of what is open, which is not any more
  kForget,         // the same, and nothing was told
  kUnlink,         // kAbsent
  kRename,         // kAbsent
  kRenameNoReplace,
  kExchange,       // kAbsent unless both are there
  kLinkFrom,       // what the name leads to is held
  kLinkTo,         // what is held gets the further name, if it has any yet; kRefused
  kListed,         // whether the name leads to any file: `seen` is not told
};

enum class Outcome : uint8_t { kDone, kAbsent, kRefused };

struct Step {
  StepKind kind;
  uint8_t name = 0;
  uint8_t other = 0;
  Content content = kEmpty;
  Content expected = kEmpty;
  Outcome outcome = Outcome::kDone;  // once it has ended
  Content seen = kEmpty;             // of a read that was kDone
};

// Whether the steps of a call come at one instant, in their order, or in any.
enum class Order : uint8_t { kTogether, kInOrder, kAny };

struct Call {
  Order order = Order::kTogether;
  std::vector<Step> steps;
};

class History {
 public:
  // All names lead to nothing. At most 8 threads, 8 names, and 8 steps of a call.
  History(int threads, int names) : threads_(threads), names_(names) {}

  // Around a call of a thread, which has one at a time. What end() gets tells the outcomes. A call that may or may not have
  // been made cannot be told.
  void begin(int thread) { push({.thread = static_cast<uint8_t>(thread), .begins = true}); }
  void end(int thread, Call call) { push({.thread = static_cast<uint8_t>(thread), .begins = false, .call = std::move(call)}); }

  // What no order explains, with the calls around it; empty: all is explained. Every call has ended.
  std::string check() const;
  size_t calls() const { return events_.size() / 2; }

 private:
  struct Event {
    uint8_t thread = 0;
    bool begins = false;
    Call call;  // of an end
  };

  void push(Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  std::string explain(const std::vector<const Call*>& pending, size_t at) const;

  const int threads_;
  const int names_;
  std::mutex mutex_;
  std::vector<Event> events_;
};

std::string to_text(const Step& step);

}  // namespace weir::testing
