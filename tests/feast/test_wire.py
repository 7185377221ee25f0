"""Protocol buffers read by hand."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.errors import RegistryError
from featurestore.feast.wire import decode, schema
from tests.feast.protobuf_writer import encode, varint

SCHEMAS = {
    "Tree": schema(
        word=(1, "text"),
        number=(2, "int"),
        numbers=(3, "int*"),
        flag=(4, "bool"),
        real=(5, "double"),
        small=(6, "float"),
        raw=(7, "bytes"),
        tags=(8, "text map"),
        when=(9, "micros"),
        children=(2000, "Tree*"),
    )
}
integers = st.integers(-(2**63), 2**63 - 1)
trees: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.fixed_dictionaries(
        {"numbers": st.lists(integers), "tags": st.dictionaries(st.text(), st.text()), "children": st.just([])},
        optional={
            "word": st.text(),
            "number": integers,
            "flag": st.booleans(),
            "real": st.floats(allow_nan=False),
            "small": st.floats(width=32, allow_nan=False),
            "raw": st.binary(),
            "when": st.integers(-(10**15), 10**15),
        },
    ),
    lambda inner: st.builds(lambda tree, children: {**tree, "children": children}, inner, st.lists(inner, max_size=3)),
    max_leaves=8,
)


@settings(deadline=None)
@given(trees)
def test_what_was_written_is_read(tree: dict[str, Any]) -> None:
    assert decode(encode(tree, "Tree", SCHEMAS), "Tree", SCHEMAS) == tree


@settings(deadline=None)
@given(trees, st.binary(max_size=20))
def test_fields_of_a_newer_writer_are_passed_by(tree: dict[str, Any], value: bytes) -> None:
    unknown = varint(777 << 3 | 2) + varint(len(value)) + value
    assert decode(unknown + encode(tree, "Tree", SCHEMAS), "Tree", SCHEMAS) == tree


def test_packed_numbers_are_numbers() -> None:
    assert decode(bytes([26, 4, 1, 2, 172, 2]), "Tree", SCHEMAS)["numbers"] == [1, 2, 300]


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_an_error_that_says_so(raw: bytes) -> None:
    with contextlib.suppress(RegistryError):
        assert isinstance(decode(raw, "Tree", SCHEMAS), dict)


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_message_cut_short_is_an_error(cut: int) -> None:
    raw = encode({"word": "feature"}, "Tree", SCHEMAS)
    with pytest.raises(RegistryError, match="no Tree"):
        decode(raw[:-cut], "Tree", SCHEMAS)
