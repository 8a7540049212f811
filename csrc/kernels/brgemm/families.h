// SPDX-License-Identifier: Apache-2.0
// One family of tiles per ISA file.
#pragma once

#include "kernels/brgemm/brgemm.h"

namespace pycnn {

extern const BrgemmFamily kBrgemmScalar;
extern const BrgemmFamily kBrgemmAvx2;
extern const BrgemmFamily kBrgemmAvx512;

}  // namespace pycnn
