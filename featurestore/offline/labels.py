"""Labels: the rows that ask for features, each with its keys and its instant in ``event_timestamp``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from featurestore.errors import DataTypeError, RetrievalError, did_you_mean
from featurestore.features import ResolvedFeatures
from featurestore.registry.records import Field
from featurestore.registry.types import Timestamp, plain_arrow
from featurestore.transforms.casts import cast_exactly

EVENT_TIMESTAMP: Final = "event_timestamp"
INSTANT: Final = "__instant"
"""The label's instant, microseconds, in what :func:`key_frame` gives."""


class Labels:
    """Label rows in their order, read when they are needed.

    Args:
        frame: the rows as they came.
    """

    def __init__(self, frame: pl.LazyFrame) -> None:
        self.frame = frame
        self.schema = frame.collect_schema()
        self._rows: int | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        if self._rows is None:
            self._rows = int(self.frame.select(pl.len()).collect().item())
        return self._rows

    @property
    def arrow_schema(self) -> pa.Schema:
        """Their columns, strings and lists in Arrow's plain layouts."""
        arrow = pl.DataFrame(schema=self.schema).to_arrow().schema
        return pa.schema([pa.field(field.name, plain_arrow(field.type)) for field in arrow])

    def collect(self) -> pl.DataFrame:
        """All rows."""
        return self.frame.collect(engine="streaming")

    def to_arrow(self) -> pa.Table:
        """All rows, as Arrow."""
        return self.collect().to_arrow().cast(self.arrow_schema)


def open_labels(labels: Any, run_sql: Callable[[str], pa.Table], storage_options: Mapping[str, str] | None = None) -> Labels:
    """Labels from a frame, a file, or a query.

    Args:
        labels: a Polars, Arrow or pandas frame, anything with Arrow's C stream interface, a mapping of columns, a path or ``s3://``
            URL of Parquet, CSV, JSON lines or Arrow files, or SQL text that starts with ``select`` or ``with``.
        run_sql: answers a query.
        storage_options: for ``s3://``.

    Raises:
        RetrievalError: it is nothing of that kind, or cannot be read.
    """
    try:
        if isinstance(labels, str) and labels.lstrip().lower().startswith(("select", "with")):
            return Labels(pl.DataFrame(run_sql(labels)).lazy())
        if isinstance(labels, str | Path):
            return Labels(_scan(str(labels), storage_options))
        return Labels(_frame(labels))
    except (PolarsError, OSError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise RetrievalError(f"labels cannot be read: {reason}", hint="give a frame, a path or a query") from error


def key_frame(batch: pl.DataFrame, resolved: ResolvedFeatures) -> pl.DataFrame:
    """The key columns in the types of the join keys, and ``__instant``.

    A naive timestamp is UTC; a text is read as ISO 8601. Null keys stay: they are found nowhere.

    Raises:
        RetrievalError: a key or an instant of another type, or without an exact counterpart; an instant that is null.
    """
    columns = [_exact(batch, field, "join key") for field in resolved.key_fields]
    return pl.DataFrame([*columns, _instants(batch[EVENT_TIMESTAMP])])


def request_columns(batch: pl.DataFrame, resolved: ResolvedFeatures) -> dict[str, pl.Series]:
    """The columns that request sources ask for, in their types."""
    return {field.name: _exact(batch, field, "request column") for field in resolved.request_fields}


def check_columns(labels: Labels, resolved: ResolvedFeatures) -> None:
    """That labels have what the features ask for, and no column that a feature is to be named.

    Raises:
        RetrievalError: a missing column, or a name taken twice.
    """
    names = labels.schema.names()
    needed: Sequence[tuple[str, str]] = [
        (EVENT_TIMESTAMP, "the instant that each row asks about"),
        *((field.name, "a join key") for field in resolved.key_fields),
        *((field.name, "asked for by a request source") for field in resolved.request_fields),
    ]
    for name, what in needed:
        if name not in names:
            mend = "rename a column, or give join_key_map" if what == "a join key" else None
            raise RetrievalError(
                f"labels have no column {name!r}, {what}; they have {', '.join(names)}", hint=mend or did_you_mean(name, names)
            )
    for output in resolved.outputs:
        if output.name in names:
            raise RetrievalError(
                f"labels have a column {output.name!r} already, the name of a feature of {output.owner!r}",
                hint="ask with full_feature_names=True, or rename the label column",
            )


def _scan(path: str, storage_options: Mapping[str, str] | None) -> pl.LazyFrame:
    name = path.lower()
    options = dict(storage_options or {}) if name.startswith("s3://") else None
    if name.endswith((".parquet", ".pq")):
        return pl.scan_parquet(path, storage_options=options)
    if name.endswith((".csv", ".csv.gz", ".csv.zst")):
        return pl.scan_csv(path, try_parse_dates=True, storage_options=options)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return pl.scan_ndjson(path, storage_options=options)
    if name.endswith((".arrow", ".ipc", ".feather")):
        return pl.scan_ipc(path, storage_options=options)
    raise RetrievalError(
        f"labels of unknown format: {path!r}",
        hint="name a .parquet, .csv, .jsonl or .arrow file, or SQL that starts with select",
    )


def _frame(labels: Any) -> pl.LazyFrame:
    if isinstance(labels, pl.LazyFrame):
        return labels
    if isinstance(labels, pl.DataFrame):
        return labels.lazy()
    if isinstance(labels, pa.RecordBatch):
        return pl.DataFrame(pa.Table.from_batches([labels])).lazy()
    if type(labels).__module__.split(".", 1)[0] == "pandas":
        return pl.DataFrame(pa.Table.from_pandas(labels, preserve_index=False)).lazy()
    if hasattr(labels, "__arrow_c_stream__"):
        return pl.DataFrame(pa.table(labels)).lazy()
    if isinstance(labels, Mapping):
        return pl.DataFrame(dict(labels)).lazy()
    if isinstance(labels, list) and all(isinstance(row, Mapping) for row in labels):
        return pl.DataFrame(labels, infer_schema_length=None).lazy()
    raise RetrievalError(
        f"labels are a {type(labels).__name__}",
        hint="give a Polars, Arrow or pandas frame, rows, a path, or SQL that starts with select",
    )


def _exact(batch: pl.DataFrame, field: Field, what: str) -> pl.Series:
    try:
        return cast_exactly(batch[field.name], field.type)
    except DataTypeError as error:
        raise RetrievalError(f"{what} of the labels: {error.message}", hint=f"cast it to {field.type!r}") from error


def _instants(values: pl.Series) -> pl.Series:
    if values.dtype == pl.String:
        try:
            values = values.str.to_datetime(time_unit="us", time_zone="UTC")
        except PolarsError as error:
            raise RetrievalError(
                f"{EVENT_TIMESTAMP!r} is text, not all of it ISO 8601 instants: {str(error).splitlines()[0]}",
                hint="write 2013-01-31T17:00:00Z, or give timestamps",
            ) from error
    try:
        instants = cast_exactly(values, Timestamp)
    except DataTypeError as error:
        raise RetrievalError(f"instants of the labels: {error.message}", hint="give UTC timestamps in microseconds") from error
    if instants.null_count():
        row = int(instants.is_null().arg_max() or 0)
        raise RetrievalError(
            f"label row {row} (from 0) has no {EVENT_TIMESTAMP!r}",
            hint="drop rows without an instant: nothing can be known of them",
        )
    return instants.to_physical().alias(INSTANT)
