from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featurestore import Aggregation, Entity, FeatureView
from featurestore import types as t
from featurestore.errors import DefinitionError, RegistryError
from featurestore.registry.definitions import Definition, feature_view
from featurestore.registry.records import Expression, SourceCode
from featurestore.registry.serialization import canonical, from_data, same_code, to_data, version_of
from tests.registry.examples import definitions, flights, plane, plane_delays, plane_rows


@pytest.mark.parametrize("definition", list(definitions()), ids=lambda d: d.name)
def test_definitions_come_back_from_json_as_they_were(definition: Definition) -> None:
    read = from_data(json.loads(canonical(to_data(definition))))
    assert read == definition
    assert to_data(read) == to_data(definition)
    assert version_of(read) == version_of(definition)


def test_places_and_descriptions_of_fields_are_kept_too() -> None:
    read = from_data(to_data(flights))
    assert read.location == flights.location
    assert read.schema[0].description == "painted on it"


def test_an_expression_that_was_stored_gives_the_same_answer() -> None:
    read = from_data(to_data(plane_delays))
    where = read.aggregations[1].where
    frame = pl.DataFrame({"arr_delay": [10.0, 20.0, None]})
    assert frame.select(where.polars()).to_series().to_list() == [False, True, None]


def test_a_function_read_back_is_text_only() -> None:
    read = from_data(to_data(plane_rows))
    assert "delay_hours" in read.transform.text
    with pytest.raises(DefinitionError, match="known only as text"):
        read.transform(None)


def test_data_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(RegistryError, match="newer featurestore"):
        from_data({"kind": "feature hub", "name": "x"})


def test_data_that_lacks_a_field_is_refused() -> None:
    data = to_data(plane)
    del data["join_keys"]
    with pytest.raises(RegistryError, match="lacks 'join_keys'"):
        from_data(data)


@pytest.mark.parametrize(
    "expression",
    [
        pl.col("x").map_elements(lambda v: v, return_dtype=pl.Int64),
        pl.col("x").map_batches(lambda s: s),
        pl.reduce(lambda a, b: a + b, [pl.col("x"), pl.col("y")]),
        pl.col("x").list.eval(pl.element().map_elements(lambda v: v, return_dtype=pl.Int64)),
    ],
    ids=["map_elements", "map_batches", "reduce", "list.eval"],
)
def test_an_expression_that_would_be_pickled_is_refused(expression: pl.Expr) -> None:
    with pytest.raises(DefinitionError, match=r"stored pickled.*\n.*transform"):
        Aggregation("x", "sum", where=expression)


def test_a_stored_expression_that_holds_a_pickle_is_never_read() -> None:
    data = json.dumps({"AnonymousFunction": {"input": [{"Column": "x"}], "function": list(b"PLPYFN\x80\x05cos\nsystem\n")}})
    with pytest.raises(DefinitionError, match="pickled"):
        Expression("python_udf", data).polars()


def test_nothing_here_imports_pickle_or_polars() -> None:
    import subprocess

    code = "import sys, featurestore.registry.serialization; print('polars' in sys.modules, 'cloudpickle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


# -- versions ------------------------------------------------------------------------------------------------------------


def _code(text: str) -> FeatureView:
    return FeatureView("v", entities=[plane], source=flights, transform=SourceCode("v", text))


PLAIN = 'def v(events):\n    return events.filter(pl.col("x") > 1)\n'


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace("return", "# what is large\n    return"),
        PLAIN.replace("\n    return", '\n    """Doc."""\n    return'),
        PLAIN.replace('"x"', "'x'").replace("> 1", ">   (1)"),
        PLAIN.replace("(pl.col", "(\n        pl.col"),
    ],
    ids=["comment", "docstring", "quotes and spaces", "line breaks"],
)
def test_how_code_is_written_does_not_change_its_version(text: str) -> None:
    assert text != PLAIN
    assert version_of(_code(text)) == version_of(_code(PLAIN))
    assert same_code(SourceCode("v", text), SourceCode("v", PLAIN))


