"""Expectations judged on a stream of batches, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import polars as pl

from featurestore.errors import DataTypeError
from featurestore.registry.records import Expectation
from featurestore.validation.checks import ROW, SAMPLE_SIZE, AggregateCheck, Check, Metrics, RowCheck, columns_read
from featurestore.validation.columns import Columns, as_schema
from featurestore.validation.judging import bind, foreign, judge
from featurestore.validation.results import ValidationReport, label
from featurestore.validation.scan import Samples, compute, merge, sample
from featurestore.validation.spill import KeyedSpill, RowSpill, ValueSpill
from featurestore.validation.types import check_expectations

REASON: Final = "__reason"
"""Column of quarantined rows: what was found and what was expected."""
EXPECTATION: Final = "__expectation"
"""Column of quarantined rows: the expectations that the row fails."""
ROWS_IN_MEMORY: Final = 500_000


class BatchEvaluation:
    """Judges batches as they stream by; the verdict is that of :func:`~featurestore.validation.evaluation.evaluate` on all
    of them together, however the rows were cut into batches.

    Every row counts for every expectation, also the rows that go to quarantine. Metrics that add up are merged; exact
    uniqueness and distinct values keep their columns in hashed buckets on disk, quantiles in a file that is sorted out of
    memory, order checks the last value. What is set aside lives in a temporary folder until :meth:`finish` or
    :meth:`close`.

    Args:
        expectations: the suite.
        schema: of every batch (Polars, Arrow, or featurestore Fields).
        rows_in_memory: how many rows of a column are held before they are set aside on disk.

    Raises:
        DefinitionError: an expectation cannot be right for this schema.

    >>> import polars as pl
    >>> suite = [Expectation("expect_column_values_to_not_be_null", '{"column": "id"}', "quarantine")]
    >>> with BatchEvaluation(suite, {"id": pl.Int64}) as evaluation:
    ...     good, bad = evaluation.update(pl.DataFrame({"id": [1, None]}))
    ...     report = evaluation.finish()
    >>> good.height, bad["__reason"].to_list(), report.success
    (1, ['id is null, expected a value'], False)
    """

    def __init__(self, expectations: Sequence[Expectation], schema: Any, *, rows_in_memory: int = ROWS_IN_MEMORY) -> None:
        self._expectations = tuple(expectations)
        self._schema = as_schema(schema)
        check_expectations(self._expectations, self._schema)
        self._columns = Columns(self._schema)
        self._checks, _ = bind(self._expectations, self._columns)
        self._mergeable = {n: c for n, c in self._checks.items() if c.scope in ("row", "ordered")}
        self._metrics: dict[int, Metrics] = {}
        self._samples: dict[int, Samples] = {}
        self._previous: dict[int, Any] = {}
        self._rows = 0
        self._folder = tempfile.TemporaryDirectory(prefix="featurestore-validation-", ignore_cleanup_errors=True)
        self._keyed, self._ranked, self._foreign = self._open_spills(Path(self._folder.name), rows_in_memory)
        self._needed = self._needed_columns()

    def update(self, batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Judge the next rows.

        Returns:
            The rows to keep, and those that fail an expectation of policy ``quarantine`` (one failure is enough, whatever
            ``mostly`` allows), with ``__reason`` and ``__expectation``. Order is kept in both.

        Raises:
            DataTypeError: a column is missing or of another type than the schema says.
        """
        self._check_batch(batch)
        numbered = batch.select(pl.int_range(self._rows, self._rows + batch.height).alias(ROW), *self._needed)
        found = self._merge(numbered)
        for rows in self._keyed.values():
            rows.append(numbered)
        for values in self._ranked.values():
            values.append(numbered)
        if self._foreign is not None:
            self._foreign.append(batch)
        self._rows += batch.height
        return self._split(batch, found)

    def finish(self) -> ValidationReport:
        """The verdicts on all rows seen. Removes what was set aside; no more batches can follow."""
        try:
            self._finish_mergeable()
            for keys, spill in self._keyed.items():
                self._finish_keyed(keys, spill)
            for number, values in self._ranked.items():
                check = self._checks[number]
                if isinstance(check, AggregateCheck) and check.ranked is not None:
                    self._metrics[number] = values.metrics(check.ranked[1])
            results = judge(self._expectations, self._checks, self._metrics, self._samples)
            if self._foreign is not None:
                from featurestore.validation import gx

                numbers = foreign(self._expectations)
                judged = gx.evaluate(self._foreign.rows(), [self._expectations[number] for number in numbers])
                results |= dict(zip(numbers, judged, strict=True))
        finally:
            self.close()
        ordered = tuple(results[number] for number in range(len(self._expectations)))
        return ValidationReport(ordered, {"row_count": self._rows})

    def close(self) -> None:
        """Remove what was set aside on disk."""
        self._folder.cleanup()

    def __enter__(self) -> BatchEvaluation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def _open_spills(
        self, folder: Path, rows_in_memory: int
    ) -> tuple[dict[tuple[str, ...], KeyedSpill], dict[int, ValueSpill], RowSpill | None]:
        keyed: dict[tuple[str, ...], set[str]] = {}
        ranked: dict[int, ValueSpill] = {}
        for number, check in self._checks.items():
            if check.scope == "keyed":
                keyed.setdefault(check.keys, set()).update(columns_read(check))
            elif isinstance(check, AggregateCheck) and check.ranked is not None:
                ranked[number] = ValueSpill(folder / f"values-{number}", check.ranked[0], rows_in_memory)
        spills = {
            keys: KeyedSpill(
                folder / f"keys-{position}", [self._columns.key(key) for key in keys], [*sorted(columns), ROW], rows_in_memory
            )
            for position, (keys, columns) in enumerate(keyed.items())
        }
        others = RowSpill(folder / "rows", self._schema) if foreign(self._expectations) else None
        return spills, ranked, others

    def _needed_columns(self) -> list[str]:
        needed = {name for check in self._checks.values() for name in columns_read(check)}
        return [name for name in self._schema if name in needed]

    def _check_batch(self, batch: pl.DataFrame) -> None:
        names = self._schema.names() if self._foreign is not None else self._needed
        for name in names:
            found = batch.schema.get(name)
            if found != self._schema[name]:
                what = "is missing" if found is None else f"holds {found}"
                raise DataTypeError(f"column {name!r} of a batch {what}, expected {self._schema[name]}")

    def _merge(self, numbered: pl.DataFrame) -> dict[int, Metrics]:
        """Take in what the checks find in these rows."""
        frame = numbered.lazy()
        _, metrics = compute(frame, self._mergeable, self._previous)
        short = {n: check for n, check in self._mergeable.items() if len(self._samples.get(n, [])) < SAMPLE_SIZE}
        for number, found in sample(frame, short, metrics, row=pl.col(ROW), previous=self._previous).items():
            self._samples[number] = (self._samples.get(number, []) + found)[:SAMPLE_SIZE]
        for number, check in self._mergeable.items():
            self._metrics[number] = merge(check, self._metrics.get(number), metrics[number])
        self._previous |= _last_values(numbered, self._mergeable)
        return metrics

    def _finish_mergeable(self) -> None:
        missing = {n: check for n, check in self._mergeable.items() if n not in self._metrics}
        if missing:
            self._metrics |= compute(pl.LazyFrame(schema=self._schema), missing)[1]

    def _finish_keyed(self, keys: tuple[str, ...], spill: KeyedSpill) -> None:
        checks = {n: c for n, c in self._checks.items() if c.scope == "keyed" and c.keys == keys}
        found: dict[int, Samples] = {number: [] for number in checks}
        nothing = pl.LazyFrame(schema={**self._schema, ROW: pl.Int64})
        for part in [*spill.parts()] or [nothing]:
            _, metrics = compute(part, checks)
            for number, check in checks.items():
                self._metrics[number] = merge(check, self._metrics.get(number), metrics[number])
            for number, rows in sample(part, checks, metrics, row=pl.col(ROW)).items():
                found[number] = sorted([*found[number], *rows], key=lambda row: row[ROW])[:SAMPLE_SIZE]
        self._samples |= found

    def _split(self, batch: pl.DataFrame, metrics: Mapping[int, Metrics]) -> tuple[pl.DataFrame, pl.DataFrame]:
        guards = {
            number: check
            for number, check in self._checks.items()
            if isinstance(check, RowCheck)
            and self._expectations[number].policy == "quarantine"
            # Most batches fail none, which their counts have told already.
            and not (check.scope == "row" and metrics[number]["unexpected"] == 0)
        }
        if not guards:
            empty = batch.clear().with_columns(pl.lit(None, pl.String).alias(name) for name in (REASON, EXPECTATION))
            return batch, empty
        masks = batch.select(check.fails().alias(str(number)) for number, check in guards.items())
        failing = masks.select(pl.any_horizontal(pl.all())).to_series()
        marked = pl.concat([batch.filter(failing), masks.filter(failing)], how="horizontal")
        reasons = [pl.when(pl.col(str(n))).then(_reason(check, self._schema)) for n, check in guards.items()]
        labels = [pl.when(pl.col(str(n))).then(pl.lit(label(self._expectations[n]))) for n in guards]
        bad = marked.with_columns(
            pl.concat_str(reasons, separator="; ", ignore_nulls=True).alias(REASON),
            pl.concat_str(labels, separator=", ", ignore_nulls=True).alias(EXPECTATION),
        ).drop([str(number) for number in guards])
        return batch.filter(~failing), bad


def _last_values(frame: pl.DataFrame, checks: Mapping[int, Check]) -> dict[int, Any]:
    """The last value of each ordered check, where the frame has one."""
    current = {
        str(number): check.current.drop_nulls().last()
        for number, check in checks.items()
        if isinstance(check, RowCheck) and check.current is not None
    }
    if not current:
        return {}
    return {int(number): value for number, value in frame.select(**current).row(0, named=True).items() if value is not None}


def _reason(check: RowCheck, schema: pl.Schema) -> pl.Expr:
    """``arr_delay is 5000, expected at least -120 and at most 2000`` for each row."""
    found: list[pl.Expr] = []
    for name in check.columns:
        dtype = schema[name]
        text = pl.col(name).dt.to_string("iso") if dtype == pl.Duration else pl.col(name).cast(pl.String).str.head(200)
        if dtype.is_nested() or dtype == pl.Binary:
            text = pl.lit("a value")
        shown = pl.when(pl.col(name).is_null()).then(pl.lit("null")).otherwise(text)
        found.append(pl.concat_str(pl.lit(f"{name} is "), shown))
    return pl.concat_str(pl.concat_str(found, separator=", "), pl.lit(f", expected {check.wanted}"))
