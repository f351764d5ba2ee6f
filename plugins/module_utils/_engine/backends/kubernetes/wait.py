# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for readiness with one watch per kind, however many objects are waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ...deadline import Deadline
from ...errors import BackendError, Denied, Expired, Rejected
from ...objects import Body, ObjectId
from ...project.names import PROJECT_LABEL
from .client import Client, Watch
from .kinds import KINDS, collection_path
from .readiness import Readiness, State, readiness_of, trouble_of

RETRY_SECONDS = 1.0
TICK_SECONDS = 1.0
UNSEEN = Readiness(state=State.WAITING, reason="it has not been seen yet")


@dataclass(slots=True)
class _Seen:
    """What the watches have told so far. Only the waiting thread touches it."""

    waiting: dict[ObjectId, Readiness]
    done: dict[ObjectId, Readiness] = field(default_factory=dict)
    troubles: dict[tuple[str, str], str] = field(default_factory=dict)

    def take(self, kind: str, event: Body) -> None:
        body = {**event["object"], "kind": kind, "apiVersion": KINDS[kind].api_version}
        id = ObjectId.of(body)
        if kind == "Pod":
            component = (body["metadata"].get("labels") or {}).get("supalove.cloud/component", "")
            self.troubles[id.namespace, component] = "" if event["type"] == "DELETED" else trouble_of(body)
        elif id in self.waiting:
            answer = UNSEEN if event["type"] == "DELETED" else readiness_of(body)
            self.waiting[id] = answer
            if answer.state is not State.WAITING:
                self.done[id] = self.waiting.pop(id)

    def result(self) -> dict[ObjectId, Readiness]:
        """Every answer; one that still waits says what is the matter with its pods."""
        return {**self.done, **{id: self._explained(id, answer) for id, answer in self.waiting.items()}}

    def _explained(self, id: ObjectId, answer: Readiness) -> Readiness:
        trouble = self.troubles.get((id.namespace, id.name), "")
        reason = f"{answer.reason} ({trouble})" if trouble else answer.reason
        return Readiness(state=answer.state, reason=reason)


class _Feed(threading.Thread):
    """LIST, then WATCH, of one kind, from the start again whenever history is lost; events go to a queue."""

    def __init__(
        self, client: Client, kind: str, selector: str, events: queue.Queue[tuple[str, Body]], deadline: Deadline
    ):
        super().__init__(name=f"watch {kind}", daemon=True)
        self._client = client
        self._kind = kind
        self._selector = selector
        self._events = events
        self._deadline = deadline
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self.error: BackendError | None = None

    def stop(self) -> None:
        """End the thread, even while it reads."""
        self._stopped.set()
        watch = self._watch
        if watch is not None:
            watch.shut()
        self.join()

    def run(self) -> None:
        version = ""
        while not self._stopped.is_set() and self._deadline.remaining() > 0:
            try:
                version = self._follow(version or self._list())
            except Expired:
                version = ""
            except (Denied, Rejected) as error:
                self.error = error
                return
            except BackendError as error:
                self.error = error
                version = ""
                self._stopped.wait(RETRY_SECONDS)

    def _list(self) -> str:
        """Put every object as if it were new; the version from which to watch."""
        query = {"labelSelector": self._selector}
        # Without a resourceVersion the answer is not older than what we have just written.
        page = self._client.get(collection_path(self._kind), subject=self._kind, deadline=self._deadline, query=query)
        for item in page.get("items") or ():
            self._events.put((self._kind, {"type": "ADDED", "object": item}))
        return str(page["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Put every event of one watch; the version from which to take up the next."""
        query = {"labelSelector": self._selector, "resourceVersion": version}
        self._watch = self._client.watch(collection_path(self._kind), subject=self._kind, query=query)
        if self._stopped.is_set():
            self._watch.shut()
        for event in self._watch.events():
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._events.put((self._kind, event))
        return version


def await_ready(
    client: Client,
    ids: Iterable[ObjectId],
    *,
    deadline: Deadline,
    progress: Callable[[int, int], None],
    selector: str = PROJECT_LABEL,
) -> Mapping[ObjectId, Readiness]:
    """The answer for each object, as soon as none is waiting, or at the deadline with the last reason of each."""
    seen = _Seen(waiting=dict.fromkeys(ids, UNSEEN))
    total = len(seen.waiting)
    events: queue.Queue[tuple[str, Body]] = queue.Queue()
    kinds = {id.kind for id in seen.waiting} | {"Pod" for id in seen.waiting if id.namespace}
    feeds = [_Feed(client, kind, selector, events, deadline) for kind in sorted(kinds)]
    for feed in feeds:
        feed.start()
    try:
        while seen.waiting and deadline.remaining() > 0 and any(feed.is_alive() for feed in feeds):
            try:
                seen.take(*events.get(timeout=min(TICK_SECONDS, deadline.remaining() or TICK_SECONDS)))
            except queue.Empty:
                progress(len(seen.done), total)
    finally:
        for feed in feeds:
            feed.stop()
    progress(len(seen.done), total)
    return seen.result()
