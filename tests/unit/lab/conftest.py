# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's package lies under tests/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
