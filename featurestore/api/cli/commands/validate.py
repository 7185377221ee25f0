"""``featurestore validate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session

if TYPE_CHECKING:
    import polars as pl

    from featurestore.store import FeatureStore


@click.command("validate")
@click.argument("name")
@click.option(
    "--expectations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A suite's JSON file, in place of the definition's.",
)
@click.option("--profile", "wants_profile", is_flag=True, help="Describe each column instead.")
@click.option("--drift", "since", type=int, metavar="VERSION", help="Compare with an earlier lake version instead.")
@global_options
@pass_session
def command(session: Session, name: str, expectations: Path | None, wants_profile: bool, since: int | None) -> int:
    """Evaluate the expectations of a source or a view on all that the lake holds of it.

    Exits with 3 where an expectation fails. --profile and --drift take the name of a source.
    """
    if sum((expectations is not None, wants_profile, since is not None)) > 1:
        raise click.UsageError("give one of --expectations, --profile and --drift")
    if wants_profile:
        return _profile(session, name)
    if since is not None:
        return _drift(session, name, since)
    suite = None if expectations is None else _read_suite(expectations)
    report = session.store.validate(name, expectations=suite)
    session.output.answer(report.to_json_dict(), lambda: session.output.line(report))
    return ExitCode.OK if report.success else ExitCode.VALIDATION_FAILED


def _read_suite(path: Path) -> list[Any]:
    """The expectations of a Great Expectations suite, or of a plain list."""
    try:
        data = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise click.UsageError(f"{path}: not JSON: {error}") from None
    items = data.get("expectations") if isinstance(data, dict) else data
    if not isinstance(items, list):
        raise click.UsageError(f'{path}: write a list of expectations, or {{"expectations": [...]}}')
    return items


def _profile(session: Session, name: str) -> int:
    from featurestore.validation.profiles import make_profile

    profile = make_profile(_events(session.store, name))
    session.output.answer(profile.to_json_dict(), lambda: session.output.line(profile))
    return ExitCode.OK


def _drift(session: Session, name: str, since: int) -> int:
    from featurestore.validation.drift import measure_drift

    report = measure_drift(_events(session.store, name, since), _events(session.store, name))
    session.output.answer(report.to_json_dict(), lambda: session.output.line(report))
    return ExitCode.OK


def _events(store: FeatureStore, name: str, version: int | None = None) -> pl.LazyFrame:
    """The rows of a source as they landed, without the hidden columns."""
    from featurestore.errors import NotFoundError

    store.catalog.definitions().source(name)
    table = store.lake.table("events", name)
    if not table.exists():
        raise NotFoundError("lake table", f"events/{name}", hint=f"nothing has landed; `featurestore ingest {name} ...`")
    frame = table.scan(version)
    return frame.select([column for column in frame.collect_schema().names() if not column.startswith("__")])
