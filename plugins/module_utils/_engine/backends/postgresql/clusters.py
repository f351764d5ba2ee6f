# SPDX-License-Identifier: BSD-2-Clause
"""All shared clusters of a platform, as a run uses them: read all at once, write to each one step after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Self, TypeVar

from ...credentials import Secret
from ...databases import ADMIN_KEY
from ...deadline import Deadline
from ...errors import BackendError, EngineError, Unreachable
from ...objects import SecretKey
from ...observed import Applied, Observed
from ...parallel import in_parallel
from ...project.names import POSTGRESQL_POD, cluster_namespace_of
from ...steps import Step
from ..kubernetes.client import Client
from ..kubernetes.portforward import tunnel
from ..kubernetes.secrets import read_secret
from . import statements
from .apply import apply
from .client import Session, Target, connect
from .observe import observe
from .storage import Storage, read_storage

# One lock for everybody who changes roles and databases of a cluster, in its database postgres, where no tenant is.
# What a killed run has begun ends under it before the next run begins.
LOCK_KEY = 0x5375_7061
PORT = 5432
CREDENTIALS = "credentials"
WORKERS = 8

T = TypeVar("T")
Opener = Callable[[str, Deadline], AbstractContextManager[Session]]
KeyReader = Callable[[SecretKey, Deadline], Secret]


class Clusters:
    """Sessions in shared clusters, opened when they are first needed. May be used by threads; counts what it sends."""

    def __init__(self, opener: Opener, read_key: KeyReader) -> None:
        self._opener = opener
        self._read_key = read_key
        self._lock = threading.Lock()
        self._places: dict[str, _Place] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def reads(self) -> int:
        """Queries sent, repetitions included."""
        return sum(place.reads for place in self._all())

    @property
    def writes(self) -> int:
        """Statements sent that change something, repetitions included."""
        return sum(place.writes for place in self._all())

    def observe(self, names: Iterable[str], *, deadline: Deadline) -> dict[str, Observed | EngineError]:
        """What is in each cluster, or why it cannot be said: one that is broken is no reason to leave the others."""
        return self._ask(names, lambda session: observe(session, deadline=deadline), deadline)

    def storage(self, names: Iterable[str], *, deadline: Deadline) -> dict[str, dict[str, Storage] | EngineError]:
        """How much each database of these clusters takes, or why it cannot be said."""
        return self._ask(names, lambda session: read_storage(session, deadline=deadline), deadline)

    def _ask(
        self, names: Iterable[str], question: Callable[[Session], T], deadline: Deadline
    ) -> dict[str, T | EngineError]:
        def ask(name: str) -> T | EngineError:
            try:
                return self._place(name).run(question, deadline)
            except EngineError as error:
                return error

        wanted = tuple(dict.fromkeys(names))
        return dict(zip(wanted, in_parallel(ask, wanted, workers=WORKERS), strict=True))

    def apply(self, step: Step, *, deadline: Deadline) -> Applied:
        """Do one step in the cluster that the namespace of its object names."""

        def work(session: Session) -> Applied:
            return apply(session, step, read_secret=lambda key: self._read_key(key, deadline), deadline=deadline)

        return self._place(step.id.namespace).run(work, deadline, changes=True)

    def close(self) -> None:
        """End every session."""
        for place in self._all():
            place.close()

    def _place(self, name: str) -> _Place:
        with self._lock:
            return self._places.setdefault(name, _Place(name, self._opener))

    def _all(self) -> tuple[_Place, ...]:
        with self._lock:
            return tuple(self._places.values())


class _Place:
    """One cluster: its session, used by one thread at a time, and what its sessions have sent."""

    def __init__(self, name: str, opener: Opener) -> None:
        self._name = name
        self._opener = opener
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._session: Session | None = None
        self._has_lock = False
        # Whether there has been a connection that could be lost.
        self._is_made = False
        self._counted = {"reads": 0, "writes": 0}

    @property
    def reads(self) -> int:
        return self._counted["reads"] + (self._session.reads if self._session else 0)

    @property
    def writes(self) -> int:
        return self._counted["writes"] + (self._session.writes if self._session else 0)

    def run(self, work: Callable[[Session], T], deadline: Deadline, *, changes: bool = False) -> T:
        """What `work` returns. It may be repeated, so it is, once, if the connection turns out to be lost."""
        with self._lock:
            self._is_made = self._session is not None
            try:
                return self._run(work, deadline, changes=changes)
            except Unreachable:
                if not self._is_made:
                    raise
            return self._run(work, deadline, changes=changes)

    def _run(self, work: Callable[[Session], T], deadline: Deadline, *, changes: bool) -> T:
        try:
            return work(self._open(deadline, changes=changes))
        except BackendError as error:
            if isinstance(error, Unreachable):
                self._close()
            raise
        except BaseException:
            # A statement was interrupted: its answer would be taken for the next one's.
            self._close()
            raise

    def close(self) -> None:
        with self._lock:
            self._close()

    def _open(self, deadline: Deadline, *, changes: bool) -> Session:
        if self._session is None:
            self._session = self._stack.enter_context(self._opener(self._name, deadline))
            self._is_made = True
        if changes and not self._has_lock:
            subject = f"PostgreSQL/{self._name}"
            values = {"key": LOCK_KEY}
            self._session.query(statements.compose(statements.LOCK), values, subject=subject, deadline=deadline)
            self._has_lock = True
        return self._session

    def _close(self) -> None:
        if self._session is not None:
            self._counted["reads"] += self._session.reads
            self._counted["writes"] += self._session.writes
        self._session = None
        self._has_lock = False
        self._stack.close()


def through_api_server(client: Client) -> Clusters:
    """Clusters that are reached by a port-forward each, with passwords and verifiers out of Secrets."""

    def read_key(key: SecretKey, deadline: Deadline) -> Secret:
        return read_secret(client, key, deadline=deadline)

    @contextmanager
    def open_session(name: str, deadline: Deadline) -> Iterator[Session]:
        namespace = cluster_namespace_of(name)
        key = SecretKey(namespace=namespace, secret=CREDENTIALS, key=f"{ADMIN_KEY}.password")
        password = read_key(key, deadline)
        with (
            tunnel(client, namespace=namespace, pod=POSTGRESQL_POD, port=PORT, deadline=deadline) as way,
            ExitStack() as stack,
        ):
            target = Target(cluster=name, host=str(way.directory), port=PORT, password=password)
            try:
                session = stack.enter_context(connect(target, deadline=deadline))
            except BackendError as error:
                if way.trouble:
                    raise Unreachable(subject=error.subject, verb=error.verb, reason=way.trouble) from error
                raise
            yield session

    return Clusters(open_session, read_key)
