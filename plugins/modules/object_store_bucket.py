#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bucket of an S3 object store."""

from __future__ import annotations

DOCUMENTATION = r"""
module: object_store_bucket
short_description: Make a bucket of an S3 object store
version_added: 0.1.0
description:
  - Makes the bucket if there is none of that name, and keeps its object lock as O(lock_days) says. It removes nothing,
    and without O(lock_days) changes nothing of a bucket that is there.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: >-
      Says whether the bucket would be made, or its lock changed. An object store that does not answer, or whose
      certificates in O(ca_path) are not there yet, counts as an empty one.
  diff_mode:
    support: full
    description: Shows the name of a bucket that is made, and how it locks.
requirements:
  - boto3
options:
  url:
    description:
      - The address of the object store.
    type: str
    required: true
  ca_path:
    description:
      - The certificates that the object store is verified by. Without them those that the machine trusts.
    type: path
  access_key:
    description:
      - The access key of somebody who may make buckets.
    type: str
    required: true
  secret_key:
    description:
      - The secret key that goes with it.
    type: str
    required: true
  region:
    description:
      - The region that requests are signed for.
    type: str
    default: us-east-1
  name:
    description:
      - The name of the bucket.
    type: str
    required: true
  lock_days:
    description:
      - For how many days an object that is written can neither be removed nor overwritten for good, in a bucket with
        object lock, which keeps the versions of its objects. With 0 the bucket is made without.
      - A bucket that was made without object lock is refused. Object lock is had when a bucket is made.
      - What was removed or overwritten stays as an older version for so many days, takes its space, and then expires by
        a rule C(supalove-versions) of the bucket's life cycle. Other rules of the bucket stay.
      - A change holds for what is written after it. A lock that is there stays when this is 0 again.
    type: int
    default: 0
  lock_mode:
    description:
      - With V(GOVERNANCE) somebody with the right C(s3:BypassGovernanceRetention) can remove what is locked, such as
        an administrator. With V(COMPLIANCE) nobody can.
    type: str
    choices: [GOVERNANCE, COMPLIANCE]
    default: GOVERNANCE
  timeout_seconds:
    description:
      - How long the object store may be silent.
    type: int
    default: 10
  deadline_seconds:
    description:
      - How long to try an object store that does not answer, or not yet, as just after its start.
    type: int
    default: 60
"""

EXAMPLES = r"""
- name: Make the bucket
  supalove.platform.object_store_bucket:
    url: https://192.0.2.10:8333
    ca_path: inventories/production/.kube/object-store-ca.pem
    access_key: "{{ credentials.access_key }}"
    secret_key: "{{ credentials.secret_key }}"
    name: supalove

- name: Make a bucket in which nothing that is younger than fifteen days can be removed
  supalove.platform.object_store_bucket:
    url: https://192.0.2.10:8333
    ca_path: inventories/production/.kube/object-store-ca.pem
    access_key: "{{ credentials.access_key }}"
    secret_key: "{{ credentials.secret_key }}"
    name: supalove
    lock_days: 15
"""

RETURN = r"""
name:
  description: The name of the bucket.
  returned: always
  type: str
"""

import os
import time
import traceback
import typing as t
from dataclasses import dataclass

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError, SSLError
except ImportError:
    BOTO3_ERROR: str | None = traceback.format_exc()
else:
    BOTO3_ERROR = None

JSON = dict[str, t.Any]
PAUSE_SECONDS = 1
RULE = "supalove-versions"


class BucketError(Exception):
    """What went wrong, in words for the operator."""


class NotReady(BucketError):
    """Nobody answers, or the answer is that it is too early. Another try may help."""


@dataclass(frozen=True)
class Lock:
    """How a bucket locks what is written."""

    mode: str
    days: int


