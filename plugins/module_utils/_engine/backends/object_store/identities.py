# SPDX-License-Identifier: BSD-2-Clause
"""Users of SeaweedFS who can reach one prefix and nothing else, through its IAM API.

Measured with SeaweedFS 4.48: an inline policy of a user holds for objects by the ARN of the prefix, and for listings
only by the condition `s3:prefix` on the ARN of the bucket. Releases without seaweedfs/seaweedfs#10192 let nobody write
with such a policy.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum

from ...credentials import Secret
from ...deadline import Deadline
from ...errors import Conflict, Denied, NotFound
from .client import ObjectStoreClient

POLICY = "archive"
_READ = ("s3:GetObject",)
_WRITE = ("s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload")
# Nothing that a policy reads as a pattern or a variable.
_PREFIX = re.compile(r"([A-Za-z0-9_.=-]+/)+")


class Access(StrEnum):
    """What an identity may do below its prefix."""

    READ_WRITE = "read-write"
    READ_ONLY = "read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user with one access key. `prefix` is below that of the client, with a slash at its end.

    `writes`: another such prefix, which the user may read and write besides; none if empty.
    """

    name: str
    access_key: str
    secret_key: Secret
    prefix: str
    access: Access
    writes: str = ""

    def __post_init__(self) -> None:
        for prefix in (self.prefix, *([self.writes] if self.writes else [])):
            if not _PREFIX.fullmatch(prefix) or ".." in prefix:
                raise ValueError(f"{prefix!r} is no prefix of plain names, each with a slash after it")


def policy_of(identity: Identity, *, bucket: str, root: str) -> dict[str, object]:
    """What the identity may do, in the language of IAM. `root` is the prefix of the client."""
    below = f"{root}{identity.prefix}*"
    actions = [*_READ, *(_WRITE if identity.access is Access.READ_WRITE else ())]
    written = f"arn:aws:s3:::{bucket}/{root}{identity.writes}*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": actions, "Resource": [f"arn:aws:s3:::{bucket}/{below}"]},
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
                "Condition": {"StringLike": {"s3:prefix": [below]}},
            },
            *([{"Effect": "Allow", "Action": [*_READ, *_WRITE], "Resource": [written]}] if identity.writes else []),
        ],
    }


def ensure(client: ObjectStoreClient, identity: Identity, *, deadline: Deadline) -> bool:
    """Make sure that a user has this key and these rights and no others; True if something was changed.

    1. The key comes last: before it is there, nobody can use rights that are not as they should be.
    2. A key of the same id whose secret is another one is replaced.
    3. Other keys of the user stay until `retire` is called, so that what is in use goes on while a new one spreads.
    """
    subject = _subject(client, identity.name)
    changed = _ensure_user(client, identity.name, subject, deadline)
    changed |= _ensure_policy(client, identity, subject, deadline)
    key = Secret(identity.access_key)
    if identity.access_key in keys_of(client, identity.name, deadline=deadline):
        if _works(client, identity, deadline):
            return changed
        _delete_key(client, identity.name, identity.access_key, subject, deadline)
    client.create_access_key(identity.name, key, identity.secret_key, subject, deadline=deadline)
    return True


def names(client: ObjectStoreClient, *, deadline: Deadline) -> tuple[str, ...]:
    """Every user that the store knows, the administrator's own among them, sorted."""
    answer = client.iam("list_users", f"users of {client.target.endpoint}", deadline=deadline, counted="reads")
    return tuple(sorted(one["UserName"] for one in answer["Users"]))


def keys_of(client: ObjectStoreClient, name: str, *, deadline: Deadline) -> tuple[str, ...]:
    """The ids of a user's keys."""
    subject = _subject(client, name)
    answer = client.iam("list_access_keys", subject, deadline=deadline, counted="reads", UserName=name)
    return tuple(sorted(one["AccessKeyId"] for one in answer["AccessKeyMetadata"]))


def retire(client: ObjectStoreClient, name: str, *, but: str, deadline: Deadline) -> tuple[str, ...]:
    """Delete all keys of a user but one; those that were deleted."""
    gone = tuple(one for one in keys_of(client, name, deadline=deadline) if one != but)
    for one in gone:
        _delete_key(client, name, one, _subject(client, name), deadline)
    return gone


def remove(client: ObjectStoreClient, name: str, *, deadline: Deadline) -> bool:
    """Delete a user with keys and policy; False if there is none."""
    subject = _subject(client, name)
    if name not in names(client, deadline=deadline):
        return False
    retire(client, name, but="", deadline=deadline)
    try:
        client.iam("delete_user_policy", subject, deadline=deadline, counted="writes", UserName=name, PolicyName=POLICY)
        client.iam("delete_user", subject, deadline=deadline, counted="writes", UserName=name)
    except NotFound:
        # Somebody else was faster.
        return False
    return True


def _ensure_user(client: ObjectStoreClient, name: str, subject: str, deadline: Deadline) -> bool:
    try:
        client.iam("get_user", subject, deadline=deadline, counted="reads", UserName=name)
    except NotFound:
        try:
            client.iam("create_user", subject, deadline=deadline, counted="writes", UserName=name)
        except Conflict:
            return False
        return True
    return False


def _ensure_policy(client: ObjectStoreClient, identity: Identity, subject: str, deadline: Deadline) -> bool:
    wanted = policy_of(identity, bucket=client.target.bucket, root=client.target.prefix)
    of = {"UserName": identity.name, "PolicyName": POLICY}
    try:
        found = client.iam("get_user_policy", subject, deadline=deadline, counted="reads", **of)["PolicyDocument"]
    except NotFound:
        found = None
    if _canonical(found) == _canonical(wanted):
        return False
    document = json.dumps(wanted)
    client.iam("put_user_policy", subject, deadline=deadline, counted="writes", **of, PolicyDocument=document)
    return True


def _canonical(policy: object) -> object:
    """SeaweedFS gives a list of one back as that one, and keeps no order."""
    if isinstance(policy, dict):
        return {key: _canonical(value) for key, value in policy.items()}
    if isinstance(policy, list):
        return _canonical(policy[0]) if len(policy) == 1 else sorted((_canonical(one) for one in policy), key=str)
    return policy


def _works(client: ObjectStoreClient, identity: Identity, deadline: Deadline) -> bool:
    """True if the store knows the key with this very secret."""
    other = client.as_other(Secret(identity.access_key), identity.secret_key)
    try:
        other.list(identity.prefix, deadline=deadline, most=1)
    except Denied:
        return False
    finally:
        other.close()
    return True


def _delete_key(client: ObjectStoreClient, name: str, key: str, subject: str, deadline: Deadline) -> None:
    try:
        client.iam("delete_access_key", subject, deadline=deadline, counted="writes", UserName=name, AccessKeyId=key)
    except NotFound:
        return


def _subject(client: ObjectStoreClient, name: str) -> str:
    return f"user {name} of {client.target.endpoint}"
