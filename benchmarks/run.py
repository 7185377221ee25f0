"""Run benchmarks and keep their rows.

    python benchmarks/run.py [NAME ...] [--small] [-- OPTION ...]

Without names all of them. The rows of each go to ``benchmarks/results/NAME.json``, in place of what was there; from all that is
there ``docs/benchmarks.md`` gets its tables, and ``docs/pictures/benchmarks.png`` is drawn. With ``--small`` only the answers
are asserted, and nothing is kept: timings of small sizes say nothing. What follows ``--`` goes to the benchmark.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import report

ROOT = Path(__file__).resolve().parent
NAMES = (
    "startup",
    "asof",
    "offline_feast",
    "growth",
    "training_read",
    "windows",
    "materialize",
    "online_write",
    "online",
    "online_windows",
    "validation",
    "ingest",
    "feast_stores",
)


def rows_of(name: str, *arguments: str) -> list[dict[str, object]]:
    """Run one benchmark: its rows, shown as they come.

    Raises:
        subprocess.CalledProcessError: it failed: an answer was wrong, or a part is missing.
    """
    command = [sys.executable, str(ROOT / f"{name}.py"), *arguments]
    rows = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith("{"):
                rows.append(json.loads(line))
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return rows


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all without one")
    parser.add_argument("--small", action="store_true", help="sizes that end within seconds, for the answers' sake")
    given, options = sys.argv[1:], []
    if "--" in given:
        at = given.index("--")
        given, options = given[:at], given[at + 1 :]
    arguments = parser.parse_args(given)
    if unknown := set(arguments.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        rows = rows_of(name, *options, *(["--small"] if arguments.small else []))
        if rows and not arguments.small:  # one that lacks an optional part has none: what was kept stays
            report.keep(name, rows)
    if not arguments.small:
        report.write()


if __name__ == "__main__":
    main()
