# SPDX-License-Identifier: BSD-2-Clause
"""What the user writes. Imports nothing of ours but the errors."""
