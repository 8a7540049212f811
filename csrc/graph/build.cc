// SPDX-License-Identifier: Apache-2.0
#include "graph/build.h"

#include <cmath>

#include "base/float_mode.h"
#include "graph/check.h"

namespace pycnn {
namespace {

std::string text_of(const AttrValue& value) {
  struct Text {
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(dim_t v) const { return concat(v); }
    std::string operator()(double v) const { return concat(v); }
    std::string operator()(const std::string& v) const { return "'" + v + "'"; }
    std::string operator()(const std::vector<dim_t>& v) const {
      std::string text;
      for (const dim_t number : v) text += (text.empty() ? "" : ", ") + concat(number);
      return "(" + text + ")";
    }
    std::string operator()(const std::vector<double>& v) const {
      return concat("a list of ", v.size(), " numbers");
    }
    std::string operator()(const std::vector<std::string>& v) const {
      return concat("a list of ", v.size(), " texts");
    }
    std::string operator()(const Extents& v) const {
      std::string text;
      for (const dim_t number : v.numbers) {
        text += (text.empty() ? "" : ", ") + (number == kBatch ? "None" : concat(number));
      }
      return "(" + text + ")";
    }
  };
  return std::visit(Text(), value);
}

// Takes each field from the value of its name, and notes what is left open.
class Reader {
 public:
  Reader(const OpDefinition& op, const AttrValues& given)
      : op_(op), given_(given), taken_(given.size()) {}

  template <class Field>
  void operator()(const char* name, Field& field, const Bounds& bounds) {
    for (std::size_t i = 0; i < given_.size(); ++i) {
      if (given_[i].first != name) continue;
      PYCNN_CHECK_VALUE(!taken_[i], op_.name, ": ", name, " is given twice");
      taken_[i] = true;
      return take(name, given_[i].second, field);
    }
    PYCNN_CHECK_VALUE(!bounds.required, op_.name, ": ", name, " is missing");
    if constexpr (std::is_same_v<Field, Pad2d>) open_.padding = Padding::Mode::valid;
    if (bounds.completed) open_.absent.push_back(name);
  }

  void check_all_taken() const {
    for (std::size_t i = 0; i < given_.size(); ++i) {
      PYCNN_CHECK_VALUE(taken_[i], op_.name, ": has no attribute '", given_[i].first, "'");
    }
  }
  const Open& open() const { return open_; }

 private:
  template <class T>
  const T& as(const char* name, const AttrValue& value, const char* expected) const {
    const T* found = std::get_if<T>(&value);
    PYCNN_CHECK_VALUE(found != nullptr, op_.name, ": ", name, " must be ", expected, ", got ",
                      text_of(value));
    return *found;
  }
  const std::vector<dim_t>& list(const char* name, const AttrValue& value, std::size_t size,
                                 const char* expected) const {
    const auto& numbers = as<std::vector<dim_t>>(name, value, expected);
    PYCNN_CHECK_VALUE(numbers.size() == size, op_.name, ": ", name, " must be ", expected, ", got ",
                      text_of(value));
    return numbers;
  }

