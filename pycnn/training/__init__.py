# SPDX-License-Identifier: Apache-2.0
"""compile, fit, evaluate, predict: the loops around a model's programs."""
