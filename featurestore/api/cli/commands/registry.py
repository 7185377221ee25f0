"""``featurestore registry``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from featurestore.api.cli.session import Session, global_options, pass_session

if TYPE_CHECKING:
    from featurestore.registry.definitions import Definition


@click.group("registry")
def command() -> None:
    """What is applied: definitions, revisions, lineage, runs."""


@command.command("list")
@click.option("--revision", type=int, help="Of an earlier revision.")
@global_options
@pass_session
def list_definitions(session: Session, revision: int | None) -> None:
    """List the applied definitions."""
    from featurestore.registry.definitions import KINDS
    from featurestore.registry.serialization import version_of

    rows = [
        (KINDS[type(item)], item.name, version_of(item)[:12], item.metadata.owner, item.metadata.description.partition("\n")[0])
        for item in session.store.catalog.definitions(revision)
    ]
    columns = ("kind", "name", "version", "owner", "description")
    document = {"definitions": [dict(zip(columns, row, strict=True)) for row in rows]}
    session.output.answer(
        document, lambda: session.output.table(columns, rows, empty="nothing is applied; `featurestore apply`")
    )


@command.command("show")
@click.argument("name")
@click.option("--revision", type=int, help="Of an earlier revision.")
@global_options
@pass_session
def show(session: Session, name: str, revision: int | None) -> None:
    """Show every definition of that NAME in full."""
    from featurestore.api.describe import describe
    from featurestore.errors import NotFoundError

    definitions = list(session.store.catalog.definitions(revision))
    found = [item for item in definitions if item.name == name]
    if not found:
        raise NotFoundError("definition", name, [item.name for item in definitions])
    session.output.answer(
        {"definitions": [describe(item) for item in found]},
        lambda: session.output.line("\n".join(map(_definition_text, found))),
    )


@command.command("revisions")
@global_options
@pass_session
def revisions(session: Session) -> None:
    """List the revisions, newest first."""
    found = sorted(session.store.catalog.revisions(), key=lambda revision: revision.number, reverse=True)
    rows = [(r.number, f"{r.created_at:%Y-%m-%d %H:%M:%S}", r.author, r.message) for r in found]
    session.output.answer(
        {"revisions": [revision.to_dict() for revision in found]},
        lambda: session.output.table(("revision", "when (UTC)", "author", "message"), rows, empty="no revision yet"),
    )


@command.command("restore")
@click.argument("revision", type=int)
@click.option("--author", help="Who (default: the user of this machine).")
@global_options
@pass_session
def restore(session: Session, revision: int, author: str | None) -> None:
    """Make REVISION the applied one again, as a new revision. The files of this repository stay as they are."""
    import getpass

    made = session.store.catalog.restore(revision, author=author or getpass.getuser())
    session.output.answer(made.to_dict(), lambda: session.output.line(made))


@command.command("lineage")
@click.argument("node", required=False)
@click.option("--downstream", is_flag=True, help="What depends on NODE, in place of what it depends on.")
@global_options
@pass_session
def lineage(session: Session, node: str | None, downstream: bool) -> None:
    """Show what NODE depends on, from source columns to services; without NODE the whole graph."""
    graph = session.store.lineage()
    if node is None:
        rows = [(name, ", ".join(sorted(came_from))) for name, came_from in sorted(graph.edges.items()) if came_from]
        session.output.answer(
            graph.to_dict(), lambda: session.output.table(("node", "comes from"), rows, empty="nothing is applied")
        )
        return
    found = sorted(map(str, graph.downstream(node) if downstream else graph.upstream(node)))
    direction = "downstream" if downstream else "upstream"
    session.output.answer(
        {"node": node, "direction": direction, "nodes": found},
        lambda: session.output.table((f"{direction} of {node}",), [(item,) for item in found]),
    )


@command.command("runs")
@click.option("--kind", help="Only ingestions, materializations, ... of this kind.")
@click.option("--target", help="Only of this source, view or training set.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@global_options
@pass_session
def runs(session: Session, kind: str | None, target: str | None, limit: int) -> None:
    """List what was run, newest first."""
    found = session.store.catalog.runs(kind=kind, target=target, limit=limit)
    rows = [
        (f"{run.started_at:%Y-%m-%d %H:%M:%S}", run.kind, run.target, run.status, run.seconds, _counts(run.counts), run.error)
        for run in found
    ]
    session.output.answer(
        {"runs": [run.to_dict() for run in found]},
        lambda: session.output.table(
            ("started (UTC)", "kind", "target", "status", "seconds", "counts", "error"), rows, empty="no runs"
        ),
    )


def _definition_text(definition: Definition) -> str:
    """A definition as `featurestore plan` shows a new one."""
    from featurestore.registry.definitions import KINDS
    from featurestore.registry.describing import describe
    from featurestore.registry.serialization import version_of

    where = f"  ({definition.location})" if definition.location else ""
    lines = [f"{KINDS[type(definition)]} {definition.name}{where}", f"    version: {version_of(definition)}"]
    for name, text in describe(definition).items():
        lines += [f"    {name}: {text}"] if "\n" not in text else [f"    {name}:", textwrap.indent(text, "      ")]
    return "\n".join(lines)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
