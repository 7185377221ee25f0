"""A folder of definitions: the one place where the registry imports a user's code.

Every ``*.py`` file below the folder is imported as a module of a package with the folder's name. Files may import each other
at their top level, by ``from flights import plane``, ``from .flights import plane``, ``from definitions.flights import plane``.
The modules are private to the load: ``sys.modules`` is as it was before, so that two repositories, or two states of one, do not
meet.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

from featurestore.errors import DefinitionError, FeatureStoreError
from featurestore.registry.checks import check_references
from featurestore.registry.definitions import (
    KINDS,
    Definition,
    Definitions,
    Entity,
    EventSource,
    FeatureService,
    FeatureView,
    OnDemandFeatureView,
)
from featurestore.registry.records import Location, SourceCode, set_fields
from featurestore.registry.requirements import requirements_of
from featurestore.registry.serialization import same_code

_Signature: TypeAlias = tuple[tuple[str, int, int], ...]
D = TypeVar("D", bound=Definition)

# Python's table of modules is one for the process: two loads at once would see each other's files.
_LOADING: Final = threading.RLock()


def load_definitions(folder: Path) -> Definitions:
    """The definitions that the Python files below a folder hold at module level, alone or in lists, tuples and dictionaries.

    Raises:
        DefinitionError: there is no such folder; a file cannot be imported; two definitions share a name; a definition refers
            to what does not exist. It names file and line.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise DefinitionError(
            f"there is no folder of definitions at {folder}",
            hint="make it, or set definitions in featurestore.toml; `featurestore init` writes an example",
        )
    with _LOADING, _Package(folder) as package:
        collected = _Collector(folder)
        for name in package.modules():
            collected.add_module(package.load(name))
        definitions = collected.definitions()
    check_references(definitions)
    return definitions


def bind_code(applied: Definitions, folder: Path) -> Definitions:
    """The applied definitions with the living functions of the folder's files, where these say what was applied.

    A function whose code differs, is gone, or cannot be imported raises a DefinitionError when it is called, which says so;
    everything else of the definitions works.
    """
    return Repository(folder).bind(applied)


class Repository:
    """A folder of definitions that is imported again only after one of its files changed. Safe to share between threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).resolve()
        self._lock = threading.Lock()
        self._loaded: tuple[_Signature, Definitions | FeatureStoreError] | None = None
        self._bound: tuple[_Signature, Definitions, Definitions] | None = None

    def load(self) -> Definitions:
        """What the files say now; see :func:`load_definitions`."""
        _, found = self._load()
        if isinstance(found, FeatureStoreError):
            raise found
        return found

    def bind(self, applied: Definitions) -> Definitions:
        """The applied definitions with living functions; see :func:`bind_code`. The same object while nothing changed."""
        signature, written = self._load()
        bound = self._bound
        if bound is not None and bound[0] == signature and bound[1] is applied:
            return bound[2]
        definitions = _bind(applied, written)
        self._bound = (signature, applied, definitions)
        return definitions

    def _load(self) -> tuple[_Signature, Definitions | FeatureStoreError]:
        with self._lock:
            signature = self._signature()
            if self._loaded is None or self._loaded[0] != signature:
                found: Definitions | FeatureStoreError
                try:
                    found = load_definitions(self.folder)
                except FeatureStoreError as error:
                    found = error
                self._loaded = (signature, found)
            return self._loaded

    def _signature(self) -> _Signature:
        found = [(path, path.stat()) for path in _files(self.folder)]
        return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in found)


def _files(folder: Path) -> list[Path]:
    """The folder's Python files, in the order of their names; not those of hidden folders and caches."""
    found = sorted(folder.rglob("*.py"))
    return [p for p in found if not any(part.startswith((".", "__pycache__")) for part in p.relative_to(folder).parts)]


# -- importing -----------------------------------------------------------------------------------------------------------


