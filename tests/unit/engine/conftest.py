# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is imported by its name in the collection; the Makefile links the checkout to that place."""

import os
import signal
import sys

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
sys.path.insert(0, os.path.dirname(__file__))

# What is for both kinds of tests is there. Some files are called alike: those here come first.
sys.path.append(os.path.join(os.path.dirname(__file__), "../../integration"))

from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("supalove", deadline=None)
settings.load_profile("supalove")

# A shell that runs us in the background has us ignore SIGINT, and a shell script cannot take that back.
signal.signal(signal.SIGINT, signal.default_int_handler)
