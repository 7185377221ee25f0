"""What a frame holds, column by column: counts, extremes, spread, quantiles, frequent values.

Missing means null or NaN. Distinct counts, quantiles and frequent values are exact and ignore missing values; the standard
deviation is of the sample (n - 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

import polars as pl

from featurestore.errors import NotFoundError
from featurestore.validation.columns import Columns
from featurestore.validation.results import plain

Kind: TypeAlias = Literal["number", "instant", "category", "other"]

PERCENTILES: Final = 101
"""Quantiles kept of a number or an instant: 0 %, 1 %, ..., 100 %."""
TOP_VALUES: Final = 50


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column in numbers.

    ``percentiles`` are 101 values of the column (nearest rank) for numbers and instants (these in microseconds since the
    epoch), else empty; ``top`` are the most frequent values with their counts, ties by value. ``minimum`` and ``maximum``
    are JSON data.
    """

    name: str
    type: str
    kind: Kind
    rows: int
    missing: int
    distinct: int | None = None
    minimum: Any = None
    maximum: Any = None
    mean: float | None = None
    std: float | None = None
    percentiles: tuple[float, ...] = ()
    top: tuple[tuple[Any, int], ...] = ()

    @property
    def missing_share(self) -> float:
        """The share of rows without a value; 0 for no rows."""
        return self.missing / self.rows if self.rows else 0.0

    def quantile(self, q: float) -> float | None:
        """The value at a whole percentile."""
        return self.percentiles[round(q * (PERCENTILES - 1))] if self.percentiles else None

    def __str__(self) -> str:
        parts = [f"{self.name}: {self.type}", f"{self.missing_share:.1%} missing"]
        if self.distinct is not None:
            parts.append(f"{self.distinct:,} distinct")
        if self.minimum is not None:
            parts.append(f"{self.minimum} to {self.maximum}")
        if self.mean is not None:
            parts.append(f"mean {self.mean:.6g}" + (f" ± {self.std:.6g}" if self.std is not None else ""))
            parts.append(f"median {self.quantile(0.5):.6g}")
        if self.kind == "category" and self.top:
            parts.append("top " + ", ".join(f"{value} ({count:,})" for value, count in self.top[:3]))
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Profile:
    """A frame in numbers, as JSON data (:meth:`to_json_dict`) or text (``str``)."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def __getitem__(self, name: str) -> ColumnProfile:
        for column in self.columns:
            if column.name == name:
                return column
        raise NotFoundError("profiled column", name, [column.name for column in self.columns])

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON data, read back by :meth:`from_json_dict`."""
        return {"rows": self.rows, "columns": [plain(asdict(column)) for column in self.columns]}

    @classmethod
    def from_json_dict(cls, data: Mapping[str, Any]) -> Profile:
        """What :meth:`to_json_dict` wrote."""
        columns = [
            ColumnProfile(
                **{
                    **column,
                    "percentiles": tuple(column["percentiles"]),
                    "top": tuple((value, count) for value, count in column["top"]),
                }
            )
            for column in data["columns"]
        ]
        return cls(data["rows"], tuple(columns))

    def __str__(self) -> str:
        return "\n".join([f"{self.rows:,} rows, {len(self.columns)} columns", *(f"  {column}" for column in self.columns)])


def make_profile(frame: pl.LazyFrame | pl.DataFrame) -> Profile:
    """The profile of a frame, in one scan.

    Hidden columns (``__...``) are left out. Memory: exact distinct counts and quantiles hold the values of their columns.

    >>> import polars as pl
    >>> print(make_profile(pl.DataFrame({"wind": [1.0, 3.0, None, 2.0]})))
    4 rows, 1 columns
      wind: Float64, 25.0% missing, 3 distinct, 1.0 to 3.0, mean 2 ± 1, median 2
    """
    lazy = frame.lazy()
    schema = lazy.collect_schema()
    columns = Columns(schema)
    names = [name for name in schema.names() if not name.startswith("__")]
    metrics = {name: _metrics(columns, name) for name in names}
    wanted = [expression.alias(f"{name}\0{key}") for name, part in metrics.items() for key, expression in part.items()]
    row = lazy.select(pl.len().alias("rows"), *wanted).collect(engine="streaming").row(0, named=True)
    profiles = [
        _profile(name, schema[name], row["rows"], {key: row[f"{name}\0{key}"] for key in part})
        for name, part in metrics.items()
    ]
    return Profile(row["rows"], tuple(profiles))


def kind_of(dtype: pl.DataType) -> Kind:
    """How the values of a type are described."""
    if dtype.is_numeric() or dtype.is_decimal():
        return "number"
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return "instant"
    return "category" if dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum) else "other"


def number_line(columns: Columns, name: str) -> pl.Expr:
    """The present values of a number or an instant, as floats; instants are microseconds since the epoch."""
    if kind_of(columns.dtype(name)) == "number":
        return columns.number(name).cast(pl.Float64).drop_nulls()
    return pl.col(name).cast(pl.Datetime("us")).to_physical().cast(pl.Float64).drop_nulls()


def _metrics(columns: Columns, name: str) -> dict[str, pl.Expr]:
    kind = kind_of(columns.dtype(name))
    metrics = {"present": columns.present(name).sum()}
    if kind == "other":
        return metrics
    value = columns.key(name)
    metrics["distinct"] = value.drop_nulls().n_unique()
    if kind == "category":
        counted = value.drop_nulls().cast(pl.String).value_counts(name="times")
        return metrics | {"top": counted.map_batches(_most_frequent, return_dtype=_COUNTED).implode()}
    line = number_line(columns, name)
    metrics |= {"minimum": value.min(), "maximum": value.max()}
    if kind == "number":
        metrics |= {"mean": line.mean(), "std": line.std()}
    ordered = line.sort()
    last = ordered.len().cast(pl.Int64) - 1
    ranks = pl.int_range(PERCENTILES).cast(pl.Float64) / (PERCENTILES - 1) * last
    return metrics | {"percentiles": ordered.gather(ranks.round().cast(pl.Int64).filter(last >= 0)).implode()}


_COUNTED: Final = pl.Struct({"value": pl.String, "times": pl.UInt32})


def _most_frequent(counted: pl.Series) -> pl.Series:
    """The most frequent first, ties by value."""
    frame = counted.struct.unnest()
    named = frame.select(pl.nth(0).alias("value"), pl.nth(1).alias("times").cast(pl.UInt32))
    return named.sort(["times", "value"], descending=[True, False]).head(TOP_VALUES).to_struct()


def _profile(name: str, dtype: pl.DataType, rows: int, found: Mapping[str, Any]) -> ColumnProfile:
    return ColumnProfile(
        name=name,
        type=str(dtype),
        kind=kind_of(dtype),
        rows=rows,
        missing=rows - found["present"],
        distinct=found.get("distinct"),
        minimum=plain(found.get("minimum")),
        maximum=plain(found.get("maximum")),
        mean=plain(found.get("mean")),
        std=plain(found.get("std")),
        percentiles=tuple(found.get("percentiles") or ()),
        top=tuple((item["value"], item["times"]) for item in found.get("top") or ()),
    )
