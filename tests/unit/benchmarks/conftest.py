# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks are a package of the checkout, and import the engine by its name in the collection and the servers of
the integration tests by theirs.
"""

import os
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "tests/integration"), os.environ["SUPALOVE_COLLECTIONS"]]
