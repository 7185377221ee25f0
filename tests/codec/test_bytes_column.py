"""A column of bytes is the list of them, and goes over the wire as redis-py's packer would send it."""

from __future__ import annotations

import hiredis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore.codec import BytesColumn
from featurestore.online.forward_only import packed_add, packed_pairs

values = st.lists(st.binary(max_size=40), max_size=30)
slices = st.slices(30)


@given(values, slices, slices)
def test_a_column_is_the_list(items: list[bytes], one: slice, two: slice) -> None:
    column = BytesColumn.of(items)
    assert list(column) == items == column.arrow.to_pylist() == list(BytesColumn.of_arrow(column.arrow))
    part = column[one][two]
    assert list(part) == items[one][two] == [part[i] for i in range(len(part))] == list(BytesColumn.of(part))
    assert (bytes(part.joined), part.lengths.tolist()) == (b"".join(items[one][two]), [*map(len, items[one][two])])
    assert part.arrow.to_pylist() == list(part)


@given(values, slices, st.sampled_from([pa.binary(), pa.large_binary()]))
def test_arrow_arrays_of_either_size_and_cut(items: list[bytes], cut: slice, kind: pa.DataType) -> None:
    start, stop, _ = cut.indices(len(items))
    array = pa.array(items, kind)[start : max(start, stop)]
    assert list(BytesColumn.of_arrow(array)) == array.to_pylist()


def test_records_as_they_lie_in_memory_and_negative_places() -> None:
    records = np.array([(1, 258), (2, 3)], dtype=[("a", "u1"), ("b", ">u2")])
    column = BytesColumn.of_width(records)
    assert (list(column), column[-1]) == ([b"\x01\x01\x02", b"\x02\x00\x03"], b"\x02\x00\x03")
    with pytest.raises(IndexError):
        column[2]


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=2_000), min_size=1, max_size=20))
def test_pairs_are_packed_as_by_the_packer_of_redis_py(rows: dict[bytes, bytes]) -> None:
    arguments = [part for pair in rows.items() for part in pair]
    assert packed_add(packed_pairs([*rows], [*rows.values()])) == hiredis.pack_command(("MSETNX", *arguments))
