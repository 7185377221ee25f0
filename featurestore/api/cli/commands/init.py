"""``featurestore init``."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

import click

from featurestore.api.cli.session import Session, global_options, pass_session
from featurestore.config import FILE_NAME
from featurestore.errors import ConfigError

# Named so in the package, where a packager or git would take the real names for its own.
_RENAMED: Final = {"featurestore.toml.txt": FILE_NAME, "gitignore.txt": ".gitignore"}


@click.command("init")
@click.argument("path", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--project", metavar="NAME", help="Name of the project (default: the folder's name).")
@global_options
@pass_session
def command(session: Session, path: Path, project: str | None) -> None:
    """Make a model repository in PATH that works as it is.

    It holds settings, definitions with comments, a little raw data and a README with the next commands.
    A folder that holds a featurestore.toml is left alone, and so is every file that is there already.
    """
    name = project or _project_name(path)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise click.UsageError(f"project name {name!r}: use letters, digits, _ and -, starting with a letter")
    written, kept = write_template(path, name)
    document = {
        "path": str(path.resolve()),
        "project": name,
        "written": [str(file) for file in written],
        "kept": [str(file) for file in kept],
    }
    session.output.answer(document, lambda: _show(session, path, written, kept))


def write_template(path: Path, project: str) -> tuple[list[Path], list[Path]]:
    """Write the model repository; the paths, relative to ``path``, that were written and that were there already.

    Raises:
        ConfigError: there is a project already; nothing is written then.
    """
    if (path / FILE_NAME).exists():
        raise ConfigError(f"{path / FILE_NAME} is there already", hint="name another folder: `featurestore init my_features`")
    written, kept = [], []
    for file, text in _walk(files("featurestore.api.cli") / "template", Path()):
        target = path / file
        if target.exists():
            kept.append(file)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text.replace("{project}", project))
        written.append(file)
    return written, kept


def _walk(folder: Traversable, prefix: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for item in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if item.is_dir():
            found += _walk(item, prefix / item.name) if item.name != "__pycache__" else []
        else:
            found.append((prefix / _RENAMED.get(item.name, item.name), item.read_text()))
    return found


def _project_name(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", path.resolve().name).lstrip("0123456789_-") or "features"


def _show(session: Session, path: Path, written: list[Path], kept: list[Path]) -> None:
    for word, names in (("wrote", written), ("kept", kept)):
        for file in names:
            session.output.line(f"{word} {path / file}")
    enter = f"cd {path} && " if path != Path() else ""
    session.output.line()
    session.output.line(f"Next: {enter}featurestore apply && featurestore ingest readings data/readings.csv")
    session.output.line("      featurestore materialize && featurestore get trip_model -e station=HARBOUR -r party_size=3")
