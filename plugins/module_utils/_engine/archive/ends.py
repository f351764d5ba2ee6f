# SPDX-License-Identifier: BSD-2-Clause
"""Whether the archive of a PostgreSQL that has stopped has all that was ever committed. Decides only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ..errors import Lost, Unrecoverable
from .catalog import Catalog
from .recovery import Latest, RecoveryPlan, plan_recovery
from .segments import Segment, format_lsn


def plan_to_end(catalogs: Sequence[Catalog], *, now: datetime) -> RecoveryPlan:
    """The way to the last commit there was, or Unrecoverable.

    1. There is a way to the end of the archive: a whole base backup, and no gap after it.
    2. The archiver noted that it had sent all, beside a server that had shut down.
    3. The last segment is the one before that shutdown. Later ones are of a start after it.
    """
    plan = plan_recovery(catalogs, Latest(), now=now)
    (catalog,) = (one for one in catalogs if one.id == plan.incarnation)
    if catalog.end is None:
        raise Unrecoverable(
            Lost.NOT_ENDED,
            f"The archiver of incarnation {plan.incarnation} has not noted that all is archived. It does that when the "
            "project stops, unless its server crashed or the object store was away. Start the project and stop it "
            "again.",
        )
    last, shown = Segment.at(1, catalog.end.lsn).number - 1, format_lsn(catalog.end.lsn)
    if plan.last_segment.number < last:
        raise Unrecoverable(
            Lost.GAP,
            f"The server shut down at {shown}, and the archive of incarnation {plan.incarnation} ends before that, "
            f"with segment {plan.last_segment.name}.",
        )
    if plan.last_segment.number > last:
        raise Unrecoverable(
            Lost.NOT_ENDED,
            f"Segment {plan.last_segment.name} of incarnation {plan.incarnation} is of after {shown}, where its server "
            "shut down, and nobody has noted that what followed is all archived. Start the project and stop it again.",
        )
    return plan
