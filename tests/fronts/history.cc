#include "tests/fronts/history.h"

#include <algorithm>
#include <array>
#include <deque>
#include <unordered_set>
#include <utility>

namespace weir::testing {
namespace {

constexpr int kThreadsMax = 8;
constexpr int kNamesMax = 8;
constexpr uint8_t kNoFile = 0xff;
// Events printed before the one that nothing explains.
constexpr size_t kEventsShown = 60;
constexpr size_t kStatesShown = 12;

struct File {
  Content live = kEmpty;
  Content closed = kEmpty;
  bool object = false;  // was closed, ever
};

// Files are numbered by their first appearance, so that equal states are equal bytes.
struct State {
  std::array<uint8_t, kNamesMax> names;
  std::array<uint8_t, kThreadsMax> open;         // a thread's descriptor
  std::array<uint8_t, kThreadsMax> done;         // steps of the thread's call, as bits
  std::array<Content, kThreadsMax> remembered;
  // What names led to before the thread's call, which has not ended, changed them, and what the mount may have moved of that since.
  struct Earlier {
    uint8_t name = 0;
    uint8_t file = kNoFile;

    bool operator==(const Earlier&) const = default;
  };
  std::array<std::vector<Earlier>, kThreadsMax> earlier;
  std::vector<File> files;

  State() {
    names.fill(kNoFile);
    open.fill(kNoFile);
    done.fill(0);
    remembered.fill(kEmpty);
  }

  uint8_t add(File file) {
    files.push_back(file);
    return static_cast<uint8_t>(files.size() - 1);
  }

  void renumber() {
    std::vector<File> kept;
    std::array<uint8_t, 256> number;
    number.fill(kNoFile);
    const auto visit = [&](uint8_t& file) {
      if (file == kNoFile) return;
      if (number[file] == kNoFile) {
        number[file] = static_cast<uint8_t>(kept.size());
        kept.push_back(files[file]);
      }
      file = number[file];
    };
    for (uint8_t& file : names) visit(file);
    for (uint8_t& file : open) visit(file);
    for (auto& names_of_call : earlier)
      for (Earlier& name : names_of_call) visit(name.file);
    files = std::move(kept);
  }

  std::string key() const {
    std::string bytes;
    const auto add = [&](const void* data, size_t size) { bytes.append(static_cast<const char*>(data), size); };
    add(names.data(), sizeof names);
    add(open.data(), sizeof open);
    add(done.data(), sizeof done);
    add(remembered.data(), sizeof remembered);
    for (const auto& names_of_call : earlier) {
      bytes += static_cast<char>(names_of_call.size());
      for (const Earlier& name : names_of_call) bytes += {static_cast<char>(name.name), static_cast<char>(name.file)};
    }
    for (const File& file : files) {
      add(&file.live, sizeof file.live);
      add(&file.closed, sizeof file.closed);
      bytes += file.object ? '1' : '0';
    }
    return bytes;
  }

