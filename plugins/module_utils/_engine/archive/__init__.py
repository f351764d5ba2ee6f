# SPDX-License-Identifier: BSD-2-Clause
"""What lies in an archive, what of it may go, and from where a moment can be restored. Decisions only, no I/O."""
