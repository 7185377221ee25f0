"""The command line and the HTTP service as a person has them: processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def command(repo: Path, *arguments: str) -> list[str]:
    """The command line of one call, answering in JSON."""
    return [sys.executable, "-m", "featurestore", *arguments, "--repo", str(repo), "--json"]


def call(repo: Path, *arguments: str) -> Any:
    """Run a command to its end and read its answer."""
    done = subprocess.run(command(repo, *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def call_and_kill(repo: Path, seconds: float, *arguments: str) -> bool:
    """Start a command and send it SIGKILL after so long; whether it was still running."""
    process = subprocess.Popen(command(repo, *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


@contextmanager
def service(repo: Path, *, workers: int = 1, environment: dict[str, str] | None = None) -> Iterator[str]:
    """The HTTP service on a free port, until the block ends; it must then end gracefully."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*command(repo, "serve", "--port", str(port), "--workers", str(workers))]
    with subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | (environment or {})
    ) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process)
            yield url
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            fetch(f"{url}/readyz")
        except (urllib.error.URLError, OSError):
            assert process.poll() is None, (process.stderr or sys.stderr).read()
            assert time.monotonic() < deadline, "the service did not become ready"
            time.sleep(0.05)
        else:
            return


def fetch(url: str, body: Any = None, *, headers: dict[str, str] | None = None) -> Any:
    """GET, or POST of a JSON body (or of bytes as they are); the JSON answer."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text[:1] in b"{[" else text.decode()
