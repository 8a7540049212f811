# SPDX-License-Identifier: Apache-2.0
"""From layers to graphs and plans: builders, tensors, weights, networks, programs."""
