"""A small project for tests: cars and their trips."""

from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


def write_project(folder: Path) -> None:
    """Write its settings and definitions."""
    (folder / "definitions").mkdir(parents=True)
    (folder / "featurestore.toml").write_text('project = "cars"\n')
    (folder / "definitions" / "cars.py").write_text(
        dedent(
            """
            import polars as pl
            from featurestore import Entity, EventSource, FeatureService, feature_view
            from featurestore import types as t

            car = Entity("car", join_keys={"car": t.String})
            trips = EventSource("trips", event_time="ended_at")


            @feature_view(entities=[car], source=trips)
            def last_trip(events):
                return events.select("car", "ended_at", last_km=pl.col("km"), last_stops=pl.col("stops"))


            model = FeatureService("model", features=[last_trip])
            """
        )
    )
