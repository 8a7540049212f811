# SPDX-License-Identifier: Apache-2.0
"""`pycnn bench`: the machine's roofs, then single layers, then whole networks."""

from .command import main as main

__all__ = ["main"]
