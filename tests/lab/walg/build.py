#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in as one program file, for `images/build.py --binary wal-g=PATH`; the same bytes every time."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
START = b"import sys\n\nfrom wal_g.main import main\n\nsys.exit(main(sys.argv[1:]))\n"


def build(path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), START)
        for file in sorted(FOLDER.glob("wal_g/*")):
            if file.suffix in (".py", ".toml"):
                archive.writestr(zipfile.ZipInfo(f"wal_g/{file.name}"), file.read_bytes())
    path.write_bytes(b"#!/usr/bin/env python3\n" + packed.getvalue())
    path.chmod(0o755)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
