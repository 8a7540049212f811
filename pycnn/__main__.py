# SPDX-License-Identifier: Apache-2.0
"""python -m pycnn: the same as the command pycnn."""

import sys

from .cli import main

sys.exit(main())
