"""Everything on a real S3 server: the lake, the labels and the result."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl

from featurestore import Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.ingestion.lake import open_lake
from featurestore.offline import get_historical_features
from featurestore.offline.sql import sql
from tests.offline.conftest import MakeProject
from tests.servers.s3 import s3_server

user = Entity("user", join_keys={"id": t.Int64})
clicks = EventSource("clicks", event_time="at")
view = FeatureView("view", entities=[user], source=clicks)


def test_lake_labels_and_result_on_s3(make_project: MakeProject) -> None:
    with s3_server() as server:
        local = make_project(user, clicks, view)
        config = replace(local.config, lake=server.storage().settings)
        config = replace(config, lake=replace(config.lake, url="s3://lake/tables"))
        project = replace(local, config=config, lake=open_lake(config, local.clock))
        instants = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2)]
        rows = pl.DataFrame({"id": [1, 1], "at": instants, "n": [5, 6]}, schema_overrides={"at": pl.Datetime("us", "UTC")})
        project.land("clicks", rows)
        labels = pl.DataFrame({"id": [1, 2], "event_timestamp": [datetime(2024, 1, 1, 5, tzinfo=UTC)] * 2})
        options = project.lake.storage.storage_options
        labels.write_parquet("s3://lake/labels.parquet", storage_options=options)
        for memory in (1 << 30, 1):
            job = get_historical_features(project.with_memory(memory), "s3://lake/labels.parquet", "view")
            job.to_parquet("s3://lake/results/one.parquet")
            result = pl.read_parquet("s3://lake/results/one.parquet", storage_options=options)
            assert result.select("id", "n").rows() == [(1, 5), (2, None)]
        assert sql(project, "SELECT sum(n) AS n FROM clicks").to_pylist() == [{"n": 11}]
