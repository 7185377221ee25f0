"""Every type, its extremes and its nulls, unchanged from raw data to views, training sets, the online store and HTTP."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featurestore import FeatureStore
from featurestore import types as t
from featurestore.api.wire import decode_column, encode_column
from featurestore.registry.types import to_arrow
from tests.api.in_process import client_of

INF, NAN = math.inf, math.nan
BEFORE_1970 = datetime(1677, 9, 22, 0, 12, 43, 145225, tzinfo=UTC)
FAR = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
HALF_MAX, SINGLE_MAX, DOUBLE_MAX = 65504.0, 3.4028234663852886e38, 1.7976931348623157e308

VALUES: dict[str, tuple[t.DataType, list[Any]]] = {
    "flag": (t.Bool, [False, True, True]),
    "i8": (t.Int8, [-(2**7), 2**7 - 1, 0]),
    "i16": (t.Int16, [-(2**15), 2**15 - 1, 0]),
    "i32": (t.Int32, [-(2**31), 2**31 - 1, 0]),
    "i64": (t.Int64, [-(2**63), 2**63 - 1, 2**53 + 1]),
    "u8": (t.UInt8, [0, 2**8 - 1, 1]),
    "u16": (t.UInt16, [0, 2**16 - 1, 1]),
    "u32": (t.UInt32, [0, 2**32 - 1, 1]),
    "u64": (t.UInt64, [0, 2**64 - 1, 2**63]),
    "f16": (t.Float16, [-INF, NAN, HALF_MAX]),
    "f32": (t.Float32, [INF, NAN, -SINGLE_MAX]),
    "f64": (t.Float64, [INF, NAN, DOUBLE_MAX]),
    "zero": (t.Float64, [-0.0, 5e-324, 0.1]),
    "text": (t.String, ["", 'quoted "text", with a comma', "Zürich 🚲"]),
    "raw": (t.Bytes, [b"", "Zürich\n".encode(), b"plain"]),
    "octets": (t.Bytes, [b"\x00", b"\x00\xff\x80", b"\xc3"]),
    "day": (t.Date, [date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)]),
    "instant": (t.Timestamp, [BEFORE_1970, FAR, datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    "money": (t.Decimal(38, 2), [Decimal("-999999999999999999999999999999999999.99"), Decimal("0.01"), Decimal("12.50")]),
    "some": (t.List(t.Int64), [[], [2**63 - 1, None, -(2**63)], [1]]),
    "words": (t.List(t.String), [[], ["", None, "a,b"], ["x"]]),
    "place": (
        t.Struct({"lat": t.Float64, "tags": t.List(t.String), "seen": t.Timestamp}),
        [
            {"lat": -90.5, "tags": ["a", None], "seen": BEFORE_1970},
            {"lat": None, "tags": [], "seen": None},
            {"lat": NAN, "tags": None, "seen": FAR},
        ],
    ),
    "vector": (t.Vector(t.Float32, 3), [[0.5, -INF, NAN], [1.0, 2.0, 3.0], [-0.0, SINGLE_MAX, 2.0**-149]]),
    "codes": (t.Vector(t.UInt8, 2), [[0, 255], [1, 2], [3, 4]]),
}
ROWS = 4
"""Three with values, and one without any."""
EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
DECLARED = ", ".join(f"{name!r}: t.{kind!r}" for name, (kind, _) in VALUES.items())


def definitions(*, declared: bool) -> str:
    nested = DECLARED
    for name in ("Int", "UInt", "Float", "String", "Timestamp", "List"):
        nested = nested.replace(f"({name}", f"(t.{name}").replace(f": {name}", f": t.{name}")
    schema = f"{{'id': t.Int64, 'at': t.Timestamp, {nested}}}" if declared else "None"
    return f"""
from featurestore import Entity, EventSource, FeatureService, FeatureView, feature_view
from featurestore import types as t

thing = Entity("thing", join_keys={{"id": t.Int64}})
events = EventSource("events", event_time="at", schema={schema})
plain = FeatureView("plain", entities=[thing], source=events)

@feature_view(entities=[thing], source=events, mode="polars")
def computed(rows):
    return rows.filter(rows.collect_schema().names()[0] != "").select("id", "at", {", ".join(f"c_{n}={n!r}" for n in VALUES)})

queried = FeatureView("queried", entities=[thing], source=events, mode="sql",
    transform="SELECT id, at, {", ".join(f"{n} AS q_{n}" for n in VALUES)} FROM events")

