# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins for GoTrue and PostgREST, which cannot be had everywhere; contract.toml says what of them is kept."""
