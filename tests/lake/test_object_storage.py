"""What every object storage must do; the same for a folder and for S3."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from featurestore.config import Config, LakeConfig
from featurestore.errors import LakeError
from featurestore.ingestion.lake import open_lake
from featurestore.ingestion.object_storage import ObjectStorage, open_storage
from featurestore.time import SystemClock
from tests.servers.s3 import S3Server


def test_what_was_put_is_read_whole_or_in_ranges(storage: ObjectStorage) -> None:
    storage.put("a/b.txt", b"hello")
    assert storage.get("a/b.txt") == b"hello"
    assert storage.get_range("a/b.txt", 1, 3) == b"ell"
    assert storage.get_range("a/b.txt", 3, 100) == b"lo"
    assert storage.get_range("a/b.txt", 0, 0) == b""


def test_a_put_replaces(storage: ObjectStorage) -> None:
    storage.put("x", b"old and long")
    storage.put("x", b"new")
    assert storage.get("x") == b"new"


def test_what_is_written_bit_by_bit_is_there_when_it_is_whole(storage: ObjectStorage) -> None:
    for old in (None, b"new, all"):
        with storage.writing("deep/stream") as sink:
            sink.write(b"new, ")
            assert storage.find("deep/stream") == old
            sink.write(b"all")
        assert storage.get("deep/stream") == b"new, all"


def test_a_stream_that_fails_leaves_what_was_there(storage: ObjectStorage) -> None:
    def begin(name: str) -> None:
        with storage.writing(name) as sink:
            sink.write(b"half")
            raise ValueError("midway")

    storage.put("stream", b"old")
    for name in ("stream", "other"):
        with pytest.raises(ValueError, match="midway"):
            begin(name)
    assert (storage.get("stream"), storage.find("other")) == (b"old", None)
    if storage.is_local:
        assert [path.name for path in Path(storage.url).rglob("*")] == ["stream"]


def test_a_large_object_goes_in_parts_and_comes_back_whole(storage: ObjectStorage) -> None:
    data = bytes(range(256)) * 60_000  # 15 MB: three parts of an upload
    storage.put("large", data)
    assert storage.get("large") == data


def test_only_one_of_several_creators_wins(storage: ObjectStorage) -> None:
    with ThreadPoolExecutor(6) as pool:
        won = list(pool.map(lambda writer: storage.create("once", str(writer).encode()), range(6)))
    assert sorted(won) == [False] * 5 + [True]
    assert storage.get("once") == str(won.index(True)).encode()


def test_head_says_size_and_age_and_nothing_of_what_is_not_there(storage: ObjectStorage) -> None:
    storage.put("a", b"12345")
    found = storage.head("a")
    assert found is not None
    assert (found.key, found.size, found.modified.tzinfo is not None) == ("a", 5, True)
    assert storage.head("b") is None
    assert storage.exists("a")
    assert not storage.exists("b")


def test_list_finds_everything_below_a_folder_and_only_that(storage: ObjectStorage) -> None:
    for key in ("t/1", "t/deep/2", "table/3", "4"):
        storage.put(key, b"")
    assert sorted(found.key for found in storage.list("t")) == ["t/1", "t/deep/2"]
    assert sorted(found.key for found in storage.list()) == ["4", "t/1", "t/deep/2", "table/3"]
    assert list(storage.list("nothing")) == []
    assert storage.folders() == ("t", "table")
    assert storage.folders("t") == ("deep",)


def test_delete_takes_several_and_does_not_mind_what_is_gone(storage: ObjectStorage) -> None:
    storage.put("a", b"")
    storage.put("b", b"")
    storage.delete(["a", "never"])
    storage.delete("a")
    storage.delete([])
    assert [found.key for found in storage.list()] == ["b"]


def test_keys_with_spaces_and_other_letters_survive(storage: ObjectStorage) -> None:
    storage.put("räw data/a=1/ü b.txt", b"x")
    assert [found.key for found in storage.list("räw data")] == ["räw data/a=1/ü b.txt"]
    assert storage.get("räw data/a=1/ü b.txt") == b"x"


def test_reading_what_is_not_there_says_what_and_where(storage: ObjectStorage) -> None:
    with pytest.raises(LakeError, match="no such object"):
        storage.get("nowhere")


def test_an_uri_names_a_key_and_back(storage: ObjectStorage) -> None:
    assert storage.key(storage.uri("a/b")) == "a/b"
    with pytest.raises(LakeError, match="is not in"):
        storage.key("s3://elsewhere/a/b")


def test_the_probe_leaves_nothing_behind(storage: ObjectStorage) -> None:
    storage.probe_conditional_put()
    assert list(storage.list()) == []


def test_relative_folders_start_at_the_projects_root(tmp_path: Path) -> None:
    assert open_storage(Config("p", tmp_path)).url == str(tmp_path / ".featurestore" / "lake")
    assert open_storage("s3://bucket/some/prefix/").url == "s3://bucket/some/prefix"
    with pytest.raises(LakeError, match="ftp://"):
        open_storage("ftp://somewhere")


def test_wrong_credentials_are_said_to_be_wrong(server: S3Server) -> None:
    wrong = LakeConfig(url="s3://lake", endpoint=server.endpoint, access_key="test", secret_key="wrong")
    with pytest.raises(LakeError, match="refused these credentials"):
        open_storage(wrong).get("anything")


def test_credentials_come_from_the_environment_when_the_settings_have_none(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")
    storage = open_storage("s3://lake/environment")
    storage.put("a", b"1")
    assert server.storage("environment").get("a") == b"1"


class _Careless(BaseHTTPRequestHandler):
    """An S3 gateway of the kind that overwrites whatever the headers say."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("etag", '"1"')
        self.send_header("content-length", "0")
        self.end_headers()

    do_PUT = do_DELETE = do_POST = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_ignores_if_none_match_is_refused_at_open(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Careless) as careless:
        thread = threading.Thread(target=careless.serve_forever)
        thread.start()
        try:
            endpoint = f"http://127.0.0.1:{careless.server_port}"
            settings = LakeConfig(url="s3://lake", endpoint=endpoint, access_key="a", secret_key="b")
            with pytest.raises(LakeError, match="If-None-Match"):
                open_lake(Config("p", tmp_path, lake=settings), SystemClock())
        finally:
            careless.shutdown()
            thread.join()
