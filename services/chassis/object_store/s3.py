"""Objects in an S3 bucket, or in anything that speaks S3.

boto3 is imported only when a bucket is opened: it costs a process some 30 MB, which users of a folder do not pay.
Credentials come from boto3's own chain (environment, profile, instance role) and never pass through this module.
They need ``s3:ListBucket`` on the bucket (without it S3 answers 403 for a missing object, not 404) and
``s3:GetObject``, ``s3:PutObject``, ``s3:DeleteObject`` on its objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from services.chassis.object_store.keys import check_expiry, check_key, check_prefix
from services.chassis.object_store.port import (
    ObjectInfo,
    ObjectNotFound,
    ObjectStoreDenied,
    ObjectStoreError,
    ObjectStoreUnreachable,
    StoredObject,
)

_MISSING = frozenset({"404", "NoSuchKey", "NotFound"})
_BUSY = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ServiceUnavailable", "InternalError"})


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """Which bucket, where, and under which keys."""

    bucket: str
    endpoint_url: str = ""  #: empty = Amazon's own
    region: str = ""  #: empty = as boto3's chain says
    prefix: str = ""  #: goes before every key, with a slash
    public_base_url: str = ""  #: where users reach the bucket without a signature; empty = links are signed


class S3ObjectStore:
    """Keeps each object under its key in one bucket."""

    def __init__(self, location: S3Location) -> None:
        """Connect and make sure that the bucket is there and lets us in.

        Raises:
            ObjectStoreDenied: no such bucket, no permission, or no credentials.
            ObjectStoreUnreachable: the endpoint does not answer.
        """
        self._location = location
        self._base = f"{check_key(location.prefix.strip('/'))}/" if location.prefix.strip("/") else ""
        self._public_base_url = location.public_base_url.rstrip("/")
        with self._failures("be opened"):
            self._client = _connect(location)
            self._client.head_bucket(Bucket=location.bucket)

    def __repr__(self) -> str:
        at = f" at {self._location.endpoint_url}" if self._location.endpoint_url else ""
        return f"the bucket {self._location.bucket}{at}"

    def put(
        self, key: str, data: bytes, content_type: str, metadata: Mapping[str, str] | None = None
    ) -> None:
        """One PutObject, which S3 makes visible whole or not at all."""
        with self._failures(f"store {key}"):
            self._client.put_object(
                **self._at(key), Body=data, ContentType=content_type, Metadata=dict(metadata or {})
            )

    def get(self, key: str) -> StoredObject:
        """One GetObject."""
        with self._failures(f"read {key}", key):
            reply = self._client.get_object(**self._at(key))
            with reply["Body"] as body:
                data: bytes = body.read()
        return StoredObject(info=_info(key, reply, len(data)), data=data)

    def head(self, key: str) -> ObjectInfo | None:
        """One HeadObject."""
        try:
            with self._failures(f"look at {key}", key):
                reply = self._client.head_object(**self._at(key))
        except ObjectNotFound:
            return None
        return _info(key, reply, reply["ContentLength"])

    def exists(self, key: str) -> bool:
        """One HeadObject."""
        return self.head(key) is not None

    def url(self, key: str, expires_seconds: int) -> str | None:
        """Under the configured public address, or else a signed GET; signing makes no call."""
        check_expiry(expires_seconds)
        if self._public_base_url:
            return f"{self._public_base_url}/{self._base}{check_key(key)}"
        with self._failures(f"sign a link to {key}"):
            link: str = self._client.generate_presigned_url(
                "get_object", Params=self._at(key), ExpiresIn=expires_seconds
            )
            return link

    def delete(self, key: str) -> None:
        """One DeleteObject, which does not mind a missing key."""
        try:
            with self._failures(f"delete {key}", key):
                self._client.delete_object(**self._at(key))
        except ObjectNotFound:  # some stores, unlike S3 itself, do mind
            return

    def list(self, prefix: str = "") -> Iterator[str]:
        """ListObjectsV2, a page of 1,000 at a time."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._location.bucket, Prefix=self._base + check_prefix(prefix)
        )
        with self._failures("be listed"):
            for page in pages:
                yield from (entry["Key"].removeprefix(self._base) for entry in page.get("Contents", ()))

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._location.bucket, "Key": self._base + check_key(key)}

    @contextmanager
    def _failures(self, what: str, key: str | None = None) -> Iterator[None]:
        """Turn botocore's errors into the port's; its own text is left out, since it can quote what it sent."""
        from botocore import exceptions as boto

        try:
            yield
        except boto.ClientError as error:
            raise self._refusal(error.response, what, key) from None
        except (boto.NoCredentialsError, boto.PartialCredentialsError):
            raise ObjectStoreDenied(
                f"{self!r} could not {what}: no complete credentials were found; "
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role."
            ) from None
        except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
            raise ObjectStoreUnreachable(f"{self!r} could not {what}: {type(error).__name__}.") from None
        except boto.BotoCoreError as error:
            raise ObjectStoreDenied(
                f"{self!r} could not {what}: {type(error).__name__}; check its name, region and endpoint."
            ) from None

    def _refusal(self, reply: Mapping[str, Any], what: str, key: str | None) -> ObjectStoreError:
        code = str(reply.get("Error", {}).get("Code", ""))
        status = int(reply.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if key is not None and code in _MISSING:
            return ObjectNotFound(f"{self!r} holds no object {key}.")
        said = f"{self!r} could not {what}: it answered {status} {code}."
        if status >= 500 or status == 429 or code in _BUSY:
            return ObjectStoreUnreachable(said)
        if status == 404:
            return ObjectStoreDenied(
                f"{self!r} could not {what}: there is no such bucket; create it or correct its name."
            )
        return ObjectStoreDenied(said)


def _connect(location: S3Location) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        signature_version="s3v4",
        # Stores other than Amazon's seldom have a host name per bucket.
        s3={"addressing_style": "path" if location.endpoint_url else "auto"},
        connect_timeout=5,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=16,
        tcp_keepalive=True,
        # By default boto3 adds checksum trailers that such stores do not know, and wants them back.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=location.endpoint_url or None,
        region_name=location.region or None,
        config=config,
    )


def _info(key: str, reply: Mapping[str, Any], size: int) -> ObjectInfo:
    return ObjectInfo(
        key=key,
        bytes=size,
        content_type=reply.get("ContentType") or "application/octet-stream",
        modified_at=reply["LastModified"].astimezone(UTC),
    )
