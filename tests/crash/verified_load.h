// tests/crash/verified_load.h -- programs that work on a volume and know what must be there after it died.
//
// Each works alone on files of its own, so that what it did is one history of steps: what its files are after each. A step counts as
// begun before its first call and as done after its last. For some of them it knows that everything up to there was synced.
// After a death the files must be as after one of the steps between the last that was surely synced and the last that was begun;
// content that was never synced may instead be reported as lost.
//
// Threads: each program is driven by one thread; mark() and check() may be called by others.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "pages/page_store.h"
#include "testing/mem_ufs.h"
#include "volume/volume.h"

namespace weir::testing {

// How the process, or the machine, died: what may have become of content that was not synced.
enum class Death : uint8_t { kProcess, kPower };

class Program {
 public:
  // How far it was at some time.
  struct Mark {
    uint64_t begun = 0;   // steps
    uint64_t done = 0;
    uint64_t synced = 0;  // of those that are done
  };

  virtual ~Program() = default;
  // Makes what it needs, synced.
  virtual void set_up(volume::Volume& volume, InodeId directory) = 0;
  // The next step. Throws when the volume fails it.
  virtual void step(Random& random) = 0;
  virtual Mark mark() const = 0;
  // The volume is about to go: lets go of what is open there.
  virtual void forget() = 0;
  // Goes on with a volume that has all that was done.
  virtual void attach(volume::Volume& volume, InodeId directory) = 0;
  // What is wrong with what is there now, one line each. `before`: the mark before the death, `after`: one after it.
  virtual std::string check(volume::Volume& volume, const Mark& before, const Mark& after, Death death) = 0;
  virtual const std::string& name() const = 0;
};

// Whole files: made, replaced in the ways that programs use, renamed, removed; through POSIX and as objects, also in parts.
std::unique_ptr<Program> make_replacer(std::string name);
// All operations there are, a stage of them with each step; at the end of a stage everything is persisted.
std::unique_ptr<Program> make_tour(std::string name, MemUfs& bucket, pages::PageStore& pages);
// One file that grows.
std::unique_ptr<Program> make_appender(std::string name);
// One file that is changed in place.
std::unique_ptr<Program> make_page_writer(std::string name);

}  // namespace weir::testing
