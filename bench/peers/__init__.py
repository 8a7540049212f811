# SPDX-License-Identifier: Apache-2.0
"""One adapter per framework; each runs in a worker process of its own (worker.py)."""
