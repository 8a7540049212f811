// SPDX-License-Identifier: Apache-2.0
// What the binding files share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "base/shape.h"

namespace pycnn {

namespace py = pybind11;

void register_errors(py::module_& m);
void register_graph(py::module_& m);
void register_parameters(py::module_& m);
void register_plan(py::module_& m);
void register_machine(py::module_& m);
void shorten_type_errors(py::module_& m);  // of all that is registered

py::tuple to_tuple(const Shape& shape);  // None for the batch

}  // namespace pycnn
