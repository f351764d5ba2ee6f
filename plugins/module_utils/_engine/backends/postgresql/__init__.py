# SPDX-License-Identifier: BSD-2-Clause
"""Shared PostgreSQL clusters: one query to see all projects' roles and databases, one idempotent step at a time."""
