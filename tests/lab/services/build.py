#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in as one program file, for `images/build.py --binary gotrue=PATH`; the same bytes every time."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parent
# A change to one is none to the other's image.
OWN = {"gotrue": ("gotrue", "gotrue_api"), "postgrest": ("postgrest", "postgrest_api", "rest", "schema")}


def build(name: str, path: Path) -> None:
    start = f"import sys\n\nfrom services.{name} import main\n\nsys.exit(main(sys.argv[1:]))\n"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), start.encode())
        foreign = {other for owner, names in OWN.items() if owner != name for other in (*names, "build")}
        for file in sorted(FOLDER.iterdir()):
            if file.suffix in (".py", ".toml") and file.stem not in foreign:
                archive.writestr(zipfile.ZipInfo(f"services/{file.name}"), file.read_bytes())
    path.write_bytes(b"#!/usr/bin/python3 -I\n" + packed.getvalue())
    path.chmod(0o755)


if __name__ == "__main__":
    build(sys.argv[1], Path(sys.argv[2]))
