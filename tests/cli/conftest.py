"""The command line, called in process; what it wrote on each stream."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from featurestore.api.cli.root import featurestore


@dataclass
class Ran:
    """One run of the command line."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.err)["error"]


def run(*arguments: object, stdin: str | None = None) -> Ran:
    result = CliRunner().invoke(featurestore, [str(argument) for argument in arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A repository as `init` makes it, after the commands of its README."""
    folder = tmp_path_factory.mktemp("cli") / "bikes"
    for command in (
        ("init", folder),
        ("apply", "--repo", folder, "-m", "the first"),
        ("ingest", "readings", folder / "data" / "readings.csv", "--repo", folder),
        ("materialize", "--repo", folder),
    ):
        ran = run(*command)
        assert ran.code == 0, ran.err
    return folder
