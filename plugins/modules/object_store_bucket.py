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
  - Makes the bucket if there is none of that name. It removes nothing, and changes nothing of a bucket that is there.
author:
  - Supalove contributors (@supalove)
attributes:
  check_mode:
    support: full
    description: >-
      Says whether the bucket would be made. An object store that does not answer, or whose certificates in O(ca_path)
      are not there yet, counts as an empty one.
  diff_mode:
    support: full
    description: Shows the name of a bucket that is made.
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


class BucketError(Exception):
    """What went wrong, in words for the operator."""


class NotReady(BucketError):
    """Nobody answers, or the answer is that it is too early. Another try may help."""


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

    def has(self, name: str) -> bool:
        """Whether there is a bucket that this login may use."""
        return self._ask("HEAD", name, lambda: self.client.head_bucket(Bucket=name))

    def make(self, name: str) -> None:
        """Make it."""
        self._ask("PUT", name, lambda: self.client.create_bucket(Bucket=name))

    def _ask(self, verb: str, name: str, request: t.Callable[[], object]) -> bool:
        """Make one request; give whether there is what it asks for."""
        try:
            request()
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if status == 404 and verb == "HEAD":
                return False
            raise self._worded(verb, name, status, error) from error
        except ParamValidationError as error:
            raise BucketError(f"{name}: {error}") from error
        except SSLError as error:
            raise BucketError(f"{self.url} is not who it should be: {error}. Is ca_path right?") from error
        except BotoCoreError as error:
            raise NotReady(f"{self.url} cannot be reached: {error}") from error
        return True

    def _worded(self, verb: str, name: str, status: int, error: t.Any) -> BucketError:
        code = error.response.get("Error", {}).get("Code", "")
        text = f"{verb} {self.url}/{name}: HTTP {status} {code}"
        if status == 403:
            return BucketError(f"{text}. The access key is not known there, or may not do this")
        return NotReady(text) if status >= 500 else BucketError(text)


def ensure(buckets: Buckets, name: str, *, check_mode: bool) -> bool:
    """Make the bucket if it is missing; give whether it was."""
    if buckets.has(name):
        return False
    if not check_mode:
        buckets.make(name)
    return True


def ensure_in_time(params: JSON, *, check_mode: bool) -> bool:
    """The same, tried until the deadline, which says what was seen last."""
    if params["ca_path"] and not os.path.isfile(params["ca_path"]):
        if check_mode:
            return True
        raise BucketError(f"{params['ca_path']}, by which {params['url']} is to be verified, is no file")
    buckets = Buckets(params)
    deadline = time.monotonic() + params["deadline_seconds"]
    while True:
        try:
            return ensure(buckets, params["name"], check_mode=check_mode)
        except NotReady as error:
            if check_mode:
                return True
            if time.monotonic() > deadline:
                raise BucketError(f"waited {params['deadline_seconds']} s; last seen: {error}") from error
        time.sleep(PAUSE_SECONDS)


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
            "timeout_seconds": {"type": "int", "default": 10},
            "deadline_seconds": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    if BOTO3_ERROR:
        module.fail_json(msg=missing_required_lib("boto3"), exception=BOTO3_ERROR)
    params, check_mode = module.params, module.check_mode
    name = params["name"]
    try:
        changed = ensure_in_time(params, check_mode=check_mode)
    except BucketError as error:
        module.fail_json(msg=str(error))
    except ValueError as error:
        module.fail_json(msg=f"{params['url']}: {error}")
    diff = {"before": "", "after": f"{name}\n"} if changed else {"before": f"{name}\n", "after": f"{name}\n"}
    module.exit_json(changed=changed, name=name, diff=diff)


if __name__ == "__main__":
    main()
