"""What a request for features means: which views are looked up by which columns, and what comes out under which name.

Shared by historical retrieval and online look-ups, so that one request cannot mean two things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias, TypeVar

from featurestore.errors import NotFoundError, RetrievalError, did_you_mean
from featurestore.registry.definitions import (
    Definitions,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    as_reference,
)
from featurestore.registry.records import Field
from featurestore.registry.types import DataType

ViewFields: TypeAlias = Callable[[FeatureView], Sequence[Field]]
"""All features of a view, typed."""
OnDemandFields: TypeAlias = Callable[[OnDemandFeatureView, Sequence[Field]], Sequence[Field]]
"""All features of an on-demand view, typed, given the columns that its function gets."""

_REFERENCE: Final = re.compile(r"(?:(\w+)=)?(\w+)(?:\(([^()]*=[^()]*)\))?(?::(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ViewLookup:
    """One view looked up by one set of columns.

    Args:
        name: the alias, or else the view's name; unique within a request.
        features: the features needed, in the view's own order.
        key_columns: the column that holds each join key of the view, in the order of its join keys.
    """

    name: str
    view: FeatureView
    features: tuple[Field, ...]
    key_columns: tuple[str, ...]

    def column(self, feature: str) -> str:
        """The internal name of a feature, unique within a request."""
        return internal_name(self.name, feature)


@dataclass(frozen=True, slots=True)
class OnDemandCall:
    """One call of an on-demand view's function.

    Args:
        inputs: the columns of the frame that the function gets: its name there, and the internal name (or, of a request
            column, the plain one) that it is read from.
        features: the features needed.
    """

    name: str
    view: OnDemandFeatureView
    inputs: tuple[tuple[str, str], ...]
    features: tuple[Field, ...]

    def column(self, feature: str) -> str:
        """The internal name of a feature, unique within a request."""
        return internal_name(self.name, feature)


@dataclass(frozen=True, slots=True)
class OutputColumn:
    """A column of the answer: its name there, and where it comes from."""

    name: str
    owner: str
    feature: Field

    @property
    def source(self) -> str:
        """The internal name that it is read from."""
        return internal_name(self.owner, self.feature.name)


@dataclass(frozen=True, slots=True)
class ResolvedFeatures:
    """A request for features, made definite.

    Args:
        lookups: the views to look up.
        on_demand: the functions to call, in an order in which each finds its inputs.
        request_fields: what the caller must bring beside the keys.
        key_fields: the columns that hold join keys, typed.
        outputs: the columns of the answer, in the order asked for.
    """

    lookups: tuple[ViewLookup, ...]
    on_demand: tuple[OnDemandCall, ...]
    request_fields: tuple[Field, ...]
    key_fields: tuple[Field, ...]
    outputs: tuple[OutputColumn, ...]


def internal_name(owner: str, feature: str) -> str:
    # A view's name is an identifier, so the first colon always ends it: no two pairs share a name.
    return f"{owner}:{feature}"


def resolve_features(
    definitions: Definitions,
    features: Any,
    *,
    view_fields: ViewFields,
    on_demand_fields: OnDemandFields,
    full_feature_names: bool = False,
    join_key_map: Mapping[str, str] | None = None,
) -> ResolvedFeatures:
    """Make a request for features definite.

    Args:
        features: a service or its name; a view, a reference, the text ``"view"`` or ``"view:feature"``; or several of these.
        full_feature_names: name columns ``view__feature`` (``alias__feature``) in place of ``feature``.
        join_key_map: from join key to the column that holds it, for references that do not say so themselves.

    Raises:
        NotFoundError: an unknown service, view or feature.
        RetrievalError: two columns of one name, or one name for two different look-ups.
    """
    request = _Request(definitions, view_fields, on_demand_fields, dict(join_key_map or {}))
    outputs = []
    for reference in references_of(definitions, features):
        owner, fields = request.add(reference)
        for field in fields:
            name = f"{owner}__{field.name}" if full_feature_names else field.name
            outputs.append(OutputColumn(name, owner, field))
    _check_unused_mapping(request, join_key_map)
    result = request.result(_distinct(outputs))
    _check_names(result)
    return result


def references_of(definitions: Definitions, features: Any) -> tuple[FeatureReference, ...]:
    """The references that a request lists, services unfolded."""
    if isinstance(features, FeatureService):
        return features.features
    if isinstance(features, str):
        if features in definitions.services:
            return definitions.services[features].features
        reference = parse_reference(features)
        if reference.view not in definitions.views and reference.view not in definitions.on_demand_views:
            known = [*definitions.services, *definitions.views, *definitions.on_demand_views]
            raise NotFoundError("feature service or view", reference.view, known)
        return (reference,)
    if isinstance(features, Sequence):
        if not features:
            raise RetrievalError(
                "no features were asked for", hint='name a service, or views: ["plane_delays", "weather:wind"]'
            )
        return tuple(reference for item in features for reference in references_of(definitions, item))
    return (as_reference(features),)


def reference_text(reference: FeatureReference) -> str:
    """A reference as a text that :func:`references_of` reads back.

    >>> reference_text(FeatureReference("weather", ("wind", "visib"), "at_dest", (("origin", "dest"),)))
    'at_dest=weather(origin=dest):wind,visib'
    """
    alias = f"{reference.alias}=" if reference.alias else ""
    keys = ",".join(f"{key}={column}" for key, column in reference.join_key_map)
    features = f":{','.join(reference.features)}" if reference.features else ""
    return f"{alias}{reference.view}{f'({keys})' if keys else ''}{features}"


def parse_reference(text: str) -> FeatureReference:
    """The reference of a text: ``view``, ``view:feature``, ``view:one,two``; with keys ``alias=view(key=column):feature``.

    >>> parse_reference("weather:wind")
    FeatureReference(view='weather', features=('wind',), alias=None, join_key_map=())
    """
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise RetrievalError(
            f"no feature reference: {text!r}", hint='write "view", "view:feature" or "alias=view(key=column):feature"'
        )
    alias, view, keys, features = match.groups()
    pairs = [pair.partition("=")[::2] for pair in keys.split(",")] if keys else []
    return FeatureReference(view, tuple(features.split(",")) if features else None, alias, tuple(sorted(pairs)))


_Owner = TypeVar("_Owner", ViewLookup, OnDemandCall)


class _Request:
    """The look-ups of a request while it is being read; asking twice for one thing looks it up once."""

    def __init__(
        self,
        definitions: Definitions,
        view_fields: ViewFields,
        on_demand_fields: OnDemandFields,
        join_key_map: dict[str, str],
    ) -> None:
        self._definitions = definitions
        self._view_fields = view_fields
        self._on_demand_fields = on_demand_fields
        self._join_key_map = join_key_map
        self._owners: dict[str, ViewLookup | OnDemandCall] = {}
        self._all_fields: dict[str, tuple[Field, ...]] = {}

    def add(self, reference: FeatureReference) -> tuple[str, tuple[Field, ...]]:
        """Take a reference in; the name that owns its features, and those, in the order asked for."""
        view = self._definitions.any_view(reference.view)
        owner = self._add_lookup(reference, view) if isinstance(view, FeatureView) else self._add_call(reference, view)
        known = {field.name: field for field in self._all_fields[owner.name]}
        for name in reference.features or ():
            if name not in known:
                raise NotFoundError(f"feature of {reference.view!r}", name, known)
        wanted = tuple(known[name] for name in reference.features or known)
        names = {field.name for field in (*owner.features, *wanted)}
        merged = tuple(field for field in known.values() if field.name in names)
        self._owners[owner.name] = replace(owner, features=merged)
        return owner.name, wanted

    def _add_lookup(self, reference: FeatureReference, view: FeatureView) -> ViewLookup:
        own = dict(reference.join_key_map)
        join_keys = [key.name for key in view.join_keys]
        for key in own:
            if key not in join_keys:
                hint = did_you_mean(key, join_keys)
                raise RetrievalError(f"feature view {view.name!r} has no join key {key!r} to map", hint=hint)
        columns = tuple(own.get(key, self._join_key_map.get(key, key)) for key in join_keys)
        lookup = ViewLookup(reference.name, view, (), columns)
        if lookup.name not in self._all_fields:
            self._all_fields[lookup.name] = tuple(self._view_fields(view))
        return self._same(lookup, lambda other: other.view.name == view.name and other.key_columns == columns)

    def _add_call(self, reference: FeatureReference, view: OnDemandFeatureView) -> OnDemandCall:
        if reference.join_key_map:
            raise RetrievalError(
                f"on-demand feature view {view.name!r} has no join keys of its own to map",
                hint="map the keys where it names its sources: sources=[view.with_join_keys(...)]",
            )
        inputs: dict[str, str] = {}
        fields: list[Field] = []
        for source in view.references:
            owner, wanted = self.add(source)
            for field in wanted:
                name = f"{source.alias}__{field.name}" if source.alias else field.name
                self._add_input(view, inputs, name, internal_name(owner, field.name))
                fields.append(Field(name, field.type))
        for field in view.request_fields:
            self._add_input(view, inputs, field.name, field.name)
            fields.append(field)
        call = OnDemandCall(reference.name, view, tuple(inputs.items()), ())
        if call.name not in self._all_fields:
            self._all_fields[call.name] = tuple(self._on_demand_fields(view, fields))
        return self._same(call, lambda other: other.view.name == view.name)

    @staticmethod
    def _add_input(view: OnDemandFeatureView, inputs: dict[str, str], name: str, source: str) -> None:
        if inputs.setdefault(name, source) != source:
            raise RetrievalError(
                f"on-demand feature view {view.name!r} gets two different columns named {name!r}",
                hint='tell them apart: sources=[view.with_join_keys({}, alias="other")] names them other__feature',
            )

    def _same(self, new: _Owner, matches: Callable[[_Owner], bool]) -> _Owner:
        """The owner of that name that is there already, or the new one."""
        other = self._owners.get(new.name)
        if other is None:
            return new
        if not isinstance(other, type(new)) or not matches(other):
            raise RetrievalError(
                f"{new.name!r} stands for two different look-ups in one request",
                hint=f'give one of them an alias: view.with_join_keys(..., alias="other_{new.name}")',
            )
        return other

    def result(self, outputs: tuple[OutputColumn, ...]) -> ResolvedFeatures:
        lookups = tuple(owner for owner in self._owners.values() if isinstance(owner, ViewLookup))
        calls = tuple(owner for owner in self._owners.values() if isinstance(owner, OnDemandCall))
        keys = [
            Field(column, key.type)
            for lookup in lookups
            for key, column in zip(lookup.view.join_keys, lookup.key_columns, strict=True)
        ]
        request = [field for call in calls for field in call.view.request_fields]
        return ResolvedFeatures(lookups, calls, _one_type(request), _one_type(keys), outputs)


def _distinct(outputs: Iterable[OutputColumn]) -> tuple[OutputColumn, ...]:
    """Without repetition of the very same feature; two features of one name are an error."""
    seen: dict[str, OutputColumn] = {}
    for output in outputs:
        other = seen.setdefault(output.name, output)
        if other != output:
            raise RetrievalError(
                f"two features would be named {output.name!r}: of {other.owner!r} and of {output.owner!r}",
                hint="ask with full_feature_names=True, or leave one of them out",
            )
    return tuple(seen.values())


def _one_type(fields: Iterable[Field]) -> tuple[Field, ...]:
    seen: dict[str, DataType] = {}
    for field in fields:
        other = seen.setdefault(field.name, field.type)
        if other != field.type:
            raise RetrievalError(
                f"column {field.name!r} would have to be {other!r} and {field.type!r} at once",
                hint="map one of the join keys to another column: view.with_join_keys({...})",
            )
    return tuple(Field(name, data_type) for name, data_type in seen.items())


def _check_unused_mapping(request: _Request, join_key_map: Mapping[str, str] | None) -> None:
    keys = {key.name for owner in request._owners.values() if isinstance(owner, ViewLookup) for key in owner.view.join_keys}
    for key in join_key_map or {}:
        if key not in keys:
            raise RetrievalError(
                f"join_key_map names {key!r}, which is no join key of these views", hint=did_you_mean(key, keys)
            )


def _check_names(resolved: ResolvedFeatures) -> None:
    keys = {field.name for field in resolved.key_fields}
    for output in resolved.outputs:
        if output.name in keys:
            raise RetrievalError(
                f"feature {output.name!r} of {output.owner!r} has the name of a key column",
                hint="ask with full_feature_names=True",
            )
