from __future__ import annotations

from pathlib import Path

import pytest

from featurestore.config import Config, LakeConfig, load_config
from featurestore.errors import ConfigError


def load(folder: Path, text: str, **environment: str) -> Config:
    (folder / "featurestore.toml").write_text(text)
    return load_config(folder, environment)


def test_one_line_is_enough(tmp_path: Path) -> None:
    config = load(tmp_path, 'project = "flights"')
    assert config == Config("flights", tmp_path.resolve())
    assert config.lake == LakeConfig(".featurestore/lake")
    assert config.resolve(config.lake.url) == tmp_path.resolve() / ".featurestore" / "lake"
    assert config.state_folder == tmp_path.resolve() / ".featurestore"


def test_the_file_itself_may_be_named(tmp_path: Path) -> None:
    assert load(tmp_path, 'project = "a-b"') == load_config(tmp_path / "featurestore.toml", {})


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    text = 'project = "f"\n[lake]\nurl = "s3://one"\nregion = "x"\n'
    config = load(
        tmp_path, text, FEATURESTORE_LAKE_URL="s3://two", FEATURESTORE_SERVER_PORT="80", FEATURESTORE_ONLINE_TIMEOUT_SECONDS="2"
    )
    assert (config.lake.url, config.lake.region, config.server.port, config.online.timeout_seconds) == (
        "s3://two",
        "x",
        80,
        2.0,
    )


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path: Path) -> None:
    config = load(tmp_path, 'project = "f"\n[lake]\nsecret_key = "${S3_KEY}-x"\n', S3_KEY="hush")
    assert config.lake.secret_key == "hush-x"
    assert "hush" not in repr(config)


@pytest.mark.parametrize(("written", "size"), [("4096", 4096), ('"512MB"', 512 << 20), ('"1.5 GiB"', 3 << 29), ('"2k"', 2048)])
def test_sizes(tmp_path: Path, written: str, size: int) -> None:
    assert load(tmp_path, f'project = "f"\n[engine]\nmemory_limit = {written}\n').engine.memory_limit == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project = ", r"featurestore.toml: .*\nHint: a setting is written"),
        ("", "project is ''"),
        ('project = "1"', "project is '1'"),
        ('project = "f"\nlakes = 1', r"unknown setting 'lakes'\nHint: did you mean 'lake'"),
        ('project = "f"\n[lake]\nurk = "x"', r"unknown setting 'urk' in \[lake\]\nHint: did you mean 'url'"),
        ('project = "f"\nlake = 3', r"\[lake\] is 3"),
        ('project = "f"\n[server]\nport = "many"', "server.port is 'many', not a number"),
        ('project = "f"\n[lake]\nurl = 3', "lake.url is 3, not str"),
        ('project = "f"\n[engine]\nname = "tpu"', r"engine.name is 'tpu'\nHint: engines are auto, cpu and gpu"),
        ('project = "f"\n[lake]\nurl = "${NOWHERE}"', r"reads \$\{NOWHERE\}, which is not set"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_no_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="featurestore init"):
        load_config(tmp_path, {})
