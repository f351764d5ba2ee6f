# SPDX-License-Identifier: BSD-2-Clause
"""The Kubernetes API: server-side apply, bulk LISTs, one watch per kind."""
