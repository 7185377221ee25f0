from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

from featurestore.errors import DefinitionError
from featurestore.registry.catalog import Catalog
from featurestore.registry.definitions import Definitions
from featurestore.registry.repository import Repository, bind_code, load_definitions
from featurestore.registry.serialization import version_of
from tests.registry.examples import SHARED, VIEWS, write_repository


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "definitions")


def test_a_folder_of_files_gives_its_definitions(folder: Path) -> None:
    found = load_definitions(folder)
    assert [d.name for d in found] == ["plane", "flights", "delays", "model"]
    assert str(found.views["delays"].location) == "definitions/views.py:7"
    frame = pl.LazyFrame({"tailnum": ["a"], "landed_at": [1], "arr_delay": [30.0]})
    assert found.views["delays"].transform(frame).collect()["delay"].to_list() == [0.5]


@pytest.mark.parametrize("line", ["from shared import", "from .shared import", "from definitions.shared import"])
def test_files_import_each_other_in_any_of_three_ways(folder: Path, line: str) -> None:
    write_repository(folder, views=VIEWS.replace("from .shared import", line))
    assert list(load_definitions(folder).views) == ["delays"]


def test_folders_below_are_read_and_the_same_module_is_imported_once(folder: Path) -> None:
    text = "import shared\nfrom ..shared import plane\nfrom definitions.shared import flights\nassert shared.plane is plane\n"
    write_repository(folder, **{"teams.ops": text})
    assert list(load_definitions(folder).entities) == ["plane"]


def test_the_interpreter_is_left_as_it_was(folder: Path) -> None:
    before, finders = dict(sys.modules), list(sys.meta_path)
    load_definitions(folder)
    assert {k: v for k, v in sys.modules.items() if k in before or "definitions" in k.split(".")[0] or k == "shared"} == before
    assert sys.meta_path == finders


def test_an_edit_is_seen_at_the_next_load(folder: Path) -> None:
    before = load_definitions(folder).views["delays"]
    write_repository(folder, shared=SHARED.replace("MINUTES = 60", "MINUTES = 61"))
    after = load_definitions(folder).views["delays"]
    assert version_of(before) != version_of(after)  # the function's own text is the same, its constant is not
    assert before.transform.text == after.transform.text


def test_what_a_function_uses_is_kept_with_it(folder: Path) -> None:
    requires = dict(load_definitions(folder).views["delays"].transform.requires)
    assert requires == {
        "definitions.shared.MINUTES": "60",
        "definitions.shared.hours": "def hours(column):\n    return column / MINUTES\n",
    }


def test_definitions_in_lists_and_dictionaries_count(folder: Path) -> None:
    text = (
        "from featurestore import FeatureView\nfrom shared import plane, flights\n"
        "many = [FeatureView(f'v{n}', entities=[plane], source=flights, features=['x']) for n in range(2)]\n"
        "named = {'x': FeatureView('v2', entities=[plane], source=flights, features=['x'])}\n"
    )
    write_repository(folder, many=text)
    assert list(load_definitions(folder).views) == ["delays", "v0", "v1", "v2"]


