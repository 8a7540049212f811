// SPDX-License-Identifier: Apache-2.0
// The one exception type of the core. Messages read "op: what was expected, got what".
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace pycnn {

enum class ErrorKind { value, shape, dtype, numeric, state, memory };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  stream.imbue(std::locale::classic());  // the host's locale must not change a message
  (stream << ... << parts);
  return stream.str();
}

#define PYCNN_CHECK(condition, kind, ...)                                       \
  do {                                                                          \
    if (!(condition)) throw ::pycnn::Error(kind, ::pycnn::concat(__VA_ARGS__)); \
  } while (false)
#define PYCNN_CHECK_VALUE(condition, ...) \
  PYCNN_CHECK(condition, ::pycnn::ErrorKind::value, __VA_ARGS__)
#define PYCNN_CHECK_SHAPE(condition, ...) \
  PYCNN_CHECK(condition, ::pycnn::ErrorKind::shape, __VA_ARGS__)

}  // namespace pycnn
