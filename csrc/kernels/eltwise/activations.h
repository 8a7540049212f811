// SPDX-License-Identifier: Apache-2.0
// The activations as one struct each: operator() is f(x), gradient is dy * f'(x) written with y.
// max(0, x) keeps a NaN in x, as it returns its second operand then.
#pragma once

#include "simd/math.h"

namespace pycnn {
namespace {

template <class V>
struct Linear {
  explicit Linear(float) {}
  V operator()(V x) const { return x; }
  V gradient(V, V dy) const { return dy; }
};

template <class V>
struct Step {
  explicit Step(float) {}
  V operator()(V x) const { return select(le(V::zero(), x), V::set1(1.0f), V::zero()); }
  V gradient(V, V) const { return V::zero(); }
};

template <class V>
struct Sigmoid {
  explicit Sigmoid(float) {}
  [[gnu::always_inline]] V operator()(V x) const { return sigmoid(x); }
  V gradient(V y, V dy) const { return dy * (y * (V::set1(1.0f) - y)); }
};

template <class V>
struct Tanh {
  explicit Tanh(float) {}
  [[gnu::always_inline]] V operator()(V x) const { return tanh(x); }
  V gradient(V y, V dy) const { return dy * (V::set1(1.0f) - y * y); }
};

template <class V>
struct Relu {
  explicit Relu(float) {}
  V operator()(V x) const { return max(V::zero(), x); }
  V gradient(V y, V dy) const { return select(lt(V::zero(), y), dy, V::zero()); }
};

template <class V>
struct Relu6 {
  explicit Relu6(float) {}
  V operator()(V x) const { return min(V::set1(6.0f), max(V::zero(), x)); }
  V gradient(V y, V dy) const {
    return select(lt(V::zero(), y) & lt(y, V::set1(6.0f)), dy, V::zero());
  }
};

template <class V>
struct LeakyRelu {
  explicit LeakyRelu(float slope) : alpha(V::set1(slope)) {}
  V operator()(V x) const { return select(lt(V::zero(), x), x, alpha * x); }
  V gradient(V y, V dy) const { return select(lt(V::zero(), y), dy, alpha * dy); }
  V alpha;
};

template <class V>
struct Elu {
  explicit Elu(float scale) : alpha(V::set1(scale)) {}
  [[gnu::always_inline]] V operator()(V x) const {
    return select(lt(V::zero(), x), x, alpha * expm1_negative(x));
  }
  V gradient(V y, V dy) const { return select(lt(V::zero(), y), dy, dy * (y + alpha)); }
  V alpha;
};

template <class V>
struct HardSigmoid {
  explicit HardSigmoid(float) {}
  V operator()(V x) const {
    const V six = V::set1(6.0f);
    return min(six, max(V::zero(), x + V::set1(3.0f))) / six;
  }
  V gradient(V y, V dy) const {
    return select(lt(V::zero(), y) & lt(y, V::set1(1.0f)), dy / V::set1(6.0f), V::zero());
  }
};

template <template <class> class... Functions>
struct FunctionList {};
// In the order of ActivationKind.
using Activations =
    FunctionList<Linear, Step, Sigmoid, Tanh, Relu, Relu6, LeakyRelu, Elu, HardSigmoid>;

}  // namespace
}  // namespace pycnn
