# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs beside a PostgreSQL: it archives WAL, makes base backups, commits a heartbeat, and says how it goes."""
