// base/strong.h -- a distinct type for every id and quantity that could be swapped.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace weir {

template <typename Tag, typename T>
class Strong {
 public:
  using Value = T;

  constexpr Strong() = default;
  constexpr explicit Strong(T value) : value_(value) {}
  constexpr T value() const { return value_; }
  constexpr auto operator<=>(const Strong&) const = default;

 private:
  T value_{};
};

}  // namespace weir

template <typename Tag, typename T>
struct std::hash<weir::Strong<Tag, T>> {
  size_t operator()(const weir::Strong<Tag, T>& id) const noexcept { return std::hash<T>{}(id.value()); }
};
