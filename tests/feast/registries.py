"""A small Feast project as a registry file and as a SQL registry, written without Feast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from featurestore.feast.registry_source import _TABLES
from tests.feast.protobuf_writer import encode

DAY = 86_400_000_000
INT64, STRING, FLOAT, DOUBLE, MAP, SCALAR_MAP = 4, 2, 6, 5, 20, 47
PROJECT = "rides"

STATS_SOURCE = {
    "type": 1,
    "name": "stats source",
    "project": PROJECT,
    "timestamp_field": "event_timestamp",
    "created_timestamp_column": "created",
    "field_mapping": {"cr": "conv_rate"},
    "file_options": {"uri": "data/stats.parquet"},
}
PUSH = {"type": 9, "name": "stats_push", "project": PROJECT, "batch_source": STATS_SOURCE}
TRIPS = {"type": 1, "name": "data/trips.parquet", "timestamp_field": "ts", "file_options": {"uri": "s3://b/trips.parquet"}}
KAFKA = {
    "type": 3,
    "name": "trips_kafka",
    "batch_source": TRIPS,
    "kafka_options": {"kafka_bootstrap_servers": "broker:9092", "topic": "trips", "message_format": {"avro_format": b""}},
}
STATS_COLUMNS = [
    {"name": "conv_rate", "value_type": FLOAT, "description": "accepted of offered"},
    {"name": "trips", "value_type": INT64},
]
STATS = {
    "name": "driver_stats",
    "project": PROJECT,
    "entities": ["driver"],
    "features": STATS_COLUMNS,
    "entity_columns": [{"name": "driver_id", "value_type": INT64}],
    "ttl": 2 * DAY,
    "batch_source": STATS_SOURCE,
    "stream_source": PUSH,
    "online": True,
    "tags": {"team": "ops"},
    "owner": "rides@example.org",
    "description": "Hourly.",
    "version": "v3",
}
WEATHER = {
    "name": "weather",
    "project": PROJECT,
    "entities": ["origin"],
    "features": [{"name": "wind", "value_type": DOUBLE}, {"name": "raw", "value_type": MAP}],
    "entity_columns": [{"name": "origin", "value_type": STRING}],
    "batch_source": {"type": 2, "name": "weather", "timestamp_field": "ts", "bigquery_options": {"table": "p.weather"}},
    "online": True,
}
WINDOWS = {
    "name": "trip windows",
    "project": PROJECT,
    "entities": ["driver"],
    "features": [{"name": "sum_fare_86400s", "value_type": DOUBLE}],
    "entity_columns": [{"name": "driver_id", "value_type": INT64}],
    "stream_source": KAFKA,
    "online": True,
    "aggregations": [
        {"column": "fare", "function": "sum", "time_window": DAY},
        {"column": "fare", "function": "max", "time_window": DAY // 24, "name": "biggest"},
        {"column": "fare", "function": "entropy", "time_window": DAY},
    ],
    "feature_transformation": {
        "user_defined_function": {
            "name": "in_cents",
            "mode": "pandas",
            "body_text": "@stream_feature_view(source=trips)\ndef in_cents(df: pd.DataFrame) -> pd.DataFrame:\n"
            '    return df.assign(fare=df["fare"] * 100)\n',
        }
    },
}
GLOBAL = {"name": "global_stats", "entities": ["__dummy"], "batch_source": TRIPS}
PLUS_ONE = {
    "name": "plus_one",
    "project": PROJECT,
    "features": [{"name": "plus", "value_type": DOUBLE}],
    "sources": [
        {
            "key": "driver_stats",
            "value": {"feature_view_projection": {"feature_view_name": "driver_stats", "feature_columns": STATS_COLUMNS}},
        },
        {
            "key": "request",
            "value": {
                "request_data_source": {"type": 7, "request_data_options": {"schema": [{"name": "extra", "value_type": INT64}]}}
            },
        },
    ],
    "feature_transformation": {
        "user_defined_function": {
            "name": "plus_one",
            "mode": "pandas",
            "body_text": "@on_demand_feature_view(sources=[stats])\ndef plus_one(df: pd.DataFrame) -> pd.DataFrame:\n"
            '    return pd.DataFrame({"plus": df["driver_stats__conv_rate"] + df["extra"]})\n',
        }
    },
}
PICKLED_ONLY = {**PLUS_ONE, "name": "pickled", "feature_transformation": {"substrait_transformation": b"plan"}}
SERVICE = {
    "name": "model",
    "project": PROJECT,
    "features": [
        {"feature_view_name": "driver_stats", "feature_columns": STATS_COLUMNS[:1]},
        {"feature_view_name": "weather", "feature_view_name_alias": "at_origin", "feature_columns": WEATHER["features"]},
        {
            "feature_view_name": "weather",
            "feature_view_name_alias": "at_dest",
            "feature_columns": WEATHER["features"][:1],
            "join_key_map": {"origin": "dest"},
        },
        {"feature_view_name": "plus_one", "feature_columns": PLUS_ONE["features"]},
        {"feature_view_name": "global_stats"},
    ],
    "owner": "me",
}

REGISTRY: dict[str, list[dict[str, Any]]] = {
    "projects": [{"spec": {"name": PROJECT}}],
    "entities": [
        {"spec": {"name": "__dummy", "join_key": "__dummy_id", "value_type": STRING}},
        {
            "spec": {
                "name": "driver",
                "project": PROJECT,
                "join_key": "driver_id",
                "value_type": INT64,
                "description": "Who drives",
            }
        },
        {"spec": {"name": "origin", "project": PROJECT, "join_key": "origin"}},
    ],
    "data_sources": [STATS_SOURCE, PUSH, KAFKA],
    "feature_views": [{"spec": STATS}, {"spec": WEATHER}, {"spec": GLOBAL}],
    "stream_feature_views": [{"spec": WINDOWS}],
    "on_demand_feature_views": [{"spec": PLUS_ONE}, {"spec": PICKLED_ONLY}],
    "feature_services": [{"spec": SERVICE}],
    "label_views": [{"spec": {"name": "churn", "project": PROJECT}}],
    "validation_references": [{"name": "reference", "project": PROJECT}],
    "permissions": [{"spec": {"name": "readers", "project": PROJECT}}],
}


def write_repository(folder: Path, registry: str = "data/registry.db") -> Path:
    """A Feast repository with a registry file."""
    (folder / "data").mkdir(parents=True)
    settings = (
        f"project: {PROJECT}  # ours\nregistry:\n  registry_type: file\n  path: {registry}\nonline_store:\n  type: sqlite\n"
    )
    (folder / "feature_store.yaml").write_text(settings)
    (folder / "data" / "registry.db").write_bytes(encode(REGISTRY, "Registry"))
    return folder


def write_sql_registry(file: Path) -> str:
    """The same contents as a SQL registry; its URL."""
    url = f"sqlite:///{file}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for kind, (front, message) in _TABLES.items():
            column = "project_proto" if kind == "projects" else f"{front}_proto"
            name = "project_name" if kind == "projects" else f"{front}_name"
            connection.execute(sa.text(f"create table {kind} ({name} text, project_id text, {column} blob)"))
            for number, item in enumerate(REGISTRY.get(kind, [])):
                row = {"name": str(number), "project": PROJECT, "proto": encode(item, message)}
                connection.execute(sa.text(f"insert into {kind} values (:name, :project, :proto)"), row)
    engine.dispose()
    return url
