"""What holds of the package as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = [
    "pandas",
    "numpy",
    "polars",
    "pyarrow",
    "duckdb",
    "deltalake",
    "obstore",
    "minio",
    "redis",
    "hiredis",
    "sqlalchemy",
    "sqlglot",
    "fastapi",
    "starlette",
    "pydantic",
    "granian",
    "uvicorn",
    "click",
    "rich",
    "msgspec",
    "orjson",
    "great_expectations",
    "confluent_kafka",
    "fsspec",
    "feast",
    "ray",
    "torch",
    "datasketches",
    "fastdigest",
    "cudf",
    "cupy",
    "asyncio",
    "numba",
]


@pytest.mark.parametrize("statement", ["import featurestore", "from featurestore import FeatureStore, types"])
def test_importing_the_package_loads_no_heavy_library(statement: str) -> None:
    code = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) & set(HEAVY) == set()
    assert "featurestore" in done.stdout.split()


@pytest.mark.parametrize("room", ["api", "ingestion", "registry", "transforms", "validation"])
def test_the_top_level_shows_the_rooms_as_relative_links(room: str) -> None:
    link = ROOT / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"featurestore/{room}"
    assert (link / "__init__.py").is_file()
