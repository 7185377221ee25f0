"""What the benchmarks share: rows of figures, peers in environments of their own, processes measured from outside.

Every benchmark asserts its answer first, runs the sides in turns, and prints one JSON row a comparison (:func:`print_row`);
``benchmarks/run.py`` runs them all and keeps the rows. With ``--small`` a benchmark takes a size that ends within seconds, for
its answers' sake. Absolute times mean little on a shared machine; ratios of one run do.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
PEERS = {"feast": ".venv-feast"}
"""Environments that the Makefile makes from lock files."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: CPU seconds of it and its children, peak resident bytes of the whole tree, what it printed."""

    cpu_seconds: float
    peak_bytes: int
    output: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=os.environ | (environment or {}))
        peak, started = 0, time.monotonic()
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            peak = max(peak, _tree_high_water(process.pid))
            # Seldom enough that looking costs the measured process nothing, often enough to see a short one.
            time.sleep(min(0.05, 0.002 + (time.monotonic() - started) / 50))
        _, status, usage = ended
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command[:3])} failed: {errors.read()[-2000:]}")
        return Run(usage.ru_utime + usage.ru_stime, peak, output.read())


def _tree_high_water(pid: int) -> int:
    """The resident high-water marks of a process and its descendants, added up, in bytes.

    Not ``ru_maxrss``: it starts at what the parent had when it forked.
    """
    total, waiting = 0, [pid]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        with contextlib.suppress(OSError, IndexError, ValueError):
            total += int((folder / "status").read_text().split("VmHWM:", 1)[1].split()[0]) * 1024
            waiting += [int(child) for child in (folder / "task" / folder.name / "children").read_text().split()]
    return total


def in_turns(sides: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Run]]:
    """Each side once a round, after one round that does not count."""
    runs: dict[str, list[Run]] = {side: [] for side in sides}
    for counted in [False] + [True] * rounds:
        for side, command in sides.items():
            result = run(command)
            if counted:
                runs[side].append(result)
    return runs


def median_cpu(runs: Sequence[Run]) -> float:
    """The median of their CPU seconds."""
    return statistics.median(r.cpu_seconds for r in runs)


def peer_python(name: str) -> str:
    """The interpreter of a peer's own environment, made from its lock file if need be."""
    folder = PEERS[name]
    subprocess.run(["make", "--silent", f"{folder}/.ready"], cwd=ROOT.parent, check=True, stdout=subprocess.DEVNULL)
    return str(ROOT.parent / folder / "bin" / "python")


def print_row(
    work: str,
    against: str,
    ours: float,
    theirs: float,
    goal: float | None,
    *,
    unit: str = "s",
    memory: tuple[float, float | None] | None = None,
    **more: Any,
) -> None:
    """One comparison as a JSON line.

    Args:
        work: what was done, its size included.
        against: the peer with its version, or a limit.
        ours, theirs: in ``unit``; less is better. ``ratio`` is theirs / ours: above 1 means less for ours.
        goal: the ratio to reach; None where the row stands for itself.
        memory: peak MiB of the process tree: ours, theirs.
        more: further fields.
    """
    ratio = theirs / ours
    row = {
        "work": work,
        "against": against,
        "unit": unit,
        "ours": _rounded(ours),
        "theirs": _rounded(theirs),
        "ratio": _rounded(ratio),
        "goal": goal,
        "reached": None if goal is None else ratio >= goal,
        "memory": None if memory is None else [None if mib is None else round(mib) for mib in memory],
        **more,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_memory_gib()} GiB, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(row), flush=True)


def _rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
