# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine at scale, measured against a floor and against what people use instead; `make bench` runs it."""
