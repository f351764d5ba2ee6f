# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-test runs to get pip into an empty environment, from Python itself and the default package index.

ansible-test would download a script from a site of its own, which a machine with only package registries cannot reach;
a file in its cache comes first. It is called with pip options, packages, and get-pip's own --no-setuptools, --no-wheel.
"""

from __future__ import annotations

import subprocess
import sys

subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
options = [option for option in sys.argv[1:] if option not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "pip", "install", *options], check=True)