class _Package:
    """The files of a folder as modules of a package, importable inside a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name if folder.name.isidentifier() else "definitions"
        self._files = {self._module_name(path): path for path in _files(folder)}
        self._finder = _Finder(self)

    def modules(self) -> Sequence[str]:
        """The full names of all modules."""
        return sorted(name for name in self._files if name != self.name) + [n for n in self._files if n == self.name]

    def load(self, name: str) -> ModuleType:
        """Import a module.

        Raises:
            DefinitionError: it cannot be imported; names the file and line at fault.
        """
        try:
            return importlib.import_module(name)
        except FeatureStoreError as error:
            if isinstance(error, DefinitionError) and error.location in (None, "None"):
                raise DefinitionError(error.message, location=str(_place(error, self.folder)), hint=error.hint) from error
            raise
        except SyntaxError as error:
            location = f"{error.filename}:{error.lineno}"
            raise DefinitionError(f"the file is not Python: {error.msg}", location=location) from error
        except Exception as error:
            location = str(_place(error, self.folder) or self._files[name])
            raise DefinitionError(
                f"the file cannot be imported: {type(error).__name__}: {error}",
                location=location,
                hint="a definitions file must import in a fresh interpreter: `python FILE` shows the whole traceback",
            ) from error

    def spec(self, name: str) -> ModuleSpec | None:
        """How to import a name, if it is one of ours."""
        full = name if name == self.name or name.startswith(f"{self.name}.") else f"{self.name}.{name}"
        if full != name and name.partition(".")[0] in sys.stdlib_module_names:
            return None
        path = self._files.get(full)
        is_folder = (self.folder / Path(*full.split(".")[1:])).is_dir()
        if path is None and not (is_folder and any(known.startswith(f"{full}.") for known in self._files)):
            return None
        if full != name:
            return ModuleSpec(name, _Alias(full))
        spec = ModuleSpec(name, _Source(path), origin=str(path) if path else None, is_package=is_folder)
        if is_folder:
            spec.submodule_search_locations = []
        spec.has_location = path is not None
        return spec

    def _module_name(self, path: Path) -> str:
        parts = path.relative_to(self.folder).with_suffix("").parts
        if not all(part.isidentifier() for part in parts):
            raise DefinitionError(
                f"{path.name!r} is no module name", location=f"{path}:1", hint="use letters, digits and underscores"
            )
        return ".".join((self.name, *(parts[:-1] if parts[-1] == "__init__" else parts)))

    def _is_ours(self, name: str) -> bool:
        top = name.partition(".")[0]
        return top == self.name or f"{self.name}.{top}" in self._tops

    @property
    def _tops(self) -> set[str]:
        return {".".join(name.split(".")[:2]) for name in self._files}

    def __enter__(self) -> _Package:
        self._hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if self._may_hide(name)}
        self._before = set(sys.modules)
        sys.meta_path.insert(0, self._finder)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.meta_path.remove(self._finder)
        for name in set(sys.modules) - self._before:
            if self._is_ours(name):
                del sys.modules[name]
        sys.modules.update(self._hidden)

    def _may_hide(self, name: str) -> bool:
        """Our own names, as far as they are not those of Python's library, which stays what it is."""
        return self._is_ours(name) and name.partition(".")[0] not in sys.stdlib_module_names


class _Finder(MetaPathFinder):
    def __init__(self, package: _Package) -> None:
        self._package = package

    def find_spec(self, fullname: str, *_: object) -> ModuleSpec | None:
        return self._package.spec(fullname)


class _Source(Loader):
    """Runs a file's text as it is now; no bytecode is read or written. A folder without ``__init__.py`` is empty."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if self._path is not None:
            source = importlib.util.decode_source(self._path.read_bytes())
            exec(compile(source, str(self._path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102


class _Alias(Loader):
    """A sibling imported by its bare name is the same module as by its full one."""

    def __init__(self, full: str) -> None:
        self._full = full

    def create_module(self, _spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands here under the name when this returns.
        sys.modules[module.__name__] = importlib.import_module(self._full)


def _place(error: BaseException, folder: Path) -> Location | None:
    """The innermost line of the folder's files that an error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(folder)]
    return Location(frames[-1].filename, frames[-1].lineno or 1) if frames else None


# -- collecting ----------------------------------------------------------------------------------------------------------


