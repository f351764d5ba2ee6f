# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks are a package of the checkout and import the engine by its name in the collection."""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[3]), os.environ["SUPALOVE_COLLECTIONS"]]
