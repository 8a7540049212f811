// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/checked.h"
#include "plan/fuse.h"
#include "plan/memory.h"

namespace pycnn {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kPage = 4096, kLineBytes = 64;

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

constexpr double kOperationsPerElement = 8;       // of a tensor that a step writes
constexpr std::uint32_t kMostSteps = 0x7FFFFFFF;  // which files hold, too
// A run of fewer takes some 50 ms at most: an interrupt may wait for its end.
constexpr double kLongRun = 2e9;

const Expression* expression_of(const Node& node) {
  if (const auto* map = std::get_if<MapAttrs>(&node.attrs)) return &map->expression;
  const auto* reduce = std::get_if<ReduceAttrs>(&node.attrs);
  return reduce != nullptr ? &reduce->expression : nullptr;
}

// Each instruction once for each element.
double count_instructions(const Node& node, const IdVector<ValueId, Shape>& shapes) {
  const Expression* expression = expression_of(node);
  if (expression == nullptr) return 0;
  Shape shape = node.outputs.empty() || node.op != OpKind::map ? Shape{} : shapes[node.outputs[0]];
  for (const ValueId v : node.inputs) shape = *broadcast_shape(shape, shapes[v]);
  return static_cast<double>(expression->code.size() + 1) * static_cast<double>(shape.count());
}

// Does it read the number of the step, which is counted from 1?
bool needs_step(const Node& node) {
  bool found = node.op == OpKind::adam;
  if (const Expression* expression = expression_of(node)) {
    for_each_operand(*expression,
                     [&](const Operand& o) { found = found || o.is(OperandKind::step); });
  }
  return found;
}

double count_operations(const std::vector<FusedNode>& nodes, const Schedule& schedule,
                        dim_t batch) {
  double samples = 0, instructions = 0;
  for (const Node& node : nodes) {
    samples += static_cast<double>(node.macs) + node.taps;
    instructions += count_instructions(node, schedule.shapes);
  }
  return samples * static_cast<double>(batch) + instructions;
}

double elements_written(const std::vector<FusedNode>& nodes, const Schedule& schedule) {
  double sum = 0;
  for (const Node& node : nodes) {
    for (const ValueId v : node.outputs) sum += static_cast<double>(schedule.shapes[v].count());
  }
  return sum;
}

template <class Amount>
void check_limit(const char* limit, Amount needed, Amount most) {
  PYCNN_CHECK(needed <= most, ErrorKind::memory, "plan: needs ", needed, ", ", limit, " is ", most);
}

bool finite(const float* x, std::size_t count) {
  return std::all_of(x, x + count, [](float value) { return std::isfinite(value); });
}

// The first of the rows, where they lie one after the other.
std::optional<dim_t> first_row(const RunRequest& request, dim_t batch) {
  if (request.rows == nullptr) return request.start;
  for (dim_t i = 1; i < batch; ++i) {
    if (request.rows[i] != request.rows[0] + i) return std::nullopt;
  }
  return request.rows[0];
}

}  // namespace

Plan::Plan(const Graph& graph, std::shared_ptr<Parameters> parameters, dim_t batch,
           const PlanOptions& options)
    : graph_(graph),
      fused_(fuse(graph_)),
      parameters_(std::move(parameters)),
      optimizer_(options.optimizer ? options.optimizer : parameters_->own_state()),
      batch_(batch),
      mode_(options.memory),
      limits_(options.limits),
      counts_(options.optimizer != nullptr) {
  PYCNN_CHECK_VALUE(batch >= 1, "plan: batch must be >= 1, got ", batch);
  const std::vector<FusedNode>& nodes = fused_.nodes;
  schedule_ = lower(graph_, fused_, *parameters_, *optimizer_, batch, counts_);
  const auto& steps = schedule_.steps;
  first_update_ = static_cast<int>(
      std::find_if(steps.begin(), steps.end(), [](const Step& s) { return s.changes_state; }) -
      steps.begin());
  const auto inputs = std::count_if(nodes.begin(), nodes.end(),
                                    [](const Node& n) { return n.op == OpKind::input; });
  PYCNN_CHECK_VALUE(
      static_cast<std::size_t>(inputs) <= kMaxArrays && graph_.outputs().size() <= kMaxArrays,
      "plan: at most ", kMaxArrays, " inputs and ", kMaxArrays, " outputs");
  needs_step_ = std::ranges::any_of(nodes, needs_step);
  operations_ = count_operations(nodes, schedule_, batch);
  check_limit("max_operations", operations_, limits_.operations);
  const double all = 2 * operations_ + kOperationsPerElement * elements_written(nodes, schedule_);
  useful_threads_ =
      static_cast<int>(std::clamp(all / options.operations_per_thread, 1.0, double{kMaxThreads}));
  long_ = all > kLongRun;
  check_scratch(wanted_threads());
  allocate();
  const std::shared_ptr<JointGate> gates[] = {parameters_->gate(), optimizer_->gate()};
  if (first_update_ < static_cast<int>(steps.size()) || counts_) JointGate::join(gates, "plan");
}

