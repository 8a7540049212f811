// SPDX-License-Identifier: Apache-2.0
#include "graph/graph.h"

#include <cmath>
#include <optional>
#include <variant>

#include "bind/bind.h"
#include "graph/op.h"

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

using OptionalId = std::optional<ValueId>;  // None or absent
using Pair = std::pair<dim_t, dim_t>;
using PadArgument = std::variant<std::string, std::tuple<dim_t, dim_t, dim_t, dim_t>>;
using py::literals::operator""_a;

ValueId id_or_none(OptionalId id) { return id.value_or(kNoValue); }
Size2d size2d(Pair pair) { return {pair.first, pair.second}; }

Shape to_shape(const std::vector<std::optional<dim_t>>& dims) {
  std::vector<dim_t> extents;
  for (const auto& dim : dims) extents.push_back(dim.value_or(kBatch));
  return Shape(extents);
}

DType to_dtype(const std::string& name) {
  if (name == "float32") return DType::f32;
  if (name == "int32") return DType::i32;
  if (name == "uint8") return DType::u8;
  throw Error(ErrorKind::dtype,
              concat("input: expected float32, int32 or uint8, got '", name, "'"));
}

Padding to_padding(const char* op, const PadArgument& argument) {
  if (const auto* explicit_pad = std::get_if<std::tuple<dim_t, dim_t, dim_t, dim_t>>(&argument)) {
    const auto [top, bottom, left, right] = *explicit_pad;
    return {Padding::Mode::explicit_pad, {top, bottom, left, right}};
  }
  const std::string& name = std::get<std::string>(argument);
  PYCNN_CHECK_VALUE(name == "valid" || name == "same", op,
                    ": padding must be 'valid', 'same' or (top, bottom, left, right), got '", name,
                    "'");
  return {name == "same" ? Padding::Mode::same : Padding::Mode::valid, {}};
}

// The spatial extents of value x, for resolving "same"; the op itself checks the rest.
Size2d spatial(const Graph& graph, const char* op, ValueId x) {
  const Shape& shape = graph.shape(x);
  PYCNN_CHECK_SHAPE(shape.rank() == 4, op, ": x must have shape (N, H, W, C), got ", shape.text());
  return {shape[1], shape[2]};
}

Conv2dAttrs conv_attrs(const Graph& graph, ValueId x, ValueId w, Pair strides,
                       const PadArgument& padding, Pair dilation, dim_t groups) {
  PYCNN_CHECK_VALUE(strides.first >= 1 && strides.second >= 1,
                    "conv2d: strides must be >= 1, got (", strides.first, ", ", strides.second,
                    ")");
  PYCNN_CHECK_VALUE(dilation.first >= 1 && dilation.second >= 1,
                    "conv2d: dilation must be >= 1, got (", dilation.first, ", ", dilation.second,
                    ")");
  const Shape& kernel = graph.shape(w);
  PYCNN_CHECK_SHAPE(kernel.rank() == 4, "conv2d: w must have shape (R, S, C/groups, K), got ",
                    kernel.text());
  Conv2dAttrs attrs{size2d(strides), size2d(dilation), {}, groups};
  attrs.pad = resolve_padding(to_padding("conv2d", padding), spatial(graph, "conv2d", x),
                              {kernel[0], kernel[1]}, attrs.stride, attrs.dilation);
  return attrs;
}

Conv2dAttrs transposed_attrs(const Graph& graph, ValueId w, Pair strides,
                             const PadArgument& padding, const std::optional<Pair>& output_padding,
                             Pair dilation) {
  const Shape& kernel = graph.shape(w);
  PYCNN_CHECK_SHAPE(kernel.rank() == 4,
                    "conv2d_transpose: w must have shape (R, S, filters, C), got ", kernel.text());
  std::optional<Size2d> extra;
  if (output_padding) extra = size2d(*output_padding);
  Conv2dAttrs attrs{size2d(strides), size2d(dilation), {}, 1};
  const TransposedPadding resolved =
      resolve_transposed_padding(to_padding("conv2d_transpose", padding), {kernel[0], kernel[1]},
                                 attrs.stride, attrs.dilation, extra);
  attrs.pad = resolved.pad;
  attrs.output_padding = resolved.output_padding;
  return attrs;
}

