# SPDX-License-Identifier: GPL-3.0-or-later
"""What the answers of an object store mean, those that a healthy one never gives among them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store import answers
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import (
    Conflict,
    Denied,
    NotFound,
    Rejected,
    ServerFailed,
    Throttled,
)

# Of a process for which the library is not there.
WITHOUT_BOTO3 = """
import os, sys
sys.modules["boto3"] = None
sys.path.insert(0, os.environ["SUPALOVE_COLLECTIONS"])
from ansible_collections.supalove.platform.plugins.module_utils._engine.backends.object_store import client
from ansible_collections.supalove.platform.plugins.module_utils._engine.errors import MissingLibrary
try:
    client.ObjectStoreClient(None, workers=1, backoff=None)
except MissingLibrary as error:
    print(error)
"""


def error_of(status, code, **headers):
    answer = {
        "Error": {"Code": code, "Message": "because  of\nthat"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return answers.error_of(answer, "bucket/key", "GET")


@pytest.mark.parametrize(
    ("status", "code", "kind", "says"),
    [
        (404, "NoSuchKey", NotFound, "there is none"),
        (404, "NoSuchBucket", Rejected, "the bucket does not exist"),
        (403, "AccessDenied", Denied, "access denied"),
        (403, "SignatureDoesNotMatch", Denied, "the access key or its secret is wrong"),
        (403, "RequestTimeTooSkewed", Denied, "the clocks of this host and of the store differ too much"),
        (401, "", Denied, "access denied"),
        (409, "OperationAborted", Conflict, "because of that (OperationAborted)"),
        (412, "PreconditionFailed", Conflict, "because of that (PreconditionFailed)"),
        (400, "InvalidRequest", Rejected, "because of that (InvalidRequest)"),
        (429, "TooManyRequests", Throttled, "because of that (TooManyRequests)"),
        (503, "SlowDown", Throttled, "because of that (SlowDown)"),
        (500, "InternalError", ServerFailed, "because of that (InternalError)"),
    ],
)
def test_each_answer_is_one_of_our_errors_in_words(status, code, kind, says):
    error = error_of(status, code)
    assert error.__class__ is kind
    assert str(error).startswith(f"GET bucket/key: {says}")
    assert error.status == status


@pytest.mark.parametrize(("said", "seconds"), [("7", 7.0), ("Wed, 25 Nov 2026 23:48:12 GMT", None), ("", None)])
def test_how_long_a_store_asks_to_wait_is_kept(said, seconds):
    assert error_of(503, "SlowDown", **{"retry-after": said}).retry_after == seconds


def test_an_answer_without_words_is_still_an_error():
    assert isinstance(
        answers.error_of({"ResponseMetadata": {"HTTPStatusCode": 502}}, "bucket/key", "GET"), ServerFailed
    )


def test_without_the_library_it_is_named():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BOTO3], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.startswith("The Python package 'boto3' is missing.")
