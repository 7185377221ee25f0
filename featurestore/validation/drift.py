"""How far one frame has moved from another, column by column.

- PSI, the population stability index (Siddiqi, Credit Risk Scorecards, 2006): ``sum((c - r) * ln(c / r))`` over the shares
  of bins. Numbers and instants are binned at the reference's deciles, categories are bins of their own. A share of zero counts
  as 0.0001. Below 0.1 is commonly read as stable, from 0.25 as a large shift.
- KS, the two-sample Kolmogorov-Smirnov statistic: the largest distance between the two distribution functions.
- The change of the share of missing values, and categories that the reference does not have.

Two frames are compared exactly. Where one side is a :class:`~featurestore.validation.profiles.Profile`, distributions
are those of its 101 percentiles (KS is then within 0.02 of the exact one for continuous values) or its 50 most
frequent values, and new categories are named only where the reference's list is complete.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from featurestore.validation.columns import Columns
from featurestore.validation.profiles import ColumnProfile, Profile, kind_of, make_profile, number_line
from featurestore.validation.results import plain

_SMALLEST_SHARE: Final = 1e-4
_STABLE: Final = 0.1
_LARGE: Final = 0.25
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column's shift. ``psi`` and ``ks`` are None where a side has no values or they do not apply (``ks``: categories)."""

    name: str
    psi: float | None
    ks: float | None
    missing_before: float
    missing_after: float
    new_categories: tuple[str, ...] = ()
    new_share: float = 0.0

    @property
    def level(self) -> Literal["stable", "moderate", "large"]:
        """``large`` from a PSI of 0.25, ``moderate`` from 0.1; a column that lost or gained all its values is ``large``."""
        if self.psi is None:
            return "large" if abs(self.missing_after - self.missing_before) > _LARGE else "stable"
        return "stable" if self.psi < _STABLE else "moderate" if self.psi < _LARGE else "large"

    def __str__(self) -> str:
        parts = [f"{self.level:8} {self.name}"]
        parts += [f"{label} {value:.3f}" for label, value in (("PSI", self.psi), ("KS", self.ks)) if value is not None]
        if self.missing_after != self.missing_before:
            parts.append(f"missing {self.missing_before:.1%} -> {self.missing_after:.1%}")
        if self.new_categories:
            parts.append(f"new {', '.join(self.new_categories[:5])} ({self.new_share:.1%} of rows)")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The shift of every column that both sides have, and the columns that only one has."""

    columns: tuple[ColumnDrift, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    retyped: tuple[str, ...]

    @property
    def drifted(self) -> tuple[ColumnDrift, ...]:
        """The columns that are not stable, the furthest first."""
        moved = [column for column in self.columns if column.level != "stable"]
        return tuple(sorted(moved, key=lambda column: -(column.psi if column.psi is not None else math.inf)))

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        columns = [{**plain(asdict(column)), "level": column.level} for column in self.columns]
        changed = {"added": list(self.added), "removed": list(self.removed), "retyped": list(self.retyped)}
        return {"columns": columns, **changed}

    def __str__(self) -> str:
        lines = [f"{len(self.drifted)} of {len(self.columns)} columns drifted"]
        lines += [f"  {column}" for column in [*self.drifted, *(c for c in self.columns if c.level == "stable")]]
        changes = (("added", self.added), ("removed", self.removed), ("of another type", self.retyped))
        lines += [f"  columns {word}: {', '.join(names)}" for word, names in changes if names]
        return "\n".join(lines)


def measure_drift(
    reference: pl.LazyFrame | pl.DataFrame | Profile, current: pl.LazyFrame | pl.DataFrame | Profile
) -> DriftReport:
    """How far ``current`` has moved from ``reference``.

    >>> import polars as pl
    >>> before = pl.DataFrame({"carrier": ["AA", "UA"] * 50})
    >>> print(measure_drift(before, pl.DataFrame({"carrier": ["AA", "B6"] * 50})))
    1 of 1 columns drifted
      large    carrier, PSI 8.515, new B6 (50.0% of rows)
    """
    exact = not isinstance(reference, Profile) and not isinstance(current, Profile)
    before, after = _sides(reference, exact=exact), _sides(current, exact=exact)
    shared = [name for name in before if name in after]
    same = [name for name in shared if before[name].kind == after[name].kind]
    return DriftReport(
        tuple(_column_drift(name, before[name], after[name]) for name in same),
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(name for name in shared if name not in same),
    )


@dataclass(frozen=True, slots=True)
class _Side:
    """One column of one side: ordered ``points`` with ``share`` at or below any point, or ``counts`` of categories."""

    kind: str
    missing: float
    points: np.ndarray[Any, np.dtype[np.float64]]
    share: Callable[[np.ndarray[Any, np.dtype[np.float64]]], np.ndarray[Any, np.dtype[np.float64]]]
    counts: Mapping[str, int]
    present: int
    complete: bool = True


def _sides(data: pl.LazyFrame | pl.DataFrame | Profile, *, exact: bool) -> dict[str, _Side]:
    if not exact:
        profile = data if isinstance(data, Profile) else make_profile(data)
        return {column.name: _of_profile(column) for column in profile.columns}
    lazy = data.lazy()  # type: ignore[union-attr]
    columns = Columns(lazy.collect_schema())
    names = [name for name in columns.schema.names() if not name.startswith("__")]
    return {name: _of_column(lazy, columns, name) for name in names}


def _of_column(frame: pl.LazyFrame, columns: Columns, name: str) -> _Side:
    """Read column by column, so that memory holds one at a time besides what is kept."""
    kind = kind_of(columns.dtype(name))
    size = frame.select(rows=pl.len(), present=columns.present(name).sum()).collect(engine="streaming").row(0, named=True)
    missing = 1 - size["present"] / size["rows"] if size["rows"] else 0.0
    points = np.empty(0)
    counts: dict[str, int] = {}
    if kind in ("number", "instant"):
        points = frame.select(number_line(columns, name).sort()).collect(engine="streaming").to_series().to_numpy()
    elif kind == "category":
        value = columns.key(name).cast(pl.String).alias("value")
        counted = frame.select(value).drop_nulls().group_by("value").len("times").collect(engine="streaming")
        counts = dict(zip(counted["value"].to_list(), counted["times"].to_list(), strict=True))
    total = max(len(points), 1)
    return _Side(kind, missing, points, lambda at: np.searchsorted(points, at, side="right") / total, counts, size["present"])


def _of_profile(column: ColumnProfile) -> _Side:
    points = np.asarray(column.percentiles, dtype=np.float64)
    counts = {str(value): count for value, count in column.top}
    complete = column.distinct is not None and column.distinct <= len(counts)
    present = column.rows - column.missing
    return _Side(column.kind, column.missing_share, points, lambda at: _percentile_share(points, at), counts, present, complete)


def _percentile_share(
    points: np.ndarray[Any, np.dtype[np.float64]], at: np.ndarray[Any, np.dtype[np.float64]]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The share of values at or below, linear between neighbouring percentiles."""
    above = np.searchsorted(points, at, side="right")
    low = np.clip(above - 1, 0, len(points) - 1)
    high = np.clip(above, 0, len(points) - 1)
    gap = points[high] - points[low]
    part = np.divide(at - points[low], gap, out=np.zeros_like(at), where=gap > 0)
    share = (low + part) / (len(points) - 1)
    return np.where(above == 0, 0.0, np.where(above == len(points), 1.0, share))