void Plan::allocate() {
  const bool planned = mode_ == MemoryMode::planned;
  const auto& buffers = schedule_.buffers;
  context_.memory.assign(buffers.size() + 1, nullptr);
  std::vector<Lifetime> lifetimes;
  std::vector<BufferId> placed;
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const BufferId id(i);
    const BufferRequest& buffer = buffers[id];
    if (buffer.fixed != nullptr) {
      context_.memory[id.entry()] = buffer.fixed;
    } else if (buffer.used) {
      lifetimes.push_back({buffer.bytes, buffer.used->first, buffer.used->last});
      placed.push_back(id);
    }
  }
  const ArenaLayout layout = place(lifetimes);
  arena_bytes_ = layout.bytes;
  arena_lower_bound_ = layout.lower_bound;
  check_limit("max_arena_bytes", arena_bytes_, limits_.arena_bytes);
  if (planned) storage_.emplace_back(arena_bytes_, mode_);
  for (std::size_t i = 0; i < placed.size(); ++i) {
    if (!planned) storage_.emplace_back(lifetimes[i].bytes, mode_);
    context_.memory[placed[i].entry()] =
        planned ? storage_.front().data() + layout.offsets[i] : storage_.back().data();
  }
  for (const LendableInput& input : schedule_.lendable) {
    own_inputs_.push_back(context_.memory[input.buffer.entry()]);
  }
}

std::size_t Plan::scratch_stride() const {
  const std::size_t bytes = bytes_rounded_up(schedule_.scratch_bytes, kLineBytes);
  // A page and a line more per thread: equal offsets in two threads' scratch must not collide.
  return mode_ == MemoryMode::planned ? bytes_rounded_up(bytes + kPage, kPage) + kLineBytes : bytes;
}

void Plan::check_scratch(int threads) const {
  const Checked bytes = Checked(scratch_stride()) * threads;
  check_limit("max_scratch_bytes", bytes.bytes(), limits_.scratch_bytes);
}

int Plan::wanted_threads() const {
  return useful_threads_ == 1 ? 1 : std::min(num_threads(), useful_threads_);
}

void Plan::allocate_scratch(int threads) {
  check_scratch(threads);
  scratch_stride_ = scratch_stride();
  threads_ = 0;  // should there not be enough memory
  scratch_.emplace(scratch_stride_ * static_cast<std::size_t>(threads), mode_);
  threads_ = threads;
}

void Plan::execute(bool (*interrupted)(), std::vector<double>* seconds) {
  const int threads = wanted_threads();
  if (threads != threads_) allocate_scratch(threads);  // also after set_num_threads
  const std::uint64_t version = parameters_->version();
  for (const auto& folded : schedule_.folded) folded->refresh(version);
  context_.failed = false;
  context_.overflowing = nullptr;
  failed_step_ = -1;
  interrupted_ = false;
  context_.weights_changed = version != packed_version_;
  const int count = static_cast<int>(schedule_.steps.size());
  auto body = [&](Worker& worker) noexcept {
    Clock::time_point finished = Clock::now();
    for (int i = 0; i < count; ++i) {
      worker.begin_stage(i, i < first_update_);
      const Step& step = schedule_.steps[static_cast<std::size_t>(i)];
      step.run(context_, worker);
      if (worker.id() == 0 && seconds != nullptr) {  // from step to step: nobody works outside it
        const Clock::time_point end = Clock::now();
        (*seconds)[static_cast<std::size_t>(i)] = seconds_between(finished, end);
        finished = end;
      }
      if (worker.stopped_in(i)) {
        if (worker.id() == 0) interrupted_ = true;
        break;
      }
      if (step.is_check && context_.failed && context_.request->check_finite) {
        if (worker.id() == 0) failed_step_ = i;
        break;
      }
    }
  };
  run_region({threads, scratch_->data(), scratch_stride_, long_ ? interrupted : nullptr}, body);
  const bool complete = !interrupted_ && failed_step_ < 0;
  packed_version_ = complete ? version : 0;
  if (!complete) return;
  for (const auto& variable : schedule_.updated) variable->changed();
  if (counts_) optimizer_->set_iterations(context_.random.step);
  context_.updating.reset();
}

void Plan::accept(const RunRequest& request) {
  std::uint32_t step = request.step.value_or(0);
  if (counts_ && !request.step) {
    PYCNN_CHECK(optimizer_->iterations() < kMostSteps, ErrorKind::state,
                "plan: the optimizer has taken its last step, ", kMostSteps);
    step = optimizer_->iterations() + 1;
  }
  PYCNN_CHECK_VALUE(!needs_step_ || step >= 1,
                    "plan: step must be >= 1 where Adam or an expression counts it, got ", step);
  PYCNN_CHECK_VALUE(std::isfinite(request.learning_rate) && request.learning_rate >= 0,
                    "plan: learning_rate must be finite and >= 0, got ", request.learning_rate);
  context_.request = &request;
  lend_inputs(request);
  context_.random = {request.seed, step};
}

