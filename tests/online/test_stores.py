"""The conformance suite of online stores: the same tests for each."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featurestore.codec import RowCodec, decode_order, encode_order
from featurestore.config import Config, OnlineConfig
from featurestore.errors import ConfigError, OnlineStoreError, OnlineStoreUnavailableError
from featurestore.online import OnlineStore, delete_prefix, open_online_store
from featurestore.online.packed_keys import PackedKeys
from tests.servers.valkey import valkey_server

T = TypeVar("T")
HEAD = RowCodec([]).header


def row(event: int, arrival: int = 0, sequence: int = 0, value: bytes = b"") -> bytes:
    return HEAD + encode_order(event, arrival, sequence) + value


def run(store: OnlineStore, awaitable: Awaitable[T]) -> T:
    """The result of an awaitable in an event loop of its own, the store's connections of that loop closed behind it."""

    async def main() -> T:
        try:
            return await awaitable
        finally:
            await store.aclose()

    return asyncio.run(main())


def test_reads_in_the_order_asked_with_none_for_what_is_not_there(store: OnlineStore) -> None:
    store.write([b"a", b"b"], [row(1), row(2)])
    assert store.read([b"b", b"x", b"a", b"b"]) == [row(2), None, row(1), row(2)]
    assert run(store, store.aread([b"b", b"x", b"a", b"b"])) == [row(2), None, row(1), row(2)]
    assert store.read([]) == []
    assert run(store, store.aread([])) == []


def test_a_row_only_moves_forward(store: OnlineStore) -> None:
    """Event time first, then arrival time, then sequence; equal is not newer."""
    assert store.write([b"k"], [row(5, 5, 5)]) == 1
    for older in (row(4, 9, 9), row(5, 4, 9), row(5, 5, 4), row(5, 5, 5, b"other"), row(-(2**63), 9, 9)):
        assert store.write([b"k"], [older]) == 0
        assert store.read([b"k"]) == [row(5, 5, 5)]
    for newer in (row(5, 5, 6), row(5, 6, -1), row(6, -1, -1), row(2**63 - 1, 0, 0)):
        assert store.write([b"k"], [newer]) == 1
        assert store.read([b"k"]) == [newer]


def test_equal_rows_replace_where_asked(store: OnlineStore) -> None:
    store.write([b"k"], [row(5, value=b"old")])
    assert store.write([b"k"], [row(4, value=b"new")], replace_equal=True) == 0
    assert store.write([b"k"], [row(5, value=b"new")], replace_equal=True) == 1
    assert store.read([b"k"]) == [row(5, value=b"new")]


def test_before_the_epoch_is_older_than_after(store: OnlineStore) -> None:
    store.write([b"k"], [row(-1)])
    assert store.write([b"k"], [row(-2)]) == 0
    assert store.write([b"k"], [row(0)]) == 1


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    writes=st.lists(
        st.tuples(
            st.sampled_from([b"{a}1", b"{a}2", b"b"]), *[st.sampled_from([-(2**63), -256, -1, 0, 1, 255, 2**53, 2**53 + 1])] * 3
        ),
        min_size=1,
        max_size=12,
    ),
    cut=st.integers(0, 12),
)
def test_any_order_of_writes_ends_in_the_newest_row(store: OnlineStore, writes: list[Any], cut: int) -> None:
    delete_prefix(store, b"")
    for part in (writes[:cut], writes[cut:]):
        store.write([w[0] for w in part], [row(*w[1:]) for w in part])
    keys = sorted({w[0] for w in writes})
    assert [decode_order(r) for r in store.read(keys) if r] == [max(w[1:] for w in writes if w[0] == key) for key in keys]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    held=st.dictionaries(st.integers(0, 2_400), st.integers(0, 2), max_size=4),
    count=st.sampled_from([0, 1, 999, 1_001, 2_400]),
    replace_equal=st.booleans(),
)
def test_adding_and_then_writing_what_is_left_is_writing(
    store: OnlineStore, held: dict[int, int], count: int, replace_equal: bool
) -> None:
    keys, rows = [b"{%d}" % i for i in range(count)], [row(1, value=b"new") for _ in range(count)]
    before = [b"{%d}" % i for i in held], [row(event, value=b"old") for event in held.values()]
    delete_prefix(store, b"")
    store.write(*before)
    written = store.write(keys, rows, replace_equal=replace_equal)
    expected = store.read(keys)
    delete_prefix(store, b"")
    store.write(*before)
    left = store.add(keys, rows)
    assert not {i for i in held if i < count} - set(left)
    rest = store.write([keys[i] for i in left], [rows[i] for i in left], replace_equal=replace_equal)
    assert (count - len(left) + rest, store.read(keys)) == (written, expected)


