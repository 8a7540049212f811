// SPDX-License-Identifier: Apache-2.0
// Which instruction sets the CPU has, and how many threads this process may use.
#pragma once

#include <string>
#include <vector>

namespace pycnn {

// Ordered: a larger value is preferred. Names are feature sets, see name_of.
enum class Isa : int { scalar = 0, avx2 = 1, avx512 = 2 };
constexpr int kIsaCount = 3;

const char* name_of(Isa isa);
Isa isa_from_name(const std::string& name);  // throws Error for an unknown name
bool is_supported(Isa isa);                  // compiled in, and the CPU and the OS have it
std::vector<Isa> supported_isas();           // ascending
Isa default_isa();  // best supported, or PYCNN_ISA; throws where the CPU lacks the forced one

int available_threads();  // min(affinity, ceil(cgroup quota), OMP_NUM_THREADS, PYCNN_NUM_THREADS)

}  // namespace pycnn
