"""Real S3 servers on loopback, for the object store's suite.

moto answers as Amazon does; rclone checks signatures and expiry, and keeps objects in a folder.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from services.launcher.child import Child, spawn
from tests.harness.waiting import eventually

ACCESS_KEY = "loopback-access"
SECRET_KEY = "loopback-secret"
BUCKET = "distillery-images"
#: What boto3's own chain reads; nothing of the machine's own configuration may leak into a test.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def moto_server(folder: Path) -> Iterator[str]:
    """A moto server with an empty `BUCKET`; gives its address."""
    program = Path(sys.executable).with_name("moto_server")
    with _running([program, "-H", "127.0.0.1", "-p", "0"], folder / "moto.log") as address:
        client = boto3.client(
            "s3",
            endpoint_url=address,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )
        client.create_bucket(Bucket=BUCKET)
        yield address


@contextmanager
def rclone_server(folder: Path) -> Iterator[str]:
    """rclone serving ``folder`` with an empty `BUCKET`; gives its address."""
    program = Path(sys.executable).with_name("rclone")
    (folder / "served" / BUCKET).mkdir(parents=True)
    key_pair = f"{ACCESS_KEY},{SECRET_KEY}"
    argv: list[str | Path] = [
        program,
        "serve",
        "s3",
        "--addr",
        "127.0.0.1:0",
        "--auth-key",
        key_pair,
        folder / "served",
    ]
    with _running(argv, folder / "rclone.log") as address:
        yield address


@contextmanager
def _running(argv: list[str | Path], log: Path) -> Iterator[str]:
    child = spawn(argv, log=log)
    try:
        yield _address(child)
    finally:
        child.kill()


def _address(child: Child) -> str:
    """The address in the line in which the server names its port."""

    def named_or_ended() -> re.Match[str] | bool | None:
        return re.search(r"http://127\.0\.0\.1:\d+", child.log_tail()) or child.exit_code() is not None

    found = eventually(named_or_ended, 60.0, failing=child.log_tail)
    if isinstance(found, re.Match):
        return str(found[0])
    raise RuntimeError(f"{child.log.name}: the server ended at once:\n{child.log_tail()}")
