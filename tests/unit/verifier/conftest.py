# SPDX-License-Identifier: GPL-3.0-or-later
"""The verifier is a package of its image."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "images/verifier/root/usr/local/lib/supalove"))
