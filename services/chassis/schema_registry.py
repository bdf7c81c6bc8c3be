"""A Confluent-compatible schema registry over its REST API, for records that Kafka UIs can decode.

Blocks, for at most ``timeout_seconds`` a call.  `open_codec` makes the calls of a stage's own schemas before it
reports ready; later only a schema id that no one here has seen yet costs one, once.
"""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import urllib3

from services.chassis.settings import StageSettings
from services.contracts.codec import Codec
from services.contracts.errors import SchemaRegistryError
from services.contracts.events import Event
from services.contracts.schema_files import EVENT_TYPES, current_schema
from services.contracts.topics import prefixed, topic_carrying

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
_UNKNOWN_LIMIT = 1000  #: ids remembered as unknown; poison records may name any of 2**32


class HttpSchemaRegistry:
    """The codec's `SchemaRegistry` port over HTTP; ``user:password@`` in the url is sent as basic authentication.

    Ids are remembered, as the codec remembers schemas: a registry never changes what an id means.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "",
        timeout_seconds: float = 2.0,
        forget_unknown_after_seconds: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        parsed = urllib3.util.parse_url(url)
        self._url = parsed._replace(auth=None).url.rstrip("/")
        self._prefix = prefix
        self._pool = urllib3.PoolManager(timeout=timeout_seconds, retries=False)
        self._headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        if parsed.auth:
            self._headers |= urllib3.make_headers(basic_auth=urllib.parse.unquote(parsed.auth))
        self._forget_after = forget_unknown_after_seconds
        self._monotonic = monotonic
        self._ids: dict[type[Event], int] = {}
        self._unknown_until: dict[int, float] = {}

    def schema_for(self, schema_id: int) -> Mapping[str, Any] | None:
        """The schema of an id, or none where the registry does not know it.

        An unknown id is not asked for again for a while, so that a run of poison records costs one call.

        Raises:
            SchemaRegistryError: it is away, refuses or answers nonsense.
        """
        if self._unknown_until.get(schema_id, 0.0) > self._monotonic():
            return None
        answer = self._call("GET", f"/schemas/ids/{schema_id}")
        schema = _schema_in(answer) if answer is not None else None
        if schema is None:
            if len(self._unknown_until) >= _UNKNOWN_LIMIT:
                self._unknown_until.clear()
            self._unknown_until[schema_id] = self._monotonic() + self._forget_after
        return schema

    def id_for(self, event_type: type[Event]) -> int:
        """The id of the event's current schema under ``<topic>-value``, registered where it was not.

        Raises:
            SchemaRegistryError: it is away, or its compatibility rule refuses the schema.
        """
        if (known := self._ids.get(event_type)) is not None:
            return known
        subject = f"{prefixed(topic_carrying(event_type).name, self._prefix)}-value"
        body = {"schemaType": "AVRO", "schema": json.dumps(current_schema(event_type).raw)}
        answer = self._call("POST", f"/subjects/{urllib.parse.quote(subject, safe='')}/versions", body)
        schema_id = answer.get("id") if answer is not None else None
        if not isinstance(schema_id, int):
            raise SchemaRegistryError(f"The schema registry gave no id for the subject {subject}.")
        self._ids[event_type] = schema_id
        return schema_id

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """One call; none for 404, which says that an id is unknown."""
        content = json.dumps(body).encode() if body is not None else None
        try:
            response = self._pool.request(method, self._url + path, body=content, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            raise SchemaRegistryError(f"The schema registry did not answer {method} {path}.") from error
        if response.status == 404:
            return None
        if response.status != 200:
            said = response.data[:500].decode("utf-8", errors="replace")
            raise SchemaRegistryError(
                f"The schema registry refused {method} {path} with {response.status}: {said}"
            )
        return _object_in(response.data, f"{method} {path}")


def open_codec(settings: StageSettings) -> Codec:
    """The codec that the settings ask for, ready: with a registry, every event's id is known when this returns.

    Raises:
        SchemaRegistryError: a registry is configured and away, or refuses a schema.
    """
    if not settings.schema_registry_url:
        return Codec()
    registry = HttpSchemaRegistry(settings.schema_registry_url, prefix=settings.topic_prefix)
    for event_type in EVENT_TYPES:
        registry.id_for(event_type)
    return Codec(registry)


def _object_in(data: bytes, call: str) -> dict[str, Any]:
    """The JSON object of an answer."""
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise SchemaRegistryError(
            f"The schema registry answered {call} with something else than JSON."
        ) from error
    if not isinstance(answer, dict):
        raise SchemaRegistryError(f"The schema registry answered {call} with something else than an object.")
    return answer


def _schema_in(answer: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The Avro schema of an answer; none where it holds a schema of another kind."""
    if answer.get("schemaType", "AVRO") != "AVRO":
        return None
    try:
        schema = json.loads(answer.get("schema", ""))
    except (TypeError, ValueError) as error:
        raise SchemaRegistryError("The schema registry answered with a schema that is not JSON.") from error
    return schema if isinstance(schema, dict) else None
