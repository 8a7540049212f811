// SPDX-License-Identifier: Apache-2.0
// Owning, 64-byte aligned memory. Large buffers ask for huge pages.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/types.h"

namespace pycnn {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);  // zero-filled; throws Error(memory) naming the size

  std::byte* data() const { return data_.get(); }
  float* floats() const { return reinterpret_cast<float*>(data_.get()); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* pointer) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t bytes_ = 0;
};

// For tests: a block that ends (or begins) exactly at an inaccessible page, so that one byte read
// or written outside it faults.
enum class GuardSide { end, begin };

class GuardedBuffer {
 public:
  GuardedBuffer(std::size_t bytes, GuardSide side);
  ~GuardedBuffer();
  GuardedBuffer(GuardedBuffer&& other) noexcept;
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(GuardedBuffer&&) = delete;

  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  void* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
};

}  // namespace pycnn
