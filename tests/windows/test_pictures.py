"""The pictures of the docs are those that the project draws, and the page names what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from featurestore.registry.functions import FUNCTIONS
from featurestore.testing import conformance

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "windows.md").read_text(encoding="utf-8")
ROWS = {name: row for row in PAGE.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_committed_pictures_are_what_is_drawn(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DOCS / "draw_windows.py", tmp_path], check=True)
    drawn = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert drawn == {file.name: file.read_text(encoding="utf-8") for file in (DOCS / "pictures").glob("*.svg")}
    assert set(re.findall(r"\(pictures/([\w.-]+)\)", PAGE)) == set(drawn)


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("window-kinds", 5 + 7 + 5 + 10),  # counted by eye, lane by lane
        ("window-bounds", 3 + 4 + 3 + 2),
        ("window-delay", 4 + 4),
        ("window-known", 4 + 2),
    ],
)
def test_the_dots_that_count_are_filled(name: str, counted: int) -> None:
    picture = ET.parse(DOCS / "pictures" / f"{name}.svg")
    circles = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert sum(circle.get("fill") == "#1d4ed8" for circle in circles) == counted


def test_the_table_lists_every_function_with_its_empty_window() -> None:
    assert set(ROWS) - {"n", "q", "half_life"} >= set(FUNCTIONS)
    for name, function in FUNCTIONS.items():
        empty = "null" if function.empty is None else "`[]`" if function.empty == () else str(function.empty)
        assert empty in ROWS[name].split("|")[4], name


def test_the_number_of_cases_is_right() -> None:
    assert f"{sum(len(group.cases) for group in conformance.load_groups())} hand-checkable cases" in PAGE