@dataclass(frozen=True)
class Bucket:
    """How a bucket is, or is to be. `can_lock`: it was made with object lock.

    `lock`: None if it locks nothing. `expires_days`: after which older versions go by our rule; 0 without that.
    """

    name: str
    can_lock: bool = False
    lock: Lock | None = None
    expires_days: int = 0

    def __str__(self) -> str:
        """As lines of a diff."""
        lines = [self.name]
        if self.can_lock:
            lines += [f"object lock: {f'{self.lock.mode} for {self.lock.days} days' if self.lock else 'nothing'}"]
        if self.expires_days:
            lines += [f"older versions: expire after {self.expires_days} days"]
        return "".join(f"{line}\n" for line in lines)


class Buckets:
    """The buckets of one object store."""

    def __init__(self, params: JSON) -> None:
        self.url = params["url"]
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=params["access_key"],
            aws_secret_access_key=params["secret_key"],
            region_name=params["region"],
            verify=params["ca_path"] or True,
            config=Config(
                connect_timeout=params["timeout_seconds"],
                read_timeout=params["timeout_seconds"],
                retries={"max_attempts": 1},
                # A name of the bucket's own is not in the certificate.
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )

    def find(self, name: str, *, locks: bool) -> Bucket | None:
        """The bucket that this login may use, if there is one; how it locks is asked only if `locks`."""
        if self._ask("HEAD", name, lambda: self.client.head_bucket(Bucket=name), absent=("404",)) is None:
            return None
        if not locks:
            return Bucket(name=name)
        lock = self._ask(
            "GET object-lock of",
            name,
            lambda: self.client.get_object_lock_configuration(Bucket=name),
            absent=("ObjectLockConfigurationNotFoundError",),
        )
        can_lock, found = lock is not None, _lock_of(lock or {})
        ours = [one for one in self._rules(name) if one.get("ID") == RULE and one.get("Status") == "Enabled"]
        expires = ours[0].get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0) if ours else 0
        return Bucket(name=name, can_lock=can_lock, lock=found, expires_days=expires)

    def make(self, bucket: Bucket) -> None:
        """Make it."""
        more = {"ObjectLockEnabledForBucket": True} if bucket.can_lock else {}
        self._ask("PUT", bucket.name, lambda: self.client.create_bucket(Bucket=bucket.name, **more))

    def set_lock(self, name: str, lock: Lock) -> None:
        """Lock what is written from now on."""
        rule = {"DefaultRetention": {"Mode": lock.mode, "Days": lock.days}}
        wanted = {"ObjectLockEnabled": "Enabled", "Rule": rule}
        self._ask(
            "PUT object-lock of",
            name,
            lambda: self.client.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration=wanted),
        )

    def set_expiry(self, name: str, days: int) -> None:
        """Let older versions expire, and delete markers below which none are left."""
        ours = {
            "ID": RULE,
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "NoncurrentVersionExpiration": {"NoncurrentDays": days},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        }
        wanted = {"Rules": [*(one for one in self._rules(name) if one.get("ID") != RULE), ours]}
        self._ask(
            "PUT lifecycle of",
            name,
            lambda: self.client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=wanted),
        )

    def _rules(self, name: str) -> list[JSON]:
        found = self._ask(
            "GET lifecycle of",
            name,
            lambda: self.client.get_bucket_lifecycle_configuration(Bucket=name),
            absent=("NoSuchLifecycleConfiguration",),
        )
        return list((found or {}).get("Rules", []))

    def _ask(
        self, verb: str, name: str, request: t.Callable[[], JSON | None], *, absent: tuple[str, ...] = ()
    ) -> JSON | None:
        """The answer to one request; None if it is one of `absent`, which say that there is none."""
        try:
            return request() or {}
        except ClientError as error:
            if error.response.get("Error", {}).get("Code", "") in absent:
                return None
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            raise self._worded(verb, name, status, error) from error
        except ParamValidationError as error:
            raise BucketError(f"{name}: {error}") from error
        except SSLError as error:
            raise BucketError(f"{self.url} is not who it should be: {error}. Is ca_path right?") from error
        except BotoCoreError as error:
            raise NotReady(f"{self.url} cannot be reached: {error}") from error

    def _worded(self, verb: str, name: str, status: int, error: t.Any) -> BucketError:
        code = error.response.get("Error", {}).get("Code", "")
        text = f"{verb} {self.url}/{name}: HTTP {status} {code}"
        if status == 403:
            return BucketError(f"{text}. The access key is not known there, or may not do this")
        return NotReady(text) if status >= 500 and status != 501 else BucketError(text)


