# SPDX-License-Identifier: GPL-3.0-or-later
"""Barman Cloud as an archiver needs it: `supalove-barman backup ...`, and so on. What is different here:

1. Barman asks whether the bucket exists before it does anything (HeadBucket), which a login that can reach one prefix
   may not. Our buckets do: who makes them is not who archives into them.
2. Barman overwrites WAL. Here a file that is in the archive stays: with the same content that is success, and with
   another it ends with DIFFERS, as then two servers write into one archive.
3. Barman reads base backups with tarfile, which does not look at gzip's checksum: damage would become somebody's data.
4. A WAL file that is not there ends with MISSING. Barman's own exit code is 1, and that is also how Python ends of
   anything unforeseen, which must not pass for the end of the archive.
5. Barman is started for each WAL file. Here `wal-restore-series` fetches one after the other.
"""

import gzip
import importlib
import sys
import tarfile
from contextlib import closing
from typing import IO, Any

from barman.clients.cloud_cli import OperationErrorExit
from barman.cloud_providers.aws_s3 import S3CloudInterface
from botocore.exceptions import ClientError

PROGRAMS = {
    "backup": "cloud_backup",
    "restore": "cloud_restore",
    "wal-archive": "cloud_walarchive",
    "wal-restore": "cloud_walrestore",
    "wal-restore-series": "cloud_walrestore",
}
RESTORES = ("wal-restore", "wal-restore-series")
MISSING = 74
DIFFERS = 73
CHUNK = 1024 * 1024


def extract_tar(self: Any, key: str, dst: str) -> None:
    """To the end of the file, where its checksum is."""
    with gzip.GzipFile(fileobj=self.remote_open(key)) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
        tar.extractall(path=dst)  # noqa: S202 (the server's own files, as Barman has it)
        while plain.read(CHUNK):
            pass


def upload_once(self: Any, fileobj: IO[bytes], key: str, override_tags: object = None) -> None:  # noqa: ARG001 (we have no tags)
    """Of a WAL file, if it is not there yet."""
    body = fileobj.read()
    at = {"Bucket": self.bucket_name, "Key": key}
    try:
        self.s3.meta.client.put_object(**at, Body=body, IfNoneMatch="*", **self._extra_upload_args)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise
        there = self.s3.Object(self.bucket_name, key).get()["Body"].read()
        if gzip.decompress(there) != gzip.decompress(body):
            sys.stderr.write(f"ERROR: {key} is already archived, contents differ, unable to overwrite\n")
            sys.exit(DIFFERS)


def restore_series(program: Any) -> None:
    """Each line of the input is a WAL file's name, a space and where to; when it is there, its name is printed.

    The first that fails is the last.
    """
    config = program.parse_arguments([*sys.argv[1:], "-", "-"])
    try:
        with closing(program.get_cloud_interface(config)) as there:
            downloader = program.CloudWalDownloader(cloud_interface=there, server_name=config.server_name)
            for line in sys.stdin:
                name, destination = line.rstrip("\n").split(" ", 1)
                downloader.download_wal(name, destination, config.no_partial)
                sys.stdout.write(f"{name}\n")
                sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 (as Barman's own program has it)
        sys.exit(f"ERROR: {type(error).__name__}: {error}")


def main(name: str) -> None:
    """Run one of Barman's programs."""
    S3CloudInterface._check_bucket_existence = lambda _self: True  # noqa: SLF001 (there is no other way)
    S3CloudInterface.extract_tar = extract_tar
    if name == "wal-archive":
        S3CloudInterface.upload_fileobj = upload_once
    sys.argv[0] = f"barman-cloud-{name}"
    program = importlib.import_module(f"barman.clients.{PROGRAMS[name]}")
    try:
        if name == "wal-restore-series":
            restore_series(program)
        else:
            program.main()
    except OperationErrorExit:
        if name in RESTORES:
            sys.exit(MISSING)
        raise


if __name__ == "__main__":
    asked = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if asked not in PROGRAMS:
        sys.exit(f"supalove-barman: one of {', '.join(PROGRAMS)}")
    main(asked)
