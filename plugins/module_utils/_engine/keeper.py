# SPDX-License-Identifier: BSD-2-Clause
"""The secret of one project while it changes: read where it is kept, written there first, then to its copy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .access import Access
from .backends.kubernetes.records import READY, STOPPED
from .backends.kubernetes.secrets import read_body, read_texts, replace_texts, texts_of
from .deadline import Deadline
from .errors import NotFound, SafetyStop
from .objects import Desired, ObjectId
from .project.names import Ref, Uid, namespace_of
from .render import credentials_of
from .service_keys import with_files
from .steps import Action, Step
from .vault import DATABASE_FOLDER, VAULT_KIND, Kept

# Counts the changes of the values, so that of Vault and the copy it can be seen which is older.
GENERATION = "generation"


@dataclass(slots=True, kw_only=True)
class Keeper:
    """One project, and what has been changed of its secret so far, each time for `reason`.

    `phase`: how far the last run came. `check`: nothing is written, and what would be is noted.
    """

    access: Access
    ref: Ref
    uid: Uid
    deadline: Deadline
    reason: str
    phase: str = ""
    check: bool = False
    done: list[Step] = field(default_factory=list)

    @property
    def secret(self) -> ObjectId:
        """The Secret in the project's namespace."""
        return credentials_of(self.ref)

    @property
    def namespace(self) -> str:
        """The project's namespace."""
        return namespace_of(self.ref)

    @property
    def is_stopped(self) -> bool:
        """True if nothing of the project runs."""
        return self.phase == STOPPED

    def refuse_unsettled(self) -> None:
        """A project in the middle of a change has pods that come and go."""
        if self.phase not in (READY, STOPPED):
            raise SafetyStop(f"the project is {self.phase or 'new'}; run the module projects first, then rotate again")

    def read(self) -> Kept:
        """What is kept of the project: in Vault, if the platform has one, else in the Secret itself."""
        vault = self.access.vault
        if vault is None:
            texts = read_texts(self.access.client, self.secret, deadline=self.deadline)
            kept = None if texts is None else Kept(texts=texts, version=0)
        else:
            kept = vault.read(self._kept_id, deadline=self.deadline)
        if kept is None:
            raise NotFound(subject=str(self.secret), verb="GET", reason="there is none; run the module projects first")
        return kept

    def write(self, kept: Kept, texts: Mapping[str, str]) -> Kept:
        """Vault first, then the copy: what is lost in between is made good out of Vault."""
        vault = self.access.vault
        texts = {**with_files(texts), GENERATION: str(_generation(kept.texts) + 1)}
        if vault is not None:
            if not self.check:
                vault.replace(self._kept_id, Kept(texts=texts, version=kept.version), deadline=self.deadline)
            self._note(self._kept_id)
        self.copy(texts)
        return Kept(texts=texts, version=kept.version + 1)

    def copy(self, texts: Mapping[str, str]) -> bool:
        """Bring the Secret up to date; False if it was. Raises SafetyStop if it is what is newer."""
        client = self.access.client
        body = read_body(client, self.secret, deadline=self.deadline)
        there = texts_of(self.secret, body)
        if there == texts:
            return False
        if _generation(there) > _generation(texts):
            raise SafetyStop(
                f"{self._kept_id} is older than the Secret that is in use, as after Vault was restored "
                "from a snapshot; delete it there with all its versions, run the module projects, which takes over the "
                "Secret's values, then rotate again"
            )
        if not self.check:
            replace_texts(client, self.secret, body, texts, deadline=self.deadline)
        self._note(self.secret)
        return True

    def lag(self, kept: Kept) -> frozenset[str]:
        """The names of values that the Secret does not have as they are kept."""
        if self.access.vault is None:
            return frozenset()
        there = texts_of(self.secret, read_body(self.access.client, self.secret, deadline=self.deadline))
        return frozenset(name for name in {*there, *kept.texts} if there.get(name) != kept.texts.get(name))

    @property
    def _kept_id(self) -> ObjectId:
        return ObjectId(kind=VAULT_KIND, namespace=DATABASE_FOLDER, name=self.uid)

    def _note(self, id: ObjectId) -> None:
        """Once for each object, however often it was written."""
        if all(step.id != id for step in self.done):
            self.done.append(_step(id, self.reason))


def _generation(texts: Mapping[str, str]) -> int:
    return int(texts.get(GENERATION, "0"))


def _step(id: ObjectId, reason: str) -> Step:
    meta = {"name": id.name, "namespace": id.namespace}
    desired = Desired(body={"kind": id.kind, "metadata": meta})
    return Step(action=Action.UPDATE, id=id, reason=reason, desired=desired, before=desired.body)
