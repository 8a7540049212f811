# SPDX-License-Identifier: Apache-2.0
"""Model files: their bytes, and the layers in them."""
