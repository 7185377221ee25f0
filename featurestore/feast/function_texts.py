"""Transformations of Feast as functions of ours: their own source text, and a wrapper that speaks our frames.

Nothing is unpickled: Feast's registry holds each function's text beside its pickled form, and only the text is read.
"""

from __future__ import annotations

import ast
import builtins
import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from featurestore.registry.records import SourceCode

_KNOWN_IMPORTS: Final = {
    "pd": "import pandas as pd",
    "pandas": "import pandas",
    "np": "import numpy as np",
    "numpy": "import numpy",
    "pa": "import pyarrow as pa",
    "pl": "import polars as pl",
    "math": "import math",
    "json": "import json",
    "re": "import re",
    "datetime": "from datetime import datetime",
    "timedelta": "from datetime import timedelta",
    "timezone": "from datetime import timezone",
    "Any": "from typing import Any",
    "Dict": "from typing import Dict",
    "List": "from typing import List",
    "Optional": "from typing import Optional",
}
POLARS: Final = "import polars as pl"


@dataclass(frozen=True, slots=True)
class FunctionText:
    """A function of Feast's, made ready to be written into a file.

    Args:
        name: what it is called there.
        text: its text under that name.
        imports: import lines that it needs.
        helpers: texts of functions and constants that it needs.
        unknown: names that it uses and nothing is known of.
    """

    name: str
    text: str
    imports: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def read_function(view: str, text: str, names: Mapping[str, str]) -> FunctionText | None:
    """The function of a transformation's text: without its decorators, under a name of its own; None where the text is none.

    Args:
        view: the view's name here; the function is called ``{view}_in_feast``.
        names: what the function's globals are, where it is known (see ``dump_definitions``).
    """
    text = textwrap.dedent(text)
    try:
        found = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    except SyntaxError:
        return _read_lambda(view, text, names)
    if len(found) != 1:
        return _read_lambda(view, text, names)
    node = found[0]
    node.decorator_list = []
    name = f"{view}_in_feast"
    lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
    lines[0] = re.sub(rf"\bdef\s+{re.escape(node.name)}\b", f"def {name}", lines[0], count=1)
    return _with_names(name, "\n".join(lines), node, names)


def _read_lambda(view: str, text: str, names: Mapping[str, str]) -> FunctionText | None:
    """A lambda somewhere in the text; what stands around it may be cut anywhere."""
    start = text.find("lambda")
    for end in range(len(text), start, -1) if start >= 0 else ():
        try:
            node = ast.parse(text[start:end].strip(), mode="eval").body
        except SyntaxError:
            continue
        if isinstance(node, ast.Lambda):
            name = f"{view}_in_feast"
            function = ast.parse(f"def {name}({ast.unparse(node.args)}):\n    return {ast.unparse(node.body)}").body[0]
            return _with_names(name, ast.unparse(function), function, names)
    return None


def _with_names(name: str, text: str, node: ast.AST, names: Mapping[str, str]) -> FunctionText:
    free = _free_names(node)
    brought = [names.get(used) or _KNOWN_IMPORTS[used] for used in sorted(free) if used in names or used in _KNOWN_IMPORTS]
    brought += [text for used, text in names.items() if used not in free]  # what the helpers use
    imports = tuple(line for line in brought if _is_import(line))
    # Constants first: a helper's default argument may read one.
    helpers = sorted(
        (line.rstrip() for line in brought if not _is_import(line)), key=lambda text: text.startswith(("def ", "class ", "@"))
    )
    unknown = tuple(sorted(free - names.keys() - _KNOWN_IMPORTS.keys()))
    return FunctionText(name, text.rstrip(), imports, tuple(dict.fromkeys(helpers)), unknown)


def _is_import(text: str) -> bool:
    return text.startswith(("import ", "from "))


def _free_names(node: ast.AST) -> set[str]:
    """Names that are read and never bound inside; annotations count, for they are evaluated."""
    read: set[str] = set()
    bound: set[str] = set()
    for child in ast.walk(node):
        if isinstance(child, ast.Name):
            (read if isinstance(child.ctx, ast.Load) else bound).add(child.id)
        elif isinstance(child, ast.arg):
            bound.add(child.arg)
        elif isinstance(child, ast.FunctionDef | ast.ClassDef):
            bound.add(child.name)
        elif isinstance(child, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in child.names}
        elif isinstance(child, ast.ExceptHandler) and child.name:
            bound.add(child.name)
    return {name for name in read - bound if not hasattr(builtins, name)}


def on_demand_wrapper(
    view: str, function: FunctionText, mode: str, *, singleton: bool, aliases: Mapping[str, str]
) -> SourceCode:
    """Our function around Feast's.

    Args:
        mode: ``pandas``, or ``python`` (dictionaries of lists; of single values where ``singleton``).
        aliases: further names of input columns that the function reads, by the column.
    """
    rows = "rows"
    if aliases:
        columns = ", ".join(f"{alias}={json.dumps(column)}" for alias, column in aliases.items())
        rows = f"rows.with_columns({columns})"
    match mode, singleton:
        case "python", True:
            body = f"return pl.DataFrame([{function.name}(row) for row in {rows}.iter_rows(named=True)])"
        case "python", False:
            body = f"return pl.DataFrame({function.name}({rows}.to_dict(as_series=False)))"
        case _:
            body = f"return pl.from_pandas({function.name}({rows}.to_pandas()))"
    return SourceCode(view, f"def {view}(rows: pl.DataFrame) -> pl.DataFrame:\n    {body}\n")


def view_wrapper(view: str, function: FunctionText) -> SourceCode:
    """Our transform around a pandas function of a batch or stream feature view."""
    body = f"return pl.from_pandas({function.name}(events.collect().to_pandas())).lazy()"
    return SourceCode(view, f"def {view}(events: pl.LazyFrame) -> pl.LazyFrame:\n    {body}\n")
