// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <pthread.h>

#include <algorithm>

#include "base/arch.h"
#include "base/gate.h"
#include "base/parallel.h"
#include "bind/bind.h"
#include "bind/predict.h"

namespace pycnn {

using py::literals::operator""_a;
using RowArray = py::array_t<std::int64_t, py::array::c_style>;

std::vector<py::ssize_t> extents_of(const Shape& shape) {
  return std::vector<py::ssize_t>(shape.dims().begin(), shape.dims().end());
}

py::array_t<float> to_array(const Shape& shape, const std::vector<float>& values) {
  return py::array_t<float>(extents_of(shape), values.data());
}

std::string shape_text(const py::array& array) {
  std::vector<dim_t> dims(array.shape(), array.shape() + array.ndim());
  return dims.size() <= static_cast<std::size_t>(kMaxRank) ? Shape(dims).text() : "rank > 8";
}

namespace {

using py::literals::operator""_a;
using RowArray = py::array_t<std::int64_t, py::array::c_style>;

bool has_dtype(const py::array& array, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return py::isinstance<py::array_t<float>>(array);
    case DType::i32:
      return py::isinstance<py::array_t<std::int32_t>>(array);
    case DType::u8:
      return py::isinstance<py::array_t<std::uint8_t>>(array);
    case DType::bf16:  // NumPy has no such type
      break;
  }
  return false;
}

// An array of at least `rows` samples that look like the value's.
void check_array(const char* role, std::size_t i, const py::array& array, const Value& value,
                 dim_t rows) {
  PYCNN_CHECK(has_dtype(array, value.dtype), ErrorKind::dtype, "plan.run: ", role, " ", i, " (",
              value.name, "): expected ", name_of(value.dtype), ", got ",
              std::string(py::str(array.dtype())));
  PYCNN_CHECK_VALUE((array.flags() & py::array::c_style) != 0, "plan.run: ", role, " ", i, " (",
                    value.name, ") must be C-contiguous; use numpy.ascontiguousarray");
  const bool samples = value.shape.has_batch();
  bool matches = array.ndim() == value.shape.rank();
  for (int axis = samples ? 1 : 0; matches && axis < value.shape.rank(); ++axis) {
    matches = array.shape(axis) == value.shape[axis];
  }
  PYCNN_CHECK_SHAPE(matches, "plan.run: ", role, " ", i, " (", value.name, "): expected ",
                    value.shape.text(), ", got ", shape_text(array));
  PYCNN_CHECK_SHAPE(!samples || array.shape(0) >= rows, "plan.run: ", role, " ", i, " (",
                    value.name, "): needs ", rows, " samples, got ", array.shape(0));
}

std::vector<const Value*> input_values(const Graph& graph) {
  std::vector<const Value*> values;
  for (const Node& node : graph.nodes()) {
    if (node.op == OpKind::input) values.push_back(&graph.value(node.outputs[0]));
  }
  return values;
}

// Python runs signal handlers in its main thread only: others need not ask, and could not once the
// process is ending. A child's main thread is the one that forked.
unsigned long main_thread = 0;  // NOLINT(runtime/int): Python's type

// True when a signal handler raised (Ctrl-C). Called without Python's lock by the main thread.
bool signal_pending() {
  const PyGILState_STATE lock = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;
  PyGILState_Release(lock);
  return raised;
}

py::tuple scalars(const Plan& plan, const RunResult& result) {
  py::list values;
  for (std::size_t i = 0; i < plan.graph().outputs().size(); ++i) {
    if (plan.graph().shape(plan.graph().outputs()[i]).rank() == 0) {
      values.append(result.scalars[i]);
    }
  }
  return py::tuple(values);
}

// Checked pointers into the arrays, which the caller keeps.
RunRequest make_request(const Plan& plan, const std::vector<py::array>& inputs,
                        const std::vector<py::object>& outputs, const std::optional<RowArray>& rows,
                        dim_t start, float learning_rate, std::uint64_t seed,
                        std::optional<std::uint32_t> step, bool check_finite = true) {
  RunRequest request;
  const std::vector<const Value*> expected = input_values(plan.graph());
  PYCNN_CHECK_VALUE(inputs.size() == expected.size(), "plan.run: expected ", expected.size(),
                    " inputs, got ", inputs.size());
  PYCNN_CHECK_VALUE(start >= 0 && start < kMaxExtent, "plan.run: start must be >= 0 and < ",
                    kMaxExtent, ", got ", start);
  dim_t last = start + plan.batch();
  if (rows) {
    PYCNN_CHECK_SHAPE(rows->ndim() == 1 && rows->shape(0) == plan.batch(),
                      "plan.run: rows must have shape (", plan.batch(), ",), got ",
                      shape_text(*rows));
    // A copy: whoever has the array may change it while the plan runs.
    request.own_rows.assign(rows->data(), rows->data() + plan.batch());
    const auto [least, most] = std::ranges::minmax_element(request.own_rows);
    PYCNN_CHECK_VALUE(*least >= 0, "plan.run: rows must be >= 0, got ", *least);
    PYCNN_CHECK_VALUE(*most < kMaxExtent, "plan.run: rows must be < ", kMaxExtent, ", got ", *most);
    last = *most + 1;
    request.rows = request.own_rows.data();
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    Value value = *expected[i];
    if (value.dtype == DType::f32 && has_dtype(inputs[i], DType::u8)) value.dtype = DType::u8;
    check_array("input", i, inputs[i], value, last);
    request.inputs[i] = {inputs[i].data(), value.dtype};
  }
  const std::vector<ValueId>& results = plan.graph().outputs();
  PYCNN_CHECK_VALUE(outputs.size() <= results.size(), "plan.run: the graph has ", results.size(),
                    " outputs, got arrays for ", outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].is_none()) continue;
    PYCNN_CHECK(py::isinstance<py::array>(outputs[i]), ErrorKind::dtype, "plan.run: output ", i,
                " must be an array or None");
    auto array = py::cast<py::array>(outputs[i]);
    check_array("output", i, array, plan.graph().value(results[i]), start + plan.batch());
    request.outputs[i] = array.mutable_data();  // throws where read-only
  }
  request.start = start;
  request.learning_rate = learning_rate;
  request.seed = seed;
  request.step = step;
  request.check_finite = check_finite;
  if (PyThread_get_thread_ident() == main_thread) request.interrupted = signal_pending;
  return request;
}

