# SPDX-License-Identifier: BSD-2-Clause
"""The poolers, asked through the API server: only they can say whether they have read their files."""
