"""``featurestore dataset``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session

if TYPE_CHECKING:
    from featurestore.training import TrainingSet


@click.group("dataset")
def command() -> None:
    """Training sets: immutable, versioned, verifiable."""


@command.command("create")
@click.argument("name")
@click.argument("features", nargs=-1, required=True)
@click.option("--labels", required=True, metavar="DATA", help="A file, or a query starting with select or with.")
@click.option("--split", "splits", multiple=True, metavar="NAME=RULE", help="train=..2013-10, test=2013-10..; repeatable.")
@click.option("--option", "options", multiple=True, metavar="NAME=JSON", help="Another option of create_dataset; repeatable.")
@click.option("--as-known", is_flag=True, help="Only rows that had arrived by each label's instant.")
@global_options
@pass_session
def create(
    session: Session,
    name: str,
    features: tuple[str, ...],
    labels: str,
    splits: tuple[str, ...],
    options: tuple[str, ...],
    as_known: bool,
) -> None:
    """Write a training set NAME of FEATURES (a service, views, or view:feature) as a new version."""
    given: dict[str, Any] = {key: _value(text) for key, text in _pairs(options)}
    if splits:
        given["split"] = dict(_pairs(splits))
    if as_known:
        given["as_known"] = True
    asked: Any = features[0] if len(features) == 1 else list(features)
    made = session.store.create_dataset(name, labels, asked, **given)
    _answer(session, made)


@command.command("list")
@global_options
@pass_session
def list_datasets(session: Session) -> None:
    """List every version of every training set."""
    found = list(session.store.datasets())
    document = {"datasets": [_document(dataset) for dataset in found]}
    rows = [
        (d.name, d.version, d.manifest.created_at, d.manifest.author, _counts(d), d.manifest.content_hash[:12]) for d in found
    ]
    columns = ("name", "version", "created", "author", "rows", "content hash")
    session.output.answer(document, lambda: session.output.table(columns, rows, empty="no training sets"))


@command.command("show")
@click.argument("name")
@click.argument("version", type=int, required=False)
@global_options
@pass_session
def show(session: Session, name: str, version: int | None) -> None:
    """Show the manifest of NAME, of its newest or another VERSION."""
    dataset = session.store.dataset(name, version)
    session.output.answer(_document(dataset), lambda: _show(session, dataset))


@command.command("verify")
@click.argument("name")
@click.argument("version", type=int, required=False)
@global_options
@pass_session
def verify(session: Session, name: str, version: int | None) -> int:
    """Read NAME again and compare it with its manifest. Exits with 3 where they differ."""
    report = session.store.dataset(name, version).verify()
    session.output.answer(report.to_dict(), lambda: session.output.line(report))
    return ExitCode.OK if report.ok else ExitCode.VALIDATION_FAILED


@command.command("rebuild")
@click.argument("name")
@click.argument("version", type=int, required=False)
@global_options
@pass_session
def rebuild(session: Session, name: str, version: int | None) -> None:
    """Make the content of NAME anew from the table versions that its manifest names, and compare the hashes."""
    _answer(session, session.store.dataset(name, version).rebuild())


@command.command("diff")
@click.argument("name")
@click.argument("old", type=int)
@click.argument("new", type=int)
@global_options
@pass_session
def diff(session: Session, name: str, old: int, new: int) -> None:
    """Tell the versions OLD and NEW of NAME apart: rows, columns, values, definitions."""
    store = session.store
    report = store.dataset(name, old).diff(store.dataset(name, new))
    session.output.answer(report.to_dict(), lambda: session.output.line(report))


def _document(dataset: TrainingSet) -> dict[str, Any]:
    return {"name": dataset.name, "version": dataset.version, "manifest": json.loads(dataset.manifest.to_json())}


def _show(session: Session, dataset: TrainingSet) -> None:
    manifest = dataset.manifest
    session.output.heading(f"{dataset.name} version {dataset.version}")
    session.output.line(f"created {manifest.created_at} by {manifest.author}, revision {manifest.revision}")
    session.output.line(f"features: {', '.join(manifest.features)}")
    session.output.line(f"rows: {_counts(dataset)}; of no part: {manifest.unassigned:,}")
    session.output.line(f"content: {manifest.content_hash}")
    session.output.line(f"engine: {manifest.engine['name']} ({manifest.engine['reason']})")
    columns = [(f.name, f.type, manifest.null_counts.get(f.name)) for f in manifest.arrow_schema()]
    session.output.line()
    session.output.table(("column", "type", "nulls"), columns)
    session.output.line()
    versions = [*manifest.definition_versions.items(), *((f"lake {k}", v) for k, v in manifest.lake_versions.items())]
    session.output.table(("made from", "version"), [(name, str(version)[:12]) for name, version in versions])
    session.output.line()
    session.output.table(("shard", "part", "rows", "bytes"), [(s.key, s.part, s.rows, s.bytes) for s in manifest.shards])


def _counts(dataset: TrainingSet) -> str:
    return ", ".join(f"{part} {rows:,}" for part, rows in dataset.manifest.rows.items())


def _answer(session: Session, dataset: TrainingSet) -> None:
    text = f"{dataset.name} version {dataset.version}: {_counts(dataset)} rows, content {dataset.manifest.content_hash[:12]}"
    session.output.answer(_document(dataset), lambda: session.output.line(text))


def _pairs(texts: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{text!r}: write NAME=VALUE")
        pairs.append((name, value))
    return pairs


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