class _Collector:
    """Gathers the definitions of modules; the same object may be seen in several."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[int, Definition] = {}
        self._found: dict[tuple[str, str], Definition] = {}

    def add_module(self, module: ModuleType) -> None:
        for value in list(vars(module).values()):
            for definition in _definitions_in(value):
                if id(definition) not in self._seen:
                    self._seen[id(definition)] = definition
                    self._add(definition)

    def _add(self, definition: Definition) -> None:
        kind = "feature view" if isinstance(definition, OnDemandFeatureView) else KINDS[type(definition)]
        other = self._found.setdefault((kind, definition.name), definition)
        if other is not definition:
            raise DefinitionError(
                f"{KINDS[type(definition)]} {definition.name!r} is defined twice: also at {self._placed(other).location}",
                location=str(self._placed(definition).location),
                hint="rename one of them, or import the one where the other is used",
            )

    def definitions(self) -> Definitions:
        for view in [d for d in self._found.values() if isinstance(d, FeatureView)]:
            for entity in view.entities:  # an entity may be written inside its view, without a name in the file
                known = self._found.setdefault(("entity", entity.name), entity)
                if known != entity:
                    raise DefinitionError(
                        f"feature view {view.name!r} has an entity {entity.name!r} that differs from the one defined at "
                        f"{self._placed(known).location}",
                        location=str(self._placed(view).location),
                        hint="import that entity instead of defining it again",
                    )
        placed = [self._placed(definition) for definition in self._found.values()]
        return Definitions(
            entities=_named(placed, Entity),
            sources=_named(placed, EventSource),
            views=_named(placed, FeatureView),
            on_demand_views=_named(placed, OnDemandFeatureView),
            services=_named(placed, FeatureService),
        )

    def _placed(self, definition: D) -> D:
        """With what its functions require, and its file as seen from the repository: the same on every machine."""
        values: dict[str, Any] = {"location": self._relative(definition.location)}
        if isinstance(definition, FeatureView):
            values["entities"] = tuple(_with(e, location=self._relative(e.location)) for e in definition.entities)
        for name, code in _codes(definition).items():
            if code.call is not None:
                values[name] = replace(code, requires=requirements_of(code.call, self._folder))
        return _with(definition, **values)

    def _relative(self, location: Location | None) -> Location | None:
        if location is None or not Path(location.file).is_relative_to(self._folder):
            return location
        return Location(Path(location.file).relative_to(self._folder.parent).as_posix(), location.line)


def _definitions_in(value: Any) -> Iterator[Definition]:
    if type(value) in KINDS:
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _definitions_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _definitions_in(item)


def _named(found: Iterable[Definition], cls: type[D]) -> dict[str, D]:
    return {d.name: d for d in sorted((d for d in found if isinstance(d, cls)), key=lambda d: d.name)}


def _with(definition: D, **values: Any) -> D:
    """A copy with other values; `dataclasses.replace` would call the constructor, which takes other arguments."""
    changed = copy.copy(definition)
    set_fields(changed, **values)
    return changed


def _codes(definition: Definition) -> dict[str, SourceCode]:
    """The functions of a definition, by attribute."""
    found = {name: getattr(definition, name, None) for name in ("transform", "prepare")}
    return {name: code for name, code in found.items() if code is not None}


# -- binding -------------------------------------------------------------------------------------------------------------


def _bind(applied: Definitions, written: Definitions | FeatureStoreError) -> Definitions:
    def bound(group: Mapping[str, D], others: Mapping[str, D] | None) -> dict[str, D]:
        return {name: _bound(d, None if others is None else others.get(name), written) for name, d in group.items()}

    known = written if isinstance(written, Definitions) else None
    return replace(
        applied,
        sources=bound(applied.sources, known.sources if known else None),
        views=bound(applied.views, known.views if known else None),
        on_demand_views=bound(applied.on_demand_views, known.on_demand_views if known else None),
    )


def _bound(definition: D, other: Definition | None, written: Definitions | FeatureStoreError) -> D:
    if isinstance(definition, FeatureView) and definition.mode == "sql":
        return definition
    theirs = {} if other is None else _codes(other)
    values = {}
    for name, code in _codes(definition).items():
        found = theirs.get(name)
        if found is not None and same_code(code, found):
            values[name] = replace(code, call=found.call)
        else:
            values[name] = replace(code, call=_refusal(definition, code, other, written))
    return _with(definition, **values) if values else definition


def _refusal(
    definition: Definition, code: SourceCode, other: Definition | None, written: Definitions | FeatureStoreError
) -> Callable[..., NoReturn]:
    what = f"{KINDS[type(definition)]} {definition.name!r}"
    location = str(definition.location) if definition.location else None
    if isinstance(written, FeatureStoreError):
        message, hint = f"{what}: its code cannot be imported: {written.message}", "mend the file"
    elif other is None:
        message, hint = f"{what} is applied, but no longer defined in the repository", "run `featurestore apply`"
    else:
        message = f"{what}: function {code.name!r} changed since it was applied"
        location = str(other.location) if other.location else location
        hint = "run `featurestore apply`, or undo the change"

    def refuse(*_: Any) -> NoReturn:
        raise DefinitionError(message, location=location, hint=hint)

    return refuse
