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

// True when Python has a pending signal (Ctrl-C). Called without the GIL.
bool signal_pending() {
  const py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

// What probe() measures, without the GIL.
template <class Probe>
double probed(Probe probe) {
  available_threads();  // throws for a bad environment, which a region could not
  std::optional<double> result;
  {
    const py::gil_scoped_release release;
    result = probe();
  }
  if (!result) throw py::error_already_set();
  return *result;
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
  m.def(
      "set_num_threads",
      [](int threads) {
        available_threads();  // the environment may be at fault: better found here than in a run
        set_num_threads(threads);
      },
      "threads"_a);
  m.def("random_uniform", &random_uniform, "seed"_a, "stream"_a, "step"_a, "count"_a);
  m.def("kernels", &kernel_names, "isa"_a);
  m.def(
      "probe_fma",
      [](const std::string& isa, int threads, double seconds) {
        const Isa which = isa_from_name(isa);
        PYCNN_CHECK_VALUE(is_supported(which), "probe_fma: this CPU has no ", isa);
        return probed([&] { return probe_fma(which, threads, seconds, signal_pending); });
      },
      "isa"_a, "threads"_a, "seconds"_a = 0.05);
  m.def(
      "probe_copy",
      [](int threads, dim_t megabytes) {
        constexpr dim_t kMost = 2000;  // megabytes
        PYCNN_CHECK_VALUE(megabytes >= 1 && megabytes <= kMost,
                          "probe_copy: megabytes must be 1 to ", kMost, ", got ", megabytes);
        return probed([&] { return probe_copy(threads, megabytes * 1000000, signal_pending); });
      },
      "threads"_a, "megabytes"_a = 256);
}

}  // namespace pycnn
