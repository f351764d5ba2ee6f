# SPDX-License-Identifier: BSD-2-Clause
"""One idempotent step at a time. A kill between any two statements leaves what the next run finds to be unfinished.

A new role cannot log in and a new database cannot be entered before all else about them is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...credentials import Secret
from ...databases import ADMIN, DATABASE_KIND
from ...deadline import Deadline
from ...errors import Rejected, ServerFailed
from ...objects import Body, Desired, ObjectId, SecretKey, sentence
from ...observed import Applied, Live
from ...steps import Action, Step
from . import statements
from .client import Session
from .observe import PUBLIC, comment_of, digest_of, read_object
from .plan import ONLY_SET, remaining, secret_key_of, wanted_spec

SecretReader = Callable[[SecretKey], Secret]
VERIFIER_MARK = "SCRAM-SHA-256$"


def apply(session: Session, step: Step, *, read_secret: SecretReader, deadline: Deadline) -> Applied:
    """Do one step on what is there now, and tell by what is there afterwards whether that changed anything.

    Of what was removed the last that was seen is returned. Raises ServerFailed if something is still not as wanted.
    """
    work = _Work(session=session, id=step.id, deadline=deadline, read_secret=read_secret)
    before = work.read()
    if step.action is Action.DELETE:
        return _remove(work, before, step)
    bring = _bring_database if step.id.kind == DATABASE_KIND else _bring_role
    if before is None or list(remaining(step.desired, before)):
        bring(work, before, step.desired)
    after = work.read() if work.has_changed else before
    left = tuple(remaining(step.desired, after)) if after is not None else ()
    if after is None or left:
        reason = (
            f"{sentence(left)} although it was just changed" if left else "it is not there although it was just made"
        )
        raise ServerFailed(subject=str(step.id), verb=str(step.action), reason=reason)
    return Applied(changed=before is None or before.version != after.version, live=after)


@dataclass(slots=True, kw_only=True)
class _Work:
    """One object and the way to it."""

    session: Session
    id: ObjectId
    deadline: Deadline
    read_secret: SecretReader
    has_changed: bool = False

    def read(self) -> Live | None:
        return read_object(self.session, self.id, deadline=self.deadline)

    def spec(self) -> Body:
        """What is there now; empty if nothing is."""
        live = self.read()
        return live.body["spec"] if live is not None and live.body is not None else {}

    def do(self, statement: Any, *, verb: str, values: dict[str, Any] | None = None, is_secret: bool = False) -> None:
        self.has_changed = True
        self.session.change(
            statement, values, subject=str(self.id), verb=verb, deadline=self.deadline, is_secret=is_secret
        )

    def call(self, template: str) -> None:
        """One of our functions in the cluster, for this object."""
        self.do(statements.compose(template), verb="ADOPT", values={"name": self.id.name})


def _bring_role(work: _Work, before: Live | None, desired: Desired) -> None:
    wanted, role = wanted_spec(desired), work.id.name
    if before is None:
        work.do(statements.compose(statements.CREATE_ROLE, role=role), verb="CREATE")
    found = work.spec()
    if found["attributes"] or {*found["memberOf"]} - {*wanted["memberOf"]}:
        work.call(statements.ADOPT_ROLE)
        found = work.spec()
    for group in sorted({*found["memberOf"]} - {*wanted["memberOf"]}):
        work.do(statements.compose(statements.REVOKE_ROLE, group=group.split(" ")[0], role=role), verb="REVOKE")
    for group in sorted({*wanted["memberOf"]} - {*found["memberOf"]}):
        grant = statements.LET_BECOME if group.endswith(ONLY_SET) else statements.GRANT_ROLE
        work.do(statements.compose(grant, group=group.removesuffix(ONLY_SET), role=role), verb="GRANT")
    if "settings" in wanted and found["settings"] != wanted["settings"]:
        _bring_settings(work, wanted["settings"])
    if found["verifier"] != wanted["verifier"]:
        _set_password(work, desired, wanted["verifier"])
    if any(found[key] != wanted[key] for key in ("login", "connectionLimit")):
        parts = {"login": statements.login(wanted["login"]), "limit": statements.value(wanted["connectionLimit"])}
        work.do(statements.compose(statements.ALTER_ROLE, role=role, **parts), verb="ALTER")


def _bring_settings(work: _Work, wanted: Mapping[str, str]) -> None:
    work.do(statements.compose(statements.RESET_ROLE, role=work.id.name), verb="ALTER")
    for name, text in wanted.items():
        parts = {"setting": name, "value": statements.value(text)}
        work.do(statements.compose(statements.SET_ROLE, role=work.id.name, **parts), verb="ALTER")


def _set_password(work: _Work, desired: Desired, source: str) -> None:
    """The comment last: it says that the verifier is there."""
    key = secret_key_of(desired)
    verifier = work.read_secret(key).reveal()
    if not verifier.startswith(VERIFIER_MARK):
        # The server would take it for a password in clear text.
        raise Rejected(subject=str(work.id), verb="ALTER", reason=f"the value of {key} is no SCRAM-SHA-256 verifier")
    statement = statements.compose(statements.SET_PASSWORD, role=work.id.name, verifier=statements.value(verifier))
    work.do(statement, verb="ALTER", is_secret=True)
    comment = statements.value(comment_of(source, digest_of(verifier)))
    work.do(statements.compose(statements.COMMENT_ROLE, role=work.id.name, comment=comment), verb="COMMENT")


def _bring_database(work: _Work, before: Live | None, desired: Desired) -> None:
    wanted, name = wanted_spec(desired), work.id.name
    if before is None:
        work.do(statements.compose(statements.CREATE_DATABASE, database=name), verb="CREATE")
    found = work.spec()
    if found["owner"] != ADMIN or found["template"]:
        work.call(statements.ADOPT_DATABASE)
        found = work.spec()
    if found["storageLimit"] != wanted["storageLimit"]:
        limit = statements.value(wanted["storageLimit"])
        work.do(statements.compose(statements.LIMIT_DATABASE, database=name, limit=limit), verb="ALTER")
    _bring_grants(work, found["grants"], wanted["grants"])
    if any(found[key] != wanted[key] for key in ("allowConnections", "connectionLimit")):
        parts = {
            "allowed": statements.value(wanted["allowConnections"]),
            "limit": statements.value(wanted["connectionLimit"]),
        }
        work.do(statements.compose(statements.ALTER_DATABASE, database=name, **parts), verb="ALTER")
    if not wanted["allowConnections"]:
        _end_sessions(work)


def _bring_grants(work: _Work, found: Mapping[str, list[str]], wanted: Mapping[str, list[str]]) -> None:
    """Who has more than wanted loses all first; there is no way to take from a role what it may pass on but that."""
    name = work.id.name
    for role, privileges in sorted(found.items()):
        if {*privileges} - {*wanted.get(role, ())}:
            grantee = statements.grantee("" if role == PUBLIC else role)
            work.do(statements.compose(statements.REVOKE_DATABASE, database=name, role=grantee), verb="REVOKE")
    for role, privileges in sorted(wanted.items()):
        if privileges != found.get(role):
            parts = {"privileges": statements.privileges(privileges), "role": statements.grantee(role)}
            work.do(statements.compose(statements.GRANT_DATABASE, database=name, **parts), verb="GRANT")


def _end_sessions(work: _Work) -> None:
    work.do(statements.compose(statements.END_SESSIONS), verb="END SESSIONS OF", values={"name": work.id.name})


def _remove(work: _Work, before: Live | None, step: Step) -> Applied:
    gone = before or Live(id=step.id, uid="", version="", fingerprint="", labels={}, body=None)
    if before is None:
        return Applied(changed=False, live=gone)
    if step.id.kind == DATABASE_KIND:
        work.do(statements.compose(statements.DROP_DATABASE, database=step.id.name), verb="DROP")
        return Applied(changed=True, live=gone)
    if before.body is not None and "foreign" in before.body["spec"]["attributes"]:
        work.call(statements.ADOPT_ROLE)
    work.do(statements.compose(statements.DROP_ROLE, role=step.id.name), verb="DROP")
    return Applied(changed=True, live=gone)