def test_an_entity_written_inside_a_view_is_found(folder: Path) -> None:
    text = (
        "from featurestore import Entity, FeatureView, types as t\n"
        "v = FeatureView('v', entities=[Entity('route', join_keys={'o': t.String})], source='flights', features=['x'])\n"
    )
    write_repository(folder, inline=text)
    assert list(load_definitions(folder).entities) == ["plane", "route"]
    write_repository(folder, inline=text.replace("'route'", "'plane'"))
    with pytest.raises(DefinitionError, match=r"definitions/inline.py:2: .*'plane' that differs.*definitions/shared.py:3"):
        load_definitions(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (\n", r"broken.py:1: the file is not Python: '\(' was never closed"),
        ("a = 1\nb = a / 0\n", r"broken.py:2: the file cannot be imported: ZeroDivisionError"),
        ("import no_such_library\n", r"broken.py:1: .*ModuleNotFoundError: No module named 'no_such_library'"),
        ("from shared import nothing\n", r"broken.py:1: .*cannot import name 'nothing'"),
        ("from shared import hours\n\nhours(None)\n", r"shared.py:9: .*TypeError"),
        ("from featurestore import Entity\n\nplane = Entity('a-b', join_keys={})\n", r"broken.py:3: entity name 'a-b'"),
        ("import featurestore as f\n\nf.sliding('soon')\n", r"broken.py:3: not a duration: 'soon'"),
        (SHARED, r"definitions/shared.py:3: entity 'plane' is defined twice: also at definitions/broken.py:3"),
        ("from shared import *\nfrom featurestore import *\nv = FeatureView('v', entities=[plane], source='flight')\n",
         r"definitions/broken.py:3: feature view 'v' reads the source 'flight'.*\n.*did you mean 'flights'"),
    ],
    ids=["syntax", "raises", "no library", "no name", "in a helper", "bad name", "bad duration", "twice", "no source"],
)  # fmt: skip
def test_a_fault_is_named_by_file_and_line(folder: Path, text: str, message: str) -> None:
    write_repository(folder, broken=text)
    with pytest.raises(DefinitionError, match=message):
        load_definitions(folder)


def test_several_faults_come_in_one_error(folder: Path) -> None:
    text = "from featurestore import *\nfrom shared import plane\n" + "".join(
        f"v{n} = FeatureView('v{n}', entities=[plane], source='none')\n" for n in range(2)
    )
    write_repository(folder, broken=text)
    with pytest.raises(DefinitionError, match=r"2 definitions(.|\n)*broken.py:3(.|\n)*broken.py:4"):
        load_definitions(folder)


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="no folder of definitions"):
        load_definitions(tmp_path / "none")


def test_a_file_name_that_cannot_be_imported_is_an_error(folder: Path) -> None:
    (folder / "my-views.py").write_text("")
    with pytest.raises(DefinitionError, match=r"'my-views.py' is no module name"):
        load_definitions(folder)


# -- binding -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def applied(folder: Path, catalog: Catalog) -> Definitions:
    catalog.apply(load_definitions(folder), author="ada")
    return catalog.definitions()


FRAME = pl.LazyFrame({"tailnum": ["a"], "landed_at": [1], "arr_delay": [30.0]})


def test_what_was_written_is_what_comes_from_the_catalog(folder: Path, applied: Definitions) -> None:
    assert applied == load_definitions(folder)


def test_applied_definitions_run_the_code_of_the_folder(folder: Path, applied: Definitions) -> None:
    bound = bind_code(applied, folder)
    assert bound == applied
    assert bound.views["delays"].transform(FRAME).collect()["delay"].to_list() == [0.5]


def test_comments_do_not_part_code_from_what_was_applied(folder: Path, applied: Definitions) -> None:
    write_repository(folder, views=VIEWS.replace("    return", "    # in hours\n    return"))
    assert bind_code(applied, folder).views["delays"].transform(FRAME) is not None


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"views": VIEWS.replace("delay=", "late=")}, r"views.py:7: .*'delays' changed since it was applied(.|\n)*store apply"),
        ({"shared": SHARED.replace("60", "61")}, r"'delays' changed since it was applied"),
        ({"views": "x = 1\n"}, r"'delays' is applied, but no longer defined(.|\n)*featurestore apply"),
        ({"views": "x = (\n"}, r"code cannot be imported: .*not Python"),
    ],
    ids=["changed", "helper changed", "gone", "broken"],
)  # fmt: skip
def test_code_that_is_not_what_was_applied_does_not_run(folder: Path, applied: Definitions, files: dict, message: str) -> None:
    write_repository(folder, **files)
    bound = bind_code(applied, folder)
    assert bound == applied  # all that needs no code goes on
    with pytest.raises(DefinitionError, match=message):
        bound.views["delays"].transform(FRAME)


def test_files_are_imported_again_only_after_a_change(folder: Path, applied: Definitions) -> None:
    repository = Repository(folder)
    first = repository.bind(applied)
    assert repository.bind(applied) is first
    assert repository.load() is repository.load()
    write_repository(folder, views=VIEWS + "\n")
    assert repository.bind(applied) is not first
