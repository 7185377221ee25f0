"""``featurestore push``."""

from __future__ import annotations

import json
from typing import IO

import click

from featurestore.api.cli.session import Session, global_options, pass_session
from featurestore.errors import IngestionError


@click.command("push")
@click.argument("source")
@click.argument("rows", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--idempotency-key", metavar="KEY", help="Names the batch: the same key again lands nothing.")
@global_options
@pass_session
def command(session: Session, source: str, rows: IO[str], idempotency_key: str | None) -> None:
    """Land JSON lines in SOURCE and write what they change to the online store.

    ROWS is a file of one JSON object a line; - (the default) reads stdin.
    """
    from featurestore.api.rows import typed_rows

    store = session.store
    table = typed_rows(store, source, _read(rows))
    report = store.push(source, table, idempotency_key=idempotency_key)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))


def _read(lines: IO[str]) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise IngestionError(f"not JSON: {error}", file=lines.name, row=number, hint="one JSON object a line") from None
        if not isinstance(row, dict):
            raise IngestionError(f"not a JSON object: {line.strip()[:80]}", file=lines.name, row=number)
        rows.append(row)
    return rows
