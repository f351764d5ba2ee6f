# SPDX-License-Identifier: BSD-2-Clause
"""Waiting for readiness with one watch per kind, however many objects are waited for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ...deadline import Deadline
from ...errors import BackendError, DeadlineExceeded, Denied, Expired, Rejected, Throttled
from ...objects import Body, ObjectId
from ...project.names import COMPONENT_LABEL, PROJECT_LABEL
from .client import Client, Watch
from .kinds import KINDS, collection_path
from .readiness import Readiness, State, readiness_of, trouble_of

RETRY_SECONDS = 1.0
TICK_SECONDS = 1.0
UNSEEN = Readiness(state=State.WAITING, reason="it has not been seen yet")


@dataclass(slots=True)
class Seen:
    """What the watches have told so far. Only the waiting thread touches it.

    `troubles` are those of pods by name, for each namespace and component: an old pod and its successor each have one.
    """

    waiting: dict[ObjectId, Readiness]
    done: dict[ObjectId, Readiness] = field(default_factory=dict)
    troubles: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def take(self, kind: str, event: Body) -> None:
        """Note what an event says."""
        body = {**event["object"], "kind": kind, "apiVersion": KINDS[kind].api_version}
        id = ObjectId.of(body)
        if kind == "Pod":
            component = (body["metadata"].get("labels") or {}).get(COMPONENT_LABEL, "")
            troubles = self.troubles.setdefault((id.namespace, component), {})
            troubles[id.name] = "" if event["type"] == "DELETED" else trouble_of(body)
        elif id in self.waiting:
            answer = UNSEEN if event["type"] == "DELETED" else readiness_of(body)
            self.waiting[id] = answer
            if answer.state is not State.WAITING:
                self.done[id] = self.waiting.pop(id)

    def result(self, errors: Mapping[str, str]) -> dict[ObjectId, Readiness]:
        """Every answer; one that is not ready says what is the matter with its pods, or with the watch of its kind."""
        answers = {**self.done, **self.waiting}
        return {
            id: answer if answer.state is State.READY else self._explained(id, answer, errors)
            for id, answer in answers.items()
        }

    def _explained(self, id: ObjectId, answer: Readiness, errors: Mapping[str, str]) -> Readiness:
        pods = self.troubles.get((id.namespace, id.name), {})
        reasons = [
            *(trouble for _name, trouble in sorted(pods.items()) if trouble),
            errors.get(id.kind, ""),
            errors.get("Pod", ""),
        ]
        said = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
        return Readiness(state=answer.state, reason=f"{answer.reason} ({said})" if said else answer.reason)


class _Feed(threading.Thread):
    """LIST, then WATCH, of one kind, from the start again whenever history is lost; events go to a queue."""

    def __init__(
        self, client: Client, kind: str, selector: str, events: queue.Queue[tuple[str, Body]], deadline: Deadline
    ):
        super().__init__(name=f"watch {kind}", daemon=True)
        self._client = client
        self.kind = kind
        self._selector = selector
        self._events = events
        self._deadline = deadline
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self.error = ""

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
            except (Denied, Rejected, DeadlineExceeded) as error:
                self.error = str(error)
                return
            except BackendError as error:
                self.error = str(error)
                version = ""
                asked = error.retry_after if isinstance(error, Throttled) else None
                self._stopped.wait(min(max(RETRY_SECONDS, asked or 0.0), self._deadline.remaining()))

    def _list(self) -> str:
        """Put every object as if it were new; the version from which to watch."""
        query = {"labelSelector": self._selector}
        # Without a resourceVersion the answer is not older than what we have just written.
        page = self._client.get(collection_path(self.kind), subject=self.kind, deadline=self._deadline, query=query)
        self.error = ""
        for item in page.get("items") or ():
            self._events.put((self.kind, {"type": "ADDED", "object": item}))
        return str(page["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> str:
        """Put every event of one watch; the version from which to take up the next."""
        query = {"labelSelector": self._selector, "resourceVersion": version}
        self._watch = self._client.watch(
            collection_path(self.kind), subject=self.kind, query=query, deadline=self._deadline
        )
        if self._stopped.is_set():
            self._watch.shut()
        for event in self._watch.events():
            version = event["object"]["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._events.put((self.kind, event))
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
    seen = Seen(waiting=dict.fromkeys(ids, UNSEEN))
    total = len(seen.waiting)
    events: queue.Queue[tuple[str, Body]] = queue.Queue()
    kinds = {id.kind for id in seen.waiting} | {"Pod" for id in seen.waiting if id.namespace}
    feeds = [_Feed(client, kind, selector, events, deadline) for kind in sorted(kinds)]
    for feed in feeds:
        feed.start()
    try:
        while deadline.remaining() > 0 and _may_get_news(seen, feeds, events):
            try:
                seen.take(*events.get(timeout=min(TICK_SECONDS, deadline.remaining() or TICK_SECONDS)))
            except queue.Empty:
                progress(len(seen.done), total)
    finally:
        for feed in feeds:
            feed.stop()
    progress(len(seen.done), total)
    return seen.result({feed.kind: feed.error for feed in feeds})


def _may_get_news(seen: Seen, feeds: Iterable[_Feed], events: queue.Queue[tuple[str, Body]]) -> bool:
    """False once nothing is waited for, or only kinds whose watch has ended for good."""
    waited = {id.kind for id in seen.waiting}
    alive = {feed.kind for feed in feeds if feed.is_alive()}
    return bool(waited & alive) or (bool(waited) and not events.empty())
