// SPDX-License-Identifier: Apache-2.0
// The graph in Python: a graph is built node by node, or from plain data.
#include "graph/graph.h"

#include <initializer_list>
#include <optional>

#include "bind/ops.h"
#include "graph/program.h"

namespace pycnn {

py::tuple to_tuple(const Shape& shape) {
  py::tuple result(shape.rank());
  for (int i = 0; i < shape.rank(); ++i) {
    result[static_cast<std::size_t>(i)] =
        shape[i] == kBatch ? py::object(py::none()) : py::int_(shape[i]);
  }
  return result;
}

namespace {

using py::literals::operator""_a;

py::list describe(const Graph& graph) {
  py::list nodes;
  for (const Node& node : graph.nodes()) {
    nodes.append(py::dict("op"_a = name_of(node.op), "name"_a = node.name, "inputs"_a = node.inputs,
                          "outputs"_a = node.outputs,
                          "attributes"_a = to_python(attributes_of(node.attrs)),
                          "macs"_a = node.macs));
  }
  return nodes;
}

py::dict program_to_python(const Program& program) {
  py::list nodes;
  for (const ProgramNode& node : program.nodes) {
    nodes.append(py::dict("op"_a = node.op, "name"_a = node.name, "inputs"_a = node.inputs,
                          "attributes"_a = to_python(node.attributes)));
  }
  return py::dict("nodes"_a = nodes, "outputs"_a = program.outputs);
}

// Refuses what is no dict of exactly these entries.
py::dict entries_of(py::handle data, const char* where, std::initializer_list<const char*> keys) {
  std::string listed;
  bool fits = py::isinstance<py::dict>(data) && py::len(data) == keys.size();
  for (const char* key : keys) {
    listed += concat(listed.empty() ? "" : ", ", key);
    fits = fits && data.contains(key);
  }
  PYCNN_CHECK_VALUE(fits, "program: ", where, " must be a dict of ", listed);
  return py::reinterpret_borrow<py::dict>(data);
}

template <class T>
T entry(const py::dict& data, const char* key) {
  const py::handle value = data[key];
  try {
    if constexpr (std::is_base_of_v<py::object, T>) {
      if (py::isinstance<T>(value)) return py::reinterpret_borrow<T>(value);
    } else {
      return value.cast<T>();
    }
  } catch (const py::cast_error&) {  // as below
  }
  throw Error(ErrorKind::value, concat("program: ", key, ": of the wrong type"));
}

Program program_from_python(const py::dict& data) {
  Program program;
  const py::dict whole = entries_of(data, "it", {"nodes", "outputs"});
  for (const py::handle item : entry<py::list>(whole, "nodes")) {
    const py::dict dict = entries_of(item, "a node", {"op", "name", "inputs", "attributes"});
    ProgramNode node{.op = entry<std::string>(dict, "op"),
                     .name = entry<std::string>(dict, "name"),
                     .inputs = entry<std::vector<std::optional<std::size_t>>>(dict, "inputs")};
    for (const auto& [key, value] : entry<py::dict>(dict, "attributes")) {
      const std::string name = py::str(key);
      node.attributes.emplace_back(name, to_attribute(node.op + ": " + name, value));
    }
    program.nodes.push_back(std::move(node));
  }
  program.outputs = entry<std::vector<std::size_t>>(whole, "outputs");
  return program;
}

Shape to_shape(const std::vector<std::optional<dim_t>>& dims) {
  std::vector<dim_t> extents;
  for (const auto& dim : dims) extents.push_back(dim.value_or(kBatch));
  return Shape(extents);
}

}  // namespace

void register_graph(py::module_& m) {
  py::class_<Graph> graph(m, "Graph");
  graph.def(py::init<>())
      .def(
          "input",
          [](Graph& g, const std::string& name, const std::vector<std::optional<dim_t>>& shape,
             const std::string& dtype) {
            return g.input(name, to_shape(shape), dtype_named(dtype.c_str()));
          },
          "name"_a, "shape"_a, "dtype"_a = "float32")
      .def(
          "parameter",
          [](Graph& g, const std::string& name, const std::vector<dim_t>& shape, bool trainable,
             const std::string& dtype) {
            return g.parameter(name, Shape(shape), trainable, dtype_named(dtype.c_str()));
          },
          "name"_a, "shape"_a, "trainable"_a = true, "dtype"_a = "float32")
      .def("mark_output", &Graph::mark_output, "value"_a)
      .def(
          "shape", [](const Graph& g, ValueId v) { return to_tuple(g.shape(v)); }, "value"_a)
      .def(
          "dtype", [](const Graph& g, ValueId v) { return name_of(g.value(v).dtype); }, "value"_a)
      .def("nodes", &describe)
      .def("program", [](const Graph& g) { return program_to_python(to_program(g)); })
      .def_static(
          "from_program", [](const py::dict& data) { return to_graph(program_from_python(data)); },
          "program"_a);
  bind_ops(m, graph);
}

}  // namespace pycnn
