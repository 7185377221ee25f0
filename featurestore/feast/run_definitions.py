"""Definitions of a Feast repository by running them, in a process of an environment that has Feast."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from featurestore.errors import DefinitionError
from featurestore.feast.registry_source import FeastProject, decode_registry, project_contents

_SCRIPT: Final = Path(__file__).with_name("dump_definitions.py")
_TIMEOUT_SECONDS: Final = 600


def run_definitions(folder: Path, project: str, *, python: str | None = None) -> FeastProject:
    """The definitions that the Python files of a Feast repository hold, applied or not.

    They run in a process of their own: Feast's import takes seconds and pins packages that we do not.

    Args:
        python: an interpreter that has Feast; this one unless given.

    Raises:
        DefinitionError: they cannot be run; says what the process said last.
    """
    root = folder.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "definitions.json"
        # By its text: run as a file, its folder would come first on the path of imports.
        command = [python or sys.executable, "-c", _SCRIPT.read_text(), str(root), str(target)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False, cwd=root)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DefinitionError(f"the definitions in {root} cannot be run: {error}", hint="is --python right?") from None
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise DefinitionError(
                f"the definitions in {root} cannot be run: {last[0]}",
                hint="give an interpreter that has feast and what the definitions import: --python /path/to/venv/bin/python",
            )
        document = json.loads(target.read_text())
    contents = decode_registry(base64.b64decode(document["registry"]))
    return FeastProject(project, project_contents(contents, project), root, document["functions"])
