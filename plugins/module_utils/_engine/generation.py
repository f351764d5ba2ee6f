# SPDX-License-Identifier: BSD-2-Clause
"""The values of a secret when it is first made: passwords with what checks them, and keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from .credentials import SALT_BYTES, USERLIST, Secret, generate_password, scram_verifier, userlist_line
from .objects import Generated, GeneratedKey, GeneratedLogin, GeneratedText, GivenText, Known
from .signing import generate_key, key_set

RandomBytes = Callable[[int], bytes]
NOTHING_GIVEN: Mapping[str, Secret] = MappingProxyType({})


def new_texts(
    generated: Iterable[Generated], random_bytes: RandomBytes, given: Mapping[str, Secret] = NOTHING_GIVEN
) -> dict[str, str]:
    """New values by the names that the kinds of `Generated` tell; those of `GivenText` are taken out of `given`."""
    texts: dict[str, str] = {}
    lines: list[str] = []
    for one in generated:
        if isinstance(one, GeneratedKey):
            key = generate_key(random_bytes).reveal()
            texts |= {one.private: key, one.public: key_set((key,))}
        elif isinstance(one, GeneratedText):
            texts[one.key] = random_bytes(one.random_bytes).hex()
        elif isinstance(one, GivenText):
            texts[one.key] = given[one.name].reveal()
        else:
            password = generate_password(random_bytes)
            texts |= _of_login(one, password, random_bytes)
            lines += _in_userlist(one, password, random_bytes)
    return {**texts, USERLIST: "".join(f"{line}\n" for line in lines)} if lines else texts


def _of_login(login: GeneratedLogin, password: Secret, random_bytes: RandomBytes) -> dict[str, str]:
    texts = {f"{login.key}.user": login.role, f"{login.key}.password": password.reveal()}
    if login.in_postgresql:
        texts[f"{login.key}.verifier"] = scram_verifier(password, salt=random_bytes(SALT_BYTES))
    return texts


def _in_userlist(login: GeneratedLogin, password: Secret, random_bytes: RandomBytes) -> tuple[str, ...]:
    """The line of the pooler's file, if the pooler is to know the login."""
    if login.pooler is Known.NOTHING:
        return ()
    if login.pooler is Known.PASSWORD:
        return (userlist_line(login.role, password),)
    verifier = scram_verifier(password, salt=random_bytes(SALT_BYTES))
    return (userlist_line(login.role, Secret(verifier)),)
