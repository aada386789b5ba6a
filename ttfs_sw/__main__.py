# SPDX-License-Identifier: Apache-2.0
"""``python -m ttfs_sw``: the same as the command ``ttfs``."""

import sys

from ttfs_sw.cli import main

if __name__ == "__main__":
    sys.exit(main())
