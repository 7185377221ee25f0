"""``featurestore quarantine``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.group("quarantine")
def command() -> None:
    """Rows that were kept aside at ingestion, with the reason."""


@command.command("show")
@click.argument("source")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="The newest so many rows.")
@global_options
@pass_session
def show(session: Session, source: str, limit: int) -> None:
    """Show the newest quarantined rows of SOURCE: where they stood, why they were kept aside, their raw text."""
    import polars as pl

    from featurestore.time import ARRIVAL_TIME

    store = session.store
    store.catalog.definitions().source(source)
    table = store.lake.table("quarantine", source)
    rows, total = [], 0
    if table.exists():
        total = table.row_count()
        newest = table.scan().sort(ARRIVAL_TIME, descending=True, maintain_order=True).head(limit)
        rows = (
            newest.select("file", "line", "reason", "expectation", "raw", pl.col(ARRIVAL_TIME).alias("arrived"))
            .collect()
            .rows()
        )
    columns = ("file", "line", "reason", "expectation", "raw", "arrived")
    document = {"source": source, "quarantined": total, "rows": [dict(zip(columns, row, strict=True)) for row in rows]}

    def text() -> None:
        session.output.table(("file", "line", "reason", "raw"), [(r[0], r[1], r[2], r[4]) for r in rows], empty="no rows")
        if total > len(rows):
            session.output.line(f"{len(rows):,} of {total:,} rows; --limit shows more")

    session.output.answer(document, text)


@command.command("replay")
@click.argument("source")
@global_options
@pass_session
def replay(session: Session, source: str) -> None:
    """Try the quarantined rows of SOURCE again with today's definition; those that pass land."""
    with session.output.progress() as progress:
        report = session.store.replay(source, progress=progress)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))
