"""``featurestore feast``."""

from __future__ import annotations

from pathlib import Path

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.group("feast")
def command() -> None:
    """Come over from Feast."""


@command.command("import")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=".", help="Our repository (default: here).")
@click.option("--registry", metavar="PATH_OR_URL", help="In place of the registry that feature_store.yaml names.")
@click.option("--project", metavar="NAME", help="Which, where the registry holds several.")
@click.option("--definitions", is_flag=True, help="Run the Python files in place of reading the registry.")
@click.option("--python", metavar="PATH", help="Interpreter of the environment that has Feast, for --definitions.")
@global_options
@pass_session
def import_(
    session: Session,
    path: Path,
    into: Path,
    registry: str | None,
    project: str | None,
    definitions: bool,
    python: str | None,
) -> None:
    """Write the definitions of a Feast repository as ours.

    PATH is the folder of feature_store.yaml, or a registry file. Writes a file of definitions and FEAST_IMPORT.md, which says
    what maps, what changes its meaning, and what has no counterpart.
    """
    from featurestore.feast.import_repository import import_repository

    report = import_repository(path, into, registry=registry, project=project, definitions=definitions, python=python)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))


@command.command("migrate-online")
@click.option("--from", "url", required=True, metavar="URL", help="The Redis store that Feast wrote: redis://host:6379/0.")
@click.option("--feast-project", required=True, metavar="NAME", help="The project's name in Feast.")
@click.argument("views", nargs=-1, metavar="[VIEW]...")
@global_options
@pass_session
def migrate_online(session: Session, url: str, feast_project: str, views: tuple[str, ...]) -> None:
    """Copy online rows from Feast's Redis store into ours.

    Without a VIEW, every applied view that is served online. Feast's store is only read; newer rows of ours stay.
    """
    from dataclasses import asdict

    from featurestore.feast.migrate_online import migrate_online as migrate

    done = migrate(session.store, url, feast_project, list(views) or None)
    rows = [(found.view, found.read, found.written) for found in done]
    document = {"views": [asdict(found) for found in done]}
    session.output.answer(document, lambda: session.output.table(("view", "read", "written"), rows, empty="no online views"))
