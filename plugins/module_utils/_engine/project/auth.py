# SPDX-License-Identifier: BSD-2-Clause
"""A project's own settings of Auth: out of what the user wrote, and as the record keeps them.

No secret is among them: a Secret in the project's namespace has those, and `secret` is its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import Problem
from .auth_fields import AUTH, MAIL, MAIL_PASSWORD, PROVIDER, PROVIDER_SECRET, PROVIDERS
from .model import Auth, Mail, Platform, Project
from .section import Section
from .vocabulary import NO_GATEWAY, PROJECTS_VARIABLE

_DEFAULTS = {one.name: getattr(Auth(), one.name) for one in AUTH}


def read_auth(own: Section) -> Auth:
    """What a project says of Auth; where it says nothing, what Auth() has."""
    given = own.read_all(AUTH, _DEFAULTS)
    mail = own.section("mail")
    auth = Auth(**given, mail=_mail(mail) if own.says("mail") else None, providers=_providers(own))
    own.refuse_unknown()
    if own.is_sound:
        _check_secret(own, auth)
    return auth


def _mail(section: Section) -> Mail:
    given = section.read_all(MAIL, {"port": Mail.PORT, "sender_name": None, "user": None})
    section.refuse_unknown()
    return Mail(**given)


def _providers(own: Section) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for name, section in own.sections("providers"):
        if name not in PROVIDERS:
            own.refuse("providers", name, "one of " + ", ".join(PROVIDERS))
            continue
        found[name] = section.read_all(PROVIDER, {})["client_id"]
        section.refuse_unknown()
    return tuple(sorted(found.items()))


def _check_secret(own: Section, auth: Auth) -> None:
    """Where there is something secret, it has a place; a place for nothing is a mistake."""
    keys = secret_keys(auth)
    if keys and auth.secret is None:
        own.refuse("secret", None, f"the name of the Secret that has {' and '.join(keys)}")
    if not keys and auth.secret is not None:
        own.refuse("secret", auth.secret, "nothing, as there is neither mail.user nor a provider; it goes with these")


def secret_keys(auth: Auth) -> tuple[str, ...]:
    """The keys that the project's own Secret has to have.

    >>> secret_keys(Auth(providers=(("github", "Iv1.abc"),)))
    ('github.secret',)
    """
    mail = (MAIL_PASSWORD,) if auth.mail is not None and auth.mail.user is not None else ()
    return (*mail, *(f"{name}.{PROVIDER_SECRET}" for name, _client_id in auth.providers))


def auth_as_written(auth: Auth) -> dict[str, object]:
    """What differs from the defaults, as the record keeps it: what `read_auth` reads as the same again."""
    said = {one.name: (one.kind, getattr(auth, one.name)) for one in AUTH}
    written = {key: kind.write(found) for key, (kind, found) in said.items() if found != _DEFAULTS[key]}
    if auth.mail is not None:
        values = ((one, getattr(auth.mail, one.name)) for one in MAIL)
        written["mail"] = {one.name: one.kind.write(value) for one, value in values if value is not None}
    if auth.providers:
        written["providers"] = {name: {"client_id": client_id} for name, client_id in auth.providers}
    return written


def sample_of(auth: Auth) -> Auth:
    """What stands for all projects that have said something of the same things, whatever they said."""
    mail = auth.mail and replace(
        auth.mail,
        host="a.aa",
        sender="a@a.aa",
        port=Mail.PORT,
        sender_name=auth.mail.sender_name and "a",
        user=auth.mail.user and "a",
    )
    return replace(
        auth,
        site_url=auth.site_url and "https://a.aa",
        redirect_urls=("https://a.aa",) if auth.redirect_urls else (),
        mail=mail,
        providers=((PROVIDERS[0], "a"),) if auth.providers else (),
        secret=auth.secret and "a",
    )


def check_auth(projects: Iterable[Project], platform: Platform, problems: list[Problem]) -> None:
    """Where projects have no Auth, there is nothing to set."""
    if platform.gateway_kind != NO_GATEWAY:
        return
    allowed = f"nothing, as gateway_kind is {NO_GATEWAY} and projects have no Auth"
    own = (project for project in projects if project.auth != Auth())
    problems += [
        Problem(path=f"{PROJECTS_VARIABLE}.{one.ref}.auth", value=one.spec["auth"], allowed=allowed) for one in own
    ]
