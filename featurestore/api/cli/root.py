"""The root of the command line: which commands there are, and what becomes of their errors."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import click

from featurestore.api.cli.exits import ExitCode, report_error
from featurestore.api.cli.session import Session, global_options

COMMANDS: Final[Mapping[str, str]] = {
    "init": "Make a model repository that works as it is.",
    "plan": "Show what apply would change.",
    "apply": "Make the definitions of this repository the applied ones.",
    "ingest": "Land raw files in a source's table.",
    "push": "Land rows and update the online store at once.",
    "quarantine": "Rows that were kept aside: show, replay.",
    "materialize": "Bring the online store up to the lake.",
    "get": "Look features up, online or at each label's instant.",
    "dataset": "Training sets: create, list, show, verify, rebuild, diff.",
    "sql": "Ask the lake in SQL.",
    "validate": "Evaluate expectations, profile, measure drift.",
    "check": "Hold a view to the contract of time: leakage.",
    "serve": "Start the HTTP service.",
    "status": "What there is, and how fresh it is.",
    "registry": "Definitions, revisions, lineage, runs.",
    "lake": "Tables: list, history, files, compact, vacuum.",
    "feast": "Come over from Feast: definitions and online data.",
    "erase": "Remove every row of an entity's keys.",
    "doctor": "What this machine has, and what is missing.",
    "conformance": "Judge an engine of windows by the cases of the package.",
    "demo": "From raw logs to served features, on real data.",
    "completion": "Print the completion script of a shell.",
}
"""Each is the module of that name in ``commands``, loaded when it is called."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and summaries without loading them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of a project's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"featurestore.api.cli.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the arguments name, or a usage error that offers the nearest one."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from featurestore.errors import did_you_mean

            ctx.fail(f"no command named {args[0]!r}; {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list that ``--help`` shows."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line; errors become messages and exit codes (see :mod:`featurestore.api.cli.exits`)."""
        arguments = list(sys.argv[1:] if args is None else args)
        session: Session = extra.setdefault("obj", Session())
        code = run(
            lambda: super(LazyGroup, self).main(
                arguments, prog_name, complete_var, standalone_mode=False, windows_expand_args=windows_expand_args, **extra
            ),
            session,
            as_json="--json" in arguments,
        )
        if standalone_mode:
            sys.exit(int(code))
        return code


def run(invoke: Callable[[], Any], session: Session, *, as_json: bool) -> int:
    """Invoke a command and return its exit code, whatever happens."""
    try:
        with _answer_only(session, as_json=as_json):
            result = invoke()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last place where an error can be told
        return report_error(error, as_json=as_json)
    finally:
        session.close()
    return result if isinstance(result, int) else ExitCode.OK


@contextlib.contextmanager
def _answer_only(session: Session, *, as_json: bool) -> Iterator[None]:
    """With ``--json``, stdout carries the answer alone: what a user's definitions print goes to stderr."""
    session.as_json = as_json
    if not as_json:
        yield
        return
    session.output  # noqa: B018 - holds on to the real stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from featurestore import __version__

        click.echo(f"featurestore {__version__}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)
@global_options
def featurestore() -> None:
    """A feature store with one contract of time.

    What is defined once gives training sets that are correct at every instant, and the same answers online.
    Start with `featurestore init my_features`, or see it all at once with `featurestore demo`.
    """
