"""Exit codes, and how an error is told on the command line."""

from __future__ import annotations

import json
import os
import sys
from enum import IntEnum
from typing import Any, Final

import click

from featurestore.errors import (
    FeatureStoreError,
    LakeError,
    NotFoundError,
    OnlineStoreUnavailableError,
    ValidationError,
)

DEBUG: Final = "FEATURESTORE_DEBUG"


class ExitCode(IntEnum):
    """What the process says when it ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    VALIDATION_FAILED = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    DIFFERENT = 6
    BUG = 70
    INTERRUPTED = 130


_BY_ERROR: Final[dict[type[BaseException], ExitCode]] = {
    ValidationError: ExitCode.VALIDATION_FAILED,
    NotFoundError: ExitCode.NOT_FOUND,
    OnlineStoreUnavailableError: ExitCode.UNAVAILABLE,
    LakeError: ExitCode.UNAVAILABLE,
}


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code of an error.

    >>> exit_code_of(NotFoundError("source", "flight", ["flights"])).value
    4
    """
    return next((_BY_ERROR[base] for base in type(error).__mro__ if base in _BY_ERROR), ExitCode.FAILED)


def report_error(error: BaseException, *, as_json: bool) -> ExitCode:
    """Tell an error on stderr: one message with its hint, as text or as JSON; the traceback only where asked for."""
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    code, document = _describe(error)
    if as_json:
        click.echo(json.dumps({"error": document}, default=str), err=True)
    else:
        click.echo(click.style("Error: ", fg="red", bold=True) + document["message"], err=True)
        if document.get("hint"):
            click.echo(click.style("Hint: ", fg="cyan") + document["hint"], err=True)
    return code


def _describe(error: BaseException) -> tuple[ExitCode, dict[str, Any]]:
    if isinstance(error, FeatureStoreError):
        document: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
        result = getattr(error, "result", None)
        return exit_code_of(error), document | ({"result": result} if result else {})
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "featurestore"
        return ExitCode.USAGE, {"code": "usage", "message": error.format_message(), "hint": f"see `{command} --help`"}
    if isinstance(error, click.ClickException):
        return ExitCode.FAILED, {"code": "failed", "message": error.format_message(), "hint": None}
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED, {"code": "interrupted", "message": "interrupted", "hint": None}
    if isinstance(error, OSError):
        return ExitCode.FAILED, {"code": "os_error", "message": str(error), "hint": None}
    message = f"unexpected {type(error).__name__}: {error}"
    return ExitCode.BUG, {"code": "bug", "message": message, "hint": f"set {DEBUG}=1 to see where; please report it"}
