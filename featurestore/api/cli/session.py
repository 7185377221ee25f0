"""What every command is handed: the options before it, the store, and where output goes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from featurestore.api.cli.output import Output

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

_F = TypeVar("_F", bound=Callable[..., Any])


class Session:
    """One run of the command line."""

    def __init__(self) -> None:
        self.repo = "."
        self.as_json = False

    @cached_property
    def output(self) -> Output:
        """Where the answer goes."""
        return Output(as_json=self.as_json)

    @cached_property
    def store(self) -> FeatureStore:
        """The store of ``--repo``, opened on first use."""
        from featurestore.store import FeatureStore

        return FeatureStore(self.repo)

    def close(self) -> None:
        """Let go of the store, if it was opened."""
        opened = self.__dict__.pop("store", None)
        if opened is not None:
            opened.close()


pass_session = click.make_pass_decorator(Session, ensure=True)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(context.ensure_object(Session), str(parameter.name), value)


def global_options(function: _F) -> _F:
    """``--repo`` and ``--json``, which every command takes, before or after its name."""
    repo = click.option(
        "--repo",
        metavar="PATH",
        expose_value=False,
        callback=_remember,
        is_eager=True,
        envvar="FEATURESTORE_REPO",
        type=click.Path(),
        help="Folder of featurestore.toml (default: the current one).",
    )
    as_json = click.option(
        "--json",
        "as_json",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        is_eager=True,
        help="Machine output: one JSON document on stdout; errors as JSON on stderr.",
    )
    return repo(as_json(function))
