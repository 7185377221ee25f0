"""Replay: quarantined rows once more, by today's definition.

Rows that pass land, each under a ``__batch`` that says which row of which batch it was, and leave the quarantine; the others
stay, with today's reason. Again the order of commits makes crashes harmless: rows land first, in one commit under the number of
the replay, and are removed from the quarantine then; a later replay finds what landed and did not leave, and removes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import polars as pl
import pyarrow as pa

from featurestore.ingestion import quarantine
from featurestore.ingestion.batches import Batch, Landed, Progress, Target, counts_of, make_report
from featurestore.ingestion.landing import land
from featurestore.ingestion.options import ReadOptions, read_options
from featurestore.ingestion.readers import LINE_FORMATS, reader_for
from featurestore.ingestion.readers.chunks import UNDECODABLE, Chunk, Place, TypeOf, no_type
from featurestore.ingestion.readers.tables import rows_from_json, schema_from_text
from featurestore.ingestion.report import BatchReport, IngestReport
from featurestore.time import BATCH

if TYPE_CHECKING:
    from featurestore.ingestion.lake import Lake
    from featurestore.ingestion.quarantine import Spool
    from featurestore.registry.catalog import Catalog
    from featurestore.registry.definitions import EventSource
    from featurestore.time import Clock

SLICE: Final = 50_000
"""Rows that are replayed in one commit."""


class Origin(NamedTuple):
    """Where quarantined rows came from, and how they are read."""

    batch: str
    file: str
    format: str
    header: str | None


@dataclass
class _Outcome:
    read: int = 0
    landed: int = 0
    quarantined: int = 0
    duplicates: int = 0
    parts: list[Landed] = field(default_factory=list)


def replay(
    source: EventSource, *, lake: Lake, catalog: Catalog, clock: Clock, progress: Progress | None = None
) -> IngestReport:
    """Try the quarantined rows of a source again.

    Rows are judged as batches of their own, ``reject`` expectations included. Lines with bytes that are no UTF-8 stay: what
    they were is only in their file. In the report, a row that an interrupted replay had landed counts as duplicate.

    Raises:
        IngestionError: a row breaks a rule that refuses batches.
        ValidationError: an expectation of policy ``reject`` failed.
    """
    target = Target(source, lake, catalog, clock)
    started = time.monotonic()
    with catalog.start_run("replay", source.name) as run:
        landed: list[Landed] = []
        origins = _origins(target)
        for number, origin in enumerate(origins):
            landed.append(_replay_origin(target, origin))
            if progress is not None:
                progress(f"replay {source.name}", number + 1, len(origins))
        report = make_report(target, landed, run.id, time.monotonic() - started)
        run.update(counts=counts_of(report), validation=report.validation)
        return report


def _origins(target: Target) -> list[Origin]:
    if not target.quarantine.exists():
        return []
    columns = target.quarantine.scan().select(BATCH, "file", "format", "header").unique()
    return sorted((Origin(*row) for row in columns.collect(engine="streaming").iter_rows()), key=str)


def _replay_origin(target: Target, origin: Origin) -> Landed:
    done = _Outcome()
    after: int | None = None
    while (rows := _next_rows(target, origin, after)).height:
        last = int(rows["line"][-1])
        if _replay_rows(target, origin, rows, done):
            after = last
    report = BatchReport(
        origin.file, origin.batch, done.read, done.landed, done.quarantined, done.duplicates, target.events.version()
    )
    validation = done.parts[-1].validation if done.parts else None
    return Landed(report, validation, any(part.froze for part in done.parts))


def _is_of(origin: Origin) -> pl.Expr:
    same = (pl.col(BATCH) == origin.batch) & (pl.col("file") == origin.file) & (pl.col("format") == origin.format)
    return same & (pl.col("header").is_null() if origin.header is None else pl.col("header") == origin.header)


def _next_rows(target: Target, origin: Origin, after: int | None) -> pl.DataFrame:
    """The next rows by line."""
    mine = target.quarantine.scan().filter(_is_of(origin))
    if after is not None:
        mine = mine.filter(pl.col("line") > after)
    return mine.sort("line", maintain_order=True).head(SLICE).collect(engine="streaming")


def _replay_rows(target: Target, origin: Origin, rows: pl.DataFrame, done: _Outcome) -> bool:
    """Replay some rows; False where another replay was first, so that they have to be looked at anew."""
    app = f"replay:{origin.batch}:{origin.file}"
    attempt = (target.events.transaction_version(app) or 0) + 1
    held = quarantine.replayed_lines(target.events, origin.batch)
    gone = rows.filter(pl.col("line").is_in(list(held)))
    rows = rows.filter(~pl.col("line").is_in(list(held)))
    # An interrupted replay may have left a row with its old reason beside the one with the new.
    latest = rows.unique("line", keep="last", maintain_order=True)
    tried = latest.filter(pl.col("reason") != UNDECODABLE)
    aside: list[pa.RecordBatch] = []
    parsed: set[int] = set()
    landed_lines: list[int] = []
    if tried.height:
        part = land(target, _batch(target, origin, tried, {app: attempt}, aside, parsed))
        if not part.report.read:
            return False
        done.parts.append(part)
        failing = {line for batch in aside for line in batch.column("line").to_pylist()}
        landed_lines = [line for line in tried["line"].to_list() if line in parsed - failing]
    _tidy(target, origin, rows, tried, aside, [*gone["line"].to_list(), *landed_lines], attempt)
    done.read += latest.height + gone["line"].n_unique()
    done.landed += len(landed_lines)
    done.quarantined += latest.height - len(landed_lines)
    done.duplicates += gone["line"].n_unique()
    return True


def _tidy(
    target: Target,
    origin: Origin,
    rows: pl.DataFrame,
    tried: pl.DataFrame,
    aside: Sequence[pa.RecordBatch],
    leaving: list[int],
    attempt: int,
) -> None:
    """Bring the quarantine up to what is known now: new reasons in, then old reasons and landed rows out."""
    now = pl.from_arrow(pa.Table.from_batches(aside, quarantine.SCHEMA))
    assert isinstance(now, pl.DataFrame)  # noqa: S101 - narrows polars' union type
    news = tried.drop("reason", "expectation", "row").join(
        now.select("line", "reason", "expectation", "row"), on="line", maintain_order="left"
    )
    changed = news.join(tried.select("line", "reason"), on=["line", "reason"], how="anti", maintain_order="left")
    if changed.height:
        table = changed.select(quarantine.SCHEMA.names).to_arrow().cast(quarantine.SCHEMA)
        app = f"reasons:{origin.batch}:{origin.file}:{tried['line'][0]}"
        quarantine.write(target.quarantine, table.to_batches(), {app: attempt})
    keep = pl.concat([changed.select("line", "reason"), tried.select("line", "reason")]).unique("line", keep="first")
    stale = (
        rows.select("line", "reason").join(keep, on="line", suffix="_kept").filter(pl.col("reason") != pl.col("reason_kept"))
    )
    keys = pl.concat_str(pl.col("line").cast(pl.String), pl.lit(" "), pl.col("reason"))
    old = stale.select(keys).to_series().to_list()
    if leaving or old:
        out = pl.col("line").is_in(leaving) | keys.is_in(old)
        target.quarantine.delete(_is_of(origin) & out)


def _batch(
    target: Target,
    origin: Origin,
    rows: pl.DataFrame,
    transactions: dict[str, int],
    aside: list[pa.RecordBatch],
    parsed: set[int],
) -> Batch:
    """Quarantined rows as a batch; ``aside`` takes those that do not land, ``parsed`` the lines of those that could be read."""
    options = read_options(target.source)

    def read(as_text: frozenset[str], type_of: TypeOf = no_type) -> Iterator[Chunk]:  # noqa: ARG001
        aside.clear()
        return _chunks(origin, rows, options, as_text)

    def keep(spool: Spool) -> None:
        aside.extend(spool.batches())

    def ids(chunk: Chunk) -> list[str]:
        lines = [place.line for place in chunk.locate(range(chunk.frame.height))]
        parsed.update(lines)
        return [quarantine.replayed_id(origin.batch, line) for line in lines]

    return Batch(
        origin.file,
        f"{origin.batch}/replay",
        read,
        rows.height,
        transactions,
        from_json=origin.format in ("jsonl", "rows"),
        typed=origin.format not in LINE_FORMATS,
        format=origin.format,
        row_ids=ids,
        keep_aside=keep,
    )


def _chunks(origin: Origin, rows: pl.DataFrame, options: ReadOptions, as_text: frozenset[str]) -> Iterator[Chunk]:
    if origin.format not in LINE_FORMATS:
        yield _of_table(origin, rows)
        return
    if origin.format != "csv":
        yield _of_lines(origin, rows, options, as_text)
        return
    # A quote that is left open must not reach into the next row.
    odd = pl.col("raw").str.count_matches('"', literal=True) % 2 == 1
    together = rows.filter(~odd)
    for part in ([together] if together.height else []) + [row for _, row in rows.filter(odd).group_by("line")]:
        yield _of_lines(origin, part, options, as_text)


def _of_lines(origin: Origin, rows: pl.DataFrame, options: ReadOptions, as_text: frozenset[str]) -> Chunk:
    """Lines read again, at the places where they stood."""
    lines, raws = rows["line"].to_list(), rows["raw"].to_list()
    reader: Any = reader_for(origin.format)
    extra = {"as_text": as_text} if origin.format == "jsonl" else {}
    chunk: Chunk = reader.read_lines(origin.header or "", raws, options, **extra)
    starts: dict[int, int] = {}
    at = 1
    for index, raw in enumerate(raws):
        starts[at] = index
        at += raw.count("\n") + 1

    def original(places: Iterable[Place]) -> list[Place]:
        return [Place(lines[starts[place.line]], raws[starts[place.line]]) for place in places]

    malformed = [
        bad._replace(line=lines[starts[bad.line]], raw=raws[starts[bad.line]]) for bad in chunk.malformed if bad.line in starts
    ]
    return replace(chunk, locate=lambda wanted: original(chunk.locate(wanted)), malformed=malformed, header=origin.header)


def _of_table(origin: Origin, rows: pl.DataFrame) -> Chunk:
    lines, raws = rows["line"].to_list(), rows["raw"].to_list()
    frame = pl.from_arrow(rows_from_json(raws, schema_from_text(origin.header or "")))
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - narrows polars' union type
    return Chunk(frame, lambda wanted: [Place(lines[row], raws[row]) for row in wanted], header=origin.header)
