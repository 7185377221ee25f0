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
