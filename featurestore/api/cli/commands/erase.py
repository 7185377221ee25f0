"""``featurestore erase``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("erase")
@click.argument("entity")
@click.option("-k", "--key", "keys", multiple=True, required=True, metavar="KEY=VALUE,...", help="One entity; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
@pass_session
def command(session: Session, entity: str, keys: tuple[str, ...], yes: bool) -> None:
    """Remove every row of these keys of ENTITY from events, quarantine, feature tables and the online store.

    Older versions of these tables can no longer be read afterwards, nor training sets rebuilt from them.
    """
    from featurestore.api.cli.keys import parse_rows

    store = session.store
    definition = store.catalog.definitions().entity(entity)
    rows = parse_rows(keys, {field.name: field.type for field in definition.join_keys})
    if not yes:
        if session.as_json:
            raise click.UsageError("with --json, give --yes: nobody is asked")
        click.confirm(f"Remove every row of {len(rows)} {entity} key(s), for good?", abort=True, err=True)
    removed = dict(store.erase(entity, rows))
    session.output.answer(
        {"entity": entity, "keys": len(rows), "removed": removed},
        lambda: session.output.table(("table", "rows removed"), removed.items(), empty="no rows of these keys"),
    )
