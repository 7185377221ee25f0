"""Where raw data comes from."""

from __future__ import annotations

import http.server
import threading
from functools import partial

import obstore
import polars as pl
import pyarrow as pa
import pytest

from featurestore.config import Config
from featurestore.errors import IngestionError
from featurestore.ingestion.inputs import LocalInput, resolve_inputs
from featurestore.ingestion.lake import open_lake
from featurestore.registry.definitions import EventSource
from tests.servers.s3 import s3_server

SOURCE = EventSource("s", event_time="at")


def row(number: int) -> str:
    return f"at,x\n2024-01-0{number},{number}\n"


def names(place, data):
    return [item.name.removeprefix(f"{place.folder}/") for item in resolve_inputs(data, place.lake.storage)]


def test_paths_globs_and_folders(place):
    for name in ("in/b.csv", "in/a.csv", "in/deep/c.csv", "in/.hidden.csv", "in/_tmp/d.csv"):
        place.file(name, row(1))
    assert names(place, place.folder / "in") == ["in/a.csv", "in/b.csv", "in/deep/c.csv"]
    assert names(place, f"{place.folder}/in/*.csv") == ["in/.hidden.csv", "in/a.csv", "in/b.csv"]
    assert names(place, f"{place.folder}/in/**/c.csv") == ["in/deep/c.csv"]
    assert names(place, [place.folder / "in/b.csv", f"file://{place.folder}/in/a.csv"]) == ["in/b.csv", "in/a.csv"]


@pytest.mark.parametrize(
    ("data", "message"),
    [("nowhere.csv", "no such file"), ("none-*.csv", "no files there"), (object(), "object cannot be ingested")],
)
def test_nothing_there(place, data, message):
    with pytest.raises(IngestionError, match=message):
        resolve_inputs(data, place.lake.storage)


def test_rows_of_different_types_name_the_row(place):
    with pytest.raises(IngestionError, match="rows, row 2, column 'x'"):
        resolve_inputs([{"x": 1}, {"x": "a"}, {"x": 2}], place.lake.storage)


def test_equal_frames_have_equal_digests_whatever_their_memory():
    whole = pa.table({"x": pa.array([1, None, 3]), "s": pa.array(["a", None, "ccc"])})
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1)])
    other = pa.table({"x": pa.array([1, None, 3]), "s": pa.array(["a", None, "ccc"], pa.large_string()).dictionary_encode()})
    masked = pa.table({"x": pa.array([1, 2, 3], mask=[False, True, False]), "s": whole["s"]})
    polars = pa.table(pl.from_arrow(whole))
    digests = {LocalInput("frame", table=table).digest for table in (whole, pieces, other, masked, polars)}
    assert len(digests) == 1
    assert LocalInput("frame", table=whole.slice(1)).digest not in digests
    zero = pa.table({"x": pa.array([1, 0, 3]), "s": whole["s"]})
    assert LocalInput("frame", table=zero).digest not in digests


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_http(place):
    place.file("web/a.csv", row(1))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(place.folder / "web")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        assert place.ingest(SOURCE, f"{url}/a.csv").landed == 1
        with pytest.raises(IngestionError, match=r"cannot be downloaded.*404"):
            place.ingest(SOURCE, f"{url}/b.csv")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_s3_inputs_and_an_s3_lake(place):
    with s3_server(buckets=("lake", "raw")) as server:
        config = Config("test", place.folder / "project", lake=server.settings())
        lake = open_lake(config, place.clock)
        store = lake.storage.bucket_store("raw")
        for number in (1, 2, 3):
            obstore.put(store, f"day/{number}.csv", row(number).encode())
        obstore.put(store, "day/deep/4.csv", row(4).encode())
        place.lake = lake
        assert place.ingest(SOURCE, "s3://raw/day/1.csv").landed == 1
        assert place.ingest(SOURCE, "s3://raw/day/*.csv").landed == 2
        report = place.ingest(SOURCE, "s3://raw/day")
        assert (report.landed, report.duplicates) == (1, 3)
        assert place.events()["x"].to_list() == [1, 2, 3, 4]
        with pytest.raises(IngestionError, match="no objects there"):
            place.ingest(SOURCE, "s3://raw/other.csv")
        lake.close()
