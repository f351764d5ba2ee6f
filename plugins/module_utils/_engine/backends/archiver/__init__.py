# SPDX-License-Identifier: BSD-2-Clause
"""The archivers beside PostgreSQL, asked through the API server: nothing else may reach them."""
