"""The folder ``tests`` is put on the path, for ``import networks``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
