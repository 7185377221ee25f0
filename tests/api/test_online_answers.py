"""Answers as JSON and Arrow, from columns; the quick writer says what the plain one says."""

import math
from datetime import UTC, datetime

import orjson
import pyarrow as pa

from featurestore import Field
from featurestore import types as t
from featurestore.api.online_answers import answer_arrow, answer_document, answer_json
from featurestore.api.wire import to_json
from featurestore.online.response import Column, OnlineResponse

NOON = int(datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000


def response() -> OnlineResponse:
    statuses, times = ["PRESENT", "NOT_FOUND"], [NOON, None]
    return OnlineResponse(
        {
            "bikes": Column(Field("bikes", t.Int64), [9, None], statuses, times),
            "share": Column(Field("share", t.Float64), [math.nan, None], statuses, times),
            "mark": Column(Field("mark", t.Bytes), [b"abc", None], ["PRESENT", "EXPIRED"], [NOON + 1, NOON]),
        }
    )


def test_json_has_values_statuses_times_and_types_by_column():
    assert orjson.loads(answer_json(response())) == {
        "features": {"bikes": [9, None], "share": ["NaN", None], "mark": ["YWJj", None]},
        "statuses": {
            "bikes": ["PRESENT", "NOT_FOUND"],
            "share": ["PRESENT", "NOT_FOUND"],
            "mark": ["PRESENT", "EXPIRED"],
        },
        "event_times": {
            "bikes": ["2026-03-01T12:00:00Z", None],
            "share": ["2026-03-01T12:00:00Z", None],
            "mark": ["2026-03-01T12:00:00.000001Z", "2026-03-01T12:00:00Z"],
        },
        "metadata": {"entity_count": 2, "types": {"bikes": "Int64", "share": "Float64", "mark": "Bytes"}},
    }


def test_the_quick_writer_says_what_the_plain_one_says():
    assert orjson.loads(answer_json(response())) == orjson.loads(to_json(answer_document(response())))


def test_arrow_has_a_status_and_a_time_beside_each_feature():
    table = pa.ipc.open_stream(answer_arrow(response())).read_all()
    assert table.schema.names == [
        *("bikes", "share", "mark"),
        *("bikes__status", "bikes__event_time", "share__status", "share__event_time", "mark__status", "mark__event_time"),
    ]
    assert table["mark"].to_pylist() == [b"abc", None]
    assert table["mark__status"].to_pylist() == ["PRESENT", "EXPIRED"]
    assert table["bikes__event_time"].to_pylist() == [datetime(2026, 3, 1, 12, tzinfo=UTC), None]
    assert table.schema.field("bikes").type == pa.int64()


def test_an_answer_about_nobody_is_empty():
    nothing = OnlineResponse({"bikes": Column(Field("bikes", t.Int64), [], [], [])})
    assert orjson.loads(answer_json(nothing))["features"] == {"bikes": []}
    assert pa.ipc.open_stream(answer_arrow(nothing)).read_all().num_rows == 0
