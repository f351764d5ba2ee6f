# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# This file is private to the collection; its interface may change in any release.
"""Vault's HTTP API as the modules of the role vault speak it: on hosts, with nothing but Ansible's own Python."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import typing as t
import urllib.error

from ansible.module_utils.urls import open_url

JSON = dict[str, t.Any]
CONNECTION_SPEC: dict[str, JSON] = {
    "url": {"type": "str", "required": True},
    "ca_path": {"type": "path"},
    "timeout_seconds": {"type": "int", "default": 30},
}
LOGIN_SPEC: dict[str, JSON] = {
    "token": {"type": "str", "no_log": True},
    "role_id": {"type": "str", "no_log": True},
    "secret_id": {"type": "str", "no_log": True},
    "approle_path": {"type": "str", "default": "approle"},
}


class VaultError(Exception):
    """What went wrong, in words for the operator; ``status`` is 0 if there was no answer."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Vault:
    """One Vault by its address. A path is what stands behind ``/v1/`` in its API."""

    def __init__(self, url: str, ca_path: str | None, timeout_seconds: int, token: str = "") -> None:
        self.url = url.rstrip("/")
        self.ca_path = ca_path
        self.timeout_seconds = timeout_seconds
        self.token = token

    def get(self, path: str) -> JSON | None:
        """Give what is there, or None if nothing is."""
        try:
            return self.ask("GET", path)
        except VaultError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: JSON) -> JSON:
        """Send a JSON body."""
        return self.ask("POST", path, body)

    def ask(self, method: str, path: str, body: JSON | None = None) -> JSON:
        """Make one request; an empty answer is an empty mapping."""
        with self.open(method, path, body) as response:
            try:
                text = response.read()
                answer = json.loads(text) if text else {}
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise VaultError(f"{method} {self.url}/v1/{path}: its answer was cut off, or is no JSON") from error
        return answer if isinstance(answer, dict) else {}

    def open(self, method: str, path: str, body: JSON | None = None) -> t.Any:
        """Open one request; what prevents it is worded, without what was sent."""
        headers = {"Content-Type": "application/json", "X-Vault-Request": "true"}
        if self.token:
            headers["X-Vault-Token"] = self.token
        data = None if body is None else json.dumps(body)
        address = f"{self.url}/v1/{path}"
        request = {
            "method": method, "data": data, "headers": headers, "ca_path": self.ca_path,
            "timeout": self.timeout_seconds, "use_proxy": False,
        }  # fmt: skip
        try:
            try:
                return open_url(address, **request)
            except urllib.error.HTTPError as error:
                leader = leader_from(error)
                if not leader.startswith(self.url.partition(":")[0] + "://"):
                    raise
                address = leader
                return open_url(address, **request)
        except urllib.error.HTTPError as error:
            raise VaultError(f"{method} {address}: HTTP {error.code}: {said(error)}", error.code) from error
        except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
            raise VaultError(f"{address} cannot be reached: {getattr(error, 'reason', error)}") from error


def leader_from(error: urllib.error.HTTPError) -> str:
    """Give the same request's address at the server that leads, or an empty text.

    A server that does not lead passes requests on. Just after an election it cannot, and names the one that does.
    """
    return str(error.headers.get("Location", "")) if error.code == 307 else ""


def said(error: urllib.error.HTTPError) -> str:
    """Give Vault's own words of an error, cut; they name paths and reasons, never a value that was sent."""
    try:
        errors = json.loads(error.read()).get("errors") or []
    except (ValueError, AttributeError, OSError):
        errors = []
    return "; ".join(" ".join(str(each).split()) for each in errors)[:500] or str(error.reason)


def vault_of(params: JSON) -> Vault:
    """Give the Vault that a module's options name, without a token."""
    return Vault(params["url"], params["ca_path"], params["timeout_seconds"])


@contextlib.contextmanager
def logged_in(params: JSON) -> t.Iterator[Vault]:
    """Give a Vault with a token: the one given while it is good, or an AppRole's, which is revoked at the end."""
    vault = vault_of(params)
    has_role = bool(params["role_id"] and params["secret_id"])
    if params["token"] and (not has_role or is_good(vault, params["token"])):
        vault.token = params["token"]
        yield vault
        return
    if not has_role:
        raise VaultError("there is neither token nor role_id and secret_id to log in with")
    login = {"role_id": params["role_id"], "secret_id": params["secret_id"]}
    answer = vault.post(f"auth/{params['approle_path']}/login", login)
    vault.token = answer["auth"]["client_token"]
    try:
        yield vault
    finally:
        with contextlib.suppress(VaultError):
            vault.post("auth/token/revoke-self", {})


def is_good(vault: Vault, token: str) -> bool:
    """Whether a token is known and has not ended."""
    try:
        Vault(vault.url, vault.ca_path, vault.timeout_seconds, token).get("auth/token/lookup-self")
    except VaultError as error:
        if error.status == 403:
            return False
        raise
    return True


def status_of(vault: Vault) -> JSON:
    """Give ``answers``, ``initialized``, ``sealed``, ``shamir``, ``active`` and ``version`` of a server.

    A server that does not answer is none of them.
    """
    try:
        seal = vault.get("sys/seal-status") or {}
    except VaultError as error:
        nothing: JSON = dict.fromkeys(("answers", "initialized", "sealed", "shamir", "active"), False)
        return {**nothing, "version": "", "reason": str(error)}
    return {
        "answers": True,
        "initialized": bool(seal.get("initialized")),
        "sealed": bool(seal.get("sealed", True)),
        "shamir": seal.get("type") == "shamir",
        "active": not seal.get("sealed", True) and is_active(vault),
        "version": str(seal.get("version", "")),
        "reason": "",
    }


def is_active(vault: Vault) -> bool:
    """Whether this server leads; one that cannot tell does not."""
    try:
        return bool((vault.get("sys/leader") or {}).get("is_self"))
    except VaultError:
        return False


def await_answer(vault: Vault, deadline_seconds: int, wanted: t.Callable[[JSON], bool], what: str) -> JSON:
    """Ask until a server's status is the wanted one; at the deadline say what was seen last."""
    deadline = time.monotonic() + deadline_seconds
    while not wanted(status := status_of(vault)):
        if time.monotonic() > deadline:
            raise VaultError(f"waited {deadline_seconds} s until {vault.url} {what}; last seen: {worded(status)}")
        time.sleep(0.5)
    return status


def worded(status: JSON) -> str:
    """Say in a few words what a server is.

    >>> worded({"answers": True, "initialized": True, "sealed": True})
    'initialised, sealed'
    """
    if not status["answers"]:
        return str(status.get("reason") or "no answer")
    initialised = "initialised" if status["initialized"] else "not initialised"
    return f"{initialised}, {'sealed' if status['sealed'] else 'unsealed'}"
