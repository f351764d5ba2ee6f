# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the module projects for the benchmark's module of this name."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.action.projects import ActionModule

__all__ = ["ActionModule"]
