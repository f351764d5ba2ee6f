# SPDX-License-Identifier: BSD-2-Clause
"""Names of images in their parts, and which images a platform uses."""

from __future__ import annotations

from dataclasses import dataclass

from .model import Platform
from .vocabulary import HTTP_ROUTES, NO_GATEWAY

# Where a name without a registry leads, see distribution/reference, normalize.go.
DEFAULT_REGISTRY = "docker.io"
_OF_NOBODY = "library"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The parts of an image's name. `tag` and `digest`: empty if it has none."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def place(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"


def image_from(text: str) -> Image:
    """An image's name in its parts, what it leaves unsaid as every container runtime completes it.

    >>> image_from("traefik:v3").place
    'docker.io/library/traefik'
    >>> image_from("127.0.0.1:5000/a/b:1@sha256:00").place
    '127.0.0.1:5000/a/b'
    """
    named, _at, digest = text.partition("@")
    head, _slash, rest = named.partition("/")
    registry, path = (head, rest) if rest and is_registry(head) else (DEFAULT_REGISTRY, named)
    folder, slash, last = path.rpartition("/")
    name, _colon, tag = last.partition(":")
    if registry == DEFAULT_REGISTRY and not folder:
        folder, slash = _OF_NOBODY, "/"
    return Image(registry=registry, repository=f"{folder}{slash}{name}", tag=tag, digest=digest)


def is_registry(text: str) -> bool:
    """Whether the first part of a name is a registry's address and not a folder."""
    return "." in text or ":" in text or text == "localhost"


def used_images(platform: Platform) -> dict[str, str]:
    """The images that anything of this platform runs, by what they are for."""
    used = {"postgresql", "pgbouncer"}
    if platform.object_store_endpoint is not None:
        used.add("archiver")
    if platform.gateway_kind == HTTP_ROUTES:
        used |= {"traefik", "verifier"}
    if platform.gateway_kind != NO_GATEWAY:
        used |= {"auth", "rest"}
    return {name: image for name, image in platform.images.items() if name in used}


def images_by_tag(platform: Platform) -> dict[str, str]:
    """Those in use that a tag alone names, which whoever writes to the registry can move to other bytes."""
    return {name: image for name, image in used_images(platform).items() if not image_from(image).digest}
