"""Raw times as instants.

- Text is ISO 8601 (``2013-03-10 02:30``, ``2013-03-10T02:30:00.25Z``, a date alone is its midnight) or as ``time_format`` says.
- Numbers count since the epoch in the declared ``time_unit``; without one they are refused, for 1,400,000,000 could be seconds
  of 2014 or milliseconds of 1970.
- A naive time is local time of the source's zone. Where the clocks go back it stands for two instants, where they go forward
  for none: such a time is invalid, unless ``ambiguous_time`` or ``nonexistent_time`` decides.
- Digits finer than a microsecond make a time invalid, unless ``subsecond`` is ``truncate``.
- Within one input all texts of a column carry a zone or none does; one of the other kind is invalid.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.errors import IngestionError

if TYPE_CHECKING:
    from featurestore.ingestion.options import ReadOptions

INSTANT: Final = pl.Datetime("us", "UTC")
ARROW_INSTANT: Final = pa.timestamp("us", tz="UTC")
_NAIVE: Final = pa.timestamp("us")
_ZONED: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_LOCAL: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?)?)?$"
_TOO_FINE: Final = r"(\.[0-9]{6})([0-9]+)"
_PER_UNIT: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}


class Times(NamedTuple):
    """Instants, null where there is none, and why by row."""

    instants: pl.Series
    reasons: dict[int, str]


@dataclass(slots=True)
class TimeReader:
    """Reads the time columns of one input; remembers whether their texts carry a zone.

    Args:
        timezone: of naive times.
        options: ``time_format``, ``time_unit`` and what is done with awkward times.
        log_format: of texts that are not ISO 8601, where the file's format says one.
        compiled: whether compiled loops are worth loading.
    """

    timezone: str
    options: ReadOptions
    log_format: str | None = None
    compiled: bool = False
    _zoned: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError):
            raise IngestionError(
                f"unknown time zone {self.timezone!r}", hint="name a zone of the tz database, such as America/New_York"
            ) from None

    def read(self, values: pl.Series) -> Times:
        """The instants of a column.

        Raises:
            IngestionError: the column's type can hold no times.
        """
        if values.dtype == pl.Null:
            found = values.cast(INSTANT)
        elif values.dtype == pl.String:
            found = self._texts(values)
        elif values.dtype.is_numeric():
            found = self._numbers(values)
        elif isinstance(values.dtype, pl.Datetime):
            found = self._datetimes(values)
        elif values.dtype == pl.Date:
            found = self._local(values.cast(pl.Datetime("us")))
        else:
            raise IngestionError(
                f"{values.dtype} holds no times", column=values.name, hint="times are text, numbers, dates or timestamps"
            )
        found = found.alias(values.name)
        wrong = found.is_null().arg_true().to_list()
        return Times(found, {row: self._reason(values, row) for row in wrong})

    # -- kinds -----------------------------------------------------------------------------------------------------------

    def _texts(self, texts: pl.Series) -> pl.Series:
        if self.options.time_unit is not None and self.options.time_format is None:
            return self._number_texts(texts)
        if self.options.time_format is not None:
            return self._formatted(self._mended(texts), self.options.time_format)
        zoned = self._zoned.get(texts.name)
        if zoned is None:
            sample = self._mended(texts.drop_nulls().head(1000))
            if not len(sample):
                return pl.Series(texts.name, [None], INSTANT).new_from_index(0, len(texts))
            if self.log_format is not None and not sample.str.contains(f"{_ZONED}|{_LOCAL}").any():
                return self._formatted(self._mended(texts), self.log_format)
            matches = sample.str.contains(_ZONED)
            zoned = bool(matches.any() and (matches[0] or not sample.str.contains(_LOCAL)[0]))
            self._zoned[texts.name] = zoned
        if zoned:
            return self._iso(texts, ARROW_INSTANT, _ZONED)
        return self._local(self._iso(texts, _NAIVE, _LOCAL))

    def _iso(self, texts: pl.Series, target: pa.TimestampType, pattern: str) -> pl.Series:
        found = _quickly(texts, target) if self.compiled else None
        if found is not None:
            return found
        try:
            return _parsed(texts, target)
        except pa.ArrowInvalid:
            return _iso(self._mended(texts), target, pattern)

    def _mended(self, texts: pl.Series) -> pl.Series:
        """Without the digits beyond the microsecond that are no loss, or of no interest."""
        if self.options.subsecond == "truncate":
            return texts.str.replace(_TOO_FINE, "$1")
        return texts.str.replace(r"(\.[0-9]{6})0+(Z|[+-][0-9:]+)?$", "$1$2")

    def _formatted(self, texts: pl.Series, time_format: str) -> pl.Series:
        try:
            if any(code in time_format for code in ("%z", "%:z", "%#z", "%+")):
                return texts.str.to_datetime(time_format, time_unit="us", time_zone="UTC", strict=False)
            if not any(code in time_format for code in ("%H", "%I", "%k", "%l", "%T", "%R", "%X", "%c", "%s", "%r")):
                return self._local(texts.str.to_date(time_format, strict=False).cast(pl.Datetime("us")))
            return self._local(texts.str.to_datetime(time_format, time_unit="us", strict=False))
        except pl.exceptions.PolarsError as error:
            raise IngestionError(f"time_format {time_format!r} is not usable: {error}", column=texts.name) from None

    def _number_texts(self, texts: pl.Series) -> pl.Series:
        """Epoch numbers as text, exact to the microsecond."""
        unit = self._unit(texts)
        digits = {"s": 6, "ms": 3, "us": 0, "ns": -3}[unit]
        parts = texts.str.extract_groups(r"^(?<whole>-?[0-9]{1,19})(?:\.(?<rest>[0-9]+))?$").struct.unnest()
        if digits < 0:
            return self._numbers(texts.cast(pl.Int64, strict=False))
        rest = parts["rest"].fill_null("")
        fine = rest.str.slice(digits).str.contains("[1-9]") & (self.options.subsecond == "error")
        micros = (parts["whole"] + rest.str.pad_end(digits, "0").str.slice(0, digits)).cast(pl.Int64, strict=False)
        return pl.select(pl.when(~fine).then(micros)).to_series().cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    def _numbers(self, numbers: pl.Series) -> pl.Series:
        unit = self._unit(numbers)
        if numbers.dtype.is_float():
            # A double of seconds of our time holds quarters of a microsecond: the nearest one is what was meant.
            scaled = numbers.cast(pl.Float64) * _PER_UNIT[unit] if unit != "ns" else numbers.cast(pl.Float64) / 1_000
            usable = (scaled.is_finite() & (scaled.abs() < 2.0**63)).fill_null(False)
            micros = pl.select(pl.when(usable).then(scaled.round(0))).to_series().cast(pl.Int64, strict=False)
        else:
            wide = numbers.cast(pl.Int64, strict=False)
            if unit == "ns":
                exact = (wide % 1_000 == 0) | (self.options.subsecond == "truncate")
                micros = pl.select(pl.when(exact).then(wide // 1_000)).to_series()
            else:
                limit = (2**63 - 1) // _PER_UNIT[unit]
                micros = pl.select(pl.when(wide.is_between(-limit, limit)).then(wide * _PER_UNIT[unit])).to_series()
        return micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")

    def _datetimes(self, values: pl.Series) -> pl.Series:
        dtype = values.dtype
        assert isinstance(dtype, pl.Datetime)  # noqa: S101 - told by the caller
        micros = values.dt.cast_time_unit("us")
        if dtype.time_unit == "ns" and self.options.subsecond == "error":
            whole = values.dt.nanosecond() % 1_000 == 0
            micros = pl.select(pl.when(whole).then(micros)).to_series()
        return self._local(micros) if dtype.time_zone is None else micros.dt.convert_time_zone("UTC")

    def _unit(self, values: pl.Series) -> str:
        if self.options.time_unit is None:
            raise IngestionError(
                "numbers, and no unit is declared for them",
                column=values.name,
                hint='say what they count since the epoch: read_options={"time_unit": "s"} (or ms, us, ns)',
            )
        return self.options.time_unit

    def _local(self, naive: pl.Series) -> pl.Series:
        """Local times of the source's zone as instants."""
        if self.timezone == "UTC":
            return naive.dt.replace_time_zone("UTC")
        ambiguous = {"error": "null"}.get(self.options.ambiguous_time, self.options.ambiguous_time)
        zoned = naive.dt.replace_time_zone(self.timezone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
        instants = zoned.dt.convert_time_zone("UTC")
        if self.options.nonexistent_time == "shift_forward":
            skipped = [row for row in (instants.is_null() & naive.is_not_null()).arg_true() if self._is_skipped(naive[row])]
            if skipped:
                zone = zoneinfo.ZoneInfo(self.timezone)
                shifted = [naive[row].replace(tzinfo=zone).astimezone(UTC) for row in skipped]
                instants = instants.scatter(skipped, pl.Series(shifted, dtype=INSTANT))
        return instants

    def _is_skipped(self, naive: datetime) -> bool:
        zone = zoneinfo.ZoneInfo(self.timezone)
        return naive.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != naive

    # -- words -----------------------------------------------------------------------------------------------------------

    def _reason(self, values: pl.Series, row: int) -> str:
        value = values[row]
        if value is None:
            return "no time"
        naive = self._as_naive(value)
        if naive is not None and self.timezone != "UTC":
            if self._is_skipped(naive):
                return f"{value!s} does not exist in {self.timezone}: the clocks skip it"
            return f"{value!s} is ambiguous in {self.timezone}: the clocks repeat it"
        if isinstance(value, str) and self._zoned.get(values.name) is not None and self.options.time_format is None:
            kind = "with" if self._zoned[values.name] else "without"
            other = _LOCAL if self._zoned[values.name] else _ZONED
            if pl.Series([value]).str.contains(other)[0]:
                return f"{value!r} is mixed into a column of times {kind} a zone"
        if isinstance(value, str) and self.options.time_format is not None:
            return f"{value!r} is no time of the format {self.options.time_format!r}"
        if isinstance(value, str) and pl.Series([value]).str.contains(_TOO_FINE)[0]:
            return f"{value!r} is finer than a microsecond"
        return f"{value!r} is no time"

    def _as_naive(self, value: object) -> datetime | None:
        """A local time that could be read but not placed."""
        if isinstance(value, datetime):
            return value if value.tzinfo is None else None
        if isinstance(value, str):
            text = pl.Series([value])
            if self.options.time_format is not None:
                found = text.str.to_datetime(self.options.time_format, time_unit="us", strict=False)[0]
            elif self.options.time_unit is not None:
                return None
            else:
                found = _iso(text, _NAIVE, _LOCAL)[0]
            return found if isinstance(found, datetime) and found.tzinfo is None else None
        return None


def _quickly(texts: pl.Series, target: pa.TimestampType) -> pl.Series | None:
    """The instants of texts that are all written in the way that most are; None where one is not."""
    from featurestore.ingestion.compiled.times import read_instants  # loads Numba

    held = texts.to_arrow()
    _, places, data = held.buffers()
    if held.null_count or data is None or not data.size:
        return None
    offsets = np.frombuffer(places, np.int64, len(held) + 1, held.offset * 8)
    instants = np.empty(len(held), np.int64)
    if not read_instants(np.frombuffer(data, np.uint8), offsets, target.tz is not None, instants):
        return None
    return _series(pa.Array.from_buffers(target, len(held), [None, pa.py_buffer(instants)]))


def _iso(texts: pl.Series, target: pa.TimestampType, pattern: str) -> pl.Series:
    """ISO 8601 text by Arrow's parser; null where it fails."""
    try:
        return _parsed(texts, target)
    except pa.ArrowInvalid:
        fitting = pl.select(pl.when(texts.str.contains(pattern)).then(texts)).to_series()
        return _series(_cast_each(fitting.to_arrow(), target))


def _parsed(texts: pl.Series, target: pa.TimestampType) -> pl.Series:
    return _series(pc.cast(texts.to_arrow(), target))


def _series(found: pa.Array | pa.ChunkedArray) -> pl.Series:
    series = pl.from_arrow(found)
    assert isinstance(series, pl.Series)  # noqa: S101 - narrows polars' union type
    return series


def _cast_each(texts: pa.Array, target: pa.TimestampType) -> pa.Array:
    """Null where the parser fails, found by halving: such texts look like times and are few (30 February)."""
    try:
        return pc.cast(texts, target)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, target)
        middle = len(texts) // 2
        return pa.concat_arrays([_cast_each(texts.slice(0, middle), target), _cast_each(texts.slice(middle), target)])
