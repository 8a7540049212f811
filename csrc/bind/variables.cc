// SPDX-License-Identifier: Apache-2.0
// Variables, optimizer states, and the parameters of a graph that name them.
#include "bind/bind.h"
#include "plan/parameters.h"
#include "plan/variable.h"

namespace pycnn {
namespace {

using py::literals::operator""_a;
using VariablePtr = std::shared_ptr<Variable>;

Isa isa_argument(const std::optional<std::string>& name) {
  return name ? isa_from_name(*name) : default_isa();
}

const float* checked(const std::string& who, const Variable& variable, const FloatArray& array) {
  const std::vector<dim_t> got(array.shape(), array.shape() + array.ndim());
  PYCNN_CHECK_SHAPE(array.ndim() <= kMaxRank && Shape(got) == variable.shape(), who, ": expected ",
                    variable.shape().text(), ", got ", shape_text(array));
  return array.data();
}

py::array_t<float> values_of(const Variable& variable) {
  return to_array(variable.shape(), without_gil([&] { return variable.get(); }));
}

void set_values(const std::string& who, Variable& variable, const FloatArray& array) {
  const float* values = checked(who, variable, array);
  without_gil([&] { variable.set(values); });
}

// One step of a training, as its weights, slots and number of steps were between two runs.
struct Snapshot {
  std::vector<std::vector<float>> weights;
  std::vector<std::vector<float>> slots;
  std::uint32_t iterations = 0;
};

using SlotName = std::pair<VariablePtr, std::string>;

Snapshot snapshot(const std::vector<VariablePtr>& variables, OptimizerState* optimizer,
                  const std::vector<SlotName>& slots) {
  Snapshot taken;
  std::vector<std::shared_ptr<JointGate>> gates;
  for (const VariablePtr& variable : variables) gates.push_back(variable->gate());
  if (optimizer != nullptr) gates.push_back(optimizer->gate());
  if (gates.empty()) return taken;
  JointGate::join(gates, "read");
  const JointEntry reading(*gates.front(), Access::shared, "read");
  for (const VariablePtr& variable : variables) taken.weights.push_back(variable->values().get());
  if (optimizer == nullptr) return taken;
  taken.iterations = optimizer->iterations();
  for (const auto& [variable, slot] : slots) {
    taken.slots.push_back(optimizer->slot(variable, slot).get());
  }
  return taken;
}

py::tuple read(const std::vector<VariablePtr>& variables, OptimizerState* optimizer,
               const std::vector<SlotName>& slots) {
  const Snapshot taken = without_gil([&] { return snapshot(variables, optimizer, slots); });
  py::list weights, slot_values;
  for (std::size_t i = 0; i < taken.weights.size(); ++i) {
    weights.append(to_array(variables[i]->shape(), taken.weights[i]));
  }
  for (std::size_t i = 0; i < taken.slots.size(); ++i) {
    slot_values.append(to_array(slots[i].first->shape(), taken.slots[i]));
  }
  return py::make_tuple(weights, slot_values, taken.iterations);
}

void write(const std::vector<VariablePtr>& variables, const std::vector<FloatArray>& arrays) {
  PYCNN_CHECK_VALUE(variables.size() == arrays.size(), "write: ", arrays.size(), " arrays for ",
                    variables.size(), " variables");
  if (variables.empty()) return;
  std::vector<const float*> values;
  std::vector<std::shared_ptr<JointGate>> gates;
  for (std::size_t i = 0; i < variables.size(); ++i) {
    values.push_back(checked("write", *variables[i], arrays[i]));
    gates.push_back(variables[i]->gate());
  }
  without_gil([&] {
    JointGate::join(gates, "write");
    const JointEntry writing(*gates.front(), Access::exclusive, "write");
    for (std::size_t i = 0; i < values.size(); ++i) {
      variables[i]->values().set(values[i]);
      variables[i]->changed();
    }
  });
}

// Names and groups of a graph's parameters: None for those that lie as their shape says.
py::dict groups_of(const Graph& graph) {
  py::dict groups;
  for (const ParameterSpec& spec : parameter_specs(graph, default_isa())) {
    groups[py::str(spec.name)] =
        spec.packed ? py::object(py::int_(spec.packed->G)) : py::object(py::none());
  }
  return groups;
}

VariablePtr make_variable(const std::vector<dim_t>& dims, std::optional<dim_t> groups,
                          const std::optional<std::vector<dim_t>>& graph_dims) {
  const Isa isa = default_isa();
  const Shape shape(dims), graph_shape(graph_dims.value_or(dims));
  std::optional<PackedWeights> layout;
  if (groups) layout = kernel_layout(graph_shape, *groups, isa);
  return std::make_shared<Variable>(shape, graph_shape, DType::f32, layout, isa);
}

std::shared_ptr<Parameters> bound_parameters(const py::dict& variables) {
  std::vector<std::string> names;
  std::vector<VariablePtr> values;
  for (const auto& [name, variable] : variables) {
    names.push_back(name.cast<std::string>());
    values.push_back(variable.cast<VariablePtr>());
  }
  return without_gil(
      [&] { return std::make_shared<Parameters>(std::move(names), std::move(values)); });
}

void register_parameters_of_graphs(py::module_& m) {
  py::class_<Parameters, std::shared_ptr<Parameters>>(m, "Parameters")
      .def(py::init([](const Graph& graph, const std::optional<std::string>& isa,
                       const std::string& memory) {
             return std::make_shared<Parameters>(graph, isa_argument(isa), memory_mode(memory));
           }),
           "graph"_a, "isa"_a = py::none(), "memory"_a = "planned")
      .def_static("of", &bound_parameters, "variables"_a)
      .def_property_readonly("isa", [](const Parameters& p) { return name_of(p.isa()); })
      .def("names", &Parameters::names)
      .def(
          "get",
          [](const Parameters& p, const std::string& name, const std::string& slot) {
            const VariablePtr& variable = p.variable(name);
            if (slot.empty()) return values_of(*variable);
            OptimizerState& state = *p.own_state();
            return to_array(variable->shape(),
                            without_gil([&] { return state.get(variable, slot); }));
          },
          "name"_a, "slot"_a = "")
      .def(
          "set",
          [](const Parameters& p, const std::string& name, const FloatArray& array,
             const std::string& slot) {
            const VariablePtr& variable = p.variable(name);
            const std::string who = "parameter " + name;
            if (slot.empty()) return set_values(who, *variable, array);
            const float* values = checked(who, *variable, array);
            without_gil([&] { p.own_state()->set(variable, slot, values); });
          },
          "name"_a, py::arg("array").noconvert(), "slot"_a = "");
}

}  // namespace

void register_variables(py::module_& m) {
  py::class_<Variable, VariablePtr>(m, "Variable")
      .def(py::init(&make_variable), "shape"_a, "groups"_a = py::none(),
           "graph_shape"_a = py::none())
      .def_property_readonly("shape", [](const Variable& v) { return to_tuple(v.shape()); })
      .def_property_readonly("version", &Variable::version)
      .def("get", &values_of)
      .def(
          "set",
          [](Variable& variable, const FloatArray& array) {
            set_values("variable", variable, array);
          },
          py::arg("array").noconvert());
  py::class_<OptimizerState, std::shared_ptr<OptimizerState>>(m, "OptimizerState")
      .def(py::init<>())
      .def_property("iterations", &OptimizerState::iterations, &OptimizerState::set_iterations)
      .def("slots_of", &OptimizerState::slots_of, "variable"_a)
      .def(
          "get",
          [](OptimizerState& state, const VariablePtr& variable, const std::string& slot) {
            return to_array(variable->shape(),
                            without_gil([&] { return state.get(variable, slot); }));
          },
          "variable"_a, "slot"_a)
      .def(
          "set",
          [](OptimizerState& state, const VariablePtr& variable, const std::string& slot,
             const FloatArray& array) {
            const float* values = checked(slot, *variable, array);
            without_gil([&] { state.set(variable, slot, values); });
          },
          "variable"_a, "slot"_a, py::arg("array").noconvert());
  m.def("read", &read, "variables"_a, "optimizer"_a = py::none(),
        "slots"_a = std::vector<SlotName>());
  m.def("write", &write, "variables"_a, "arrays"_a);
  m.def("groups_of", &groups_of, "graph"_a);
  register_parameters_of_graphs(m);
}

}  // namespace pycnn
