// SPDX-License-Identifier: Apache-2.0
// What the binding files share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "base/id.h"
#include "base/shape.h"

namespace pycnn {

namespace py = pybind11;

void register_errors(py::module_& m);
void register_graph(py::module_& m);
void register_parameters(py::module_& m);
void register_plan(py::module_& m);
void register_machine(py::module_& m);

py::tuple to_tuple(const Shape& shape);  // None for the batch

}  // namespace pycnn

// Python's int <-> Id; None for none, which only arguments of type std::optional take.
template <class Kind>
struct pybind11::detail::type_caster<pycnn::Id<Kind>> {
  PYBIND11_TYPE_CASTER(pycnn::Id<Kind>, const_name("int"));

  bool load(handle source, bool convert) {
    make_caster<pycnn::dim_t> number;
    if (!number.load(source, convert)) return false;
    const auto index = cast_op<pycnn::dim_t>(number);
    PYCNN_CHECK_VALUE(index >= 0, "no ", Kind::kName, " ", index);
    value = pycnn::Id<Kind>(static_cast<std::size_t>(index));
    return true;
  }
  static handle cast(pycnn::Id<Kind> id, return_value_policy, handle) {
    if (!id.has_value()) return none().release();
    return PyLong_FromSize_t(id.index());
  }
};
