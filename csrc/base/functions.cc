// SPDX-License-Identifier: Apache-2.0
#include "base/functions.h"

#include <iterator>

#include "base/error.h"

namespace pycnn {
namespace {

struct Row {
  const char* name;
  int arity;
};

// In the order of the enum.
constexpr Row kRows[] = {
    {"add", 2},         {"subtract", 2},   {"multiply", 2},    {"divide", 2},   {"floor_divide", 2},
    {"mod", 2},         {"maximum", 2},    {"minimum", 2},     {"power", 2},    {"hypot", 2},
    {"arctan2", 2},     {"equal", 2},      {"not_equal", 2},   {"less", 2},     {"less_equal", 2},
    {"logical_and", 2}, {"logical_or", 2}, {"logical_not", 1}, {"where", 3},    {"clip", 3},
    {"negative", 1},    {"absolute", 1},   {"sign", 1},        {"square", 1},   {"sqrt", 1},
    {"rsqrt", 1},       {"reciprocal", 1}, {"exp", 1},         {"exp2", 1},     {"expm1", 1},
    {"log", 1},         {"log2", 1},       {"log10", 1},       {"log1p", 1},    {"sin", 1},
    {"cos", 1},         {"tan", 1},        {"arcsin", 1},      {"arccos", 1},   {"arctan", 1},
    {"sinh", 1},        {"cosh", 1},       {"tanh", 1},        {"arcsinh", 1},  {"arccosh", 1},
    {"arctanh", 1},     {"sigmoid", 1},    {"softplus", 1},    {"erf", 1},      {"floor", 1},
    {"ceil", 1},        {"round", 1},      {"trunc", 1},       {"isfinite", 1}, {"isinf", 1},
    {"isnan", 1},       {"to_int32", 1},   {"to_uint8", 1},
};
static_assert(std::size(kRows) == kFunctions);

}  // namespace

const char* name_of(Function function) { return kRows[static_cast<std::size_t>(function)].name; }
int arity_of(Function function) { return kRows[static_cast<std::size_t>(function)].arity; }

Function function_named(const std::string& name) {
  for (std::size_t i = 0; i < std::size(kRows); ++i) {
    if (name == kRows[i].name) return static_cast<Function>(i);
  }
  throw Error(ErrorKind::value, concat("expression: no function is named '", name, "'"));
}

}  // namespace pycnn
