"""Look-ups: one read of the store for all views and entities of a request, then statuses, values and on-demand functions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from featurestore.errors import NotFoundError, OnlineStoreError, RequestError, RetrievalError
from featurestore.features import references_of
from featurestore.online.keys import as_instant, generation_key
from featurestore.online.plan import make_plan
from featurestore.online.ready_plan import ReadyPlan
from featurestore.online.response import OnlineResponse
from featurestore.project import Project
from featurestore.time import to_micros

if TYPE_CHECKING:
    from featurestore.registry.definitions import Definitions
    from featurestore.registry.records import Field

ATTEMPTS: Final = 5
_MOST_PLANS: Final = 1_000
"""So many kinds of requests are remembered; callers may send any list of features."""


class OnlineReader:
    """Answers online requests of one project. Safe to share between threads and event loops.

    The plan of a request is made once per registry revision. That another version of a view is served is seen at once, by
    a token that is read together with the rows; that another revision was applied, by asking the catalog.

    Args:
        project: whose features.
        refresh_seconds: how long the newest revision may go unnoticed; 0 asks the catalog with every request.
        timer: seconds of a clock that never goes back.
    """

    def __init__(self, project: Project, *, refresh_seconds: float = 0.0, timer: Callable[[], float] = time.monotonic) -> None:
        self._project = project
        self._refresh_seconds = refresh_seconds
        self._timer = timer
        self._known: _Known | None = None
        self._is_renewing = False

    def read(
        self,
        features: Any,
        entities: Any,
        *,
        request: Any = None,
        full_feature_names: bool = False,
        at: datetime | str | None = None,
    ) -> OnlineResponse:
        """See :func:`get_online_features`."""
        store = self._project.online
        known = self._current()
        for _ in range(ATTEMPTS):
            lookup = self._plan(known, features, full_feature_names=full_feature_names).look_up(entities, request)
            values = store.read(lookup.keys)
            answer = lookup.answer(values, *self._instants(at))
            if answer is not None:
                return answer
            known = self._reload()
        raise restless()

    async def aread(
        self,
        features: Any,
        entities: Any,
        *,
        request: Any = None,
        full_feature_names: bool = False,
        at: datetime | str | None = None,
    ) -> OnlineResponse:
        """See :func:`aget_online_features`."""
        store = self._project.online
        known = self._current()
        for _ in range(ATTEMPTS):
            lookup = self._plan(known, features, full_feature_names=full_feature_names).look_up(entities, request)
            values = await store.aread(lookup.keys)
            answer = lookup.answer(values, *self._instants(at))
            if answer is not None:
                return answer
            known = self._reload()
        raise restless()

    def at_hand(self, features: Any, *, full_feature_names: bool = False) -> ReadyPlan | None:
        """A plan that needs one read and nothing else; None where more is needed, and :meth:`aread` does it.

        That is so for the first request of its kind, and when the newest revision was not asked for lately; :meth:`renew_soon`
        sees to it while requests come.

        Raises:
            RequestError: features that no text names.
        """
        known = self._known
        if known is None or self._timer() - known.checked_at >= self._refresh_seconds:
            return None
        return known.plans.get((_plan_key(known.definitions, features), full_feature_names))

    def renew_soon(self) -> None:
        """Ask for the newest revision in a thread of the running event loop, if that was not done lately; with every answer.

        From the loop's next turn on: the thread takes the interpreter for a millisecond, and the answer shall be gone by then.
        """
        known = self._known
        if known is not None and self._timer() - known.checked_at >= self._refresh_seconds / 2 and not self._is_renewing:
            loop = asyncio.get_running_loop()
            loop.call_soon(self._start_renewal, loop)

    def _start_renewal(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_renewing:
            self._is_renewing = True
            loop.run_in_executor(None, self._renew)

    def now(self) -> int:
        """What the project's clock says, in microseconds."""
        return to_micros(self._project.clock.now())

    def ready(self, features: Any, *, anew: bool = False) -> ReadyPlan:
        """The plan of a request; made anew where the token has shown that something else is served by now."""
        return self._plan(self._reload() if anew else self._current(), features, full_feature_names=False)

    def inputs(self, features: Any) -> tuple[Field, ...]:
        """The columns that a request for these features brings: join keys, then what request sources need.

        Raises:
            RequestError: an unknown service, view or feature.
        """
        return self.ready(features).inputs

    def _instants(self, at: datetime | str | None) -> tuple[int, int]:
        """The instant that is asked about, and what the clock says."""
        now = self.now()
        return (now, now) if at is None else (_past("at", at, now), now)

    def key_fields(self, features: Any) -> tuple[Field, ...]:
        """The columns of :meth:`inputs` that are join keys."""
        return self.ready(features).plan.key_fields

    @property
    def known_revision(self) -> int | None:
        """The revision that :meth:`at_hand` answers by, if it does."""
        return None if self._known is None else self._known.revision

    def _renew(self) -> None:
        try:
            # Whatever fails here fails again in the first request that has to ask, which tells it.
            with suppress(Exception):
                self._current(self._refresh_seconds / 2)
        finally:
            self._is_renewing = False

    def _current(self, most_seconds: float | None = None) -> _Known:
        known, now = self._known, self._timer()
        if known is None:
            return self._reload()
        if now - known.checked_at >= (self._refresh_seconds if most_seconds is None else most_seconds):
            newest = self._project.catalog.newest()
            if (newest.number if newest else 0) != known.revision:
                return self._reload()
            known.checked_at = now
        return known

    def _reload(self) -> _Known:
        # The token first: what is served may change while the rest is read, and is then read again.
        key = generation_key(self._project.catalog.project)
        (token,) = self._project.online.read([key])
        newest = self._project.catalog.newest()
        known = _Known(newest.number if newest else 0, self._project.definitions, key, token, self._timer())
        self._known = known
        return known

    def _plan(self, known: _Known, features: Any, *, full_feature_names: bool) -> ReadyPlan:
        key = (_plan_key(known.definitions, features), full_feature_names)
        ready = known.plans.get(key)
        if ready is None:
            plan = make_plan(self._project.catalog, known.definitions, features, full_feature_names=full_feature_names)
            ready = ReadyPlan(plan, known.token_key, known.token)
            if len(known.plans) >= _MOST_PLANS:
                known.plans.clear()
            known.plans[key] = ready
        return ready


