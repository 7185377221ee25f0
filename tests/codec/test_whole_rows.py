"""Rows in which nothing is missing are read as any others; those in which something is are left to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import example, given
from hypothesis import strategies as st

from featurestore.codec import RowCodec, decode_order
from featurestore.registry import types as t
from featurestore.registry.records import Field
from featurestore.time import EVENT_TIME

KINDS = {
    **{kind.name.lower(): kind for kind in t.INTEGERS | t.FLOATS},
    "flag": t.Bool,
    "text": t.String,
    "day": t.Date,
    "tags": t.List(t.Int8),
}
VALUES = {
    **{name: st.integers(0, 127) for name in KINDS if "int" in name},
    "float16": st.sampled_from([0.5, float("inf"), -0.0]),
    "float32": st.floats(width=32, allow_nan=False),
    "float64": st.floats(allow_nan=False),
    "flag": st.booleans(),
    "text": st.text(max_size=3),
    "day": st.dates(),
    "tags": st.lists(st.integers(0, 9), max_size=2),
}


@given(
    data=st.data(),
    held=st.lists(st.sampled_from(list(KINDS)), min_size=1, unique=True),
    count=st.sampled_from([1, 2, 16, 17, 40]),
    nulls=st.integers(0, 1),
)
def test_they_are_read_as_any_others(data: st.DataObject, held: list[str], count: int, nulls: int) -> None:
    wanted = data.draw(st.lists(st.sampled_from(held), unique=True))
    columns: dict[str, list[Any]] = {n: data.draw(st.lists(VALUES[n], min_size=count, max_size=count)) for n in held}
    times = data.draw(st.lists(st.integers(-(2**62), 2**62), min_size=count, max_size=count))
    if nulls:
        columns[data.draw(st.sampled_from(held))][data.draw(st.integers(0, count - 1))] = None
    table = pa.table({n: pa.array(values, t.to_arrow(KINDS[n])) for n, values in columns.items()})
    codec = RowCodec([Field(name, KINDS[name]) for name in held])
    rows = codec.encode(table.append_column(EVENT_TIME, pa.array(times, pa.int64())))
    whole = codec.whole_reader(wanted).read(rows)
    if nulls:
        assert whole is None
        return
    assert whole is not None
    found = [column.tolist() if isinstance(column, np.ndarray) else list(column) for column in whole.columns]
    assert repr(found) == repr(codec.reader(wanted).read(rows)[0])
    assert list(whole.times) == [decode_order(row)[0] for row in rows]
    assert (whole.oldest, whole.newest) == (min(times), max(times))
    floats = [value for column in found for value in column if isinstance(value, float)]
    assert not whole.is_finite or np.isfinite(floats).all()


@given(
    kinds=st.lists(st.sampled_from([t.Int64, t.Float64, t.Float32, t.Int8, t.Bool]), min_size=1, max_size=7),
    data=st.data(),
    infinite=st.booleans(),
)
@example(kinds=[t.Int64, t.Int64, t.Float64, t.Float64], data=None, infinite=False)
def test_features_of_one_type_side_by_side(kinds: list[t.DataType], data: st.DataObject | None, infinite: bool) -> None:
    names, count = [f"n{i}" for i in range(len(kinds))], 20
    wanted = names if data is None else data.draw(st.permutations(names))
    columns = {
        name: [kind == t.Bool or 3 * i + n for n in range(count)]
        for i, (name, kind) in enumerate(zip(names, kinds, strict=True))
    }
    floats = [name for name, kind in zip(names, kinds, strict=True) if kind in t.FLOATS]
    if infinite and floats:
        columns[floats[-1]][7] = float("inf")
    table = pa.table({n: pa.array(columns[n], t.to_arrow(kind)) for n, kind in zip(names, kinds, strict=True)})
    codec = RowCodec([Field(name, kind) for name, kind in zip(names, kinds, strict=True)])
    rows = codec.encode(table.append_column(EVENT_TIME, pa.array(range(count), pa.int64())))
    whole = codec.whole_reader(wanted).read(rows)
    assert whole is not None
    assert [list(column) for column in whole.columns] == codec.reader(wanted).read(rows)[0]
    assert whole.is_finite is not (infinite and bool(floats))


@given(
    count=st.sampled_from([1, 3, 16, 17, 40]), at=st.integers(0, 39), fault=st.sampled_from(["schema", "cut", "empty", "none"])
)
def test_rows_of_another_schema_and_rows_that_were_cut_are_left_to_others(count: int, at: int, fault: str) -> None:
    codec, other = (RowCodec([Field("n", kind), Field("m", t.Int8)]) for kind in (t.Int64, t.Float64))
    table = pa.table({"n": pa.array(range(count), pa.int64()), "m": pa.array([1] * count, pa.int8())})
    table = table.append_column(EVENT_TIME, pa.array(range(count), pa.int64()))
    rows = codec.encode(table)
    strange = {"schema": other.encode(table)[0], "cut": rows[0][:-1], "empty": b"", "none": None}
    found: list[bytes | None] = [*rows]
    found[at % count] = strange[fault]
    assert codec.whole_reader(["n"]).read(found) is None