def test_one_server_takes_new_rows_at_once(store_urls: dict[str, str], tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path, online=OnlineConfig(url=store_urls["unix"])))
    delete_prefix(opened, b"")
    keys, rows = [b"%d" % i for i in range(2_400)], [row(1)] * 2_400
    assert list(opened.add(keys, rows)) == []
    opened.delete(keys[1_000:])
    assert list(opened.add(keys, rows)) == list(range(1_000))
    assert opened.read(keys) == rows
    opened.close()


def test_many_rows_go_in_several_calls(store: OnlineStore) -> None:
    keys = [b"{%d}" % i for i in range(2_500)]
    assert store.write(keys, [row(i) for i in range(2_500)]) == 2_500
    assert store.write(keys, [row(1_000)] * 2_500) == 1_000
    assert store.read(keys[:2]) == [row(1_000), row(1_000)]
    large = [row(3_000, value=bytes(400_000))] * 5
    assert store.write(keys[:5], large) == 5
    assert store.read(keys[:5]) == large


def test_writers_at_the_same_time_agree_on_the_newest(store: OnlineStore) -> None:
    keys = [b"{%d}" % i for i in range(50)]

    def write(seed: int) -> None:
        order = random.Random(seed).sample(range(100), 100)
        for event in order:
            store.write(keys, [row(event, seed)] * 50)

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(keys) == [row(99, 3)] * 50


def test_writers_that_add_at_the_same_time_agree_on_the_newest(store: OnlineStore) -> None:
    keys = [b"{%d}" % i for i in range(3_000)]

    def write(seed: int) -> None:
        for event in random.Random(seed).sample(range(10), 10):
            left = store.add(keys, [row(event, seed)] * len(keys))
            store.write([keys[i] for i in left], [row(event, seed)] * len(left))

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(keys) == [row(9, 2)] * len(keys)


def test_scan_and_delete_by_prefix_leave_the_rest(store: OnlineStore) -> None:
    mine = [b"p:v:1:{%d}" % i for i in range(1_500)]
    others = [b"p:v:2:{1}", b"p2:v:1:{1}", b"p:w:1:{1}"]
    store.write(mine + others, [row(1)] * 1_503)
    batches = list(store.scan(b"p:v:1:"))
    assert {key for batch in batches for key in batch} == set(mine)
    assert delete_prefix(store, b"p:v:1:") == 1_500
    assert store.read([mine[0], *others]) == [None, *[row(1)] * 3]
    assert store.delete([*others, b"absent"]) == 3
    assert store.delete([]) == 0


def test_put_overwrites(store: OnlineStore) -> None:
    store.put(b"k", b"1")
    store.put(b"k", b"0")
    assert store.read([b"k"]) == [b"0"]


def test_concurrent_requests_share_a_connection_and_get_their_own_answers(store: OnlineStore) -> None:
    keys = [b"{%d}" % i for i in range(200)]
    store.write(keys, [row(i) for i in range(200)])

    async def all_of_them() -> list[Any]:
        cancelled = asyncio.ensure_future(store.aread([keys[0]]))
        await asyncio.sleep(0)
        cancelled.cancel()
        return await asyncio.gather(*(store.aread([keys[i], keys[199 - i]]) for i in range(200)))

    assert run(store, all_of_them()) == [[row(i), row(199 - i)] for i in range(200)]
    assert run(store, all_of_them()) == [[row(i), row(199 - i)] for i in range(200)]  # in another event loop


