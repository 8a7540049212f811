// SPDX-License-Identifier: Apache-2.0
// Error -> the exception classes of pycnn/errors.py and Python's own.
#include "base/error.h"
#include "bind/bind.h"

namespace pycnn {
namespace {

py::object exception_class(ErrorKind kind) {
  const auto own = [](const char* name) { return py::module_::import("pycnn.errors").attr(name); };
  switch (kind) {
    case ErrorKind::shape:
      return own("ShapeError");
    case ErrorKind::dtype:
      return own("DTypeError");
    case ErrorKind::numeric:
      return own("NumericError");
    case ErrorKind::state:
      return py::reinterpret_borrow<py::object>(PyExc_RuntimeError);
    case ErrorKind::memory:
      return py::reinterpret_borrow<py::object>(PyExc_MemoryError);
    case ErrorKind::value:
      break;
  }
  return py::reinterpret_borrow<py::object>(PyExc_ValueError);
}

}  // namespace

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      PyErr_SetString(exception_class(error.kind()).ptr(), error.what());
    }
  });
}

}  // namespace pycnn
