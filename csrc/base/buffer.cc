// SPDX-License-Identifier: Apache-2.0
#include "base/buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "base/checked.h"

namespace pycnn {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
  const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
  void* memory = nullptr;
  const std::size_t rounded = bytes_rounded_up(bytes, kAlignment);
  const int status = posix_memalign(&memory, alignment, rounded > 0 ? rounded : kAlignment);
  PYCNN_CHECK(status == 0, ErrorKind::memory, "cannot allocate ", bytes, " bytes");
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(memory, rounded, MADV_HUGEPAGE);
#endif
  std::memset(memory, 0, rounded);
  data_.reset(static_cast<std::byte*>(memory));
}

void Buffer::Free::operator()(std::byte* pointer) const noexcept { std::free(pointer); }

GuardedBuffer::GuardedBuffer(std::size_t bytes, GuardSide side) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t payload = bytes_rounded_up(bytes, page);
  mapping_bytes_ = payload + 2 * page;
  mapping_ = mmap(nullptr, mapping_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PYCNN_CHECK(mapping_ != MAP_FAILED, ErrorKind::memory, "cannot map ", mapping_bytes_, " bytes");
  std::byte* first = static_cast<std::byte*>(mapping_) + page;
  PYCNN_CHECK(payload == 0 || mprotect(first, payload, PROT_READ | PROT_WRITE) == 0,
              ErrorKind::memory, "cannot protect ", payload, " bytes");
  data_ = side == GuardSide::end ? first + (payload - bytes) : first;
}

GuardedBuffer::~GuardedBuffer() {
  if (mapping_ != nullptr) munmap(mapping_, mapping_bytes_);
}

GuardedBuffer::GuardedBuffer(GuardedBuffer&& other) noexcept
    : data_(other.data_), mapping_(other.mapping_), mapping_bytes_(other.mapping_bytes_) {
  other.mapping_ = nullptr;
}

}  // namespace pycnn
