"""Online answers to Feast's clients, over HTTP or gRPC: its names for our features, and one reader for both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from featurestore.api.limits import check_entity_count
from featurestore.errors import RequestError
from featurestore.feast.feast_names import FeastNames
from featurestore.online import OnlineReader
from featurestore.registry.records import Field

if TYPE_CHECKING:
    from featurestore.online.ready_plan import Lookup
    from featurestore.online.response import Column
    from featurestore.online.whole_rows import WholeAnswer
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
        self._by_entity: Mapping[str, str] = {}

    @property
    def names(self) -> FeastNames:
        """Feast's names; of the newest revision, which may go unnoticed as long as it may in online answers."""
        if self._names is None or time.monotonic() - self._checked_at >= _REFRESH_SECONDS:
            newest = self._store.catalog.newest()
            number = newest.number if newest else 0
            if self._names is None or self._revision != number:
                self._names, self._revision = FeastNames.of(self._store.catalog.definitions()), number
                entities = self._names.definitions.entities.values()
                # Feast takes the name of an entity for its join key.
                self._by_entity = {e.name: e.join_keys[0].name for e in entities if len(e.join_keys) == 1}
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
        wanted = self._features(self.names, feature_service, features)
        inputs, key_fields = self.reader.inputs(wanted), self.reader.key_fields(wanted)
        keys, given = self._entities(inputs, key_fields, entities, decode)
        response = await self.reader.aread(wanted, given, full_feature_names=full_feature_names)
        named = None if feature_service or not full_feature_names else features
        return FeastAnswer(keys, _names_of(response.columns, named), list(response.columns.values()), count)

    def prepared(
        self,
        feature_service: str | None,
        features: Sequence[str],
        entities: Mapping[str, list[Any]],
        *,
        full_feature_names: bool,
        decode: Callable[[list[Any], Field], list[Any]],
    ) -> PreparedAnswer | None:
        """As :meth:`look_up`, where nothing but one read is needed; else None."""
        if self._names is None or self._revision != self.reader.known_revision:
            return None
        count = check_entity_count(dict(entities), self._store.config.server.max_entities)
        wanted = self._features(self._names, feature_service, features)
        ready = self.reader.at_hand(wanted, full_feature_names=full_feature_names)
        if ready is None:
            return None
        keys, given = self._entities(ready.inputs, ready.plan.key_fields, entities, decode)
        named = None if feature_service or not full_feature_names else features
        return PreparedAnswer(ready.look_up(given), self.reader, keys, named, count)

    @staticmethod
    def _features(names: FeastNames, feature_service: str | None, features: Sequence[str]) -> str | list[str]:
        if feature_service:
            return names.service(feature_service)
        if not features:
            raise RequestError("no features were asked for", hint='send "features" or "feature_service"')
        return [names.reference(text) for text in features]

    def _entities(
        self,
        inputs: Sequence[Field],
        key_fields: Sequence[Field],
        entities: Mapping[str, list[Any]],
        decode: Callable[[list[Any], Field], list[Any]],
    ) -> tuple[list[str], dict[str, list[Any]]]:
        """The join keys among the columns sent, and all columns decoded; a column that nothing needs is passed by."""
        keys = {field.name for field in key_fields}
        fields = {field.name: field for field in inputs}
        given: dict[str, list[Any]] = {}
        order = []
        for name, values in entities.items():
            field = fields.get(name) or fields.get(self._by_entity.get(name, ""))
            if field is None:
                continue
            given[field.name] = decode(values, field)
            if field.name in keys:
                order.append(name)
        return order, given


@dataclass(frozen=True, slots=True)
class PreparedAnswer:
    """A request that only needs its rows read.

    Args:
        named: the references that name the features of the answer, where their own names do not.
    """

    lookup: Lookup
    reader: OnlineReader
    join_keys: list[str]
    named: Sequence[str] | None
    count: int

    def answer(self, values: Sequence[bytes | None]) -> FeastAnswer | None:
        """The answer from the values of the look-up's keys; None where something else is served by now."""
        now = self.reader.now()
        response = self.lookup.answer(values, now, now)
        if response is None:
            return None
        return FeastAnswer(self.join_keys, _names_of(response.columns, self.named), list(response.columns.values()), self.count)

    def whole_answer(self, values: Sequence[bytes | None]) -> WholeAnswer | None:
        """The answer where nothing is missing in it; None where :meth:`answer` has to say."""
        return self.lookup.whole_answer(values, self.reader.now())

    @property
    def names(self) -> list[str]:
        """What the features are called in the answer."""
        return _names_of([name for name, _ in self.lookup.form.fields], self.named)


def _names_of(columns: Iterable[str], named: Sequence[str] | None) -> list[str]:
    if named is None:
        return list(columns)
    return [text.replace(":", "__", 1) for text in dict.fromkeys(named)]
