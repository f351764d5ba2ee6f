# SPDX-License-Identifier: BSD-2-Clause
"""One folder per system that holds a part of a project, the same file names in each. Only this room does I/O."""
