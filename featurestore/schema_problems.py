"""Transforms and expectations that cannot work on the columns that are known, found when definitions are planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from featurestore.errors import DefinitionError, FeatureStoreError
from featurestore.registry.aggregation_checks import aggregation_problems, window_problems
from featurestore.registry.checks import problem, source_columns

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.registry.definitions import Definitions, EventSource, FeatureView


def schema_problems(definitions: Definitions, source_schemas: Mapping[str, pa.Schema]) -> list[DefinitionError]:
    """What is wrong with transforms and expectations, each with the file and line of its definition.

    The columns of a source are known once it declares them or its schema is frozen; those of a view once those of its source
    are: its transform runs over no rows. Until then only the types, kwargs and policies of expectations are checked.

    Args:
        definitions: with living functions.
        source_schemas: frozen schemas by source.
    """
    return [*_source_problems(definitions, source_schemas), *_view_problems(definitions, source_schemas)]


def _source_problems(definitions: Definitions, source_schemas: Mapping[str, pa.Schema]) -> Iterator[DefinitionError]:
    for source in definitions.sources.values():
        yield from _expectation_problems(source, _source_columns(source, source_schemas))


def _view_problems(definitions: Definitions, source_schemas: Mapping[str, pa.Schema]) -> Iterator[DefinitionError]:
    for view in definitions.views.values():
        source = definitions.sources.get(view.source)
        read = None if source is None else _source_columns(source, source_schemas)
        columns = None
        if source is not None and read is not None and (view.transform is not None or view.expectations or view.aggregations):
            try:
                columns = _view_columns(view, source, read)
            except FeatureStoreError as error:
                if view.aggregations and isinstance(error, DefinitionError):
                    if not _is_known(view, source, source_schemas):
                        yield error
                elif view.transform is not None and _is_certain(error):
                    why = error.message.removeprefix(f"feature view {view.name!r}: ")
                    yield problem(view, f"does not work on the columns of source {source.name!r}: {why}", error.hint)
        yield from _expectation_problems(view, columns)


def _expectation_problems(item: EventSource | FeatureView, columns: pa.Schema | None) -> Iterator[DefinitionError]:
    if not item.expectations:
        return
    from featurestore.validation.types import check_expectation

    for expectation in item.expectations:
        try:
            check_expectation(expectation, columns)
        except DefinitionError as error:
            yield problem(item, f"has an expectation that cannot be judged: {error.message}", error.hint)


def _source_columns(source: EventSource, source_schemas: Mapping[str, pa.Schema]) -> pa.Schema | None:
    declared = [(field.name, field.type) for field in source.schema]
    return source_schemas.get(source.name) or (_arrow(declared) if declared else None)


def _view_columns(view: FeatureView, source: EventSource, read: pa.Schema) -> pa.Schema:
    from featurestore.registry.types import Timestamp
    from featurestore.transforms.views import compute_view, empty_events, view_schema

    if view.aggregations:
        features = view_schema(view, source, read)
    else:  # declared features are held against the transform, too
        features = compute_view(view, source, empty_events(read), engine="cpu").features
    keys = [(key.name, key.type) for key in view.join_keys]
    return _arrow([*keys, (source.event_time, Timestamp), *((field.name, field.type) for field in features)])


def _is_known(view: FeatureView, source: EventSource, source_schemas: Mapping[str, pa.Schema]) -> bool:
    """Whether the registry says already what is wrong with a view of windows: what is seen without its transform's output."""
    columns = source_columns(source, source_schemas) if view.transform is None else None
    return bool(aggregation_problems(view.aggregations, columns) or window_problems(view))


def _is_certain(error: FeatureStoreError) -> bool:
    """Whether rows would change nothing: a function of the user may fail on its own only because there are none."""
    from polars.exceptions import PolarsError

    return error.__cause__ is None or isinstance(error.__cause__, FeatureStoreError | PolarsError)


def _arrow(columns: list[Any]) -> pa.Schema:
    import pyarrow as pa

    from featurestore.registry.types import to_arrow

    return pa.schema([(name, to_arrow(data_type)) for name, data_type in columns])