  std::string to_text(int names_shown) const {
    std::string text;
    for (int i = 0; i < names_shown; ++i) {
      const uint8_t file = names[i];
      text += std::string(i == 0 ? "" : ", ") + static_cast<char>('a' + i) + '=';
      if (file == kNoFile) {
        text += '-';
      } else {
        text += std::to_string(files[file].live);
        if (!files[file].object) text += " (open)";
        if (files[file].object && files[file].closed != files[file].live) text += " (S3: " + std::to_string(files[file].closed) + ')';
      }
    }
    return text;
  }
};

bool through_mount(StepKind kind) { return kind >= StepKind::kReplace; }

// Makes the step if its outcome can be so in this state.
bool apply(State& state, int thread, const Step& step) {
  uint8_t& file = state.names[step.name];
  const bool is_file = file != kNoFile;
  const bool is_object = is_file && state.files[file].object;
  const auto ends = [&](Outcome outcome) { return step.outcome == outcome; };
  const auto reads = [&](bool there, Content content) {
    return there ? ends(Outcome::kDone) && step.seen == content : ends(Outcome::kAbsent);
  };
  const auto put = [&](Content content) {
    file = state.add({.live = content, .closed = content, .object = true});
    return ends(Outcome::kDone);
  };
  const auto move = [&](bool there) {
    if (!there) return ends(Outcome::kAbsent);
    if (file == state.names[step.other]) return ends(Outcome::kDone);
    state.names[step.other] = file;
    file = kNoFile;
    return ends(Outcome::kDone);
  };
  switch (step.kind) {
    case StepKind::kPut:
    case StepKind::kReplace: return put(step.content);
    case StepKind::kPutIfAbsent: return is_file ? ends(Outcome::kRefused) : put(step.content);
    case StepKind::kPutIfContent:
      if (!is_object) return ends(Outcome::kAbsent);
      return state.files[file].closed == step.expected ? put(step.content) : ends(Outcome::kRefused);
    case StepKind::kErase:
      if (is_object) file = kNoFile;
      return ends(Outcome::kDone);
    case StepKind::kGet:
      if (is_object) state.files[file].closed = state.files[file].live;
      return reads(is_object, is_object ? state.files[file].live : kEmpty);
    case StepKind::kHead:
      // What is cut may be committed before it is closed.
      if (is_object && state.files[file].live == kEmpty && step.seen == kEmpty) state.files[file].closed = kEmpty;
      return reads(is_object, is_object ? state.files[file].closed : kEmpty);
    case StepKind::kMove: return move(is_object);
    case StepKind::kMoveIfAbsent:
      if (is_object && state.names[step.other] != kNoFile) return ends(Outcome::kRefused);
      return move(is_object);
    case StepKind::kCopyFrom:
      if (!is_object) return ends(Outcome::kAbsent);
      state.remembered[thread] = state.files[file].closed = state.files[file].live;
      return ends(Outcome::kDone);
    case StepKind::kCopyTo:
      if (ends(Outcome::kAbsent)) return true;  // as was found by the step before
      return put(std::exchange(state.remembered[thread], kEmpty));
    case StepKind::kCreate:
      if (is_file) return ends(Outcome::kRefused);
      state.open[thread] = file = state.add({});
      return ends(Outcome::kDone);
    case StepKind::kOpenToWrite:
      if (!is_file) file = state.add({});
      state.open[thread] = file;
      return ends(Outcome::kDone);
    case StepKind::kCut:
      state.files[state.open[thread]].live = kEmpty;
      return ends(Outcome::kDone);
    case StepKind::kWrite:
      state.files[state.open[thread]].live = step.content;
      return ends(Outcome::kDone);
    case StepKind::kClose: {
      File& closed = state.files[std::exchange(state.open[thread], kNoFile)];
      closed.closed = closed.live;
      closed.object = true;
      return ends(Outcome::kDone);
    }
    case StepKind::kOpen:
      if (!is_file) return ends(Outcome::kAbsent);
      state.open[thread] = file;
      return ends(Outcome::kDone);
    case StepKind::kRead: return reads(true, state.files[std::exchange(state.open[thread], kNoFile)].live);
    case StepKind::kForget: state.open[thread] = kNoFile; return true;
    case StepKind::kUnlink:
      if (!is_file) return ends(Outcome::kAbsent);
      file = kNoFile;
      return ends(Outcome::kDone);
    case StepKind::kRename: return move(is_file);
    case StepKind::kRenameNoReplace:
      if (is_file && state.names[step.other] != kNoFile) return ends(Outcome::kRefused);
      return move(is_file);
    case StepKind::kExchange:
      if (!is_file || state.names[step.other] == kNoFile) return ends(Outcome::kAbsent);
      std::swap(file, state.names[step.other]);
      return ends(Outcome::kDone);
    case StepKind::kLinkFrom:
      state.open[thread] = file;
      return is_file;
    case StepKind::kLinkTo: {
      const uint8_t held = std::exchange(state.open[thread], kNoFile);
      if (is_file) return ends(Outcome::kRefused);
      if (std::find(state.names.begin(), state.names.end(), held) == state.names.end()) return false;
      file = held;
      return ends(Outcome::kDone);
    }
    case StepKind::kListed: return ends(is_file ? Outcome::kDone : Outcome::kAbsent);
  }
  return false;
}

// Makes the step of the mount if names that lead to `name_file` and `other_file` let it come to its end without the daemon, or with
// no more of it than the file itself: nothing is changed but what is open.
bool apply_as_cached(State& state, int thread, const Step& step, uint8_t name_file, uint8_t other_file) {
  const bool is_file = name_file != kNoFile;
  const bool is_other = other_file != kNoFile;
  const auto ends = [&](Outcome outcome) { return step.outcome == outcome; };
  switch (step.kind) {
    case StepKind::kCreate: return is_file && ends(Outcome::kRefused);
    case StepKind::kOpenToWrite:
    case StepKind::kOpen:
      if (!is_file) return step.kind == StepKind::kOpen && ends(Outcome::kAbsent);
      state.open[thread] = name_file;
      return ends(Outcome::kDone);
    case StepKind::kListed: return ends(is_file ? Outcome::kDone : Outcome::kAbsent);
    case StepKind::kUnlink: return !is_file && ends(Outcome::kAbsent);
    case StepKind::kLinkFrom:
      state.open[thread] = name_file;
      return is_file;
    case StepKind::kLinkTo:
      state.open[thread] = kNoFile;
      return is_file && ends(Outcome::kRefused);
    case StepKind::kRename:
    case StepKind::kRenameNoReplace:
    case StepKind::kExchange: {
      if (!is_file) return ends(Outcome::kAbsent);
      if (step.kind == StepKind::kExchange && !is_other) return ends(Outcome::kAbsent);
      if (step.kind == StepKind::kRenameNoReplace && is_other) return ends(Outcome::kRefused);
      // Two names of one file: nothing is done.
      return name_file == other_file && ends(Outcome::kDone);
    }
    default: return false;
  }
}

// What the mount may look the name up as.
std::vector<uint8_t> views(const State& state, uint8_t name) {
  std::vector<uint8_t> files{state.names[name]};
  for (const auto& names_of_call : state.earlier)
    for (const State::Earlier& earlier : names_of_call)
      if (earlier.name == name) files.push_back(earlier.file);
  return files;
}

// The mount moves what it remembers under a name along with the name.
void move_remembered(State& state, const Step& step) {
  const bool exchanges = step.kind == StepKind::kExchange;
  if (!exchanges && step.kind != StepKind::kRename && step.kind != StepKind::kRenameNoReplace) return;
  for (auto& names_of_call : state.earlier) {
    const auto before = names_of_call;
    for (const State::Earlier& earlier : before) {
      State::Earlier moved = earlier;
      if (earlier.name == step.name) {
        moved.name = step.other;
      } else if (exchanges && earlier.name == step.other) {
        moved.name = step.name;
      }
      if (std::find(names_of_call.begin(), names_of_call.end(), moved) == names_of_call.end()) names_of_call.push_back(moved);
    }
  }
}

// Every state that the step may lead to.
template <typename Visit>
void make(const State& state, int thread, const Step& step, const Visit& visit) {
  State next = state;
  if (apply(next, thread, step)) {
    move_remembered(next, step);
    for (uint8_t name = 0; name < kNamesMax; ++name)
      if (next.names[name] != state.names[name]) next.earlier[thread].push_back({.name = name, .file = state.names[name]});
    visit(std::move(next));
  }
  if (!through_mount(step.kind)) return;
  const std::vector<uint8_t> name_files = views(state, step.name);
  const std::vector<uint8_t> other_files = views(state, step.other);
  if (name_files.size() == 1 && other_files.size() == 1) return;
  for (const uint8_t name_file : name_files) {
    for (const uint8_t other_file : other_files) {
      State cached = state;
      if (apply_as_cached(cached, thread, step, name_file, other_file)) visit(std::move(cached));
    }
  }
}

uint8_t all_done(const Call& call) { return static_cast<uint8_t>((1u << call.steps.size()) - 1); }

// Every state in which one more instant of the thread's call has come.
template <typename Visit>
void advance(const State& state, int thread, const Call& call, const Visit& visit) {
  const uint8_t done = state.done[thread];
  if (call.order == Order::kTogether && call.steps.size() != 1) {
    // All of them only look.
    State next = state;
    for (const Step& step : call.steps) {
      if (!apply(next, thread, step)) return;
    }
    next.done[thread] = all_done(call);
    next.renumber();
    visit(std::move(next));
    return;
  }
  for (size_t i = 0; i < call.steps.size(); ++i) {
    if (done >> i & 1) continue;
    make(state, thread, call.steps[i], [&](State&& next) {
      next.done[thread] = static_cast<uint8_t>(done | 1u << i);
      next.renumber();
      visit(std::move(next));
    });
    if (call.order == Order::kInOrder) return;
  }
}

}  // namespace

std::string History::check() const {
  // What each thread's call is, while it is on its way: known from its end.
  std::vector<const Call*> pending(threads_, nullptr);
  std::vector<const Call*> called(events_.size(), nullptr);
  std::vector<size_t> begun(threads_, 0);
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    if (event.begins) {
      begun[event.thread] = i;
    } else {
      called[begun[event.thread]] = &event.call;
    }
  }

