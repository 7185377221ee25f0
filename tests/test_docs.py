"""What the documentation says is there, and the README's lines run as they stand."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from featurestore.api.cli.root import COMMANDS
from featurestore.store import FeatureStore

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "featurestore").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_every_page_stands_in_the_index(page: Path) -> None:
    assert page.name == "README.md" or f"({page.name})" in (ROOT / "docs" / "README.md").read_text()


def test_every_command_of_the_documentation_exists() -> None:
    written = [
        line for page in PAGES for kind in ("sh", "console") for block in blocks(page, kind) for line in block.splitlines()
    ]
    named = {match[1] for line in written if (match := re.match(r"(?:\$ )?featurestore ([a-z]+)", line))}
    assert named >= {"init", "apply", "plan", "ingest", "materialize", "get", "serve"}
    assert named <= COMMANDS.keys()


def test_the_readmes_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions, use = blocks(ROOT / "README.md", "python")
    (tmp_path / "definitions").mkdir()
    (tmp_path / "featurestore.toml").write_text('project = "flights"\nnow = "2013-10-04T00:00:00Z"\n')
    (tmp_path / "definitions" / "flights.py").write_text(definitions)
    (tmp_path / "raw").mkdir()
    landings = b"tailnum,landed_at,arr_delay\nN14228,2013-01-01T10:00:00Z,11\nN14228,2013-10-02T10:00:00Z,5\n"
    (tmp_path / "raw" / "landings-1.csv.gz").write_bytes(gzip.compress(landings))
    monkeypatch.chdir(tmp_path)
    instants = [datetime(2013, 1, 2, tzinfo=UTC), datetime(2013, 10, 3, tzinfo=UTC)]
    names: dict[str, Any] = {
        "FeatureStore": FeatureStore,
        "labels": pl.DataFrame({"tailnum": ["N14228"] * 2, "event_timestamp": instants}),
    }
    exec(use.replace("path/to/repo", "."), names)
    with names["store"] as store:
        made = store.dataset("delays")
        assert {part: made.to_polars(part)["last_arr_delay"].to_list() for part in made.parts} == {"train": [11], "test": [5]}
        assert store.get_online_features("delay_model", [{"tailnum": "N14228"}]).to_dict() == {"last_arr_delay": [5]}