Pool2dAttrs pool_attrs(const Graph& graph, const char* op, ValueId x, Pair pool_size, Pair strides,
                       const PadArgument& padding) {
  PYCNN_CHECK_VALUE(pool_size.first >= 1 && pool_size.second >= 1, op,
                    ": pool_size must be >= 1, got (", pool_size.first, ", ", pool_size.second,
                    ")");
  PYCNN_CHECK_VALUE(strides.first >= 1 && strides.second >= 1, op, ": strides must be >= 1, got (",
                    strides.first, ", ", strides.second, ")");
  Pool2dAttrs attrs{size2d(pool_size), size2d(strides), {}};
  attrs.pad = resolve_padding(to_padding(op, padding), spatial(graph, op, x), attrs.window,
                              attrs.stride, {1, 1});
  return attrs;
}

Single default_alpha(ActivationKind kind) {
  return {kind == ActivationKind::leaky_relu ? 0.2f : kind == ActivationKind::elu ? 1.0f : 0.0f};
}

void bind_products(py::class_<Graph>& graph) {
  graph
      .def(
          "conv2d",
          [](Graph& g, ValueId x, ValueId w, OptionalId b, Pair strides, const PadArgument& padding,
             Pair dilation, dim_t groups, const std::string& name) {
            return g.add(OpKind::conv2d, conv_attrs(g, x, w, strides, padding, dilation, groups),
                         {x, w, id_or_none(b), kNoValue}, name);
          },
          "x"_a, "w"_a, "b"_a = py::none(), py::kw_only(), "strides"_a = Pair{1, 1},
          "padding"_a = "valid", "dilation"_a = Pair{1, 1}, "groups"_a = 1, "name"_a = "")
      .def(
          "conv2d_backward_data",
          [](Graph& g, ValueId dy, ValueId w, ValueId x, Pair strides, const PadArgument& padding,
             Pair dilation, dim_t groups, const std::string& name) {
            return g.add(OpKind::conv2d_backward_data,
                         conv_attrs(g, x, w, strides, padding, dilation, groups),
                         {dy, w, x, kNoValue}, name);
          },
          "dy"_a, "w"_a, "x"_a, py::kw_only(), "strides"_a = Pair{1, 1}, "padding"_a = "valid",
          "dilation"_a = Pair{1, 1}, "groups"_a = 1, "name"_a = "")
      .def(
          "conv2d_backward_weights",
          [](Graph& g, ValueId x, ValueId dy, ValueId w, Pair strides, const PadArgument& padding,
             Pair dilation, dim_t groups, const std::string& name) {
            return g.add(OpKind::conv2d_backward_weights,
                         conv_attrs(g, x, w, strides, padding, dilation, groups), {x, dy, w}, name);
          },
          "x"_a, "dy"_a, "w"_a, py::kw_only(), "strides"_a = Pair{1, 1}, "padding"_a = "valid",
          "dilation"_a = Pair{1, 1}, "groups"_a = 1, "name"_a = "")
      .def(
          "dense",
          [](Graph& g, ValueId x, ValueId w, OptionalId b, const std::string& name) {
            return g.add(OpKind::dense, DenseAttrs{}, {x, w, id_or_none(b), kNoValue}, name);
          },
          "x"_a, "w"_a, "b"_a = py::none(), py::kw_only(), "name"_a = "")
      .def(
          "dense_backward_data",
          [](Graph& g, ValueId dy, ValueId w, ValueId x, const std::string& name) {
            return g.add(OpKind::dense_backward_data, DenseAttrs{}, {dy, w, x, kNoValue}, name);
          },
          "dy"_a, "w"_a, "x"_a, py::kw_only(), "name"_a = "")
      .def(
          "dense_backward_weights",
          [](Graph& g, ValueId x, ValueId dy, ValueId w, const std::string& name) {
            return g.add(OpKind::dense_backward_weights, DenseAttrs{}, {x, dy, w}, name);
          },
          "x"_a, "dy"_a, "w"_a, py::kw_only(), "name"_a = "")
      .def(
          "bias_backward",
          [](Graph& g, ValueId dy, const std::string& name) {
            return g.add(OpKind::bias_backward, {}, {dy}, name);
          },
          "dy"_a, py::kw_only(), "name"_a = "");
}

