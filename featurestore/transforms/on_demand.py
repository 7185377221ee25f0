"""Functions of the moment of asking: one function, run on a batch offline and on a request online."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from featurestore.errors import TransformError, did_you_mean
from featurestore.registry.records import Field
from featurestore.transforms.casts import cast_exactly, polars_type, type_of
from featurestore.transforms.views import named

if TYPE_CHECKING:
    from featurestore.registry.definitions import OnDemandFeatureView


def on_demand_fields(view: OnDemandFeatureView, inputs: Sequence[Field]) -> tuple[Field, ...]:
    """The features of an on-demand view: declared, or found by running its function on no rows.

    Raises:
        TransformError: it cannot run on no rows.
    """
    if view.features:
        return view.features
    nothing = pl.DataFrame(schema={field.name: polars_type(field.type) for field in inputs})
    try:
        return _fields(view, nothing, _call(view, nothing))
    except TransformError as error:
        raise TransformError(
            view.name,
            f"its features cannot be found by running it on no rows ({error.message})",
            hint="declare them: features={...}",
        ) from error


def run_on_demand(view: OnDemandFeatureView, frame: pl.DataFrame) -> pl.DataFrame:
    """The features of an on-demand view, row for row.

    Args:
        frame: its inputs: the features of its sources and the request's columns.

    Returns:
        The declared features in their declared types; without a declaration, the columns that are not inputs.

    Raises:
        TransformError: the function fails, changes the number of rows, or lacks a feature or gives it in another type.
    """
    result = _call(view, frame)
    if result.height != frame.height:
        raise TransformError(
            view.name,
            f"its function made {result.height} rows of {frame.height}",
            hint="it answers row for row: compute with with_columns or select, do not filter, group or explode",
        )
    fields = view.features or _fields(view, frame, result)
    columns = []
    with named(view.name):
        for field in fields:
            if field.name not in result.columns:
                hint = did_you_mean(field.name, result.columns)
                raise TransformError(view.name, f"its function gave no feature {field.name!r}", hint=hint)
            columns.append(cast_exactly(result[field.name], field.type))
    return pl.DataFrame(columns)


def _call(view: OnDemandFeatureView, frame: pl.DataFrame) -> pl.DataFrame:
    with named(view.name):
        result = view.transform(frame)
        if isinstance(result, pl.LazyFrame):
            result = result.collect()
    if not isinstance(result, pl.DataFrame):
        raise TransformError(
            view.name, f"its function returned {type(result).__name__}", hint="return a polars.DataFrame with its features"
        )
    return result


def _fields(view: OnDemandFeatureView, frame: pl.DataFrame, result: pl.DataFrame) -> tuple[Field, ...]:
    names = [name for name in result.columns if name not in frame.columns]
    if not names:
        raise TransformError(view.name, "its function added no column", hint="name its features: rows.select(age=...)")
    with named(view.name):
        return tuple(Field(name, type_of(result.schema[name], name)) for name in names)
