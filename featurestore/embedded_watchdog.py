"""The parent of an embedded server: it stops the server when the last process that uses it is gone.

Run as a script, without the package, so that it starts in milliseconds and holds a few megabytes. Nothing polls: every user
holds a shared ``flock`` on the lease file, which the kernel lets go of however the user dies, and the watchdog sleeps in the
request for the exclusive one. A user that comes while the server is being stopped waits in its own request until this process
is gone, and then starts anew.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

_STOP_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def main(binary: str, folder: str, address: str, ready: int, server_lock: int) -> None:
    """Start the server, say on the descriptor ``ready`` how it went, and wait for the last user.

    Args:
        binary: the server's program.
        folder: where its data, log and lease are.
        address: the path of its unix socket.
        ready: descriptor that is told ``ok`` or what went wrong.
        server_lock: descriptor of the file lock that this process and the server keep as long as they live.
    """
    lease = os.open(Path(folder, "lease"), os.O_RDWR | os.O_CLOEXEC)
    server = _start(binary, folder, address, server_lock)
    Path(folder, "server.pid").write_text(str(server.pid))

    def gone(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(1 if server.poll() is not None else 0)

    problem = _await_answer(server, address, Path(folder, "server.log"))
    os.write(ready, (problem or "ok").encode())
    os.close(ready)
    try:
        if problem is None:
            signal.signal(signal.SIGCHLD, gone)
            signal.signal(signal.SIGTERM, gone)
            if server.poll() is None:
                fcntl.flock(lease, fcntl.LOCK_EX)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server.terminate()
        try:
            server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        Path(address).unlink(missing_ok=True)


def _start(binary: str, folder: str, address: str, server_lock: int) -> subprocess.Popen[bytes]:
    Path(address).unlink(missing_ok=True)
    settings = {
        "--port": "0",
        "--unixsocket": address,
        "--unixsocketperm": "700",
        "--dir": folder,
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--logfile": str(Path(folder, "server.log")),
        "--loglevel": "warning",
    }
    log = Path(folder, "server.log")
    log.unlink(missing_ok=True)
    arguments = [part for pair in settings.items() for part in pair]
    return subprocess.Popen(
        [binary, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(server_lock,),
        preexec_fn=_die_with_parent,
        cwd=folder,
        env=os.environ | {"LC_ALL": "C"},
    )


def _die_with_parent() -> None:
    """On Linux the kernel ends the server should this process be killed; elsewhere the next start finds and ends it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _await_answer(server: subprocess.Popen[bytes], address: str, log: Path) -> str | None:
    """None once the server answers with its data loaded; else what its log says."""
    while server.poll() is None:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return None
        except OSError:
            pass
        time.sleep(0.005)
    return log.read_text()[-2000:] if log.exists() else f"it ended with status {server.returncode}"


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
