#include "kv/empty_ranges.h"

#include <algorithm>

namespace weir::kv {
namespace {

// Whether all keys of the range begin with the same byte.
bool within_a_table(std::string_view begin, std::string_view end) {
  if (begin.empty() || end.empty()) return false;
  const auto table = static_cast<uint8_t>(begin.front());
  const auto last = static_cast<uint8_t>(end.front());
  return last == table || (end.size() == 1 && last == table + 1);
}

}  // namespace

EmptyRanges::Scan::Scan(EmptyRanges& ranges, std::string_view begin, std::string_view end, Version version)
    : ranges_(ranges), begin_(begin) {
  if (within_a_table(begin, end)) ranges_.begin_scan(*this, end, version);
}

void EmptyRanges::begin_scan(Scan& scan, std::string_view end, Version version) {
  const uint8_t table = table_of(scan.begin_);
  const std::lock_guard lock(mutex_);
  if (slots_used_[table].load() != 0) {
    // What lies behind a known range may be known, too.
    for (bool moved = true; moved;) {
      moved = false;
      for (Slot& slot : slots_) {
        if (slot.state != State::kKnown || slot.version > version || slot.begin > scan.begin_ ||
            slot.end <= scan.begin_)
          continue;
        slot.used = ++clock_;
        scan.begin_ = slot.end;
        moved = true;
      }
    }
  }
  if (scan.begin_ >= end) return;
  const size_t taken = take_slot();
  if (taken == kSlots) return;
  Slot& slot = slots_[taken];
  slot.begin = scan.begin_;
  slot.end = end;
  slot.version = version;
  set_state(slot, State::kBeingScanned);
  // Rows committed before this moment are not seen by put().
  if (newest_put_[table].load() > version) return set_state(slot, State::kFree);
  scan.slot_ = taken;
}

void EmptyRanges::Scan::found_nothing_before(std::string_view end) {
  ranges_.give_back(slot_, end);
  slot_ = kNoSlot;
}

void EmptyRanges::give_back(size_t taken, std::string_view end) {
  if (taken == kSlots) return;
  const std::lock_guard lock(mutex_);
  Slot& slot = slots_[taken];
  if (!end.empty() && end < slot.end) slot.end = end;
  if (end.empty() || slot.begin >= slot.end) return set_state(slot, State::kFree);
  // One that ends where this one begins, or in it, grows.
  for (Slot& other : slots_) {
    if (other.state != State::kKnown || other.begin > slot.begin || other.end < slot.begin) continue;
    other.end = std::max(other.end, slot.end);
    other.version = std::max(other.version, slot.version);
    other.used = ++clock_;
    return set_state(slot, State::kFree);
  }
  slot.used = ++clock_;
  set_state(slot, State::kKnown);
}

size_t EmptyRanges::take_slot() {
  size_t oldest = kSlots;
  for (size_t i = 0; i < kSlots; ++i) {
    if (slots_[i].state == State::kFree) return i;
    if (slots_[i].state == State::kKnown && (oldest == kSlots || slots_[i].used < slots_[oldest].used)) oldest = i;
  }
  if (oldest != kSlots) set_state(slots_[oldest], State::kFree);
  return oldest;
}

void EmptyRanges::set_state(Slot& slot, State state) {
  if (slot.state == State::kFree && state != State::kFree) slots_used_[table_of(slot.begin)].fetch_add(1);
  if (slot.state != State::kFree && state == State::kFree) slots_used_[table_of(slot.begin)].fetch_sub(1);
  slot.state = state;
}

void EmptyRanges::put(std::string_view key, Version version) {
  if (key.empty()) return;
  const uint8_t table = table_of(key);
  newest_put_[table].store(version);
  if (slots_used_[table].load() == 0) return;
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    if (slot.state == State::kFree || key < slot.begin || key >= slot.end) continue;
    slot.end = key;
    if (slot.state == State::kKnown && slot.begin >= slot.end) set_state(slot, State::kFree);
  }
}

}  // namespace weir::kv
