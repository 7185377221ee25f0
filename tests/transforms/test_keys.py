"""Events and labels numbered alike, whatever the type of the key and the order of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.transforms.keys import match_events, number_labels

END = 1 << 63
VALUES: dict[str, tuple[list[Any], list[pl.DataType]]] = {
    "text": (["a", "b", "", None], [pl.String()]),
    "number": ([3, 4, 5, 2000, None], [pl.Int64()]),
    "extreme": ([-END, -END + 1, END - 1, END - 2], [pl.Int64()]),
    "byte": ([0, 1, 254, 255], [pl.UInt8()]),
    "unsigned": ([0, 2 * END - 1, 2 * END - 2], [pl.UInt64()]),
    "pair": ([("a", 1), ("a", 2), ("b", None), (None, 1)], [pl.String(), pl.Int64()]),
}


def frame(keys: list[Any], types: list[pl.DataType]) -> pl.DataFrame:
    parts = [key if isinstance(key, tuple) else (key,) for key in keys]
    return pl.DataFrame([pl.Series(f"k{i}", [part[i] for part in parts], dtype) for i, dtype in enumerate(types)])


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("in_runs", [True, False])
@pytest.mark.parametrize("only_asked", [True, False])
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_event_and_a_label_have_one_number_exactly_where_their_keys_are_equal(
    kind: str, in_runs: bool, only_asked: bool, data: Any
) -> None:
    values, types = VALUES[kind]
    labels = data.draw(st.lists(st.sampled_from(values), max_size=8))
    events = data.draw(st.lists(st.sampled_from(values), max_size=30))
    if in_runs:
        events = [key for value in values for key in events if key is value or key == value]
    names = [f"k{i}" for i in range(len(types))]
    asked = frame(labels, types).with_row_index("place").drop_nulls(names)
    known_keys, ids = number_labels(asked, names)
    matched = match_events(frame(events, types), known_keys)
    if only_asked:
        matched = matched.asked_for(ids)
    numbers = ids if matched.key_numbers is None else matched.key_numbers[ids]
    places = np.arange(len(events)) if matched.places is None else matched.places
    by_event = dict(zip(places.tolist(), matched.keys.tolist(), strict=True))
    whole = [not (key is None or (isinstance(key, tuple) and None in key)) for key in labels]
    assert asked["place"].to_list() == [i for i, known in enumerate(whole) if known]
    for number, label in zip(numbers.tolist(), asked["place"].to_list(), strict=True):
        for place, event in enumerate(events):
            assert (number >= 0 and by_event.get(place) == number) == (event == labels[label])
