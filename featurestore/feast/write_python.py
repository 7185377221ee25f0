"""Definitions as the Python file that a person would have written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from featurestore.feast.convert import Imported
from featurestore.feast.function_texts import POLARS, FunctionText
from featurestore.registry.aggregations import Aggregation
from featurestore.registry.definitions import (
    Definition,
    Entity,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
    RequestSource,
)
from featurestore.registry.records import Field, Metadata, SourceCode
from featurestore.registry.types import DataType, Decimal, List, Primitive, Struct, Vector
from featurestore.time import format_duration

_WIDTH: Final = 110
_SUFFIXES: Final = {Entity: "_entity", EventSource: "_source", FeatureService: "_service"}
_PUBLIC: Final = (
    "Aggregation", "Entity", "EventSource", "FeatureReference", "FeatureService", "FeatureView", "Field", "RequestSource",
    "feature_view", "on_demand_feature_view",
)  # fmt: skip
_RESERVED: Final = frozenset({*_PUBLIC, "pl", "pd", "np", "t"})


def write_python(imported: Imported) -> str:
    """The text of a definitions file that gives these definitions."""
    return _Writer(imported).text()


class _Writer:
    def __init__(self, imported: Imported) -> None:
        self._imported = imported
        self._definitions = imported.definitions
        self._used: set[str] = set()
        self._imports: set[str] = set()
        self._helpers: dict[str, None] = {}
        self._variables = self._choose_variables()

    def text(self) -> str:
        d = self._definitions
        sections = [
            ("entities", [self._entity(e) for e in d.entities.values()]),
            ("sources", [self._source(s) for s in d.sources.values()]),
            ("feature views", [self._view(v) for v in d.views.values()]),
            ("on-demand feature views", [self._on_demand(v) for v in d.on_demand_views.values()]),
            ("feature services", [self._service(s) for s in d.services.values()]),
        ]
        body = [
            f"# -- {title} {'-' * (_WIDTH - len(title) - 6)}\n\n" + "\n\n".join(items) for title, items in sections if items
        ]
        return "\n\n\n".join([self._head(), *body]) + "\n"

    def _head(self) -> str:
        project = self._imported.project
        lines = [f'"""The features of {project}, imported from Feast."""', "", "from __future__ import annotations", ""]
        if self._imports:
            lines += [*sorted(self._imports, key=lambda line: (line.startswith("from "), line)), ""]
        names = ", ".join(sorted(self._used, key=str.lower))
        lines.append(
            _listed("from featurestore import ", sorted(self._used, key=str.lower), "")
            if len(names) < 88
            else _listed("from featurestore import (", names.split(", "), ")")
        )
        lines.append("from featurestore import types as t")
        return "\n\n\n".join(["\n".join(lines), *self._helpers])

    def _choose_variables(self) -> dict[int, str]:
        """A module-level name for each definition; views keep their own, others give way."""
        d, chosen, taken = self._definitions, {}, set(_RESERVED)
        groups: Sequence[Iterable[Definition]] = (
            d.views.values(), d.on_demand_views.values(), d.entities.values(), d.sources.values(), d.services.values(),
        )  # fmt: skip
        for definition in (item for group in groups for item in group):
            name = definition.name
            while name in taken:
                name += _SUFFIXES.get(type(definition), "_view")
            taken.add(name)
            chosen[id(definition)] = name
        return chosen

    def _variable(self, definition: Definition) -> str:
        return self._variables[id(definition)]

    # -- one definition --------------------------------------------------------------------------------------------------

    def _entity(self, entity: Entity) -> str:
        keys = ", ".join(f"{_text(key.name)}: {_type(key.type)}" for key in entity.join_keys)
        return self._assign(entity, "Entity", [_text(entity.name), f"join_keys={{{keys}}}", *_metadata(entity.metadata)])

    def _source(self, source: EventSource) -> str:
        arguments = [_text(source.name), f"event_time={_text(source.event_time)}"]
        if source.arrival_time:
            arguments.append(f"arrival_time={_text(source.arrival_time)}")
        if source.prepare:
            arguments.append(f"prepare={source.prepare.text}")
        return self._assign(source, "EventSource", [*arguments, *_metadata(source.metadata)])

    def _view(self, view: FeatureView) -> str:
        by_name = {e.name: e for e in self._definitions.entities.values()}
        source = next(s for s in self._definitions.sources.values() if s.name == view.source)
        arguments = [
            f"entities=[{', '.join(self._variable(by_name[e.name]) for e in view.entities)}]",
            f"source={self._variable(source)}",
        ]
        if view.features:
            arguments.append(f"features={self._fields(view.features)}")
        if view.aggregations:
            arguments.append(_listed("aggregations=[", [self._aggregation(a) for a in view.aggregations], "]"))
        if view.derived:
            self._imports.add(POLARS)
            columns = {name: _column_of(expression.data) for name, expression in view.derived}
            arguments.append(_listed("derived={", [f"{_text(n)}: pl.col({_text(c)})" for n, c in columns.items()], "}"))
        if view.ttl is not None:
            arguments.append(f"ttl={_text(format_duration(view.ttl))}")
        if not view.online:
            arguments.append("online=False")
        arguments += _metadata(view.metadata)
        if view.transform is None:
            return self._assign(view, "FeatureView", [_text(view.name), *arguments])
        return self._decorated("feature_view", view, view.transform, arguments)

    def _on_demand(self, view: OnDemandFeatureView) -> str:
        sources = [self._request(s) if isinstance(s, RequestSource) else self._reference(s) for s in view.sources]
        arguments = [_listed("sources=[", sources, "]")]
        if view.features:
            arguments.append(f"features={self._fields(view.features)}")
        return self._decorated("on_demand_feature_view", view, view.transform, [*arguments, *_metadata(view.metadata)])

    def _service(self, service: FeatureService) -> str:
        features = _listed("features=[", [self._reference(r) for r in service.features], "]")
        return self._assign(service, "FeatureService", [_text(service.name), features, *_metadata(service.metadata)])

    # -- parts -----------------------------------------------------------------------------------------------------------

    def _decorated(
        self, decorator: str, view: FeatureView | OnDemandFeatureView, code: SourceCode, arguments: list[str]
    ) -> str:
        self._used.add(decorator)
        self._imports.add(POLARS)
        function = self._imported.functions[view.name]
        self._bring(function)
        variable = self._variable(view)
        if variable != view.name:
            arguments = [f"name={_text(view.name)}", *arguments]
        text = code.text.replace(f"def {code.name}(", f"def {variable}(", 1).rstrip()
        return f"\n{function.text}\n\n\n@{_call(decorator, arguments)}\n{text}"

    def _bring(self, function: FunctionText) -> None:
        self._imports.update(function.imports)
        self._helpers.update(dict.fromkeys(function.helpers))

    def _assign(self, definition: Definition, cls: str, arguments: list[str]) -> str:
        self._used.add(cls)
        return f"{self._variable(definition)} = {_call(cls, arguments)}"

    def _fields(self, fields: Sequence[Field | str]) -> str:
        typed = [f for f in fields if isinstance(f, Field)]
        if not any(f.description for f in typed):
            return _listed("{", [f"{_text(f.name)}: {_type(f.type)}" for f in typed], "}")
        self._used.add("Field")
        return _listed("[", [_field(f) for f in typed], "]")

    def _request(self, source: RequestSource) -> str:
        self._used.add("RequestSource")
        return f"RequestSource({self._fields(source.schema)})"

    def _aggregation(self, aggregation: Aggregation) -> str:
        self._used.add("Aggregation")
        windows = ", ".join(_text(format_duration(w.width)) for w in aggregation.windows if w.width)
        column = None if aggregation.column is None else _text(aggregation.column)
        return f"Aggregation({column}, {_text(aggregation.function)}{f', windows=[{windows}]' if windows else ''})"

    def _reference(self, reference: FeatureReference) -> str:
        views: list[FeatureView | OnDemandFeatureView] = [
            *self._definitions.views.values(),
            *self._definitions.on_demand_views.values(),
        ]
        text = self._variable(next(view for view in views if view.name == reference.view))
        if reference.alias and not reference.join_key_map:
            self._used.add("FeatureReference")
            return f"FeatureReference({_text(reference.view)}, {reference.features!r}, alias={_text(reference.alias)})"
        if reference.join_key_map:
            alias = f", alias={_text(reference.alias)}" if reference.alias else ""
            text += f".with_join_keys({_mapping(reference.join_key_map)}{alias})"
        if reference.features:
            text += f"[{', '.join(map(_text, reference.features))}]"
        return text


def _metadata(metadata: Metadata) -> list[str]:
    made = []
    if metadata.description:
        made.append(f"description={_text(metadata.description)}")
    if metadata.owner:
        made.append(f"owner={_text(metadata.owner)}")
    if metadata.tags:
        made.append(f"tags={_mapping(metadata.tags)}")
    return made


def _field(field: Field) -> str:
    description = f", description={_text(field.description)}" if field.description else ""
    return f"Field({_text(field.name)}, {_type(field.type)}{description})"


def _type(data_type: DataType) -> str:
    match data_type:
        case Primitive(name):
            return f"t.{name}"
        case Decimal(precision, scale):
            return f"t.Decimal({precision}, {scale})"
        case List(inner):
            return f"t.List({_type(inner)})"
        case Vector(inner, size):
            return f"t.Vector({_type(inner)}, {size})"
        case Struct():
            return f"t.Struct({{{', '.join(f'{_text(name)}: {_type(inner)}' for name, inner in data_type.fields)}}})"
    raise TypeError(data_type)


def _column_of(data: str) -> str:
    """The column that an expression ``pl.col(name)`` names."""
    found: Mapping[str, str] = json.loads(data)
    return found["Column"]


def _text(value: str) -> str:
    """A text as people write it in Python: in double quotes where it can be."""
    return json.dumps(value) if value.isprintable() and value.isascii() and "\\" not in value else repr(value)


def _mapping(pairs: Sequence[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{_text(key)}: {_text(value)}' for key, value in pairs)}}}"


def _listed(front: str, items: Sequence[str], back: str) -> str:
    line = f"{front}{', '.join(items)}{back}"
    if len(line) < _WIDTH - 16 and "\n" not in line:
        return line
    return "\n".join([front, *(_indented(item) + "," for item in items), back])


def _call(function: str, arguments: Sequence[str]) -> str:
    return _listed(f"{function}(", arguments, ")")


def _indented(text: str) -> str:
    return "\n".join("    " + line for line in text.split("\n"))
