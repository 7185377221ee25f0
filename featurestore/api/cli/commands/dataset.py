"""``featurestore dataset``."""

from __future__ import annotations

import json
from typing import Any

import click

from featurestore.api.cli.exits import ExitCode
from featurestore.api.cli.session import Session, global_options, pass_session


@click.group("dataset")
def command() -> None:
    """Training sets: immutable, versioned, verifiable."""
