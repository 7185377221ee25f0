"""State documents: small JSON values that stores and jobs remember, changed by compare-and-swap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import sqlalchemy as sa

from featurestore.errors import ConflictError, RegistryError
from featurestore.registry.database import Database, documents
from featurestore.registry.serialization import canonical
from featurestore.time import to_micros

if TYPE_CHECKING:
    from featurestore.time import Clock


class _Any(Enum):
    ANY = "any"

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any.ANY
"""Whatever is there: no comparison."""
Expected: TypeAlias = Mapping[str, Any] | Literal[_Any.ANY] | None


class Documents:
    """The documents of one project, by kind and name."""

    def __init__(self, database: Database, project: str, clock: Clock) -> None:
        self._database = database
        self._project = project
        self._clock = clock

    def read(self, kind: str, name: str) -> dict[str, Any] | None:
        """The document, or None."""
        query = sa.select(documents.c.value).where(*self._where(kind, name))
        with self._database.read() as connection:
            text = connection.execute(query).scalar()
        return None if text is None else json.loads(text)

    def write(self, kind: str, name: str, value: Mapping[str, Any], *, expected: Expected = ANY) -> None:
        """Write the document if what is there is as expected, in one step.

        Args:
            expected: ``ANY`` compares nothing; None means there is none yet; else the document as it was read.

        Raises:
            ConflictError: something else is there; nothing was written.
            RegistryError: the value is no JSON data.
        """
        values = {"value": _text(value), "updated_at": to_micros(self._clock.now())}
        row = {"project": self._project, "kind": kind, "name": name, **values}
        insert = self._database.insert(documents).values(**row)
        statement: Any
        if expected is ANY:
            statement = insert.on_conflict_do_update(index_elements=["project", "kind", "name"], set_=values)
        elif expected is None:
            statement = insert.on_conflict_do_nothing()
        else:
            same = documents.c.value == _text(expected)
            statement = documents.update().where(*self._where(kind, name), same).values(**values)
        with self._database.write() as connection:
            # Not `rowcount`: SQLAlchemy does not know it for every insert on PostgreSQL.
            written = connection.execute(statement.returning(documents.c.name)).first()
        if written is None:
            raise ConflictError(
                f"the {kind} state of {name!r} is not what it was when it was read; nothing was written",
                hint="another process was first: read it again and decide again",
            )

    def list(self, kind: str) -> dict[str, dict[str, Any]]:
        """Every document of a kind, by name."""
        query = (
            sa.select(documents.c.name, documents.c.value)
            .where(documents.c.project == self._project, documents.c.kind == kind)
            .order_by(documents.c.name)
        )
        with self._database.read() as connection:
            found = {row.name: json.loads(row.value) for row in connection.execute(query)}
        return dict(sorted(found.items()))  # databases differ in how they collate

    def delete(self, kind: str, name: str) -> bool:
        """Remove the document; whether there was one."""
        with self._database.write() as connection:
            return connection.execute(documents.delete().where(*self._where(kind, name))).rowcount == 1

    def _where(self, kind: str, name: str) -> tuple[Any, ...]:
        return documents.c.project == self._project, documents.c.kind == kind, documents.c.name == name


def _text(value: Mapping[str, Any]) -> str:
    try:
        return canonical(dict(value))
    except (TypeError, ValueError) as error:
        raise RegistryError(f"a state document must be JSON data: {error}", hint="keep text, numbers, lists, objects") from None
