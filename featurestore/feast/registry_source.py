"""Where a Feast registry is, and what it holds: a registry file or a SQL registry, both read without importing Feast."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from featurestore.errors import ConfigError, NotFoundError, RegistryError
from featurestore.feast.messages import MESSAGES
from featurestore.feast.wire import Message, decode

SETTINGS: Final = "feature_store.yaml"

_TABLES: Final = {
    "projects": ("project", "Project"),
    "entities": ("entity", "Entity"),
    "data_sources": ("data_source", "DataSource"),
    "feature_views": ("feature_view", "FeatureView"),
    "stream_feature_views": ("feature_view", "StreamFeatureView"),
    "on_demand_feature_views": ("feature_view", "OnDemandFeatureView"),
    "label_views": ("feature_view", "Named"),
    "feature_services": ("feature_service", "FeatureService"),
    "saved_datasets": ("saved_dataset", "Named"),
    "validation_references": ("validation_reference", "ValidationReference"),
    "permissions": ("permission", "Named"),
}
"""Tables of a SQL registry: the front of their column names, and the message in ``..._proto``."""


@dataclass(frozen=True, slots=True)
class FeastSettings:
    """What ``feature_store.yaml`` says of the registry."""

    project: str
    registry: str
    root: Path


@dataclass(frozen=True, slots=True)
class FeastProject:
    """The contents of one project of a Feast registry, as decoded messages.

    Args:
        root: what relative paths of file sources start from.
        names: what functions use of their modules, by function: name to the text that brings it (an import, or a helper's
            source). Known only where the definitions themselves were run.
    """

    name: str
    contents: Mapping[str, list[Message]]
    root: Path
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_settings(folder: Path, environment: Mapping[str, str] | None = None) -> FeastSettings:
    """The settings of a Feast repository.

    Only ``project`` and ``registry`` are read (a path, or a section with ``path``); ``${NAME}`` reads the environment.

    Raises:
        ConfigError: no such file, or no project in it.
    """
    file = folder / SETTINGS
    try:
        text = file.read_text()
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {SETTINGS} in {folder}", hint="give the folder of a Feast repository, or a registry"
        ) from None
    environment = os.environ if environment is None else environment
    text = re.sub(r"\$\{(\w+)(?::([^}]*))?\}", lambda m: environment.get(m[1], m[2] or ""), text)
    project = _scalar(text, "project")
    if not project:
        raise ConfigError(f"{file} names no project", hint="write project: my_project")
    registry = _scalar(text, "registry") or _scalar(_section(text, "registry"), "path") or "data/registry.db"
    return FeastSettings(project, registry, folder.resolve())


def _scalar(text: str, key: str) -> str:
    found = re.search(rf"^\s*{key}:[ \t]+([^\s#][^\n#]*)", text, re.MULTILINE)
    value = found[1].strip() if found else ""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def _section(text: str, key: str) -> str:
    found = re.search(rf"^{key}:[ \t]*(?:#[^\n]*)?\n((?:[ \t]+[^\n]*\n?|\s*\n)*)", text, re.MULTILINE)
    return found[1] if found else ""


def read_registry(location: str, *, root: Path, project: str | None = None) -> FeastProject:
    """One project of a registry.

    Args:
        location: a path relative to ``root``, or a SQLAlchemy URL such as ``postgresql+psycopg://user@host/feast``.
        project: which; needed only where there are several.

    Raises:
        RegistryError: the registry cannot be read, or holds several projects and none was named.
        NotFoundError: no project of that name.
    """
    contents = _sql_contents(location, root) if "://" in location else _file_contents(root / location)
    names = sorted({_project_of(item) for items in contents.values() for item in items} - {""})
    if project is None and len(names) != 1:
        raise RegistryError(
            f"the registry at {location} holds {len(names)} projects: {', '.join(names)}", hint="name one: --project"
        )
    if project is not None and names and project not in names:
        raise NotFoundError("project in the Feast registry", project, names)
    chosen = project or names[0]
    return FeastProject(chosen, project_contents(contents, chosen), root)


def project_contents(contents: Mapping[str, list[Message]], project: str) -> dict[str, list[Message]]:
    """What belongs to one project; objects that name none belong to all."""
    return {kind: [item for item in items if _project_of(item) in ("", project)] for kind, items in contents.items()}


def decode_registry(raw: bytes) -> dict[str, list[Message]]:
    """The contents of a serialized registry, by kind."""
    found: Message = decode(raw, "Registry", MESSAGES)
    return found


def _file_contents(path: Path) -> dict[str, list[Message]]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RegistryError(
            f"the Feast registry {path} cannot be read: {error.strerror}",
            hint="run `feast apply` first, or read the definitions themselves: --definitions",
        ) from None
    return decode_registry(raw)


def _sql_contents(url: str, root: Path) -> dict[str, list[Message]]:
    import sqlalchemy as sa

    if url.startswith("sqlite:///") and not url.startswith("sqlite:////"):
        url = f"sqlite:///{root / url.removeprefix('sqlite:///')}"
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            present = set(sa.inspect(connection).get_table_names())
            if "feature_views" not in present:
                raise RegistryError("the database holds no Feast registry", hint="give the URL of `registry: path:`")
            return {kind: _rows(connection, kind) if kind in present else [] for kind in _TABLES}
    except sa.exc.SQLAlchemyError as error:
        raise RegistryError(
            f"the Feast registry cannot be read: {error}", hint="is the URL right, the driver installed?"
        ) from None
    finally:
        engine.dispose()


def _rows(connection: Any, kind: str) -> list[Message]:
    import sqlalchemy as sa

    front, message = _TABLES[kind]
    column = "project_proto" if kind == "projects" else f"{front}_proto"
    name = "project_name" if kind == "projects" else f"{front}_name"
    table = sa.table(kind, sa.column(column), sa.column("project_id"), sa.column(name))
    rows = connection.execute(sa.select(table.c[column], table.c.project_id).order_by(table.c.project_id, table.c[name]))
    decoded = []
    for raw, project in rows:
        item = decode(bytes(raw), message, MESSAGES)
        (item.get("spec") or item).setdefault("project", project)
        decoded.append(item)
    return decoded


def _project_of(item: Message) -> str:
    spec = item.get("spec") or item
    # A project object names itself.
    return str(spec.get("project") or "")