def _lock_of(answer: JSON) -> Lock | None:
    found = answer.get("ObjectLockConfiguration", {}).get("Rule", {}).get("DefaultRetention", {})
    days = found.get("Days", 0) + 365 * found.get("Years", 0)
    return Lock(mode=found["Mode"], days=days) if days else None


def ensure(buckets: Buckets, wanted: Bucket, *, check_mode: bool) -> Bucket | None:
    """Make the bucket as wanted; how it was before, or None if there was none.

    1. The lock comes right after the bucket, so that nothing is written without it.
    2. A run that was killed in between is finished by the next: the bucket can lock from its first moment on.
    """
    found = buckets.find(wanted.name, locks=wanted.can_lock)
    if found is not None and wanted.can_lock and not found.can_lock:
        raise BucketError(
            f"{wanted.name} was made without object lock, which a bucket has from its beginning or never. Choose"
            " another name for a new bucket, in which archives begin anew, or leave lock_days at 0"
        )
    if check_mode:
        return found
    now = found
    if now is None:
        buckets.make(wanted)
        now = Bucket(name=wanted.name, can_lock=wanted.can_lock)
    if wanted.lock is not None and now.lock != wanted.lock:
        buckets.set_lock(wanted.name, wanted.lock)
    if wanted.expires_days and now.expires_days != wanted.expires_days:
        buckets.set_expiry(wanted.name, wanted.expires_days)
    return found


def ensure_in_time(params: JSON, wanted: Bucket, *, check_mode: bool) -> Bucket | None:
    """The same, tried until the deadline, which says what was seen last."""
    if params["ca_path"] and not os.path.isfile(params["ca_path"]):
        if check_mode:
            return None
        raise BucketError(f"{params['ca_path']}, by which {params['url']} is to be verified, is no file")
    buckets = Buckets(params)
    deadline = time.monotonic() + params["deadline_seconds"]
    while True:
        try:
            return ensure(buckets, wanted, check_mode=check_mode)
        except NotReady as error:
            if check_mode:
                return None
            if time.monotonic() > deadline:
                raise BucketError(f"waited {params['deadline_seconds']} s; last seen: {error}") from error
        time.sleep(PAUSE_SECONDS)


def wanted_of(params: JSON) -> Bucket:
    """The bucket that the options describe. Raises BucketError."""
    name, days = params["name"], params["lock_days"]
    if days < 0:
        raise BucketError(f"lock_days is {days}; allowed is 0, or for how many days to lock")
    if not days:
        return Bucket(name=name)
    return Bucket(name=name, can_lock=True, lock=Lock(mode=params["lock_mode"], days=days), expires_days=days)


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "ca_path": {"type": "path"},
            "access_key": {"type": "str", "required": True, "no_log": True},
            "secret_key": {"type": "str", "required": True, "no_log": True},
            "region": {"type": "str", "default": "us-east-1"},
            "name": {"type": "str", "required": True},
            "lock_days": {"type": "int", "default": 0},
            "lock_mode": {"type": "str", "choices": ["GOVERNANCE", "COMPLIANCE"], "default": "GOVERNANCE"},
            "timeout_seconds": {"type": "int", "default": 10},
            "deadline_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if BOTO3_ERROR:
        module.fail_json(msg=missing_required_lib("boto3"), exception=BOTO3_ERROR)
    params, check_mode = module.params, module.check_mode
    try:
        wanted = wanted_of(params)
        found = ensure_in_time(params, wanted, check_mode=check_mode)
    except BucketError as error:
        module.fail_json(msg=str(error))
    except ValueError as error:
        module.fail_json(msg=f"{params['url']}: {error}")
    before, after = "" if found is None else str(found), str(wanted)
    module.exit_json(changed=before != after, name=wanted.name, diff={"before": before, "after": after})


if __name__ == "__main__":
    main()
