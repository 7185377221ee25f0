"""The processor: Polars' streaming engine, and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl


def missing() -> str | None:
    """What this machine lacks for this engine: nothing."""
    return None


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Compute a lazy frame."""
    return frame.collect(engine="streaming")


def arrays() -> Any:
    """The array library."""
    return np


def to_device(values: Any) -> Any:
    """An array where this engine computes."""
    return values


def to_host(values: Any) -> Any:
    """An array where Polars and Arrow can read it."""
    return values
