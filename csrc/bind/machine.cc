// SPDX-License-Identifier: Apache-2.0
#include "base/arch.h"
#include "base/error.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "bind/bind.h"
#include "kernels/brgemm/brgemm.h"
#include "ops/probe.h"

namespace pycnn {
namespace {

using py::literals::operator""_a;

py::array_t<float> random_uniform(std::uint64_t seed, std::uint32_t stream, std::uint32_t step,
                                  dim_t count) {
  PYCNN_CHECK_VALUE(count >= 0, "random_uniform: count must be >= 0, got ", count);
  py::array_t<float> result(static_cast<py::ssize_t>(count));
  float* out = result.mutable_data();
  const auto word = [](std::uint64_t value, int shift) {
    return static_cast<std::uint32_t>(value >> shift);
  };
  for (dim_t i = 0; i < count; i += 4) {
    const auto block = static_cast<std::uint64_t>(i / 4);
    const auto random = philox4x32({word(block, 0), word(block, 32), stream, step},
                                   {word(seed, 0), word(seed, 32)});
    for (dim_t j = 0; j < 4 && i + j < count; ++j) {
      out[i + j] = static_cast<float>(random[static_cast<std::size_t>(j)] >> 8) * 0x1p-24f;
    }
  }
  return result;
}

std::vector<std::string> kernel_names(const std::string& isa) {
  const BrgemmFamily& family = brgemm_family(isa_from_name(isa));
  std::vector<std::string> names;
  for (int i = 0; i < family.count; ++i) names.emplace_back(family.tiles[i].name);
  return names;
}

}  // namespace

void register_machine(py::module_& m) {
  m.def("isas", [] {
    std::vector<std::string> names;
    for (const Isa isa : supported_isas()) names.emplace_back(name_of(isa));
    return names;
  });
  m.def("default_isa", [] { return name_of(default_isa()); });
  m.def("available_threads", &available_threads);
  m.def("num_threads", &num_threads);
  m.def("set_num_threads", &set_num_threads, "threads"_a);
  m.def("random_uniform", &random_uniform, "seed"_a, "stream"_a, "step"_a, "count"_a);
  m.def("kernels", &kernel_names, "isa"_a);
  m.def(
      "probe_fma",
      [](const std::string& isa, int threads, double seconds) {
        const Isa which = isa_from_name(isa);
        PYCNN_CHECK_VALUE(is_supported(which), "probe_fma: this CPU has no ", isa);
        const py::gil_scoped_release release;
        return probe_fma(which, threads, seconds);
      },
      "isa"_a, "threads"_a, "seconds"_a = 0.05);
  m.def(
      "probe_copy",
      [](int threads, dim_t megabytes) {
        const py::gil_scoped_release release;
        return probe_copy(threads, megabytes * 1000000);
      },
      "threads"_a, "megabytes"_a = 256);
}

}  // namespace pycnn
