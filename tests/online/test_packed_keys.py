"""Packed keys are the keys of the list, packed, whatever callers send."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import hiredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from featurestore.errors import RequestError
from featurestore.online.keys import EntityKeys
from featurestore.online.packed_keys import PackedKeys
from featurestore.online.plan import OnlinePlan, RowGroup, ViewRead
from featurestore.online.ready_plan import ReadyPlan
from featurestore.online.response import AnswerForm
from featurestore.registry import types as t
from featurestore.registry.records import Field

KINDS: dict[str, t.DataType] = {"text": t.String, "wide": t.Int64, "small": t.Int8, "unsigned": t.UInt64, "flag": t.Bool}
VALUES = (
    st.none()
    | st.booleans()
    | st.text(max_size=4)
    | st.sampled_from(["%", "a|b", "{x}", '"', "\\", "\r\n", "é", ",", "x" * 70])
    | st.integers(-300, 300)
    | st.sampled_from([-(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**64, 1.5])
)


def ready(*views: tuple[str, ...]) -> ReadyPlan:
    """A plan of views by their join keys; each has rows of two suffixes."""
    groups = (RowGroup(b"", {}), RowGroup(b"feature", {}))
    reads = []
    for number, names in enumerate(views):
        keys = EntityKeys("view", [Field(name, KINDS[name]) for name in names])
        lookup = cast("Any", SimpleNamespace(key_columns=names))
        reads.append(ViewRead(lookup, keys, b"p:v:%d:" % number, None, groups, ()))
    return ReadyPlan(OnlinePlan(tuple(reads), (), (), (), (), AnswerForm(())), b"token", None)


@given(
    views=st.lists(st.lists(st.sampled_from(list(KINDS)), unique=True, max_size=2).map(tuple), min_size=1, max_size=3),
    count=st.integers(0, 5),
    data=st.data(),
)
def test_they_are_the_keys_of_the_list(views: list[tuple[str, ...]], count: int, data: st.DataObject) -> None:
    plan = ready(*views)
    names = sorted({name for view in views for name in view})
    columns = {name: data.draw(st.lists(VALUES, min_size=count, max_size=count)) for name in names}
    assert_same(plan, columns, count)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40), st.lists(st.text("ab|", max_size=3), max_size=40))
@example([5] * 3, ["a" * 64, "a" * 65, "a"])
@example([-(2**63), 0, 2**63 - 1], [""])
def test_so_are_those_of_one_kind(numbers: list[int], texts: list[str]) -> None:
    written = [b"{%d}" % number for number in numbers]
    encoded = [b"{%b}" % text.replace("|", "%7C").encode() for text in texts]
    for columns, entities in (({"wide": numbers}, written), ({"text": texts}, encoded)):
        plan = ready(tuple(columns))
        assert plan.keys(columns) == [
            b"token",
            *(b"p:v:0:" + e for e in entities),
            *(b"p:v:0:" + e + b"feature" for e in entities),
        ]
        assert_same(plan, columns, len(entities))


def assert_same(plan: ReadyPlan, columns: dict[str, list[Any]], count: int) -> None:
    try:
        keys = plan.keys(columns)
    except RequestError as error:
        with pytest.raises(RequestError, match=re.escape(str(error))):
            plan.packed_keys(columns, count)
        return
    packed = plan.packed_keys(columns, count)
    assert packed == PackedKeys.of(keys)
    command = b"*%d\r\n$4\r\nMGET\r\n%b" % (packed.count + 1, packed.arguments)
    assert command == hiredis.pack_command(cast("Any", (b"MGET", *keys)))
