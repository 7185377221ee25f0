"""Frozen source schemas: what the first load found, and what later loads may add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from featurestore.errors import ConflictError, DataTypeError
from featurestore.registry.types import from_arrow, to_arrow, type_from_json, type_to_json

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.registry.documents import Documents

_KIND: Final = "source_schema"


class SourceSchemas:
    """The frozen schemas of one project's sources.

    A schema is kept as names, featurestore types and nullability: layouts (large, view, dictionary) come back as the plain
    Arrow type of the same values, instants as ``timestamp[us, tz=UTC]``.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def get(self, source: str) -> pa.Schema | None:
        """The frozen schema, or None."""
        found = self._documents.read(_KIND, source)
        return None if found is None else _to_arrow(found)

    def all(self) -> dict[str, pa.Schema]:
        """Every frozen schema, by source."""
        return {name: _to_arrow(data) for name, data in self._documents.list(_KIND).items()}

    def freeze(self, source: str, schema: pa.Schema) -> pa.Schema:
        """Freeze the schema, or widen what is frozen by nullable columns. Columns that are lacking now stay as they were.

        Returns:
            The schema that is frozen now.

        Raises:
            DataTypeError: a column has another type than is frozen, or a new one is not nullable, or its type is none of ours.
        """
        given = {field.name: _column(field) for field in schema}
        while True:
            frozen = self._documents.read(_KIND, source)
            wanted = {"columns": list(given.values())} if frozen is None else _widened(source, frozen, given)
            if wanted == frozen:
                return _to_arrow(wanted)
            try:
                self._documents.write(_KIND, source, wanted, expected=frozen)
            except ConflictError:
                continue  # another load froze or widened it meanwhile: compare with that
            return _to_arrow(wanted)


def _column(field: pa.Field) -> dict[str, Any]:
    return {"name": field.name, "type": type_to_json(from_arrow(field.type, column=field.name)), "nullable": field.nullable}


def _to_arrow(data: dict[str, Any]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [pa.field(c["name"], to_arrow(type_from_json(c["type"])), nullable=c["nullable"]) for c in data["columns"]]
    )


def _widened(source: str, frozen: dict[str, Any], given: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = {column["name"]: column for column in frozen["columns"]}
    for name, column in given.items():
        old = known.get(name)
        if old is not None and old["type"] != column["type"]:
            was, now = type_from_json(old["type"]), type_from_json(column["type"])
            raise DataTypeError(
                f"source {source!r}: column {name!r} is frozen as {was!r}, and is {now!r} now",
                hint=f"load it as {was!r}, or ingest it under another column name",
            )
        if old is None and not column["nullable"]:
            raise DataTypeError(
                f"source {source!r}: the new column {name!r} is not nullable, but earlier rows do not have it",
                hint="only nullable columns can be added",
            )
    return {"columns": [*frozen["columns"], *(column for name, column in given.items() if name not in known)]}
