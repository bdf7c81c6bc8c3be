"""A schema registry in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.contracts.errors import SchemaRegistryError
from services.contracts.events import Event
from services.contracts.schema_files import current_schema


class FakeSchemaRegistry:
    """The codec's `SchemaRegistry` port; ``schemas`` may be shared, as the stages of an installation share theirs."""

    def __init__(self, schemas: dict[int, Mapping[str, Any]] | None = None, *, first_id: int = 1) -> None:
        self.schemas = {} if schemas is None else schemas
        self.away = False
        self.asked: list[int] = []  #: the ids that were looked up, in order
        self._first_id = first_id

    def schema_for(self, schema_id: int) -> Mapping[str, Any] | None:
        """Look an id up."""
        self._need()
        self.asked.append(schema_id)
        return self.schemas.get(schema_id)

    def id_for(self, event_type: type[Event]) -> int:
        """The id of the current schema, which is given one where it has none."""
        self._need()
        schema = current_schema(event_type).raw
        known = next((i for i, registered in self.schemas.items() if registered == schema), None)
        if known is not None:
            return known
        schema_id = max(self.schemas, default=self._first_id - 1) + 1
        self.schemas[schema_id] = schema
        return schema_id

    def _need(self) -> None:
        if self.away:
            raise SchemaRegistryError("The fake schema registry is away.")
