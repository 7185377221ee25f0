"""What it costs to begin: ``import featurestore`` and ``featurestore --help`` against Feast's.

    python benchmarks/startup.py [--rounds 5]

CPU seconds of whole processes, in turns, the cost of starting the same interpreter taken off both sides of the import; both
sides run the same build of Python with compiled bytecode. Feast lives in an environment of its own.
"""

from __future__ import annotations

import argparse
import sys

from harness import in_turns, median_cpu, peer_python, print_row

MEBIBYTE = 1 << 20
KEEP = "; import time; time.sleep(0.02)"
"""Long enough to be looked at once more before the process ends, and it costs no CPU."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--small", action="store_true", help="one round, for the answers' sake")
    arguments = parser.parse_args()
    rounds = 1 if arguments.small else arguments.rounds
    feast = peer_python("feast")
    runs = in_turns(
        {
            "bare": [sys.executable, "-c", "pass" + KEEP],
            "ours": [sys.executable, "-c", "import featurestore; print(featurestore.__version__)" + KEEP],
            "feast bare": [feast, "-c", "pass" + KEEP],
            "feast": [feast, "-c", "import feast; print(feast.__version__)" + KEEP],
            "ours help": [sys.executable, "-m", "featurestore", "--help"],
            "feast version": [feast, "-m", "feast.cli.cli", "version"],
        },
        rounds,
    )
    version = runs["feast"][0].output.strip()
    assert runs["ours"][0].output.strip()
    assert "Commands" in runs["ours help"][0].output
    assert version in runs["feast version"][0].output, runs["feast version"][0].output

    bare_memory = max(r.peak_bytes for r in runs["bare"])
    over = (max(r.peak_bytes for r in runs["ours"]) - bare_memory) / MEBIBYTE
    feast_over = (max(r.peak_bytes for r in runs["feast"]) - max(r.peak_bytes for r in runs["feast bare"])) / MEBIBYTE
    bare = median_cpu(runs["bare"])
    memory = (over, feast_over)
    ours, theirs = median_cpu(runs["ours"]) - bare, median_cpu(runs["feast"]) - median_cpu(runs["feast bare"])
    print_row("import, CPU over a bare interpreter", f"Feast {version}", ours, theirs, 20, memory=memory)
    print_row("import, MiB over a bare interpreter", "the limit of 40 MiB", over, 40, 1, unit="MiB")
    helping, answering = median_cpu(runs["ours help"]), median_cpu(runs["feast version"])
    print_row("featurestore --help, CPU", f"feast version, Feast {version}", helping, answering, 10)


if __name__ == "__main__":
    main()