def _column_drift(name: str, before: _Side, after: _Side) -> ColumnDrift:
    psi = ks = None
    strangers: Sequence[str] = ()
    if before.present and after.present:
        if before.kind in ("number", "instant"):
            # Values that one side only approximates, and those it has exactly, are compared at the points of both.
            at = np.union1d(before.points, after.points)
            ks = float(np.max(np.abs(before.share(at) - after.share(at))))
            deciles = np.unique(np.quantile(before.points, np.linspace(0.1, 0.9, 9), method="inverted_cdf"))
            psi = _stability(_bins(before, deciles), _bins(after, deciles))
        elif before.kind == "category":
            names = sorted({*before.counts, *after.counts})
            psi = _stability(_shares(before, names), _shares(after, names))
    if before.kind == "category" and before.complete:
        strangers = sorted(set(after.counts) - set(before.counts))
    new = sum(after.counts[category] for category in strangers)
    return ColumnDrift(
        name,
        psi,
        ks,
        before.missing,
        after.missing,
        tuple(strangers[:_SHOWN]),
        new / after.present if after.present else 0.0,
    )


def _bins(side: _Side, edges: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.diff(np.concatenate([[0.0], side.share(edges), [1.0]]))


def _shares(side: _Side, names: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Shares of categories, and of all those that are not listed."""
    listed = np.array([side.counts.get(name, 0) for name in names], dtype=np.float64)
    return np.append(listed, side.present - listed.sum()) / side.present


def _stability(reference: np.ndarray[Any, np.dtype[np.float64]], current: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    used = (reference > 0) | (current > 0)
    r, c = np.maximum(reference[used], _SMALLEST_SHARE), np.maximum(current[used], _SMALLEST_SHARE)
    return float(np.sum((c - r) * np.log(c / r)))
