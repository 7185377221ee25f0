"""Reading the cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from typing import Any

from featurestore.registry.aggregations import Window
from featurestore.registry.types import DataType, type_from_json
from featurestore.time import to_micros

_SPECIAL = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass(frozen=True)
class Case:
    """One aggregation and what it must answer.

    Args:
        aggregation: the words of the definition, as in the file.
        labels: pairs of key and instant, in microseconds.
        expected: one value a label.
    """

    name: str
    aggregation: Mapping[str, Any]
    window: Window
    as_known: bool
    labels: tuple[tuple[str, int], ...]
    expected: tuple[Any, ...]


@dataclass(frozen=True)
class Group:
    """Events and the cases about them. Rows hold ``key``, ``event_time``, ``arrival_time``, ``sequence`` (microseconds) and
    the columns."""

    name: str
    columns: Mapping[str, DataType]
    rows: tuple[Mapping[str, Any], ...]
    cases: tuple[Case, ...]


def load_groups() -> tuple[Group, ...]:
    """All cases that ship with the package."""
    folder = files("featurestore.testing.conformance") / "cases"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".json")), key=lambda path: path.name)
    return tuple(read_group(path.name.removesuffix(".json"), json.loads(path.read_text("utf-8"))) for path in paths)


def read_group(name: str, data: Mapping[str, Any]) -> Group:
    """One group from its JSON."""
    start = to_micros(datetime.fromisoformat(data["start"]))
    columns = {column: type_from_json(kind) for column, kind in data["columns"].items()}
    rows = tuple(_row(number, row, columns, start) for number, row in enumerate(data["events"]))
    return Group(name, columns, rows, tuple(_case(case, start) for case in data["cases"]))


def _row(number: int, row: Mapping[str, Any], columns: Mapping[str, DataType], start: int) -> dict[str, Any]:
    time = _micros(row["time"], start)
    return {
        "key": row["key"],
        "event_time": time,
        "arrival_time": _micros(row["arrival"], start) if "arrival" in row else time,
        "sequence": row.get("sequence", number),
        **{column: _value(row.get(column), kind) for column, kind in columns.items()},
    }


def _micros(seconds: float, start: int) -> int:
    return start + round(seconds * 1_000_000)


def _value(value: Any, kind: DataType | None = None) -> Any:
    if isinstance(value, list):
        return [_value(item, kind) for item in value]
    is_float = kind is None or "Float" in repr(kind)
    return _SPECIAL[value] if is_float and isinstance(value, str) and value in _SPECIAL else value


def _case(data: Mapping[str, Any], start: int) -> Case:
    window = data["aggregation"].get("window", {"kind": "lifetime"})
    micros = {part: round(window.get(part, 0) * 1_000_000) for part in ("width", "hop")}
    return Case(
        name=data["name"],
        aggregation={key: value for key, value in data["aggregation"].items() if key != "window"},
        window=Window(window["kind"], micros["width"], micros["hop"]),
        as_known=data.get("as_known", False),
        labels=tuple((key, _micros(time, start)) for key, time, _ in data["expected"]),
        expected=tuple(_value(value) for _, _, value in data["expected"]),
    )
