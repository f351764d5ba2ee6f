# SPDX-License-Identifier: GPL-3.0-or-later
"""What the reports in a folder tell: failures of linters, test counts of each JUnit report, and of all."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

# Lines that say why, of what pytest and ansible-playbook print.
REASON = re.compile(r"^E  |\bfatal: |\[ERROR\]|^\[?FAILED")
REASONS = 10
WIDTH = 400


def counts(report: Path) -> tuple[int, int, int]:
    """Passed, failed (errors included) and skipped tests of one report."""
    suites = list(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - pytest wrote it
    total, failures, errors, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
    )
    return total - failures - errors - skipped, failures + errors, skipped


def failures(report: Path) -> Iterator[str]:
    """Of each test that failed, its name and the first lines that say why, so that nobody has to scroll for them."""
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it
        for failure in (*case.iter("failure"), *case.iter("error")):
            yield f"{case.get('classname')}.{case.get('name')}"
            lines = [line for line in (failure.text or "").splitlines() if REASON.search(line)]
            yield from (f"    {line[:WIDTH]}" for line in lines[:REASONS])


def main(folder: Path) -> int:
    """Print the table; 1 if a test failed or there is no report at all."""
    for report in sorted(folder.glob("*.txt")):
        print(report.read_text(), end="")
    for report in sorted(folder.glob("*.xml")):
        for line in failures(report):
            print(line)
    results = {report.stem: counts(report) for report in sorted(folder.glob("*.xml"))}
    for name, (passed, failed, skipped) in results.items():
        print(f"{name}: {passed} passed, {failed} failed, {skipped} skipped")
    passed, failed, skipped = (sum(column) for column in zip((0, 0, 0), *results.values(), strict=False))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
