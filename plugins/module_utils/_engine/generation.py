# SPDX-License-Identifier: BSD-2-Clause
"""The values of a secret when it is first made: passwords with what checks them, and keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from .archives import ACCESS_KEY, AWS_FILE, SECRET_KEY
from .authority import certified
from .credentials import SALT_BYTES, USERLIST, Secret, generate_password, scram_verifier, userlist_line
from .errors import SafetyStop
from .objects import (
    Generated,
    GeneratedAccess,
    GeneratedApiKeys,
    GeneratedCertificate,
    GeneratedKey,
    GeneratedLogin,
    GeneratedText,
    Known,
)
from .service_keys import JWT_SECRET_BYTES, new_keys, with_files
from .signing import generate_key, key_set

RandomBytes = Callable[[int], bytes]
ACCESS_KEY_BYTES = 10
SECRET_KEY_BYTES = 32
NOTHING_GIVEN: Mapping[str, Secret] = MappingProxyType({})


def new_texts(
    generated: Iterable[Generated],
    random_bytes: RandomBytes,
    given: Mapping[str, Secret] = NOTHING_GIVEN,
    clock: Callable[[], float] = time.time,
) -> dict[str, str]:
    """New values by the names that the kinds of `Generated` tell; those that a user gave are in `given`."""
    texts: dict[str, str] = {}
    lines: list[str] = []
    for one in generated:
        if isinstance(one, GeneratedKey):
            key = generate_key(random_bytes).reveal()
            texts |= {one.private: key, one.public: key_set((key,))}
        elif isinstance(one, GeneratedText):
            texts[one.key] = random_bytes(one.random_bytes).hex()
        elif isinstance(one, GeneratedApiKeys):
            texts |= new_keys(random_bytes(JWT_SECRET_BYTES).hex(), ref=one.ref, now=int(clock()))
        elif isinstance(one, GeneratedCertificate):
            texts |= certified({}, host=one.host, now=clock(), random_bytes=random_bytes)
        elif isinstance(one, GeneratedAccess):
            texts |= access_texts(given if one.is_given else new_access(random_bytes))
        else:
            password = generate_password(random_bytes)
            texts |= _of_login(one, password, random_bytes)
            lines += _in_userlist(one, password, random_bytes)
    texts = with_files(texts)
    return {**texts, USERLIST: "".join(f"{line}\n" for line in lines)} if lines else texts


def new_access(random_bytes: RandomBytes) -> dict[str, Secret]:
    """Keys of the object store. Hexadecimal digits, which every store takes and no form of a request has to escape."""
    return {
        ACCESS_KEY: Secret(random_bytes(ACCESS_KEY_BYTES).hex().upper()),
        SECRET_KEY: Secret(random_bytes(SECRET_KEY_BYTES).hex()),
    }


def access_texts(keys: Mapping[str, Secret]) -> dict[str, str]:
    """Both keys, and the file of them."""
    if not {ACCESS_KEY, SECRET_KEY} <= keys.keys():
        raise SafetyStop("the keys of the object store are to be the given ones, and this run was given none")
    access, secret = keys[ACCESS_KEY].reveal(), keys[SECRET_KEY].reveal()
    file = f"[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n"
    return {ACCESS_KEY: access, SECRET_KEY: secret, AWS_FILE: file}


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
