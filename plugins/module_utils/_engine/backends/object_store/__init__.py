# SPDX-License-Identifier: BSD-2-Clause
"""The object store that archives are kept in."""
