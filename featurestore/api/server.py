"""Starting the HTTP service: one process or several, on uvicorn or granian.

Worker processes are started by the server and know nothing of this one but its environment, so the project's path travels
there. ``SIGTERM`` and ``SIGINT`` end it gracefully: no new connections, what is being answered is answered, stores are closed.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from featurestore.api.grpc_server import grpc_address
from featurestore.config import load_config

if TYPE_CHECKING:
    from fastapi import FastAPI

    from featurestore.store import FeatureStore

PROJECT: Final = "FEATURESTORE_PROJECT_PATH"
_GRPC: Final = "FEATURESTORE_GRPC_ADDRESS"
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"  # featurestore.api.metrics would load Prometheus before it is set
_TARGET: Final = "featurestore.api.server:app_from_environment"
GRACE_SECONDS: Final = 30
Server = Literal["granian", "uvicorn"]


def app_from_environment() -> FastAPI:
    """The application of the project that the environment names: what a worker process serves."""
    from featurestore.api.app import create_app
    from featurestore.store import FeatureStore

    # Compiles where no earlier process left what it compiled: no request shall wait for that.
    importlib.import_module("featurestore.online.plain_windows")
    app = create_app(FeatureStore(os.environ[PROJECT]), grpc_address=os.environ.get(_GRPC))
    # What was imported stays: without this a full pass of the collector looks through all of it, 70 ms amid some request.
    gc.collect()
    gc.freeze()
    return app


def serve(
    project: str | os.PathLike[str] | FeatureStore,
    *,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
    server: Server = "uvicorn",
    grpc_port: int | None = None,
) -> None:
    """Serve a project until the process is told to end.

    Args:
        project: the folder of ``featurestore.toml``, or a store that was opened on one.
        host, port, workers: in place of ``[server]`` in that file.
        server: ``uvicorn`` answers look-ups by the short way (:mod:`featurestore.api.short_way`), ``granian`` does not.
        grpc_port: where Feast's gRPC clients are answered too, by the same processes; None: nowhere.

    Raises:
        ConfigError: no such project, the server or gRPC is not installed, or the port for gRPC is taken.
    """
    path = project if isinstance(project, str | os.PathLike) else project.config.root
    config = load_config(path)
    settings = config.server
    settings = replace(settings, host=host or settings.host, port=port or settings.port, workers=workers or settings.workers)
    address = None if grpc_port is None else grpc_address(settings.host, grpc_port)
    with _environment(config.root, address):
        start = _granian if server == "granian" else _uvicorn
        start(settings.host, settings.port, settings.workers)


def _granian(host: str, port: int, workers: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces, Loops

    Granian(
        _TARGET,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop if _has_uvloop() else Loops.asyncio,
        workers=workers,
        websockets=False,
        factory=True,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE_SECONDS,
    ).serve()


def _has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None


def _uvicorn(host: str, port: int, workers: int) -> None:
    import uvicorn

    # Once it has ended, uvicorn raises the signal that ended it once more, as if it had not been heeded.
    before = {number: signal.signal(number, _heeded) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        uvicorn.run(
            _TARGET,
            factory=True,
            host=host,
            port=port,
            workers=workers,
            http="featurestore.api.short_protocol:ShortProtocol",
            loop="uvloop" if _has_uvloop() else "auto",
            lifespan="on",
            access_log=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heeded(_: int, __: object) -> None:
    """What is left to do about a signal after a graceful end."""


@contextmanager
def _environment(root: Path, grpc: str | None) -> Iterator[None]:
    """What workers read: the project, where to answer gRPC, and a fresh folder in which they count together."""
    counts = tempfile.mkdtemp(prefix="featurestore-metrics-")
    before = {name: os.environ.get(name) for name in (PROJECT, _MULTIPROCESS, _GRPC)}
    os.environ |= {PROJECT: str(root), _MULTIPROCESS: counts} | ({} if grpc is None else {_GRPC: grpc})
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        shutil.rmtree(counts, ignore_errors=True)
