"""An NVIDIA GPU: cuDF under Polars' lazy frames (``cudf-polars``), and CuPy."""

from __future__ import annotations

import importlib.util
from typing import Any

import polars as pl
from polars.exceptions import ComputeError


class NotOnGpu(Exception):  # noqa: N818  (a signal between engines, never raised to a user)
    """The GPU cannot run this; the text says what and why."""


def missing() -> str | None:
    """What this machine lacks for this engine; None where it is ready."""
    for package in ("cudf_polars", "cupy"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed; pip install 'featurestore[gpu]'"
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA does not answer: {error}"
    return None if count else "there is no CUDA device"


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Compute a lazy frame.

    Raises:
        NotOnGpu: some step has no GPU implementation; nothing was computed.
    """
    try:
        return frame.collect(engine=pl.GPUEngine(raise_on_fail=True))
    except (ComputeError, NotImplementedError) as error:
        raise NotOnGpu(f"query: {str(error).splitlines()[0]}") from error


def arrays() -> Any:
    """The array library."""
    import cupy

    return cupy


def to_device(values: Any) -> Any:
    """An array where this engine computes."""
    import cupy

    return cupy.asarray(values)


def to_host(values: Any) -> Any:
    """An array where Polars and Arrow can read it."""
    import cupy

    return cupy.asnumpy(values)
