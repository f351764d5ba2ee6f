# SPDX-License-Identifier: GPL-3.0-or-later
"""A strict stand-in for wal-g."""
