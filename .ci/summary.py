# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reports in a folder tell: failures of linters, test counts of each JUnit report, and of all."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed (errors included) and skipped tests of one report."""
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


def main(folder: Path) -> int:
    """Print the table; 1 if a test failed or there is no report at all."""
    for report in sorted(folder.glob("*.txt")):
        print(report.read_text(), end="")
    results = {report.stem: counts(report) for report in sorted(folder.glob("*.xml"))}
    for name, (passed, failed, skipped) in results.items():
        print(f"{name}: {passed} passed, {failed} failed, {skipped} skipped")
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *results.values(), strict=False))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
