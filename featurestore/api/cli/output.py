"""What a command writes: one JSON document for machines, tables and progress bars for people.

Rich is loaded only where a person is at a terminal; into a pipe or a file goes plain text without colours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click


class Output:
    """Where a command's answer goes.

    Args:
        as_json: machine output: :meth:`answer` writes one JSON document to stdout, and nothing else is written there.
    """

    def __init__(self, *, as_json: bool, stdout: IO[str] | None = None) -> None:
        self.as_json = as_json
        self.stdout = stdout or sys.stdout

    @property
    def terminal(self) -> bool:
        """Whether a person is looking."""
        return not self.as_json and self.stdout.isatty()

    def answer(self, document: Any, show: Callable[[], None]) -> None:
        """Write the answer: ``document`` as JSON, or what ``show`` writes for people."""
        if self.as_json:
            from featurestore.api.wire import to_json

            click.echo(to_json(document), file=self.stdout)
        else:
            show()

    def line(self, text: Any = "") -> None:
        """A line for people."""
        if not self.as_json:
            click.echo(str(text), file=self.stdout)

    def note(self, text: str) -> None:
        """A line beside the answer, on stderr."""
        if not self.as_json:
            click.echo(text, err=True)

    def heading(self, text: str) -> None:
        """A line that begins a part of the answer."""
        self.line(click.style(text, bold=True) if self.terminal else text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "nothing") -> None:
        """A table for people; ``empty`` is said where there are no rows."""
        texts = [[_cell(value) for value in row] for row in rows]
        if not texts:
            self.line(f"({empty})")
        elif self.terminal:
            self._rich_table(columns, texts)
        else:
            self._plain_table(columns, texts)

    def _plain_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
        for row in (columns, *rows):
            self.line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _rich_table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            table.add_column(Text(name), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        Console(file=self.stdout).print(table)

    @contextmanager
    def progress(self) -> Iterator[Callable[[str, int, int | None], None] | None]:
        """Bars on stderr, one per description, fed by the store's progress callback; None where nobody looks."""
        if self.as_json or not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            tasks: dict[str, Any] = {}

            def advance(description: str, done: int, total: int | None) -> None:
                if description not in tasks:
                    tasks[description] = bars.add_task(description, total=total)
                bars.update(tasks[description], completed=done, total=total)

            yield advance


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
