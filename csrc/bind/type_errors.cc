// SPDX-License-Identifier: Apache-2.0
// pybind11's TypeError for wrong arguments prints every argument, whole arrays too. Each function
// of the module is called through one of the two below, which name the types instead.
#include <string_view>

#include "bind/bind.h"

namespace pycnn {
namespace {

using FastCall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
using AnyCall = void (*)();

FastCall dispatch_fast = nullptr;                  // pybind11's own, from version 3.1 on
PyCFunctionWithKeywords dispatch_tuple = nullptr;  // before

std::string type_text(py::handle argument) {
  std::string text = Py_TYPE(argument.ptr())->tp_name;
  if (py::isinstance<py::array>(argument)) {
    text += std::string(py::str(argument.attr("shape"))) + " " +
            std::string(py::str(argument.attr("dtype")));
  }
  return text;
}

// Replaces the arguments that a pending TypeError of pybind11 lists by `types`().
template <class Types>
void shorten_error(Types types) {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) return;
  py::error_already_set error;
  constexpr std::string_view kMark = "\nInvoked with: ";
  try {
    std::string message = py::str(error.value());
    const std::size_t mark = message.find(kMark);
    if (mark != std::string::npos) {
      message.resize(mark + kMark.size());
      for (const std::string& text : types()) message += text + ", ";
      message.resize(message.size() - 2);
      PyErr_SetString(PyExc_TypeError, message.c_str());
      return;
    }
  } catch (const std::exception&) {  // the error is more important than its text
  }
  error.restore();
}

PyObject* call_fast(PyObject* self, PyObject* const* arguments, Py_ssize_t count,
                    PyObject* keywords) {
  PyObject* result = dispatch_fast(self, arguments, count, keywords);
  if (result != nullptr) return result;
  shorten_error([&] {
    std::vector<std::string> texts;
    for (Py_ssize_t i = 0; i < count; ++i) texts.push_back(type_text(arguments[i]));
    for (Py_ssize_t i = 0; keywords != nullptr && i < PyTuple_GET_SIZE(keywords); ++i) {
      const std::string name = py::str(PyTuple_GET_ITEM(keywords, i));
      texts.push_back(name + "=" + type_text(arguments[count + i]));
    }
    return texts;
  });
  return nullptr;
}

PyObject* call_tuple(PyObject* self, PyObject* arguments, PyObject* keywords) {
  PyObject* result = dispatch_tuple(self, arguments, keywords);
  if (result != nullptr) return result;
  shorten_error([&] {
    std::vector<std::string> texts;
    for (const py::handle argument : py::reinterpret_borrow<py::tuple>(arguments)) {
      texts.push_back(type_text(argument));
    }
    if (keywords == nullptr) return texts;
    for (const auto& [name, argument] : py::reinterpret_borrow<py::dict>(keywords)) {
      texts.push_back(std::string(py::str(name)) + "=" + type_text(argument));
    }
    return texts;
  });
  return nullptr;
}

void redirect(PyObject* function) {
  if (PyInstanceMethod_Check(function)) function = PyInstanceMethod_GET_FUNCTION(function);
  if (!PyCFunction_Check(function)) return;
  PyMethodDef& definition = *reinterpret_cast<PyCFunctionObject*>(function)->m_ml;
  const auto given = reinterpret_cast<AnyCall>(definition.ml_meth);
  AnyCall instead = nullptr;
  if (definition.ml_flags == (METH_FASTCALL | METH_KEYWORDS)) {
    dispatch_fast = reinterpret_cast<FastCall>(given);  // the same one for all functions
    instead = reinterpret_cast<AnyCall>(&call_fast);
  } else if (definition.ml_flags == (METH_VARARGS | METH_KEYWORDS)) {
    dispatch_tuple = reinterpret_cast<PyCFunctionWithKeywords>(given);
    instead = reinterpret_cast<AnyCall>(&call_tuple);
  }
  if (instead != nullptr) definition.ml_meth = reinterpret_cast<PyCFunction>(instead);
}

}  // namespace

void shorten_type_errors(py::module_& m) {
  for (const auto& [name, value] : py::reinterpret_borrow<py::dict>(m.attr("__dict__"))) {
    redirect(value.ptr());
    if (!PyType_Check(value.ptr())) continue;
    for (const auto& [key, member] : py::dict(value.attr("__dict__"))) redirect(member.ptr());
  }
}

}  // namespace pycnn
