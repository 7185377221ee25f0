"""``featurestore feast import``: a Feast repository becomes one of ours."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from featurestore.config import FILE_NAME
from featurestore.errors import ConfigError
from featurestore.feast.convert import Imported, convert
from featurestore.feast.findings import Finding, write_report
from featurestore.feast.names import identifier
from featurestore.feast.registry_source import FeastProject, read_registry, read_settings
from featurestore.feast.run_definitions import run_definitions
from featurestore.feast.write_python import write_python
from featurestore.registry.repository import load_definitions

REPORT: Final = "FEAST_IMPORT.md"


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import wrote, and what is to be said of it."""

    project: str
    files: tuple[Path, ...]
    findings: tuple[Finding, ...]
    commands: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "project": self.project,
            "files": [str(file) for file in self.files],
            "findings": [finding.to_dict() for finding in self.findings],
            "commands": list(self.commands),
        }

    def __str__(self) -> str:
        return write_report(self.project, list(self.findings), list(self.commands))


def import_repository(
    path: Path,
    target: Path,
    *,
    registry: str | None = None,
    project: str | None = None,
    definitions: bool = False,
    python: str | None = None,
) -> ImportReport:
    """Write a Feast repository's definitions as ours, with a report of what maps and what does not.

    The registry is what was applied last, and is read without running anything. The definitions are what the files say
    now; they run in a process of their own. Either way functions are taken from their source text; nothing is unpickled.

    Args:
        path: the folder of ``feature_store.yaml``, or a registry file.
        target: the folder of our repository; made where it is not there. ``featurestore.toml`` is left as it is.
        registry: a registry file or SQLAlchemy URL in place of the one that the settings name.
        project: which, where the registry holds several.
        definitions: run the Python files in place of reading the registry.
        python: an interpreter that has Feast, for ``definitions``.

    Raises:
        ConfigError: no Feast repository there, or the definitions file is there already.
        RegistryError: the registry cannot be read.
        DefinitionError: the definitions cannot be run.
    """
    imported = convert(_open(path, registry, project, definitions=definitions, python=python))
    file = target / "definitions" / f"{identifier('project', imported.project)}.py"
    settings = target / FILE_NAME
    report = target / REPORT
    if file.exists():
        raise ConfigError(f"{file} is there already", hint="import into another folder, or remove the file")
    commands = _commands(imported, target)
    found = ImportReport(imported.project, (file, report), tuple(imported.findings), tuple(commands))
    file.parent.mkdir(parents=True, exist_ok=True)
    if not settings.exists():
        settings.write_text(f'project = "{_project_name(imported.project)}"\n')
    file.write_text(write_python(imported))
    report.write_text(str(found))
    load_definitions(file.parent)  # what was written is read back: an import that cannot be applied says so now
    return found


def _open(path: Path, registry: str | None, project: str | None, *, definitions: bool, python: str | None) -> FeastProject:
    if path.is_file():
        return read_registry(path.name, root=path.parent.resolve(), project=project)
    settings = read_settings(path)
    if definitions:
        return run_definitions(path, settings.project, python=python)
    return read_registry(registry or settings.registry, root=settings.root, project=project or settings.project)


def _commands(imported: Imported, target: Path) -> list[str]:
    """What brings the imported definitions to life, in order."""
    lines = [f"cd {shlex.quote(str(target))}", "featurestore plan && featurestore apply"]
    lines += [f"featurestore ingest {source} {shlex.quote(path)}" for source, path in imported.data.items()]
    return [*lines, "featurestore materialize"]


def _project_name(name: str) -> str:
    return identifier("project", name)
