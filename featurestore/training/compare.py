"""What tells two versions of a training set apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from featurestore.training.dataset import TrainingSet

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """From one version to another: rows by their label columns, columns, values of common rows, definitions and inputs.

    ``changed`` maps a column to how many common rows hold another value, and ``examples`` to a few of them.
    """

    left: str
    right: str
    rows_added: int
    rows_removed: int
    rows_moved: int
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    types_changed: Mapping[str, tuple[str, str]]
    changed: Mapping[str, int]
    examples: Mapping[str, list[dict[str, Any]]]
    definitions_changed: Mapping[str, tuple[str | None, str | None]]
    lake_changed: Mapping[str, tuple[int | None, int | None]]

    @property
    def same_content(self) -> bool:
        """Whether both hold the same rows, columns and values in the same parts."""
        counts = self.rows_added + self.rows_removed + self.rows_moved
        return not (counts or self.columns_added or self.columns_removed or self.types_changed or self.changed)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "left": self.left,
            "right": self.right,
            "same_content": self.same_content,
            "rows": {"added": self.rows_added, "removed": self.rows_removed, "moved": self.rows_moved},
            "columns": {
                "added": list(self.columns_added),
                "removed": list(self.columns_removed),
                "types": {k: list(v) for k, v in self.types_changed.items()},
                "values": dict(self.changed),
            },
            "examples": dict(self.examples),
            "definitions": {k: list(v) for k, v in self.definitions_changed.items()},
            "lake": {k: list(v) for k, v in self.lake_changed.items()},
        }

    def __str__(self) -> str:
        if self.same_content:
            lines = [f"{self.left} and {self.right} hold the same content"]
        else:
            lines = [f"{self.left} -> {self.right}"]
            lines.append(f"  rows: {self.rows_added} added, {self.rows_removed} removed, {self.rows_moved} in another part")
            lines += [f"  + column {name}" for name in self.columns_added]
            lines += [f"  - column {name}" for name in self.columns_removed]
            lines += [f"  ~ column {name}: {old} -> {new}" for name, (old, new) in self.types_changed.items()]
            lines += [
                f"  ~ {name}: {count} values differ, such as {_shown(self.examples[name][0])}"
                for name, count in self.changed.items()
            ]
        lines += [f"  definition {n}: {_short(a)} -> {_short(b)}" for n, (a, b) in self.definitions_changed.items()]
        lines += [f"  lake {n}: version {a} -> {b}" for n, (a, b) in self.lake_changed.items()]
        return "\n".join(lines)


def diff(left: TrainingSet, right: TrainingSet) -> DatasetDiff:
    """Compare two versions row by row; rows that share all label columns are told apart by their order."""
    a, b = left.manifest, right.manifest
    old, new = a.arrow_schema(), b.arrow_schema()
    common = [name for name in old.names if name in new.names]
    types = {n: (str(old.field(n).type), str(new.field(n).type)) for n in common if old.field(n).type != new.field(n).type}
    keys = [name for name in a.label_columns if name in b.label_columns and name not in types]
    counts, changed, examples = _compare_rows(
        _rows(left, keys), _rows(right, keys), keys, [n for n in common if n not in types]
    )
    return DatasetDiff(
        f"{a.name} version {a.version}",
        f"{b.name} version {b.version}",
        *counts,
        tuple(n for n in new.names if n not in old.names),
        tuple(n for n in old.names if n not in new.names),
        types,
        changed,
        examples,
        _changes(a.definition_versions, b.definition_versions),
        _changes(a.lake_versions, b.lake_versions),
    )


def _rows(dataset: TrainingSet, keys: list[str]) -> pl.DataFrame:
    frame = pl.concat([dataset.to_polars(part).with_columns(__part=pl.lit(part)) for part in dataset.parts])
    return frame.with_columns(__copy=pl.int_range(pl.len()).over(keys))


def _compare_rows(
    left: pl.DataFrame, right: pl.DataFrame, keys: list[str], columns: list[str]
) -> tuple[tuple[int, int, int], dict[str, int], dict[str, list[dict[str, Any]]]]:
    on = [*keys, "__copy"]
    both = left.join(right, on=on, how="inner", nulls_equal=True, suffix="__new", maintain_order="left")
    moved = both.filter(pl.col("__part") != pl.col("__part__new")).height
    changed, examples = {}, {}
    for name in (n for n in columns if n not in keys):
        other = both.filter(pl.col(name).ne_missing(pl.col(f"{name}__new")))
        if other.height:
            changed[name] = other.height
            shown = other.head(EXAMPLES).select(*keys, pl.col(name).alias("old"), pl.col(f"{name}__new").alias("new"))
            examples[name] = shown.to_dicts()
    return (right.height - both.height, left.height - both.height, moved), changed, examples


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {n: (old.get(n), new.get(n)) for n in sorted({*old, *new}) if old.get(n) != new.get(n)}


def _shown(example: Mapping[str, Any]) -> str:
    """The change, and the labels of the row that has it."""
    labels = ", ".join(f"{name} {value}" for name, value in example.items() if name not in ("old", "new"))
    return f"{example['old']} -> {example['new']} at {labels}"


def _short(value: str | None) -> str:
    return "none" if value is None else value[:12]
