# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What modules return: bounded, whatever the number of projects."""

from __future__ import annotations

import typing as t

from ._engine.backup import BackupOutcome, BackupReport
from ._engine.domain_states import State as DomainState
from ._engine.domains import DomainsReport
from ._engine.drill import Drilled, DrillReport
from ._engine.errors import code_of
from ._engine.export import Exported, ExportReport
from ._engine.health import Checked, HealthReport
from ._engine.import_dump import Imported
from ._engine.move import Moved
from ._engine.restore import Restored
from ._engine.restore_points import Pointed, PointReport
from ._engine.service_health import State
from ._engine.steps import Outcome, Plan, Report, Result, Step

# A result goes to callbacks, logs and AWX's database whole.
SHOWN_PROJECTS = 100
SHOWN_STEPS = 50
SHOWN_DIFFS = 200
SHOWN_FAILURES = 5


def result_of(report: Report, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of a run, bounded: counts always, failures and changes one by one up to a limit."""
    shown = [one for one in report.outcomes if one.result is not Result.UNCHANGED]
    shown.sort(key=lambda one: (one.result is Result.CHANGED, one.ref))
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {kind.value: sum(one.result is kind for one in report.outcomes) for kind in Result},
        "outcomes": [_outcome(one) for one in shown[:SHOWN_PROJECTS]],
        "outcomes_left_out": max(0, len(shown) - SHOWN_PROJECTS),
        "left_alone": list(report.left_alone[:SHOWN_PROJECTS]),
        "requests": {"reads": report.reads, "writes": report.writes},
    }
    if show_diff:
        result["diff"] = diff_of(Plan(steps=tuple(step for one in report.outcomes for step in one.steps)))
    if not report.succeeded:
        result.update(failed=True, msg=_failure_text(report))
    return result


def restored_result_of(done: Restored, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of a restore: that of the run, and what it restored from."""
    plan = done.plan
    source = {
        "archive": plan.archive,
        "incarnation": plan.incarnation,
        "backup": plan.backup,
        "archived_until": plan.archived_until.isoformat(),
        "is_beyond_archive": plan.is_beyond_archive,
        "last_segment": plan.last_segment.name,
        "point_made": "" if plan.point is None else plan.point.made.isoformat(timespec="seconds"),
    }
    told = {"source": source, "kept": done.kept, "came_back": list(done.came_back[:SHOWN_PROJECTS])}
    result = {**result_of(done.report, show_diff=show_diff), **told}
    # The change of names is none that a plan of objects shows.
    return result if done.is_whole else {**result, "changed": True}


def points_result_of(report: PointReport) -> dict[str, t.Any]:
    """The result of naming a moment, bounded: counts always, what went wrong first, at most SHOWN_PROJECTS shown."""
    shown = sorted(report.outcomes, key=lambda one: one.failure is None)
    wrong = [f"{one.ref}: {one.failure.object}: {one.failure.reason}" for one in shown if one.failure]
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {"named": len(shown) - len(wrong), "failed": len(wrong)},
        "points": [_point(one, report.name) for one in shown[:SHOWN_PROJECTS]],
        "points_left_out": max(0, len(shown) - SHOWN_PROJECTS),
    }
    if wrong:
        result.update(failed=True, msg=_text_of(wrong, len(shown), f"have no restore point {report.name} of now"))
    return result


def _point(one: Pointed, name: str) -> dict[str, t.Any]:
    made = one.point
    return {
        "ref": one.ref,
        "name": name,
        "made": "" if made is None else made.made.isoformat(timespec="seconds"),
        "lsn": "" if made is None else made.lsn,
        "incarnation": "" if made is None else made.incarnation,
        "error": one.failure.reason if one.failure else "",
    }


def drill_result_of(report: DrillReport, *, check: bool) -> dict[str, t.Any]:
    """The result of drills, bounded: those that proved nothing first; then which archives nothing has proven."""
    shown = sorted(report.drilled, key=lambda one: not one.proof.error)
    never = report.never
    result: dict[str, t.Any] = {
        "changed": bool(report.drilled),
        "counts": {
            "archives": len(report.archives),
            "proven": len(report.archives) - len(never),
            "drilled": 0 if check else len(report.drilled),
            "failed": sum(bool(one.proof.error) for one in report.drilled),
        },
        "drills": [_drill(one) for one in shown[:SHOWN_PROJECTS]],
        "drills_left_out": max(0, len(shown) - SHOWN_PROJECTS),
        "unproven": list(never[:SHOWN_PROJECTS]),
        "unproven_left_out": max(0, len(never) - SHOWN_PROJECTS),
    }
    wrong = [f"{one.ref or one.cluster} ({one.archive}): {one.proof.error}" for one in shown if one.proof.error]
    if wrong:
        result.update(failed=True, msg=_text_of(wrong, len(shown), "could not be proven to be restorable"))
    return result