void bind_enlarging(py::class_<Graph>& graph) {
  graph
      .def(
          "conv2d_transpose",
          [](Graph& g, ValueId x, ValueId w, OptionalId b, Pair strides, const PadArgument& padding,
             const std::optional<Pair>& output_padding, Pair dilation, const std::string& name) {
            return g.add(OpKind::conv2d_transpose,
                         transposed_attrs(g, w, strides, padding, output_padding, dilation),
                         {x, w, id_or_none(b), kNoValue}, name);
          },
          "x"_a, "w"_a, "b"_a = py::none(), py::kw_only(), "strides"_a = Pair{1, 1},
          "padding"_a = "valid", "output_padding"_a = py::none(), "dilation"_a = Pair{1, 1},
          "name"_a = "")
      .def(
          "concatenate",
          [](Graph& g, const std::vector<ValueId>& inputs, const std::string& name) {
            return g.add(OpKind::concatenate, {}, inputs, name);
          },
          "inputs"_a, py::kw_only(), "name"_a = "")
      .def(
          "upsample2d",
          [](Graph& g, ValueId x, Pair size, const std::string& name) {
            return g.add(OpKind::upsample2d, Upsample2dAttrs{size2d(size)}, {x}, name);
          },
          "x"_a, py::kw_only(), "size"_a, "name"_a = "")
      .def(
          "slice_channels",
          [](Graph& g, ValueId x, dim_t first, dim_t count, const std::string& name) {
            return g.add(OpKind::slice_channels, SliceAttrs{first, count}, {x}, name);
          },
          "x"_a, py::kw_only(), "first"_a, "count"_a, "name"_a = "");
}

void bind_layers(py::class_<Graph>& graph) {
  const auto pool = [](OpKind op, const char* op_name) {
    return [op, op_name](Graph& g, ValueId x, Pair pool_size, Pair strides,
                         const PadArgument& padding, const std::string& name) {
      return g.add(op, pool_attrs(g, op_name, x, pool_size, strides, padding), {x}, name);
    };
  };
  graph
      .def("max_pool2d", pool(OpKind::max_pool2d, "max_pool2d"), "x"_a, py::kw_only(),
           "pool_size"_a, "strides"_a, "padding"_a = "valid", "name"_a = "")
      .def("avg_pool2d", pool(OpKind::avg_pool2d, "avg_pool2d"), "x"_a, py::kw_only(),
           "pool_size"_a, "strides"_a, "padding"_a = "valid", "name"_a = "")
      .def(
          "global_avg_pool2d",
          [](Graph& g, ValueId x, const std::string& name) {
            return g.add(OpKind::global_avg_pool2d, {}, {x}, name);
          },
          "x"_a, py::kw_only(), "name"_a = "")
      .def(
          "flatten",
          [](Graph& g, ValueId x, const std::string& name) {
            return g.add(OpKind::reshape, {}, {x}, name);
          },
          "x"_a, py::kw_only(), "name"_a = "")
      .def(
          "add",
          [](Graph& g, ValueId a, ValueId b, const std::string& name) {
            return g.add(OpKind::add, {}, {a, b}, name);
          },
          "a"_a, "b"_a, py::kw_only(), "name"_a = "");
}

