"""SQL from the network reads tables of the lake and nothing else."""

import pytest

from featurestore.api.errors import HttpError
from featurestore.api.label_queries import check_query

TABLES = {"trips", "station_state"}


@pytest.mark.parametrize(
    "query",
    [
        "select * from trips",
        "SELECT t.station, s.bikes FROM trips AS t JOIN station_state s USING (station) WHERE t.fare > 3",
        "with late as (select * from trips where delay > 15) select station, at as event_timestamp from late",
        "select * from trips union all select * from trips",
        "select *, row_number() over (partition by station order by at) as n from (select * from trips) order by n",
        "select 'HARBOUR' as station, timestamptz '2026-03-01' as event_timestamp",
        "select x.station from trips x, (values (1), (2)) v(n)",
        "select unnest([1, 2]) as n",
    ],
)
def test_queries_over_the_lake_pass(query):
    assert check_query(query, TABLES) == query


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        'select * from "/etc/passwd"',
        "select * from read_text('/etc/passwd')",
        "select * from glob('/*')",
        "select * from trips where station in (select content from read_text('/etc/passwd'))",
        "select (select content from read_blob('/etc/shadow'))",
        "with trips as (select * from read_parquet('s3://other/x.parquet')) select * from trips",
        "select * from parquet_scan('x')",
        "select * from query('select 1')",
        "select * from query_table('/etc/passwd')",
        "select getenv('HOME')",
        "select * from other.trips",
        "select * from information_schema.tables",
        "select * from duckdb_secrets()",
        "select * from duckdb_settings",
        "copy trips to '/tmp/x'",
        "attach '/tmp/x.db'",
        "select 1; select 2",
        "install httpfs",
        "set memory_limit = '1TB'",
        "pragma version",
        "drop table trips",
        "from trips select *; delete from trips",
        "select * from",
        "",
        "not sql at all",
    ],
)
def test_everything_else_is_refused(query):
    with pytest.raises(HttpError) as refused:
        check_query(query, TABLES)
    assert (refused.value.status, refused.value.code) == (422, "query_refused")
