"""``featurestore sql``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featurestore.api.cli.session import Session, global_options, pass_session

if TYPE_CHECKING:
    import polars as pl


@click.command("sql")
@click.argument("query")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Rows shown.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write all rows here: .parquet, .csv or .jsonl.")
@global_options
@pass_session
def command(session: Session, query: str, limit: int, out: Path | None) -> None:
    """Ask the lake in DuckDB's SQL: sources, feature views and SOURCE_quarantine are tables by name.

    QUERY is the text, or - for stdin.
    """
    text = sys.stdin.read() if query == "-" else query
    import polars as pl

    frame = pl.DataFrame(session.store.sql(text))
    if out is not None:
        _write(frame, out)
        session.output.answer({"out": str(out), "row_count": frame.height}, lambda: session.output.line(f"wrote {out}"))
        return
    shown = frame.head(limit)
    document = {"columns": frame.columns, "rows": shown.to_dicts(), "row_count": frame.height}

    def show() -> None:
        session.output.table(shown.columns, shown.rows(), empty="no rows")
        if frame.height > limit:
            session.output.line(f"{limit:,} of {frame.height:,} rows; --limit shows more, --out writes all")

    session.output.answer(document, show)


def _write(frame: pl.DataFrame, out: Path) -> None:
    if out.suffix == ".parquet":
        frame.write_parquet(out)
    elif out.suffix == ".csv":
        frame.write_csv(out)
    elif out.suffix == ".jsonl":
        frame.write_ndjson(out)
    else:
        raise click.UsageError(f"{out.name}: write to .parquet, .csv or .jsonl")
