"""``featurestore apply``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("apply")
@click.option("-m", "--message", default="", help="Why, for the list of revisions.")
@click.option("--author", help="Who (default: the user of this machine).")
@global_options
@pass_session
def command(session: Session, message: str, author: str | None) -> None:
    """Make the definitions of this repository the applied ones, in one transaction.

    Where nothing differs, no revision is made. `featurestore registry restore` goes back.
    """
    store = session.store
    plan = store.plan(measure=False)
    revision = store.apply(author=author, message=message, plan=plan)
    document = {"revision": revision.number, "changes": plan.to_dict(), "applied": bool(plan.changes)}

    def show() -> None:
        session.output.line(plan)
        done = (
            f"Applied as revision {revision.number}."
            if plan.changes
            else f"Nothing to apply: revision {revision.number} it is."
        )
        session.output.line(done)

    session.output.answer(document, show)
