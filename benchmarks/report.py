"""The kept rows of the benchmarks as tables and as a picture.

python benchmarks/report.py writes both anew from ``benchmarks/results``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"
PAGE = ROOT.parent / "docs" / "benchmarks.md"
PICTURE = ROOT.parent / "docs" / "pictures" / "benchmarks.png"
START, END = "<!-- rows: start -->", "<!-- rows: end -->"


def keep(name: str, rows: list[dict[str, Any]]) -> None:
    """Keep the rows of one benchmark, in place of those it had."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def kept() -> dict[str, list[dict[str, Any]]]:
    """The rows of each benchmark."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}


def write() -> None:
    """The tables into the page, the picture beside it."""
    rows = kept()
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START, 1)
    after = rest.split(END, 1)[1]
    PAGE.write_text(f"{before}{START}\n{tables(rows)}\n{END}{after}", encoding="utf-8")
    draw([row for found in rows.values() for row in found if row["goal"] is not None])


def tables(found: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: a table for each benchmark, what misses its goal in bold."""
    parts = []
    for name, rows in found.items():
        machines = sorted({f"{row['machine']}, {row['date']}" for row in rows})
        loads = sorted({row["load"] for row in rows})
        taken = f"{'; '.join(machines)}; load average {loads[0]} to {loads[-1]}"
        head = ["| work | against | ours | theirs | ratio | goal | peak MiB |", "|---|---|---|---|---|---|---|"]
        parts.append("\n".join([f"### {name}", "", f"`python benchmarks/{name}.py`; {taken}", "", *head, *map(_line, rows)]))
    return "\n\n".join(parts)


def _line(row: dict[str, Any]) -> str:
    ratio = f"{row['ratio']:g}" if row["reached"] in (True, None) else f"**{row['ratio']:g}**"
    goal = "" if row["goal"] is None else f"{row['goal']:g}"
    memory = "" if row["memory"] is None else " : ".join("" if mib is None else f"{mib:,}" for mib in row["memory"])
    figures = (f"{row[side]:g} {row['unit']}" for side in ("ours", "theirs"))
    return f"| {' | '.join((row['work'], row['against'], *figures, ratio, goal, memory))} |"


def draw(rows: list[dict[str, Any]]) -> None:
    """Each row's ratio on a logarithmic axis, and its goal as a mark."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 0.2 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    places = range(len(rows))
    axes.barh(
        places,
        [row["ratio"] - 1 for row in rows],
        left=1,
        height=0.7,
        color=["#2a7f62" if row["reached"] else "#c8553d" for row in rows],
    )
    axes.plot([row["goal"] for row in rows], places, "|", color="black", markersize=9, label="goal")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(places, [_short(f"{row['work']}: {row['against']}") for row in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("theirs / ours, of one run; the mark is the goal, red misses it")
    axes.legend(loc="lower right")
    PICTURE.parent.mkdir(exist_ok=True)
    # Without a date and the library's version in it, the same rows are the same picture.
    figure.savefig(PICTURE, dpi=90, metadata={"Software": None})


def _short(text: str) -> str:
    """The beginning and the end: rows of one benchmark differ there."""
    return text if len(text) <= 120 else f"{text[:52]} … {text[-64:]}"


if __name__ == "__main__":
    write()
