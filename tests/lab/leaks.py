# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking for secrets where they must not be, however they are written there."""

from __future__ import annotations

import base64
import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path

from . import hosts, layout
from .beside import Beside

LOOK_SECONDS = 0.25
# Shorter words of the files are no secrets.
SHORTEST = 15
# A token of OpenBao, whoever's it is.
VAULT_TOKEN = re.compile(r"\bs\.[A-Za-z0-9]{24}\b")


def spellings(word: str) -> dict[str, str]:
    """A secret in every form in which programs write texts, each with the name of the form."""
    raw = word.encode()
    found = {
        "as it is": word,
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "URL-encoded": urllib.parse.quote(word, safe=""),
        "JSON-escaped": json.dumps(word)[1:-1],
    }
    for shift in range(3):
        # Inside of a longer text that was encoded as a whole; what its neighbours take part in is cut off.
        encoded = base64.b64encode(b"\0" * shift + raw)
        inner = encoded[(shift * 8 + 5) // 6 : len(encoded) - 4 if (shift + len(raw)) % 3 else None]
        found[f"base64, shifted by {shift}"] = inner.decode()
        found[f"base64url, shifted by {shift}"] = inner.decode().replace("+", "-").replace("/", "_")
    return found


class Needles:
    """Secrets by what they are, in all their spellings."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._told: dict[str, str] = {}
        for name, word in secrets.items():
            for form, text in spellings(word).items():
                self._told.setdefault(text, f"{name} ({form})")

    @property
    def texts(self) -> tuple[str, ...]:
        """For a program that searches by itself."""
        return tuple(self._told)

    @property
    def names(self) -> tuple[str, ...]:
        """What they are."""
        return tuple(self._told.values())

    def found_in(self, text: str) -> list[str]:
        """What of it is in a text, by name only."""
        return sorted(name for needle, name in self._told.items() if needle in text)


class ProcessListings(Beside):
    """Every command line and environment that a process of this machine has had meanwhile, as ps shows them to root.

    Containers of the lab are processes of this machine. Environments of processes that this test started with a secret
    on purpose are not looked at, nor is its own.
    """

    def __init__(self) -> None:
        super().__init__("process listings", LOOK_SECONDS)
        self._seen: set[str] = set()
        self._own = str(os.getpid())

    def text(self) -> str:
        """All of it."""
        return "\n".join(self._seen)

    def look(self) -> None:
        """At all processes that there are now."""
        for entry in os.listdir("/proc"):
            if entry.isdigit() and entry != self._own:
                self._seen.update(_read(Path("/proc", entry, name)) for name in ("cmdline", "environ"))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def tokens_of(folder: Path, server: layout.Host) -> dict[str, str]:
    """Secrets of K3s, Vault and the object store, by what they are: what roles left beside an inventory, or there."""
    words = {"token of K3s": hosts.run_on(server, "cat /var/lib/rancher/k3s/server/token").strip()}
    for path in sorted((*folder.glob("vault-*.json"), *folder.glob("object-store.json"))):
        for key, value in json.loads(path.read_text()).items():
            for number, word in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(word, str) and len(word) > SHORTEST and key not in ("role_id", "access_key"):
                    words[f"{path.name} {key} {number}"] = word
    return words


def generated(objects: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Every password, verifier and private key in Secrets of the platform, by where it is kept."""
    found: dict[str, str] = {}
    for one in objects:
        meta, data = one["metadata"], one.get("data") or {}
        assert isinstance(meta, dict)
        assert isinstance(data, dict)
        for key, value in data.items():
            name, text = f"{meta['namespace']}/{meta['name']} {key}", base64.b64decode(value).decode()
            if key.endswith((".password", ".verifier")) or key in ("secret_key", "encryption_key"):
                found[name] = text
            elif key.endswith(".jwk"):
                # What is secret of a key.
                found[name] = json.loads(text)["d"]
    return found
