// SPDX-License-Identifier: Apache-2.0
// One method of Graph for each row of the table of ops, and the table itself.
#include "bind/ops.h"

#include <algorithm>

namespace pycnn {

AttrValue to_attribute(const std::string& name, py::handle value) {
  if (py::isinstance<py::str>(value)) return value.cast<std::string>();
  if (py::isinstance<py::bool_>(value)) return value.cast<bool>();
  if (py::isinstance<py::list>(value) || py::isinstance<py::tuple>(value)) {
    const bool texts = py::len(value) > 0 && py::isinstance<py::str>(*value.begin());
    if (texts) return cast_or_refuse<std::vector<std::string>>(value, name, "texts");
    const auto is_float = [](py::handle item) { return py::isinstance<py::float_>(item); };
    if (std::any_of(value.begin(), value.end(), is_float)) {
      return cast_or_refuse<std::vector<double>>(value, name, "numbers");
    }
    std::vector<dim_t> numbers;
    bool has_batch = false;
    for (const py::handle item : value) {
      has_batch |= item.is_none();
      numbers.push_back(item.is_none() ? kBatch : cast_or_refuse<dim_t>(item, name, "integers"));
    }
    if (has_batch) return Extents{std::move(numbers)};
    return numbers;
  }
  if (PyIndex_Check(value.ptr()))
    return cast_or_refuse<dim_t>(value, name, "an integer of 64 bits");
  const double number = PyFloat_AsDouble(value.ptr());
  if (number == -1.0 && PyErr_Occurred()) {
    PyErr_Clear();
    throw py::type_error(concat(name, ": expected a number, a name or a list of integers, got ",
                                Py_TYPE(value.ptr())->tp_name));
  }
  return number;
}

py::object to_python(const AttrValue& value) {
  return std::visit(
      [](const auto& v) -> py::object {
        if constexpr (std::is_same_v<decltype(v), const Extents&>) {
          py::list list;
          for (const dim_t number : v.numbers) {
            list.append(number == kBatch ? py::object(py::none()) : py::int_(number));
          }
          return list;
        } else {
          return py::cast(v);
        }
      },
      value);
}

py::dict to_python(const AttrValues& values) {
  py::dict dict;
  for (const auto& [name, value] : values) dict[name.c_str()] = to_python(value);
  return dict;
}

namespace {

using py::literals::operator""_a;

// The type of an attribute as Python's stub calls it.
struct TypeText {
  const char* operator()(const Size2d&) const { return "tuple[int, int]"; }
  const char* operator()(const Pad2d&) const { return "str | tuple[int, int, int, int]"; }
  const char* operator()(const Shape&) const { return "Sequence[int | None]"; }
  const char* operator()(const Integers&) const { return "Sequence[int]"; }
  const char* operator()(const Expression&) const { return "Sequence[str]"; }
  const char* operator()(const std::vector<float>&) const { return "Sequence[float]"; }
  const char* operator()(float) const { return "float"; }
  const char* operator()(bool) const { return "bool"; }
  template <class Integer>
    requires std::is_integral_v<Integer>
  const char* operator()(Integer) const {
    return "int";
  }
  template <class Kind>
    requires std::is_enum_v<Kind>
  const char* operator()(Kind) const {
    return "str";
  }
};

struct Attribute {
  std::string name;
  const char* type;
  std::span<const char* const> choices;  // of names
  bool required, completed;
};
std::vector<Attribute> attributes_of(const OpDefinition& op) {
  std::vector<Attribute> attributes;
  fields(op.attrs, [&](const char* name, const auto& field, const Bounds& bounds) {
    Attribute attribute{name, TypeText()(field), {}, bounds.required, bounds.completed};
    if constexpr (std::is_enum_v<std::remove_cvref_t<decltype(field)>>) {
      attribute.choices = names_like(field);
    }
    attributes.push_back(attribute);
  });
  return attributes;
}

// The arguments of one call: the inputs, then the attributes, then name=.
class Call {
 public:
  explicit Call(const OpDefinition& op) : op_(op), attributes_(attributes_of(op)) {
    if (!is_repeated()) inputs_.resize(op.inputs.size());
    given_.resize(op.inputs.size() + attributes_.size());
  }

  void take(const py::args& args, const py::kwargs& kwargs) {
    if (args.size() > given_.size()) {
      refuse(concat("takes ", given_.size(), " positional arguments, got ", args.size()));
    }
    for (std::size_t i = 0; i < args.size(); ++i) set(i, args[i]);
    for (const auto& [key, value] : kwargs) {
      const std::string keyword = py::str(key);
      if (keyword == "name") {
        name_ = cast_or_refuse<std::string>(value, concat("Graph.", op_.name, ": name"), "str");
      } else {
        set(place_of(keyword), value);
      }
    }
    for (std::size_t i = 0; i < given_.size(); ++i) {
      const bool needed = i < op_.inputs.size() ? !op_.inputs[i].is_optional()
                                                : attributes_[i - op_.inputs.size()].required;
      if (needed && !given_[i]) refuse("misses the argument '" + name_of_place(i) + "'");
    }
  }

  py::object run(Graph& graph) const {
    const ValueId first = build(graph, op_.kind, inputs_, values_, name_);
    if (op_.results == 0) return py::none();
    if (op_.results == 1) return py::cast(first);
    const std::vector<ValueId>& outputs = graph.producer(first).outputs;
    py::tuple results(op_.results);
    for (std::size_t i = 0; i < results.size(); ++i) results[i] = outputs[i];
    return results;
  }

