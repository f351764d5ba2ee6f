# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is imported by its name in the collection; the Makefile links the checkout to that place."""

import os
import sys

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
sys.path.insert(0, os.path.dirname(__file__))

from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("supalove", deadline=None)
settings.load_profile("supalove")
