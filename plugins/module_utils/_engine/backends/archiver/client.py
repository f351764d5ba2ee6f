# SPDX-License-Identifier: BSD-2-Clause
"""One archiver, beside the PostgreSQL of a pod: how it goes, and what it does on request: base backups, restore points,
dumps.

It listens on the pod's loopback alone, so it is asked through a port-forward, over a connection for each question.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ...archive.status import ArchiverStatus, parse_status
from ...credentials import Secret
from ...deadline import Deadline
from ...errors import BackendError, Conflict, NotFound, Rejected, ServerFailed, Unreachable
from ...objects import Body, ObjectId
from ...project.names import POSTGRESQL_POD
from ..kubernetes.client import Client, short
from ..kubernetes.kinds import object_path
from ..kubernetes.portforward import socket_name, tunnel

PORT = 8432
CONTAINER = "archiver"
# For a whole answer, however slowly it comes: what answers may be something else, which a tenant has put there.
ANSWER_SECONDS = 15.0
# A status has some 5 KiB, engines' last words among them, and up to 200 restore points of 150 bytes; that of a scratch
# copy has 16 bytes more for each database.
LARGEST = 128 * 1024

# How the archiver begins an answer about one that is not there.
NO_DATABASE = "there is no database "

_BY_STATUS: dict[int, type[BackendError]] = {404: NotFound, 409: Conflict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Archiver:
    """The archiver in a pod."""

    client: Client
    namespace: str
    pod: str = POSTGRESQL_POD
    port: int = PORT

    @property
    def subject(self) -> str:
        """As errors name it."""
        return f"Pod/{self.namespace}/{self.pod} ({CONTAINER})"

    def status(self, *, deadline: Deadline) -> ArchiverStatus:
        """How it goes. Raises NotFound if there is no pod or no archiver in it, and other BackendErrors."""
        raw = self._ask("GET", "/status", deadline)
        try:
            return parse_status(raw)
        except ValueError as error:
            reason = (
                f"its status is not as this collection reads it ({short(str(error))}); is its image of this release?"
            )
            raise Rejected(subject=self.subject, verb="GET", reason=reason) from error

    def ask_backup(self, *, full: bool, deadline: Deadline) -> None:
        """Have it make a base backup, which begins within seconds. Raises Conflict if one is running or asked for."""
        self._ask("POST", "/backup/full" if full else "/backup", deadline)

    def dump(self, database: str, key: str, *, token: str = "", deadline: Deadline) -> None:
        """Have a database dumped into the object store, which begins within seconds.

        It is in a scratch copy, or closed, which `token` is of. Raises Conflict if something else runs, the copy is not
        ready or the database has been open since, and NotFound if there is none of that name.
        """
        self._ask("POST", "/dump", deadline, {"database": database, "key": key, **({"token": token} if token else {})})

    def check(self, databases: Sequence[str], *, deadline: Deadline) -> None:
        """Have the archiver of a scratch copy look for corruption in databases, in all if none is named."""
        self._ask("POST", "/check", deadline, {"databases": list(databases)})

    def load(self, database: str, *, owner: str, url: Secret, same_project: bool, deadline: Deadline) -> None:
        """Have a dump loaded beside a live database, which begins within seconds. Raises Conflict if something runs.

        `url`: where the dump can be fetched by whoever knows it. Without `same_project` it gives rights to everybody
        and to the API's groups, as it says, and to nobody else.
        """
        told = {"database": database, "owner": owner, "url": url.reveal(), "same_project": same_project}
        self._ask("POST", "/load", deadline, told)

    def swap(self, database: str, *, kept: str, deadline: Deadline) -> None:
        """Put what was loaded in the place of a database, which is kept under another name; all sessions end.

        Asked again after a lost answer it does nothing. Raises NotFound if nothing was loaded, and ServerFailed if it
        could not be done: then everything is as before.
        """
        self._ask("POST", "/swap", deadline, {"database": database, "kept": kept})

    def make_point(self, project: str, name: str, *, deadline: Deadline) -> None:
        """Have it name this moment for the project with that uid, which begins at once and ends when that is archived.

        Raises Conflict with the reason if the name is taken, another is being made, or nothing leads to this moment.
        """
        self._ask("POST", "/point", deadline, {"project": project, "name": name})

    def drop(self, kept: str, *, deadline: Deadline) -> bool:
        """Drop a database that was kept; False if there is none."""
        try:
            self._ask("POST", "/drop", deadline, {"database": kept})
        except NotFound as error:
            if not self._is_no_database(error):
                raise
            return False
        return True

    def look(self, database: str, *, deadline: Deadline) -> tuple[int, tuple[str, ...]] | None:
        """Bytes of a live database, and other roles that it would miss elsewhere; None if there is no such one."""
        try:
            size, *strangers = self._ask("POST", "/look", deadline, {"database": database}).decode().split("\n")
        except NotFound as error:
            if not self._is_no_database(error):
                raise
            return None
        return int(size), tuple(one for one in strangers if one)

    def close(self, database: str, *, seconds: int, deadline: Deadline) -> str:
        """Let nobody into a database but who dumps it, until it is opened, retired, or the time is up; a token of that.

        Raises ServerFailed if somebody stays in it; then it is open.
        """
        return self._ask("POST", "/close", deadline, {"database": database, "seconds": seconds}).decode().strip()

    def hold(self, database: str, *, token: str, seconds: int, deadline: Deadline) -> None:
        """Leave a closed database closed for so long. Raises Conflict if it has been open since."""
        self._ask("POST", "/hold", deadline, {"database": database, "token": token, "seconds": seconds})

    def open(self, database: str, *, deadline: Deadline) -> bool:
        """Let its user in again, whoever closed it; False if there is no such database."""
        try:
            self._ask("POST", "/open", deadline, {"database": database})
        except NotFound as error:
            if not self._is_no_database(error):
                raise
            return False
        return True

    def retire(self, database: str, *, token: str, kept: str, deadline: Deadline) -> str:
        """Keep a closed database under another name, where nobody comes to it any more; when that was, in ISO 8601.

        Asked again it does nothing, whatever the token, and does not know when. Raises Conflict if it has been open
        since it was closed: a dump of it is not all. Raises NotFound if it is neither there nor kept.
        """
        told = {"database": database, "token": token, "kept": kept}
        said = self._ask("POST", "/retire", deadline, told).decode().strip()
        return said if said.startswith("2") else ""

    def _is_no_database(self, error: NotFound) -> bool:
        """Of a pod that is not there, or an archiver that does not know the question, another reason is told."""
        return error.subject == self.subject and error.reason.startswith(NO_DATABASE)

    def _ask(self, verb: str, path: str, deadline: Deadline, told: Body | None = None) -> bytes:
        """`told` may hold an address that is a secret: no error has it."""
        deadline.require(f"{verb} {self.subject}")
        body = b"" if told is None else json.dumps(told).encode()
        trouble, cause = "", None
        with tunnel(self.client, namespace=self.namespace, pod=self.pod, port=self.port, deadline=deadline) as way:
            try:
                there = str(way.directory / socket_name(self.port))
                status, data = exchange(there, verb, path, _seconds(deadline), body=body)
            except (OSError, http.client.HTTPException) as error:
                # The thread that carries the bytes may be about to say why.
                way.join(1.0)
                trouble, cause = way.trouble or str(error) or type(error).__name__, error
        if cause is not None:
            self._refuse_without_archiver(deadline)
            raise Unreachable(subject=self.subject, verb=verb, reason=short(trouble)) from cause
        if status >= 300:
            fallback = ServerFailed if status >= 500 else Rejected
            said = " ".join(data.decode(errors="replace").split())
            said = short(said.replace((told or {}).get("url") or "\n", "…") or "no reason given")
            kind = _BY_STATUS.get(status, fallback)
            raise kind(subject=self.subject, verb=verb, reason=said, status=status)
        return data

    def _refuse_without_archiver(self, deadline: Deadline) -> None:
        """Nobody answers: that may be because the pod has nobody who could. Raises NotFound then."""
        id = ObjectId(kind="Pod", namespace=self.namespace, name=self.pod)
        spec = self.client.get(object_path(id), subject=str(id), deadline=deadline).get("spec") or {}
        names = {one.get("name") for key in ("initContainers", "containers") for one in spec.get(key) or ()}
        if CONTAINER not in names:
            reason = "the pod has no archiver; run the module projects (of a shared cluster: platform), which adds it"
            raise NotFound(subject=self.subject, verb="CONNECT", reason=reason)


def exchange(path: str, verb: str, target: str, seconds: float, *, body: bytes = b"") -> tuple[int, bytes]:
    """One request over the socket at `path`, and the answer: status and body.

    Raises OSError or HTTPException if none comes whole within `seconds`, or it is larger than a status is.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made, _ended_after(made, seconds):
        made.settimeout(seconds)
        made.connect(path)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = made
        connection.request(verb, target, body=body or None, headers={"Connection": "close"})
        with contextlib.closing(connection.getresponse()) as answer:
            data = answer.read(LARGEST + 1)
            if len(data) > LARGEST:
                raise http.client.HTTPException(f"the answer is larger than {LARGEST} bytes")
            if answer.length:
                raise http.client.IncompleteRead(data, answer.length)
            return answer.status, data


@contextmanager
def _ended_after(made: socket.socket, seconds: float) -> Iterator[None]:
    """The timeout of a socket is for each read; this ends them all. Raises TimeoutError."""
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(OSError):
            made.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    cause: Exception | None = None
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        cause = error
    finally:
        timer.cancel()
        timer.join()
    if late.is_set():
        raise TimeoutError(f"no whole answer came within {seconds:g} s") from cause
    if cause is not None:
        raise cause


def _seconds(deadline: Deadline) -> float:
    return max(0.1, min(ANSWER_SECONDS, deadline.remaining()))
