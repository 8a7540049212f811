// SPDX-License-Identifier: Apache-2.0
// What the binding files share.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <exception>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/float_mode.h"
#include "base/id.h"
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
void register_variables(py::module_& m);
void register_plan(py::module_& m);
void register_machine(py::module_& m);
void shorten_type_errors(py::module_& m);  // of all that is registered

using FloatArray = py::array_t<float, py::array::c_style>;

py::tuple to_tuple(const Shape& shape);  // None for the batch
py::array_t<float> to_array(const Shape& shape, const std::vector<float>& values);
std::string shape_text(const py::array& array);

// body() without Python's lock, which the thread inside a gate may need. Not a scope: at the end of
// the process Python ends other threads where they take the lock, by unwinding, and a destructor
// must not be unwound.
template <class Body>
std::invoke_result_t<Body> without_gil(Body&& body) {
  PyThreadState* const thread = PyEval_SaveThread();
  std::exception_ptr failure;
  if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
    try {
      body();
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    PyEval_RestoreThread(thread);
    if (failure) std::rethrow_exception(failure);
  } else {
    std::optional<std::invoke_result_t<Body>> result;
    try {
      result.emplace(body());
    } catch (const std::exception&) {
      failure = std::current_exception();
    }
    PyEval_RestoreThread(thread);
    if (failure) std::rethrow_exception(failure);
    return std::move(*result);
  }
}

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
