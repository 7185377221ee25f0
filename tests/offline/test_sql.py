"""SQL over the lake, and validation of what it holds."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from featurestore import Aggregation, Entity, EventSource, FeatureView
from featurestore import types as t
from featurestore.errors import NotFoundError, RetrievalError, TransformError
from featurestore.offline import validate
from featurestore.offline.sql import sql
from tests.offline.conftest import MakeProject, ProjectParts

user = Entity("user", join_keys={"id": t.Int64})
clicks = EventSource(
    "clicks", event_time="at", expectations=[{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "n"}}]
)
doubled = FeatureView(
    "doubled", entities=[user], source=clicks, mode="sql", transform="SELECT id, at, 2 * n AS twice FROM clicks WHERE n > 1"
)
windows = FeatureView("windows", entities=[user], source=clicks, aggregations=[Aggregation("n", "sum")])


@pytest.fixture
def project(make_project: MakeProject) -> ProjectParts:
    parts = make_project(user, clicks, doubled, windows)
    instants = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    frame = pl.DataFrame(
        {"id": [1, 1, 2], "at": instants, "n": [1, 2, None]}, schema_overrides={"at": pl.Datetime("us", "UTC")}
    )
    parts.land("clicks", frame)
    return parts


def test_sources_views_and_quarantine_are_tables(project: ProjectParts) -> None:
    assert sql(project, "SELECT count(*) AS n FROM clicks").to_pylist() == [{"n": 3}]
    assert sql(project, "SELECT id, twice FROM doubled WHERE id = ?", [1]).to_pylist() == [{"id": 1, "twice": 4}]
    assert sql(project, "SELECT reason, count(*) AS n FROM clicks_quarantine GROUP BY reason").num_rows == 0
    joined = "WITH c AS (SELECT * FROM clicks) SELECT c.n, d.twice FROM c JOIN doubled d ON c.at = d.at"
    assert sql(project, joined).to_pylist() == [{"n": 2, "twice": 4}]


@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE clicks",
        "CREATE TABLE x AS SELECT 1",
        "COPY (SELECT 1) TO '/tmp/never.csv'",
        "SELECT 1; SELECT 2",
        "",
        "SET threads = 1",
    ],
)
def test_a_query_only_reads(project: ProjectParts, query: str) -> None:
    with pytest.raises(RetrievalError, match="one SELECT"):
        sql(project, query)


def test_mistakes_are_named(project: ProjectParts) -> None:
    with pytest.raises(RetrievalError, match=r"did you mean 'clicks'"):
        sql(project, "SELECT * FROM click")
    with pytest.raises(RetrievalError, match="nothing_like_it"):
        sql(project, "SELECT nothing_like_it FROM clicks")
    with pytest.raises(TransformError, match="windows has no rows"):
        sql(project, "SELECT * FROM windows")


def test_python_variables_are_no_tables(project: ProjectParts) -> None:
    secret = pl.DataFrame({"a": [1]})
    with pytest.raises(RetrievalError, match="secret"):
        sql(project, "SELECT * FROM secret")
    assert secret.height == 1


def test_validate_judges_sources_and_views(project: ProjectParts) -> None:
    assert not validate(project, "clicks").success
    assert validate(
        project, "doubled", [{"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "twice"}}]
    ).success
    runs = {run.target: run for run in project.catalog.runs("validate")}
    assert (runs["clicks"].validation or {})["success"] is False
    with pytest.raises(NotFoundError, match="click"):
        validate(project, "click")
