"""What computes: the processor (``cpu``) or an NVIDIA GPU (``gpu``). The two modules have the same functions inside."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from featurestore.errors import ConfigError, did_you_mean
from featurestore.transforms.engines import cpu, gpu

if TYPE_CHECKING:
    import polars as pl

ENGINES: dict[str, ModuleType] = {"cpu": cpu, "gpu": gpu}


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """Which engine ran, why it, and what it could not run and left to the CPU."""

    name: Literal["cpu", "gpu"]
    reason: str
    fallbacks: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "fallbacks": list(self.fallbacks)}

    def merged(self, other: EngineRecord) -> EngineRecord:
        """This record with the fallbacks of another one too."""
        return self.falling_back(*other.fallbacks)

    def falling_back(self, *texts: str) -> EngineRecord:
        """This record with more that was left to the CPU."""
        return replace(self, fallbacks=tuple(dict.fromkeys((*self.fallbacks, *texts))))


def choose(requested: str) -> EngineRecord:
    """The engine for ``cpu``, ``gpu`` or ``auto`` on this machine.

    ``gpu`` on a machine without one is a recorded fallback, so that a run recorded elsewhere can be repeated.

    Raises:
        ConfigError: an unknown engine.

    >>> choose("cpu").reason
    'asked for'
    """
    if requested == "cpu":
        return EngineRecord("cpu", "asked for")
    if requested not in ("gpu", "auto"):
        raise ConfigError(f"unknown engine {requested!r}", hint=did_you_mean(requested, ["auto", "cpu", "gpu"]))
    missing = gpu.missing()
    if missing is None:
        return EngineRecord("gpu", "asked for" if requested == "gpu" else "auto: there is a GPU")
    if requested == "auto":
        return EngineRecord("cpu", f"auto: {missing}")
    return EngineRecord("cpu", "gpu was asked for and cannot be had", (f"everything: {missing}",))


def collect(frame: pl.LazyFrame, engine: str | EngineRecord = "auto") -> tuple[pl.DataFrame, EngineRecord]:
    """Compute a lazy frame, and say what computed it."""
    record = choose(engine) if isinstance(engine, str) else engine
    if record.name == "cpu":
        return cpu.collect(frame), record
    try:
        return gpu.collect(frame), record
    except gpu.NotOnGpu as error:
        return cpu.collect(frame), record.falling_back(str(error))


def arrays(engine: EngineRecord) -> Any:
    """The array library of an engine."""
    return ENGINES[engine.name].arrays()


def to_device(engine: EngineRecord, values: Any) -> Any:
    """A NumPy array as an array of the engine."""
    return ENGINES[engine.name].to_device(values)


def to_host(engine: EngineRecord, values: Any) -> Any:
    """An array of the engine as a NumPy array."""
    return ENGINES[engine.name].to_host(values)