def _drill(one: Drilled) -> dict[str, t.Any]:
    proof = one.proof
    return {
        "ref": one.ref,
        "cluster": one.cluster,
        "archive": one.archive,
        "target": "" if proof.target is None else proof.target.isoformat(timespec="seconds"),
        "seconds_to_recover": proof.seconds,
        "loss_seconds": proof.loss_seconds,
        "databases": proof.databases,
        "error": proof.error,
    }


def domains_result_of(found: DomainsReport, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of keeping projects' own names, bounded: that of the run, and how far each is, the worst first."""
    order = tuple(DomainState)
    shown = sorted(found.domains, key=lambda one: (order.index(one.state), one.ref, one.domain))
    names = [
        {
            "ref": one.ref,
            "domain": one.domain,
            "state": one.state.value,
            "message": one.message,
            "record": {"name": one.proof.name, "type": "TXT", "value": one.proof.text},
        }
        for one in shown[:SHOWN_PROJECTS]
    ]
    result = result_of(found.report, show_diff=show_diff)
    counts = {state.value: sum(one.state is state for one in shown) for state in order}
    return {**result, "counts": counts, "domains": names, "domains_left_out": max(0, len(shown) - SHOWN_PROJECTS)}


# Of a project that was not asked.
UNKNOWN, SKIPPED = "unknown", "skipped"


def health_result_of(report: HealthReport) -> dict[str, t.Any]:
    """The result of a look at projects, bounded: counts always, the worst first, at most SHOWN_PROJECTS one by one."""
    order = (State.DOWN, State.DEGRADED, State.UNREACHABLE, UNKNOWN, State.LIMITED, State.UP, SKIPPED)
    shown = sorted(report.checked, key=lambda one: (one.is_well, order.index(_state_of(one)), not one.restarted))
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {
            **{str(state): sum(_state_of(one) == state for one in shown) for state in order},
            "restarted": sum(len(one.restarted) for one in shown),
        },
        "projects": [_health(one) for one in shown[:SHOWN_PROJECTS]],
        "projects_left_out": max(0, len(shown) - SHOWN_PROJECTS),
    }
    wrong = [f"{one.ref}: {_why_not_up(one)}" for one in shown if not one.is_well]
    if wrong:
        result.update(failed=True, msg=_text_of(wrong, len(shown), "are not as their clients need them"))
    return result


def _state_of(one: Checked) -> str:
    return SKIPPED if one.skipped else UNKNOWN if one.state is None else one.state.value


def _health(one: Checked) -> dict[str, t.Any]:
    return {
        "ref": one.ref,
        "state": _state_of(one),
        "parts": {part: found.state.value for part, found in sorted(one.parts.items())},
        "why": _why_not_up(one),
        "restarted": list(one.restarted),
    }


def _why_not_up(one: Checked) -> str:
    return "; ".join(text for text in (one.why, one.error, one.skipped) if text)


def export_result_of(report: ExportReport) -> dict[str, t.Any]:
    """The result of exports, bounded: counts always, what went wrong first, at most SHOWN_PROJECTS one by one."""
    shown = sorted(report.outcomes, key=lambda one: one.failure is None)
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {
            "exported": sum(bool(one.key) for one in shown),
            "failed": sum(one.failure is not None for one in shown),
            "removed": sum(len(one.removed) for one in shown),
        },
        "exports": [_export(one) for one in shown[:SHOWN_PROJECTS]],
        "exports_left_out": max(0, len(shown) - SHOWN_PROJECTS),
    }
    wrong = [f"{one.ref}: {one.failure.object}: {one.failure.reason}" for one in shown if one.failure]
    if wrong:
        result.update(failed=True, msg=_text_of(wrong, len(shown), "were not exported"))
    return result


def _export(one: Exported) -> dict[str, t.Any]:
    return {
        "ref": one.ref,
        "key": one.key,
        "bytes": one.bytes,
        "archived_until": "" if one.archived_until is None else one.archived_until.isoformat(),
        "removed": list(one.removed[:SHOWN_STEPS]),
        "error": one.failure.reason if one.failure else "",
    }


