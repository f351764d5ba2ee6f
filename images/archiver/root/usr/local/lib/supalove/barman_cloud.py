# SPDX-License-Identifier: GPL-3.0-or-later
"""Barman Cloud for a login that can reach one prefix of a bucket: `supalove-barman backup ...`, and so on.

Barman asks whether the bucket exists before it does anything (HeadBucket), which such a login may not. Our buckets do:
who makes them is not who archives into them.
"""

import importlib
import sys

from barman.cloud_providers.aws_s3 import S3CloudInterface

PROGRAMS = {
    "backup": "cloud_backup",
    "restore": "cloud_restore",
    "wal-archive": "cloud_walarchive",
    "wal-restore": "cloud_walrestore",
}

S3CloudInterface._check_bucket_existence = lambda _self: True  # noqa: SLF001 (there is no other way)

name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
if name not in PROGRAMS:
    sys.exit(f"supalove-barman: one of {', '.join(PROGRAMS)}")
sys.argv[0] = f"barman-cloud-{name}"
importlib.import_module(f"barman.clients.{PROGRAMS[name]}").main()
