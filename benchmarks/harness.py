"""What the benchmarks share: rows of figures, peers in environments of their own, processes measured from outside.

Every benchmark asserts its answer first, runs the sides in turns, and prints one JSON row a comparison with the fields
``work``, ``against``, ``ours``, ``theirs``, ``ratio`` (theirs / ours: above 1 means less for ours), ``goal``, ``reached``,
``memory``, ``machine``, ``date``. Absolute times mean little on a shared machine; ratios of one run do.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
PEERS = {"feast": "feast[redis]==0.67.0"}


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
    """The interpreter of a peer's own environment under ``benchmarks/.peers``, made if need be."""
    python = ROOT / ".peers" / name / "bin" / "python"
    if not python.exists():
        venv.create(python.parent.parent, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEERS[name]], check=True)
    return str(python)


def print_row(work: str, against: str, ours: float, theirs: float, goal: float, **more: Any) -> None:
    """One comparison as a JSON line; ``ratio`` is theirs / ours."""
    ratio = theirs / ours
    row = {
        "work": work,
        "against": against,
        "ours": round(ours, 4),
        "theirs": round(theirs, 4),
        "ratio": round(ratio, 2),
        "goal": goal,
        "reached": ratio >= goal,
        **more,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "date": datetime.now(UTC).date().isoformat(),
    }
    print(json.dumps(row), flush=True)
    sys.stdout.flush()
