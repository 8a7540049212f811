// SPDX-License-Identifier: Apache-2.0
// What the binding files share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "base/float_mode.h"
#include "base/shape.h"

namespace pycnn {

namespace py = pybind11;

// A float argument, rounded from Python's double in the engine's mode: pybind11 would do it in the
// caller's.
struct Single {
  float value = 0;
  operator float() const { return value; }
};

void register_errors(py::module_& m);
void register_graph(py::module_& m);
void register_parameters(py::module_& m);
void register_plan(py::module_& m);
void register_machine(py::module_& m);

py::tuple to_tuple(const Shape& shape);  // None for the batch

}  // namespace pycnn

namespace pybind11::detail {

template <>
struct type_caster<pycnn::Single> {
  PYBIND11_TYPE_CASTER(pycnn::Single, const_name("float"));
  bool load(handle source, bool convert) {
    make_caster<double> number;
    if (!number.load(source, convert)) return false;
    value = {pycnn::to_single(cast_op<double>(number))};
    return true;
  }
};

}  // namespace pybind11::detail
