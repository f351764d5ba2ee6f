# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is imported by its name in the collection; the Makefile links the checkout to that place."""

import os
import signal
import sys

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
sys.path.insert(0, os.path.dirname(__file__))

from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("supalove", deadline=None)
settings.load_profile("supalove")

# A shell that runs us in the background has us ignore SIGINT, and a shell script cannot take that back.
signal.signal(signal.SIGINT, signal.default_int_handler)
