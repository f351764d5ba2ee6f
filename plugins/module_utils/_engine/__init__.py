# SPDX-License-Identifier: BSD-2-Clause
"""The engine: from projects to a platform that holds them. Plain Python, without Ansible; see docs on architecture."""
