// SPDX-License-Identifier: Apache-2.0
// Who may enter what, and when. A plan is entered by one thread at a time; the weights that plans
// share are entered by one training step, or by any number of readers, so that everybody sees whole
// steps. Entries are served first come, first served.
// - Another thread waits. It must not hold Python's lock meanwhile: the one inside may need it.
// - The thread that is inside already (in a signal handler, say) may read what it entered; to run
//   or change it again is an Error(state) that says so.
// - A forked child starts with every gate open, whatever its parent's threads were doing.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

namespace pycnn {

enum class Access : std::uint8_t { shared, exclusive };

class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

 private:
  friend class Entry;
  friend struct ForkHandlers;
  void enter(Access access) noexcept;
  void leave(Access access) noexcept;
  void open_in_child() noexcept;

  // A ticket lock: whoever holds number serving_ is next. A reader passes the turn on at once.
  std::atomic<std::uint32_t> next_{0}, serving_{0}, readers_{0};
  std::atomic<std::uint32_t> process_{0};  // count of forks when last used
};

// Inside a gate for the lifetime of the object, which must not outlive its scope.
class Entry {
 public:
  Entry(Gate& gate, Access access, const char* who);
  ~Entry();
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;

  static bool holds(const Gate& gate);  // is this thread inside?

 private:
  Gate* gate_;  // null: this thread was inside already
  Access access_;
  std::uint32_t process_ = 0;
  const Entry* outer_ = nullptr;  // of the same thread
};

// A gate that others may join: from then on they are one gate. So what is used together, by any
// plan, is entered together, and what is not is not held up.
class JointGate {
 public:
  // All of them, and whatever they have joined before, become one. Of two groups the smaller one
  // goes over to the other, once nobody is inside it.
  static void join(std::span<const std::shared_ptr<JointGate>> gates, const char* who);

 private:
  friend class JointEntry;
  JointGate* root() noexcept;

  Gate gate_;
  std::atomic<JointGate*> parent_{nullptr};
  std::shared_ptr<JointGate> keep_;   // the parent, where there is one: it outlives its children
  std::atomic<std::size_t> size_{1};  // of a root: how many gates have become this one
};

// As Entry, of whatever the gate has joined.
class JointEntry {
 public:
  JointEntry(JointGate& gate, Access access, const char* who);

 private:
  std::optional<Entry> entry_;
};

// Entered (shared) while weights change: a fork waits, so that the child has a whole step too.
Gate& fork_gate() noexcept;

std::uint32_t fork_count() noexcept;  // between this process and the one that loaded the library

}  // namespace pycnn
