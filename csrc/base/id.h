// SPDX-License-Identifier: Apache-2.0
// Numbers of things kept in lists. Each kind has its own type, and "none" is not a number: asking
// it for its index throws, in every build.
#pragma once

#include <cstddef>
#include <ostream>
#include <utility>
#include <vector>

#include "base/error.h"

namespace pycnn {

// Kind::kName is what messages call the thing.
template <class Kind>
class Id {
 public:
  constexpr Id() = default;  // none
  constexpr explicit Id(std::size_t index) : one_more_(index + 1) {}

  constexpr bool has_value() const { return one_more_ != 0; }
  std::size_t index() const {
    PYCNN_CHECK(has_value(), ErrorKind::state, "no ", Kind::kName, " where one is needed");
    return one_more_ - 1;
  }
  // 0 for none, else one more than the index: for tables whose first entry stands for none.
  constexpr std::size_t entry() const { return one_more_; }
  friend constexpr bool operator==(Id, Id) = default;
  friend std::ostream& operator<<(std::ostream& stream, Id id) {
    return id.has_value() ? stream << id.index() : stream << "none";
  }

 private:
  std::size_t one_more_ = 0;  // than the index
};

// A list indexed by ids of one kind; none and ids beyond the end throw.
template <class Key, class T>
class IdVector {
 public:
  IdVector() = default;
  explicit IdVector(std::size_t size, const T& value = T()) : items_(size, value) {}

  std::size_t size() const { return items_.size(); }
  bool contains(Key id) const { return id.has_value() && id.index() < items_.size(); }
  decltype(auto) operator[](Key id) { return items_[checked(id)]; }
  decltype(auto) operator[](Key id) const { return items_[checked(id)]; }
  Key push_back(T item) {
    items_.push_back(std::move(item));
    return Key(items_.size() - 1);
  }
  Key next() const { return Key(items_.size()); }  // of what push_back will add
  void cut(std::size_t size) {
    items_.erase(items_.begin() + static_cast<std::ptrdiff_t>(size), items_.end());
  }

  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }

 private:
  std::size_t checked(Key id) const {
    const std::size_t index = id.index();
    PYCNN_CHECK(index < items_.size(), ErrorKind::state, "number ", index, " of ", items_.size());
    return index;
  }

  std::vector<T> items_;
};

}  // namespace pycnn