void Plan::lend_inputs(const RunRequest& request) {
  const std::optional<dim_t> first = first_row(request, batch_);
  for (std::size_t i = 0; i < schedule_.lendable.size(); ++i) {
    const LendableInput& input = schedule_.lendable[i];
    const InputArray& given = request.inputs[input.input];
    const bool aligned = reinterpret_cast<std::uintptr_t>(given.data) % alignof(float) == 0;
    const bool lent = first && given.dtype == DType::f32 && aligned;
    context_.lent[input.input] = lent;
    std::byte*& memory = context_.memory[input.buffer.entry()];
    memory = own_inputs_[i];
    if (!lent) continue;
    // Nothing writes to it.
    auto* data = const_cast<std::byte*>(static_cast<const std::byte*>(given.data));
    memory = data + static_cast<std::size_t>(*first) * input.row_bytes;
  }
}

Access Plan::access() const {
  const bool changes = counts_ || first_update_ < static_cast<int>(schedule_.steps.size());
  return changes ? Access::exclusive : Access::shared;
}

RunResult Plan::run(const RunRequest& request) {
  const Entry running(running_, Access::exclusive, "plan.run");
  const JointEntry weights(*parameters_->gate(), access(), "plan.run");
  accept(request);
  execute(request.interrupted, nullptr);
  if (failed_step_ >= 0 && !interrupted_) report_nonfinite();
  RunResult result;
  result.interrupted = interrupted_;
  for (std::size_t i = 0; i < graph_.outputs().size(); ++i) {
    const ValueId v = graph_.outputs()[i];
    const float* value = context_.floats(schedule_.value_buffer[v]);
    if (schedule_.shapes[v].rank() == 0 && value != nullptr) result.scalars[i] = *value;
  }
  return result;
}

std::vector<StepTime> Plan::profile(const RunRequest& request, int repeats) {
  PYCNN_CHECK_VALUE(repeats >= 1, "profile: repeats must be >= 1, got ", repeats);
  const Entry running(running_, Access::exclusive, "plan.profile");
  const JointEntry weights(*parameters_->gate(), access(), "plan.profile");
  accept(request);
  std::vector<double> seconds(schedule_.steps.size()), least(seconds.size(), 1e30);
  for (int i = 0; i < repeats; ++i) {
    if (i > 0) accept(request);  // the next step
    execute(nullptr, &seconds);
    if (failed_step_ >= 0) report_nonfinite();
    for (std::size_t s = 0; s < least.size(); ++s) least[s] = std::min(least[s], seconds[s]);
  }
  std::vector<StepTime> times;
  for (std::size_t i = 0; i < least.size(); ++i) {
    times.push_back({schedule_.steps[i].op, schedule_.steps[i].name, least[i]});
  }
  return times;
}

// Names the first node whose result, where it is still in memory, is not finite.
void Plan::report_nonfinite() const {
  PYCNN_CHECK(context_.overflowing == nullptr, ErrorKind::numeric, "step ", context_.random.step,
              ": the update would make ", *context_.overflowing,
              " or its optimizer's state not finite; the weights are unchanged");
  std::string culprit = schedule_.steps[static_cast<std::size_t>(failed_step_)].name;
  for (const Node& node : fused_.nodes) {
    if (node.outputs.empty()) continue;
    const ValueId v = node.outputs[0];
    const BufferId buffer = schedule_.value_buffer[v];
    if (!buffer.has_value() || graph_.values()[v].dtype != DType::f32) continue;
    const BufferRequest& request = schedule_.buffers[buffer];
    const bool alive =
        request.fixed != nullptr || (request.used && request.used->last >= failed_step_);
    const std::size_t floats = request.fixed != nullptr
                                   ? static_cast<std::size_t>(schedule_.shapes[v].count())
                                   : request.bytes / sizeof(float);
    if (!alive || finite(context_.floats(buffer), floats)) continue;
    culprit = concat(node.op == OpKind::input       ? "input "
                     : node.op == OpKind::parameter ? "weights "
                                                    : "",
                     node.name.empty() ? graph_.values()[v].name : node.name);
    break;
  }
  throw Error(ErrorKind::numeric, concat("step ", context_.random.step,
                                         ": the loss or a gradient is not finite; first seen in ",
                                         culprit, "; the weights are unchanged"));
}

ValueId Plan::output_value(int index) const {
  PYCNN_CHECK_VALUE(index >= 0 && index < static_cast<int>(graph_.outputs().size()),
                    "plan: output ", index, " of ", graph_.outputs().size());
  return graph_.outputs()[static_cast<std::size_t>(index)];
}

Shape Plan::output_shape(int index) const { return schedule_.shapes[output_value(index)]; }

DType Plan::output_dtype(int index) const { return graph_.value(output_value(index)).dtype; }

void Plan::copy_output(int index, void* to) const {
  const ValueId v = output_value(index);
  const BufferId buffer = schedule_.value_buffer[v];
  if (schedule_.layout[v]) {
    unpack_weights(*schedule_.layout[v], context_.floats(buffer), static_cast<float*>(to));
  } else {
    std::memcpy(to, context_.bytes(buffer),
                bytes_of(schedule_.shapes[v].count(), output_dtype(index)));
  }
}

}  // namespace pycnn
