"""``featurestore check``."""

from __future__ import annotations

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session


@click.group("check")
def command() -> None:
    """Hold a view to the contract of time, on its own data."""


@command.command("leakage")
@click.argument("view")
@click.option("--sample", type=click.IntRange(min=1), default=100, show_default=True, help="Keys with an instant to ask about.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed draws the same sample.")
@global_options
@pass_session
def leakage(session: Session, view: str, sample: int, seed: int) -> int:
    """Mutate and delete the future of a sample of keys and instants, and compare a view's answers.

    Exits with 3 where an answer changes: a feature leaks. Nothing is written.
    """
    report = session.store.check_leakage(view, sample=sample, seed=seed)
    session.output.answer(report.to_dict(), lambda: session.output.line(report))
    return ExitCode.OK if report.success else ExitCode.VALIDATION_FAILED
