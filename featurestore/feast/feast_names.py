"""What Feast's clients call things: names that an import had to change, and push sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from featurestore.errors import NotFoundError, RequestError
from featurestore.feast.convert import FEAST_NAME
from featurestore.feast.convert_sources import PUSH_SOURCE
from featurestore.registry.definitions import Definition, Definitions, FeatureView, OnDemandFeatureView


@dataclass(frozen=True, slots=True)
class FeastNames:
    """Feast's names of our definitions. What was never imported is called the same in both."""

    definitions: Definitions
    views: Mapping[str, str]
    services: Mapping[str, str]
    push_sources: Mapping[str, str]

    @classmethod
    def of(cls, definitions: Definitions) -> FeastNames:
        """The names that the definitions' tags tell."""
        views: dict[str, FeatureView | OnDemandFeatureView] = {**definitions.views, **definitions.on_demand_views}
        pushes = {
            push: source.name
            for source in definitions.sources.values()
            for push in _tag(source, PUSH_SOURCE).split(",")
            if push
        }
        return cls(definitions, _by_feast_name(views), _by_feast_name(definitions.services), pushes)

    def reference(self, text: str) -> str:
        """A reference ``view:feature`` of Feast's as one of ours.

        Raises:
            RequestError: it is none.
        """
        view, colon, feature = text.partition(":")
        if not colon or not feature:
            raise RequestError(f"no feature reference: {text!r}", hint='Feast writes "view:feature"')
        view, _, version = view.partition("@")
        if version and version != "latest":
            raise RequestError(f"{text!r} asks for a version of a view", hint="the newest applied version is served")
        return f"{self.views.get(view, view)}:{feature}"

    def service(self, name: str) -> str:
        """Our name of a feature service."""
        return self.services.get(name, name)

    def source_of_push(self, name: str) -> str:
        """The source that a push source feeds.

        Raises:
            NotFoundError: none is known by that name.
        """
        found = self.push_sources.get(name, name)
        if found not in self.definitions.sources:
            raise NotFoundError("push source", name, [*self.push_sources, *self.definitions.sources])
        return found

    def view(self, name: str) -> FeatureView:
        """A feature view.

        Raises:
            NotFoundError: no such view.
        """
        return self.definitions.view(self.views.get(name, name))


def _by_feast_name(definitions: Mapping[str, Definition]) -> dict[str, str]:
    return {feast: name for name, definition in definitions.items() if (feast := _tag(definition, FEAST_NAME))}


def _tag(definition: Definition, name: str) -> str:
    return dict(definition.metadata.tags).get(name, "")
