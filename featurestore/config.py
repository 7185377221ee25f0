"""The settings of one project: ``featurestore.toml`` and the environment.

One line, ``project = "flights"``, is enough: every store then takes its embedded default under ``.featurestore/``. Each setting
can be overridden by the environment, ``FEATURESTORE_LAKE_URL`` for ``url`` in ``[lake]``. ``${NAME}`` in a value reads the
environment, so that no secret stands in the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from featurestore.errors import ConfigError, did_you_mean

FILE_NAME: Final = "featurestore.toml"
STATE_FOLDER: Final = ".featurestore"
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LakeConfig:
    """Where the lake is. ``url``: a folder or ``s3://bucket/prefix``; the rest is for S3."""

    url: str = f"{STATE_FOLDER}/lake"
    endpoint: str = ""
    region: str = "us-east-1"
    access_key: str = field(default="", repr=False)
    secret_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """Where the catalog is: a SQLAlchemy URL of SQLite or PostgreSQL."""

    url: str = f"sqlite:///{STATE_FOLDER}/registry.db"


@dataclass(frozen=True, slots=True)
class OnlineConfig:
    """Where online features are: ``embedded``, ``redis://``, ``rediss://``, ``unix://`` or ``redis+cluster://``."""

    url: str = "embedded"
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What computes. ``name``: ``cpu``, ``gpu`` or ``auto``. Beyond ``memory_limit`` bytes, work goes through ``spill``."""

    name: Literal["auto", "cpu", "gpu"] = "auto"
    memory_limit: int = 4 << 30
    spill: str = f"{STATE_FOLDER}/spill"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The HTTP service. ``token``: when set, callers send ``Authorization: Bearer ...``."""

    host: str = "127.0.0.1"
    port: int = 8566
    workers: int = 1
    token: str = field(default="", repr=False)
    max_request_bytes: int = 4 << 20
    max_upload_bytes: int = 1 << 30
    max_entities: int = 10_000


@dataclass(frozen=True, slots=True)
class Config:
    """All settings of a project. ``root`` is the folder of ``featurestore.toml``; relative paths start there.

    ``now`` freezes the clock at an instant, to serve data of the past as if it were the present; None: the machine's clock.
    """

    project: str
    root: Path
    definitions: str = "definitions"
    now: datetime | None = None
    lake: LakeConfig = field(default_factory=LakeConfig)
    registry: RegistryConfig = field(default_factory=RegistryConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    server: ServerConfig = field(default_factory=ServerConfig)

    @property
    def state_folder(self) -> Path:
        """Where embedded stores keep their files."""
        return self.root / STATE_FOLDER

    def resolve(self, path: str) -> Path:
        """An absolute path; a relative one starts at the project's root."""
        return (self.root / path).resolve()


_SECTIONS: Final = {
    "lake": LakeConfig,
    "registry": RegistryConfig,
    "online": OnlineConfig,
    "engine": EngineConfig,
    "server": ServerConfig,
}


def load_config(path: str | os.PathLike[str] = ".", environment: Mapping[str, str] | None = None) -> Config:
    """The settings of the project in a folder.

    Args:
        path: the folder of ``featurestore.toml``, or the file itself.
        environment: in place of ``os.environ``.

    Raises:
        ConfigError: no such file, unknown or unusable settings.
    """
    environment = os.environ if environment is None else environment
    file = Path(path)
    file = file if file.suffix == ".toml" else file / FILE_NAME
    try:
        data = tomllib.loads(file.read_text())
    except FileNotFoundError:
        raise ConfigError(
            f"there is no {FILE_NAME} in {file.parent.resolve()}",
            hint="run `featurestore init`, or give the folder of your repository",
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: {error}", hint='a setting is written: project = "flights"') from None
    known = {"project", "definitions", "now", *_SECTIONS}
    for key in data:
        if key not in known:
            raise ConfigError(f"{file}: unknown setting {key!r}", hint=did_you_mean(key, known))
    project = data.get("project", "")
    if not isinstance(project, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", project):
        raise ConfigError(
            f"{file}: project is {project!r}",
            hint='write project = "flights": letters, digits, _ and -, starting with a letter',
        )
    sections = {
        name: _section(name, section, data.get(name, {}), environment, str(file)) for name, section in _SECTIONS.items()
    }
    definitions = data.get("definitions", "definitions")
    now = _instant(environment.get("FEATURESTORE_NOW", data.get("now")), str(file))
    return Config(project, file.parent.resolve(), definitions, now, **sections)


def _instant(raw: Any, file: str) -> datetime | None:
    if raw is None or raw == "":
        return None
    try:
        instant = raw if isinstance(raw, datetime) else datetime.fromisoformat(raw)
    except (TypeError, ValueError):
        raise ConfigError(f"{file}: now is {raw!r}, not an instant", hint='write now = "2014-01-01T00:00:00Z"') from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def _section(name: str, section: type, data: Any, environment: Mapping[str, str], file: str) -> Any:
    if not isinstance(data, dict):
        raise ConfigError(f"{file}: [{name}] is {data!r}", hint=f"write a section: [{name}]")
    settings = {f.name: f for f in fields(section)}
    for key in data:
        if key not in settings:
            raise ConfigError(f"{file}: unknown setting {key!r} in [{name}]", hint=did_you_mean(key, settings))
    default = section()
    values: dict[str, Any] = {}
    for key in settings:
        variable = f"FEATURESTORE_{name}_{key}".upper()
        where = variable if variable in environment else f"{file}: {name}.{key}"
        raw = environment.get(variable, data.get(key))
        if raw is not None:
            values[key] = _convert(raw, getattr(default, key), where, environment)
    if name == "engine" and values.get("name", "auto") not in ("auto", "cpu", "gpu"):
        raise ConfigError(f"{file}: engine.name is {values['name']!r}", hint="engines are auto, cpu and gpu")
    return section(**values)


def _convert(raw: Any, default: Any, where: str, environment: Mapping[str, str]) -> Any:
    """A setting in the type of its default; sizes may be written ``4GB``."""
    if isinstance(raw, str):
        raw = re.sub(r"\$\{(\w+)\}", lambda m: _variable(m[1], where, environment), raw)
    try:
        if isinstance(default, int) and isinstance(raw, str):
            match = _SIZE.fullmatch(raw.strip())
            if match is None:
                raise ValueError
            return int(float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " "))
        if isinstance(default, float):
            return float(raw)
    except ValueError:
        raise ConfigError(f"{where} is {raw!r}, not a number", hint='write 4096, "512MB" or "4GB"') from None
    if not isinstance(raw, type(default)):
        raise ConfigError(f"{where} is {raw!r}, not {type(default).__name__}")
    return raw


def _variable(name: str, where: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise ConfigError(f"{where} reads ${{{name}}}, which is not set", hint=f"export {name}=...")
    return environment[name]
