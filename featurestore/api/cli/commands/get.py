"""``featurestore get``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("get")
@click.argument("features", nargs=-1, required=True)
@click.option("-e", "--entity", "entities", multiple=True, metavar="KEY=VALUE,...", help="Join keys of one entity; repeatable.")
@click.option(
    "-r", "--request", "request_rows", multiple=True, metavar="NAME=VALUE,...", help="Request columns, one per entity."
)
@click.option("--at", metavar="INSTANT", help="With --entity: at an instant of the near past, in place of now.")
@click.option("--labels", metavar="DATA", help="As of each label's instant: a file, or a query starting with select or with.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="With --labels: write Parquet here.")
@click.option("--as-known", is_flag=True, help="With --labels: only rows that had arrived by the instant.")
@click.option("--full-feature-names", is_flag=True, help="view__feature in place of feature.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="With --labels: rows shown.")
@global_options
@pass_session
def command(
    session: Session,
    features: tuple[str, ...],
    entities: tuple[str, ...],
    request_rows: tuple[str, ...],
    at: str | None,
    labels: str | None,
    out: Path | None,
    as_known: bool,
    full_feature_names: bool,
    limit: int,
) -> None:
    """Look FEATURES up: a service, views, or view:feature.

    With --entity the newest, online. With --labels as they were at each label's instant, from the lake.

    \b
    featurestore get trip_model -e station=HARBOUR -r party_size=3
    featurestore get station_state -e station=HARBOUR --at 2026-03-02T21:00:00Z
    featurestore get trip_model --labels data/labels.csv --out training.parquet
    """
    if bool(entities) == bool(labels):
        raise click.UsageError("give --entity for the newest features, or --labels for those of the past")
    asked: Any = features[0] if len(features) == 1 else list(features)
    if labels:
        if at:
            raise click.UsageError("--at goes with --entity; each label has its own instant")
        _historical(session, asked, labels, out, limit, as_known=as_known, full_feature_names=full_feature_names)
    else:
        if out or as_known:
            raise click.UsageError("--out and --as-known go with --labels")
        _online(session, asked, entities, request_rows, at, full_feature_names=full_feature_names)


def _online(
    session: Session,
    features: Any,
    entities: tuple[str, ...],
    request_rows: tuple[str, ...],
    at: str | None,
    *,
    full_feature_names: bool,
) -> None:
    from featurestore.api.cli.keys import parse_rows
    from featurestore.api.online_answers import answer_document
    from featurestore.api.rows import input_types

    store = session.store
    types = input_types(store.definitions, features)
    keys = parse_rows(entities, types)
    request = parse_rows(request_rows, types) if request_rows else None
    response = store.get_online_features(features, keys, request=request, full_feature_names=full_feature_names, at=at)
    document = answer_document(response)

    def show() -> None:
        for index, key in enumerate(keys):
            session.output.heading(", ".join(f"{name}={value}" for name, value in key.items()))
            rows = [
                (name, values[index], document["statuses"][name][index], document["event_times"][name][index])
                for name, values in document["features"].items()
            ]
            session.output.table(("feature", "value", "status", "event time"), rows)

    session.output.answer(document, show)


def _historical(
    session: Session, features: Any, labels: str, out: Path | None, limit: int, *, as_known: bool, full_feature_names: bool
) -> None:
    job = session.store.get_historical_features(labels, features, as_known=as_known, full_feature_names=full_feature_names)
    if out is not None:
        job.to_parquet(str(out))
        document: Any = {"out": str(out), "columns": list(job.schema.names), "table_versions": dict(job.versions)}
        session.output.answer(document, lambda: session.output.line(f"wrote {out}: {', '.join(document['columns'])}"))
        return
    frame = job.to_polars()
    shown = frame.head(limit)
    document = {"rows": shown.to_dicts(), "row_count": frame.height, "table_versions": dict(job.versions)}

    def show() -> None:
        session.output.table(shown.columns, shown.rows())
        if frame.height > limit:
            session.output.line(f"{limit:,} of {frame.height:,} rows; --out writes all of them")

    session.output.answer(document, show)
