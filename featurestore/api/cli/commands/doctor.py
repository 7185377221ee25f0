"""``featurestore doctor``."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session
from featurestore.config import FILE_NAME

_MARKS = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "problem": ("!!", "red")}


@click.command("doctor")
@global_options
@pass_session
def command(session: Session) -> int:
    """Tell what this machine has, what is missing for each extra, and how to mend it.

    In a project it also asks the registry, the lake (with a conditional put) and the online store.
    Exits with 1 where something that is configured does not work; what is merely not installed is no problem.
    """
    from featurestore.api.doctor import examine

    folder = Path(session.repo)
    store = session.store if (folder / FILE_NAME).exists() or folder.suffix == ".toml" else None
    checks = list(examine(store, folder if folder.is_dir() else Path()))
    healthy = all(check.state != "problem" for check in checks)

    def show() -> None:
        for area, group in groupby(checks, key=lambda check: check.area):
            session.output.heading(area)
            for check in group:
                mark, colour = _MARKS[check.state]
                mark = click.style(mark, fg=colour) if session.output.terminal else mark
                session.output.line(f"  {mark}  {check.name}: {check.found}")
                if check.mend:
                    session.output.line(f"      {check.mend}")

    session.output.answer({"healthy": healthy, "checks": [check.to_dict() for check in checks]}, show)
    return ExitCode.OK if healthy else ExitCode.FAILED