  void take(const char* name, const AttrValue& value, Size2d& field) {
    const auto& numbers = list(name, value, 2, "(h, w)");
    field = {numbers[0], numbers[1]};
  }
  void take(const char* name, const AttrValue& value, Pad2d& field) {
    constexpr const char* kExpected = "'valid', 'same' or (top, bottom, left, right)";
    if (const auto* mode = std::get_if<std::string>(&value)) {
      PYCNN_CHECK_VALUE(*mode == "valid" || *mode == "same", op_.name, ": ", name, " must be ",
                        kExpected, ", got ", text_of(value));
      open_.padding = *mode == "same" ? Padding::Mode::same : Padding::Mode::valid;
      return;
    }
    const auto& numbers = list(name, value, 4, kExpected);
    field = {numbers[0], numbers[1], numbers[2], numbers[3]};
  }
  void take(const char* name, const AttrValue& value, Shape& field) {
    if (const auto* extents = std::get_if<Extents>(&value)) {
      field = Shape(extents->numbers);
    } else {
      field = Shape(as<std::vector<dim_t>>(name, value, "a list of extents"));
    }
  }
  void take(const char* name, const AttrValue& value, Integers& field) {
    const auto& numbers = as<std::vector<dim_t>>(name, value, "a list of integers");
    PYCNN_CHECK_VALUE(numbers.size() <= Integers::kMost, op_.name, ": ", name, " must be at most ",
                      Integers::kMost, " integers, got ", numbers.size());
    field = Integers(numbers);
  }
  void take(const char* name, const AttrValue& value, std::vector<float>& field) {
    if (const auto* whole = std::get_if<std::vector<dim_t>>(&value)) {
      field.assign(whole->begin(), whole->end());
      return;
    }
    for (const double number : as<std::vector<double>>(name, value, "a list of numbers")) {
      field.push_back(to_single(number));
    }
  }
  void take(const char* name, const AttrValue& value, Expression& field) {
    field = parse_expression(as<std::vector<std::string>>(name, value, "a list of lines"));
  }
  void take(const char* name, const AttrValue& value, dim_t& field) {
    field = as<dim_t>(name, value, "an integer");
  }
  void take(const char* name, const AttrValue& value, std::uint32_t& field) {
    const dim_t number = as<dim_t>(name, value, "an integer");
    PYCNN_CHECK_VALUE(number >= 0 && number <= 0xFFFFFFFF, op_.name, ": ", name,
                      " must be in 0..2^32-1, got ", number);
    field = static_cast<std::uint32_t>(number);
  }
  void take(const char* name, const AttrValue& value, float& field) {
    const auto* number = std::get_if<dim_t>(&value);
    field = to_single(number ? static_cast<double>(*number) : as<double>(name, value, "a number"));
  }
  void take(const char* name, const AttrValue& value, bool& field) {
    field = as<bool>(name, value, "true or false");
  }
  void take(const char* name, const AttrValue& value, ActivationKind& field) {
    field = activation_kind(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, LossKind& field) {
    field = loss_kind(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, MetricKind& field) {
    field = metric_kind(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, ReduceKind& field) {
    field = reduce_kind(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, PadMode& field) {
    field = pad_mode(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, Interpolation& field) {
    field = interpolation(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, Coordinates& field) {
    field = coordinates(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, Rounding& field) {
    field = rounding(as<std::string>(name, value, "a name").c_str());
  }
  void take(const char* name, const AttrValue& value, DType& field) {
    field = dtype_named(as<std::string>(name, value, "a name").c_str());
  }

  const OpDefinition& op_;
  const AttrValues& given_;
  std::vector<bool> taken_;
  Open open_;
};

struct Writer {
  AttrValues& values;

  void operator()(const char* name, const Size2d& v, const Bounds&) const {
    values.emplace_back(name, std::vector<dim_t>{v.h, v.w});
  }
  void operator()(const char* name, const Pad2d& v, const Bounds&) const {
    values.emplace_back(name, std::vector<dim_t>{v.top, v.bottom, v.left, v.right});
  }
  void operator()(const char* name, const Shape& v, const Bounds&) const {
    values.emplace_back(name, Extents{{v.dims().begin(), v.dims().end()}});
  }
  void operator()(const char* name, const Integers& v, const Bounds&) const {
    values.emplace_back(name, std::vector<dim_t>(v.numbers().begin(), v.numbers().end()));
  }
  void operator()(const char* name, const std::vector<float>& v, const Bounds&) const {
    values.emplace_back(name, std::vector<double>(v.begin(), v.end()));
  }
  void operator()(const char* name, const Expression& v, const Bounds&) const {
    values.emplace_back(name, to_text(v));
  }
  void operator()(const char* name, dim_t v, const Bounds&) const { values.emplace_back(name, v); }
  void operator()(const char* name, std::uint32_t v, const Bounds&) const {
    values.emplace_back(name, dim_t{v});
  }
  void operator()(const char* name, float v, const Bounds&) const {
    values.emplace_back(name, double{v});
  }
  void operator()(const char* name, bool v, const Bounds&) const { values.emplace_back(name, v); }
  template <class Kind>
    requires std::is_enum_v<Kind>
  void operator()(const char* name, Kind v, const Bounds&) const {
    values.emplace_back(name, std::string(name_of(v)));
  }
};

}  // namespace

ValueId build(Graph& graph, OpKind op, std::vector<ValueId> inputs, const AttrValues& attributes,
              const std::string& name) {
  const OpDefinition& row = definition(op);
  Node node{.op = op, .attrs = row.attrs, .inputs = std::move(inputs), .name = name};
  Reader reader(row, attributes);
  fields(node.attrs, reader);
  reader.check_all_taken();
  if (row.resolve != nullptr) {
    check_inputs(graph, node);
    row.resolve(graph, node, reader.open());
  }
  return graph.add(op, std::move(node.attrs), std::move(node.inputs), name);
}

AttrValues attributes_of(const Attrs& attrs) {
  AttrValues values;
  fields(attrs, Writer{values});
  return values;
}

}  // namespace pycnn
