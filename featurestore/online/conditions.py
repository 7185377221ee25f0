"""The conditions of aggregations, ``where=`` and ``by=``, over the events of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
from polars.exceptions import PolarsError

from featurestore.codec.block_layout import Array
from featurestore.registry.types import from_arrow
from featurestore.transforms.windows.columns import polars_type

if TYPE_CHECKING:
    from featurestore.codec.block_layout import BlockLayout
    from featurestore.codec.decoded_blocks import DecodedBlocks
    from featurestore.transforms.windows.schema import WindowFeature

_ROW: Final = "__row"


class NotPlainError(Exception):
    """The data is such that the kernels have to answer."""


class Conditions:
    """The different conditions of some features, each evaluated once a request."""

    def __init__(self, layout: BlockLayout) -> None:
        self._layout = layout
        self._known: dict[Any, int] = {}
        self._expressions: list[pl.Expr] = []

    def __bool__(self) -> bool:
        return bool(self._expressions)

    def of(self, feature: WindowFeature) -> int:
        """The number of the condition that a feature's rows fulfil: -1 for none."""
        aggregation = feature.aggregation
        if aggregation.where is None and aggregation.by is None:
            return -1
        key = (aggregation.where and aggregation.where.data, aggregation.by, repr(feature.category))
        if key not in self._known:
            number = self._known[key] = len(self._expressions)
            conditions = [] if aggregation.where is None else [aggregation.where.polars()]
            if aggregation.by is not None:
                dtype = polars_type(from_arrow(self._layout.codecs[aggregation.by].arrow))
                conditions.append(pl.col(aggregation.by) == pl.lit(feature.category).cast(dtype))
            self._expressions.append(pl.all_horizontal(conditions).fill_null(False).alias(str(number)))
        return self._known[key]

    def kept(self, decoded: DecodedBlocks) -> list[Array]:
        """Of each condition the events for which it holds.

        Raises:
            NotPlainError: one of them fails; the kernels say of which feature it is.
        """
        if not self._expressions:
            return []
        names = dict.fromkeys(name for expression in self._expressions for name in expression.meta.root_names())
        frame = pl.DataFrame({_ROW: decoded.times} | {name: decoded.series(name) for name in names})
        try:
            # With a column of the frame, so that a condition without any is repeated for each row.
            held = frame.select(_ROW, *self._expressions)
        except PolarsError as error:
            raise NotPlainError from error
        return [column.to_numpy() for column in held.get_columns()[1:]]
