"""Run by the interpreter of a Feast installation: imports a repository's definitions and writes them down.

Stands alone: it imports nothing of this package, so that it runs in an environment that has Feast and not us. What it writes is
a JSON document with the serialized registry, and what each transformation uses of its module.
"""

import base64
import importlib
import inspect
import json
import os
import sys
import textwrap
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any


def main(folder: str, target: str) -> None:
    """Write the definitions of the repository in ``folder`` to the file ``target``."""
    os.chdir(folder)
    sys.path.insert(0, folder)
    operations = importlib.import_module("feast.repo_operations")
    root = Path(folder)
    contents = operations.parse_repo(root)
    functions = {}
    views = [*contents.feature_views, *contents.stream_feature_views, *contents.on_demand_feature_views]
    for view in views:
        function = _function(view)
        if function is not None:
            functions[view.name] = _names(function, root)
    document = {
        "registry": base64.b64encode(contents.to_registry_proto().SerializeToString()).decode(),
        "functions": functions,
    }
    Path(target).write_text(json.dumps(document))


def _function(view: Any) -> Any:
    transformation = getattr(view, "feature_transformation", None)
    function = getattr(transformation, "udf", None) or getattr(view, "udf", None)
    return function if isinstance(function, FunctionType) else None


def _names(function: Any, root: Path) -> dict[str, str]:
    """Each global that a function reads, with the text that brings it: an import, a helper's source, or an assignment."""
    found: dict[str, str] = {}
    _follow(function, root, found)
    return found


def _follow(function: Any, root: Path, found: dict[str, str]) -> None:
    for name in sorted(_global_names(function.__code__)):
        if name in found or name not in function.__globals__:
            continue
        value = function.__globals__[name]
        text = _text(name, value, root)
        if text is not None:
            found[name] = text
        if isinstance(value, FunctionType) and text is not None and not text.startswith("from "):
            _follow(value, root, found)


def _global_names(code: Any) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if inspect.iscode(constant):
            names |= _global_names(constant)
    return names


def _text(name: str, value: Any, root: Path) -> "str | None":
    if isinstance(value, ModuleType):
        return f"import {value.__name__}" if value.__name__ == name else f"import {value.__name__} as {name}"
    if isinstance(value, FunctionType | type):
        try:
            file = Path(inspect.getsourcefile(value) or "/")
            if file.is_relative_to(root):
                return textwrap.dedent(inspect.getsource(value))
        except (OSError, TypeError):
            return None
        named: str = value.__name__
        return f"from {value.__module__} import {named}" + ("" if named == name else f" as {name}")
    if isinstance(value, int | float | str | bool | bytes | None) or _is_plain(value):
        return f"{name} = {value!r}"
    module, own = getattr(value, "__module__", None), getattr(value, "__name__", None)
    return f"from {module} import {own}" if module and own else None


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
