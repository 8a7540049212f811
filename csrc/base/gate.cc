// SPDX-License-Identifier: Apache-2.0
#include "base/gate.h"

#include <pthread.h>

#include "base/error.h"

namespace pycnn {
namespace {

std::atomic<std::uint32_t> forks{0};

constexpr std::uint32_t kOpening = 0xFFFFFFFFu;  // of Gate::process_: somebody is opening it

thread_local const Entry* innermost = nullptr;

template <class T>
void wait_for(const std::atomic<T>& value, T wanted) noexcept {
  for (T seen; (seen = value.load()) != wanted;) value.wait(seen);
}

}  // namespace

Gate& fork_gate() noexcept {
  static Gate gate;
  return gate;
}

struct ForkHandlers {
  static void before() { fork_gate().enter(Access::exclusive); }
  static void in_parent() { fork_gate().leave(Access::exclusive); }
  static void in_child() { forks.fetch_add(1, std::memory_order_relaxed); }  // opens every gate
};
[[maybe_unused]] static const int fork_handlers =
    pthread_atfork(ForkHandlers::before, ForkHandlers::in_parent, ForkHandlers::in_child);

std::uint32_t fork_count() noexcept { return forks.load(std::memory_order_relaxed); }

void Gate::open_in_child() noexcept {
  const std::uint32_t now = fork_count();
  std::uint32_t seen = process_.load();
  while (seen != now) {
    if (seen != kOpening && process_.compare_exchange_strong(seen, kOpening)) {
      next_ = serving_ = readers_ = 0;
      process_ = now;
      return;
    }
    seen = process_.load();
  }
}

void Gate::enter(Access access) noexcept {
  open_in_child();
  const std::uint32_t ticket = next_.fetch_add(1);
  wait_for(serving_, ticket);
  if (access == Access::exclusive) return wait_for(readers_, std::uint32_t{0});
  readers_.fetch_add(1);
  serving_.fetch_add(1);
  serving_.notify_all();
}

void Gate::leave(Access access) noexcept {
  if (access == Access::exclusive) {
    serving_.fetch_add(1);
    serving_.notify_all();
  } else if (readers_.fetch_sub(1) == 1) {
    readers_.notify_all();
  }
}

Entry::Entry(Gate& gate, Access access, const char* who) : gate_(&gate), access_(access) {
  if (holds(gate)) {
    PYCNN_CHECK(access == Access::shared, ErrorKind::state, who,
                ": called again by the thread that is inside it (from a signal handler?)");
    gate_ = nullptr;
    return;
  }
  gate.enter(access);
  process_ = fork_count();
  outer_ = innermost;
  innermost = this;
}

Entry::~Entry() {
  if (gate_ == nullptr) return;
  innermost = outer_;
  if (process_ == fork_count()) gate_->leave(access_);  // a child's gates are open already
}

bool Entry::holds(const Gate& gate) {
  for (const Entry* entry = innermost; entry != nullptr; entry = entry->outer_) {
    if (entry->gate_ == &gate) return true;
  }
  return false;
}

JointGate* JointGate::root() noexcept {
  JointGate* gate = this;
  while (JointGate* parent = gate->parent_.load(std::memory_order_acquire)) gate = parent;
  return gate;
}

void JointGate::join(std::span<const std::shared_ptr<JointGate>> gates, const char* who) {
  static Gate writing;  // entered for the writes alone: nobody waits for anything inside
  const auto root_of = [](const std::shared_ptr<JointGate>& gate) {
    std::shared_ptr<JointGate> root = gate;
    while (root->parent_.load(std::memory_order_acquire) != nullptr) root = root->keep_;
    return root;
  };
  for (const std::shared_ptr<JointGate>& gate : gates) {
    while (gate->root() != gates.front()->root()) {
      std::shared_ptr<JointGate> parent = root_of(gates.front()), child = root_of(gate);
      if (parent->size_ < child->size_) parent.swap(child);
      const Entry closed(child->gate_, Access::exclusive, who);
      const Entry alone(writing, Access::exclusive, who);
      if (parent == child || child->parent_ != nullptr || parent->parent_ != nullptr) continue;
      child->keep_ = parent;
      parent->size_ += child->size_;
      child->parent_.store(parent.get(), std::memory_order_release);
    }
  }
}

JointEntry::JointEntry(JointGate& gate, Access access, const char* who) {
  for (JointGate* root = gate.root();; root = gate.root()) {
    entry_.emplace(root->gate_, access, who);
    if (root == gate.root()) return;
    entry_.reset();  // it joined another while we waited
  }
}

}  // namespace pycnn
