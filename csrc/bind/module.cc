// SPDX-License-Identifier: Apache-2.0
#include "bind/bind.h"

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
