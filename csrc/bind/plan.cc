// SPDX-License-Identifier: Apache-2.0
#include "plan/plan.h"

#include <algorithm>

#include "bind/bind.h"
#include "bind/predict.h"

namespace pycnn {
namespace {

using py::literals::operator""_a;
using FloatArray = py::array_t<float, py::array::c_style>;
using RowArray = py::array_t<std::int64_t, py::array::c_style>;

py::array to_array(const Shape& shape, const std::vector<float>& values) {
  std::vector<py::ssize_t> extents;
  for (int i = 0; i < shape.rank(); ++i) extents.push_back(static_cast<py::ssize_t>(shape[i]));
  return py::array_t<float>(extents, values.data());
}

std::string shape_text(const py::array& array) {
  std::vector<dim_t> dims(array.shape(), array.shape() + array.ndim());
  return dims.size() <= static_cast<std::size_t>(kMaxRank) ? Shape(dims).text() : "rank > 8";
}

bool has_dtype(const py::array& array, DType dtype) {
  switch (dtype) {
    case DType::f32:
      return py::isinstance<py::array_t<float>>(array);
    case DType::i32:
      return py::isinstance<py::array_t<std::int32_t>>(array);
    case DType::u8:
      return py::isinstance<py::array_t<std::uint8_t>>(array);
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
  bool matches = array.ndim() == value.shape.rank();
  for (int axis = 1; matches && axis < value.shape.rank(); ++axis) {
    matches = array.shape(axis) == value.shape[axis];
  }
  PYCNN_CHECK_SHAPE(matches, "plan.run: ", role, " ", i, " (", value.name, "): expected ",
                    value.shape.text(), ", got ", shape_text(array));
  PYCNN_CHECK_SHAPE(array.shape(0) >= rows, "plan.run: ", role, " ", i, " (", value.name,
                    "): needs ", rows, " samples, got ", array.shape(0));
}

std::vector<const Value*> input_values(const Graph& graph) {
  std::vector<const Value*> values;
  for (const Node& node : graph.nodes()) {
    if (node.op == OpKind::input) values.push_back(&graph.value(node.outputs[0]));
  }
  return values;
}

// True when Python has a pending signal (Ctrl-C). Called without the GIL, between steps.
bool signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
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
                        dim_t start, float learning_rate, std::uint64_t seed, std::uint32_t step) {
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
    const std::int64_t *first = rows->data(), *end = first + plan.batch();
    const auto [least, most] = std::minmax_element(first, end);
    PYCNN_CHECK_VALUE(*least >= 0, "plan.run: rows must be >= 0, got ", *least);
    PYCNN_CHECK_VALUE(*most < kMaxExtent, "plan.run: rows must be < ", kMaxExtent, ", got ", *most);
    last = *most + 1;
    request.rows = first;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    check_array("input", i, inputs[i], *expected[i], last);
    request.inputs[i] = inputs[i].data();
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
  request.random = {seed, step};
  request.interrupted = signal_pending;
  return request;
}

py::tuple run(Plan& plan, const RunRequest& request) {
  RunResult result;
  {
    const py::gil_scoped_release release;
    result = plan.run(request);
  }
  if (result.interrupted) throw py::error_already_set();
  return scalars(plan, result);
}

std::vector<std::tuple<std::string, std::string, double>> profile(Plan& plan,
                                                                  const RunRequest& request,
                                                                  int repeats) {
  std::vector<StepTime> times;
  {
    const py::gil_scoped_release release;
    times = plan.profile(request, repeats);
  }
  std::vector<std::tuple<std::string, std::string, double>> rows;
  for (StepTime& t : times) rows.emplace_back(std::move(t.op), std::move(t.name), t.seconds);
  return rows;
}

// Owns what the capsule of Plan.capsule() points to.
struct Lent {
  pycnn_predict predict;
  py::object plan;
};

int run_lent(void* plan, const float* x, float* y) {
  RunRequest request;
  request.inputs[0] = x;
  request.outputs[0] = y;
  try {
    static_cast<Plan*>(plan)->run(request);
  } catch (const std::exception&) {
    return 1;  // no exception may cross into C
  }
  return 0;
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
  auto* lent =
      new Lent{{&plan, floats(inputs[0]->shape), floats(plan.output_shape(0)), run_lent}, self};
  return py::capsule(lent, PYCNN_PREDICT_CAPSULE, [](PyObject* capsule) {
    delete static_cast<Lent*>(PyCapsule_GetPointer(capsule, PYCNN_PREDICT_CAPSULE));
  });
}

Isa isa_argument(const std::optional<std::string>& name) {
  return name ? isa_from_name(*name) : default_isa();
}

}  // namespace

void register_parameters(py::module_& m) {
  py::class_<Parameters, std::shared_ptr<Parameters>>(m, "Parameters")
      .def(py::init([](const Graph& graph, const std::optional<std::string>& isa,
                       const std::string& memory) {
             return std::make_shared<Parameters>(graph, isa_argument(isa), memory_mode(memory));
           }),
           "graph"_a, "isa"_a = py::none(), "memory"_a = "planned")
      .def_property_readonly("isa", [](const Parameters& p) { return name_of(p.isa()); })
      .def("names",
           [](const Parameters& p) {
             std::vector<std::string> names;
             for (const ParameterSpec& spec : p.specs()) names.push_back(spec.name);
             return names;
           })
      .def(
          "get",
          [](Parameters& p, const std::string& name, const std::string& slot) {
            const int i = p.index_of(name);
            return to_array(p.specs()[static_cast<std::size_t>(i)].shape, p.get(i, slot));
          },
          "name"_a, "slot"_a = "")
      .def(
          "set",
          [](Parameters& p, const std::string& name, const FloatArray& array,
             const std::string& slot) {
            const int i = p.index_of(name);
            const Shape& shape = p.specs()[static_cast<std::size_t>(i)].shape;
            const std::vector<dim_t> got(array.shape(), array.shape() + array.ndim());
            PYCNN_CHECK_SHAPE(array.ndim() <= kMaxRank && Shape(got) == shape, "parameter ", name,
                              ": expected ", shape.text(), ", got ", shape_text(array));
            p.set(i, slot, array.data());
          },
          "name"_a, py::arg("array").noconvert(), "slot"_a = "");
}

void register_plan(py::module_& m) {
  py::class_<Plan>(m, "Plan")
      .def(py::init([](const Graph& graph, std::shared_ptr<Parameters> parameters, dim_t batch,
                       const std::string& memory) {
             return std::make_unique<Plan>(graph, std::move(parameters), batch,
                                           memory_mode(memory));
           }),
           "graph"_a, "parameters"_a, "batch"_a, "memory"_a = "planned")
      .def_property_readonly("batch", &Plan::batch)
      .def_property_readonly("arena_bytes", &Plan::arena_bytes)
      .def_property_readonly("arena_lower_bound", &Plan::arena_lower_bound)
      .def(
          "run",
          [](Plan& plan, const std::vector<py::array>& inputs,
             const std::vector<py::object>& outputs, const std::optional<RowArray>& rows,
             dim_t start, Single learning_rate, std::uint64_t seed, std::uint32_t step) {
            return run(plan,
                       make_request(plan, inputs, outputs, rows, start, learning_rate, seed, step));
          },
          "inputs"_a, "outputs"_a = py::tuple(), py::kw_only(), "rows"_a = py::none(),
          "start"_a = 0, "learning_rate"_a = 0.0f, "seed"_a = 0, "step"_a = 0)
      .def(
          "profile",
          [](Plan& plan, const std::vector<py::array>& inputs, int repeats, std::uint32_t step) {
            return profile(plan, make_request(plan, inputs, {}, std::nullopt, 0, 0, 0, step),
                           repeats);
          },
          "inputs"_a, py::kw_only(), "repeats"_a = 10, "step"_a = 1)
      .def(
          "output",
          [](const Plan& plan, int index) {
            return to_array(plan.output_shape(index), plan.output(index));
          },
          "index"_a)
      .def("capsule", &lend)
      .def("steps", [](const Plan& plan) {
        std::vector<std::string> ops;
        for (const Step& step : plan.program().steps) ops.push_back(step.op);
        return ops;
      });
}

}  // namespace pycnn
