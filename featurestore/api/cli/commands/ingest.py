"""``featurestore ingest``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("ingest")
@click.argument("source")
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@click.option("--format", metavar="NAME", help="csv, jsonl, parquet, arrow, combined or regex; else by the file's name.")
@click.option("--idempotency-key", metavar="KEY", help="Names the batch, in place of the hash of its content.")
@global_options
@pass_session
def command(session: Session, source: str, data: tuple[str, ...], format: str | None, idempotency_key: str | None) -> None:
    """Land raw DATA in the table of SOURCE: validated, stamped, at most once.

    DATA are paths, globs, folders, s3:// or http(s):// URLs. The same content twice is a no-op, and reported as one.
    """
    inputs = data[0] if len(data) == 1 else list(data)
    with session.output.progress() as progress:
        report = session.store.ingest(source, inputs, format=format, idempotency_key=idempotency_key, progress=progress)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))
