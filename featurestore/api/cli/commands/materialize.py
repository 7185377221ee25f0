"""``featurestore materialize``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("materialize")
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@click.option("--start", metavar="INSTANT", help="Only rows from this instant on (closed).")
@click.option("--end", metavar="INSTANT", help="Only rows before this instant (open).")
@click.option("--full", is_flag=True, help="Everything anew, whatever was done before.")
@global_options
@pass_session
def command(session: Session, views: tuple[str, ...], start: str | None, end: str | None, full: bool) -> None:
    """Bring the online store up to the lake: what changed since the last time, late rows included.

    Without a VIEW, every view with online=True. Doing it twice, or in pieces, ends in the same state.
    """
    with session.output.progress() as progress:
        report = session.store.materialize(list(views) or None, start=start, end=end, full=full, progress=progress)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))
