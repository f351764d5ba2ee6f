# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds container images from recipes: data in, one archive per image out, no registry involved."""