model = FeatureService("model", features=[plain, computed, queried])
"""


def expected() -> pa.Table:
    columns = {name: pa.array([*values, None], to_arrow(kind)) for name, (kind, values) in VALUES.items()}
    ids = {"id": pa.array(range(ROWS), pa.int64()), "at": pa.array([EPOCH + timedelta(hours=i) for i in range(ROWS)])}
    ids["at"] = ids["at"].cast(to_arrow(t.Timestamp))
    return pa.table({**ids, **columns})


def as_json_rows() -> list[dict[str, Any]]:
    """The rows in the JSON form of ``docs/http.md``."""
    columns = {name: [*encode_column(values, kind), None] for name, (kind, values) in VALUES.items()}
    columns |= {"id": list(range(ROWS)), "at": [(EPOCH + timedelta(hours=i)).isoformat() for i in range(ROWS)]}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.loads(json.dumps(rows, default=lambda v: v.isoformat()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "featurestore.toml").write_text('project = "types"\n')
    (tmp_path / "definitions").mkdir()
    return tmp_path


def land(folder: Path, data: Any, *, declared: bool) -> FeatureStore:
    (folder / "definitions" / "types.py").write_text(definitions(declared=declared))
    store = FeatureStore(folder)
    store.apply(author="test")
    report = store.ingest("events", data)
    assert (report.landed, report.quarantined) == (ROWS, 0)
    return store


def plain_value(value: Any) -> Any:
    """A value that compares with ``==``: NaN and the sign of zero told by name, arrays as lists."""
    if isinstance(value, float):
        return f"float {value!r}"
    if isinstance(value, dict):
        return {name: plain_value(inner) for name, inner in value.items()}
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return [plain_value(inner) for inner in value] if isinstance(value, list) else value


def check(found: pa.Table, prefix: str = "", *, without: str = "") -> None:
    """Types and values are those of :func:`expected`, row by row."""
    wanted = expected()
    for name in VALUES.keys() - {without}:
        column = found.column(prefix + name)
        assert column.type == wanted.column(name).type, name
        assert plain_value(column.to_pylist()) == plain_value(wanted.column(name).to_pylist()), name


def check_everywhere(store: FeatureStore, *, without: str = "") -> None:
    lake = pa.Table.from_batches(store.lake.table("events", "events").scan().collect().to_arrow().to_batches())
    assert lake.num_rows == ROWS
    labels = pl.DataFrame({"id": range(ROWS), "event_timestamp": [EPOCH + timedelta(days=1)] * ROWS})
    job = store.get_historical_features(labels, "model")
    check(job.to_arrow(), without=without)
    check(job.to_arrow(), "c_", without=without)
    made = store.create_dataset("things", labels, "model")
    check(made.to_arrow(), without=without)
    assert made.verify().ok
    store.materialize()
    online = store.get_online_features("model", {"id": range(ROWS)}).to_arrow()
    check(online, without=without)
    check(online, "c_", without=without)


def write_parquet(path: Path) -> None:
    pq.write_table(expected(), path)


def write_arrow(path: Path) -> None:
    with pa.ipc.new_file(path, expected().schema) as writer:
        writer.write_table(expected())


def text_rows() -> list[dict[str, Any]]:
    """The rows as a file of text has them: bytes are its text, and floats the tokens that Python's json writes."""
    rows = expected().drop_columns(["octets"]).to_pylist()
    return [json.loads(json.dumps(row, default=_as_text)) for row in rows]


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value.isoformat() if hasattr(value, "isoformat") else str(value)


def write_jsonl(path: Path) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in text_rows()))


def write_csv(path: Path) -> None:
    """A list or a record is JSON text; a null is an empty field, an empty text a quoted one."""
    rows = text_rows()
    texts = [",".join(_field(value) for value in row.values()) for row in rows]
    path.write_text("\n".join([",".join(rows[0]), *texts]) + "\n")


def _field(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize("write", [write_parquet, write_arrow])
def test_types_of_files_that_carry_them_are_inferred_and_stay(folder: Path, write: Any) -> None:
    path = folder / f"events.{write.__name__.removeprefix('write_')}"
    write(path)
    with land(folder, str(path), declared=False) as store:
        assert store.catalog.source_schema("events").equals(expected().schema)
        check_everywhere(store)


@pytest.mark.parametrize("write", [write_jsonl, write_csv])
def test_declared_types_are_read_from_text_and_stay(folder: Path, write: Any) -> None:
    path = folder / f"events.{write.__name__.removeprefix('write_')}"
    write(path)
    with land(folder, str(path), declared=True) as store:
        check_everywhere(store, without="octets")


@pytest.mark.parametrize("frame", [expected(), pl.DataFrame(expected())], ids=["arrow", "polars"])
def test_types_of_frames_in_memory_stay(folder: Path, frame: Any) -> None:
    with land(folder, frame, declared=False) as store:
        labels = pl.DataFrame({"id": range(ROWS), "event_timestamp": [EPOCH + timedelta(days=1)] * ROWS})
        check(store.get_historical_features(labels, "plain").to_arrow())
        assert store.ingest("events", frame).duplicates == ROWS


def test_types_pushed_and_looked_up_over_http_stay(folder: Path) -> None:
    (folder / "definitions" / "types.py").write_text(definitions(declared=True))
    with FeatureStore(folder) as store:
        store.apply(author="test")
    with client_of(folder) as client:
        pushed = client.post("/v1/push/events", json={"rows": as_json_rows()})
        assert pushed.json()["ingest"]["landed"] == ROWS, pushed.text
        body = {"features": "plain", "entities": {"id": list(range(ROWS))}}
        answer = client.post("/v1/online-features", json=body).json()
        arrow = client.post("/v1/online-features", json=body, headers={"accept": "application/vnd.apache.arrow.stream"}).content
    for name, (kind, values) in VALUES.items():
        found = decode_column(answer["features"][name], kind, name)
        assert plain_value(found) == plain_value([*values, None]), name
        assert answer["statuses"][name] == ["PRESENT"] * 3 + ["NULL"]
    check(pa.ipc.open_stream(arrow).read_all())
