"""Dense ids for composite keys: 0, 1, 2, ... one for each distinct key among the labels, in the order of the keys.

In their order, so that events from files sorted by key and time come sorted by id and time.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

KEY_ID = "__key_id"


def number_keys(labels: pl.DataFrame, join_keys: Sequence[str]) -> tuple[pl.DataFrame, pl.Series]:
    """The distinct keys of labels with their ids, and the id of each label row.

    A key with a null part is no key: its rows get -1, and it is not in the table.

    >>> table, ids = number_keys(pl.DataFrame({"k": ["b", "a", None, "b"]}), ["k"])
    >>> table.rows(), ids.to_list()
    ([('a', 0), ('b', 1)], [1, 0, -1, 1])
    """
    keys = labels.select(join_keys)
    table = keys.drop_nulls().unique().sort(join_keys).with_row_index(KEY_ID)
    table = table.select(*join_keys, pl.col(KEY_ID).cast(pl.Int64))
    ids = keys.join(table, on=list(join_keys), how="left", maintain_order="left")[KEY_ID]
    return table, ids.fill_null(-1)


def match_keys(
    events: pl.LazyFrame, table: pl.DataFrame, join_keys: Sequence[str], *, kept: Collection[str] = ()
) -> pl.LazyFrame:
    """The events whose key is in a table of :func:`number_keys`, in their order, with its id in the place of the key.

    Args:
        kept: columns of the key that stay beside its id.
    """
    matched = events.join(table.lazy(), on=list(join_keys), how="inner", maintain_order="left")
    return matched.drop(name for name in join_keys if name not in kept)