def read_together(store: OnlineStore, requests: list[list[bytes]], *, lost: bool = False) -> list[Any]:
    """What each is given where all are read in one turn of an event loop; ``lost``: the connection closes before they leave."""

    async def main() -> list[Any]:
        await store.aread([b"!"])
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Any]] = [loop.create_future() for _ in requests]
        for keys, future in zip(requests, futures, strict=True):
            assert store.read_soon(PackedKeys.of(keys), future.set_result)
        if lost:
            await store.aclose()
            assert not store.read_soon(PackedKeys.of([b"!"]), print)
        return await asyncio.gather(*futures)

    return run(store, main())


def test_what_is_read_in_one_turn_is_read_together(store_urls: dict[str, str], tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path, online=OnlineConfig(url=store_urls["tcp"])))
    keys = [b"{%d}" % i for i in range(1_500)]
    opened.write(keys, [row(i) for i in range(1_500)])
    with redis.Redis.from_url(store_urls["tcp"]) as client:
        before = client.info("commandstats")["cmdstat_mget"]["calls"]
        asked = [keys[:3], [keys[7]], [b"none", keys[7]], keys[:1_400], keys[90:94]]
        assert read_together(opened, asked) == [[None if k == b"none" else row(keys.index(k)) for k in some] for some in asked]
        # The one that opened the connection, the first four, which are as many keys as a command takes, and the last.
        assert client.info("commandstats")["cmdstat_mget"]["calls"] - before == 3
    opened.close()


def test_a_connection_that_is_lost_tells_everyone_who_reads(store_urls: dict[str, str], tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path, online=OnlineConfig(url=store_urls["tcp"])))
    found = read_together(opened, [[b"a"], [b"b", b"c"]], lost=True)
    assert [type(answer) for answer in found] == [redis.exceptions.ConnectionError] * 2
    opened.close()


def test_a_script_cache_that_was_flushed_is_filled_again(store_urls: dict[str, str], tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path, online=OnlineConfig(url=store_urls["tcp"])))
    opened.delete([b"flushed"])
    for event in (1, 2):
        with redis.Redis.from_url(store_urls["tcp"]) as client:
            client.script_flush()
        assert opened.write([b"flushed"], [row(event)]) == 1
    opened.close()


def test_foreign_values_are_an_error_not_a_crash(store: OnlineStore) -> None:
    store.put(b"k", b"short")
    with pytest.raises(OnlineStoreError):
        store.write([b"k"], [row(1)])


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "redis+cluster://127.0.0.1:1", "unix:///nowhere/socket"])
def test_a_server_that_is_not_there_is_unavailable(url: str, tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path, online=OnlineConfig(url=url, timeout_seconds=1)))
    with pytest.raises(OnlineStoreUnavailableError, match="does not answer"):
        opened.read([b"k"])
    with pytest.raises(OnlineStoreUnavailableError, match="does not answer"):
        run(opened, opened.aread([b"k"]))
    opened.close()


def test_a_wrong_password_is_named_and_no_password_is_shown(tmp_path: Path) -> None:
    with valkey_server(tmp_path / "server", "--requirepass", "secret") as server:
        url = f"redis://:{{}}@127.0.0.1:{server.port}/3"
        config = Config("test", tmp_path, online=OnlineConfig(url=url.format("wrong")))
        opened = open_online_store(config)
        for read in (lambda: opened.read([b"k"]), lambda: run(opened, opened.aread([b"k"]))):
            with pytest.raises(OnlineStoreError) as caught:
                read()
            assert "wrong" not in str(caught.value)
        opened.close()
        opened = open_online_store(replace(config, online=OnlineConfig(url=url.format("secret"))))
        opened.write([b"k"], [row(1)])
        assert run(opened, opened.aread([b"k"])) == [row(1)]
        opened.close()


def test_a_crashed_embedded_server_is_started_again(tmp_path: Path) -> None:
    opened = open_online_store(Config("test", tmp_path))
    opened.write([b"k"], [row(1)])
    import psutil

    for read in (lambda: opened.read([b"k"]), lambda: run(opened, opened.aread([b"k"]))):
        process = psutil.Process(int((tmp_path / ".featurestore/online/server.pid").read_text()))
        process.terminate()
        process.wait(30)
        assert read() == [row(1)]
    opened.close()


def test_an_unknown_url_says_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="redis://"):
        open_online_store(Config("test", tmp_path, online=OnlineConfig(url="memcached://host")))