  std::vector<State> states(1);
  for (size_t at = 0; at < events_.size(); ++at) {
    const Event& event = events_[at];
    const int thread = event.thread;
    if (event.begins) {
      pending[thread] = called[at];
      if (pending[thread] == nullptr) return "a call of thread " + std::to_string(thread) + " has not ended";
      continue;
    }
    const uint8_t wanted = all_done(event.call);
    std::unordered_set<std::string> seen;
    std::unordered_set<std::string> ended;
    std::vector<State> next;
    std::deque<State> open(states.begin(), states.end());
    for (const State& state : states) seen.insert(state.key());
    while (!open.empty()) {
      State state = std::move(open.front());
      open.pop_front();
      if (state.done[thread] == wanted) {
        State after = state;
        after.done[thread] = 0;
        after.earlier[thread].clear();
        after.renumber();
        if (ended.insert(after.key()).second) next.push_back(std::move(after));
        // What the mount remembers of before ends with the call: others may have seen it until now.
        if (state.earlier[thread].empty()) continue;
      }
      for (int other = 0; other < threads_; ++other) {
        if (pending[other] == nullptr || state.done[other] == all_done(*pending[other])) continue;
        advance(state, other, *pending[other], [&](State&& reached) {
          if (seen.insert(reached.key()).second) open.push_back(std::move(reached));
        });
      }
    }
    if (next.empty()) {
      std::string text = explain(pending, at) + "no order explains its outcome; before it, the names led to\n";
      std::unordered_set<std::string> shown;
      for (const State& state : states) {
        if (shown.size() < kStatesShown && shown.insert(state.to_text(names_)).second) text += "  " + state.to_text(names_) + '\n';
      }
      return text;
    }
    pending[thread] = nullptr;
    states = std::move(next);
  }
  return "";
}

