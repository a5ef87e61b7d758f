"""Lets the tests of this folder share `fusing`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