// Once, before the first run that must do with fewer threads than it wants. A forked child is
// serial by design.
void warn_of_fewer_threads(const Plan& plan) {
  static bool warned = false;  // changed with Python's lock held
  const int wanted = plan.wanted_threads();
  if (warned || wanted == 1 || fork_count() != 0) return;
  const int made = creatable_threads(wanted);
  if (made == wanted) return;
  warned = true;
  if (PyErr_WarnFormat(PyExc_RuntimeWarning, 1,
                       "the system lets pycnn make only %d of the %d threads it wants (a limit of "
                       "processes or memory): it is slower, its results are the same",
                       made, wanted) != 0) {
    throw py::error_already_set();
  }
}

py::tuple run(Plan& plan, const RunRequest& request) {
  warn_of_fewer_threads(plan);
  const RunResult result = without_gil([&] { return plan.run(request); });
  if (result.interrupted) throw py::error_already_set();
  return scalars(plan, result);
}

std::vector<std::tuple<std::string, std::string, double>> profile(Plan& plan,
                                                                  const RunRequest& request,
                                                                  int repeats) {
  std::vector<StepTime> times = without_gil([&] { return plan.profile(request, repeats); });
  std::vector<std::tuple<std::string, std::string, double>> rows;
  for (StepTime& t : times) rows.emplace_back(std::move(t.op), std::move(t.name), t.seconds);
  return rows;
}

// Owns what the capsule of Plan.capsule() points to.
struct Lent {
  pycnn_predict predict;
  py::object plan;
};

thread_local std::string lent_failure;

int run_lent(void* plan, const float* x, float* y) {
  RunRequest request;
  request.inputs[0] = {x};
  request.outputs[0] = y;
  if (PyThread_get_thread_ident() == main_thread) request.interrupted = signal_pending;
  try {
    return static_cast<Plan*>(plan)->run(request).interrupted ? 2 : 0;
  } catch (const std::exception& error) {
    lent_failure = error.what();
    return 1;  // no exception may cross into C
  }
}

// For plans with one float input and one output per sample, and nothing to train.
py::capsule lend(const py::object& self) {
  auto& plan = self.cast<Plan&>();
  const std::vector<const Value*> inputs = input_values(plan.graph());
  PYCNN_CHECK_VALUE(
      inputs.size() == 1 && inputs[0]->dtype == DType::f32 && plan.graph().outputs().size() == 1,
      "plan.capsule: needs one float32 input and one output");
  const auto floats = [&](const Shape& shape) {
    return static_cast<std::size_t>(shape.with_batch(plan.batch()).count());
  };
  warn_of_fewer_threads(plan);
  auto* lent = new Lent{{&plan, floats(inputs[0]->shape), floats(plan.output_shape(0)), run_lent,
                         [] { return lent_failure.c_str(); }},
                        self};
  return py::capsule(lent, PYCNN_PREDICT_CAPSULE, [](PyObject* capsule) {
    delete static_cast<Lent*>(PyCapsule_GetPointer(capsule, PYCNN_PREDICT_CAPSULE));
  });
}

