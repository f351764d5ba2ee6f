# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine is imported by its name in the collection; the Makefile links the checkout to that place."""

import os
import sys

sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
sys.path.insert(0, os.path.dirname(__file__))

from fix_apiserver import api_server  # noqa: F401
from fix_engine import engine, own_engine, prepared, ref  # noqa: F401
from fix_fifty import undisturbed  # noqa: F401
from fix_postgresql import postgresql, shared  # noqa: F401
from fix_proxy import proxied  # noqa: F401
