"""The embedded server lives as long as its users, whatever they die of, and keeps its data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from featurestore.embedded import EmbeddedServer
from featurestore.errors import OnlineStoreUnavailableError

USER = """
import sys
from pathlib import Path
from featurestore.embedded import EmbeddedServer
server = EmbeddedServer(Path(sys.argv[1]))
print(server.acquire(), flush=True)
sys.stdin.read()
"""


def start_user(folder: Path) -> tuple[subprocess.Popen[str], str]:
    user = subprocess.Popen([sys.executable, "-c", USER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    return user, user.stdout.readline().strip()


def end(user: subprocess.Popen[str], how: Callable[[], None]) -> None:
    how()
    user.wait()
    assert user.stdin is not None
    assert user.stdout is not None
    user.stdin.close()
    user.stdout.close()


def server_process(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "server.pid").read_text()))


def set_value(address: str, key: str, value: str) -> None:
    with redis.Redis(unix_socket_path=address) as client:
        client.set(key, value)


def get_value(address: str, key: str) -> bytes | None:
    with redis.Redis(unix_socket_path=address) as client:
        value: bytes | None = client.get(key)
        return value


def test_it_starts_on_first_use_and_ends_with_the_last_user(tmp_path: Path) -> None:
    first, second = EmbeddedServer(tmp_path), EmbeddedServer(tmp_path)
    address = first.acquire()
    assert second.acquire() == address
    set_value(address, "k", "v")
    process = server_process(tmp_path)
    first.release()
    assert get_value(address, "k") == b"v"
    second.release()
    process.wait(30)
    third = EmbeddedServer(tmp_path)
    assert get_value(third.acquire(), "k") == b"v"
    last = server_process(tmp_path)
    third.release()
    last.wait(30)


def test_killing_all_users_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    users = [start_user(tmp_path) for _ in range(2)]
    assert users[0][1] == users[1][1]
    set_value(users[0][1], "k", "v")
    process = server_process(tmp_path)
    watchdog = process.parent()
    assert watchdog is not None
    end(users[0][0], users[0][0].kill)
    assert get_value(users[1][1], "k") == b"v"
    end(users[1][0], users[1][0].kill)
    process.wait(30)
    watchdog.wait(30)
    user, address = start_user(tmp_path)
    assert get_value(address, "k") == b"v"
    process = server_process(tmp_path)
    end(user, user.kill)
    process.wait(30)


def test_many_starting_at_once_share_one_server(tmp_path: Path) -> None:
    servers = [EmbeddedServer(tmp_path) for _ in range(8)]
    threads = [threading.Thread(target=server.acquire) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({server.acquire() for server in servers}) == 1
    process = server_process(tmp_path)
    for server in servers:
        server.release()
    process.wait(30)


@pytest.mark.parametrize("victim", ["server", "watchdog"])
def test_after_a_crash_the_next_acquire_starts_it_again(tmp_path: Path, victim: str) -> None:
    server = EmbeddedServer(tmp_path)
    set_value(server.acquire(), "k", "v")
    process = server_process(tmp_path)
    watchdog = process.parent()
    assert watchdog is not None
    os.kill(process.pid if victim == "server" else watchdog.pid, signal.SIGKILL if victim == "watchdog" else signal.SIGTERM)
    watchdog.wait(30)
    assert get_value(server.acquire(), "k") == b"v"
    again = server_process(tmp_path)
    assert again.pid != process.pid
    server.release()
    again.wait(30)


def test_a_folder_too_deep_for_a_socket_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("long" * 30)))  # not there either: the socket goes where it fits
    folder = tmp_path.joinpath(*["a-rather-long-name"] * 6)
    server = EmbeddedServer(folder)
    address = server.acquire()
    assert len(address) < 104
    set_value(address, "k", "v")
    process = server_process(folder)
    server.release()
    process.wait(30)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    data = tmp_path / "appendonlydir"
    data.mkdir(parents=True)
    (data / "appendonly.aof.manifest").write_text("no manifest\n")
    server = EmbeddedServer(tmp_path)
    with pytest.raises(OnlineStoreUnavailableError, match="does not start"):
        server.acquire()
    server.release()