def moved_result_of(done: Moved, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of a move: that of the run, and from where to where."""
    result = result_of(done.report, show_diff=show_diff)
    told = {
        "before": str(done.before),
        "after": str(done.after),
        "size": done.bytes,
        "closed_seconds": round(done.closed_seconds, 1),
        "kept": done.kept,
    }
    return {**result, **told, "changed": result["changed"] or bool(done.kept)}


def imported_result_of(done: Imported, *, show_diff: bool) -> dict[str, t.Any]:
    """The result of an import: that of the run, and under which name the database of before is."""
    return {**result_of(done.report, show_diff=show_diff), "kept": done.kept, "changed": True}


def backup_result_of(report: BackupReport) -> dict[str, t.Any]:
    """The result of base backups, bounded: counts always, what went wrong first, at most SHOWN_PROJECTS one by one."""
    order = (Result.FAILED, Result.WAITING, Result.CHANGED, Result.UNCHANGED)
    shown = sorted(report.outcomes, key=lambda one: order.index(one.result))
    result: dict[str, t.Any] = {
        "changed": report.changed,
        "counts": {kind.value: sum(one.result is kind for one in report.outcomes) for kind in order},
        "outcomes": [_backup_outcome(one) for one in shown[:SHOWN_PROJECTS]],
        "outcomes_left_out": max(0, len(shown) - SHOWN_PROJECTS),
    }
    wrong = [one for one in shown if one.result in (Result.FAILED, Result.WAITING)]
    if wrong:
        why = [f"{one.ref or one.cluster}: {_why_no_backup(one)}" for one in wrong]
        result.update(failed=True, msg=_text_of(why, len(report.outcomes), "have no base backup that was asked for"))
    return result


def _backup_outcome(outcome: BackupOutcome) -> dict[str, t.Any]:
    name = {"ref": outcome.ref} if outcome.ref else {"cluster": outcome.cluster}
    shown: dict[str, t.Any] = {**name, "archive": outcome.archive, "result": outcome.result.value}
    if outcome.result in (Result.FAILED, Result.WAITING) or outcome.reason:
        shown["reason"] = _why_no_backup(outcome)
    if outcome.is_full is not None:
        shown["full"] = outcome.is_full
    if outcome.finished is not None:
        shown["finished"] = outcome.finished.isoformat(timespec="seconds")
    return shown


def _why_no_backup(outcome: BackupOutcome) -> str:
    failure = outcome.failure
    return outcome.reason if failure is None else f"{failure.object}: {failure.reason}{code_of(failure.status)}"


def diff_of(plan: Plan) -> list[dict[str, t.Any]]:
    """A plan as Ansible's diffs. Generated values are not in it, as they are not in a plan."""
    shown = [
        {
            "before_header": str(step.id),
            "after_header": f"{step.id} ({step.action}: {step.reason})",
            "before": step.before or {},
            "after": step.after,
        }
        for step in plan.steps[:SHOWN_DIFFS]
    ]
    if len(plan.steps) > SHOWN_DIFFS:
        shown.append({"prepared": f"and {len(plan.steps) - SHOWN_DIFFS} more changes\n"})
    return shown


def _outcome(outcome: Outcome) -> dict[str, t.Any]:
    shown: dict[str, t.Any] = {
        "ref": outcome.ref,
        "result": outcome.result.value,
        "uid": outcome.uid,
        "steps": [_step(step) for step in outcome.steps[:SHOWN_STEPS]],
    }
    if outcome.final_backup:
        shown["final_backup"] = outcome.final_backup
    if outcome.endpoints:
        shown["endpoints"] = dict(outcome.endpoints)
    if outcome.waiting_for:
        shown["waiting_for"] = list(outcome.waiting_for)
    if outcome.held:
        shown["held"] = outcome.held
    if outcome.failure is not None:
        failure = outcome.failure
        shown["failure"] = {
            "step": failure.step,
            "object": failure.object,
            "reason": failure.reason,
            "status": failure.status,
        }
    return shown


def _step(step: Step) -> dict[str, str]:
    return {"action": step.action.value, "object": str(step.id), "reason": step.reason}


def _failure_text(report: Report) -> str:
    """The first few that went wrong, each in a line; all of them are in the outcomes."""
    order = (Result.FAILED, Result.WAITING, Result.HELD)
    wrong = sorted((one for one in report.outcomes if one.result in order), key=lambda one: order.index(one.result))
    return _text_of([f"{one.ref}: {_why(one)}" for one in wrong], len(report.outcomes), "are not as they should be")


def _text_of(wrong: list[str], total: int, what: str) -> str:
    lines = wrong[:SHOWN_FAILURES]
    if len(wrong) > SHOWN_FAILURES:
        lines.append(f"and {len(wrong) - SHOWN_FAILURES} more")
    return f"{len(wrong)} of {total} {what}:\n" + "\n".join(f"  - {one}" for one in lines)


def _why(outcome: Outcome) -> str:
    if outcome.failure is not None:
        failure = outcome.failure
        return f"{failure.step} {failure.object}: {failure.reason}{code_of(failure.status)}"
    return outcome.held or "not ready in time: " + "; ".join(outcome.waiting_for)
