# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: throwaway hosts on one machine, a mirror of K3s' releases, and their inventory."""
