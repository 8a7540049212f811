# SPDX-License-Identifier: Apache-2.0
"""What all floors stand on: checks, names, text, seeds, files on the disk."""