class ServedProject(Project, Protocol):
    """A project that keeps one reader for all its requests."""

    @property
    def online_reader(self) -> OnlineReader:
        """The reader."""


def get_online_features(
    project: ServedProject,
    features: Any,
    entities: Any,
    *,
    request: Any = None,
    full_feature_names: bool = False,
    at: datetime | str | None = None,
) -> OnlineResponse:
    """The newest features of each entity as of the project's clock, in one round trip (in a cluster: one a node).

    A row counts while its event time is not in the future, and within the view's ttl (both ends closed): else its values are
    null with status ``EXPIRED``. Windows end at that instant. Entities may
    repeat and come back in the order asked; a null key finds nothing.

    Args:
        features: a service or its name, or views and references.
        entities: one mapping of join keys per entity, or columns.
        request: what request sources need, row for row with ``entities``.
        full_feature_names: ``view__feature`` in place of ``feature``.
        at: an instant of the near past in place of now: what is known now of that instant. Refused where the store no longer
            holds what the exact answer needs.

    Raises:
        RequestError: an unknown feature, a missing join key or request column, a value of a wrong type, ``at=`` in the future
            or too long ago.
        OnlineStoreUnavailableError: the store does not answer.
    """
    return project.online_reader.read(features, entities, request=request, full_feature_names=full_feature_names, at=at)


def aget_online_features(
    project: ServedProject,
    features: Any,
    entities: Any,
    *,
    request: Any = None,
    full_feature_names: bool = False,
    at: datetime | str | None = None,
) -> Awaitable[OnlineResponse]:
    """As :func:`get_online_features`; requests that run at the same time share one connection to the store."""
    return project.online_reader.aread(features, entities, request=request, full_feature_names=full_feature_names, at=at)


class _Known:
    """What plans are made from, and the plans made."""

    def __init__(self, revision: int, definitions: Definitions, token_key: bytes, token: bytes | None, now: float) -> None:
        self.revision = revision
        self.definitions = definitions
        self.token_key = token_key
        self.token = token
        self.checked_at = now
        self.plans: dict[Any, ReadyPlan] = {}


def restless() -> OnlineStoreError:
    """What is served changed with every attempt to read it."""
    return OnlineStoreError(
        "the online store holds rows of a form that the registry does not know, or what is served changes without end",
        hint="run `featurestore materialize --full`",
    )


def _plan_key(definitions: Definitions, features: Any) -> Any:
    if isinstance(features, str):
        return features
    if isinstance(features, list | tuple) and all(isinstance(feature, str) for feature in features):
        return tuple(features)
    try:
        return references_of(definitions, features)
    except (NotFoundError, RetrievalError) as error:
        raise RequestError(error.message, hint=error.hint) from error


def _past(name: str, value: datetime | str, now: int) -> int:
    try:
        moment = as_instant(value)
    except (TypeError, ValueError):
        raise RequestError(f"{name} is {value!r}, not an instant", hint='send one such as "2024-01-31T12:00:00Z"') from None
    instant = to_micros(moment)
    if instant > now:
        raise RequestError(f"{name} is {value}, in the future", hint=f"leave {name} out to ask about now")
    return instant
