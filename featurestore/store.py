"""``FeatureStore``: the one object that the three kinds of user hold.

It owns no logic: it opens the parts of a project (registry, lake, online store) when they are first used and hands the work
to the room that does it.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from featurestore.allocation import few_arenas
from featurestore.config import Config, load_config
from featurestore.registry.definitions import (
    Definitions,
    EventSource,
    FeatureReference,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
)
from featurestore.time import Clock, FrozenClock, SystemClock

if TYPE_CHECKING:
    import pyarrow as pa

    from featurestore.ingestion.jobs import IngestReport
    from featurestore.ingestion.lake import Lake
    from featurestore.leakage import LeakageReport
    from featurestore.materialize import MaterializeReport, PushReport
    from featurestore.offline import HistoricalJob
    from featurestore.online import OnlineReader, OnlineResponse, OnlineStore
    from featurestore.online.nearest import Nearest
    from featurestore.registry.catalog import Catalog, Revision
    from featurestore.registry.lineage import Lineage
    from featurestore.registry.plan import Plan
    from featurestore.registry.repository import Repository
    from featurestore.training import TrainingSet
    from featurestore.validation.results import ValidationReport

Features: TypeAlias = (
    str
    | FeatureService
    | Sequence[str | FeatureView | OnDemandFeatureView | FeatureReference]
    | FeatureView
    | OnDemandFeatureView
    | FeatureReference
)
Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and how much there is (None where unknown)."""