 private:
  bool is_repeated() const { return op_.inputs.size() == 1 && is_list(op_.inputs[0].presence); }
  [[noreturn]] void refuse(const std::string& why) const {
    throw py::type_error(concat("Graph.", op_.name, " ", why));
  }
  std::string name_of_place(std::size_t i) const {
    const std::size_t inputs = op_.inputs.size();
    return i < inputs ? op_.inputs[i].name : attributes_[i - inputs].name;
  }
  std::size_t place_of(const std::string& keyword) const {
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (keyword == name_of_place(i)) return i;
    }
    refuse("has no argument '" + keyword + "'");
  }

  // None is as good as nothing where that is allowed.
  void set(std::size_t place, py::handle value) {
    if (given_[place]) refuse("got the argument '" + name_of_place(place) + "' twice");
    if (value.is_none()) return;
    given_[place] = true;
    if (place >= op_.inputs.size()) {
      const std::string& name = attributes_[place - op_.inputs.size()].name;
      values_.emplace_back(name, to_attribute(concat(op_.name, ": ", name), value));
    } else if (is_repeated()) {
      const auto items = cast_or_refuse<py::iterable>(
          value, concat("Graph.", op_.name, ": ", name_of_place(place)), "values of the graph");
      for (const py::handle item : items) inputs_.push_back(to_value(place, item));
    } else {
      inputs_[place] = to_value(place, value);
    }
  }

  ValueId to_value(std::size_t place, py::handle value) const {
    if (!PyIndex_Check(value.ptr()) || py::isinstance<py::bool_>(value)) {
      refuse(concat("expects a value of the graph as '", name_of_place(place), "', got ",
                    Py_TYPE(value.ptr())->tp_name));
    }
    return cast_or_refuse<ValueId>(value, concat("Graph.", op_.name, ": ", name_of_place(place)),
                                   "a value of the graph");
  }

  const OpDefinition& op_;
  const std::vector<Attribute> attributes_;
  std::vector<ValueId> inputs_;
  AttrValues values_;
  std::string name_;
  std::vector<bool> given_;  // by place: inputs, then attributes
};

void bind_rows(py::class_<Graph>& graph) {
  for (const OpDefinition& op : op_definitions()) {
    const bool apart = op.kind == OpKind::input || op.kind == OpKind::parameter ||
                       op.kind == OpKind::loss || op.kind == OpKind::metric;
    if (apart) continue;
    graph.def(op.name, [&op](Graph& g, const py::args& args, const py::kwargs& kwargs) {
      Call call(op);
      call.take(args, kwargs);
      return call.run(g);
    });
  }
  graph.attr("flatten") = graph.attr("reshape");
}

// Methods whose order of arguments is their own.
void bind_objectives(py::class_<Graph>& graph) {
  graph
      .def(
          "loss",
          [](Graph& g, const std::string& kind, ValueId y_true, ValueId y_pred, bool from_logits,
             const std::string& name) {
            const LossAttrs attrs{loss_kind(kind.c_str()), from_logits};
            return append_loss(g, attrs, y_true, y_pred, name);
          },
          "kind"_a, "y_true"_a, "y_pred"_a, py::kw_only(), "from_logits"_a = false, "name"_a = "")
      .def(
          "metric",
          [](Graph& g, const std::string& kind, ValueId y_true, ValueId y_pred, Single threshold,
             const std::string& name) {
            return g.add(OpKind::metric, MetricAttrs{metric_kind(kind.c_str()), threshold},
                         {y_true, y_pred}, name);
          },
          "kind"_a, "y_true"_a, "y_pred"_a, py::kw_only(), "threshold"_a = 0.5f, "name"_a = "")
      .def("gradients", &append_gradients, "loss"_a, "wrt"_a);
}

const char* text_of(Presence presence) {
  switch (presence) {
    case Presence::required:
      return "required";
    case Presence::optional:
      return "optional";
    case Presence::shape_only:
      return "shape_only";
    case Presence::optional_shape_only:
      return "optional_shape_only";
    case Presence::repeated:
      return "repeated";
    case Presence::any_number:
      return "any_number";
  }
  return "";
}

// The table of ops: for tests, the stub and those who write programs.
py::dict describe_ops() {
  py::dict ops;
  for (const OpDefinition& op : op_definitions()) {
    py::dict inputs, attributes;
    for (const Argument& input : op.inputs) inputs[input.name] = text_of(input.presence);
    const py::dict defaults = to_python(attributes_of(op.attrs));
    for (const Attribute& attribute : attributes_of(op)) {
      const char* name = attribute.name.c_str();
      py::dict described("type"_a = attribute.type);
      if (!attribute.choices.empty()) {
        described["choices"] =
            std::vector<std::string>(attribute.choices.begin(), attribute.choices.end());
      }
      if (!attribute.required) {
        described["default"] = attribute.completed ? py::object(py::none()) : defaults[name];
      }
      attributes[name] = described;
    }
    ops[op.name] = py::dict("inputs"_a = inputs, "attributes"_a = attributes,
                            "results"_a = op.results, "is_update"_a = op.role == Role::update,
                            "is_differentiable"_a = op.gradient != nullptr);
  }
  return ops;
}

}  // namespace

void bind_ops(py::module_& m, py::class_<Graph>& graph) {
  bind_rows(graph);
  bind_objectives(graph);
  m.def("ops", &describe_ops);
  m.def("functions", [] {
    py::dict arities;  // by name
    for (int i = 0; i < kFunctions; ++i) {
      const auto function = static_cast<Function>(i);
      arities[name_of(function)] = arity_of(function);
    }
    return arities;
  });
}

}  // namespace pycnn
