"""Real S3 servers on loopback, for the object store's suite.

moto answers as Amazon does; rclone checks signatures and expiry, and keeps objects in a folder.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from services.launcher.child import Child, spawn

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
    argv = [program, "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", key_pair, folder / "served"]
    with _running(argv, folder / "rclone.log") as address:
        yield address


@contextmanager
def _running(argv: list[str | Path], log: Path) -> Iterator[str]:
    child = spawn(argv, log=log)
    try:
        yield _address(child)
    finally:
        child.kill()


def _address(child: Child, deadline_seconds: float = 60.0) -> str:
    """Wait for the line in which the server names its port."""
    end = time.monotonic() + deadline_seconds
    while time.monotonic() < end and child.exit_code() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+", child.log_tail()):
            return found[0]
        time.sleep(0.05)
    raise RuntimeError(f"{child.log.name}: the server named no address:\n{child.log_tail()}")
