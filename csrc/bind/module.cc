// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"

// In a sub-interpreter (mod_wsgi has them) pybind11's own entry hangs before it could be refused.
#define PyInit__core PyInit__core_in_main_interpreter

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of pycnn: graphs, parameters, plans.";
  m.attr("__version__") = PYCNN_VERSION;
  pycnn::register_errors(m);
  pycnn::register_graph(m);
  pycnn::register_variables(m);
  pycnn::register_plan(m);
  pycnn::register_machine(m);
  pycnn::shorten_type_errors(m);
}

#undef PyInit__core

extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  if (PyInterpreterState_Get() == PyInterpreterState_Main()) {
    return PyInit__core_in_main_interpreter();
  }
  PyErr_SetString(PyExc_ImportError, "pycnn works in the main interpreter of a process only");
  return nullptr;
}
