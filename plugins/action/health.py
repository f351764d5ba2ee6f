# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs the module of the same name as that of projects is run: with its progress, and a small result."""

from __future__ import annotations

from ansible_collections.supalove.platform.plugins.action.projects import ActionModule

__all__ = ["ActionModule"]
