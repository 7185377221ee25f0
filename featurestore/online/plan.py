"""What a request for features means in the online store: which keys, which codecs, what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featurestore.codec import RowReader, WholeReader
from featurestore.errors import NotFoundError, RequestError, RetrievalError
from featurestore.features import OnDemandCall, ViewLookup, resolve_features
from featurestore.online.keys import EntityKeys, version_prefix
from featurestore.online.response import AnswerForm
from featurestore.online.serving import ServedVersion, make_codecs, read_serving
from featurestore.online.window_blocks import WindowRead
from featurestore.registry.records import Field
from featurestore.registry.serialization import version_of
from featurestore.transforms.on_demand import on_demand_fields
from featurestore.transforms.views import view_schema

if TYPE_CHECKING:
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import Definitions, FeatureView


@dataclass(frozen=True, slots=True)
class RowReading:
    """Rows of one schema: what reads them, and the place among a group's features of each that they have.

    Args:
        whole: reads those in which all features are there.
    """

    reader: RowReader
    whole: WholeReader
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowGroup:
    """The rows of one key each entity.

    Args:
        suffix: what their key ends with.
        readings: how to read them, by what they begin with, the newest schema first.
        names, fields: the features to take, by their internal names.
    """

    suffix: bytes
    readings: Mapping[bytes, RowReading]
    names: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class ViewRead:
    """One view looked up by one set of columns. ``groups`` is empty where nothing of it is served.

    Args:
        missing: features, with their internal names, that the version that is served does not have.
    """

    lookup: ViewLookup
    keys: EntityKeys
    prefix: bytes
    ttl: int | None
    groups: tuple[RowGroup, ...]
    missing: tuple[tuple[str, Field], ...]
    windows: WindowRead | None = None


@dataclass(frozen=True, slots=True)
class OnlinePlan:
    """A request made definite against what is served."""

    reads: tuple[ViewRead, ...]
    calls: tuple[OnDemandCall, ...]
    request_fields: tuple[Field, ...]
    key_fields: tuple[Field, ...]
    outputs: tuple[tuple[str, str], ...]
    """Each column of the answer with its internal name."""
    form: AnswerForm


def make_plan(catalog: Catalog, definitions: Definitions, features: Any, *, full_feature_names: bool) -> OnlinePlan:
    """The plan of a request.

    Raises:
        RequestError: an unknown service, view or feature, or features that do not go together.
    """
    served: dict[str, ServedVersion | None] = {}

    def view_fields(view: FeatureView) -> Sequence[Field]:
        served[view.name] = read_serving(catalog, view.name).served
        return _fields_of(catalog, definitions, view, served[view.name])

    try:
        resolved = resolve_features(
            definitions,
            features,
            view_fields=view_fields,
            on_demand_fields=on_demand_fields,
            full_feature_names=full_feature_names,
        )
    except (NotFoundError, RetrievalError) as error:
        raise RequestError(error.message, hint=error.hint) from error
    reads = tuple(_read(catalog.project, lookup, served[lookup.view.name]) for lookup in resolved.lookups)
    outputs = tuple((output.name, output.source) for output in resolved.outputs)
    fields = _internal_fields(reads, resolved.on_demand)
    form = AnswerForm(tuple((name, fields[source]) for name, source in outputs))
    return OnlinePlan(reads, resolved.on_demand, resolved.request_fields, resolved.key_fields, outputs, form)


def _internal_fields(reads: Sequence[ViewRead], calls: Sequence[OnDemandCall]) -> dict[str, Field]:
    """What each internal name holds; the version that is served may have another type than the newest definition."""
    fields: dict[str, Field] = {}
    for read in reads:
        fields |= {read.lookup.column(field.name): field for field in read.lookup.features}
        for group in read.groups:
            fields |= zip(group.names, group.fields, strict=True)
    for call in calls:
        fields |= {call.column(field.name): field for field in call.features}
    return fields


def _fields_of(catalog: Catalog, definitions: Definitions, view: FeatureView, served: ServedVersion | None) -> Sequence[Field]:
    if served is not None and served.version == version_of(view):
        return served.fields
    schema = catalog.source_schema(view.source)
    declared = [f for f in view.features or () if isinstance(f, Field)]
    if view.features is not None and len(declared) == len(view.features):
        return declared
    if schema is None:
        raise RequestError(
            f"nothing was ever loaded into {view.source!r}, so the features of {view.name!r} are not known",
            hint=f"ingest into {view.source!r}, then materialize {view.name!r}",
        )
    return view_schema(view, definitions.source(view.source), schema)


def _read(project: str, lookup: ViewLookup, served: ServedVersion | None) -> ViewRead:
    keys = EntityKeys(lookup.view.name, lookup.view.join_keys)
    if served is None or served.join_keys != lookup.view.join_keys:
        return ViewRead(lookup, keys, b"", None, (), tuple((lookup.column(f.name), f) for f in lookup.features))
    wanted = {f.name for f in lookup.features}
    fields = {f.name: f for f in served.fields if f.name in wanted}
    missing = tuple((lookup.column(f.name), f) for f in lookup.features if f.name not in fields)
    prefix = version_prefix(project, lookup.view.name, served.version)
    if served.windows is not None:
        windows = WindowRead.of(served.windows, lookup.features)
        return ViewRead(lookup, keys, prefix, None, (RowGroup(b"", {}),), missing, windows)
    groups = []
    for suffix, schemas in served.groups():
        names = {f.name for schema in schemas for f in schema} & wanted
        if not suffix or names:
            groups.append(_group(lookup, suffix, schemas, [field for name, field in fields.items() if name in names]))
    return ViewRead(lookup, keys, prefix, served.ttl, tuple(groups), missing)


def _group(lookup: ViewLookup, suffix: str, schemas: Sequence[tuple[Field, ...]], fields: Sequence[Field]) -> RowGroup:
    readings = {}
    for header, codec in make_codecs(schemas).items():
        places = tuple(i for i, field in enumerate(fields) if field.name in codec.positions)
        names = [fields[i].name for i in places]
        readings[header] = RowReading(codec.reader(names), codec.whole_reader(names), places)
    columns = tuple(lookup.column(field.name) for field in fields)
    return RowGroup(suffix.encode(), readings, columns, tuple(fields))
