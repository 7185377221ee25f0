"""Our historical retrieval behind Feast's interface: ``offline_store: {type: featurestore.feast.FeatureStoreOfflineStore}``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from feast.infra.offline_stores.offline_store import OfflineStore as FeastOfflineStore
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel
from feast.utils import compute_non_entity_date_range

from featurestore.errors import RetrievalError
from featurestore.feast.stores.file_sources import append, instant, scan
from featurestore.feast.stores.historical import Retrieval
from featurestore.feast.stores.retrieval_job import ColumnarRetrievalJob
from featurestore.materialize.newest import Latest, newest_rows
from featurestore.time import ARRIVAL_TIME, EVENT_TIME, SEQUENCE
from featurestore.transforms.casts import INSTANT

_BATCH = 250_000
_ONE = "__one"


class FeatureStoreOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings in ``feature_store.yaml``. ``engine`` computes: ``cpu``, ``gpu`` or ``auto``."""

    type: Literal["featurestore.feast.FeatureStoreOfflineStore"] = "featurestore.feast.FeatureStoreOfflineStore"
    engine: Literal["auto", "cpu", "gpu"] = "auto"


class FeatureStoreOfflineStore(FeastOfflineStore):  # type: ignore[misc]
    """Point-in-time joins over file sources (Parquet, Delta), read in place.

    Every label row comes back once, in its order, duplicates included. Of rows that share an event time the one created last
    answers; without a created column, the last in the file.
    """

    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: list[Any],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        *,
        filter_by_created_timestamp: bool = False,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """The features of each label as of its instant.

        Args:
            entity_df: a pandas frame, a DuckDB query, or None: then the labels are the keys and event times that the views'
                rows themselves hold in ``[start_date, end_date]``.
            filter_by_created_timestamp: only rows that were created by the label's instant.
        """
        span = None
        if entity_df is None:
            span = compute_non_entity_date_range(feature_views, start_date=start_date, end_date=end_date)
        retrieval = Retrieval(
            config,
            feature_views,
            feature_refs,
            full_feature_names=full_feature_names,
            as_known=filter_by_created_timestamp,
            engine=config.offline_store.engine,
        )
        labels = retrieval.open_labels(entity_df, span)
        oldest, newest = retrieval.label_span(labels)
        on_demand = OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry)
        keys = [name for name in labels.columns if name != retrieval.instant_column]
        return ColumnarRetrievalJob(
            config,
            lambda: retrieval.answer(labels),
            on_demand=on_demand,
            full_feature_names=full_feature_names,
            metadata=RetrievalMetadata(
                features=feature_refs, keys=keys, min_event_timestamp=oldest, max_event_timestamp=newest
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> RetrievalJob:
        """The newest row of each key whose event time lies in ``[start_date, end_date]``."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def compute() -> pa.Table:
            frame = _between(scan(config, data_source).select(columns), timestamp_field, start_date, end_date)
            return newest_of(frame, join_key_columns, timestamp_field, created_timestamp_column).select(columns).to_arrow()

        return ColumnarRetrievalJob(config, compute)

    @staticmethod
    def pull_all_from_table_or_query(
        config: Any,
        data_source: Any,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """All rows whose event time lies in ``[start_date, end_date]``."""
        columns = _columns(join_key_columns, feature_name_columns, timestamp_field, created_timestamp_column)

        def compute() -> pa.Table:
            frame = _between(scan(config, data_source).select(columns), timestamp_field, start_date, end_date)
            return frame.collect(engine="streaming").to_arrow()

        return ColumnarRetrievalJob(config, compute)

    @staticmethod
    def offline_write_batch(config: Any, feature_view: Any, table: pa.Table, progress: Callable[[int], Any] | None) -> None:
        """Add rows to the batch source of a view.

        Raises:
            ValueError: the table has other columns than the source.
        """
        source = feature_view.batch_source
        expected = scan(config, source).collect_schema().names()
        if set(expected) != set(table.column_names):
            raise ValueError(f"the rows have the columns {table.column_names}, the source of {feature_view.name!r} {expected}")
        append(config, source, table.select(expected))
        if progress:
            progress(table.num_rows)

    @staticmethod
    def write_logged_features(config: Any, data: pa.Table | Path, source: Any, logging_config: Any, registry: Any) -> None:
        """Add logged features to the destination's folder, as another Parquet file."""
        table = pq.read_table(data) if isinstance(data, Path) else data
        destination = logging_config.destination.to_data_source()
        Path(config.repo_path or ".", destination.file_options.uri).mkdir(parents=True, exist_ok=True)
        append(config, destination, table)


def newest_of(frame: pl.LazyFrame, keys: Sequence[str], event_time: str, created: str | None) -> pl.DataFrame:
    """The newest row of each key, in memory that grows with the keys and not with the rows."""
    arrival = instant(pl.col(created)) if created else pl.lit(None, INSTANT)
    prepared = frame.with_row_index(SEQUENCE).with_columns(
        instant(pl.col(event_time)).alias(EVENT_TIME), arrival.alias(ARRIVAL_TIME), pl.lit(1, pl.Int8).alias(_ONE)
    )
    latest = Latest([*keys, _ONE])
    for batch in prepared.collect_batches(chunk_size=_BATCH, maintain_order=True, engine="streaming"):
        latest.add(batch.drop_nulls([*keys, EVENT_TIME]))  # a row without a key is of no entity
    found = latest.take()
    return prepared.collect_schema().to_frame() if found is None else newest_rows(found, [*keys, _ONE])


def _between(frame: pl.LazyFrame, event_time: str, start: datetime | None, end: datetime | None) -> pl.LazyFrame:
    when = instant(pl.col(event_time))
    if start is not None:
        frame = frame.filter(when >= _bound(start))
    return frame if end is None else frame.filter(when <= _bound(end))


def _bound(moment: datetime) -> pl.Expr:
    return pl.lit(moment).cast(INSTANT)


def _columns(join_keys: list[str], features: list[str], event_time: str, created: str | None) -> list[str]:
    return list(dict.fromkeys([*join_keys, *features, event_time, *([created] if created else [])]))


__all__ = ["FeatureStoreOfflineStore", "FeatureStoreOfflineStoreConfig", "RetrievalError"]
