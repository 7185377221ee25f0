"""Every error that featurestore raises on purpose.

FeatureStoreError
├── ConfigError               featurestore.toml, environment variables, options
├── DefinitionError           a definition that cannot be right; names file and line
├── RegistryError             the catalog: revisions, conflicts between writers
│   ├── NotFoundError         a name or version that is not registered
│   └── ConflictError         another writer was first; read again and retry
├── DataTypeError             a value or a schema that does not fit its declared type
├── IngestionError            raw data that cannot land; names file, row, column
├── LakeError                 tables and object storage
├── ValidationError           expectations of policy ``reject`` that failed
├── TransformError            a view's function or query; names the view
├── RetrievalError            historical features: labels, references
├── TrainingSetError          datasets: versions, verification, splits
├── OnlineStoreError          the online store and its wire format
│   └── OnlineStoreUnavailableError
└── RequestError              what a caller of the service sent

Each has a ``code``, stable for machines, and an optional ``hint`` that says how to mend it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FeatureStoreError(Exception):
    """Base of all errors raised on purpose.

    Args:
        message: what was found and what was expected.
        hint: how to mend it.
    """

    code = "featurestore_error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        self.message = message
        self.hint = hint
        super().__init__(f"{message}\nHint: {hint}" if hint else message)


class ConfigError(FeatureStoreError):
    """A setting is missing, unknown or unusable."""

    code = "invalid_config"


class DefinitionError(FeatureStoreError):
    """A definition cannot be right. ``location`` is ``file:line`` where it was written."""

    code = "invalid_definition"

    def __init__(self, message: str, *, location: str | None = None, hint: str | None = None) -> None:
        self.location = location
        super().__init__(f"{location}: {message}" if location else message, hint=hint)


class RegistryError(FeatureStoreError):
    """The catalog cannot do what was asked."""

    code = "registry_error"


class NotFoundError(RegistryError):
    """A name that is not registered; the message offers the nearest one that is."""

    code = "not_found"

    def __init__(self, kind: str, name: str, known: Iterable[str] = (), *, hint: str | None = None) -> None:
        self.kind = kind
        self.name = name
        super().__init__(f"no {kind} named {name!r}", hint=hint or did_you_mean(name, known))


class ConflictError(RegistryError):
    """Another writer changed it first. Nothing was written: read again, decide again, retry."""

    code = "conflict"


class DataTypeError(FeatureStoreError):
    """A value or a schema does not fit its declared type."""

    code = "wrong_type"


class IngestionError(FeatureStoreError):
    """Raw data cannot land.

    Args:
        file: the file, URL or frame at fault.
        row: its row, counted from 1 as an editor counts lines or a person counts rows.
        column: its column.
    """

    code = "ingestion_failed"

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        row: int | None = None,
        column: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.file, self.row, self.column = file, row, column
        where = [f"{file}" if file else "", f"row {row}" if row is not None else "", f"column {column!r}" if column else ""]
        prefix = ", ".join(part for part in where if part)
        super().__init__(f"{prefix}: {message}" if prefix else message, hint=hint)


class LakeError(FeatureStoreError):
    """A lake table or the object storage under it cannot do what was asked."""

    code = "lake_error"


class ValidationError(FeatureStoreError):
    """Expectations of policy ``reject`` failed. ``result`` is the whole result in Great Expectations' JSON form."""

    code = "validation_failed"

    def __init__(self, message: str, *, result: dict[str, object] | None = None, hint: str | None = None) -> None:
        self.result = result
        super().__init__(message, hint=hint)


class TransformError(FeatureStoreError):
    """A feature view's function or query failed, or its output breaks the rules of a view."""

    code = "transform_failed"

    def __init__(self, view: str, message: str, *, hint: str | None = None) -> None:
        self.view = view
        super().__init__(f"feature view {view!r}: {message}", hint=hint)


class RetrievalError(FeatureStoreError):
    """Historical features cannot be computed from these labels and references."""

    code = "invalid_retrieval"


class TrainingSetError(FeatureStoreError):
    """A training set cannot be written, found, verified or split as asked."""

    code = "training_set_error"


class OnlineStoreError(FeatureStoreError):
    """The online store holds or was given something it cannot use."""

    code = "online_store_error"


class OnlineStoreUnavailableError(OnlineStoreError):
    """The online store does not answer."""

    code = "online_store_unavailable"


class RequestError(FeatureStoreError):
    """The caller of the service sent something it cannot answer."""

    code = "invalid_request"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The hint for a name that does not exist: its nearest neighbour, or the list of what exists."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return None
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return f"there is: {shown}"
