"""``feast materialize`` by columns: ``batch_engine: {type: featurestore.feast.FeatureStoreComputeEngine}``."""

from __future__ import annotations

import time as _time
from typing import Any, Literal

import polars as pl
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.offline_stores.file_source import FileSource
from feast.repo_config import FeastConfigBaseModel

from featurestore.feast.stores.file_sources import instant, lies_within, scan_mapped, with_instants
from featurestore.feast.stores.online_layout import VERSION, ViewLayout
from featurestore.feast.stores.online_store import FeatureStoreOnlineStore
from featurestore.materialize.newest_in_files import write_newest
from featurestore.materialize.online_rows import OnlineRows
from featurestore.online.serving import ServedVersion
from featurestore.time import EVENT_TIME
from featurestore.transforms.casts import INSTANT, polars_type


class FeatureStoreComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]
    """Settings in ``feature_store.yaml``: none beyond the type."""

    type: Literal["featurestore.feast.FeatureStoreComputeEngine"] = "featurestore.feast.FeatureStoreComputeEngine"


class FeatureStoreComputeEngine(LocalComputeEngine):  # type: ignore[misc]
    """Materializes plain feature views of file sources without a Python object per value.

    Whatever else there is (transformations, aggregations, other stores, maps and structs) goes Feast's own local way.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(backend=None, **{name: value for name, value in options.items() if name != "type"})

    def _get_backend(self, context: Any) -> Any:
        from feast.infra.compute_engines.backends.factory import BackendFactory

        return BackendFactory.from_name("pandas")

    def _materialize_one(self, registry: Any, task: MaterializationTask, **options: Any) -> Any:
        if not self._is_plain(task):
            return super()._materialize_one(registry, task, **options)
        job = f"{task.feature_view.name}-{task.start_time}-{task.end_time}"
        try:
            self._write(task)
        except Exception as error:  # noqa: BLE001 - Feast asks the job for its error
            return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.ERROR, error=error)
        return LocalMaterializationJob(job_id=job, status=MaterializationJobStatus.SUCCEEDED)

    def _is_plain(self, task: MaterializationTask) -> bool:
        view = task.feature_view
        return (
            isinstance(self.online_store, FeatureStoreOnlineStore)
            and isinstance(view.batch_source, FileSource)
            and bool(view.online)
            and not getattr(view, "feature_transformation", None)
            and not getattr(view, "aggregations", None)
            and not getattr(view, "source_views", None)
            and not getattr(view, "offline", False)
            and task.only_latest
            and all(codec.arrow for codec in self.online_store.layout(self.repo_config, view).values.values())
        )

    def _write(self, task: MaterializationTask) -> None:
        store: FeatureStoreOnlineStore = self.online_store
        layout = store.layout(self.repo_config, task.feature_view)
        opened = store.store(self.repo_config)
        store.forms().announce(opened, layout)
        served = ServedVersion(VERSION, layout.join_keys, None, False, (layout.fields,))
        bar = task.tqdm_builder(0) if task.tqdm_builder else None

        def see(batch: pl.DataFrame) -> pl.DataFrame:
            if bar is not None:
                bar.update(batch.height)
            return batch

        with OnlineRows(opened, layout.project, layout.name, served, layout.fields, replace_equal=True) as rows:
            write_newest(rows, self._rows(task, layout), (), see)
        if bar is not None:
            bar.close()

    def _rows(self, task: MaterializationTask, layout: ViewLayout) -> pl.LazyFrame:
        source = task.feature_view.batch_source
        frame = scan_mapped(self.repo_config, source)
        when = instant(pl.col(source.timestamp_field))
        if not task.disable_event_timestamp and not lies_within(self.repo_config, source, task.start_time, task.end_time):
            frame = frame.filter(when.is_between(pl.lit(task.start_time).cast(INSTANT), pl.lit(task.end_time).cast(INSTANT)))
        columns = [_column(key.name, polars_type(key.type)) for key in layout.join_keys if key.name in frame.collect_schema()]
        columns += [_column(field.name, polars_type(field.type)) for field in layout.fields]
        rows = with_instants(frame, source.timestamp_field, source.created_timestamp_column, columns, numbered=False)
        missing = [key.name for key in layout.join_keys if key.name not in frame.collect_schema()]
        rows = rows.with_columns(pl.lit("").alias(name) for name in missing)  # the key of views without entities
        if task.disable_event_timestamp:
            rows = rows.with_columns(pl.lit(_time.time_ns() // 1_000).cast(INSTANT).alias(EVENT_TIME))
        return rows


def _column(name: str, dtype: pl.DataType) -> pl.Expr:
    return instant(pl.col(name)).alias(name) if isinstance(dtype, pl.Datetime) else pl.col(name).cast(dtype)