py::array output(const Plan& plan, int index) {
  const auto type = [&]() -> py::dtype {
    switch (plan.output_dtype(index)) {
      case DType::i32:
        return py::dtype::of<std::int32_t>();
      case DType::u8:
        return py::dtype::of<std::uint8_t>();
      case DType::bf16:
        break;
      case DType::f32:
        return py::dtype::of<float>();
    }
    throw Error(ErrorKind::dtype, "plan.output: NumPy has no bfloat16");
  };
  py::array array(type(), extents_of(plan.output_shape(index)));
  plan.copy_output(index, array.mutable_data());
  return array;
}

std::size_t limit(const char* name, dim_t value) {
  PYCNN_CHECK_VALUE(value >= 0, "plan: ", name, " must be >= 0, got ", value);
  return static_cast<std::size_t>(value);
}

PlanLimits limits_of(std::optional<dim_t> arena_bytes, std::optional<dim_t> scratch_bytes,
                     std::optional<double> operations) {
  PlanLimits limits;
  if (arena_bytes) limits.arena_bytes = limit("max_arena_bytes", *arena_bytes);
  if (scratch_bytes) limits.scratch_bytes = limit("max_scratch_bytes", *scratch_bytes);
  if (operations) limits.operations = *operations;
  return limits;
}

}  // namespace

void register_plan(py::module_& m) {
  main_thread =
      py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
  pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
  py::class_<Plan>(m, "Plan")
      .def(py::init([](const Graph& graph, std::shared_ptr<Parameters> parameters, dim_t batch,
                       const std::string& memory, std::shared_ptr<OptimizerState> optimizer,
                       double operations_per_thread, std::optional<dim_t> max_arena_bytes,
                       std::optional<dim_t> max_scratch_bytes,
                       std::optional<double> max_operations) {
             available_threads();  // throws for a bad environment, which a run could not
             PlanOptions options{memory_mode(memory), std::move(optimizer), operations_per_thread};
             options.limits = limits_of(max_arena_bytes, max_scratch_bytes, max_operations);
             return without_gil([&] {
               return std::make_unique<Plan>(graph, std::move(parameters), batch, options);
             });
           }),
           "graph"_a, py::arg("parameters").none(false), "batch"_a, "memory"_a = "planned",
           py::kw_only(), "optimizer"_a = py::none(),
           "operations_per_thread"_a = PlanOptions{}.operations_per_thread,
           "max_arena_bytes"_a = py::none(), "max_scratch_bytes"_a = py::none(),
           "max_operations"_a = py::none())
      .def_property_readonly("batch", &Plan::batch)
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def_property_readonly("arena_lower_bound", &Plan::arena_lower_bound)
      .def_property_readonly("useful_threads", &Plan::useful_threads)
      .def_property_readonly("scratch_bytes", &Plan::scratch_bytes)
      .def_property_readonly("operations", &Plan::operations)
      .def_property_readonly("kernels_packed", &Plan::kernels_packed)
      .def(
          "run",
          [](Plan& plan, const std::vector<py::array>& inputs,
             const std::vector<py::object>& outputs, const std::optional<RowArray>& rows,
             dim_t start, Single learning_rate, std::uint64_t seed,
             std::optional<std::uint32_t> step, bool check_finite) {
            return run(plan, make_request(plan, inputs, outputs, rows, start, learning_rate, seed,
                                          step, check_finite));
          },
          "inputs"_a, "outputs"_a = py::tuple(), py::kw_only(), "rows"_a = py::none(),
          "start"_a = 0, "learning_rate"_a = 0.0f, "seed"_a = 0, "step"_a = py::none(),
          "check_finite"_a = true)
      .def(
          "profile",
          [](Plan& plan, const std::vector<py::array>& inputs, int repeats,
             std::optional<std::uint32_t> step) {
            if (!step && !plan.counts_steps()) step = 1;
            return profile(plan, make_request(plan, inputs, {}, std::nullopt, 0, 0, 0, step),
                           repeats);
          },
          "inputs"_a, py::kw_only(), "repeats"_a = 10, "step"_a = py::none())
      .def("output", &output, "index"_a)
      .def("capsule", &lend)
      .def("steps", [](const Plan& plan) {
        std::vector<std::string> ops;
        for (const Step& step : plan.schedule().steps) ops.push_back(step.op);
        return ops;
      });
}

}  // namespace pycnn
