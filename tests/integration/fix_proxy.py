# SPDX-License-Identifier: GPL-3.0-or-later
"""A TCP proxy in front of a server that can cut its connections, refuse new ones, be slow, and hold everything up."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from fix_apiserver import ApiServer
from fix_engine import Engine


class Proxy:
    """Passes bytes between its own port, a free one unless `address` has one, and what `connect` makes."""

    def __init__(
        self,
        connect: Callable[[], socket.socket],
        *,
        delay_seconds: float = 0.0,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._connect = connect
        self._delay = delay_seconds
        self._listener = socket.create_server(address)
        self.port = self._listener.getsockname()[1]
        self._passes = threading.Event()
        self._passes.set()
        self._open: list[socket.socket] = []
        self._is_up = True
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._threads[0].start()

    def hold(self) -> None:
        """From now on nothing arrives before `release`."""
        self._passes.clear()

    def release(self) -> None:
        """What was held arrives, and what comes later."""
        self._passes.set()

    def cut(self) -> None:
        """End every connection; new ones are accepted."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """From now on as if the server were gone."""
        self._is_up = False
        self.cut()

    def start(self) -> None:
        """The server is back."""
        self._is_up = True

    def close(self) -> None:
        self._is_up = False
        self._passes.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if not self._is_up:
                client.close()
                continue
            try:
                server = self._connect()
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink), name="proxy")
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(self._delay)
                self._passes.wait()
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def proxied(engine: Engine, api_server: ApiServer, tmp_path: Path) -> Iterator[tuple[Engine, Proxy]]:
    """The engine behind a proxy; the test itself talks to the server directly."""
    port = urlsplit(api_server.url).port
    proxy = Proxy(lambda: socket.create_connection(("127.0.0.1", port)))
    config = yaml.safe_load(api_server.kubeconfig.read_text())
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    yield dataclasses.replace(engine, server=dataclasses.replace(api_server, kubeconfig=path)), proxy
    proxy.close()
