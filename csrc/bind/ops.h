// SPDX-License-Identifier: Apache-2.0
// Attributes of ops as Python has them.
#pragma once

#include <string>

#include "bind/bind.h"
#include "graph/build.h"

namespace pycnn {

// value.cast<T>() that says what it was for.
template <class T>
T cast_or_refuse(py::handle value, const std::string& where, const char* expected) {
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error(
        concat(where, ": expected ", expected, ", got ", Py_TYPE(value.ptr())->tp_name));
  }
}

// Numbers, names, lists of integers, and extents: None among them is the batch axis. TypeError for
// others.
AttrValue to_attribute(const std::string& name, py::handle value);
py::object to_python(const AttrValue& value);
py::dict to_python(const AttrValues& values);

void bind_ops(py::module_& m, py::class_<Graph>& graph);  // one method for each row of the table

}  // namespace pycnn
