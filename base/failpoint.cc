#include "base/failpoint.h"

#include <map>
#include <mutex>

namespace weir {
namespace {

std::mutex mutex;

std::map<std::string, ArmedFailpoint::Action, std::less<>>& actions() {
  static std::map<std::string, ArmedFailpoint::Action, std::less<>> map;
  return map;
}

}  // namespace

namespace failpoint_detail {

std::atomic<int> armed_count{0};

Result<void> hit(std::string_view name) {
  ArmedFailpoint::Action action;
  {
    std::lock_guard lock(mutex);
    const auto it = actions().find(name);
    if (it == actions().end()) return {};
    action = it->second;
  }
  return action();
}

}  // namespace failpoint_detail

ArmedFailpoint::ArmedFailpoint(std::string name, Action action) : name_(std::move(name)) {
  std::lock_guard lock(mutex);
  actions()[name_] = std::move(action);
  failpoint_detail::armed_count.fetch_add(1);
}

ArmedFailpoint::~ArmedFailpoint() {
  std::lock_guard lock(mutex);
  actions().erase(name_);
  failpoint_detail::armed_count.fetch_sub(1);
}

}  // namespace weir
