# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine, measured: at scale against a floor and what people use instead, on a real PostgreSQL against plain SQL,
on the lab until a new project answers; and archives, against what is done by hand. `make bench` runs it.
"""
