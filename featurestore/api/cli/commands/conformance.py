"""``featurestore conformance``."""

from __future__ import annotations

from typing import Any

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session

_SHOWN = 60


@click.command("conformance")
@click.option(
    "--engine",
    type=click.Choice(["cpu", "gpu", "oracle"]),
    default="cpu",
    show_default=True,
    help="What answers: the kernels on NumPy or on CuPy, or the naive oracle.",
)
@global_options
@pass_session
def command(session: Session, engine: str) -> int:
    """Judge an engine of windows by the cases that ship with the package; no project is needed.

    Exits with 3 where a case fails.
    """
    from featurestore.testing import conformance

    if engine == "gpu":
        _check_gpu()
    result = conformance.run(engine)
    session.output.answer(result, lambda: _show(session, result))
    return ExitCode.VALIDATION_FAILED if result["failed"] else ExitCode.OK


def _check_gpu() -> None:
    from featurestore.errors import ConfigError
    from featurestore.transforms.engines import gpu

    missing = gpu.missing()
    if missing:
        raise ConfigError(f"there is no GPU engine to judge: {missing}", hint="take --engine cpu, or a machine with a GPU")


def _show(session: Session, result: dict[str, Any]) -> None:
    rows = [
        (failure["group"], failure["case"], _short(failure["expected"]), _short(failure["found"]))
        for failure in result["failures"]
    ]
    if rows:
        session.output.table(("group", "case", "expected", "found"), rows)
    session.output.line(f"{result['engine']}: {result['cases']} cases, {result['failed']} failed")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
