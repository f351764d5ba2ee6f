# SPDX-License-Identifier: GPL-3.0-or-later
"""What the gateway asks about every request: is the key that it carries one of the project's?"""
