# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's object store with what the role object_store left on the controller: S3, and the API of its identities."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import botocore
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from . import layout

LOGIN, AUTHORITY = layout.OBJECT_STORE_FILES
BUCKET = "supalove"
REGION = "us-east-1"
SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStore:
    """The server as somebody sees it; without an access key as nobody in particular."""

    address: str
    authority: Path
    access_key: str = ""
    secret_key: str = ""

    def s3(self) -> Any:
        settings = Config(
            connect_timeout=SECONDS,
            read_timeout=SECONDS,
            retries={"max_attempts": 1},
            s3={"addressing_style": "path"},
            signature_version=None if self.access_key else botocore.UNSIGNED,
        )
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name=REGION,
            verify=str(self.authority),
            aws_access_key_id=self.access_key or None,
            aws_secret_access_key=self.secret_key or None,
            config=settings,
        )

    def status(self, verb: str, **arguments: Any) -> int:
        """The HTTP status of one S3 request, by the name of its method in boto3."""
        try:
            answer = getattr(self.s3(), verb)(**arguments)
        except ClientError as error:
            answer = error.response
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    def iam(self, action: str, **values: str) -> int:
        """The HTTP status of one request about identities. boto3 has no way to give an access key of one's own."""
        body = urllib.parse.urlencode({"Action": action, "Version": "2010-05-08", **values})
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        signed = AWSRequest("POST", f"{self.address}/", data=body, headers=kind)
        SigV4Auth(Credentials(self.access_key, self.secret_key), "iam", REGION).add_auth(signed)
        request = urllib.request.Request(signed.url, body.encode(), dict(signed.headers.items()), method="POST")
        trusted = ssl.create_default_context(cafile=str(self.authority))
        try:
            with urllib.request.urlopen(request, context=trusted, timeout=SECONDS) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code

    def known_as(self, access_key: str, secret_key: str) -> ObjectStore:
        """The same server, as somebody else sees it."""
        return replace(self, access_key=access_key, secret_key=secret_key)


def prefix_policy(bucket: str, prefix: str) -> str:
    """What lets a login use one prefix and nothing else.

    To list is an action on the bucket: named with the objects it is refused even for the login's own prefix.
    """
    objects = {
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": [f"arn:aws:s3:::{bucket}/{prefix}/*"],
    }
    names = {
        "Effect": "Allow",
        "Action": ["s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}"],
        "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/*"]}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [objects, names]})


def administrator(login: Path = LOGIN, authority: Path = AUTHORITY, host: str = "") -> ObjectStore:
    """The server with the login that the role made."""
    address = f"https://{host or layout.host('control-1').address}:8333"
    return ObjectStore(address=address, authority=authority, **json.loads(login.read_text()))
