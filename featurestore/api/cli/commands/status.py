"""``featurestore status``."""

from __future__ import annotations

from typing import Any

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("status")
@global_options
@pass_session
def command(session: Session) -> None:
    """Show what there is and how fresh it is: sources, tables, views, versions, stores."""
    from featurestore.api.overview import overview

    found = overview(session.store)
    session.output.answer(found, lambda: _show(session, found))


def _show(session: Session, found: dict[str, Any]) -> None:
    output = session.output
    revision = found["revision"]
    output.heading(f"Project {found['project']}")
    output.line(
        f"revision {revision['number']}, applied by {revision['author']}"
        if revision
        else "nothing is applied yet: `featurestore apply`"
    )
    if found["pending"]:
        output.line(f"not applied: {found['pending']} (`featurestore plan`)")
    output.line(f"online store: {'answers' if found['online']['ready'] else found['online']['message']}")
    output.line()
    output.heading("Sources")
    output.table(
        ("source", "rows", "quarantined", "version", "newest event", "last ingest"),
        [
            (s["name"], s["rows"], s["quarantined"], s["version"], s["newest_event"], _run(s["last_ingest"]))
            for s in found["sources"]
        ],
        empty="none",
    )
    output.line()
    output.heading("Feature views")
    output.table(
        ("view", "source", "definition", "online", "last materialize"),
        [(v["name"], v["source"], v["version"][:12], v["online"], _run(v["last_materialize"])) for v in found["views"]],
        empty="none",
    )
    output.line()
    output.line(f"Services: {', '.join(found['services']) or 'none'}")


def _run(run: dict[str, Any] | None) -> str:
    return f"{run['status']}, {run['started_at'][:19].replace('T', ' ')}" if run else "never"
