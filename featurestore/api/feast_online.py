"""Online answers to Feast's clients, over HTTP or gRPC: its names for our features, and one reader for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from featurestore.api.limits import check_entity_count
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.online import OnlineReader
from featurestore.registry.records import Field

if TYPE_CHECKING:
    from featurestore.online.response import Column
    from featurestore.store import FeatureStore

_REFRESH_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class FeastAnswer:
    """An answer in Feast's order: join keys as they were called in the request, then features.

    Args:
        keys: the columns of the request that are join keys.
        names: of the features.
        count: how many entities.
    """

    keys: list[str]
    names: list[str]
    columns: list[Column]
    count: int


class FeastOnline:
    """The reader and the names of one process, kept with the application. Safe to share between requests.

    Args:
        store: whose features.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.reader = OnlineReader(store, refresh_seconds=_REFRESH_SECONDS)
        self._names: FeastNames | None = None
        self._revision, self._checked_at = -1, 0.0

    @property
    def names(self) -> FeastNames:
        """Feast's names; of the newest revision, which may go unnoticed as long as it may in online answers."""
        if self._names is None or time.monotonic() - self._checked_at >= _REFRESH_SECONDS:
            newest = self._store.catalog.newest()
            number = newest.number if newest else 0
            if self._names is None or self._revision != number:
                self._names, self._revision = FeastNames.of(self._store.catalog.definitions()), number
            self._checked_at = time.monotonic()
        return self._names

    async def look_up(
        self,
        feature_service: str | None,
        features: Sequence[str],
        entities: Mapping[str, list[Any]],
        *,
        full_feature_names: bool,
        decode: Callable[[list[Any], Field], list[Any]],
    ) -> FeastAnswer:
        """The newest features of each entity.

        Args:
            features: references ``view:feature``, where no service is named.
            decode: what makes values of a column from what the caller sent.

        Raises:
            RequestError: unknown features, a join key that is missing, too many entities.
        """
        count = check_entity_count(dict(entities), self._store.config.server.max_entities)
        wanted = self._features(feature_service, features)
        keys, given = self._entities(wanted, entities, decode)
        answer = await self.reader.aread(wanted, given, full_feature_names=full_feature_names)
        names = list(answer.columns)
        if full_feature_names and not feature_service:
            names = [text.replace(":", "__", 1) for text in dict.fromkeys(features)]
        return FeastAnswer(keys, names, list(answer.columns.values()), count)

    def _features(self, feature_service: str | None, features: Sequence[str]) -> str | list[str]:
        if feature_service:
            return self.names.service(feature_service)
        if not features:
            raise RequestError("no features were asked for", hint='send "features" or "feature_service"')
        return [self.names.reference(text) for text in features]

    def _entities(
        self, features: str | list[str], entities: Mapping[str, list[Any]], decode: Callable[[list[Any], Field], list[Any]]
    ) -> tuple[list[str], dict[str, list[Any]]]:
        """The join keys among the columns sent, and all columns decoded; a column that nothing needs is passed by."""
        keys = {field.name: field for field in self.reader.key_fields(features)}
        inputs = {field.name: field for field in self.reader.inputs(features)}
        by_entity = {e.name: e.join_keys[0].name for e in self.names.definitions.entities.values() if len(e.join_keys) == 1}
        given: dict[str, list[Any]] = {}
        order = []
        for name, values in entities.items():
            field = inputs.get(name) or inputs.get(by_entity.get(name, ""))
            if field is None:
                continue
            given[field.name] = decode(values, field)
            if field.name in keys:
                order.append(name)
        return order, given