@pytest.mark.parametrize(("old", "new"), [("> 1", ">= 1"), ('"x"', '"X"'), ("events.filter", "events.remove")])
def test_what_code_says_changes_its_version(old: str, new: str) -> None:
    assert version_of(_code(PLAIN.replace(old, new))) != version_of(_code(PLAIN))


def test_a_helper_that_changes_is_a_change_of_the_function() -> None:
    one = SourceCode("v", PLAIN, (("m.helper", "def helper():\n    return 1\n"),))
    same = SourceCode("v", PLAIN, (("m.helper", "def helper():\n    return 1  # one\n"),))
    other = SourceCode("v", PLAIN, (("m.helper", "def helper():\n    return 2\n"),))
    assert same_code(one, same)
    assert not same_code(one, other)


def _query(text: str) -> FeatureView:
    return FeatureView("v", entities=[plane], source=flights, mode="sql", transform=text)


def test_how_a_query_is_written_does_not_change_its_version() -> None:
    plain = _query("select a, 'it''s -- not /* a comment' as b from flights where c > 1")
    other = _query("select a,  -- the first\n 'it''s -- not /* a comment' as b /* text */\nfrom flights\nwhere c>1;")
    text = _query("select a, 'it''s  -- not /* a comment' as b from flights where c > 1")
    assert version_of(plain) == version_of(other)
    assert version_of(plain) != version_of(text)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"description": "new", "owner": "me", "tags": {"a": "b"}}, False),
        ({"online": False, "max_block_bytes": 5, "allow_future": True}, False),
        ({"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"column": "a"}}]}, False),
        ({"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {}, "policy": "quarantine"}]}, True),
        ({"ttl": "1h"}, True),
        ({"last_non_null": True}, True),
        ({"features": ["a"]}, True),
        ({"source": "weather"}, True),
        ({"entities": [Entity("plane", join_keys={"tail": t.String})]}, True),
        ({"entities": [Entity("plane", join_keys={"tailnum": t.String}, description="other words")]}, False),
        ({"aggregations": [Aggregation("a", "sum")]}, True),
    ],
)
def test_a_version_names_the_meaning_only(options: dict, changes: bool) -> None:
    base = {"entities": [plane], "source": "flights"}
    one, two = FeatureView("v", **base), FeatureView("v", **{**base, **options})
    assert (version_of(one) != version_of(two)) is changes


@given(
    st.sampled_from(["[)", "[]", "(]", "()"]),
    st.integers(0, 10**12),
    st.lists(st.integers(1, 10**13), max_size=3),
    st.none() | st.integers() | st.text() | st.lists(st.floats(allow_nan=False)),
    st.none() | st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_any_aggregation_comes_back(bounds: str, delay: int, windows: list, empty: object, name: str | None) -> None:
    aggregation = Aggregation("x", "top_k", windows=windows, bounds=bounds, delay=delay, empty=empty, name=name, n=3)
    view = FeatureView("v", entities=[plane], source="s", aggregations=[aggregation])
    read = from_data(json.loads(canonical(to_data(view))))
    assert read == view
    assert version_of(read) == version_of(view)


def test_a_decorated_function_is_stored_without_our_decorator() -> None:
    assert plane_rows.transform.text.startswith("def plane_rows")
    assert replace(plane_rows.transform, call=None) == plane_rows.transform


def test_a_lambda_is_stored_as_its_own_text() -> None:
    assert flights.prepare.text == 'lambda rows: rows.rename({"tail": "tailnum"})'


def test_two_lambdas_on_a_line_cannot_be_told_apart() -> None:
    with pytest.raises(DefinitionError, match="2 lambdas stand on line"):
        [SourceCode.of(f) for f in (lambda rows: rows, lambda rows: rows.head())]


def test_a_function_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot be read"):
        feature_view(entities=[plane], source=flights)(len)
