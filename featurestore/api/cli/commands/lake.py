"""``featurestore lake``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from featurestore.api.cli.session import Session, global_options, pass_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from featurestore.ingestion.lake_table import LakeTable

KINDS = click.Choice(["events", "quarantine", "features"])


@click.group("lake")
def command() -> None:
    """The lake's tables. TABLE is the name of a source (or of a view, with --kind features)."""


def _table_options(function: Callable[..., Any]) -> Callable[..., Any]:
    kind = click.option("--kind", type=KINDS, default="events", show_default=True, help="Which of the tables of that name.")
    return click.argument("table")(kind(global_options(function)))


def _open(session: Session, kind: Any, name: str) -> LakeTable:
    from featurestore.errors import NotFoundError

    table = session.store.lake.table(kind, name)
    if not table.exists():
        raise NotFoundError("lake table", f"{kind}/{name}", [f"{t.kind}/{t.name}" for t in session.store.lake.tables()])
    return table


@command.command("list")
@global_options
@pass_session
def list_tables(session: Session) -> None:
    """List the tables, with their newest version and rows."""
    rows = [(t.kind, t.name, t.version(), t.row_count(), len(t.files()), t.uri) for t in session.store.lake.tables()]
    columns = ("kind", "name", "version", "rows", "files", "uri")
    session.output.answer(
        {"tables": [dict(zip(columns, row, strict=True)) for row in rows]},
        lambda: session.output.table(columns, rows, empty="no tables yet; `featurestore ingest`"),
    )


@command.command("history")
@_table_options
@pass_session
def history(session: Session, table: str, kind: str) -> None:
    """List the versions of TABLE: when, by which operation."""
    entries = list(_open(session, kind, table).history())
    rows = [(e.version, f"{e.timestamp:%Y-%m-%d %H:%M:%S}", e.operation, _pairs(e.metadata)) for e in entries]
    document = [
        {"version": e.version, "timestamp": e.timestamp, "operation": e.operation, "metadata": dict(e.metadata)}
        for e in entries
    ]
    session.output.answer(
        {"history": document}, lambda: session.output.table(("version", "when (UTC)", "operation", "metadata"), rows)
    )


@command.command("files")
@_table_options
@click.option("--version", type=int, help="Of an earlier version.")
@pass_session
def files(session: Session, table: str, kind: str, version: int | None) -> None:
    """List the Parquet files of TABLE at its newest or another version."""
    found = list(_open(session, kind, table).files(version))
    session.output.answer({"files": found}, lambda: session.output.line("\n".join(found)))


@command.command("compact")
@_table_options
@pass_session
def compact(session: Session, table: str, kind: str) -> None:
    """Write the small files of TABLE together, in one commit; readers of older versions are not disturbed."""
    opened = _open(session, kind, table)
    before = len(opened.files())
    opened.compact()
    after = len(opened.files())
    session.output.answer(
        {"table": table, "files_before": before, "files_after": after, "version": opened.version()},
        lambda: session.output.line(f"{kind}/{table}: from {before:,} to {after:,} files"),
    )


@command.command("vacuum")
@_table_options
@click.option("--retention-hours", type=click.IntRange(0), default=168, show_default=True, help="Keep files younger than this.")
@pass_session
def vacuum(session: Session, table: str, kind: str, retention_hours: int) -> None:
    """Delete files of TABLE that only versions older than the retention refer to; those can no longer be read."""
    removed = _open(session, kind, table).vacuum(retention_hours)
    session.output.answer(
        {"table": table, "removed": removed}, lambda: session.output.line(f"{kind}/{table}: files removed: {len(removed):,}")
    )


def _pairs(values: Any) -> str:
    return ", ".join(f"{name}={value}" for name, value in dict(values).items())
