"""Whatever the order and the pieces, the online state is that of the newest rows; and online is offline, now."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import FeatureView
from featurestore import types as t
from featurestore.config import Config, OnlineConfig
from featurestore.materialize import materialize
from featurestore.offline import get_historical_features
from featurestore.online import delete_prefix, get_online_features
from tests.online.projects import USER, SmallProject, minutes, row
from tests.online.test_materialize import CHECKED, LATEST, PAYMENTS, daily, doubled

NAMES = ("a", "b", "c")
VIEWS = ["latest", "brief", "doubled", "daily", "guarded"]
BRIEF = FeatureView(
    "brief", entities=[USER], source=PAYMENTS, features={"amount": t.Int64, "note": t.String}, ttl="4m", last_non_null=True
)
GUARDED = FeatureView("guarded", entities=[USER], source=PAYMENTS, features={"amount": t.Int64}, expectations=CHECKED)
COUNTER = itertools.count()
ROWS = st.builds(
    row,
    st.sampled_from(NAMES),
    st.integers(-6, 6),
    st.none() | st.integers(-2, 2),
    st.none() | st.sampled_from(["", "x", "y"]),
    arrival=st.none() | st.integers(-3, 3).map(minutes),
)
BATCHES = st.lists(st.lists(ROWS, min_size=1, max_size=4), min_size=1, max_size=4)
STEPS = st.lists(st.sampled_from(["land", "land", "materialize", "twice", "full", "slice", "later"]), max_size=8)


def answers(project: SmallProject) -> dict[str, Any]:
    entities = {"user": [*NAMES, "nobody"]}
    made = {}
    for view in VIEWS:
        answer = get_online_features(project, view, entities, full_feature_names=True)
        made |= {name: list(zip(values, answer.statuses[name], strict=True)) for name, values in answer.to_dict().items()}
    return made


def offline_answers(project: SmallProject) -> dict[str, Any]:
    names = [*NAMES, "nobody"]
    labels = pl.DataFrame({"user": names, "event_timestamp": [project.clock.now()] * len(names)})
    job = get_historical_features(project, labels, VIEWS, full_feature_names=True)
    statuses = job.statuses()
    return {
        name: list(zip(job.to_polars()[name].to_list(), statuses[name].to_list(), strict=True))
        for name in job.to_polars().columns
        if "__" in name
    }


@settings(max_examples=15, deadline=None)
@given(batches=BATCHES, steps=STEPS)
def test_any_course_of_events_ends_where_one_materialization_does(store_urls: dict[str, str], batches: Any, steps: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        project = SmallProject(Config(f"test{next(COUNTER)}", Path(folder), online=OnlineConfig(url=store_urls["unix"])))
        project.apply(PAYMENTS, LATEST, BRIEF, doubled, daily, GUARDED)
        left = list(batches)
        for step in steps:
            if step == "land" and left:
                project.land(left.pop())
            elif step == "later":
                project.clock.instant = project.clock.instant + (minutes(2) - minutes(0))
            elif step == "slice":
                materialize(project, start=minutes(-2), end=minutes(1))
            elif step in ("materialize", "twice", "full"):
                materialize(project, full=step == "full")
                if step == "twice":
                    materialize(project)
        for batch in left:
            project.land(batch)
        materialize(project)
        assert answers(project) == offline_answers(project)
        delete_prefix(project.online, project.config.project.encode() + b":")
        project.close()