class FeatureStore:
    """One project: its definitions and its stores.

    What is applied is what runs: every call below works with the definitions of the newest revision in the registry, and runs
    the code of this repository only where it is the code that was applied.

    Args:
        path: the folder of ``featurestore.toml``.
        config: settings in place of that file.
        clock: what the time is, in place of the machine's clock.
    """

    def __init__(self, path: str | os.PathLike[str] = ".", *, config: Config | None = None, clock: Clock | None = None) -> None:
        few_arenas()
        self.config = config or load_config(path)
        self.clock: Clock = clock or (FrozenClock(self.config.now) if self.config.now else SystemClock())

    # -- parts -----------------------------------------------------------------------------------------------------------

    @cached_property
    def catalog(self) -> Catalog:
        """The registry's database."""
        from featurestore.registry.catalog import open_catalog

        return open_catalog(self.config, self.clock)

    @cached_property
    def lake(self) -> Lake:
        """The lake's tables."""
        from featurestore.ingestion.lake import open_lake

        return open_lake(self.config, self.clock)

    @cached_property
    def online(self) -> OnlineStore:
        """The online store; the embedded one is started on first use."""
        from featurestore.online import open_online_store

        return open_online_store(self.config)

    @cached_property
    def _repository(self) -> Repository:
        from featurestore.registry.repository import Repository

        return Repository(self.config.resolve(self.config.definitions))

    @cached_property
    def online_reader(self) -> OnlineReader:
        """What answers online requests; it keeps the plans that it made.

        A revision that another process applies is served after at most a second, one of this store at once.
        """
        from featurestore.online import OnlineReader

        return OnlineReader(self, refresh_seconds=1.0)

    @property
    def written(self) -> Definitions:
        """The definitions as this repository's files say now, applied or not."""
        return self._repository.load()

    @property
    def definitions(self) -> Definitions:
        """The applied definitions, with the code of this repository where it is the code that was applied."""
        return self._repository.bind(self.catalog.definitions())

    # -- defining --------------------------------------------------------------------------------------------------------

    def plan(self, *, measure: bool = True) -> Plan:
        """What ``apply`` would change, and what follows from it. Changes nothing.

        Args:
            measure: say also what the keys of views of windows take online, by what the lake holds; a scan of keys and times.
        """
        from featurestore.registry.plan import make_plan
        from featurestore.schema_problems import schema_problems

        plan = make_plan(self.catalog, self.written)
        plan = plan.with_problems(schema_problems(plan.written, self.catalog.source_schemas()))
        if not measure or not any(view.aggregations and view.online for view in plan.written.views.values()):
            return plan
        from featurestore.materialize.block_sizes import measure_blocks

        return plan.with_blocks(measure_blocks(self, plan.written))

    def apply(self, *, author: str | None = None, message: str = "", plan: Plan | None = None) -> Revision:
        """Make the definitions of this repository the applied ones, in one transaction.

        Applying what is applied already makes no revision and returns the newest.

        Args:
            author: who; the user of this machine unless another is named.
            message: why.
            plan: one that :meth:`plan` made and a person has seen; what it says is applied, whatever the files say by now.

        Raises:
            DefinitionError: what the plan says may not be applied.
            ConflictError: another revision was applied since the plan was made.
        """
        plan = self.plan(measure=False) if plan is None else plan
        plan.check()
        try:
            return self.catalog.apply(plan.written, author=author or getpass.getuser(), message=message, base=plan.base)
        finally:
            self.__dict__.pop("online_reader", None)

    def lineage(self) -> Lineage:
        """From source columns to services."""
        from featurestore.registry.lineage import make_lineage

        return make_lineage(self.definitions, self.catalog.source_schemas())

    # -- events in -------------------------------------------------------------------------------------------------------

    def ingest(
        self,
        source: str | EventSource,
        data: Any,
        *,
        format: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Land raw data in a source's table: validated, stamped, at most once.

        Args:
            source: the source or its name.
            data: a path, glob, folder, ``s3://`` or ``http(s)://`` URL, several of them, or a frame (Arrow, Polars, pandas).
            format: in place of the source's format or the file's ending.
            idempotency_key: names the batch, in place of the hash of its content.
        """
        from featurestore.ingestion.jobs import ingest

        return ingest(
            self.definitions.source(_name(source)),
            data,
            lake=self.lake,
            catalog=self.catalog,
            clock=self.clock,
            format=format,
            idempotency_key=idempotency_key,
            progress=progress,
        )

    def replay(self, source: str | EventSource, *, progress: Progress | None = None) -> IngestReport:
        """Try the quarantined rows of a source again, with today's definition; those that pass land."""
        from featurestore.ingestion.jobs import replay

        return replay(
            self.definitions.source(_name(source)), lake=self.lake, catalog=self.catalog, clock=self.clock, progress=progress
        )

    def push(self, source: str | EventSource, rows: Any, *, idempotency_key: str | None = None) -> PushReport:
        """Land rows in the lake and write what they change to the online store, before returning."""
        from featurestore.materialize import push

        return push(self, _name(source), rows, idempotency_key=idempotency_key)

    def erase(self, entity: str, keys: Any) -> Mapping[str, int]:
        """Remove every row of these keys from events, quarantine, feature tables and the online store, and vacuum.

        Returns:
            Rows removed, by table. Older versions of these tables can no longer be read, nor training sets rebuilt from them.
        """
        from featurestore.materialize import erase

        return erase(self, entity, keys)

    # -- features out ----------------------------------------------------------------------------------------------------

    def materialize(
        self,
        views: Sequence[str | FeatureView] | None = None,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        full: bool = False,
        progress: Progress | None = None,
    ) -> MaterializeReport:
        """Bring the online store up to the lake: what changed since the last time, late rows included.

        Args:
            views: which; None takes every view with ``online=True``.
            start, end: only rows whose event time lies in ``[start, end)``; leaves the record of what was done as it is.
            full: everything anew, whatever was done before.
        """
        from featurestore.materialize import materialize

        names = None if views is None else [_name(v) for v in views]
        return materialize(self, names, start=start, end=end, full=full, progress=progress)

    def get_historical_features(
        self,
        labels: Any,
        features: Features,
        *,
        as_known: bool = False,
        full_feature_names: bool = False,
        join_key_map: Mapping[str, str] | None = None,
        engine: Literal["auto", "cpu", "gpu"] | None = None,
        versions: Mapping[str, int] | None = None,
    ) -> HistoricalJob:
        """The features of each label row as they were at its instant. Lazy.

        Args:
            labels: frame (Polars, Arrow, pandas), path, or SQL text starting with ``select`` or ``with``: join keys,
                ``event_timestamp``, and anything else, which is kept as it is.
            features: a service or its name, or views and references.
            as_known: only rows that had arrived by the instant.
            full_feature_names: ``view__feature`` in place of ``feature``.
            join_key_map: from join key to the label column that holds it.
            versions: lake table versions to read, in place of the newest.
        """
        from featurestore.offline import get_historical_features

        return get_historical_features(
            self,
            labels,
            features,
            as_known=as_known,
            full_feature_names=full_feature_names,
            join_key_map=join_key_map,
            engine=engine,
            versions=versions,
        )

    def get_online_features(
        self,
        features: Features,
        entities: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        *,
        request: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None = None,
        full_feature_names: bool = False,
        at: datetime | str | None = None,
    ) -> OnlineResponse:
        """The newest features of each entity, in one round trip.

        Args:
            features: a service or its name, or views and references.
            entities: one mapping of join keys per entity, or columns.
            request: what request sources need, row for row with ``entities``.
            at: an instant of the near past, in place of now; refused where the store no longer holds what it needs.
        """
        from featurestore.online import get_online_features

        return get_online_features(self, features, entities, request=request, full_feature_names=full_feature_names, at=at)

    def get_nearest(
        self,
        vector: str | FeatureReference,
        query: Sequence[float],
        *,
        features: Features = (),
        top_k: int = 10,
        metric: str = "l2",
    ) -> Nearest:
        """The rows of a view whose vector is nearest to a query, and features of them; exact, by a scan of all its rows.

        Args:
            vector: the feature, ``view:feature``.
            features: a service or its name, or views and references.
            top_k: how many rows, at most 10,000.
            metric: ``l2``, ``l1``, ``cosine`` or ``inner_product``.
        """
        from featurestore.online.nearest import get_nearest

        return get_nearest(self, vector, query, features=features, top_k=top_k, metric=metric)

    def create_dataset(self, name: str, labels: Any, features: Features, **options: Any) -> TrainingSet:
        """Export a training set as a new immutable version; see :func:`featurestore.training.create_dataset`."""
        from featurestore.training import create_dataset

        return create_dataset(self, name, labels, features, **options)

    def dataset(self, name: str, version: int | None = None) -> TrainingSet:
        """A training set that was exported; the newest version unless another is named."""
        from featurestore.training import open_dataset

        return open_dataset(self, name, version)

    def datasets(self) -> Sequence[TrainingSet]:
        """Every version of every training set, oldest first."""
        from featurestore.training import list_datasets

        return list_datasets(self)

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Answer a DuckDB query over the lake: sources, feature views and ``{source}_quarantine`` are tables by name."""
        from featurestore.offline.sql import sql

        return sql(self, query, parameters)

    def validate(self, name: str, *, expectations: Iterable[Any] | None = None) -> ValidationReport:
        """Evaluate the expectations of a source or a view (or others) on all that the lake holds of it."""
        from featurestore.offline import validate

        return validate(self, name, expectations=expectations)

    def check_leakage(self, view: str | FeatureView, *, sample: int = 100, seed: int = 0) -> LeakageReport:
        """Mutate and delete the future of a sample of keys and instants, and compare a view's answers. Writes nothing."""
        from featurestore.leakage import check_leakage

        return check_leakage(self, _name(view), sample=sample, seed=seed)

    def close(self) -> None:
        """Let go of connections. The store opens them again when used."""
        self.__dict__.pop("online_reader", None)
        for part in ("online", "lake", "catalog"):
            opened = self.__dict__.pop(part, None)
            if opened is not None:
                opened.close()

    def __enter__(self) -> FeatureStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _name(item: Any) -> str:
    return item if isinstance(item, str) else str(item.name)