std::string History::explain(const std::vector<const Call*>& pending, size_t at) const {
  std::string text;
  const auto line = [&](std::string_view mark, int thread, const Call& call) {
    text += std::string(mark) + " thread " + std::to_string(thread) + ':';
    for (const Step& step : call.steps) text += ' ' + to_text(step) + ';';
    text += '\n';
  };
  for (size_t i = at - std::min(at, kEventsShown); i <= at; ++i) {
    if (events_[i].begins) {
      const auto end = std::find_if(events_.begin() + i, events_.end(),
                                    [&](const Event& e) { return !e.begins && e.thread == events_[i].thread; });
      if (end != events_.end()) line("[", events_[i].thread, end->call);
    } else {
      line("]", events_[i].thread, events_[i].call);
    }
  }
  for (size_t thread = 0; thread < pending.size(); ++thread) {
    if (pending[thread] != nullptr && pending[thread] != &events_[at].call && thread != events_[at].thread)
      line("still on its way:", static_cast<int>(thread), *pending[thread]);
  }
  return text;
}

std::string to_text(const Step& step) {
  static constexpr std::array<const char*, 26> kKinds = {
      "put", "put if absent", "put if content", "erase", "get", "head", "move", "move if absent", "copy from", "copy to", "replace", "create",
      "open to write", "cut", "write", "close", "open", "read", "forget", "unlink", "rename", "rename, not over", "exchange", "link from", "link to", "listed"};
  std::string text = kKinds[static_cast<size_t>(step.kind)];
  const bool has_name = step.kind != StepKind::kWrite && step.kind != StepKind::kCut && step.kind != StepKind::kClose &&
                        step.kind != StepKind::kRead && step.kind != StepKind::kForget;
  if (has_name) text += std::string(" ") + static_cast<char>('a' + step.name);
  switch (step.kind) {
    case StepKind::kMove:
    case StepKind::kMoveIfAbsent:
    case StepKind::kRename:
    case StepKind::kRenameNoReplace:
    case StepKind::kExchange: text += std::string(" ") + static_cast<char>('a' + step.other); break;
    default: break;
  }
  if (step.kind == StepKind::kPutIfContent) text += " (" + std::to_string(step.expected) + ')';
  if (step.content != kEmpty) text += ' ' + std::to_string(step.content);
  switch (step.outcome) {
    case Outcome::kAbsent: return text + " -> absent";
    case Outcome::kRefused: return text + " -> refused";
    case Outcome::kDone: break;
  }
  const bool reads = step.kind == StepKind::kGet || step.kind == StepKind::kHead || step.kind == StepKind::kRead;
  return reads ? text + " -> " + std::to_string(step.seen) : text;
}

}  // namespace weir::testing
