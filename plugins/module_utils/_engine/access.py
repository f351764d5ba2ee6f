# SPDX-License-Identifier: BSD-2-Clause
"""The systems that a run works with. Of those beside Kubernetes it asks so little that several can answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from .archive.catalog import Catalog, Stored
from .archives import ARCHIVE_KIND, without_object_store
from .backends.kubernetes.apply import apply
from .backends.kubernetes.client import Client
from .backends.kubernetes.kinds import KINDS
from .backends.kubernetes.secrets import read_body, read_texts, texts_of
from .credentials import Secret
from .deadline import Deadline
from .errors import EngineError, NotFound
from .objects import ObjectId
from .observed import Applied, Live, Observed
from .steps import Step
from .vault import VAULT_KIND, Kept

Texts = Mapping[str, str]


class Databases(Protocol):
    """The shared PostgreSQL clusters of a platform; may be used by several threads."""

    @property
    def reads(self) -> int:
        """Statements sent that read."""

    @property
    def writes(self) -> int:
        """Statements sent that write."""

    def observe(self, clusters: Iterable[str], *, deadline: Deadline) -> Mapping[str, Observed | EngineError]:
        """What is on each cluster, read in one query each; the error of one that cannot be read."""

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        """Do one step; steps on one cluster take turns. Raises BackendError, DeadlineExceeded."""


class Vault(Protocol):
    """Where secrets are kept; may be used by several threads. All raise BackendError, DeadlineExceeded."""

    @property
    def reads(self) -> int:
        """Requests sent that read."""

    @property
    def writes(self) -> int:
        """Requests sent that write."""

    def observe(self, *, deadline: Deadline) -> Observed:
        """Every secret of ours by its name."""

    def below(self, folder: str, *, deadline: Deadline) -> tuple[ObjectId, ...]:
        """Every secret in a folder and in those below it."""

    def read(self, id: ObjectId, *, deadline: Deadline) -> Kept | None:
        """One secret; None if it has no values."""

    def replace(self, id: ObjectId, kept: Kept, *, deadline: Deadline) -> None:
        """Give a secret other values. Raises Conflict if it has a version other than that of `kept` by now."""

    def apply(
        self, step: Step, *, adopt: Callable[[], Texts | None], given: Mapping[str, Secret], deadline: Deadline
    ) -> Applied:
        """Do one step; `adopt` gives the values that a new secret takes over, if there are any.

        `given`: those that the user gave to the run.
        """


class Archives(Protocol):
    """Who may write which archive in the object store; may be used by several threads."""

    @property
    def reads(self) -> int:
        """Requests sent that read."""

    @property
    def writes(self) -> int:
        """Requests sent that write."""

    def observe(self, *, deadline: Deadline) -> Observed:
        """Every identity of ours. Raises BackendError, DeadlineExceeded."""

    def apply(self, step: Step, *, texts: Texts | None, deadline: Deadline) -> Applied:
        """Do one step; an identity is made with the keys in `texts`. Raises BackendError, DeadlineExceeded."""

    def lend(self, name: str, *, archive: str, writes: str, deadline: Deadline) -> Mapping[str, Secret] | None:
        """Keys that read an archive and write below a prefix; None where all use the given keys."""

    def take_back(self, name: str, *, writes: str, deadline: Deadline) -> None:
        """End what was lent, and remove what was written with it."""

    def dumps(self, prefix: str, *, deadline: Deadline) -> tuple[Stored, ...]:
        """What lies below a prefix, in the order of keys."""

    def keep(self, source: str, key: str, *, deadline: Deadline) -> None:
        """Copy an object to another key."""

    def upload(self, path: str, key: str, *, deadline: Deadline) -> None:
        """Write a file of this machine as an object."""

    def discard(self, keys: Sequence[str], *, deadline: Deadline) -> None:
        """Remove objects."""

    def presigned(self, key: str, *, seconds: int) -> Secret:
        """An address at which anybody may get an object for so long."""

    def catalogs(self, archive: str, *, deadline: Deadline) -> tuple[Catalog, ...]:
        """Every incarnation of an archive, oldest first. Raises BackendError, DeadlineExceeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The ways into a platform. `vault`, `archives`: None where the platform has none.

    `given`: values that the user gave to this run, for Secrets that take them over.
    """

    client: Client
    databases: Databases
    vault: Vault | None = None
    archives: Archives | None = None
    given: Mapping[str, Secret] = field(default_factory=dict, repr=False)

    @property
    def required_archives(self) -> Archives:
        """For what works with archives. Raises SafetyStop where the platform has none."""
        if self.archives is None:
            raise without_object_store()
        return self.archives

    @property
    def _all(self) -> Iterator[Client | Databases | Vault | Archives]:
        return (one for one in (self.client, self.databases, self.vault, self.archives) if one is not None)

    @property
    def reads(self) -> int:
        """Requests and statements sent that read."""
        return sum(one.reads for one in self._all)

    @property
    def writes(self) -> int:
        """Requests and statements sent that write."""
        return sum(one.writes for one in self._all)

    def apply(self, step: Step, *, before: Live | None, deadline: Deadline) -> Applied:
        """Do one step in the system where its object is. Raises BackendError, DeadlineExceeded."""
        source = step.desired.values_from
        if step.id.kind in KINDS:
            step = self._filled(step, deadline)
            texts = None if source is None else self._kept(source, deadline)
            return apply(self.client, step, before=before, deadline=deadline, texts=texts, given=self.given)
        if step.id.kind == VAULT_KIND and self.vault is not None:
            adopt = (lambda: None) if source is None else (lambda: read_texts(self.client, source, deadline=deadline))
            return self.vault.apply(step, adopt=adopt, given=self.given, deadline=deadline)
        if step.id.kind == ARCHIVE_KIND and self.archives is not None:
            found = None if source is None else read_texts(self.client, source, deadline=deadline)
            return self.archives.apply(step, texts=found, deadline=deadline)
        return self.databases.apply(step, deadline=deadline)

    def _filled(self, step: Step, deadline: Deadline) -> Step:
        """With what a Secret has in the places that are left open."""
        desired = step.desired
        secrets = {one.secret for one in desired.fills}
        if not secrets:
            return step
        texts = {key: text for id in secrets for key, text in self._kept(id, deadline).items()}
        try:
            return replace(step, desired=desired.filled(texts))
        except KeyError as error:
            reason = f"the project's Secret has no {error.args[0]}, as it was made by an earlier release; make it anew"
            raise NotFound(subject=str(step.id), verb=str(step.action), reason=reason) from error

    def _kept(self, id: ObjectId, deadline: Deadline) -> Texts:
        """The values that are in use, of a secret in Vault or of a Secret. New ones would be others."""
        if id.kind in KINDS:
            return texts_of(id, read_body(self.client, id, deadline=deadline))
        kept = self.vault.read(id, deadline=deadline) if self.vault is not None else None
        if kept is None:
            reason = "its values are not there; restore its last version, or delete the secret with all its versions"
            raise NotFound(subject=str(id), verb="GET", reason=reason)
        return kept.texts