void bind_activations(py::class_<Graph>& graph) {
  graph
      .def(
          "activation",
          [](Graph& g, ValueId x, const std::string& kind, std::optional<Single> alpha,
             const std::string& name) {
            const ActivationKind k = activation_kind(kind.c_str());
            return g.add(OpKind::activation, ActivationAttrs{k, alpha.value_or(default_alpha(k))},
                         {x}, name);
          },
          "x"_a, "kind"_a, py::kw_only(), "alpha"_a = py::none(), "name"_a = "")
      .def(
          "softmax",
          [](Graph& g, ValueId x, const std::string& name) {
            return g.add(OpKind::softmax, {}, {x}, name);
          },
          "x"_a, py::kw_only(), "name"_a = "")
      .def(
          "dropout",
          [](Graph& g, ValueId x, Single rate, std::uint32_t stream, const std::string& name) {
            return g.add(OpKind::dropout, DropoutAttrs{rate, stream}, {x}, name);
          },
          "x"_a, py::kw_only(), "rate"_a, "stream"_a, "name"_a = "")
      .def(
          "batch_norm_training",
          [](Graph& g, ValueId x, ValueId gamma, ValueId beta, Single epsilon,
             const std::string& name) {
            const ValueId y =
                g.add(OpKind::batch_norm_training, BatchNormAttrs{epsilon}, {x, gamma, beta}, name);
            const std::vector<ValueId>& out = g.producer(y).outputs;
            return std::tuple(out[0], out[1], out[2]);
          },
          "x"_a, "gamma"_a, "beta"_a, py::kw_only(), "epsilon"_a, "name"_a = "")
      .def(
          "batch_norm_inference",
          [](Graph& g, ValueId x, ValueId gamma, ValueId beta, ValueId mean, ValueId var,
             Single epsilon, const std::string& name) {
            return g.add(OpKind::batch_norm_inference, BatchNormAttrs{epsilon},
                         {x, gamma, beta, mean, var}, name);
          },
          "x"_a, "gamma"_a, "beta"_a, "mean"_a, "var"_a, py::kw_only(), "epsilon"_a, "name"_a = "");
}

void bind_training(py::class_<Graph>& graph) {
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
      .def("gradients", &append_gradients, "loss"_a, "wrt"_a)
      .def(
          "sgd",
          [](Graph& g, ValueId parameter, ValueId gradient, Single momentum, bool nesterov,
             Single weight_decay, const std::string& name) {
            g.add(OpKind::sgd, SgdAttrs{momentum, weight_decay, nesterov}, {parameter, gradient},
                  name);
          },
          "parameter"_a, "gradient"_a, py::kw_only(), "momentum"_a = 0.0f, "nesterov"_a = false,
          "weight_decay"_a = 0.0f, "name"_a = "")
      .def(
          "adam",
          [](Graph& g, ValueId parameter, ValueId gradient, Single beta_1, Single beta_2,
             Single epsilon, Single weight_decay, const std::string& name) {
            g.add(OpKind::adam, AdamAttrs{beta_1, beta_2, epsilon, weight_decay},
                  {parameter, gradient}, name);
          },
          "parameter"_a, "gradient"_a, py::kw_only(), "beta_1"_a = 0.9f, "beta_2"_a = 0.999f,
          "epsilon"_a = 1e-7f, "weight_decay"_a = 0.0f, "name"_a = "")
      .def(
          "moving_average",
          [](Graph& g, ValueId parameter, ValueId sample, Single momentum,
             const std::string& name) {
            g.add(OpKind::moving_average, MovingAverageAttrs{momentum}, {parameter, sample}, name);
          },
          "parameter"_a, "sample"_a, py::kw_only(), "momentum"_a, "name"_a = "");
}

py::list describe(const Graph& graph) {
  py::list nodes;
  for (const Node& node : graph.nodes()) {
    py::dict entry;
    entry["op"] = definition(node.op).name;
    entry["name"] = node.name;
    entry["inputs"] = node.inputs;
    entry["outputs"] = node.outputs;
    entry["macs"] = node.macs;
    entry["trainable"] = node.trainable;
    nodes.append(entry);
  }
  return nodes;
}

}  // namespace

void register_graph(py::module_& m) {
  py::class_<Graph> graph(m, "Graph");
  graph.def(py::init<>())
      .def(
          "input",
          [](Graph& g, const std::string& name, const std::vector<std::optional<dim_t>>& shape,
             const std::string& dtype) { return g.input(name, to_shape(shape), to_dtype(dtype)); },
          "name"_a, "shape"_a, "dtype"_a = "float32")
      .def(
          "parameter",
          [](Graph& g, const std::string& name, const std::vector<dim_t>& shape, bool trainable) {
            return g.parameter(name, Shape(shape), trainable);
          },
          "name"_a, "shape"_a, "trainable"_a = true)
      .def("mark_output", &Graph::mark_output, "value"_a)
      .def(
          "shape", [](const Graph& g, ValueId v) { return to_tuple(g.shape(v)); }, "value"_a)
      .def("nodes", &describe);
  bind_products(graph);
  bind_enlarging(graph);
  bind_layers(graph);
  bind_activations(graph);
  bind_training(graph);
}

}  // namespace pycnn
